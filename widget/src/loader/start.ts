import type { ChatWidgetApi } from '../../types/a4-chat-widget';
import { CALLS } from '../protocol.ts';
import type { Config } from './config.ts';
import { createEvents } from './events.ts';
import { createFrame } from './frame.ts';

/** Milliseconds to wait for the page's `load` event and for the chat's target. */
const PATIENCE = 3000;

/**
 * Puts a widget on the page, or returns the existing one with this id.
 *
 * With several widgets on a page, `window.A4ChatWidget` controls the first, and its `widgets` holds all of them.
 */
export function start(config: Config, tag?: Element): ChatWidgetApi {
  const current = window.A4ChatWidget as Partial<ChatWidgetApi & unknown[]> | undefined;
  const widgets = (current?.widgets ?? new Map()) as Map<string, ChatWidgetApi>;
  const known = widgets.get(config.widgetId);
  if (known) return known;

  const abort = new AbortController();
  const { signal } = abort;
  const { emit, ...events } = createEvents();
  const frame = createFrame(config, tag, signal, emit);

  const api = {
    ...events,
    ...Object.fromEntries(CALLS.map((name) => [name, (value: unknown) => frame.call(name, value)])),
    widgets,
    destroy() {
      clearTimeout(patience);
      abort.abort();
      widgets.delete(config.widgetId);
      if (window.A4ChatWidget !== api) return;
      delete window.A4ChatWidget;
      for (const next of widgets.values()) window.A4ChatWidget ??= next;
    },
    push(...calls: [keyof ChatWidgetApi, ...unknown[]][]) {
      for (const [name, ...args] of calls) (api[name] as ((...args: unknown[]) => void) | undefined)?.(...args);
    },
  } as unknown as ChatWidgetApi;
  widgets.set(config.widgetId, api);
  if (!current?.widgets) {
    window.A4ChatWidget = api;
    if (Array.isArray(current)) api.push(...(current as Parameters<typeof api.push>));
  }
  const patience = setTimeout(frame.attach, PATIENCE, true);
  // The page comes first: a bubble waits for its `load` event. A chat that is part of the page does not.
  if (config.settings.mode || document.readyState === 'complete') frame.attach();
  else addEventListener('load', frame.attach, { signal });
  return api;
}
