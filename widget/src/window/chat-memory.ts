import { record, text } from '../protocol.ts';
import { parseJson } from './chat-events.ts';

/** A question that was sent and whose answer has not ended yet. */
export interface Pending {
  messageId: string;
  message: string;
  regenerate: boolean;
  at: number;
}

export interface Remembered {
  conversationId: string | null;
  pending: Pending | null;
}

/** The host page's side of the memory. */
export interface Keeper {
  readonly kept: string;
  keep(value: string): void;
}

/**
 * What a visitor's browser keeps over a reload: in this page's own storage; in the host page's where a browser denies it
 * to third parties; and as long as the page lives where that is denied, too.
 */
export class ChatMemory {
  readonly #key: string;
  readonly #keeper: Keeper;
  #value: Remembered = { conversationId: null, pending: null };
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
    this.#value = parse(json) ?? this.#value;
  }

  get(): Remembered {
    return this.#value;
  }

  set(change: Partial<Remembered>): void {
    this.#value = { ...this.#value, ...change };
    const { conversationId, pending } = this.#value;
    const json = conversationId || pending ? JSON.stringify(this.#value) : '';
    try {
      if (this.#denied) this.#keeper.keep(json);
      else if (json) localStorage.setItem(this.#key, json);
      else localStorage.removeItem(this.#key);
    } catch {
      this.#denied = true; // Full or revoked since.
      this.#keeper.keep(json);
    }
  }
}

function parse(json: string | null): Remembered | undefined {
  const from = record(parseJson(json ?? ''));
  if (!from) return undefined;
  const pending = record(from.pending);
  const messageId = text(pending?.messageId, 200);
  const message = text(pending?.message, 100_000);
  return {
    conversationId: text(from.conversationId, 200) ?? null,
    pending:
      messageId && message
        ? { messageId, message, regenerate: pending?.regenerate === true, at: Number(pending?.at) || 0 }
        : null,
  };
}
