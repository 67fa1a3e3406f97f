import type { Strings } from '../../strings/index.ts';
import type { Turn } from './turn.ts';

/** Prefers a text in the visitor's language, then the service's text, then a generic one. */
export function problemText(
  { code, detail, status, answer }: Pick<Turn, 'code' | 'detail'> & Partial<Turn>,
  strings: Strings,
): string {
  if (status === 'length') return strings.cutOff;
  if (status === 'filtered') return answer ? strings.filteredRest : strings.filtered;
  if (status === 'empty') return strings.empty;
  // A number is the HTTP status of a proxy in between.
  const texts: [codes: string, text: string][] = [
    ['visitor_rate_limited too_many_answers', strings.errorRateLimit],
    ['budget_exhausted', strings.errorBudget],
    [
      'rate_limited budget_reserved busy provider_overloaded overloaded restarting database_unavailable 429 503',
      strings.errorBusy,
    ],
    ['upstream_failed invalid_answer 502', strings.errorUpstream],
    ['upstream_timeout 504', strings.errorTimeout],
    ['upstream_interrupted interrupted message_not_found', strings.errorInterrupted],
    ['empty_answer', strings.empty],
    ['answer_too_long', strings.errorAnswerTooLong],
    ['body_too_large question_too_long', strings.errorTooLong],
    ['validation_failed question_filtered', strings.errorRejected],
    ['user_token_missing user_token_invalid user_token_expired', strings.errorSignIn],
    [
      'key_missing key_invalid secret_key_in_browser secret_key_required origin_not_allowed proof_invalid 403',
      strings.errorUnavailable,
    ],
    ['internal', strings.errorGeneric],
  ];
  return texts.find(([codes]) => codes.split(' ').includes(code))?.[1] ?? (detail || strings.errorGeneric);
}
