"""Classifies an endpoint's error response by its status, its codes and its text, in any shape.

The provider's own words are never logged or shown: all messages about errors are written here.
"""

import json
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from os.path import commonprefix
from typing import Any, Literal, Self

from service.errors import (
    AddressUnknown,
    Busy,
    KeyRefused,
    ModelUnknown,
    OutOfCredit,
    ProviderOverloaded,
    QuestionFiltered,
    QuestionTooLong,
    ServiceError,
    UpstreamFailed,
)
from service.overlay import CAPS

MAX_RETRY_AFTER = 3600  # seconds
MAX_TEXT_CHARS = 16_384
MAX_DEPTH = 8
REPEATED_CHARS = 16  # of a question that an error repeats in part; fewer may be the error's own words
ESCAPED_SPACE = re.compile(r"\\+[nrt]")

Kind = Literal["too_long", "filtered", "credit", "model", "key", "busy", "overloaded", "address", "refused", "failed"]

# Fields of an error that hold codes, and fields that repeat the request: a visitor's words must not decide its meaning.
CODE_NAMES = {"code", "type", "status", "reason", "error_code", "err_code", "errorcode", "object"}
REPEATED = {"input", "ctx", "url", "body", "request", "messages", "failed_generation", "user_id", "prompt"}

CODES: dict[Kind, set[str]] = {
    "too_long": {
        *("context_length_exceeded", "exceed_context_size_error", "context_window_exceeded", "string_above_max_length"),
        *("request_too_large", "prompt_too_long", "input_too_long", "model_context_window_exceeded", "1261"),
        *("tokens_too_long", "characters_too_long", "outofcontexterror", "model_max_prompt_tokens_exceeded"),
    },
    "filtered": {
        *("content_filter", "content_policy_violation", "responsibleaipolicyviolation", "data_inspection_failed"),
        *("datainspectionfailed", "content_blocked", "guardrail_intervened", "invalid_prompt", "prompt_blocked"),
        *("moderation_blocked", "content_moderation", "censorship_blocked", "sensitive_words_detected", "1301"),
    },
    "credit": {
        *("insufficient_quota", "insufficient_user_quota", "insufficient_balance", "insufficient_credits"),
        *("credit_balance_exhausted", "exceeded_current_quota_error", "billing_not_active", "billing_error"),
        *("billing_hard_limit_reached", "payment_required", "arrearage", "out_of_credits", "1113"),
        *("not_enough_balance", "budget_exceeded", "accountoverdueerror", "allocationquota.freetieronly"),
        "token_quota_reached",
    },
    "model": {
        *("model_not_found", "deploymentnotfound", "model_not_exist", "modelnotfound", "invalid_model"),
        *("unknown_model", "model_decommissioned", "model_not_available", "model_not_supported", "1211"),
        *("modelnotopen", "unavailable_model"),
    },
    "key": {
        *("invalid_api_key", "api_key_invalid", "authentication_error", "unauthorized", "invalid_authentication_error"),
        *("permission_error", "account_deactivated", "access_terminated"),
    },
    "overloaded": {"overloaded_error", "engine_overloaded_error", "overloaded", "model_overloaded", "slow_down"},
}
TEXTS: dict[Kind, re.Pattern[str]] = {
    "too_long": re.compile(
        r"context (length|window|size)|maximum context|too many (input )?tokens|reduce the length|token limit"
        r"|(prompt|input|message)s? (is|are) too long|exceeds? the (maximum|max|limit)[^.]{0,40} tokens"
        r"|maximum (input|prompt) length|input (length|token count)[^.]{0,40}(exceed|should be)|max_input_tokens"
        r"|`?inputs`? tokens \+ `?max_new_tokens|too large for model|request too large|prompt exceeds|超长|过长"
        r"|longer than the maximum (model )?length|must have less than \d{1,9} tokens|less than max_seq_len"
        r"|tokens too long|max input characters|cannot exceed the total tokens limit|contextwindowexceedederror"
        r"|n_keep \(\d{1,9}\) >= n_ctx"
    ),
    "filtered": re.compile(
        r"content (filter|management policy|policy)|usage polic(y|ies)|flagged|inappropriate content|safety system"
        r"|moderation|sensitive ?(content|words|information)|content exists risk|violates usage guidelines"
        r"|safety_check_type|considered high risk|new_sensitive|contentpolicyviolationerror|敏感|违规"
    ),
    "credit": re.compile(
        r"\bcredits?\b|billing|insufficient[ _](balance|funds|quota)|exceeded your current quota|spending limit|payment"
        r"|good standing|balance is (insufficient|not enough)|not enough balance|overdue|budget has been exceeded"
        r"|api usage limits|free tier of the model has been exhausted|daily free allocation|\bkey limit exceeded"
        r"|exceeded(token)?budget|inactive subscription|余额|欠费|额度(不足|已用[尽完])"
    ),
    "model": re.compile(
        r"no endpoints found"
        r"|model\b.{0,120}\b(not found|not exist|doesn.t exist|not available|no longer|deprecated|decommissioned)"
        r"|(no such|unknown|invalid|unavailable) (model|deployment)|supported api model names"
        r"|deployment .{0,60}not exist|models/\S{1,120} is not found|not a (valid model id|chat model)"
        r"|not found the model|model identifier is invalid|not_found_error\W{1,9}message\W{1,9}model: "
        r"|has not activated the model|no available channel|no allowed providers|given endpoint does not exist"
        r"|not found for account|reached (its end of|the end of its) life|no models loaded"
        r"|unable to access (non-serverless )?model|(no|not have|don.t have) access to (the )?model|model access denied"
        r"|only supported in v1/responses|on-demand throughput isn.t supported|use case details have not been submitted"
    ),
    "key": re.compile(r"api[ _-]?key|unauthori[sz]ed|invalid (credentials|token)"),
    "address": re.compile(r"unexpected endpoint or method"),  # LM Studio, with status 200
    "overloaded": re.compile(r"overloaded|engine is (currently )?busy|over capacity|currently loading"),
}
# "Please try again in 7.66s", "retry in 1m30s", "please wait 43 seconds", Google's `retryDelay`: used without a header.
WAIT = re.compile(
    r"(?:(?:try again|retry) (?:in|after)|please wait|retrydelay) ((?:\d{1,6}(?:\.\d+)? ?(?:ms|h|m|s)[a-z]* ?)+)"
)
RESET = r"(\d{1,13}(?:\.\d+)?)\b"
LEAST_UNIX_TIME = 1_000_000_000  # 2001; smaller numbers are seconds to wait
WAIT_PART = re.compile(r"(\d+(?:\.\d+)?) ?(ms|h|m|s)")
UNIT_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600}
RATE = re.compile(
    r"rate.?limit|throttl|resource_exhausted|resource exhausted|per.?(second|minute|min|hour|day)|too many requests"
)
ANY_LIMIT = re.compile("ratelimiterror|throttling_error")  # what LiteLLM and others call every 429

