import type { EventDetail, EventName } from '../../protocol.ts';
import type { ChatEvent } from './chat-events.ts';
import type { ChatMemory } from './chat-memory.ts';
import { type ChatService, ServiceError } from './chat-service.ts';
import { personOf } from './identity.ts';
import { backoff, pause } from './pause.ts';
import { chain, createTurn, type Turn, type TurnStatus, toTurns } from './turn.ts';
import { uuid } from './uuid.ts';

export type ChatStatus = 'idle' | 'restoring' | 'sending' | 'streaming' | 'reconnecting' | 'stopping';

/** What shows the conversation. */
export interface Host {
  requestUpdate(): void;
}

export interface ChatObserver {
  /** An answer has grown; at most once per frame. */
  onText(turn: Turn): void;
  onEvent(name: EventName, detail: EventDetail): void;
}

const LIMITS = /limited$|budget|many/;
/** How long a lost connection is looked for. */
const PATIENCE = 15_000;
/** How long the service has to end a stopped answer itself. */
const STOP_GRACE = 2_000;
/** A question that is older is not asked again after a reload. */
const PENDING_AGE = 600_000;

/** Owns the conversation. A call that was superseded, by a stop or a new conversation, can change nothing any more. */
export class ChatController {
  readonly #host: Host;
  readonly service: ChatService;
  readonly memory: ChatMemory;
  readonly observer: ChatObserver;

  status: ChatStatus = 'idle';
  turns: Turn[] = [];
  /** Questions that are asked once the answer before them has ended, or the conversation is there. */
  waiting: string[] = [];
  restoreFailed = false;

  #call = 0;
  #abort = new AbortController();
  #stopping: ReturnType<typeof setTimeout> | undefined;
  #frame = 0;

  constructor(host: Host, service: ChatService, memory: ChatMemory, observer: ChatObserver) {
    this.#host = host;
    this.service = service;
    this.memory = memory;
    this.observer = observer;
  }

  /** Nobody is there any more to see what comes. */
  leave(): void {
    this.#begin();
  }

  get last(): Turn | undefined {
    return this.turns.at(-1);
  }

  get remembered(): boolean {
    return this.memory.get().conversationId !== null;
  }

  /** Asks, or waits for the answer being written to end and asks then. */
  send(message: string): void {
    const question = message.trim();
    if (!question) return;
    if (this.status !== 'idle') {
      this.waiting.push(question);
      this.#host.requestUpdate();
      return;
    }
    this.#ask(question, this.turns, []);
  }

