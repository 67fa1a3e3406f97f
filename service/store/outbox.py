"""The outbox of events for tenants' webhooks. An event is written in the same transaction as the change it reports.

A process takes an event with a lease, during which no other process takes it; if the process dies, another one delivers
it after the lease. An event is deleted with its conversation.
"""

import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from sqlalchemy import Connection, bindparam, delete, func, select, update

from service.store import counters
from service.store.conversations import find_turn, visible_turns
from service.store.conversations import rate_turn as keep_rating
from service.store.database import Database
from service.store.dialects import INSERTS
from service.store.records import Quota, QuotaSpent, Rating, Tenant, Turn
from service.store.rows import COLUMNS, to_record
from service.store.tables import outbox, storable, tenants, undelivered
from service.store.tenants import get_tenant

NEWEST_TURNS = 200  # of a conversation
MOST_CHARS = 200_000  # of all their texts together
MOST_TEXT_CHARS = 50_000  # of one text

Kind = Literal["handoff", "feedback"]
State = Literal["pending", "delivered", "failed"]


@dataclass(frozen=True, slots=True)
class Handoff:
    """A visitor's message to the site's owner. `quota` is taken, unless the same message was sent before."""

    email: str
    note: str | None
    quota: Quota


@dataclass(frozen=True, slots=True)
class Event:
    """An event to deliver. `attempts` includes the current one."""

    id: uuid.UUID
    kind: Kind
    data: dict[str, Any]
    attempts: int
    created_at: datetime
    tenant: Tenant


@dataclass(frozen=True, slots=True)
class Listed:
    """An event for the operator, without its content. `due_at`: its next attempt, if it is pending."""

    id: uuid.UUID
    tenant: str
    kind: Kind
    state: State
    attempts: int
    problem: str | None
    created_at: datetime
    due_at: datetime


# Writing events


def hand_off(
    db: Connection, tenant_id: int, conversation_id: uuid.UUID, subject: str | None, handoff: Handoff, at: datetime
) -> bool:
    """Write the event for a handoff. Returns whether the subject has such a conversation. Raises QuotaSpent.

    Handing off the same turns with the same note again is the same event.
    """
    newest = visible_turns(db, tenant_id, conversation_id, subject, 1)
    if newest is None:
        return False
    email, note = storable(handoff.email), storable(handoff.note) if handoff.note else None
    event_id = uuid.uuid5(conversation_id, "\n".join([str(newest[-1].id), email, note or ""]))
    if db.scalar(select(outbox.c.id).where(outbox.c.id == event_id)) is not None:
        return True
    quota_states = counters.take(db, [handoff.quota])
    if not quota_states[-1].granted:
        raise QuotaSpent(quota_states)
    # Only now: reading a long conversation takes a while, for which other writes wait.
    turns = visible_turns(db, tenant_id, conversation_id, subject, NEWEST_TURNS + 1) or newest
    listed_turns, is_whole = _turns_that_fit(turns)
    data = {
        "conversation_id": str(conversation_id),
        "email": email,
        "note": note,
        "consent": True,
        "subject": subject,
        "turns": listed_turns,
        "truncated": not is_whole,
    }
    _add_event(db, tenant_id, event_id, conversation_id, None, "handoff", data, at)
    return True


def rate_turn(
    db: Connection,
    tenant_id: int,
    message_id: uuid.UUID,
    subject: str | None,
    rating: Rating | None,
    comment: str | None,
    quota: Quota,
    at: datetime,
) -> bool:
    """Store a rating like `conversations.rate_turn`, and write an event if it has changed and `quota` is not spent.

    The event replaces an earlier one that has not been delivered.
    """
    turn = find_turn(db, tenant_id, message_id, subject)
    if turn is None:
        return False
    comment = storable(comment) if comment is not None else None
    if (turn.rating, turn.comment) == (rating, comment):
        return True
    keep_rating(db, tenant_id, message_id, subject, rating, comment)
    if not counters.take(db, [quota])[-1].granted:
        return True
    db.execute(
        delete(outbox).where(
            outbox.c.conversation_id == turn.conversation_id, outbox.c.message_id == message_id, undelivered
        )
    )
    data = {
        "conversation_id": str(turn.conversation_id),
        "message_id": str(message_id),
        "rating": rating,
        "comment": comment,
        "subject": subject,
        "question": _cut(turn.question),
        "answer": _cut(turn.answer),
    }
    _add_event(db, tenant_id, uuid.uuid4(), turn.conversation_id, message_id, "feedback", data, at)
    return True