SERVER = re.compile(r"server.?error|internal|overloaded|unavailable|time.?out")

OPERATOR: dict[Kind, str] = {
    "too_long": "the prompt and the longest answer exceed its context; lower MAX_HISTORY_CHARS or MAX_ANSWER_TOKENS",
    "filtered": "its content filter blocked the question",
    "credit": "its account has no credit left, or billing is not active; top it up at the provider",
    "model": "it does not know the model; check OPENAI_MODEL, or the tenant's --model",
    "key": "it refuses the key; check OPENAI_API_KEY, or the variable that --openai-key-env names, and its rights",
    "busy": "its rate limit is reached; raise it at the provider, or lower the tenants' limits",
    "overloaded": "it is overloaded",
    "address": "it has no chat completions; check OPENAI_BASE_URL, which often ends in /v1, with `upstream check`",
    "refused": "it refuses the question; run `manage.py upstream check`",
    "failed": "it failed",
}
ERRORS: dict[Kind, type[ServiceError]] = {
    "too_long": QuestionTooLong,
    "filtered": QuestionFiltered,
    "credit": OutOfCredit,
    "model": ModelUnknown,
    "key": KeyRefused,
    "busy": Busy,
    "overloaded": ProviderOverloaded,
    "address": AddressUnknown,
}
# Meanings by text if no code is known, by status (other client errors are read as 400), and the defaults.
POSSIBLE_BY_TEXT: dict[int, tuple[Kind, ...]] = {
    400: ("too_long", "filtered", "credit", "key", "model", "address"),
    403: ("filtered", "credit", "model"),
    404: ("model",),
    405: (),
    408: (),
    409: (),
    422: ("too_long", "filtered", "model"),
    425: (),
}
OTHERWISE: dict[int, Kind] = {403: "key", 404: "address", 405: "address", 408: "failed", 409: "failed", 425: "failed"}
# The codes that may be logged: others could contain anything.
LOGGED = set().union(*CODES.values()) | {
    *("invalid_request_error", "rate_limit_exceeded", "server_error", "unsupported_parameter", "unsupported_value"),
    *("extra_forbidden", "not_found_error", "api_error", "internal_server_error", "badrequesterror", "forbidden"),
}


