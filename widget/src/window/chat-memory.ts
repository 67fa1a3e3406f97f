import { MAX_KEPT, record, text } from '../protocol.ts';
import { parseJson } from './chat-events.ts';

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

const MAX_CHATS = 30;
const MAX_TITLE = 80;

/**
 * What a visitor's browser keeps over a reload: in this page's own storage; in the host page's where a browser denies it
 * to third parties; and as long as the page lives where that is denied, too. Each tab goes on with its own conversation,
 * and a reload with the one that went on last.
 */
export class ChatMemory {
  readonly #key: string;
  readonly #keeper: Keeper;
  /** What is stored is all tabs'; these are this one's. */
  #own: Partial<Remembered>;
  /** Instead of what this page may not store itself. */
  #kept: string | undefined;

  constructor(widgetId: string, keeper: Keeper) {
    this.#key = `a4w:${widgetId}`;
    this.#keeper = keeper;
    const { conversationId, pending, draft } = this.#read();
    this.#own = { conversationId, pending, draft };
  }

  get(): Remembered {
    return { ...this.#read(), ...this.#own };
  }

  set(change: Partial<Remembered>): void {
    // A question that is on its way is one of this tab's conversation.
    const value = { ...this.#read(), ...(change.pending && this.#own), ...change };
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

  /** A conversation that is not there any more. */
  drop(id: string): void {
    const { chats, conversationId } = this.get();
    this.set({
      chats: chats.filter((chat) => chat.id !== id),
      conversationId: conversationId === id ? null : conversationId,
    });
  }
}

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
