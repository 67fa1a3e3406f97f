import { describe, expect, test, vi } from 'vitest';
import { readConfig, type ScriptTag } from '../src/loader/config.ts';
import { createEvents } from '../src/loader/events.ts';

const tag = (src: string, dataset: Record<string, string> = {}): ScriptTag => ({ src, dataset });
const KEYS = { apiKey: 'a4_pub_x', widgetId: 'wgt_1' };

describe('the configuration', () => {
  test('comes from the script tag, whose address gives that of the service', () => {
    expect(readConfig(tag('https://chat.example/widget.js', { ...KEYS, color: '#123456' }), undefined)).toMatchObject({
      ...KEYS,
      apiUrl: 'https://chat.example/',
      settings: { color: '#123456' },
    });
  });

  test('finds a service below a path', () => {
    expect(readConfig(tag('https://example.com/chat/widget.js', KEYS), undefined)).toMatchObject({
      apiUrl: 'https://example.com/chat/',
    });
  });

  test.each(['https://chat.example', 'https://chat.example/', 'https://chat.example//'])(
    'takes another service by data-api-url: %s',
    (apiUrl) => {
      const config = readConfig(tag('https://cdn.example/widget.js', { ...KEYS, apiUrl }), undefined);
      expect(config).toMatchObject({ apiUrl: 'https://chat.example/' });
    },
  );

  test('comes from the global if attributes were lost', () => {
    const given = { ...KEYS, suggestions: ['One', 'Two'], zIndex: 5, open: true };
    const config = readConfig(tag('https://chat.example/widget.js'), given);
    expect(config).toMatchObject({ ...KEYS, settings: given });
  });

  test('comes from the query of the script URL', () => {
    const config = readConfig(tag('https://chat.example/widget.js?key=a4_pub_x&id=wgt_1&color=red'), undefined);
    expect(config).toMatchObject({ ...KEYS, settings: { color: 'red' } });
  });

  test('prefers the attribute to the global, and the global to the address', () => {
    const config = readConfig(tag('https://chat.example/widget.js?key=a&id=c1', { apiKey: 'b', title: 'Tag' }), {
      apiKey: 'x',
      widgetId: 'c2',
      title: 'Global',
    });
    expect(config).toMatchObject({ apiKey: 'b', widgetId: 'c2', settings: { title: 'Tag' } });
  });

  test('does not post the target element to the frame', () => {
    const target = { an: 'element' };
    const config = readConfig(tag('https://chat.example/widget.js', KEYS), { target });
    expect(config).toMatchObject({ target, settings: expect.not.objectContaining({ target }) });
  });

  test.each([
    ['data-api-key', tag('https://c.example/widget.js', { widgetId: 'wgt_1' })],
    ['data-widget-id', tag('https://c.example/widget.js', { apiKey: 'x' })],
    ['data-widget-id', tag('https://c.example/widget.js', { apiKey: 'x', widgetId: '"><script>' })],
    ['data-api-url', tag('', KEYS)],
    ['data-api-url', tag('javascript:alert(1)', KEYS)],
    ['data-api-key', undefined],
  ])('that lacks %s says so', (name, script) => {
    expect(readConfig(script, 'nonsense')).toBe(name);
  });
});

describe('events', () => {
  test('reach their listeners until these are removed', async () => {
    const events = createEvents();
    const listener = vi.fn();
    events.on('answer', listener);
    events.on('answer', listener);
    events.emit('answer', { text: 'Hi' });
    await Promise.resolve();
    expect(listener).toHaveBeenCalledExactlyOnceWith({ text: 'Hi' });
    events.off('answer', listener);
    events.emit('answer', {});
    await Promise.resolve();
    expect(listener).toHaveBeenCalledOnce();
  });

  test('include ready for listeners that are added later', async () => {
    const events = createEvents();
    const listener = vi.fn();
    events.emit('ready', {});
    events.on('ready', listener);
    await Promise.resolve();
    expect(listener).toHaveBeenCalledExactlyOnceWith({});
  });
});
