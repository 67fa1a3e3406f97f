"""Beginning a turn: its quotas, its conversation, its history and the day's budget, in one transaction."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Select,
    bindparam,
    exists,
    func,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from service.store.conversations import find_turn, touch
from service.store.counters import (
    budget_spent,
    give_back,
    reserve_values,
    reserving,
    states_of,
    take,
    take_values,
    takings,
)
from service.store.dialects import hold, is_sqlite
from service.store.prepared import Prepared
from service.store.records import (
    DAY_SECONDS,
    ConversationChanged,
    MessageIdTaken,
    Quota,
    QuotaState,
    Reservation,
    TooManyStreams,
    Turn,
    TurnLimits,
    TurnStart,
)
from service.store.rows import COLUMNS, defaults, to_record
from service.store.tables import conversations, messages, running, storable
from service.tokens import estimate_tokens

MOST_PASSED_OVER = 1000  # turns without an answer, or replaced, in the search for a history or for the last turn


@dataclass(frozen=True, slots=True)
class NewTurn:
    """A new question; see `Store.begin_turn`."""

    tenant_id: int
    message_id: uuid.UUID
    conversation_id: uuid.UUID | None
    question: str
    regenerate: bool
    replaces: Sequence[uuid.UUID] | None
    model: str | None
    writer: str | None
    subject: str | None
    limits: TurnLimits
    quotas: Sequence[Quota]
    at: datetime
    now: float | None


_ID = messages.c.id.type
_HAS_ID = messages.c.id == bindparam("message", type_=_ID)
_EXISTS = exists().where(_HAS_ID)
_SELECT_EXISTS = Prepared(select(_EXISTS))
_OF_CONVERSATION = messages.c.conversation_id == bindparam("conversation", type_=_ID)
_IS_VISIBLE = messages.c.hidden.is_(False)
_NEWEST_FIRST = messages.c.number.desc()

_each = messages.alias("each")
# The newest turn that is too old to be searched, found in the index alone.
_TOO_OLD = (
    select(_each.c.number)
    .where(_each.c.conversation_id == bindparam("conversation", type_=_ID))
    .order_by(_each.c.number.desc())
    .offset(bindparam("searched", type_=BigInteger))
    .limit(1)
    .scalar_subquery()
)
_IS_RECENT = messages.c.number > func.coalesce(_TOO_OLD, 0)
_LAST = select(messages.c.id).where(_OF_CONVERSATION, _IS_VISIBLE, _IS_RECENT).order_by(_NEWEST_FIRST).limit(1)
_ANY_REPLACEABLE = (
    select(messages.c.id)
    .where(_OF_CONVERSATION, messages.c.id.in_(bindparam("meant", expanding=True, type_=_ID)))
    .limit(1)
)
_HISTORY = Prepared(
    select(*COLUMNS[Turn])
    .where(_OF_CONVERSATION, _IS_VISIBLE, messages.c.answer != "", _IS_RECENT)
    .order_by(_NEWEST_FIRST)
    .limit(bindparam("most", type_=BigInteger))
)
_SHOW = update(messages).where(_HAS_ID).values(hidden=bindparam("is_hidden", type_=messages.c.hidden.type))
_STREAMS = Prepared(
    select(func.count())
    .select_from(messages)
    .where(running, messages.c.visitor == bindparam("visitor_", type_=messages.c.visitor.type))
)

# The inserts. The turn comes before its new conversation: its unique row decides between two identical requests.
_NEW = (
    *("id", "conversation_id", "question", "status", "model", "visitor", "writer", "replaces"),
    *("reserved", "prompt_estimate", "created_at", "updated_at"),
)
_TURN = defaults(messages) | {name: bindparam(f"new_{name}", type_=messages.c[name].type) for name in _NEW}
_CONVERSATION = {
    "id": _TURN["conversation_id"],
    "tenant_id": bindparam("tenant", type_=conversations.c.tenant_id.type),
    "subject": bindparam("subject_", type_=conversations.c.subject.type),
    "created_at": _TURN["created_at"],
    "updated_at": _TURN["created_at"],
}
_INSERT = Prepared(
    sqlite.insert(messages).values(_TURN).on_conflict_do_nothing(index_elements=["id"]).returning(messages.c.number)
)
_OPEN = Prepared(insert(conversations).values(_CONVERSATION))
_RESERVE = Prepared(reserving("sqlite"))


@cache
def _all_steps(quotas: int) -> Select[Any]:
    """Take so many quotas, insert the turn, open its conversation, and reserve its tokens: each step only if the one
    before it was done. The row has what was taken, the day, and the turn's number."""
    taken = takings(quotas, unless=_EXISTS)
    source = select(*_TURN.values())
    if taken:
        source = source.where(taken[-1].granted)
    turn = (
        postgresql.insert(messages)
        .from_select(list(_TURN), source, include_defaults=False)
        .on_conflict_do_nothing(index_elements=["id"])
        .returning(messages.c.number)
        .cte("turn")
    )
    opened = (
        insert(conversations)
        .from_select(
            list(_CONVERSATION),
            select(*_CONVERSATION.values()).select_from(turn).where(bindparam("opens", type_=Boolean)),
        )
        .cte("opened")
    )
    day = reserving("postgresql", after=turn).cte("day")
    one = select(literal(1)).subquery("one")
    return (
        select(
            *(column for each in taken for column in each.columns),
            select(day.c.started).scalar_subquery(),
            turn.c.number,
        )
        .select_from(one.outerjoin(turn, true()))
        .add_cte(opened)
    )


