import type { ChatWidgetApi } from '../../types/a4-chat-widget';
import type { EventDetail } from '../protocol.ts';

type Listener = (detail: EventDetail) => void;

export interface Events extends Pick<ChatWidgetApi, 'on' | 'off'> {
  /** Returns false for a repeated `ready`. */
  emit(event: string, detail: EventDetail): boolean;
}

/** The listeners of one widget. `ready` fires once; listeners added later get it immediately. */
export function createEvents(): Events {
  let listeners: [event: string, listener: Listener][] = [];
  let ready = false;
  // Each in its own microtask: an error in a listener is reported on the host page and stops nothing here.
  const call = (listener: Listener, detail: EventDetail) => queueMicrotask(() => listener(detail));
  const off = (event: string, listener: Listener) => {
    listeners = listeners.filter((entry) => entry[0] !== event || entry[1] !== listener);
  };
  return {
    on(event: string, listener: Listener) {
      off(event, listener);
      listeners.push([event, listener]);
      if (event === 'ready' && ready) call(listener, {});
    },
    off,
    emit(event, detail) {
      if (ready && event === 'ready') return false;
      ready ||= event === 'ready';
      for (const [name, listener] of listeners) if (name === event) call(listener, detail);
      return true;
    },
  } as Events;
}
