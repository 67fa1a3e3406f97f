import type { EventDetail, EventName } from '../../protocol.ts';
import type { ChatEvent } from './chat-events.ts';
import type { ChatMemory } from './chat-memory.ts';
import { type ChatService, ServiceError } from './chat-service.ts';
import { personOf } from './identity.ts';
import { backoff, pause } from './pause.ts';
import { chain, createTurn, NO_PROBLEM, type Turn, type TurnStatus } from './turn.ts';
import { uuid } from './uuid.ts';

export type ChatStatus = 'idle' | 'restoring' | 'sending' | 'streaming' | 'reconnecting' | 'stopping';

/** The callbacks of the conversation's view. */
export interface ChatObserver {
  onChange(): void;
  /** An answer has grown; at most once per frame. */
  onText(turn: Turn): void;
  onEvent(name: EventName, detail: EventDetail): void;
}

const LIMITS = /limited$|budget|many/;
/** How long to keep retrying a lost connection. */
const PATIENCE = 15_000;
/** How long the service may take to end a stopped answer. */
const STOP_GRACE = 2_000;
/** A question older than this is not asked again after a reload. */
const PENDING_AGE = 600_000;

/** Owns the conversation. A call superseded by a stop or a new conversation can no longer change anything. */
export class ChatController {
  readonly service: ChatService;
  readonly memory: ChatMemory;
  readonly observer: ChatObserver;

  status: ChatStatus = 'idle';
  turns: Turn[] = [];
  /** Queued questions, to be asked once the current answer has ended or the conversation has loaded. */
  waiting: string[] = [];
  restoreFailed = false;

  #abort = new AbortController();
  #stopping: ReturnType<typeof setTimeout> | undefined;
  #frame = 0;

  constructor(service: ChatService, memory: ChatMemory, observer: ChatObserver) {
    this.service = service;
    this.memory = memory;
    this.observer = observer;
  }

  get last(): Turn | undefined {
    return this.turns.at(-1);
  }

  get remembered(): boolean {
    return this.memory.get().conversationId !== null;
  }

  /** Asks now, or once the current answer has ended. */
  send(message: string): void {
    const question = message.trim();
    if (!question) return;
    if (this.status !== 'idle') {
      this.waiting.push(question);
      this.observer.onChange();
      return;
    }
    this.#ask(question, this.turns, []);
  }

  /** Replaces the last question, or asks after it if it cannot be replaced now. */
  resend(message: string): void {
    const turn = this.last;
    const question = message.trim();
    if (!turn || !question || this.status !== 'idle') this.send(question);
    else this.#ask(question, this.turns.slice(0, -1), chain(turn));
  }

