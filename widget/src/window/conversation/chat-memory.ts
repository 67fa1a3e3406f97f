import { MAX_KEPT, parseJson, record, text } from '../../protocol.ts';
import { UNKNOWN } from './identity.ts';

/** A question whose answer has not ended yet. */
export interface Pending {
  messageId: string;
  message: string;
  /** The ids of the turns that it replaces. */
  replaces: string[];
  at: number;
}

/** A conversation in the list of past ones. `at`: its last activity, in milliseconds. */
export interface Chat {
  id: string;
  title: string;
  at: number;
}

export interface Remembered {
  conversationId: string | null;
  pending: Pending | null;
  /** The owner of these three, from `personOf`. */
  person: string;
  /** Newest first. */
  chats: Chat[];
  draft: string;
  /** The visitor has given consent. */
  agreed: boolean;
  muted: boolean;
  /** The window's size in CSS pixels, as chosen by the visitor; 0 for the default. */
  width: number;
  height: number;
}

/** The host page's storage. */
export interface Keeper {
  readonly kept: string;
  keep(value: string): void;
}

/** The data that belongs to one person. */
const NOTHING = { conversationId: null, pending: null, draft: '' };
const MAX_CHATS = 30;
const MAX_TITLE = 80;

/**
 * The data that survives a reload: in this page's own storage, in the host page's if the browser denies storage to third
 * parties, or only in memory if that is denied, too. Each tab continues its own conversation, and a new one the most
 * recent. A conversation belongs to one person: nobody else sees it, and it is removed once another person is known to be
 * here. A conversation that began without a token belongs to the first person who signs in.
 */
export class ChatMemory {
  readonly #key: string;
  readonly #keeper: Keeper;
  #person: string;
  /** The storage is shared by all tabs; these belong to this tab. */
  #own: Partial<Remembered> = {};
  /** The stored text, if this page has no storage of its own. */
  #kept: string | undefined;

  constructor(widgetId: string, keeper: Keeper, person = '') {
    this.#key = `a4w:${widgetId}`;
    this.#keeper = keeper;
    this.#person = person;
    this.#enter();
  }

  /** Whether a token belongs to another person than the conversation. */
  isOfAnother(person: string): boolean {
    return !!this.#person && !isSame(this.#person, person);
  }

  /** Sets the current person. */
  identify(person: string): void {
    const goes = this.isOfAnother(person);
    // The stored data may come from another tab, and belong to the new person.
    if (goes && !isSame(this.#read().person, person)) this.set(NOTHING);
    const { conversationId, pending } = this.#own;
    this.#person = person;
    if (goes || !(conversationId || pending)) this.#enter();
  }

  /** Restores the stored data if it belongs to this person; while the person is unknown, it waits. */
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
    // A pending question belongs to this tab's conversation.
    const value = { ...stored, ...((change.pending || isTaken) && this.#own), ...change };
    if (isTheirs) value.person = value.conversationId || value.pending || value.draft ? this.#person : '';
    const { chats, ...own } = change;
    this.#own = { ...this.#own, ...own };
    // A visitor without any data leaves no entry.
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

  /** Continues a conversation, which becomes the most recent one. */
  enter(id: string, question: string): void {
    const { chats } = this.get();
    const title = chats.find((chat) => chat.id === id)?.title ?? question.slice(0, MAX_TITLE);
    const others = chats.filter((chat) => chat.id !== id);
    this.set({ conversationId: id, chats: [{ id, title, at: Date.now() }, ...others].slice(0, MAX_CHATS) });
  }

  /** Continues a conversation from the service's list, which this browser does not list. */
  claim(id: string): void {
    this.set({ conversationId: id, chats: this.get().chats.filter((chat) => chat.id !== id) });
  }

  /** Removes a deleted conversation. */
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
