import { record, text } from '../../protocol.ts';
import type { Source } from '../markdown/index.ts';
import { type ChatEvent, parseJson, parseSources, readEvents, seconds } from './chat-events.ts';

export interface Question {
  message: string;
  conversationId: string | null;
  messageId: string;
  /** The ids of the turns that it replaces, if they exist; none for an additional turn. */
  replaces: string[];
}

export type Rating = 'up' | 'down';
export type StoredStatus = 'running' | 'complete' | 'length' | 'filtered' | 'cancelled' | 'error';

/** One entry of a conversation, as stored by the service. */
export interface StoredMessage {
  messageId: string;
  role: 'user' | 'assistant';
  content: string;
  status: StoredStatus;
  code: string;
  rating: Rating | '';
  sources: Source[];
  /** In milliseconds; NaN if unknown. */
  at: number;
}

/** The credentials of the chat: the tenant's key, this page's proof, and the origin of the page around it. */
export interface Standing {
  apiKey: string;
  proof: string;
  pageOrigin: string;
}

/** The service refused a request before any answer began. */
export class ServiceError extends Error {
  override readonly name = 'ServiceError';
  readonly status: number;
  readonly code: string;
  readonly retryAfter: number;

  constructor(status: number, code: string, retryAfter: number) {
    super(`The service answered ${status} (${code}).`);
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

const STATUSES: readonly StoredStatus[] = ['running', 'complete', 'length', 'filtered', 'cancelled', 'error'];

/** A client for the service's API. Its URLs are relative to this page. */
export class ChatService {
  readonly #standing: Standing;
  #proof: string;
  /** Identifies the visitor; empty if the host page does not know them. */
  userToken: string;
  /** Facts about the host page, sent with each question. */
  context: Record<string, string>;
  /** The request id of the last question's response. */
  requestId = '';

  constructor(standing: Standing, userToken = '', context: Record<string, string> = {}) {
    this.#standing = standing;
    this.#proof = standing.proof;
    this.userToken = userToken;
    this.context = context;
  }

  async *ask(question: Question, after: string | undefined, signal: AbortSignal): AsyncGenerator<ChatEvent> {
    const response = await this.request('chat', {
      method: 'POST',
      headers: {
        Accept: 'text/event-stream',
        ...(after !== undefined && { 'Last-Event-ID': after }),
      },
      body: JSON.stringify({
        message: question.message,
        conversation_id: question.conversationId,
        message_id: question.messageId,
        regenerate: question.replaces.length > 0,
        ...(question.replaces.length && { replaces: question.replaces }),
        ...(Object.keys(this.context).length && { context: this.context }),
      }),
      signal,
    });
    if (response.body) yield* readEvents(response.body);
  }

  async stop(messageId: string): Promise<void> {
    await this.request(`messages/${encodeURIComponent(messageId)}/stop`, { method: 'POST', keepalive: true });
  }

  async conversation(id: string, signal: AbortSignal): Promise<StoredMessage[]> {
    const response = await this.request(`conversations/${encodeURIComponent(id)}`, { signal });
    const messages = record(parseJson(await response.text()))?.messages;
    return Array.isArray(messages) ? messages.flatMap((message) => parseMessage(message) ?? []) : [];
  }

  /** Calls a route under api/v1/. Throws ServiceError. */
  async request(path: string, init: RequestInit & { headers?: Record<string, string> }): Promise<Response> {
    const { apiKey, pageOrigin } = this.#standing;
    const headers = {
      ...init.headers,
      ...(init.body && { 'Content-Type': 'application/json' }),
      'X-API-Key': apiKey,
      'X-Page-Origin': pageOrigin,
      ...(this.userToken && { 'X-User-Token': this.userToken }),
    };
    for (let renewed = false; ; renewed = true) {
      const response = await fetch(`api/v1/${path}`, {
        ...init,
        headers: { ...headers, 'X-Widget-Proof': this.#proof },
        credentials: 'omit',
        cache: 'no-store',
      });
      this.#keepProof(response);
      if (path === 'chat') this.requestId = text(response.headers.get('X-Request-ID'), 100) ?? '';
      if (response.ok) return response;
      const problem = record(parseJson(await response.text()));
      const code = text(problem?.code, 100) ?? 'unknown';
      // The proof expired while the window slept: the service's current version of this page has a new one.
      if (code === 'proof_invalid' && !renewed) this.#keepProof(await fetch('', { cache: 'no-store' }));
      else throw new ServiceError(response.status, code, seconds(response.headers.get('Retry-After')));
    }
  }

  #keepProof(response: Response): void {
    this.#proof = response.headers.get('X-Widget-Proof') ?? this.#proof;
  }
}

function parseMessage(value: unknown): StoredMessage | undefined {
  const from = record(value);
  const messageId = text(from?.message_id, 200);
  const role = from?.role;
  if (!messageId || (role !== 'user' && role !== 'assistant') || typeof from?.content !== 'string') return undefined;
  return {
    messageId,
    role,
    content: from.content,
    status: STATUSES.find((status) => status === from.status) ?? 'complete',
    code: text(from.code, 100) ?? '',
    rating: from.rating === 'up' || from.rating === 'down' ? from.rating : '',
    sources: parseSources(from.sources),
    at: Date.parse(String(from.created_at)),
  };
}
