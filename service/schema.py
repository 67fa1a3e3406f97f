"""Everything on the wire: the requests, the events, the errors. `web/openapi.py` makes the document of them."""

import re
from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Literal, Self, TypeVar
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from service.errors import MalformedJSON, ServiceError, ValidationFailed
from service.store import records

MAX_COMMENT_CHARS = 1000
MAX_TITLE_CHARS = 80
MAX_LISTED = 50
MAX_ERRORS = 20
MAX_SOURCES = 20
MAX_SOURCE_TITLE_CHARS = 200
MAX_SOURCE_URL_CHARS = 2000
MAX_ERROR_CHARS = 200  # of a field's name, which a request may choose

Seconds = Annotated[int, Field(ge=0)]
Absent = SkipJsonSchema[None]

# White space, controls and what draws nothing. Plain ranges, so that the document's pattern means the same to every
# regular expression engine, and no categories: this Python's tables may be older than a visitor's emoji.
INVISIBLE = (
    r"\u0000-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f"
    r"\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
)
NO_NUL = r"^[^\u0000]*$"
SOMETHING_VISIBLE = rf"^[^\u0000]*[^{INVISIBLE}][^\u0000]*$"

_visible = re.compile(f"[^{INVISIBLE}]")


def _without_nul(value: str) -> str:
    if "\0" in value:
        raise ValueError("must not contain the character U+0000")
    return value


FactName = Annotated[str, Field(min_length=1, max_length=64)]
Fact = Annotated[str, Field(max_length=500, json_schema_extra={"pattern": NO_NUL}), AfterValidator(_without_nul)]


class Incoming(BaseModel):
    """A request body. Fields that it does not know are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class ChatRequest(Incoming):
    """One question of a visitor."""

    message: str = Field(
        description="The question. Surrounding white space is removed; something visible must be left, and no more "
        "characters (Unicode code points) than the limit.",
        min_length=1,
        examples=["What are your opening hours?"],
        json_schema_extra={"pattern": SOMETHING_VISIBLE},
    )
    conversation_id: UUID | None = Field(
        default=None, description="The conversation that this continues; none starts a new one, whose id `start` tells."
    )
    message_id: UUID | None = Field(
        default=None,
        description="A UUID that the client makes for this call. Sent again with the same question, the same answer "
        "is given, from where `Last-Event-ID` says; the model is never asked twice.",
    )
    regenerate: bool = Field(
        default=False, description="Answer in place of the conversation's last answer.", strict=True
    )
    replaces: list[UUID] | None = Field(
        default=None,
        description="As `regenerate`, but only if the last answer is one of these `message_id`s. If it is another, as "
        "after a question from another tab, `conversation_changed` is answered; if none of them is in the "
        "conversation, nothing is replaced.",
        min_length=1,
        max_length=10,
    )
    context: dict[FactName, Fact] | None = Field(
        default=None,
        description="Facts about the page that the visitor is on, for this answer only: the model is told that they "
        "are data from the page. They are not kept.",
        max_length=20,
        examples=[{"page": "Blue shirt", "price": "29 €"}],
    )

    @field_validator("message", mode="after")
    @classmethod
    def _check_message(cls, value: str, info: ValidationInfo) -> str:
        text = _without_nul(value).strip()
        if not _visible.search(text):
            raise ValueError("must contain something visible")
        limit = (info.context or {}).get("max_message_chars")
        if limit is not None and len(text) > limit:
            raise ValueError(f"must have at most {limit} characters, has {len(text)}")
        return text


class FeedbackRequest(Incoming):
    """What a visitor thinks of an answer."""

    rating: records.Rating
    comment: str | None = Field(default=None, max_length=MAX_COMMENT_CHARS, json_schema_extra={"pattern": NO_NUL})

    @field_validator("comment", mode="after")
    @classmethod
    def _check_comment(cls, value: str | None) -> str | None:
        return None if value is None else _without_nul(value)


# What a tenant's widget looks like

MAX_IMAGE_CHARS = 50_000
# In a policy, white space, commas, semicolons and quotes would end an address; whoever needs them writes them as %xx.
WEB_IMAGE = re.compile(
    r"https://([A-Za-z0-9.-]+(?::[0-9]{1,5})?)(/[A-Za-z0-9._~%!$&()*+=:@/-]*)?(\?[A-Za-z0-9._~%!$&()*+=:@/?-]*)?"
)
DATA_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp|avif|svg\+xml);base64,[A-Za-z0-9+/=]+")


def _color(value: str) -> str:
    if not re.fullmatch(r"#([0-9A-Fa-f]{3}|[0-9A-Fa-f]{6})", value):
        raise ValueError("must be a colour such as #1a6b54")
    return value


def _locale(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*", value):
        raise ValueError("must be a language tag such as de or pt-BR")
    return value


def _image_url(value: str) -> str:
    if not WEB_IMAGE.fullmatch(value) and not DATA_IMAGE.fullmatch(value):
        raise ValueError("must be an https:// address or a data:image/…;base64,… one")
    return value


def image_source(value: object) -> str | None:
    """An image's address as a source of a Content-Security-Policy, if it needs one: exact, but for its query."""
    found = WEB_IMAGE.fullmatch(value) if isinstance(value, str) else None
    return f"https://{found[1].lower()}{found[2] or '/'}" if found else None


