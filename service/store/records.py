"""The records and errors of the store. Times are aware UTC datetimes."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, TypedDict

LARGEST_INTEGER = 2**31 - 1  # in an integer column
DAY_SECONDS = 86_400
DEFAULT_POOL_SIZE = 8  # connections of a process to PostgreSQL
DEFAULT_HISTORY_TURNS = 20
DEFAULT_HISTORY_CHARS = 32_000
INTERRUPTED = "interrupted"  # the code of a turn whose process seems to be dead

Ending = Literal["complete", "length", "filtered", "cancelled"]
Status = Literal[Ending, "running", "error"]
Rating = Literal["up", "down"]
KeyKind = Literal["public", "secret"]


class Source(TypedDict):
    """A web page that an answer cites, with an http or https URL."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer: where its widget may run, its limits, and its provider.

    A limit of 0 means none; None is the service's default. `visitor_streams` is the number of concurrent answers per
    visitor. `openai_key_env` and `openai_base_url_env` name environment variables. `upstream` has the additions to each
    request to the provider, see `overlay.py`.
    `identity_secret_env` names a variable, too, unless `identity_public_key` is set; see `access/user_tokens.py`.
    `tell_upstream`: whether its provider learns the ids of a question and the visitor's `sub`.
    `webhook_url_env` and `webhook_secret_env` name two more; see `webhooks/hook.py`.
    `visitor_salt` keys the hashes of its visitors' addresses.
    """

    id: int
    name: str
    origins: list[str]
    rate_per_minute: int
    visitor_rate_per_minute: int
    visitor_streams: int
    tokens_per_day: int
    model: str | None
    system_prompt: str | None
    temperature: float | None
    max_answer_tokens: int | None
    openai_key_env: str | None
    openai_base_url_env: str | None
    upstream: dict[str, Any] | None
    identity_secret_env: str | None
    identity_public_key: str | None
    identity_claims: list[str]
    require_identity: bool
    tell_upstream: bool
    webhook_url_env: str | None
    webhook_secret_env: str | None
    visitor_salt: bytes = field(repr=False)
    created_at: datetime


class TenantSettings(TypedDict, total=False):
    """The settings of a tenant that an operator can change. `origins` are normalized by `origins.parse_origin`."""

    origins: list[str]
    rate_per_minute: int
    visitor_rate_per_minute: int
    visitor_streams: int
    tokens_per_day: int
    model: str | None
    system_prompt: str | None
    temperature: float | None
    max_answer_tokens: int | None
    openai_key_env: str | None
    openai_base_url_env: str | None
    upstream: dict[str, Any] | None
    identity_secret_env: str | None
    identity_public_key: str | None
    identity_claims: list[str]
    require_identity: bool
    tell_upstream: bool
    webhook_url_env: str | None
    webhook_secret_env: str | None


@dataclass(frozen=True, slots=True)
class Key:
    """An API key without its secret part: `hint` is its last four characters."""

    id: int
    tenant_id: int
    kind: KeyKind
    hint: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Access:
    """The tenant and key of a valid API key."""

    tenant: Tenant
    key: Key


@dataclass(frozen=True, slots=True)
class Widget:
    """A tenant's widget; see `widget_settings.py` for its `settings`."""

    id: str
    tenant_id: int
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer. `number` orders the turns of a conversation.

    `code` says why a turn of status `error` failed. `beat` is the heartbeat of the process that writes the answer.
    `replaces` is the turn that this one replaced, which is hidden. Token counts are the provider's, None if it sent
    none; `reserved` is the reservation of the day's budget, `prompt_estimate` the part of it for the question and the
    history. `visitor` is a keyed hash, see `visitor_id`. `sources` are the answer's sources, None if it has none.
    """

    number: int
    id: uuid.UUID
    conversation_id: uuid.UUID
    question: str
    answer: str
    status: Status
    code: str | None
    beat: int
    visitor: str | None
    reserved: int | None
    prompt_estimate: int | None
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    replaces: uuid.UUID | None
    hidden: bool
    rating: Rating | None
    comment: str | None
    sources: list[Source] | None
    created_at: datetime
    finished_at: datetime | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class ConversationSummary:
    """A conversation in a list. `question` is the beginning of its first question."""

    id: uuid.UUID
    question: str
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Quota:
    """The limit of a scope, such as a visitor, in each window of `window` seconds."""

    scope: str
    limit: int
    window: float = 60


@dataclass(frozen=True, slots=True)
class QuotaState:
    """What is left of a quota, and the seconds until its window ends."""

    granted: bool
    left: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens of one day's budget that are reserved for an answer. `day` counts from 1970-01-01 UTC."""

    tokens: int
    day: int


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """The limits of a turn.

    At most `streams` running turns of its visitor (0: any number). Its history has the newest `history_turns`, with at
    most `history_chars` characters. `tokens` estimates the most that the question and its answer can use, without the
    history, and `answer_tokens` the answer's part; they are reserved from the tenant's `tokens_per_day` (0: no limit,
    but they are counted).
    """

    visitor: str | None = None
    streams: int = 0
    history_turns: int = DEFAULT_HISTORY_TURNS
    history_chars: int = DEFAULT_HISTORY_CHARS
    tokens: int = 0
    answer_tokens: int = 0
    tokens_per_day: int = 0


