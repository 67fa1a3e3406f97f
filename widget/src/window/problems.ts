import type { Strings } from '../strings/index.ts';
import type { Turn } from './chat-controller.ts';

/** The visitor's language comes first, then what the service says to visitors, then what is always true. */
export function problemText({ code, detail }: Pick<Turn, 'code' | 'detail'>, strings: Strings): string {
  switch (code) {
    case 'visitor_rate_limited':
    case 'too_many_answers':
      return strings.errorRateLimit;
    case 'budget_exhausted':
      return strings.errorBudget;
    case 'rate_limited':
    case 'budget_reserved':
    case 'busy':
    case 'provider_overloaded':
    case 'overloaded':
    case 'restarting':
    case 'database_unavailable':
    // A proxy on the way answers with a status only.
    case '429':
    case '503':
      return strings.errorBusy;
    case 'upstream_failed':
    case 'invalid_answer':
    case '502':
      return strings.errorUpstream;
    case 'upstream_timeout':
    case '504':
      return strings.errorTimeout;
    case 'upstream_interrupted':
    case 'interrupted':
    case 'message_not_found':
      return strings.errorInterrupted;
    case 'empty_answer':
      return strings.empty;
    case 'answer_too_long':
      return strings.errorAnswerTooLong;
    case 'body_too_large':
    case 'question_too_long':
      return strings.errorTooLong;
    case 'validation_failed':
    case 'question_filtered':
      return strings.errorRejected;
    case 'user_token_missing':
    case 'user_token_invalid':
    case 'user_token_expired':
      return strings.errorSignIn;
    case 'key_missing':
    case 'key_invalid':
    case 'secret_key_in_browser':
    case 'secret_key_required':
    case 'origin_not_allowed':
    case 'proof_invalid':
    case '403':
      return strings.errorUnavailable;
    case 'internal':
      return strings.errorGeneric;
    default:
      return detail || strings.errorGeneric;
  }
}
