import type { Strings } from '../../strings/index.ts';
import type { Turn } from './turn.ts';

/** How an answer ended, where that is worth saying; a complete one needs no words. `problemText` knows more about errors. */
export function endText(
  turn: Turn,
  strings: Strings,
  problemText = (failed: Turn, strings: Strings) => failed.detail || strings.errorGeneric,
): string {
  switch (turn.status) {
    case 'length':
      return strings.cutOff;
    case 'filtered':
      return turn.answer ? strings.filteredRest : strings.filtered;
    case 'cancelled':
      return strings.stopped;
    case 'empty':
      return strings.empty;
    case 'error':
      return problemText(turn, strings);
    case 'lost':
      return turn.answer ? strings.lost : strings.errorOffline;
    case 'running':
    case 'complete':
      return '';
  }
}
