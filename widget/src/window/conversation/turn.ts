import { oneOf, record, text } from '../../protocol.ts';
import type { Source } from '../markdown/index.ts';
import { ENDINGS, type Ending, parseSources } from './chat-events.ts';

const STATUSES = ['running', ...ENDINGS, 'error'] as const;
const RATINGS = ['up', 'down'] as const;
export type Rating = (typeof RATINGS)[number];

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
  /** The ids of the turns that this one replaces, none for an additional one; the service may have stored any of them. */
  replaces: string[];
  code: string;
  /** The service's text about the error for visitors; may be empty. */
  detail: string;
  /** The request id, with which operators find the error in the log. */
  reference: string;
  /** When to try again, in milliseconds of `Date.now()`. */
  retryAt: number;
}

export const NO_PROBLEM = { code: '', detail: '', reference: '', retryAt: 0 };

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
    ...NO_PROBLEM,
  };
}

/** The ids that a replacement of this turn replaces; the service accepts ten. */
export const chain = (turn: Turn): string[] => [...turn.replaces, turn.id].slice(-10);

/** Turns from the messages of a stored conversation: a question, then its answer. Malformed ones are skipped. */
export function toTurns(messages: unknown): Turn[] {
  const turns = new Map<string, Turn>();
  for (const message of Array.isArray(messages) ? messages : []) {
    const from = record(message);
    const id = text(from?.message_id, 200);
    const content = from?.content;
    if (!id || typeof content !== 'string') continue;
    const turn = turns.get(id);
    if (from?.role === 'user') {
      turns.set(id, { ...createTurn(id, content), status: 'lost', at: Date.parse(`${from.created_at}`) });
    } else if (from?.role === 'assistant' && turn) {
      const status = oneOf(from.status, STATUSES) ?? 'complete';
      turn.status = status === 'complete' && !content.trim() ? 'empty' : status;
      turn.code = text(from.code, 100) ?? '';
      turn.rating = oneOf(from.rating, RATINGS) ?? '';
      turn.sources = parseSources(from.sources);
      // A running answer is sent again from the beginning.
      turn.answer = status === 'running' ? '' : content;
    }
  }
  return [...turns.values()];
}
