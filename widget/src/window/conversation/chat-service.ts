import { parseJson, record, text } from '../../protocol.ts';
import { type ChatEvent, inTime, readEvents, seconds } from './chat-events.ts';
import { type Turn, toTurns } from './turn.ts';

/** The credentials of the chat: the tenant's key, this page's proof, and the origin of the page around it. */
export interface Standing {
  apiKey: string;
  proof: string;
  pageOrigin: string;
}

/** The service refused a request before any answer began. */
export class ServiceError extends Error {
  readonly status: number;
  readonly code: string;
  readonly retryAfter: number;

  constructor(status: number, code: string, retryAfter: number) {
    super();
    this.status = status;
    this.code = code;
    this.retryAfter = retryAfter;
  }
}

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

  /** Asks a turn's question, or resumes its answer. */
  async *ask(turn: Turn, conversationId: string | null, signal: AbortSignal): AsyncGenerator<ChatEvent> {
    const { id, question, position, replaces } = turn;
    const response = await this.request('chat', {
      method: 'POST',
      headers: {
        Accept: 'text/event-stream',
        ...(position !== undefined && { 'Last-Event-ID': position }),
      },
      body: JSON.stringify({
        message: question,
        conversation_id: conversationId,
        message_id: id,
        regenerate: replaces.length > 0,
        ...(replaces.length && { replaces }),
        ...(Object.keys(this.context).length && { context: this.context }),
      }),
      signal,
    });
    if (response.body) yield* readEvents(response.body);
  }

  async stop(messageId: string): Promise<void> {
    await this.request(`messages/${encodeURIComponent(messageId)}/stop`, { method: 'POST', keepalive: true });
  }

  async conversation(id: string, signal: AbortSignal): Promise<Turn[]> {
    return toTurns((await this.read(`conversations/${encodeURIComponent(id)}`, { signal }))?.messages);
  }

  /** Calls a route and reads the object that it returns. */
  async read(path: string, init: RequestInit = {}): Promise<Record<string, unknown> | undefined> {
    const response = await this.request(path, init);
    return record(parseJson(await response.text()));
  }

  /** Calls a route under api/v1/. Throws ServiceError. */
  async request(path: string, init: RequestInit): Promise<Response> {
    const { apiKey, pageOrigin } = this.#standing;
    const headers = {
      ...init.headers,
      ...(init.body && { 'Content-Type': 'application/json' }),
      'X-API-Key': apiKey,
      'X-Page-Origin': pageOrigin,
      ...(this.userToken && { 'X-User-Token': this.userToken }),
    };
    for (let renewed = false; ; renewed = true) {
      const response = await inTime(
        fetch(`api/v1/${path}`, {
          ...init,
          headers: { ...headers, 'X-Widget-Proof': this.#proof },
          credentials: 'omit',
          cache: 'no-store',
        }),
      );
      this.#keepProof(response);
      if (path === 'chat') this.requestId = response.headers.get('X-Request-ID') ?? '';
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
