"""How turns end: one function closes them all, and unsent questions are discarded."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Text, and_, bindparam, delete, exists, literal, not_, or_, select, update

from service.store.dialects import is_sqlite
from service.store.prepared import Prepared
from service.store.records import INTERRUPTED, Source, Status, Turn, UsageRow
from service.store.rows import COLUMNS, fetch_record
from service.store.tables import conversations, messages, running
from service.store.turns import show
from service.store.usage import is_settled, settle

MOST_ATTEMPTS = 100  # without text, after which the turn that they replaced is not looked for


@dataclass(frozen=True, slots=True)
class Closing:
    """The ending of a turn, and its usage. `writer` identifies the writer.

    `beat`: close it only if the heartbeat is still this one.
    """

    message_id: uuid.UUID
    writer: str | None
    answer: str
    status: Status
    code: str | None
    usage_row: UsageRow
    at: datetime
    sources: list[Source] | None = None
    beat: int | None = None


_ID = messages.c.id.type
_TIME = messages.c.created_at.type
_HAS_ID = messages.c.id == bindparam("message", type_=_ID)
_SELECT_ID = select(messages.c.id).where(_HAS_ID)
_OF_CONVERSATION = messages.c.conversation_id == bindparam("conversation", type_=_ID)
_WRITER = bindparam("by", type_=Text)
_BEAT = bindparam("beat_", type_=messages.c.beat.type)
_CODE = bindparam("as_code", type_=messages.c.code.type)
# `interrupted` is only another process's assumption, which the real ending replaces.
_IS_OPEN = or_(running, and_(messages.c.code == INTERRUPTED, _CODE.is_distinct_from(INTERRUPTED)))
_TOUCHING = (
    update(conversations)
    .where(conversations.c.id == select(messages.c.conversation_id).where(_HAS_ID).scalar_subquery())
    .values(updated_at=bindparam("at", type_=_TIME))
)
_CLOSE_IT = (
    update(messages)
    .where(_HAS_ID, messages.c.writer.is_not_distinct_from(_WRITER), or_(_BEAT.is_(None), messages.c.beat == _BEAT))
    .where(_IS_OPEN)
    .values(
        answer=bindparam("text", type_=messages.c.answer.type),
        sources=bindparam("cited", type_=messages.c.sources.type),
        status=bindparam("as_status"),
        code=_CODE,
        prompt_tokens=bindparam("asked", type_=messages.c.prompt_tokens.type),
        completion_tokens=bindparam("answered", type_=messages.c.completion_tokens.type),
        finished_at=bindparam("at", type_=_TIME),
        updated_at=bindparam("at", type_=_TIME),
    )
    .returning(messages.c.number, messages.c.replaces, messages.c.hidden)
)
_TOUCH_ITS = Prepared(_TOUCHING)
_HELD = _TOUCHING.returning(conversations.c.id).cte("held")
_CLOSE = Prepared(
    _CLOSE_IT,
    postgresql=_CLOSE_IT.where(messages.c.conversation_id == _HELD.c.id),  # one statement of both
)
_HOLD_CONVERSATIONS = (
    select(conversations.c.id)
    .where(
        conversations.c.id.in_(
            select(messages.c.conversation_id).where(
                messages.c.id.in_(bindparam("messages", expanding=True, type_=_ID))
            )
        )
    )
    .order_by(conversations.c.id)
    .with_for_update()
)
# A turn, the one that it replaced, and so on, up to the first with text: one statement, however many there are.
_HAS_TEXT = (messages.c.answer != "").label("has_text")
_REPLACED = (
    select(messages.c.id, messages.c.replaces, messages.c.hidden, _HAS_TEXT, literal(1).label("attempts"))
    .where(_HAS_ID)
    .cte("replaced", recursive=True)
)
_REPLACED = _REPLACED.union_all(
    select(messages.c.id, messages.c.replaces, messages.c.hidden, _HAS_TEXT, _REPLACED.c.attempts + 1)
    .where(messages.c.id == _REPLACED.c.replaces)
    .where(not_(_REPLACED.c.has_text), _REPLACED.c.attempts < MOST_ATTEMPTS)
)
_LAST_WITH_TEXT = select(_REPLACED.c.id).where(_REPLACED.c.has_text)
_LAST_SHOWN = _LAST_WITH_TEXT.where(not_(_REPLACED.c.hidden))


def close_turn(db: Connection, closing: Closing) -> bool:
    """Close a turn and record its usage. Returns whether it was still open.

    A closed turn stays as it is, so that a call whose outcome is unknown can be retried; only `interrupted`, another
    process's assumption, is replaced. If the conversation has been deleted meanwhile, only the usage is written, once.
    """
    row = closing.usage_row
    values = {
        "message": closing.message_id,
        "by": closing.writer,
        "beat_": closing.beat,
        "text": closing.answer,
        "cited": closing.sources,
        "as_status": closing.status,
        "as_code": closing.code,
        "asked": row.prompt_tokens,
        "answered": row.completion_tokens,
        "at": closing.at,
    }
    # The conversation first, as in begin_turn: locking in different orders could deadlock.
    if is_sqlite(db):
        _TOUCH_ITS.execute(db, {"message": closing.message_id, "at": closing.at})
    closed = _CLOSE.first(db, values)
    number, replaces, hidden = closed or (None, None, False)
    if closed is None:
        if closing.beat is not None or db.scalar(_SELECT_ID, {"message": closing.message_id}) is not None:
            return False
        if is_settled(db, row):
            return False
    elif replaces is not None:
        has_failed = closing.status == "error" or not closing.answer
        if has_failed and not hidden:
            _give_way(db, closing.message_id, replaces)
        elif hidden and not has_failed:
            _take_back(db, closing.message_id, replaces)
    settle(db, row, ended=number)
    return closed is not None


def close_turns(db: Connection, closings: Sequence[Closing]) -> None:
    """Close many turns. Conversations and budgets are locked first, and in a fixed order, to avoid deadlocks."""
    db.execute(_HOLD_CONVERSATIONS, {"messages": [each.message_id for each in closings]})
    for closing in sorted(closings, key=lambda each: each.usage_row.tenant_id or 0):
        close_turn(db, closing)


def _give_way(db: Connection, message_id: uuid.UUID, replaced: uuid.UUID) -> None:
    """Let a turn that failed or has no text give way to the last turn with text that it replaced.

    There may be several in between, as after repeated attempts that all had no text.
    """
    last = db.scalar(_LAST_WITH_TEXT, {"message": replaced})
    if last is not None:
        show(db, last, hidden=False)
        show(db, message_id, hidden=True)


def _take_back(db: Connection, message_id: uuid.UUID, replaced: uuid.UUID) -> None:
    """Let a turn that has succeeded after all, such as one that was taken for lost, replace the turn that is shown."""
    shown = db.scalar(_LAST_SHOWN, {"message": replaced})
    if shown is not None:
        show(db, shown, hidden=True)
        show(db, message_id, hidden=False)


_DISCARD = (
    delete(messages).where(_HAS_ID, messages.c.writer.is_not_distinct_from(_WRITER), running).returning(*COLUMNS[Turn])
)
_INHERIT = (
    update(messages)
    .where(_OF_CONVERSATION, messages.c.replaces == bindparam("message", type_=_ID))
    .values(replaces=bindparam("heir", type_=_ID))
)
_DELETE_IF_EMPTY = delete(conversations).where(
    conversations.c.id == bindparam("conversation", type_=_ID),
    ~exists().where(messages.c.conversation_id == conversations.c.id),
)


def discard_turn(db: Connection, message_id: uuid.UUID, usage_row: UsageRow, writer: str | None, at: datetime) -> None:
    """Discard a running turn that was never sent to the upstream, so that the same request may begin it again.

    A turn that replaced it now replaces the turn that it had replaced itself. Like `close_turn`, this can be retried.
    """
    _TOUCH_ITS.execute(db, {"message": message_id, "at": at})
    turn = fetch_record(db, Turn, _DISCARD, {"message": message_id, "by": writer})
    if turn is not None:
        its: dict[str, Any] = {"conversation": turn.conversation_id}
        db.execute(_INHERIT, its | {"message": turn.id, "heir": turn.replaces})
        if turn.replaces is not None and not turn.hidden:
            show(db, turn.replaces, hidden=False)
        db.execute(_DELETE_IF_EMPTY, its)
    elif is_settled(db, usage_row):
        return
    settle(db, usage_row, ended=None)
