import { MAX_KEPT, record, text } from '../../protocol.ts';
import { parseJson } from './chat-events.ts';
import { UNKNOWN } from './identity.ts';

/** A question that was sent and whose answer has not ended yet. */
export interface Pending {
  messageId: string;
  message: string;
  /** The ids of the turns that it takes the place of. */
  replaces: string[];
  at: number;
}

/** A conversation as the list of earlier ones shows it. `at`: when it last went on, in milliseconds. */
export interface Chat {
  id: string;
  title: string;
  at: number;
}

export interface Remembered {
  conversationId: string | null;
  pending: Pending | null;
  /** Whose these three are, by `personOf`. */
  person: string;
  /** Newest first. */
  chats: Chat[];
  draft: string;
  /** The visitor agreed that messages are sent. */
  agreed: boolean;
  muted: boolean;
  /** Of the window, in CSS pixels, as the visitor has drawn it; 0 for as it comes. */
  width: number;
  height: number;
}

/** The host page's side of the memory. */
export interface Keeper {
  readonly kept: string;
  keep(value: string): void;
}

/** What is one person's alone. */
const NOTHING = { conversationId: null, pending: null, draft: '' };
const MAX_CHATS = 30;
const MAX_TITLE = 80;

/**
 * What a visitor's browser keeps over a reload: in this page's own storage; in the host page's where a browser denies it
 * to third parties; and as long as the page lives where that is denied, too. Each tab goes on with its own conversation,
 * and a reload with the one that went on last. A conversation is one person's: it is not there for anybody else, and goes
 * as soon as somebody else is known to be here. What began without a token is whoever's that signs in.
 */
export class ChatMemory {
  readonly #key: string;
  readonly #keeper: Keeper;
  #person: string;
  /** What is stored is all tabs'; these are this one's. */
  #own: Partial<Remembered> = {};
  /** Instead of what this page may not store itself. */
  #kept: string | undefined;

  constructor(widgetId: string, keeper: Keeper, person = '') {
    this.#key = `a4w:${widgetId}`;
    this.#keeper = keeper;
    this.#person = person;
    this.#enter();
  }

  /** Whether a token is of somebody else than the conversation. */
  isOfAnother(person: string): boolean {
    return !!this.#person && !isSame(this.#person, person);
  }

  /** Who is here from now on. */
  identify(person: string): void {
    const goes = this.isOfAnother(person);
    // What is stored may be another tab's, and of the one who comes.
    if (goes && !isSame(this.#read().person, person)) this.set(NOTHING);
    const { conversationId, pending } = this.#own;
    this.#person = person;
    if (goes || !(conversationId || pending)) this.#enter();
  }

  /** Takes up what is stored, if it is this person's. Of a person who is not known yet, it stays and waits. */
  #enter(): void {
    const { conversationId, pending, draft, person } = this.#read();
    const isTheirs = !person || isSame(person, this.#person);
    this.#own = isTheirs ? { conversationId, pending, draft } : { ...NOTHING };
    if (!isTheirs && this.#person) this.set(NOTHING);
  }

  get(): Remembered {
    return { ...this.#read(), ...this.#own };
  }

  set(change: Partial<Remembered>): void {
    const stored = this.#read();
    const isTheirs = Object.keys(NOTHING).some((name) => name in change);
    const isTaken = isTheirs && !!stored.person && !isSame(stored.person, this.#person);
    // A question that is on its way is one of this tab's conversation.
    const value = { ...stored, ...((change.pending || isTaken) && this.#own), ...change };
    if (isTheirs) value.person = value.conversationId || value.pending || value.draft ? this.#person : '';
    const { chats, ...own } = change;
    this.#own = { ...this.#own, ...own };
    // Nothing is kept of a visitor who left nothing to keep.
    const json = Object.values(value).some((part) => (Array.isArray(part) ? part.length : part))
      ? JSON.stringify(value)
      : '';
    try {
      if (this.#kept !== undefined) this.#keep(json);
      else if (json) localStorage.setItem(this.#key, json);
      else localStorage.removeItem(this.#key);
    } catch {
      this.#keep(json); // Full or revoked since.
    }
  }

  #keep(json: string): void {
    this.#kept = json;
    this.#keeper.keep(json);
  }

  #read(): Remembered {
    if (this.#kept === undefined) {
      try {
        return parse(localStorage.getItem(this.#key) ?? '');
      } catch {
        this.#kept = this.#keeper.kept;
      }
    }
    return parse(this.#kept);
  }

  /** Goes on with a conversation, which now is the newest one. */
  enter(id: string, question: string): void {
    const { chats } = this.get();
    const title = chats.find((chat) => chat.id === id)?.title ?? question.slice(0, MAX_TITLE);
    const others = chats.filter((chat) => chat.id !== id);
    this.set({ conversationId: id, chats: [{ id, title, at: Date.now() }, ...others].slice(0, MAX_CHATS) });
  }

  /** Goes on with a conversation that is in the service's list, and so in none of this browser's. */
  claim(id: string): void {
    this.set({ conversationId: id, chats: this.get().chats.filter((chat) => chat.id !== id) });
  }

  /** A conversation that is not there any more. */
  drop(id: string): void {
    const { chats, conversationId } = this.get();
    this.set({
      chats: chats.filter((chat) => chat.id !== id),
      conversationId: conversationId === id ? null : conversationId,
    });
  }
}

const isSame = (one: string, other: string): boolean => one === other && one !== UNKNOWN;

function parse(json: string): Remembered {
  const from = record(parseJson(json)) ?? {};
  const pending = record(from.pending);
  const messageId = text(pending?.messageId, 200);
  const message = text(pending?.message, 100_000);
  return {
    conversationId: text(from.conversationId, 200) ?? null,
    pending:
      messageId && message
        ? { messageId, message, replaces: parseIds(pending?.replaces), at: Number(pending?.at) || 0 }
        : null,
    person: text(from.person, 8000) ?? '',
    chats: parseChats(from.chats, 'at'),
    draft: text(from.draft, MAX_KEPT) ?? '',
    agreed: from.agreed === true,
    muted: from.muted === true,
    width: length(from.width),
    height: length(from.height),
  };
}

const parseIds = (value: unknown): string[] =>
  (Array.isArray(value) ? value : []).filter((id) => text(id, 200)).slice(0, 10);

const length = (value: unknown): number => Math.min(Number(value) || 0, 9999);

/** A list of conversations; `at` names the field with their time. */
export function parseChats(value: unknown, at: string): Chat[] {
  return (Array.isArray(value) ? value : []).flatMap((entry) => {
    const from = record(entry);
    const id = text(from?.id, 200);
    return id ? { id, title: text(from?.title, 1000) ?? '…', at: +new Date(from?.[at] as string | number) || 0 } : [];
  });
}