@dataclass(frozen=True)
class Refusal:
    """An error response: its status, the seconds to wait if it names any, and its codes and text in lower case."""

    status: int
    codes: frozenset[str] = frozenset()
    text: str = field(default="", repr=False)
    retry_after: int | None = None
    in_success: bool = False  # an error in a response of status 200

    @classmethod
    def of(cls, status: int, headers: Mapping[str, str], body: bytes, sent: Iterable[str] = ()) -> Self:
        """From a response and the part of its body that was read. What it repeats of the texts `sent` is left out."""
        codes, text = _words_of(body)
        text = _without(text, sent) if text else ""
        wait = retry_after(headers)
        if wait is None:
            wait = _wait_in(text)
        if wait is None and status == 429 and RATE.search(text):
            wait = _wait_for_reset(headers.get("x-ratelimit-reset", ""), text)
        return cls(status, codes, text, wait)

    @classmethod
    def in_answer(cls, error: str) -> Self:
        """From an error at the beginning of a response of status 200."""
        codes, text = _words_of(error.encode("utf-8", "replace"))
        statuses = sorted(int(code) for code in codes if re.fullmatch("[45][0-9]{2}", code))
        status = statuses[-1] if statuses else 429 if RATE.search(text) else 500 if SERVER.search(text) else 400
        return cls(status, codes, text, _wait_in(text), in_success=True)

    def without(self, sent: Iterable[str]) -> Self:
        """The same without what it repeats of the texts `sent`."""
        return replace(self, text=_without(self.text, sent))

    @cached_property
    def kind(self) -> Kind:
        """The kind of error. Codes take precedence over text."""
        status = self.status
        if status == 413 or self._has_code("too_long"):
            return "too_long"
        for kind in ("filtered", "credit", "model"):
            if status >= 400 and self._has_code(kind):
                return kind
        if status in (429, 498) or (status >= 400 and "throttl" in self.text):
            return self._limit()
        if status >= 500:
            return self._failure()
        if status == 402:
            return "credit"
        if status == 451:
            return "filtered"
        if status == 401 or (status < 500 and self._has_code("key")):
            return "key"
        if 400 <= status < 500:
            for kind in POSSIBLE_BY_TEXT.get(status, POSSIBLE_BY_TEXT[400]):
                if self._says(kind):
                    return kind
        return OTHERWISE.get(status, "address" if 300 <= status < 400 else "refused" if status >= 400 else "failed")

    def _failure(self) -> Kind:
        if self._says("too_long"):
            return "too_long"
        busy = self.status in (503, 529) or self._has_code("overloaded") or self._says("overloaded")
        return "overloaded" if busy else "failed"

    def _limit(self) -> Kind:
        """The kind of limit: waiting helps with a rate limit, but not without credit or with a long prompt."""
        if "request too large" in self.text:
            return "too_long"
        if self._has_code("overloaded"):
            return "overloaded"
        is_rate = self.retry_after is not None or RATE.search(ANY_LIMIT.sub("", self.text))
        return "credit" if self._says("credit") and not is_rate else "busy"

    def _has_code(self, kind: Kind) -> bool:
        return not self.codes.isdisjoint(CODES[kind])

    def _says(self, kind: Kind) -> bool:
        return TEXTS[kind].search(self.text) is not None

    def names(self, field_name: str) -> bool:
        """Whether the error names a field of the question."""
        return re.search(rf"(?<![a-z_]){re.escape(field_name.lower())}(?![a-z_])", self.text) is not None

    def error(self, overlay: Iterable[str] = ()) -> ServiceError:
        """The error for the caller; its reason, for the log, says what the operator can do.

        `overlay` has the names of the fields that the operator adds to requests.
        """
        code = next((f" ({code})" for code in sorted(self.codes) if code in LOGGED), "")
        answered = f"200 with an error like a {self.status}" if self.in_success else str(self.status)
        reason = f"the upstream answered {answered}{code}: {self._advice(overlay)}"
        passes = self.kind in ("busy", "overloaded", "failed")
        return ERRORS.get(self.kind, UpstreamFailed)(reason, retry_after=self.retry_after if passes else None)

    def _advice(self, overlay: Iterable[str]) -> str:
        if self.kind == "refused":
            if named := list(filter(self.names, overlay)):
                return f"it refuses {', '.join(named)}, which OPENAI_BODY or --upstream adds"
            if any(map(self.names, CAPS)):
                return "it refuses the answer limit under both names; set MAX_ANSWER_TOKENS=0"
        return OPERATOR[self.kind]