def begin_turn(db: Connection, new: NewTurn) -> tuple[list[QuotaState], TurnStart | None]:
    """See `Store.begin_turn`. Returns the state of the quotas, and the turn unless one of them is used up."""
    limits = new.limits
    replaced: uuid.UUID | None = None
    history: list[Turn] = []
    if new.conversation_id is not None:
        touch(db, new.tenant_id, new.conversation_id, new.subject, new.at)
        if new.regenerate:
            if _exists(db, new):
                return [], _repeated(db, new)
            replaced = _replaced(db, new.conversation_id, new.replaces)
        history = _history(db, new.conversation_id, limits, without=replaced)
    if limits.visitor is not None and limits.streams:
        hold(db, limits.visitor)
    tokens = limits.tokens + estimate_tokens(text for each in history for text in (each.question, each.answer))
    # Rows that all visitors of a tenant share come last: they are locked from here to the commit.
    insert_turn = _insert_in_steps if is_sqlite(db) else _insert_at_once
    values = _values(db, new, replaced, tokens)
    quota_states, number, day = insert_turn(db, new, values)
    if quota_states and not quota_states[-1].granted:
        return quota_states, None
    if number is None:
        return quota_states, _repeated(db, new)
    if replaced is not None:
        show(db, replaced, hidden=True)
    if limits.visitor is not None and limits.streams:
        if _STREAMS.scalar(db, {"visitor_": limits.visitor}) > limits.streams:
            raise TooManyStreams("The visitor reads as many answers as one may at a time.")
    if day is None:
        raise budget_spent(db, new.tenant_id, tokens, limits.tokens_per_day, new.now)
    return quota_states, TurnStart(
        _turn(number, values), history, is_new=True, reservation=Reservation(tokens, round(day / DAY_SECONDS))
    )


def _values(db: Connection, new: NewTurn, replaced: uuid.UUID | None, tokens: int) -> dict[str, Any]:
    """The values that the statements for a turn bind, except the quotas'."""
    return {
        "message": new.message_id,
        "new_id": new.message_id,
        "new_conversation_id": new.conversation_id or uuid.uuid4(),
        "new_question": new.question,
        "new_status": "running",
        "new_model": new.model,
        "new_visitor": new.limits.visitor,
        "new_writer": new.writer,
        "new_replaces": replaced,
        "new_reserved": tokens,
        "new_prompt_estimate": tokens - new.limits.answer_tokens,
        "new_created_at": new.at,
        "new_updated_at": new.at,
        "opens": new.conversation_id is None,
        "tenant": new.tenant_id,
        "subject_": new.subject,
        **reserve_values(db, new.tenant_id, tokens, new.limits.tokens_per_day, new.now),
    }


