"""Conversations for operators and owners: searched by tenant, time, rating and outcome, page by page."""

import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select

from service.store.conversations import first_question, select_turns
from service.store.records import Rating, Turn
from service.store.rows import to_turn
from service.store.tables import conversations, messages, outbox, tenants
from service.store.tenants import get_tenant

PAGE = 50
LARGEST_PAGE = 500


@dataclass(frozen=True, slots=True)
class Overview:
    """A conversation in a list.

    `questions` counts its visible turns. `outcomes` and `ratings` count all turns, including replaced ones: a turn's
    outcome is its error code, or else its status. `question` is the beginning of its first question.
    """

    id: uuid.UUID
    tenant: str
    started: datetime
    last: datetime
    subject: str | None
    questions: int
    outcomes: dict[str, int]
    ratings: dict[str, int]
    question: str


@dataclass(frozen=True, slots=True)
class Wanted:
    """A search for conversations of one tenant or of all, last used in [since, until), with a turn of this rating, one
    of this outcome (`error` matches every error code), and one that contains these words. `handed_off`: only those that
    were handed off.
    """

    tenant: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    rating: Rating | None = None
    outcome: str | None = None
    words: str | None = None
    handed_off: bool = False


# The start of a page: after the conversation with this last use and id.
After = tuple[datetime, uuid.UUID]

_OVERVIEW = select(
    conversations.c.id,
    tenants.c.name,
    conversations.c.created_at,
    conversations.c.updated_at,
    conversations.c.subject,
    first_question.label("question"),
).join_from(conversations, tenants)
_OUTCOME = func.coalesce(messages.c.code, messages.c.status)
_LAST_USED_FIRST = (conversations.c.updated_at.desc(), conversations.c.id)
_OF_CONVERSATION = messages.c.conversation_id == conversations.c.id


def find(db: Connection, wanted: Wanted, limit: int = PAGE, after: After | None = None) -> list[Overview]:
    """One page of conversations, the most recently used first; at most LARGEST_PAGE.

    The next page begins `after` the last one's `(last, id)`. Raises TenantNotFound.
    """
    page = select(conversations.c.id).where(*_conditions(db, wanted)).order_by(*_LAST_USED_FIRST)
    if after is not None:
        at, last_id = after
        updated = conversations.c.updated_at
        page = page.where(or_(updated < at, and_(updated == at, conversations.c.id > last_id)))
    # First the page's ids, so that the details are read only for them.
    query = _OVERVIEW.where(conversations.c.id.in_(page.limit(min(limit, LARGEST_PAGE))))
    return _overviews(db, query.order_by(*_LAST_USED_FIRST))


def overview(db: Connection, conversation_id: uuid.UUID, tenant: str | None = None) -> Overview | None:
    """One conversation, or None if there is none of this id, or the tenant has none. Raises TenantNotFound."""
    query = _OVERVIEW.where(conversations.c.id == conversation_id, *_conditions(db, Wanted(tenant)))
    return next(iter(_overviews(db, query)), None)


def turns(db: Connection, conversation_id: uuid.UUID, limit: int = PAGE, after: int = 0) -> list[Turn]:
    """One page of a conversation's turns, oldest first, including replaced ones; at most LARGEST_PAGE.

    The next page begins `after` the last one's number.
    """
    query = select_turns.where(messages.c.conversation_id == conversation_id, messages.c.number > after)
    query = query.order_by(messages.c.number).limit(min(limit, LARGEST_PAGE))
    return [to_turn(row) for row in db.execute(query)]


def _conditions(db: Connection, wanted: Wanted) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.tenant is not None:
        conditions.append(conversations.c.tenant_id == get_tenant(db, wanted.tenant).id)
    if wanted.since is not None:
        conditions.append(conversations.c.updated_at >= wanted.since)
    if wanted.until is not None:
        conditions.append(conversations.c.updated_at < wanted.until)
    if wanted.rating is not None:
        conditions.append(select(messages.c.id).where(_OF_CONVERSATION, messages.c.rating == wanted.rating).exists())
    if wanted.outcome is not None:
        is_outcome = or_(messages.c.status == wanted.outcome, messages.c.code == wanted.outcome)
        conditions.append(select(messages.c.id).where(_OF_CONVERSATION, is_outcome).exists())
    if wanted.words is not None:
        texts = (messages.c.question, messages.c.answer)
        says = or_(*(text.icontains(wanted.words, autoescape=True) for text in texts))
        conditions.append(select(messages.c.id).where(_OF_CONVERSATION, says).exists())
    if wanted.handed_off:
        its = (outbox.c.conversation_id == conversations.c.id, outbox.c.kind == "handoff")
        conditions.append(select(outbox.c.id).where(*its).exists())
    return conditions


def _overviews(db: Connection, query: Select[*tuple[Any, ...]]) -> list[Overview]:
    rows = db.execute(query).all()
    counts = _counts(db, [row.id for row in rows])
    return [
        Overview(row.id, row.name, row.created_at, row.updated_at, row.subject, *counts[row.id], row.question or "")
        for row in rows
    ]


def _counts(db: Connection, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, tuple[int, dict[str, int], dict[str, int]]]:
    """The number of visible questions of conversations, and of each outcome and rating."""
    groups = (messages.c.conversation_id, messages.c.hidden, _OUTCOME.label("outcome"), messages.c.rating)
    query = select(*groups, func.count().label("turns")).where(messages.c.conversation_id.in_(ids)).group_by(*groups)
    questions: Counter[uuid.UUID] = Counter()
    outcomes: dict[uuid.UUID, Counter[str]] = {each: Counter() for each in ids}
    ratings: dict[uuid.UUID, Counter[str]] = {each: Counter() for each in ids}
    for row in db.execute(query):
        questions[row.conversation_id] += 0 if row.hidden else row.turns
        outcomes[row.conversation_id][row.outcome] += row.turns
        if row.rating is not None:
            ratings[row.conversation_id][row.rating] += row.turns
    return {each: (questions[each], dict(outcomes[each]), dict(ratings[each])) for each in ids}
