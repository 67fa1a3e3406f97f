import type { Strings } from '../../strings/index.ts';
import type { ChatController } from './chat-controller.ts';

/** Errors that concern the question or the visitor rather than the service. */
const OF_QUESTION = /too_l|rejected|filtered|validation|user_token|empty/;

/** The header's text and the name of its dot's style. `wait`: seconds until the last question can be retried. */
export function headerState(
  { status, last, restoreFailed }: ChatController,
  wait: number,
  strings: Strings,
  pausedText?: (wait: number, strings: Strings) => string,
): [name: string, text: string] {
  if (!navigator.onLine) return ['offline', strings.offline];
  if (status === 'reconnecting') return [status, strings.reconnecting];
  if (status === 'restoring') return [status, strings.restoring];
  if (status !== 'idle') return [status, strings.answering];
  if (wait > 0) return ['down', pausedText?.(wait, strings) ?? strings.unavailable];
  const failed = last?.status === 'error' && !OF_QUESTION.test(last.code);
  return restoreFailed || failed || last?.status === 'lost' ? ['down', strings.unavailable] : [status, strings.online];
}
