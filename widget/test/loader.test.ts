import { describe, expect, test, vi } from 'vitest';
import { createApi, createEvents } from '../src/loader/api.ts';
import { DEFAULT_Z_INDEX, readConfig, type ScriptTag } from '../src/loader/config.ts';

const tag = (src: string, dataset: Record<string, string> = {}): ScriptTag => ({ src, dataset });
const KEYS = { apiKey: 'a4_pub_x', widgetId: 'wgt_1' };

describe('the configuration', () => {
  test('comes from the script tag, and the service is where the script is', () => {
    expect(readConfig(tag('https://chat.example/widget.js', { ...KEYS, color: '#123456' }), undefined)).toMatchObject({
      apiKey: 'a4_pub_x',
      widgetId: 'wgt_1',
      apiUrl: 'https://chat.example',
      open: false,
      zIndex: DEFAULT_Z_INDEX,
      settings: { color: '#123456' },
    });
  });

  test('finds a service below a path', () => {
    expect(readConfig(tag('https://example.com/chat/widget.js', KEYS), undefined)).toMatchObject({
      apiUrl: 'https://example.com/chat',
    });
  });

  test('takes another service by data-api-url, without its last slash', () => {
    const config = readConfig(
      tag('https://cdn.example/widget.js', { ...KEYS, apiUrl: 'https://chat.example/' }),
      undefined,
    );
    expect(config).toMatchObject({ apiUrl: 'https://chat.example' });
  });

  test('comes from the global where attributes were lost', () => {
    const config = readConfig(tag('https://chat.example/widget.js'), {
      ...KEYS,
      suggestions: ['One', 'Two'],
      zIndex: 5,
      open: true,
    });
    expect(config).toMatchObject({ ...KEYS, zIndex: 5, open: true, settings: { suggestions: ['One', 'Two'] } });
  });

  test('comes from the address of the script', () => {
    const config = readConfig(tag('https://chat.example/widget.js?key=a4_pub_x&id=wgt_1'), undefined);
    expect(config).toMatchObject(KEYS);
  });

  test('prefers the attribute to the global, and the global to the address', () => {
    const config = readConfig(tag('https://chat.example/widget.js?key=a&id=c1', { apiKey: 'b', title: 'Tag' }), {
      apiKey: 'x',
      widgetId: 'c2',
      title: 'Global',
    });
    expect(config).toMatchObject({ apiKey: 'b', widgetId: 'c2', settings: { title: 'Tag' } });
  });

  test('reads data-open as a switch', () => {
    const open = (value: string) => readConfig(tag('https://c.example/widget.js', { ...KEYS, open: value }), undefined);
    expect(open('')).toMatchObject({ open: true });
    expect(open('true')).toMatchObject({ open: true });
    expect(open('false')).toMatchObject({ open: false });
  });

  test('reads suggestions as JSON and leaves out what is none', () => {
    const list = (value: string) =>
      readConfig(tag('https://c.example/widget.js', { ...KEYS, suggestions: value }), undefined);
    expect(list('["a", "b"]')).toMatchObject({ settings: { suggestions: ['a', 'b'] } });
    expect(list('a, b')).toMatchObject({ settings: { suggestions: undefined } });
  });

  test.each([
    ['data-api-key', tag('https://c.example/widget.js', { widgetId: 'wgt_1' })],
    ['data-widget-id', tag('https://c.example/widget.js', { apiKey: 'x' })],
    ['data-widget-id', tag('https://c.example/widget.js', { apiKey: 'x', widgetId: '"><script>' })],
    ['data-api-url', tag('', KEYS)],
    ['data-api-url', tag('javascript:alert(1)', KEYS)],
    ['data-api-key', undefined],
  ])('that lacks %s says so', (name, script) => {
    expect(readConfig(script, 'nonsense')).toContain(name);
  });
});

describe('events', () => {
  test('reach their listeners until these are taken off', async () => {
    const events = createEvents();
    const listener = vi.fn();
    events.on('answer', listener);
    events.emit('answer', { text: 'Hi' });
    await Promise.resolve();
    expect(listener).toHaveBeenCalledExactlyOnceWith({ text: 'Hi' });
    events.off('answer', listener);
    events.emit('answer', {});
    await Promise.resolve();
    expect(listener).toHaveBeenCalledOnce();
  });

  test('that are unknown, and listeners that are none, are ignored', () => {
    const events = createEvents();
    events.on('toString', () => {});
    events.on('answer', 'nothing');
    events.off('never', undefined);
    events.emit('answer', {});
  });

  test('ready is told to those who come late, and once', async () => {
    const events = createEvents();
    const listener = vi.fn();
    events.emit('ready', {});
    events.on('ready', listener);
    events.emit('ready', {});
    await Promise.resolve();
    expect(listener).toHaveBeenCalledOnce();
  });
});

describe('the global', () => {
  test('performs calls that were pushed before the script was there', () => {
    const perform = vi.fn();
    const api = createApi(createEvents(), perform, () => {});
    api.push(['open'], ['send', 'Hi'], ['no such thing'], ['constructor'], 'junk', []);
    expect(perform.mock.calls).toEqual([[['open']], [['send', 'Hi']]]);
  });

  test('turns whatever is sent into text', () => {
    const perform = vi.fn();
    const api = createApi(createEvents(), perform, () => {});
    (api.send as (text: unknown) => void)(5);
    expect(perform).toHaveBeenCalledWith(['send', '5']);
  });
});
