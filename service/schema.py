"""Everything on the wire: requests, events and errors. `web/openapi.py` generates the OpenAPI document from them."""

import re
from collections.abc import Iterable
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic.json_schema import JsonSchemaValue, SkipJsonSchema

from service.errors import Busy, MalformedJSON, NotFound, ServiceError, UpstreamInterrupted, ValidationFailed
from service.store import records

MAX_COMMENT_CHARS = 1000
MAX_TITLE_CHARS = 80
MAX_LISTED = 50
MAX_ERRORS = 20
MAX_SOURCES = 20
MAX_SOURCE_TITLE_CHARS = 200
MAX_SOURCE_URL_CHARS = 2000
MAX_ERROR_CHARS = 200  # a field's name in an error may come from the request

# Values shared by the examples.
CONVERSATION_ID = "5f0c0a3e-8f0e-4c53-9a3b-2f1f6a0b7c11"
MESSAGE_ID = "c1f3b1de-6a52-4e0c-8d0f-3f6f0f5d9a27"
REQUEST_ID = "8f14e45fceea4a6b8d0f3f6f0f5d9a27"

Seconds = Annotated[int, Field(ge=0)]
Absent = SkipJsonSchema[None]

# White space, controls and invisible characters. As plain ranges, the pattern means the same to every regular
# expression engine; as categories, it would depend on Python's tables, which may be older than a visitor's emoji.
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
Words = Annotated[str, Field(json_schema_extra={"pattern": NO_NUL}), AfterValidator(_without_nul)]
Fact = Annotated[Words, Field(max_length=500)]


def examples(*values: JsonSchemaValue) -> ConfigDict:
    """Add examples to a model in the OpenAPI document."""
    return ConfigDict(json_schema_extra={"examples": list(values)})


def examples_of(model: type[BaseModel]) -> list[Any]:
    """The examples of a model, as sent on the wire."""
    extra = model.model_config.get("json_schema_extra")
    assert isinstance(extra, dict)
    found = extra["examples"]
    assert isinstance(found, list)
    return found


class Incoming(BaseModel):
    """A request body. Unknown fields are refused, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


class ChatRequest(Incoming):
    """One question of a visitor."""

    model_config = examples(
        {"message": "What are your opening hours?"},
        {"message": "And on Sundays?", "conversation_id": CONVERSATION_ID, "message_id": MESSAGE_ID},
        {"message": "And on Sundays?", "conversation_id": CONVERSATION_ID, "regenerate": True},
        {"message": "And on Sundays?", "conversation_id": CONVERSATION_ID, "replaces": [MESSAGE_ID]},
        {"message": "Is it in stock?", "context": {"page": "Blue shirt", "price": "29 €"}},
    )

    message: str = Field(
        description="The question. Surrounding white space is removed. The rest must contain something visible and "
        "not exceed the limit of characters (Unicode code points).",
        min_length=1,
        examples=["What are your opening hours?"],
        json_schema_extra={"pattern": SOMETHING_VISIBLE},
    )
    conversation_id: UUID | None = Field(
        default=None, description="The conversation to continue. Without it, a new one starts, whose id is in `start`."
    )
    message_id: UUID | None = Field(
        default=None,
        description="A UUID that the client chooses for this call. If it is sent again with the same question, the "
        "response is the same answer, from `Last-Event-ID` on; the model is never asked twice.",
    )
    regenerate: bool = Field(default=False, description="Replace the conversation's last answer.", strict=True)
    replaces: list[UUID] | None = Field(
        default=None,
        description="Like `regenerate`, but only if the last answer is one of these `message_id`s. If it is another, "
        "such as after a question from another tab, the error is `conversation_changed`; if none of them is in the "
        "conversation, nothing is replaced.",
        min_length=1,
        max_length=10,
    )
    context: dict[FactName, Fact] | None = Field(
        default=None,
        description="Facts about the page that the visitor is on, for this answer only. The model receives them as "
        "data from the page. They are not stored.",
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
    """A visitor's rating of an answer."""

    model_config = examples(
        {"rating": "up"},
        {"rating": "down", "comment": "It did not answer my question."},
    )

    rating: records.Rating
    comment: Annotated[Words, Field(max_length=MAX_COMMENT_CHARS)] | None = None


class Outgoing(BaseModel):
    """A response or event. Empty optional fields are omitted rather than null."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)


def _is_none(value: object) -> bool:
    return value is None


Cause = Annotated[
    str | Absent,
    Field(
        description="For `upstream_failed`, if known: `key_refused`, `model_unknown`, `out_of_credit`, "
        "`address_unknown` or `not_set_up`. For the operator: a visitor can do nothing about any of them.",
        exclude_if=_is_none,
    ),
]


class Usage(Outgoing):
    """What the provider counted, in tokens."""

    model_config = examples(
        {"prompt_tokens": 42, "completion_tokens": 9},
    )

    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class StartEvent(Outgoing):
    """Event `start`, always first: the ids of the conversation and the turn."""

    model_config = examples(
        {"conversation_id": CONVERSATION_ID, "message_id": MESSAGE_ID},
    )

    conversation_id: UUID
    message_id: UUID


class MessageEvent(Outgoing):
    """Event `message`: the next piece of the answer. Its `id:` is the position after it, in characters."""

    model_config = examples(
        {"chunk": "We are open"},
        {"chunk": " from 9 to 17."},
    )

    chunk: str = Field(min_length=1)


class Source(Outgoing):
    """A web page that an answer cites."""

    model_config = examples({"title": "Opening hours", "url": "https://shop.example/hours"})

    title: str = Field(min_length=1, max_length=MAX_SOURCE_TITLE_CHARS)
    url: str = Field(max_length=MAX_SOURCE_URL_CHARS, pattern="^https?://")


Sources = Annotated[list[Source], Field(min_length=1, max_length=MAX_SOURCES)]


class SourcesEvent(Outgoing):
    """Event `sources`, at most once, before the last: the sources of the answer. `[1]` in its text is the first."""

    model_config = examples({"sources": examples_of(Source)})

    sources: Sources


class DoneEvent(Outgoing):
    """Event `done`, the last: how the answer ended. `usage` is the provider's count, or null if it sent none."""

    model_config = examples(
        {"status": "complete", "usage": {"prompt_tokens": 42, "completion_tokens": 9}},
        {"status": "cancelled", "usage": None},
    )

    status: records.Ending
    usage: Usage | None