def _add_event(
    db: Connection,
    tenant_id: int,
    event_id: uuid.UUID,
    conversation_id: uuid.UUID,
    message_id: uuid.UUID | None,
    kind: Kind,
    data: dict[str, Any],
    at: datetime,
) -> None:
    row = {
        "id": event_id,
        "tenant_id": tenant_id,
        "conversation_id": conversation_id,
        "message_id": message_id,
        "kind": kind,
        "data": data,
        "state": "pending",
        "attempts": 0,
        "created_at": at,
        "due_at": at,
    }
    db.execute(INSERTS[db.dialect.name](outbox).values(row).on_conflict_do_nothing(index_elements=["id"]))


def _turns_that_fit(turns: Sequence[Turn]) -> tuple[list[dict[str, Any]], bool]:
    """The newest turns that fit, oldest first, and whether that is the whole conversation."""
    listed_turns: list[dict[str, Any]] = []
    left = MOST_CHARS
    for turn in reversed(turns[-NEWEST_TURNS:]):
        question, answer = _cut(turn.question), _cut(turn.answer)
        left -= len(question) + len(answer)
        if left < 0:
            break
        listed_turns.insert(
            0,
            {
                "message_id": str(turn.id),
                "question": question,
                "answer": answer,
                "status": turn.status,
                "rating": turn.rating,
                "created_at": turn.created_at.isoformat(),
            },
        )
    is_cut = any(len(text) > MOST_TEXT_CHARS for turn in turns for text in (turn.question, turn.answer))
    return listed_turns, len(listed_turns) == len(turns) and not is_cut


def _cut(text: str) -> str:
    return text[:MOST_TEXT_CHARS]


# Delivering events

