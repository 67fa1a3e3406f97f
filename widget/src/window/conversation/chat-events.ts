import { oneOf, parseJson, record, text } from '../../protocol.ts';
import type { Source } from '../markdown/index.ts';

export const ENDINGS = ['complete', 'length', 'filtered', 'cancelled'] as const;
export type Ending = (typeof ENDINGS)[number];

/** The events of an answer. */
export type ChatEvent =
  | { type: 'start'; conversationId: string }
  | { type: 'message'; chunk: string; id: string }
  | { type: 'sources'; sources: Source[] }
  | { type: 'done'; status: Ending }
  | { type: 'error'; code: string; error: string; retryAfter: number };

const MOST_SOURCES = 20;
/** The service sends something at least every 15 seconds; after three times that, the connection is dead. */
const SILENCE = 45_000;

/** The same, or a rejection then. A connection that the network dropped may never fail by itself. */
export const inTime = <Result>(result: Promise<Result>): Promise<Result> =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(reject, SILENCE, new Error());
    void result.then(resolve, reject).finally(() => clearTimeout(timer));
  });

/** The fields of one event, as received. */
export interface RawEvent {
  event?: string;
  data?: string;
  id?: string;
}

/**
 * Decodes the events of one answer from its bytes, however the network splits them. Of the event stream format (WHATWG
 * HTML, section 9.2.6) it supports what the service writes: each field of an event is one line.
 */
export async function* readEvents(body: ReadableStream<Uint8Array<ArrayBuffer>>): AsyncGenerator<ChatEvent> {
  let rest = '';
  const reader = body.getReader();
  const decoder = new TextDecoder();
  const cancel = () => reader.cancel().catch(() => undefined); // It has already failed.
  // A connection that the network dropped would stay silent for a long time.
  addEventListener('offline', cancel);
  try {
    for (;;) {
      const { done, value } = await inTime(reader.read());
      if (done) return;
      const blocks = (rest + decoder.decode(value, { stream: true })).split(/\r?\n\r?\n/);
      rest = blocks.pop() ?? '';
      for (const block of blocks) {
        const fields = block.split(/\r?\n/).map((line) => /^(\w*): ?(.*)/s.exec(line)?.slice(1) ?? []);
        const event = parseEvent(Object.fromEntries(fields));
        if (event) yield event;
      }
    }
  } finally {
    removeEventListener('offline', cancel);
    void cancel();
  }
}

/** Unknown and malformed events are skipped: a newer service may send more. */
export function parseEvent(message: RawEvent): ChatEvent | undefined {
  const data = record(parseJson(message.data ?? ''));
  switch (message.event) {
    case 'start': {
      const conversationId = text(data?.conversation_id, 200);
      return conversationId ? { type: 'start', conversationId } : undefined;
    }
    case 'message':
      return typeof data?.chunk === 'string' ? { type: 'message', chunk: data.chunk, id: message.id ?? '' } : undefined;
    case 'sources':
      return { type: 'sources', sources: parseSources(data?.sources) };
    case 'done':
      return { type: 'done', status: oneOf(data?.status, ENDINGS) ?? 'complete' };
    case 'error':
      return {
        type: 'error',
        code: text(data?.code, 100) ?? 'unknown',
        error: text(data?.error, 1000) ?? '',
        retryAfter: seconds(data?.retry_after),
      };
    default:
      return undefined;
  }
}

/** Keeps every source, because the answer counts them; an invalid URL gets no link. */
export const parseSources = (value: unknown): Source[] =>
  (Array.isArray(value) ? value : []).slice(0, MOST_SOURCES).map((entry) => {
    const from = record(entry);
    return { title: text(from?.title, 500) ?? '', url: text(from?.url, 4000) ?? '' };
  });

/** A wait in seconds, from zero to a day. */
export const seconds = (value: unknown): number => Math.min(Math.max(Math.ceil(Number(value)) || 0, 0), 86_400);
