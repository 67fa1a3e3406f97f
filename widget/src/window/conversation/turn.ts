import type { Source } from '../markdown/index.ts';
import type { Ending } from './chat-events.ts';
import type { Rating, StoredMessage } from './chat-service.ts';

/** `running` until it has ended; `lost` if the connection broke for good; `empty` if there was no text. */
export type TurnStatus = 'running' | Ending | 'empty' | 'error' | 'lost';

/** A question and its answer. */
export interface Turn {
  id: string;
  readonly question: string;
  answer: string;
  status: TurnStatus;
  /** When it was asked, in milliseconds of `Date.now()`. */
  at: number;
  rating: Rating | '';
  sources: Source[];
  /** The turn that a new answer replaces; it is restored if there is no new text. */
  before: Pick<Turn, 'id' | 'answer' | 'rating' | 'sources'> | undefined;
  /** The id of the event to resume after. */
  position: string | undefined;
  /** The ids of the turns that this one replaces; the service may have stored any of them. */
  replaces: string[];
  code: string;
  /** The service's text about the error for visitors; may be empty. */
  detail: string;
  /** The request id, with which operators find the error in the log. */
  reference: string;
  /** When to try again, in milliseconds of `Date.now()`. */
  retryAt: number;
}

export function createTurn(id: string, question: string): Turn {
  return {
    id,
    question,
    answer: '',
    status: 'running',
    at: Date.now(),
    rating: '',
    sources: [],
    before: undefined,
    position: undefined,
    replaces: [],
    code: '',
    detail: '',
    reference: '',
    retryAt: 0,
  };
}

/** The ids that a replacement of this turn replaces; the service accepts ten. */
export const chain = (turn: Turn): string[] => [...turn.replaces, turn.id].slice(-10);

/** Turns from the entries of a conversation, of which each has two. */
export function toTurns(messages: readonly StoredMessage[]): Turn[] {
  const turns = new Map<string, Turn>();
  for (const message of messages) {
    if (message.role === 'user') {
      const turn = createTurn(message.messageId, message.content);
      turns.set(turn.id, Object.assign(turn, { status: 'lost', at: message.at } satisfies Partial<Turn>));
      continue;
    }
    const turn = turns.get(message.messageId);
    if (!turn) continue;
    const { content, status, code, rating, sources } = message;
    turn.status = status === 'complete' && !content.trim() ? 'empty' : status;
    turn.code = code;
    turn.rating = rating;
    turn.sources = sources;
    // A running answer is sent again from the beginning.
    turn.answer = status === 'running' ? '' : content;
  }
  return [...turns.values()];
}