  #ask(question: string, turns: Turn[], replaces: string[]): void {
    const turn = { ...createTurn(uuid(), question), replaces };
    this.turns = [...turns, turn];
    this.observer.onEvent('message', { id: turn.id, text: question });
    void this.#run(turn);
  }

  stop(): void {
    const turn = this.last;
    if (turn?.status !== 'running' || this.status === 'stopping') return;
    const { signal } = this.#abort;
    const end = () => {
      if (signal.aborted) return;
      this.#begin();
      this.#end(turn, 'cancelled');
    };
    this.waiting = [];
    this.service.stop(turn.id).catch(end);
    if (this.status === 'reconnecting') {
      end();
      return;
    }
    this.#stopping = setTimeout(end, STOP_GRACE);
    this.#set('stopping');
  }

  /**
   * Retries the last answer. A lost one is resumed where it broke off, which never asks twice; any other is asked for
   * again.
   */
  retry(): void {
    const turn = this.last;
    if (!turn || this.status !== 'idle' || turn.status === 'running') return;
    if (turn.status !== 'lost') {
      const { id, answer, rating, sources } = turn;
      const before = answer ? { id, answer, rating, sources } : undefined;
      const replaces = chain(turn);
      Object.assign(turn, { id: uuid(), replaces, before, answer: '', rating: '', sources: [], position: undefined });
    }
    void this.#run(turn);
  }

  newConversation(): void {
    this.open(null);
  }

  /** Leaves this conversation for another one, or for none yet. */
  open(conversationId: string | null): void {
    this.#clear();
    this.memory.set({ conversationId, pending: null });
    void this.restore();
  }

  /**
   * Sets another token. A fresh one for the same visitor changes nothing; another visitor's, or none, closes the
   * conversation. Returns whether it was closed.
   */
  identify(token: string): boolean {
    const isFresh = token !== this.service.userToken;
    const person = personOf(token);
    const leaves = isFresh && this.memory.isOfAnother(person);
    if (leaves) this.#clear(); // Still with the old token, which can stop the current answer.
    this.service.userToken = token;
    if (isFresh) this.memory.identify(person);
    if (this.restoreFailed || (isFresh && !this.turns.length)) void this.restore();
    return leaves;
  }

  #clear(): void {
    const turn = this.last;
    if (turn?.status === 'running') this.service.stop(turn.id).catch(() => undefined); // The result does not matter.
    this.#begin();
    this.waiting = [];
    this.turns = [];
    this.restoreFailed = false;
    this.#set('idle');
  }

  /** Restores the conversation that this browser remembers, and resumes an answer that a reload cut off. */
  async restore(): Promise<void> {
    const { conversationId, pending } = this.memory.get();
    if (!conversationId && !pending) return;
    const signal = this.#begin();
    this.restoreFailed = false;
    this.#set('restoring');
    try {
      if (conversationId) this.turns = await this.service.conversation(conversationId, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof ServiceError && error.status === 404 && conversationId) this.memory.drop(conversationId);
      else this.restoreFailed = true;
      if (error instanceof ServiceError) this.observer.onEvent('error', { code: error.code });
    }
    if (signal.aborted) return;
    this.#set('idle');
    if (this.restoreFailed) return this.#next();

    let turn = this.last;
    if (
      pending &&
      Date.now() - pending.at < PENDING_AGE &&
      !this.turns.some((known) => known.id === pending.messageId)
    ) {
      turn = createTurn(pending.messageId, pending.message);
      turn.replaces = pending.replaces;
      this.turns = [...this.turns.filter(({ id }) => !pending.replaces.includes(id)), turn];
    }
    if (turn?.status === 'running') {
      turn.position = '0';
      void this.#run(turn);
    } else {
      this.memory.set({ pending: null });
      this.#next();
    }
  }

  async #run(turn: Turn): Promise<void> {
    const signal = this.#begin();
    Object.assign(turn, NO_PROBLEM, { status: 'running' } satisfies Partial<Turn>);
    this.memory.set({
      pending: { messageId: turn.id, message: turn.question, replaces: turn.replaces, at: Date.now() },
    });
    this.#set('sending');

    let lostAt: number | undefined;
    let attempt = 0;
    for (;;) {
      try {
        for await (const event of this.service.ask(turn, this.memory.get().conversationId, signal)) {
          if (signal.aborted) return;
          lostAt = undefined;
          attempt = 0;
          if (this.#take(turn, event)) return;
        }
      } catch (error) {
        if (signal.aborted) return;
        if (error instanceof ServiceError) {
          if (error.code === 'conversation_not_found' && this.remembered) {
            this.memory.drop(this.memory.get().conversationId ?? '');
            turn.replaces = [];
            continue;
          }
          // Another tab has asked a question meanwhile. It stays, and this one follows it.
          if (error.code === 'conversation_changed' && turn.replaces.length) {
            turn.replaces = [];
            await this.#readAgain(turn, signal);
            if (signal.aborted) return;
            continue;
          }
          // A restarting service responds like this while a lost answer is being resumed: try again.
          if (lostAt === undefined || error.status < 500) {
            this.#fail(turn, error.code, '', error.retryAfter, error.status);
            return;
          }
        }
      }
      if (signal.aborted) return;
      // The stream ended without its last event, or never began: the same call again returns the rest.
      // Time without a network does not count.
      if (!navigator.onLine) lostAt = undefined;
      lostAt ??= Date.now();
      if (Date.now() - lostAt >= PATIENCE) {
        this.#end(turn, 'lost');
        return;
      }
      if (this.status !== 'stopping') this.#set('reconnecting');
      await pause(backoff(attempt), signal);
      attempt += 1;
      if (signal.aborted) return;
    }
  }

  /** Reloads the conversation, with a turn at its end that is yet to be asked. */
  async #readAgain(turn: Turn, signal: AbortSignal): Promise<void> {
    const { conversationId } = this.memory.get();
    const turns = await this.service.conversation(conversationId ?? '', signal).catch(() => undefined);
    if (!turns || signal.aborted) return; // The view is incomplete, but the question is still asked.
    turn.before = undefined;
    this.turns = [...turns, turn];
    this.#set('sending');
  }

  /** True when the event was the last one. */
  #take(turn: Turn, event: ChatEvent): boolean {
    switch (event.type) {
      case 'start':
        // The service has the list of an identified visitor, so that nothing stays in the browser when they sign out.
        if (this.service.userToken) this.memory.claim(event.conversationId);
        else this.memory.enter(event.conversationId, this.turns[0]?.question ?? '');
        if (this.status === 'reconnecting') this.#set(turn.answer ? 'streaming' : 'sending');
        return false;
      case 'message':
        // Text from before the connection broke may be sent again.
        if (turn.position !== undefined && Number(event.id) <= Number(turn.position)) return false;
        turn.answer += event.chunk;
        turn.position = event.id || turn.position;
        if (this.status !== 'streaming' && this.status !== 'stopping') this.#set('streaming');
        this.#frame ||= requestAnimationFrame(() => {
          this.#frame = 0;
          if (turn === this.last) this.observer.onText(turn);
        });
        return false;
      case 'sources':
        turn.sources = event.sources;
        return false;
      case 'done':
        this.#end(turn, event.status === 'complete' && !turn.answer.trim() ? 'empty' : event.status);
        return true;
      case 'error':
        this.#fail(turn, event.code, event.error, event.retryAfter);
        return true;
    }
  }

  #fail(turn: Turn, code: string, detail: string, retryAfter: number, status = 0): void {
    turn.code = code === 'unknown' && status ? String(status) : code;
    turn.detail = detail;
    turn.reference = this.service.requestId;
    turn.retryAt = retryAfter ? Date.now() + retryAfter * 1000 : 0;
    if (LIMITS.test(turn.code)) this.observer.onEvent('limit', { code: turn.code });
    this.#end(turn, 'error', !!status);
  }

  /** `refused`: the service did not begin an answer, and may not have the question. */
  #end(turn: Turn, status: TurnStatus, refused = false): void {
    clearTimeout(this.#stopping);
    turn.status = status;
    if (status === 'error' || (status !== 'lost' && !turn.answer.trim())) Object.assign(turn, turn.before);
    // A lost answer can still be resumed, now or after a reload. A refused question is asked again after a reload, unless
    // the turn that it replaced has been restored.
    if (status !== 'lost' && (!refused || turn.before)) this.memory.set({ pending: null });
    turn.before = undefined;
    this.#set('idle');
    if (status === 'error' || status === 'lost')
      this.observer.onEvent('error', { id: turn.id, code: turn.code || status });
    else this.observer.onEvent('answer', { id: turn.id, text: turn.answer, status });
    this.#next();
  }

  #next(): void {
    const question = this.waiting.shift();
    if (question) this.send(question);
  }

  /** Supersedes the current call, whose signal is then aborted. Returns the signal of the new one. */
  #begin(): AbortSignal {
    clearTimeout(this.#stopping);
    this.#abort.abort();
    this.#abort = new AbortController();
    return this.#abort.signal;
  }

  #set(status: ChatStatus): void {
    this.status = status;
    this.observer.onChange();
  }
}
