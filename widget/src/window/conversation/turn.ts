import type { Source } from '../markdown/index.ts';
import type { Ending } from './chat-events.ts';
import type { Rating, StoredMessage } from './chat-service.ts';

/** `running` until it ended; `lost` when the connection went and did not come back; `empty` when nothing was said. */
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
  /** What a new answer replaces: it comes back if there is none. */
  before: Pick<Turn, 'id' | 'answer' | 'rating' | 'sources'> | undefined;
  /** After which event the answer goes on. */
  position: string | undefined;
  /** The ids of the turns that this one takes the place of: of those, the service may have stored any. */
  replaces: string[];
  code: string;
  /** What the service says to visitors about the error; empty when it said nothing. */
  detail: string;
  /** By which the service's people find the error in their logs. */
  reference: string;
  /** When trying again makes sense, in milliseconds of `Date.now()`. */
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

/** What a turn in place of this one takes the place of; the service takes ten ids. */
export const chain = (turn: Turn): string[] => [...turn.replaces, turn.id].slice(-10);

/** The entries of a conversation, two to a turn, as turns. */
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
    // A running answer is sent again from its start.
    turn.answer = status === 'running' ? '' : content;
  }
  return [...turns.values()];
}
