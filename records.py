"""What the store returns and what it raises. Times are aware UTC datetimes."""

import uuid
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Literal, TypedDict

Status = Literal["running", "complete", "length", "filtered", "cancelled", "error"]
Rating = Literal["up", "down"]
KeyKind = Literal["public", "secret"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A customer: where its widget may run and what it may spend.

    A limit of 0 means none; None is the service's default. `openai_key_env` names an environment variable.
    `identity_secret_env` names one too, or `identity_public_key` is there in its place; see `identity.py`.
    `visitor_salt` keys the hashes of its visitors' addresses.
    """

    id: int
    name: str
    origins: list[str]
    rate_per_minute: int
    visitor_rate_per_minute: int
    tokens_per_day: int
    model: str | None
    system_prompt: str | None
    openai_key_env: str | None
    identity_secret_env: str | None
    identity_public_key: str | None
    identity_claims: list[str]
    require_identity: bool
    visitor_salt: bytes = field(repr=False)
    created_at: datetime


class TenantSettings(TypedDict, total=False):
    """What an operator may set of a tenant. `origins` are as `origins.parse_origin` writes them."""

    origins: list[str]
    rate_per_minute: int
    visitor_rate_per_minute: int
    tokens_per_day: int
    model: str | None
    system_prompt: str | None
    openai_key_env: str | None
    identity_secret_env: str | None
    identity_public_key: str | None
    identity_claims: list[str]
    require_identity: bool


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
    """How a tenant's widget looks.

    `settings` may have title, greeting, placeholder, color, position, theme, locale (texts) and suggestions (texts).
    """

    id: str
    tenant_id: int
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """A question and its answer. `number` orders the turns of a conversation.

    `code` says why a turn of status `error` broke. `beat` grows while the process that writes the answer lives.
    `replaces` is the turn that this one was asked in place of; a turn
    that was replaced is hidden. Token counts are the provider's, None where it sent none.
    """

    number: int
    id: uuid.UUID
    conversation_id: uuid.UUID
    question: str
    answer: str
    status: Status
    code: str | None
    beat: int
    model: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    replaces: uuid.UUID | None
    hidden: bool
    rating: Rating | None
    comment: str | None
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
class Begun:
    """A turn, and the earlier turns that the model should know, oldest first.

    `begun` is False for a repeated request: the turn is the one that is there already, and the history is left empty.
    """

    turn: Turn
    history: list[Turn]
    begun: bool


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One request, refused ones too: no text and no address in it. `outcome` is a turn's status or an error code.

    `subject` and `claims` are what the tenant's own backend signed.
    """

    at: datetime
    tenant_id: int
    outcome: str
    key_id: int | None = None
    conversation_id: uuid.UUID | None = None
    message_id: uuid.UUID | None = None
    origin: str | None = None
    model: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    first_text_ms: int | None = None
    duration_ms: int | None = None
    request_id: str | None = None
    subject: str | None = None
    claims: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Wishes:
    """What other processes want of a running turn: `followed` grows as readers there look at it."""

    followed: int
    stop_asked: bool


@dataclass(frozen=True, slots=True)
class UsageTotal:
    """The requests of one UTC day with one model and one outcome."""

    day: date
    model: str | None
    outcome: str
    requests: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows a purge deleted."""

    conversations: int
    counters: int


class StoreError(Exception):
    """Something went wrong in the database, or a request does not fit what is in it."""


class StoreUnavailable(StoreError):
    """The database is locked, gone, full or too slow. The same call may succeed later."""


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


class ConversationNotFound(StoreError):
    """The tenant has no such conversation."""


class MessageIdTaken(StoreError):
    """This message id belongs to another question, conversation or tenant."""
