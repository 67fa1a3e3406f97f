"""A tenant's conversations for its owner: find, read, export and delete them."""

import re
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service import errors, schema
from service.store import owner, transcripts
from service.store.records import Selection, Turn
from service.store.transcripts import Overview, Wanted
from service.web.owner.guard import owner_api
from service.web.owner.tenants import tenant_of
from service.web.requests import json_response, path_id, service_of

MAX_WORDS_CHARS = 200
RATINGS = ("up", "down")
OUTCOME = re.compile("[a-z_]{1,64}")


class OverviewFacts(BaseModel):
    """A conversation in a list."""

    id: str
    started: datetime
    last: datetime
    subject: str | None
    questions: int
    outcomes: dict[str, int]
    ratings: dict[str, int]
    question: str


class Page(BaseModel):
    """Conversations, the most recently used first; the next page begins after `next`, null on the last page."""

    conversations: list[OverviewFacts]
    next: str | None


class TurnFacts(BaseModel):
    """A question and its answer, with the names of `manage.py conversation export`."""

    id: str
    question: str
    answer: str
    status: str
    code: str | None
    hidden: bool
    rating: str | None
    comment: str | None
    visitor: str | None
    model: str | None
    sources: list[dict[str, str]] | None
    prompt_tokens: int | None
    completion_tokens: int | None
    created_at: datetime
    finished_at: datetime | None


class HandoffFacts(BaseModel):
    """A handoff of a conversation; the visitor's address and note are stored until it is delivered."""

    at: datetime
    state: str
    email: str | None
    note: str | None


class Transcript(BaseModel):
    """A conversation with some of its turns, oldest first; the next page begins after `next`."""

    id: str
    overview: OverviewFacts
    handoffs: list[HandoffFacts]
    turns: list[TurnFacts]
    next: int | None


class Export(BaseModel):
    """A whole conversation, as in a line of `manage.py conversation export`."""

    id: str
    turns: list[TurnFacts]


@owner_api
async def find(request: Request) -> Response:
    """One page of the tenant's conversations, filtered by words, rating, outcome and day."""
    tenant, _ = await tenant_of(request)
    query = request.query_params
    wanted = Wanted(
        tenant=tenant.name,
        since=_day(query.get("from"), "from"),
        until=_day(query.get("to"), "to", days=1),
        rating=_one_of(query.get("rating"), "rating", RATINGS),
        outcome=_matching(query.get("outcome"), "outcome"),
        words=_words(query.get("words")),
        handed_off=query.get("handed_off") == "true",
    )
    after = _after(query.get("after"))
    found = await service_of(request).store.read(
        lambda db: transcripts.find(db, wanted, transcripts.PAGE + 1, after=after)
    )
    shown, more = found[: transcripts.PAGE], len(found) > transcripts.PAGE
    last = f"{shown[-1].last.isoformat()},{shown[-1].id}" if more else None
    return json_response(Page(conversations=[_overview(each) for each in shown], next=last))


@owner_api
async def transcript(request: Request) -> Response:
    """Return one conversation with its turns or, with DELETE, delete it as `manage.py conversation delete` does."""
    tenant, _ = await tenant_of(request)
    service, conversation_id = service_of(request), path_id(request, "conversation_id", errors.ConversationUnknown)
    if request.method == "DELETE":
        if not await service.store.delete_conversations(tenant.name, Selection(id=conversation_id)):
            raise errors.ConversationUnknown("no such conversation")
        await service.answers.forget(conversation_id)
        return Response(status_code=204)
    after = request.query_params.get("after", "0")
    if not re.fullmatch("[0-9]{1,15}", after):
        raise _wrong("after", "must be what an earlier answer has as next")
    overview = await _found(request, tenant.name, conversation_id)
    turns = await service.store.read(
        lambda db: transcripts.turns(db, conversation_id, transcripts.PAGE + 1, after=int(after))
    )
    handoffs = await service.store.read(lambda db: owner.handoffs_of(db, conversation_id))
    shown, more = turns[: transcripts.PAGE], len(turns) > transcripts.PAGE
    return json_response(
        Transcript(
            id=str(conversation_id),
            overview=_overview(overview),
            handoffs=[HandoffFacts(at=h.at, state=h.state, email=h.email, note=h.note) for h in handoffs],
            turns=[_turn(turn) for turn in shown],
            next=shown[-1].number if more else None,
        )
    )


@owner_api
async def export(request: Request) -> Response:
    """One whole conversation as a file."""
    tenant, _ = await tenant_of(request)
    conversation_id = path_id(request, "conversation_id", errors.ConversationUnknown)
    await _found(request, tenant.name, conversation_id)
    turns: list[TurnFacts] = []
    async for _, found in service_of(request).store.export(tenant.name, Selection(id=conversation_id)):
        turns += [_turn(turn) for turn in found]
    response = Response(
        schema.to_json(Export(id=str(conversation_id), turns=turns)),
        media_type="application/json",
        headers={"Content-Disposition": f'attachment; filename="conversation-{conversation_id}.json"'},
    )
    return response


async def _found(request: Request, tenant: str, conversation_id: uuid.UUID) -> Overview:
    overview = await service_of(request).store.read(lambda db: transcripts.overview(db, conversation_id, tenant))
    if overview is None:
        raise errors.ConversationUnknown("no such conversation")
    return overview


def _overview(found: Overview) -> OverviewFacts:
    return OverviewFacts(
        id=str(found.id),
        started=found.started,
        last=found.last,
        subject=found.subject,
        questions=found.questions,
        outcomes=found.outcomes,
        ratings=found.ratings,
        question=found.question,
    )


def _turn(turn: Turn) -> TurnFacts:
    facts: dict[str, Any] = {name: getattr(turn, name) for name in TurnFacts.model_fields if name != "id"}
    return TurnFacts(id=str(turn.id), **facts)


# Query parameters


def _wrong(name: str, problem: str) -> errors.ValidationFailed:
    return errors.ValidationFailed([(name, problem)])


def _words(text: str | None) -> str | None:
    text = text.strip() if text else None
    if text and len(text) > MAX_WORDS_CHARS:
        raise _wrong("words", f"must have at most {MAX_WORDS_CHARS} characters")
    return text or None


def _one_of(text: str | None, name: str, choices: tuple[str, ...]) -> Any:
    if text and text not in choices:
        raise _wrong(name, f"must be {' or '.join(choices)}")
    return text or None


def _matching(text: str | None, name: str) -> str | None:
    if text and not OUTCOME.fullmatch(text):
        raise _wrong(name, "must be a status or an error's code")
    return text or None


def _day(text: str | None, name: str, days: int = 0) -> datetime | None:
    if not text:
        return None
    try:
        at = date.fromisoformat(text)
        return datetime(at.year, at.month, at.day, tzinfo=UTC) + timedelta(days=days)
    except (ValueError, OverflowError):
        raise _wrong(name, "must be a date such as 2026-12-31") from None


def _after(text: str | None) -> transcripts.After | None:
    if not text:
        return None
    at, _, last_id = text.partition(",")
    try:
        moment = datetime.fromisoformat(at)
        if moment.tzinfo is None:
            raise ValueError
        return moment.astimezone(UTC), uuid.UUID(last_id)
    except (ValueError, OverflowError):
        raise _wrong("after", "must be what an earlier answer has as next") from None
