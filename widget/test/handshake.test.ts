import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { awaitInit, originAllowed, parseInit, parsePage, parseSettings, parseToApp } from '../src/app/handshake.ts';
import { parseToLoader } from '../src/loader/frame.ts';
import { INIT } from '../src/protocol.ts';

const JUNK = [undefined, null, 0, '', 'a4:init', [], {}, { type: 5 }, { type: 'nothing' }, Symbol.iterator, () => {}];
const VALID = {
  type: INIT,
  apiKey: 'a4_pub_x',
  widgetId: 'wgt_1',
  settings: { title: 'Help' },
  view: { mode: 'bubble', open: false, expanded: false, full: true, dark: false },
  lang: 'de-AT',
  kept: '',
};

describe('an origin is allowed', () => {
  test.each([
    ['https://shop.example', 'https://shop.example', true],
    ['http://localhost:3000', 'http://localhost:*', true],
    ['http://localhost', 'http://localhost:*', true],
    ['http://[::1]:3000', 'http://[::1]:*', true],
    ['https://localhost:3000', 'http://localhost:*', false],
    ['http://localhost.evil.example:80', 'http://localhost:*', false],
    ['https://shop.example:8443', 'https://shop.example', false],
    ['https://evil-shop.example', 'https://shop.example', false],
    ['https://shop.example.evil.example', 'https://shop.example', false],
    ['null', 'https://shop.example', false],
    ['https://www.shop.example', 'https://*.shop.example', true],
    ['https://www.shop.example:8443', 'https://*.shop.example:8443', true],
    ['https://xn--bcher-kva.shop.example', 'https://*.shop.example', true],
    ['https://shop.example', 'https://*.shop.example', false],
    ['https://a.b.shop.example', 'https://*.shop.example', false],
    ['http://www.shop.example', 'https://*.shop.example', false],
    ['https://www.shop.example:8443', 'https://*.shop.example', false],
    ['https://www.shop.example.evil.example', 'https://*.shop.example', false],
    ['https://evilshop.example', 'https://*.shop.example', false],
    ['https://.shop.example', 'https://*.shop.example', false],
    ['https://shop.example', '*', true],
    ['http://shop.example:8080', '*', true],
    ['null', '*', false],
    ['', '*', false],
    ['*', '*', false],
    ['file://', '*', false],
    ['chrome-extension://abcdef', '*', false],
  ])('%s by the entry %s: %s', (origin, entry, expected) => {
    expect(originAllowed(origin, ['https://other.example', entry])).toBe(expected);
  });

  test('by no entry when there are none', () => {
    expect(originAllowed('https://shop.example', [])).toBe(false);
  });
});

describe('what the service wrote into the page', () => {
  test('is read with its origins and settings', () => {
    const page = parsePage(
      '{"id":"wgt_1","origins":["https://shop.example",7],"settings":{"title":"Help","theme":"dark"}}',
    );
    expect(page).toEqual({ origins: ['https://shop.example'], settings: { title: 'Help', theme: 'dark' } });
  });

  test.each(['', '__A4_WIDGET__', '[]', 'null', '{"origins":"https://shop.example"}'])(
    'allows nobody when it is %j',
    (json) => {
      expect(parsePage(json)).toEqual({ origins: [], settings: {} });
    },
  );
});

describe('settings', () => {
  test('keep what has the right type and length, and nothing else', () => {
    expect(
      parseSettings({
        title: 'x'.repeat(81),
        greeting: 'Hi',
        color: 5,
        position: 'top',
        theme: 'neon',
        suggestions: ['a', '', 5, 'b'],
        locale: 'de',
        surprise: true,
      }),
    ).toEqual({ greeting: 'Hi', suggestions: ['a', 'b'], locale: 'de' });
  });

  test('hold at most six suggestions', () => {
    expect(parseSettings({ suggestions: Array(20).fill('x') }).suggestions).toHaveLength(6);
  });
});

