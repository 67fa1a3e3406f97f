"""The errors that a caller can get: problem+json before the stream, an `error` event after it began.

Callers see only `detail`, so it must be safe for a visitor. The exception's own message is for the operator's log."""

from service.store.records import INTERRUPTED

MAX_REASON_CHARS = 255  # it may contain what a visitor sent


class ServiceError(Exception):
    """The base: an HTTP status, a stable code, a detail for the caller and, if waiting helps, the seconds to wait.

    `challenge` says what is missing where the status is 401 (RFC 9110, section 11.6.1). `cause` distinguishes
    errors that share a code, because a visitor can do nothing about any of them.

    `ServiceError("why, for the log")`; never put a key, a visitor's words or an upstream's text into it.
    """

    status_code = 500
    code = "internal"
    cause: str | None = None
    challenge: str | None = None
    detail = "Something went wrong on our side. Please try again."

    def __init__(self, reason: str = "", *, detail: str | None = None, retry_after: int | None = None) -> None:
        super().__init__(reason[:MAX_REASON_CHARS])
        if detail is not None:
            self.detail = detail
        self.retry_after = retry_after


class BadRequest(ServiceError):
    status_code = 400
    code = "bad_request"
    detail = "The request is not well formed."


class MalformedJSON(BadRequest):
    code = "malformed_json"
    detail = "The body is not valid JSON."


class KeyMissing(ServiceError):
    status_code = 401
    code = "key_missing"
    challenge = "ApiKey"
    detail = "Send the tenant's key in the header X-API-Key."


class KeyInvalid(KeyMissing):
    code = "key_invalid"
    detail = "The key in X-API-Key is unknown, expired or revoked."


class UserTokenMissing(ServiceError):
    status_code = 401
    code = "user_token_missing"
    challenge = "UserToken"
    detail = "Send the visitor's signed token in the header X-User-Token."


class UserTokenInvalid(UserTokenMissing):
    code = "user_token_invalid"
    detail = "The token in X-User-Token is not a valid one for this site."


class UserTokenExpired(UserTokenInvalid):
    code = "user_token_expired"
    detail = "The token in X-User-Token has expired. Please reload the page."


class MetricsTokenWrong(ServiceError):
    status_code = 401
    code = "metrics_token_wrong"
    challenge = "Bearer"
    detail = "Send METRICS_TOKEN as a bearer token."


class StudioTokenWrong(ServiceError):
    status_code = 401
    code = "studio_token_wrong"
    challenge = "Bearer"
    detail = "Sign in to the studio, or send STUDIO_TOKEN as a bearer token."


class OriginNotAllowed(ServiceError):
    status_code = 403
    code = "origin_not_allowed"
    detail = "This origin is not on the tenant's list."


class SecretKeyRequired(OriginNotAllowed):
    code = "secret_key_required"
    detail = (
        "A call without an Origin comes from no page. Servers use a secret key (a4_sec_…), not a page's public one."
    )


class SecretKeyInBrowser(OriginNotAllowed):
    code = "secret_key_in_browser"
    detail = "A secret key is for servers only; a page uses the public key. Revoke this key if it was in a page."


class ProofInvalid(OriginNotAllowed):
    code = "proof_invalid"
    detail = "The proof in X-Widget-Proof has expired or belongs to another tenant's widget. Reload the widget's page."


class NotFound(ServiceError):
    status_code = 404
    code = "not_found"
    detail = "There is nothing here."


class ConversationUnknown(NotFound):
    code = "conversation_not_found"
    detail = "There is no such conversation."


class MessageUnknown(NotFound):
    code = "message_not_found"
    detail = "There is no such message."


class MethodNotAllowed(ServiceError):
    status_code = 405
    code = "method_not_allowed"
    detail = "This path does not support that method."


class RequestTimeout(ServiceError):
    status_code = 408
    code = "request_timeout"
    detail = "The request's body did not arrive in time."


class BodyTooLarge(ServiceError):
    status_code = 413
    code = "body_too_large"
    detail = "The body is larger than the service accepts."


class UnsupportedMediaType(ServiceError):
    status_code = 415
    code = "unsupported_media_type"
    detail = "Send the body as application/json, without a Content-Encoding."


class ValidationFailed(ServiceError):
    """`errors` lists the fields: (field, message) pairs."""

    status_code = 422
    code = "validation_failed"
    detail = "The request has invalid fields."

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__()
        self.errors = errors


class QuestionTooLong(ServiceError):
    """Too long for the model, even without the history."""

    status_code = 422
    code = "question_too_long"
    detail = "This message is too long for the assistant. Please shorten it."


class QuestionFiltered(ServiceError):
    status_code = 422
    code = "question_filtered"
    detail = "A content filter blocked this message. Please rephrase it."


class MessageIdTaken(ServiceError):
    status_code = 409
    code = "message_id_taken"
    detail = "This message_id was used for another question. Use a new one for each question."