@dataclass(frozen=True, slots=True)
class TurnStart:
    """A turn, its history, oldest first, the reservation for its answer, and the state of its quotas.

    `is_new` is False for a repeated request: the turn is the existing one, and the history is empty.
    """

    turn: Turn
    history: list[Turn]
    is_new: bool
    reservation: Reservation | None = None
    quota_states: list[QuotaState] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CutTurn:
    """A turn cut off by a shutdown: its writer (see `Store.begin_turn`), its text so far, its usage and its sources."""

    message_id: uuid.UUID
    writer: str | None
    answer: str
    usage_row: "UsageRow"
    sources: list[Source] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """A new piece of a running turn's answer: its text from a position on, in characters, and the estimated tokens of
    everything received so far, shown or not. `turn` is the turn's number."""

    turn: int
    position: int
    text: str
    received: int


@dataclass(frozen=True, slots=True)
class Followed:
    """A turn for a reader at another process: while it runs, its text from `position` on, whose last piece begins at
    `piece`; once it has ended, its whole answer."""

    turn: Turn
    position: int
    text: str
    piece: int


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One request, including refused ones, without any text or address. `outcome` is a turn's status or an error code.

    The token counts are the provider's; `charged` is the charge to the day's budget, an estimate without counts.
    `reservation` is settled when the row is written. `requests` is more than 1 if so many were refused at once that
    they are only counted. `subject` and `claims` were signed by the tenant's backend.
    """

    at: datetime
    tenant_id: int | None
    outcome: str
    key_id: int | None = None
    visitor: str | None = None
    conversation_id: uuid.UUID | None = None
    message_id: uuid.UUID | None = None
    origin: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    charged: int = 0
    first_text_ms: int | None = None
    duration_ms: int | None = None
    request_id: str | None = None
    subject: str | None = None
    claims: dict[str, Any] | None = None
    refused: bool = False
    requests: int = 1
    reservation: Reservation | None = None


@dataclass(frozen=True, slots=True)
class RunningTurn:
    """What others see of a running turn: its heartbeat, and whether its process is gone for certain."""

    beat: int
    is_lost: bool


@dataclass(frozen=True, slots=True)
class TurnRequests:
    """Other processes' requests for a running turn: `followed` grows while they have readers; deleting it stops it."""

    followed: int
    stop_asked: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """A selection of a tenant's conversations: by id, by subject, or by a visitor's turn; all if none is given."""

    id: uuid.UUID | None = None
    visitor: str | None = None
    subject: str | None = None


UsageGroup = Literal["day", "key", "model", "origin", "outcome", "subject", "tenant", "visitor"]


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """The total of a group of requests; `group` has the values of the requested columns.

    Tokens are the provider's counts, `charged` is the charge to the budget. Times to the first text are in
    milliseconds, None if there was none, and exclude days that are stored only as totals.
    """

    group: tuple[date | str | int | None, ...]
    requests: int
    refused: int
    prompt_tokens: int
    completion_tokens: int
    charged: int
    first_text_p50_ms: int | None
    first_text_p95_ms: int | None


@dataclass(frozen=True, slots=True)
class Purged:
    """The number of rows that a purge deleted or, for usage, aggregated."""

    conversations: int = 0
    counters: int = 0
    usage: int = 0

    def __add__(self, other: "Purged") -> "Purged":
        return Purged(
            self.conversations + other.conversations, self.counters + other.counters, self.usage + other.usage
        )


class StoreError(Exception):
    """Something went wrong in the database, or a request does not match its content."""


class StoreUnavailable(StoreError):
    """The database is locked, gone, full or too slow. The same call may succeed later."""


class StoreTimeout(StoreUnavailable):
    """A call exceeded its deadline, and nothing else went wrong: the database or this process was slow."""


class SchemaMismatch(StoreError):
    """The tables are of another version than this code; see `Store.migrate`."""


class Conflict(StoreError):
    """A row that this one belongs to, such as the tenant, has been removed meanwhile."""


class TenantNotFound(StoreError):
    """No tenant has this name."""


class KeyNotFound(StoreError):
    """The tenant has no such key."""


class NameTaken(StoreError):
    """Another tenant has this name."""


class Refusal(StoreError):
    """A refused question. `quota_states` is the state of the quotas that it still used up."""

    def __init__(self, message: str, quota_states: Sequence[QuotaState] = ()) -> None:
        super().__init__(message)
        self.quota_states = quota_states


class QuotaSpent(Refusal):
    """A quota is used up: the last one in `quota_states`."""

    def __init__(self, quota_states: Sequence[QuotaState]) -> None:
        super().__init__("A quota is used up.", quota_states)


class ConversationNotFound(Refusal):
    """The tenant has no such conversation."""


class ConversationChanged(Refusal):
    """The conversation's last turn is not one of those that the new one should replace."""


class MessageIdTaken(Refusal):
    """This message id belongs to another question, conversation or tenant."""


class TooManyStreams(Refusal):
    """The visitor has reached the limit of concurrent answers."""


class BudgetSpent(Refusal):
    """The tenant's tokens of the day are spent; `seconds` until the next day.

    `pending`: only because of reservations for answers in progress, so that some may be released soon.
    """

    def __init__(self, seconds: float, *, pending: bool) -> None:
        super().__init__("The tenant's tokens of the day are spent.")
        self.seconds = seconds
        self.pending = pending