_BUSY = outbox.c.tenant_id.not_in(bindparam("busy", expanding=True, type_=outbox.c.tenant_id.type))
_NEXT = select(func.min(outbox.c.due_at)).where(undelivered, _BUSY)
_FIRST_DUE = (
    select(outbox.c.id)
    .where(undelivered, _BUSY, outbox.c.due_at <= bindparam("now", type_=outbox.c.due_at.type))
    .order_by(outbox.c.due_at)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_TAKE = (
    update(outbox)
    .where(outbox.c.id == _FIRST_DUE)
    .values(attempts=outbox.c.attempts + 1, due_at=bindparam("lease_ends", type_=outbox.c.due_at.type))
    .returning(outbox.c.id, outbox.c.kind, outbox.c.data, outbox.c.attempts, outbox.c.created_at, outbox.c.tenant_id)
)
_TENANT = select(*COLUMNS[Tenant]).where(tenants.c.id == bindparam("tenant"))
# Only for the same attempt: another process may have taken the next one.
_SETTLE = (
    update(outbox)
    .where(
        outbox.c.id == bindparam("event", type_=outbox.c.id.type),
        outbox.c.attempts == bindparam("attempt", type_=outbox.c.attempts.type),
        undelivered,
    )
    .values(state=bindparam("as_state"), problem=bindparam("why", type_=outbox.c.problem.type))
)
_FINISH = _SETTLE.values(finished_at=bindparam("at", type_=outbox.c.finished_at.type))
_DELIVERED = _FINISH.values(data=None)
_LATER = _SETTLE.values(due_at=bindparam("at", type_=outbox.c.due_at.type))


def _take_due(db: Connection, busy: Sequence[int], now: datetime, lease_ends: datetime) -> Event | None:
    row = db.execute(_TAKE, {"busy": busy, "now": now, "lease_ends": lease_ends}).first()
    if row is None:
        return None
    tenant = to_record(Tenant, db.execute(_TENANT, {"tenant": row.tenant_id}).one())
    return Event(row.id, row.kind, row.data, row.attempts, row.created_at, tenant)


def _listed(db: Connection, name: str | None, everything: bool, most: int) -> list[Listed]:
    columns = (
        *(outbox.c.id, tenants.c.name, outbox.c.kind, outbox.c.state, outbox.c.attempts),
        *(outbox.c.problem, outbox.c.created_at, outbox.c.due_at),
    )
    chosen = select(*columns).join_from(outbox, tenants).order_by(outbox.c.created_at.desc()).limit(most)
    if name is not None:
        chosen = chosen.where(outbox.c.tenant_id == get_tenant(db, name).id)
    if not everything:
        chosen = chosen.where(outbox.c.state != "delivered")
    return [Listed(*row) for row in db.execute(chosen)]


def _retry(db: Connection, name: str, event_id: uuid.UUID | None, now: datetime) -> int:
    its = (outbox.c.tenant_id == get_tenant(db, name).id, outbox.c.state != "delivered")
    again = update(outbox).where(*its).values(state="pending", attempts=0, due_at=now, finished_at=None)
    return db.execute(again.where(outbox.c.id == event_id) if event_id else again).rowcount


class Outbox:
    """The outbox of a database: each method is one transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def hand_off(
        self, tenant_id: int, conversation_id: uuid.UUID, handoff: Handoff, subject: str | None = None
    ) -> bool:
        """See the function of this name. Raises QuotaSpent, or Conflict if the conversation is being deleted."""
        at = datetime.now(UTC)
        return await self._database.write(lambda db: hand_off(db, tenant_id, conversation_id, subject, handoff, at))

    async def rate_turn(
        self,
        tenant_id: int,
        message_id: uuid.UUID,
        *,
        rating: Rating | None,
        quota: Quota,
        comment: str | None = None,
        subject: str | None = None,
    ) -> bool:
        """See the function of this name. Raises Conflict if the conversation is being deleted."""
        at = datetime.now(UTC)
        return await self._database.write(
            lambda db: rate_turn(db, tenant_id, message_id, subject, rating, comment, quota, at)
        )

    async def next_due(self, busy: Collection[int]) -> datetime | None:
        """When the next event of a tenant that is not `busy` is due. None if there is none."""
        return await self._database.read(lambda db: db.scalar(_NEXT, {"busy": list(busy)}))

    async def take_due(self, busy: Collection[int], now: datetime, lease_ends: datetime) -> Event | None:
        """Take the longest due event of a tenant that is not `busy`, until the lease ends."""
        return await self._database.write(lambda db: _take_due(db, list(busy), now, lease_ends))

    async def delivered(self, event: Event, at: datetime) -> None:
        """Mark an event as delivered and delete its content."""
        values = {"event": event.id, "attempt": event.attempts, "as_state": "delivered", "why": None, "at": at}
        await self._database.write(lambda db: db.execute(_DELIVERED, values).close())

    async def failed(self, event: Event, problem: str, at: datetime, *, again: bool) -> None:
        """Note a failed attempt: the event is due `again` at that time, or marked as failed."""
        statement, state = (_LATER, "pending") if again else (_FINISH, "failed")
        values = {"event": event.id, "attempt": event.attempts, "as_state": state, "why": problem, "at": at}
        await self._database.write(lambda db: db.execute(statement, values).close())

    async def listed(self, name: str | None, *, everything: bool, most: int) -> list[Listed]:
        """The newest events, of one tenant if it is named: undelivered ones, or all. Raises TenantNotFound."""
        return await self._database.read(lambda db: _listed(db, name, everything, most))

    async def retry(self, name: str, event_id: uuid.UUID | None, now: datetime) -> int:
        """Make a tenant's undelivered events due at once, including failed ones. Returns how many.

        Raises TenantNotFound.
        """
        return await self._database.write(lambda db: _retry(db, name, event_id, now))