  /** Asks something else in place of the last question, or after it when that cannot be replaced now. */
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
    const call = this.#call;
    const end = () => {
      if (call !== this.#call) return;
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
   * Tries the last answer again. One that was lost on its way is fetched from where it broke, which asks nothing twice;
   * any other is asked for anew.
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
   * Takes another token. A fresh one of the same visitor changes nothing; that of another visitor, or none, leaves the
   * conversation, which is then not there for them. Returns whether it was left.
   */
  identify(token: string): boolean {
    const isFresh = token !== this.service.userToken;
    const person = personOf(token);
    const leaves = isFresh && this.memory.isOfAnother(person);
    if (leaves) this.#clear(); // With the token by which the answer under way can be stopped.
    this.service.userToken = token;
    if (isFresh) this.memory.identify(person);
    if (this.restoreFailed || (isFresh && !this.turns.length)) void this.restore();
    return leaves;
  }

  #clear(): void {
    const turn = this.last;
    if (turn?.status === 'running') this.service.stop(turn.id).catch(() => undefined); // Its end is of no interest now.
    this.#begin();
    this.waiting = [];
    this.turns = [];
    this.restoreFailed = false;
    this.#set('idle');
  }

  /** Brings back the conversation that this browser remembers, and goes on with an answer that a reload cut off. */
  async restore(): Promise<void> {
    const { conversationId, pending } = this.memory.get();
    if (!conversationId && !pending) return;
    const { call, signal } = this.#begin();
    this.restoreFailed = false;
    this.#set('restoring');
    try {
      if (conversationId) this.turns = toTurns(await this.service.conversation(conversationId, signal));
    } catch (error) {
      if (call !== this.#call) return;
      if (error instanceof ServiceError && error.status === 404 && conversationId) this.memory.drop(conversationId);
      else this.restoreFailed = true;
      if (error instanceof ServiceError) this.observer.onEvent('error', { code: error.code });
    }
    if (call !== this.#call) return;
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
    const { call, signal } = this.#begin();
    const superseded = () => call !== this.#call;
    Object.assign(turn, { status: 'running', code: '', detail: '', reference: '', retryAt: 0 } satisfies Partial<Turn>);
    this.memory.set({
      pending: { messageId: turn.id, message: turn.question, replaces: turn.replaces, at: Date.now() },
    });
    this.#set('sending');

    let lostAt: number | undefined;
    let attempt = 0;
    for (;;) {
      try {
        for await (const event of this.service.ask(this.#question(turn), turn.position, signal)) {
          if (superseded()) return;
          lostAt = undefined;
          attempt = 0;
          if (this.#take(turn, event)) return;
        }
      } catch (error) {
        if (superseded()) return;
        if (error instanceof ServiceError) {
          if (error.code === 'conversation_not_found' && this.remembered) {
            this.memory.drop(this.memory.get().conversationId ?? '');
            turn.replaces = [];
            continue;
          }
          // Another tab has asked since. What it asked stays, and this goes behind it.
          if (error.code === 'conversation_changed' && turn.replaces.length) {
            turn.replaces = [];
            await this.#readAgain(turn, signal);
            if (superseded()) return;
            continue;
          }
          // While a lost answer is looked for, a service that restarts answers so: it is worth another look.
          if (lostAt === undefined || error.status < 500) {
            this.#fail(turn, error.code, '', error.retryAfter, error.status);
            return;
          }
        }
      }
      if (superseded()) return;
      // The stream ended without its last event, or never came about: the same call again gives what is missing.
      // Patience is for the service; without a network it is not tried.
      if (!navigator.onLine) lostAt = undefined;
      lostAt ??= Date.now();
      if (Date.now() - lostAt >= PATIENCE) {
        this.#end(turn, 'lost');
        return;
      }
      if (this.status !== 'stopping') this.#set('reconnecting');
      await pause(backoff(attempt), signal);
      attempt += 1;
      if (superseded()) return;
    }
  }

  /** The conversation as it is by now, with a turn at its end that is still to be asked. */
  async #readAgain(turn: Turn, signal: AbortSignal): Promise<void> {
    const { conversationId } = this.memory.get();
    const messages = await this.service.conversation(conversationId ?? '', signal).catch(() => undefined);
    if (!messages || signal.aborted) return; // What is shown is less, and asking goes on.
    turn.before = undefined;
    this.turns = [...toTurns(messages), turn];
    this.#set('sending');
  }

  #question(turn: Turn) {
    const { conversationId } = this.memory.get();
    return { message: turn.question, conversationId, messageId: turn.id, replaces: turn.replaces };
  }

  /** True when the event was the last one. */
  #take(turn: Turn, event: ChatEvent): boolean {
    switch (event.type) {
      case 'start':
        // Of whom the service knows, it has the list: nothing of theirs stays in the browser when they sign out.
        if (this.service.userToken) this.memory.claim(event.conversationId);
        else this.memory.enter(event.conversationId, this.turns[0]?.question ?? '');
        if (this.status === 'reconnecting') this.#set(turn.answer ? 'streaming' : 'sending');
        return false;
      case 'message':
        // What was shown before the connection broke may come again.
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

  /** `refused`: the service did not begin to answer, and may not have the question. */
  #end(turn: Turn, status: TurnStatus, refused = false): void {
    clearTimeout(this.#stopping);
    turn.status = status;
    if (status === 'error' || (status !== 'lost' && !turn.answer.trim())) Object.assign(turn, turn.before);
    // A lost answer can still be fetched, now or after a reload; a refused question is asked again then, unless what was
    // there before it has come back.
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

  /** Supersedes whatever was under way. */
  #begin(): { call: number; signal: AbortSignal } {
    clearTimeout(this.#stopping);
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#call += 1;
    return { call: this.#call, signal: this.#abort.signal };
  }

  #set(status: ChatStatus): void {
    this.status = status;
    this.#host.requestUpdate();
  }
}