def retry_after(headers: Mapping[str, str]) -> int | None:
    """Seconds, at most an hour: `Retry-After` in either form (RFC 9110, section 10.2.3) or with a fraction."""
    value = headers.get("retry-after", "").strip()
    if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", value):
        return _bounded(float(value))
    if re.fullmatch(r"[0-9]{1,9}", milliseconds := headers.get("retry-after-ms", "").strip()):
        return _bounded(int(milliseconds) / 1000)
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):  # such as a year with too many digits
        return None
    if at.tzinfo is None:  # all dates in HTTP are in UTC
        at = at.replace(tzinfo=UTC)
    return _bounded((at - datetime.now(UTC)).total_seconds())


def _bounded(seconds: float) -> int:
    return min(max(math.ceil(seconds), 0), MAX_RETRY_AFTER)


def _wait_in(text: str) -> int | None:
    found = WAIT.search(text)
    if found is None:
        return None
    return _bounded(sum(float(number) * UNIT_SECONDS[unit] for number, unit in WAIT_PART.findall(found[1])))


def _wait_for_reset(header: str, text: str) -> int | None:
    """Seconds until a rate limit is reset: from `X-RateLimit-Reset`, which OpenRouter repeats in the error.

    It has seconds, or a Unix time in seconds or milliseconds.
    """
    found = re.fullmatch(RESET, header) or re.search(rf"\bx-ratelimit-reset {RESET}", text)
    if found is None:
        return None
    seconds = float(found[1])
    if seconds > LEAST_UNIX_TIME * 1000:
        seconds /= 1000
    return _bounded(seconds - time.time() if seconds > LEAST_UNIX_TIME else seconds)


def _words_of(body: bytes) -> tuple[frozenset[str], str]:
    """The codes and the text of an error's body: nested, flat, a list, or plain text; nothing from an HTML page."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = body.decode("utf-8", "replace")
        if "<" in value[:100]:
            return frozenset(), ""
    codes: set[str] = set()
    text = _normal(" ".join(_texts_of(value, "", codes)))
    return frozenset(codes), text[:MAX_TEXT_CHARS]


def _normal(text: str) -> str:
    """A text in lower case on one line, without the backslashes by which strings in JSON and in code differ from it."""
    return " ".join(ESCAPED_SPACE.sub(" ", text).replace("\\", "").lower().split())


def _without(text: str, sent: Iterable[str]) -> str:
    """A normal text without what it repeats of texts that were sent: whole, or at least the beginning or the end."""
    forms = {form for each in sent for form in (_normal(each), _normal(json.dumps(each)[1:-1])) if form}
    by_length = sorted(forms, key=lambda form: (-len(form), form))
    for form in by_length:
        is_short = len(form) < REPEATED_CHARS
        text = re.sub(rf"(?<!\w){re.escape(form)}(?!\w)", " ", text) if is_short else text.replace(form, " ")
    for form in by_length:
        if len(form) >= REPEATED_CHARS:
            text = _without_beginnings(text, form)
            text = _without_beginnings(text[::-1], form[::-1])[::-1]
    return text


def _without_beginnings(text: str, repeated: str) -> str:
    kept, begins = [], repeated[:REPEATED_CHARS]
    while (place := text.find(begins)) >= 0:
        kept.append(text[:place])
        text = text[place + len(commonprefix([text[place:], repeated])) :]
    return " ".join([*kept, text])


def _texts_of(value: Any, name: str, codes: set[str], depth: int = 0) -> Iterator[str]:
    if depth > MAX_DEPTH:
        return
    if isinstance(value, dict):
        for key, item in value.items():
            if key.lower() not in REPEATED:
                yield key
                yield from _texts_of(item, key.lower(), codes, depth + 1)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_of(item, name, codes, depth + 1)
    elif isinstance(value, str) or type(value) is int:
        text = str(value)
        if name in CODE_NAMES:
            codes.add(text.lower())
        if text.startswith("{"):  # a gateway's error may contain the provider's
            try:
                yield from _texts_of(json.loads(text), name, codes, depth + 1)
            except (ValueError, RecursionError):
                yield text
        else:
            yield text
