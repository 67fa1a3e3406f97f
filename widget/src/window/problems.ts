import type { Strings } from '../strings/index.ts';
import type { Turn } from './chat-controller.ts';

/** What visitors read for the codes of the service; technical codes share a text. */
const TEXTS: Record<string, keyof Strings> = {
  rate_limited: 'errorBusy',
  visitor_rate_limited: 'errorRateLimit',
  budget_exhausted: 'errorBudget',
  busy: 'errorBusy',
  overloaded: 'errorBusy',
  restarting: 'errorBusy',
  database_unavailable: 'errorBusy',
  upstream_failed: 'errorUpstream',
  upstream_timeout: 'errorTimeout',
  upstream_interrupted: 'errorInterrupted',
  interrupted: 'errorInterrupted',
  empty_answer: 'empty',
  answer_too_long: 'errorAnswerTooLong',
  body_too_large: 'errorTooLong',
  validation_failed: 'errorRejected',
  user_token_missing: 'errorSignIn',
  user_token_invalid: 'errorSignIn',
  user_token_expired: 'errorSignIn',
  key_missing: 'errorUnavailable',
  key_invalid: 'errorUnavailable',
  secret_key_in_browser: 'errorUnavailable',
  origin_not_allowed: 'errorUnavailable',
  // A proxy on the way answers with a status only.
  403: 'errorUnavailable',
  429: 'errorBusy',
  502: 'errorUpstream',
  503: 'errorBusy',
  504: 'errorTimeout',
};

/** The visitor's language comes first, then what the service says to visitors, then what is always true. */
export function problemText(turn: Pick<Turn, 'code' | 'detail'>, strings: Strings): string {
  const key = Object.hasOwn(TEXTS, turn.code) ? TEXTS[turn.code] : undefined;
  return key ? strings[key] : turn.detail || strings.errorGeneric;
}
