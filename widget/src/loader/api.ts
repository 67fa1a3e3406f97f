import { EVENTS, type EventDetail, type EventName, oneOf } from '../protocol.ts';

export type Listener = (detail: EventDetail) => void;

/** What the widget can be told to do; a call is `[name, ...arguments]`. */
export type Call = ['open' | 'close' | 'toggle' | 'newConversation'] | ['send', string];

/** `window.A4ChatWidget`. */
export interface ChatWidgetApi {
  open(): void;
  close(): void;
  toggle(): void;
  send(text: string): void;
  newConversation(): void;
  on(event: EventName, listener: Listener): void;
  off(event: EventName, listener: Listener): void;
  destroy(): void;
  /** `(window.A4ChatWidget ||= []).push(['open'])` keeps calls before the script is there, and works after. */
  push(...calls: unknown[]): void;
}

export interface Events {
  on(event: unknown, listener: unknown): void;
  off(event: unknown, listener: unknown): void;
  emit(event: EventName, detail: EventDetail): void;
}

export function createEvents(): Events {
  const listeners = new Map<EventName, Set<Listener>>();
  let ready = false;
  // Each in a task of its own: a listener that throws reports to the host page, and stops nothing here.
  const call = (listener: Listener, detail: EventDetail) => queueMicrotask(() => listener(detail));
  return {
    on(event, listener) {
      const name = oneOf(event, EVENTS);
      if (!name || typeof listener !== 'function') return;
      const set = listeners.get(name) ?? new Set();
      listeners.set(name, set.add(listener as Listener));
      if (name === 'ready' && ready) call(listener as Listener, {});
    },
    off(event, listener) {
      listeners.get(event as EventName)?.delete(listener as Listener);
    },
    emit(event, detail) {
      if (event === 'ready') {
        if (ready) return;
        ready = true;
      }
      for (const listener of listeners.get(event) ?? []) call(listener, detail);
    },
  };
}

export function createApi(events: Events, perform: (call: Call) => void, destroy: () => void): ChatWidgetApi {
  const api: ChatWidgetApi = {
    open: () => perform(['open']),
    close: () => perform(['close']),
    toggle: () => perform(['toggle']),
    send: (text) => perform(['send', String(text)]),
    newConversation: () => perform(['newConversation']),
    on: events.on,
    off: events.off,
    destroy,
    push(...calls) {
      for (const call of calls) {
        if (!Array.isArray(call)) continue;
        const [name, ...args] = call;
        const method = Object.hasOwn(api, name) && api[name as keyof ChatWidgetApi];
        if (method) (method as (...args: unknown[]) => void)(...args);
      }
    },
  };
  return api;
}