class ErrorEvent(Outgoing):
    """Event `error`, the last if the answer failed. Its text is safe to show to a visitor."""

    model_config = examples(
        {"code": "upstream_interrupted", "error": UpstreamInterrupted.detail, "request_id": REQUEST_ID},
        {"code": "busy", "error": Busy.detail, "request_id": REQUEST_ID, "retry_after": 20},
    )

    code: str = Field(description="A stable code. New ones may be added.")
    cause: Cause = None
    error: str
    request_id: str = Field(
        description="The response's `X-Request-ID`, which identifies the request in the service's log."
    )
    retry_after: Seconds | Absent = Field(
        default=None, description="Seconds to wait before trying again.", exclude_if=_is_none
    )


class FieldError(Outgoing):
    """One invalid field."""

    model_config = examples(
        {"field": "message", "message": "must contain something visible"},
    )

    field: str = Field(examples=["message"])
    message: str = Field(examples=["must contain something visible"])


class Problem(Outgoing):
    """An error before the stream (RFC 9457)."""

    model_config = examples(
        {
            "type": "about:blank",
            "title": "Not Found",
            "status": 404,
            "detail": NotFound.detail,
            "code": NotFound.code,
            "request_id": REQUEST_ID,
        },
    )

    type: str = Field(default="about:blank", description="Always about:blank; `code` distinguishes problems.")
    title: str = Field(description="The status in words.")
    status: int = Field(ge=400, le=599)
    detail: str = Field(description="What happened, safe for a visitor.")
    code: str = Field(description="A stable code. New ones may be added.")
    request_id: str = Field(
        description="The response's `X-Request-ID`, which identifies the request in the service's log."
    )
    cause: Cause = None
    errors: list[FieldError] | Absent = Field(
        default=None, description="Only for `validation_failed`.", exclude_if=_is_none
    )


class ConversationMessage(Outgoing):
    """One side of a turn: the question (role `user`) or the answer (role `assistant`). Both have the turn's id."""

    model_config = examples(
        {
            "message_id": MESSAGE_ID,
            "role": "user",
            "content": "What are your opening hours?",
            "created_at": "2026-11-02T09:30:00Z",
        },
        {
            "message_id": MESSAGE_ID,
            "role": "assistant",
            "content": "We are open from 9 to 17.",
            "created_at": "2026-11-02T09:30:04Z",
            "status": "complete",
        },
    )

    message_id: UUID
    role: Literal["user", "assistant"]
    content: str
    created_at: datetime
    status: records.Status | Absent = Field(default=None, description="Only for answers.", exclude_if=_is_none)
    code: str | Absent = Field(
        default=None, description="Why an answer with status `error` failed.", exclude_if=_is_none
    )
    rating: records.Rating | Absent = Field(default=None, description="Only for rated answers.", exclude_if=_is_none)
    sources: Sources | Absent = Field(default=None, description="Only for answers with sources.", exclude_if=_is_none)


class Conversation(Outgoing):
    """The turns of one conversation, oldest first, without replaced answers."""

    model_config = examples({"conversation_id": CONVERSATION_ID, "messages": examples_of(ConversationMessage)})

    conversation_id: UUID
    messages: list[ConversationMessage]


class ConversationSummary(Outgoing):
    """One conversation in a list. Its title is the beginning of its first question."""

    model_config = examples(
        {"id": CONVERSATION_ID, "title": "What are your opening hours?", "updated_at": "2026-11-02T09:30:04Z"},
    )

    id: UUID
    title: str = Field(max_length=MAX_TITLE_CHARS)
    updated_at: datetime


class ConversationList(Outgoing):
    """The conversations of the visitor in the token, the most recently used first."""

    model_config = examples({"conversations": examples_of(ConversationSummary)})

    conversations: list[ConversationSummary] = Field(max_length=MAX_LISTED)


class Health(Outgoing):
    """The process is alive."""

    model_config = examples(
        {"status": "ok"},
    )

    status: Literal["ok"]


class Ready(Outgoing):
    """The process can serve: its database answers and it is not shutting down."""

    model_config = examples(
        {"status": "ready"},
    )

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
    """The sources of an answer, for the wire."""
    return [Source(**source) for source in sources]


def problem_of(error: ServiceError, request_id: str = REQUEST_ID) -> Problem:
    """An error before the stream; without an id, an example of one."""
    problem = Problem(
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        detail=error.detail,
        code=error.code,
        request_id=request_id,
        cause=error.cause,
    )
    if isinstance(error, ValidationFailed):
        problem.errors = [FieldError(field=field, message=message) for field, message in error.errors]
    return problem


def to_json(model: BaseModel) -> str:
    """A model as JSON, without its empty optional fields (an `error` event's `retry_after`, a question's status)."""
    return model.model_dump_json()
