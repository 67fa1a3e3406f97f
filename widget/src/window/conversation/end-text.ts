import type { Strings } from '../../strings/index.ts';
import type { Turn } from './turn.ts';

/** The text for an answer's ending, if it needs one; a complete answer does not. See also `problemText`. */
export function endText(
  turn: Turn,
  strings: Strings,
  problemText = (failed: Turn, strings: Strings) =>
    failed.status === 'error' ? failed.detail || strings.errorGeneric : '',
): string {
  switch (turn.status) {
    case 'running':
    case 'complete':
      return '';
    case 'cancelled':
      return strings.stopped;
    case 'lost':
      return turn.answer ? strings.lost : strings.errorOffline;
    default:
      return problemText(turn, strings);
  }
}
