import { MAX_TEXT, record, text } from '../protocol.ts';
import { parseJson } from './chat-events.ts';

/** A question that was sent and whose answer has not ended yet. */
export interface Pending {
  messageId: string;
  message: string;
  regenerate: boolean;
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
 * to third parties; and as long as the page lives where that is denied, too.
 */
export class ChatMemory {
  readonly #key: string;
  readonly #keeper: Keeper;
  #value: Remembered;
  #denied = false;

  constructor(widgetId: string, keeper: Keeper) {
    this.#key = `a4w:${widgetId}`;
    this.#keeper = keeper;
    let json: string | null;
    try {
      json = localStorage.getItem(this.#key);
    } catch {
      this.#denied = true;
      json = keeper.kept;
    }
    this.#value = parse(json ?? '');
  }

  get(): Remembered {
    return this.#value;
  }

  set(change: Partial<Remembered>): void {
    this.#value = { ...this.#value, ...change };
    // Nothing is kept of a visitor who left nothing to keep.
    const json = Object.values(this.#value).some((value) => (Array.isArray(value) ? value.length : value))
      ? JSON.stringify(this.#value)
      : '';
    try {
      if (this.#denied) this.#keeper.keep(json);
      else if (json) localStorage.setItem(this.#key, json);
      else localStorage.removeItem(this.#key);
    } catch {
      this.#denied = true; // Full or revoked since.
      this.#keeper.keep(json);
    }
  }

  /** Goes on with a conversation, which now is the newest one. */
  enter(id: string, question: string): void {
    const { chats } = this.#value;
    const title = chats.find((chat) => chat.id === id)?.title ?? question.slice(0, MAX_TITLE);
    const others = chats.filter((chat) => chat.id !== id);
    this.set({ conversationId: id, chats: [{ id, title, at: Date.now() }, ...others].slice(0, MAX_CHATS) });
  }

  /** A conversation that is not there any more. */
  drop(id: string): void {
    const { chats, conversationId } = this.#value;
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
        ? { messageId, message, regenerate: pending?.regenerate === true, at: Number(pending?.at) || 0 }
        : null,
    chats: parseChats(from.chats, 'at'),
    draft: text(from.draft, MAX_TEXT) ?? '',
    agreed: from.agreed === true,
    muted: from.muted === true,
    width: length(from.width),
    height: length(from.height),
  };
}

const length = (value: unknown): number => Math.min(Number(value) || 0, 9999);

/** A list of conversations; `at` names the field with their time. */
export function parseChats(value: unknown, at: string): Chat[] {
  return (Array.isArray(value) ? value : []).flatMap((entry) => {
    const from = record(entry);
    const id = text(from?.id, 200);
    return id ? { id, title: text(from?.title, 1000) ?? '…', at: +new Date(from?.[at] as string | number) || 0 } : [];
  });
}
