import { afterEach, beforeEach, vi } from 'vitest';
import type { EventDetail, EventName } from '../src/protocol.ts';
import { ChatController } from '../src/window/conversation/chat-controller.ts';
import { ChatMemory } from '../src/window/conversation/chat-memory.ts';
import { ChatService } from '../src/window/conversation/chat-service.ts';
import { personOf } from '../src/window/conversation/identity.ts';
import type { Turn } from '../src/window/conversation/turn.ts';

/** A request of the page, and methods to answer it. */
export interface Call {
  url: string;
  method: string;
  headers: Record<string, string>;
  // biome-ignore lint/suspicious/noExplicitAny: a body is whatever the code under test sent.
  body: any;
  signal: AbortSignal | undefined;
  respond(response: Response): void;
  fail(error: Error): void;
  /** Answers with an event stream, and returns a pen to write it. */
  stream(): Pen;
}

export interface Pen {
  event(name: string, data: unknown, id?: number): void;
  bytes(chunk: Uint8Array): void;
  end(): void;
  break(): void;
}

/** Replaces `fetch`; requests wait in `calls` until a test answers them. */
export function fakeFetch() {
  const calls: Call[] = [];
  const waiting: ((call: Call) => void)[] = [];
  vi.stubGlobal('fetch', (url: string, init: RequestInit = {}) => {
    return new Promise<Response>((resolve, reject) => {
      const call: Call = {
        url,
        method: init.method ?? 'GET',
        headers: init.headers as Record<string, string>,
        body: init.body ? JSON.parse(init.body as string) : undefined,
        signal: init.signal ?? undefined,
        respond: resolve,
        fail: reject,
        stream: () => {
          const { response, pen } = eventStream(init.signal ?? undefined);
          resolve(response);
          return pen;
        },
      };
      init.signal?.addEventListener('abort', () => reject(new DOMException('Aborted', 'AbortError')));
      calls.push(call);
      waiting.shift()?.(call);
    });
  });
  let taken = 0;
  return {
    calls,
    /** The next request, once it is sent. */
    async next(): Promise<Call> {
      const call = calls[taken] ?? (await new Promise<Call>((resolve) => waiting.push(resolve)));
      taken += 1;
      return call;
    },
  };
}

export const encode = (name: string, data: unknown, id?: number): string =>
  `event: ${name}\n${id === undefined ? '' : `id: ${id}\n`}data: ${JSON.stringify(data)}\n\n`;

export function eventStream(signal?: AbortSignal): { response: Response; pen: Pen } {
  let controller!: ReadableStreamDefaultController<Uint8Array>;
  const body = new ReadableStream<Uint8Array>({
    start(opened) {
      controller = opened;
    },
  });
  signal?.addEventListener('abort', () => controller.error(new DOMException('Aborted', 'AbortError')));
  const bytes = (chunk: Uint8Array) => controller.enqueue(chunk);
  return {
    response: new Response(body, { headers: { 'Content-Type': 'text/event-stream' } }),
    pen: {
      bytes,
      event: (name, data, id) => bytes(new TextEncoder().encode(encode(name, data, id))),
      end: () => controller.close(),
      break: () => controller.error(new TypeError('network error')),
    },
  };
}

export const problem = (status: number, code: string, headers: Record<string, string> = {}): Response =>
  new Response(JSON.stringify({ type: 'about:blank', title: 'x', status, detail: 'internal words', code }), {
    status,
    headers: { 'Content-Type': 'application/problem+json', ...headers },
  });

/** Fakes of what the controller uses of a page: storage, network and visibility events, animation frames. */
export function fakePage() {
  const stored = new Map<string, string>();
  const page = new EventTarget();
  const document = Object.assign(new EventTarget(), { visibilityState: 'visible' });
  const navigator = { onLine: true };
  vi.stubGlobal('localStorage', {
    getItem: (key: string) => stored.get(key) ?? null,
    setItem: (key: string, value: string) => stored.set(key, value),
    removeItem: (key: string) => stored.delete(key),
  });
  vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
  vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page));
  vi.stubGlobal('document', document);
  vi.stubGlobal('navigator', navigator);
  vi.stubGlobal('requestAnimationFrame', (callback: () => void) => {
    queueMicrotask(callback);
    return 1;
  });
  return { stored, page, document, navigator };
}

/** The fakes of the current test; see `fakePageAndWeb`. */
export let page: ReturnType<typeof fakePage>;
export let web: ReturnType<typeof fakeFetch>;

/** Gives each test of a file a fake page and a fake network: `page` and `web`. */
export function fakePageAndWeb(): void {
  beforeEach(() => {
    page = fakePage();
    web = fakeFetch();
  });
  afterEach(() => {
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });
}

export interface Emitted {
  name: EventName;
  detail: EventDetail;
}

/** A user token for a visitor, with an invalid signature. */
export const tokenOf = (sub: string, issued = 1): string =>
  ['header', JSON.stringify({ sub, iat: issued }), 'signature'].map((part) => btoa(part).replace(/=+$/, '')).join('.');

export function createChat(keep: (value: string) => void = () => {}, kept = '', token = '') {
  const emitted: Emitted[] = [];
  const texts: string[] = [];
  const updates: (() => void)[] = [];
  const memory = new ChatMemory('wgt_1', { kept, keep }, personOf(token));
  const chat = new ChatController(
    new ChatService({ apiKey: 'a4_pub_test', proof: 'first', pageOrigin: 'https://shop.example' }, token),
    memory,
    {
      onChange: () => {
        for (const update of updates.splice(0)) update();
      },
      onText: (turn: Turn) => texts.push(turn.answer),
      onEvent: (name, detail) => emitted.push({ name, detail }),
    },
  );
  /** Resolves once the condition holds: now, or after an update of the controller. */
  async function until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => updates.push(resolve));
  }
  return { chat, memory, emitted, texts, until };
}

export const CONVERSATION = '6f1b1f0e-5a52-4a63-9f0a-000000000001';
export const START = { conversation_id: CONVERSATION, message_id: 'any' };
export const DONE = { status: 'complete', usage: null };

/** A chat whose first question was answered with this text. */
export async function answered(text = 'Yes.') {
  const harness = createChat();
  harness.chat.send('Question?');
  const pen = (await web.next()).stream();
  pen.event('start', START);
  pen.event('message', { chunk: text }, text.length);
  pen.event('done', DONE);
  await harness.until(() => harness.chat.status === 'idle');
  return harness;
}
