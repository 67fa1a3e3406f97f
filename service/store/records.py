"""What the store returns and what it raises. Times are aware UTC datetimes."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, TypedDict

LARGEST_INTEGER = 2**31 - 1  # that a column of whole numbers holds
DAY_SECONDS = 86_400
DEFAULT_POOL_SIZE = 8  # connections of a process to PostgreSQL
DEFAULT_HISTORY_TURNS = 20
DEFAULT_HISTORY_CHARS = 32_000
INTERRUPTED = "interrupted"  # the code of a turn whose process is gone, as far as others can tell

Ending = Literal["complete", "length", "filtered", "cancelled"]
Status = Literal[Ending, "running", "error"]
Rating = Literal["up", "down"]
KeyKind = Literal["public", "secret"]


class Source(TypedDict):
    """A web page that an answer cites; its address is an http or https one."""

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer: where its widget may run, what it may spend and how it is answered.

    A limit of 0 means none; None is the service's default. `visitor_streams` is how many answers one visitor may read
    at a time. `openai_key_env` and `openai_base_url_env` name environment variables. `upstream` is what goes to the
    provider with each question, see `overlay.py`.
    `identity_secret_env` names one too, or `identity_public_key` is there in its place; see `access/user_tokens.py`.
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
    """What an operator may set of a tenant. `origins` are as `origins.parse_origin` writes them."""

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
    """What a valid key opens."""

    tenant: Tenant
    key: Key


@dataclass(frozen=True, slots=True)
class Widget:
    """How a tenant's widget looks; `widget_settings.py` says what `settings` may have."""

    id: str
    tenant_id: int
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer. `number` orders the turns of a conversation.

    `code` says why a turn of status `error` broke. `beat` grows while the process that writes the answer lives.
    `replaces` is the turn that this one was asked in place of; a turn that was replaced is hidden. Token counts are the
    provider's, None where it sent none; `reserved` is what the day's budget was charged before they were known,
    `prompt_estimate` the part of it that was for the question and the history.
    `visitor` is a keyed hash, see `visitor_id`. `sources` are what the answer cites, None where it cites nothing.
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
    """What a scope, such as a visitor, may take in each window of `window` seconds."""

    scope: str
    limit: int
    window: float = 60


@dataclass(frozen=True, slots=True)
class QuotaState:
    """What was left of a quota afterwards, and the seconds until its window ends."""

    granted: bool
    left: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Reservation:
    """Tokens of one day's budget that are set aside for an answer. `day` counts from 1970-01-01 UTC."""

    tokens: int
    day: int


@dataclass(frozen=True, slots=True)
class TurnLimits:
    """What a turn may take.

    At most `streams` running turns of its visitor (0: any number); of the conversation before it the newest
    `history_turns`, and no more than `history_chars` characters. `tokens` is what the question and its answer take at
    most, estimated, without that history, `answer_tokens` the answer's part; they are reserved of the `tokens_per_day`
    that the tenant has (0: no limit, but they are counted).
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
    """A turn, the earlier turns that the model should know, oldest first, what was reserved for its answer, and
    what was taken of its quotas.

    `is_new` is False for a repeated request: the turn is the one that is there already, and the history is left empty.
    """

    turn: Turn
    history: list[Turn]
    is_new: bool
    reservation: Reservation | None = None
    taken: list[QuotaState] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class CutTurn:
    """A turn that ends with its process: who writes it (see `Store.begin_turn`), its text so far, what it used and
    what it cites."""

    message_id: uuid.UUID
    writer: str | None
    answer: str
    usage_row: "UsageRow"
    sources: list[Source] | None = None


@dataclass(frozen=True, slots=True)
class Piece:
    """What is new of a running turn's answer: its text from a position on, in characters, and with it the tokens of all
    that was received of the answer so far, shown or not, estimated. `turn` is the turn's number."""

    turn: int
    position: int
    text: str
    received: int


@dataclass(frozen=True, slots=True)
class Followed:
    """A turn as a reader elsewhere sees it: while it runs, its text from `position` on, where its last piece begins at
    `piece`; once it has ended, its whole answer."""

    turn: Turn
    position: int
    text: str
    piece: int


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One request, refused ones too: no text and no address in it. `outcome` is a turn's status or an error code.

    The token counts are the provider's; `charged` is what the day's budget was charged, an estimate where there are
    none. `reservation` is what was set aside for it before, and is settled when the row is written. `requests` is more
    than 1 where so many were refused at once that they are only counted.
    `subject` and `claims` are what the tenant's own backend signed.
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
    """What others ask of a running turn: `followed` grows as readers elsewhere look at it; deleting it stops it."""

    followed: int
    stop_asked: bool


@dataclass(frozen=True, slots=True)
class Selection:
    """Some of a tenant's conversations: of this id, of this subject, or with a turn of this visitor; all if none is."""

    id: uuid.UUID | None = None
    visitor: str | None = None
    subject: str | None = None


UsageGroup = Literal["day", "key", "model", "origin", "outcome", "subject", "tenant", "visitor"]


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """The requests that have `group` in common: its values, in the order in which they were asked for.

    Tokens are the provider's counts, `charged` is what the budget was charged. Times to the first text are in
    milliseconds, None where there was none, and leave out the days that are only kept as sums.
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
    """How many rows a purge deleted or, of usage, made sums of."""

    conversations: int = 0
    counters: int = 0
    usage: int = 0

    def __add__(self, other: "Purged") -> "Purged":
        return Purged(
            self.conversations + other.conversations, self.counters + other.counters, self.usage + other.usage
        )


class StoreError(Exception):
    """Something went wrong in the database, or a request does not fit what is in it."""


class StoreUnavailable(StoreError):
    """The database is locked, gone, full or too slow. The same call may succeed later."""


class StoreTimeout(StoreUnavailable):
    """A call took longer than it may, and nothing else went wrong: the database was slow, or this process was."""


class SchemaMismatch(StoreError):
    """The tables are of another version than this code; see `Store.migrate`."""


class Conflict(StoreError):
    """A row that this one belongs to was removed meanwhile, such as the tenant."""


class TenantNotFound(StoreError):
    """No tenant has this name."""


class KeyNotFound(StoreError):
    """The tenant has no such key."""


class NameTaken(StoreError):
    """Another tenant has this name."""


class Refusal(StoreError):
    """A question that begins no turn. `taken` is what it took of its quotas all the same."""

    def __init__(self, message: str, taken: Sequence[QuotaState] = ()) -> None:
        super().__init__(message)
        self.taken = taken


class QuotaSpent(Refusal):
    """One of its quotas is used up: the last of `taken`."""

    def __init__(self, taken: Sequence[QuotaState]) -> None:
        super().__init__("A quota is used up.", taken)


class ConversationNotFound(Refusal):
    """The tenant has no such conversation."""


class ConversationChanged(Refusal):
    """The conversation's last turn is none of those that a new one shall take the place of."""


class MessageIdTaken(Refusal):
    """This message id belongs to another question, conversation or tenant."""


class TooManyStreams(Refusal):
    """The visitor reads as many answers as one may at a time."""


class BudgetSpent(Refusal):
    """The tenant's tokens of the day are spent; `seconds` until the next day.

    `pending`: only with what is reserved for answers under way, so that some may come back soon.
    """

    def __init__(self, seconds: float, *, pending: bool) -> None:
        super().__init__("The tenant's tokens of the day are spent.")
        self.seconds = seconds
        self.pending = pending