def _web_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme != "https" or not parts.hostname or not value.isprintable() or " " in value:
        raise ValueError("must be an https:// address")
    return value


def _handoff(value: str) -> str:
    address = value.removeprefix("mailto:")
    if re.fullmatch(r"[^\s@<>\":]+@[^\s@<>\"?]+(\?[^\s<>\"]*)?", address):
        return value
    return _web_url(value)


ImageUrl = Annotated[str, Field(max_length=MAX_IMAGE_CHARS), AfterValidator(_image_url)]
WebUrl = Annotated[str, Field(max_length=2000), AfterValidator(_web_url)]
Question = Annotated[str, Field(min_length=1, max_length=200)]
Questions = Annotated[list[Question], Field(max_length=6)]


class WidgetSettings(BaseModel):
    """What an operator may set of a tenant's widget. What is left out is the widget's default.

    The names are those of the script tag's attributes, `data-privacy-url` for `privacyUrl`.
    """

    model_config = ConfigDict(extra="forbid", strict=True)

    title: str | None = Field(default=None, max_length=100)
    greeting: str | None = Field(default=None, max_length=1000)
    placeholder: str | None = Field(default=None, max_length=200)
    color: Annotated[str, AfterValidator(_color)] | None = None
    position: Literal["bottom-right", "bottom-left"] | None = None
    theme: Literal["auto", "light", "dark"] | None = None
    locale: Annotated[str, Field(max_length=35), AfterValidator(_locale)] | None = None
    suggestions: Questions | None = None
    followUps: Questions | None = None
    avatar: ImageUrl | None = None
    icon: ImageUrl | None = None
    offsetX: float | None = Field(default=None, ge=0, le=400, allow_inf_nan=False)
    offsetY: float | None = Field(default=None, ge=0, le=400, allow_inf_nan=False)
    sound: bool | None = None
    consent: bool | None = None
    privacy: str | None = Field(default=None, max_length=500)
    privacyUrl: WebUrl | None = None
    handoff: Annotated[str, Field(max_length=2000), AfterValidator(_handoff)] | None = None
    proactive: str | None = Field(default=None, max_length=300)
    proactiveDelay: float | None = Field(default=None, ge=0, le=3600, allow_inf_nan=False)
    proactivePath: str | None = Field(default=None, max_length=500)
    proactiveExit: bool | None = None

    @model_validator(mode="after")
    def _check_texts(self) -> Self:
        for name, value in self:
            for text in value if isinstance(value, list) else [value]:
                if isinstance(text, str) and re.search("[\0\ud800-\udfff]", text):
                    raise ValueError(f"{name} has characters that are not text")
        return self


class Outgoing(BaseModel):
    """What the service answers. Optional fields are left out, not null, when there is nothing to say."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


def _is_none(value: object) -> bool:
    return value is None


class Usage(Outgoing):
    """What the provider counted, in tokens."""

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class StartEvent(Outgoing):
    """Event `start`, the first: which conversation and turn this is."""

    conversation_id: UUID
    message_id: UUID


class MessageEvent(Outgoing):
    """Event `message`: the next piece of the answer. Its `id:` is the position after it, in characters."""

    chunk: str = Field(min_length=1)


class Source(Outgoing):
    """A web page that an answer cites."""

    title: str = Field(min_length=1, max_length=MAX_SOURCE_TITLE_CHARS)
    url: str = Field(max_length=MAX_SOURCE_URL_CHARS, pattern="^https?://")


Sources = Annotated[list[Source], Field(min_length=1, max_length=MAX_SOURCES)]


class SourcesEvent(Outgoing):
    """Event `sources`, at most once, before the last: what the answer cites. `[1]` in its text is the first of them."""

    sources: Sources


class DoneEvent(Outgoing):
    """Event `done`, the last: how the answer ended. `usage` is the provider's count; null where it sent none."""

    status: records.Ending
    usage: Usage | None


class ErrorEvent(Outgoing):
    """Event `error`, the last when the answer broke. The text is safe for a visitor."""

    code: str = Field(description="Stable; more may come.")
    cause: str | Absent = Field(
        default=None,
        description="Of upstream_failed, where it is known: `key_refused`, `model_unknown`, `out_of_credit`, "
        "`address_unknown` or `not_set_up`. For the operator: a visitor can do nothing about any of them.",
        exclude_if=_is_none,
    )
    error: str
    retry_after: Seconds | Absent = Field(
        default=None, description="Seconds after which trying again makes sense.", exclude_if=_is_none
    )


