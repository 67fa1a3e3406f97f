"""Queries of the owner's pages: all tenants, and a tenant's daily figures in addition to its usage."""

import uuid
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, Text, and_, cast, func, or_, select

from service.store.records import Rating, Status, Tenant, Widget
from service.store.rows import COLUMNS, to_record
from service.store.tables import conversations, messages, outbox, tenants, widgets

TROUBLE_CHARS = 600  # of a text that is shown in part

_EACH = select(*COLUMNS[Tenant], *COLUMNS[Widget]).join_from(tenants, widgets).order_by(tenants.c.name, widgets.c.id)


@dataclass(frozen=True, slots=True)
class Trouble:
    """A turn that failed, was filtered or cut short, or was rated down, with the beginnings of its texts."""

    conversation_id: uuid.UUID
    message_id: uuid.UUID
    at: datetime
    question: str
    answer: str
    status: Status
    code: str | None
    rating: Rating | None
    comment: str | None


@dataclass(frozen=True, slots=True)
class HandedOff:
    """A handoff. `email` is None after delivery, when it is no longer stored."""

    at: datetime
    state: str
    email: str | None
    note: str | None


def list_widgets(db: Connection) -> list[tuple[Tenant, Widget]]:
    """All tenants with their widgets, ordered by name."""
    return [(to_record(Tenant, row), to_record(Widget, row, len(COLUMNS[Tenant]))) for row in db.execute(_EACH)]


def ratings_by_day(db: Connection, tenant_id: int, since: datetime) -> dict[tuple[date, str], int]:
    """The number of ratings up and down per day of the question, in UTC."""
    day = cast(func.date(messages.c.created_at), Text)
    query = select(day, messages.c.rating, func.count()).join_from(messages, conversations)
    query = query.where(conversations.c.tenant_id == tenant_id, messages.c.created_at >= since)
    rows = db.execute(query.where(messages.c.rating.is_not(None)).group_by(day, messages.c.rating))
    return {(date.fromisoformat(at), rating): count for at, rating, count in rows}


def handoffs_by_day(db: Connection, tenant_id: int, since: datetime) -> dict[date, int]:
    """The number of handoffs per day, in UTC."""
    day = cast(func.date(outbox.c.created_at), Text)
    query = select(day, func.count()).where(outbox.c.tenant_id == tenant_id, outbox.c.kind == "handoff")
    rows = db.execute(query.where(outbox.c.created_at >= since).group_by(day))
    return {date.fromisoformat(at): count for at, count in rows}


def troubles(db: Connection, tenant_id: int, since: datetime, newest: int) -> list[Trouble]:
    """The `newest` turns that need attention: those that failed, were filtered, or were rated down."""
    shown = (
        *(messages.c.conversation_id, messages.c.id, messages.c.created_at),
        func.substr(messages.c.question, 1, TROUBLE_CHARS),
        func.substr(messages.c.answer, 1, TROUBLE_CHARS),
        *(messages.c.status, messages.c.code, messages.c.rating, messages.c.comment),
    )
    is_trouble = or_(messages.c.status.in_(("error", "filtered")), messages.c.rating == "down")
    query = select(*shown).join_from(messages, conversations)
    query = query.where(conversations.c.tenant_id == tenant_id, messages.c.created_at >= since, is_trouble)
    return [Trouble(*row) for row in db.execute(query.order_by(messages.c.number.desc()).limit(newest))]


def handoffs_of(db: Connection, conversation_id: uuid.UUID) -> list[HandedOff]:
    """The handoffs of a conversation, oldest first."""
    its = and_(outbox.c.conversation_id == conversation_id, outbox.c.kind == "handoff")
    query = select(outbox.c.created_at, outbox.c.state, outbox.c.data).where(its).order_by(outbox.c.created_at)

    def field(data: dict[str, Any] | None, name: str) -> str | None:
        return data.get(name) if data else None

    return [HandedOff(at, state, field(data, "email"), field(data, "note")) for at, state, data in db.execute(query)]