describe('messages', () => {
  test('of no known shape are ignored by both sides, without a throw', () => {
    for (const junk of JUNK) {
      expect(parseInit(junk)).toBeUndefined();
      expect(parseToApp(junk)).toBeUndefined();
      expect(parseToLoader(junk)).toBeUndefined();
    }
  });

  test('that begin the talk need a key and an id of sane length', () => {
    expect(parseInit(VALID)).toEqual(VALID);
    expect(parseInit({ ...VALID, apiKey: '' })).toBeUndefined();
    expect(parseInit({ ...VALID, apiKey: 'x'.repeat(201) })).toBeUndefined();
    expect(parseInit({ ...VALID, widgetId: 5 })).toBeUndefined();
    expect(parseInit({ ...VALID, settings: null, view: 7, lang: {} })).toMatchObject({
      settings: {},
      view: { open: false, full: false, dark: false },
      lang: '',
    });
  });

  test('to the app are bounded', () => {
    expect(parseToApp({ type: 'send', text: 'Hi' })).toEqual({ type: 'send', text: 'Hi' });
    expect(parseToApp({ type: 'send', text: '' })).toBeUndefined();
    expect(parseToApp({ type: 'send', text: 'x'.repeat(100_001) })).toBeUndefined();
    expect(parseToApp({ type: 'open', focus: 'yes' })).toEqual({ type: 'open', focus: false });
  });

  test('to the loader cannot cover the page or smuggle anything into an event', () => {
    expect(parseToLoader({ type: 'ready', width: 99_999, height: Number.NaN, position: 'top', title: '' })).toEqual({
      type: 'ready',
      title: 'Chat',
      width: 480,
      height: 0,
    });
    expect(parseToLoader({ type: 'event', name: 'constructor', detail: {} })).toBeUndefined();
    expect(parseToLoader({ type: 'event', name: 'answer', detail: { id: '1', text: {}, more: 'x' } })).toEqual({
      type: 'event',
      name: 'answer',
      detail: { id: '1' },
    });
  });
});

describe('the handshake', () => {
  const own = 'https://chat.example';
  const parent = {};
  let target: EventTarget;

  beforeEach(() => {
    target = new EventTarget();
    vi.stubGlobal('addEventListener', target.addEventListener.bind(target));
    vi.stubGlobal('removeEventListener', target.removeEventListener.bind(target));
    vi.stubGlobal('window', { parent });
    vi.stubGlobal('location', { origin: own });
  });

  afterEach(() => {
    vi.unstubAllGlobals();
  });

  const port = {} as MessagePort;
  const message = (more: object) =>
    target.dispatchEvent(
      Object.assign(new Event('message'), {
        source: parent,
        origin: 'https://shop.example',
        data: VALID,
        ports: [port],
        ...more,
      }),
    );

  test('takes the first valid message of the embedding page, and none after it', () => {
    const begin = vi.fn();
    awaitInit({ origins: ['https://shop.example'], settings: {} }, begin);
    message({});
    message({});
    expect(begin).toHaveBeenCalledExactlyOnceWith(VALID, port);
  });

  test('takes the origin of the service itself', () => {
    const begin = vi.fn();
    awaitInit({ origins: [], settings: {} }, begin);
    message({ origin: own });
    expect(begin).toHaveBeenCalledOnce();
  });

  test.each([
    ['another origin', { origin: 'https://evil.example' }],
    ['an opaque origin', { origin: 'null' }],
    ['another window', { source: {} }],
    ['nowhere', { source: null }],
    ['the right page without a port', { ports: [] }],
    ['the right page with junk', { data: { type: INIT } }],
  ])('ignores a message from %s and still takes a good one', (_, more) => {
    const begin = vi.fn();
    awaitInit({ origins: ['https://shop.example'], settings: {} }, begin);
    message(more);
    expect(begin).not.toHaveBeenCalled();
    message({});
    expect(begin).toHaveBeenCalledOnce();
  });
});