Inserted = tuple[list[QuotaState], int | None, float | None]  # the state of the quotas, the turn's number, the day


def _insert_in_steps(db: Connection, new: NewTurn, values: dict[str, Any]) -> Inserted:
    """SQLite: one statement per step, each if the previous one succeeded. Statements are cheap with a single writer."""
    quota_states: list[QuotaState] = []
    if new.quotas:
        if _exists(db, new):
            return [], None, None
        quota_states = take(db, new.quotas)
        if not quota_states[-1].granted:
            return quota_states, None, None
    number = _INSERT.scalar(db, values)
    if number is None:
        return quota_states, None, None
    if values["opens"]:
        _OPEN.execute(db, values)
    return quota_states, number, _RESERVE.scalar(db, values)


def _insert_at_once(db: Connection, new: NewTurn, values: dict[str, Any]) -> Inserted:
    """PostgreSQL: the same steps in one statement, and so one round trip."""
    row = db.execute(_all_steps(len(new.quotas)), take_values(db, new.quotas) | values).one()
    day, number = row[-2:]
    if number is None and _exists(db, new):
        give_back(db, new.quotas, row)  # an identical request came first while this one waited
        return [], None, None
    return states_of(db, new.quotas, row), number, day


def _turn(number: int, values: dict[str, Any]) -> Turn:
    """The inserted turn, without reading it."""
    columns: dict[str, Any] = {column.name: values.get(f"new_{column.name}") for column in COLUMNS[Turn]}
    columns |= {name: storable(columns[name]) for name in ("question", "model") if columns[name] is not None}
    return Turn(**columns | {"number": number, "answer": "", "beat": 0, "hidden": False})


def is_repeat(turn: Turn, conversation_id: uuid.UUID | None, question: str) -> bool:
    """Whether a request with a turn's message id is a repetition of the one that began it."""
    return turn.question == storable(question) and conversation_id in (None, turn.conversation_id)


def _exists(db: Connection, new: NewTurn) -> bool:
    return bool(_SELECT_EXISTS.scalar(db, {"message": new.message_id}))


def _repeated(db: Connection, new: NewTurn) -> TurnStart:
    """The existing turn, if it belongs to the same request. Raises MessageIdTaken."""
    turn = find_turn(db, new.tenant_id, new.message_id, new.subject)
    if turn is None or not is_repeat(turn, new.conversation_id, new.question):
        raise MessageIdTaken("This message id belongs to another request.")
    return TurnStart(turn, [], is_new=False)


def _replaced(db: Connection, conversation_id: uuid.UUID, replaceable: Sequence[uuid.UUID] | None) -> uuid.UUID | None:
    """The conversation's last visible turn, if it is one of `replaceable` or any will do.

    Raises ConversationChanged if one of `replaceable` exists but is not the last.
    """
    last = db.scalar(_LAST, {"conversation": conversation_id, "searched": MOST_PASSED_OVER})
    if replaceable is None or last is None or last in replaceable:
        return last
    if db.scalar(_ANY_REPLACEABLE, {"conversation": conversation_id, "meant": list(replaceable)}) is not None:
        raise ConversationChanged("The last turn of the conversation is another one by now.")
    return None


def _history(db: Connection, conversation_id: uuid.UUID, limits: TurnLimits, without: uuid.UUID | None) -> list[Turn]:
    """The newest visible turns with an answer, oldest first, as many as `limits` allow."""
    most = limits.history_turns + (without is not None)
    newest: list[Turn] = []
    characters = 0
    values = {"conversation": conversation_id, "most": most, "searched": most + MOST_PASSED_OVER}
    for row in _HISTORY.all(db, values):
        turn = to_record(Turn, row)
        if turn.id == without:
            continue
        characters += len(turn.question) + len(turn.answer)
        if characters > limits.history_chars or len(newest) == limits.history_turns:
            break
        newest.append(turn)
    return newest[::-1]


def show(db: Connection, message_id: uuid.UUID, *, hidden: bool) -> None:
    """Hide a turn, or show it again."""
    db.execute(_SHOW, {"message": message_id, "is_hidden": hidden})
