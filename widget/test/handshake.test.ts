import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { awaitInit, originAllowed } from '../src/frame/handshake.ts';
import { facts, parseInit, parseSettings, parseToApp } from '../src/frame/parse.ts';
import { INIT } from '../src/protocol.ts';

const JUNK = [undefined, null, 0, '', 'a4:init', [], {}, { type: 5 }, { type: 'nothing' }, Symbol.iterator, () => {}];
const VALID = {
  type: INIT,
  apiKey: 'a4_pub_x',
  widgetId: 'wgt_1',
  settings: { title: 'Help', mode: 'inline', userToken: 'earlier' },
  inFlow: true,
  told: { identify: 'eyJ', setContext: { page: 'Cart', items: 3 } },
  view: { open: false, small: true, dark: false, rtl: false, top: 0, height: 600 },
  lang: 'de-AT',
  path: '/',
  vars: {},
  kept: '',
  visit: '',
};
const PAGE = { id: 'wgt_1', proof: 'wgt_1.1.x', origins: ['https://shop.example'], settings: {} };

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

  test('by no entry in an empty list', () => {
    expect(originAllowed('https://shop.example', [])).toBe(false);
  });
});

describe('settings', () => {
  test('only keep values of the right type and length', () => {
    expect(
      parseSettings({
        title: 'x'.repeat(101),
        greeting: 'Hi',
        color: 5,
        theme: 'contrast',
        suggestions: ['a', '', 5, 'b'],
        handoff: 'javascript:alert(1)',
        privacyUrl: 'http://example.com',
        sound: 1,
        surprise: true,
      }),
    ).toEqual({ greeting: 'Hi', suggestions: ['a', 'b'] });
  });

  test('that are invalid are reported by name, but not unset ones', () => {
    const warn = vi.spyOn(console, 'warn').mockReturnValue();
    parseSettings({
      privacy: 'x'.repeat(501),
      followUps: '["a"',
      title: '',
      theme: 'purple',
      greeting: 'Hi',
      color: 5,
    });
    expect(warn.mock.calls.map(([line]) => line).sort()).toEqual(
      ['followUps', 'privacy', 'theme'].map((name) => `A4ChatWidget: ${name} is too long or wrong.`),
    );
    warn.mockRestore();
  });

  test('are read from attributes, whose values are strings', () => {
    const attributes = { sound: '', consent: 'true', suggestions: '["a", "b"]', handoff: 'help@a.test' };
    expect(parseSettings(attributes)).toEqual({
      sound: true,
      consent: true,
      suggestions: ['a', 'b'],
      handoff: 'help@a.test',
    });
    expect(parseSettings({ sound: 'false', followUps: 'a, b' })).toEqual({ sound: false });
  });

  test.each([
    ['help@shop.example', true],
    ['mailto:help@shop.example?subject=Order 7', false],
    ['mailto:help@shop.example?subject=Order%207', true],
    ['MAILTO:help@shop.example', true],
    ['https://shop.example/help', true],
    ['http://shop.example/help', false],
    ['javascript:alert(1)', false],
    ['JavaScript:alert(1)@shop.example', false],
    ['mailto:javascript:alert(1)@shop.example', false],
    ['data:text/html,a@shop.example', false],
  ])('name a person by an email address, a mailto: or an https: URL: %s, %s', (handoff, isOne) => {
    expect(parseSettings({ handoff })).toEqual(isOne ? { handoff } : {});
  });

  test('hold at most six suggestions', () => {
    expect(parseSettings({ suggestions: Array(20).fill('x') }).suggestions).toHaveLength(6);
  });
});

describe('messages', () => {
  test('of unknown shape are ignored without an exception', () => {
    for (const junk of JUNK) expect(parseToApp(junk)).toBeUndefined();
  });

  test('that start the handshake lose invalid texts, facts and settings', () => {
    expect(parseInit({ ...VALID, origin: 'https://shop.example' }, {})).toEqual({
      apiKey: 'a4_pub_x',
      settings: { title: 'Help' },
      limit: 4000,
      mode: 'inline',
      inFlow: true,
      view: { open: false, small: true, dark: false, rtl: false, top: 0, height: 600 },
      site: 'https://shop.example/',
      userToken: 'eyJ',
      context: { page: 'Cart', items: '3' },
      kept: '',
    });
    const junk = { apiKey: 5, settings: null, view: 7, told: 'x', kept: {}, inFlow: 'yes' };
    expect(parseInit(junk as object, { title: 'Tenant' })).toMatchObject({
      apiKey: '',
      settings: { title: 'Tenant' },
      mode: 'bubble',
      inFlow: false,
      view: { open: false, height: 0 },
      userToken: '',
      context: {},
      kept: '',
    });
  });

  test('cannot set the maximum question length, which the service does', () => {
    const init = { ...VALID, settings: { maxMessageChars: 9 } };
    expect(parseInit(init, {}).limit).toBe(4000);
    expect(parseInit(init, { maxMessageChars: 500 }).limit).toBe(500);
  });

  test('carry at most 20 facts of bounded size', () => {
    const many = Object.fromEntries(Array.from({ length: 30 }, (_, index) => [`fact${index}`, index]));
    expect(Object.keys(facts(many))).toHaveLength(20);
    expect(facts({ ['x'.repeat(65)]: 'a', long: 'x'.repeat(501), nested: {}, none: null, ok: true })).toEqual({
      ok: 'true',
    });
  });

  test('to the app only say that the keyboard may follow if that is set', () => {
    expect(parseToApp({ type: 'open', focus: 'yes' })).toEqual({ type: 'open', value: undefined, focus: false });
    expect(parseToApp({ type: 'send', value: 'Hi', focus: true })).toEqual({ type: 'send', value: 'Hi', focus: true });
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
    vi.stubGlobal('parent', parent);
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

  test('only accepts the first valid message of the embedding page', () => {
    const begin = vi.fn();
    awaitInit(PAGE, begin);
    message({});
    message({});
    expect(begin).toHaveBeenCalledExactlyOnceWith(VALID, port, 'https://shop.example');
  });

  test.each([
    ['another origin', { origin: 'https://evil.example' }],
    ['the service’s own origin, which is not listed', { origin: own }],
    ['an opaque origin', { origin: 'null' }],
    ['another window', { source: {} }],
    ['nowhere', { source: null }],
    ['the right page without a port', { ports: [] }],
    ['the right page with junk', { data: { type: 'a4:other' } }],
  ])('ignores a message from %s and still takes a good one', (_, more) => {
    const begin = vi.fn();
    awaitInit(PAGE, begin);
    message(more);
    expect(begin).not.toHaveBeenCalled();
    message({});
    expect(begin).toHaveBeenCalledOnce();
  });
});