class FieldError(Outgoing):
    """One field that was refused."""

    field: str = Field(examples=["message"])
    message: str = Field(examples=["must contain something visible"])


class Problem(Outgoing):
    """An error before the stream (RFC 9457)."""

    type: str = Field(default="about:blank", description="Always about:blank: `code` tells problems apart.")
    title: str = Field(description="The status in words.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What happened, safe for a visitor.")
    code: str = Field(description="Stable; more may come.")
    cause: str | Absent = Field(
        default=None,
        description="Of upstream_failed, where it is known: `key_refused`, `model_unknown`, `out_of_credit`, "
        "`address_unknown` or `not_set_up`. For the operator: a visitor can do nothing about any of them.",
        exclude_if=_is_none,
    )
    errors: list[FieldError] | Absent = Field(
        default=None, description="Of validation_failed only.", exclude_if=_is_none
    )


class ConversationMessage(Outgoing):
    """One side of a turn: the question (role user) or its answer (role assistant). Both have the turn's id."""

    message_id: UUID
    role: Literal["user", "assistant"]
    content: str
    created_at: datetime
    status: records.Status | Absent = Field(default=None, description="Of an answer only.", exclude_if=_is_none)
    code: str | Absent = Field(default=None, description="Why an answer with status error broke.", exclude_if=_is_none)
    rating: records.Rating | Absent = Field(default=None, description="Of a rated answer only.", exclude_if=_is_none)
    sources: Sources | Absent = Field(
        default=None, description="Of an answer that cites something only.", exclude_if=_is_none
    )


class Conversation(Outgoing):
    """The turns of one conversation, oldest first; answers that were replaced are left out."""

    conversation_id: UUID
    messages: list[ConversationMessage]


class ConversationSummary(Outgoing):
    """One conversation in a list. The title is the beginning of its first question."""

    id: UUID
    title: str = Field(max_length=MAX_TITLE_CHARS)
    updated_at: datetime


class ConversationList(Outgoing):
    """The conversations of the visitor whom the token names, the last used first."""

    conversations: list[ConversationSummary] = Field(max_length=MAX_LISTED)


class Health(Outgoing):
    """The process is alive."""

    status: Literal["ok"]


class Ready(Outgoing):
    """The process can serve: its database answers and it is not shutting down."""

    status: Literal["ready"]


EVENTS: dict[str, type[Outgoing]] = {
    "start": StartEvent,
    "message": MessageEvent,
    "sources": SourcesEvent,
    "done": DoneEvent,
    "error": ErrorEvent,
}


Body = TypeVar("Body", bound=Incoming)


def from_json(model: type[Body], body: bytes, max_message_chars: int) -> Body:
    """A request body as a model. Raises MalformedJSON or ValidationFailed."""
    try:
        return model.model_validate_json(body, context={"max_message_chars": max_message_chars})
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    if any(item["type"] == "json_invalid" for item in found):
        raise MalformedJSON("not JSON")
    raise ValidationFailed(
        [
            (".".join(map(str, item["loc"]))[:MAX_ERROR_CHARS], item["msg"].removeprefix("Value error, "))
            for item in found[:MAX_ERRORS]
        ]
    )


def summary_of(conversation: records.ConversationSummary) -> ConversationSummary:
    """A conversation in a list, titled by the beginning of its first question."""
    title = " ".join(conversation.question.split())
    if len(title) > MAX_TITLE_CHARS:
        title = f"{title[: MAX_TITLE_CHARS - 1]}…"
    return ConversationSummary(id=conversation.id, title=title, updated_at=conversation.updated_at)


def messages_of(turn: records.Turn, text_so_far: str | None) -> list[ConversationMessage]:
    """The two sides of a turn, the answer with its text so far while it is written here."""
    question = ConversationMessage(message_id=turn.id, role="user", content=turn.question, created_at=turn.created_at)
    answer = ConversationMessage(
        message_id=turn.id,
        role="assistant",
        content=turn.answer if text_so_far is None else text_so_far,
        created_at=turn.finished_at or turn.created_at,
        status=turn.status,
        code=turn.code,
        rating=turn.rating,
        sources=sources_of(turn.sources) if turn.sources else None,
    )
    return [question, answer]


def sources_of(sources: Iterable[records.Source]) -> list[Source]:
    """What an answer cites, for the wire."""
    return [Source(**source) for source in sources]


def problem_of(error: ServiceError) -> Problem:
    """An error that is answered before the stream."""
    problem = Problem(
        title=HTTPStatus(error.status_code).phrase, status=error.status_code, detail=error.detail, code=error.code
    )
    if error.cause is not None:
        problem.cause = error.cause
    if isinstance(error, ValidationFailed):
        problem.errors = [FieldError(field=field, message=message) for field, message in error.errors]
    return problem


def to_json(model: BaseModel) -> str:
    """A model as JSON, without its empty optional fields (an `error` event's `retry_after`, a question's status)."""
    return model.model_dump_json()