class ConversationChanged(ServiceError):
    status_code = 409
    code = "conversation_changed"
    detail = "This conversation has changed in the meantime. Read it again, then ask."


class HandoffNotSetUp(ServiceError):
    """The tenant has no webhook, or an unusable one."""

    status_code = 409
    code = "handoff_not_set_up"
    detail = "This site does not accept conversations this way."


class HeadTooLarge(ServiceError):
    status_code = 431
    code = "head_too_large"
    detail = "The request line and headers are larger than the service accepts."


class RateLimited(ServiceError):
    status_code = 429
    code = "rate_limited"
    detail = "Too many questions are being asked here right now. Please try again shortly."


class VisitorRateLimited(RateLimited):
    code = "visitor_rate_limited"
    detail = "You have asked many questions in a short time. Please wait a moment."


class TooManyAnswers(RateLimited):
    code = "too_many_answers"
    detail = "You are getting several answers at once. Please wait until one of them has finished."


class BudgetReserved(RateLimited):
    """The rest of the day's budget is reserved for answers in progress, and some of it will be released."""

    code = "budget_reserved"
    detail = "Other questions are being answered right now. Please try again in a moment."


class BudgetExhausted(RateLimited):
    code = "budget_exhausted"
    detail = "The assistant has reached its limit for today. Please come back tomorrow."


class UpstreamFailed(ServiceError):
    status_code = 502
    code = "upstream_failed"
    detail = "The assistant is not available right now. Please try again later."


class KeyRefused(UpstreamFailed):
    cause = "key_refused"


class ModelUnknown(UpstreamFailed):
    cause = "model_unknown"


class OutOfCredit(UpstreamFailed):
    cause = "out_of_credit"


class AddressUnknown(UpstreamFailed):
    """The provider's address has no chat completions."""

    cause = "address_unknown"


class NotSetUp(UpstreamFailed):
    """No provider is set, or one of its variables is unset."""

    cause = "not_set_up"


class UpstreamInterrupted(UpstreamFailed):
    code = "upstream_interrupted"
    detail = "The answer was interrupted. Please try again."


class InvalidAnswer(UpstreamFailed):
    code = "invalid_answer"
    detail = "The answer could not be read. Please try again."


class EmptyAnswer(UpstreamFailed):
    code = "empty_answer"
    detail = "The assistant gave no answer. Please try again or rephrase your question."


class AnswerTooLong(UpstreamFailed):
    code = "answer_too_long"
    detail = "The answer became too long and was stopped."


class UpstreamTimeout(UpstreamFailed):
    status_code = 504
    code = "upstream_timeout"
    detail = "The assistant took too long to answer. Please try again."


class Busy(ServiceError):
    status_code = 503
    code = "busy"
    detail = "The assistant is very busy. Please try again shortly."


class ProviderOverloaded(Busy):
    code = "provider_overloaded"


class Overloaded(Busy):
    code = "overloaded"


class Restarting(Busy):
    code = "restarting"
    detail = "The service is restarting. Please try again in a moment."


class DatabaseUnavailable(Busy):
    code = "database_unavailable"
    detail = "The service cannot reach its database. Please try again shortly."


class Interrupted(UpstreamInterrupted):
    """The process that wrote the answer died before its end."""

    code = INTERRUPTED


def every_error(base: type[ServiceError] = ServiceError) -> dict[str, type[ServiceError]]:
    """All errors by code; the first of those that share one."""
    errors = {base.code: base}
    for subclass in base.__subclasses__():
        errors = every_error(subclass) | errors
    return errors


# Grouped by where they are raised, for the OpenAPI document.

ANY_REQUEST = (ServiceError, BadRequest, HeadTooLarge)
DATABASE = (*ANY_REQUEST, DatabaseUnavailable)
AUTHENTICATION = (
    *DATABASE,
    KeyMissing,
    KeyInvalid,
    OriginNotAllowed,
    ProofInvalid,
    SecretKeyRequired,
    SecretKeyInBrowser,
    UserTokenMissing,
    UserTokenInvalid,
    UserTokenExpired,
)
READING = (*AUTHENTICATION, VisitorRateLimited)  # for calls that don't ask the model
BODY = (RequestTimeout, MalformedJSON, BodyTooLarge, UnsupportedMediaType, ValidationFailed)
LIMITS = (
    RateLimited,
    VisitorRateLimited,
    TooManyAnswers,
    BudgetReserved,
    BudgetExhausted,
    Overloaded,
    Restarting,
)
UPSTREAM = (
    UpstreamFailed,
    UpstreamInterrupted,
    UpstreamTimeout,
    InvalidAnswer,
    Busy,
    ProviderOverloaded,
    QuestionTooLong,
    QuestionFiltered,
)
IN_STREAM = (*UPSTREAM, EmptyAnswer, AnswerTooLong, MessageUnknown, Restarting, Interrupted, ServiceError)
