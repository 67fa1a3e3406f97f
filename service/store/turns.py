"""Conversations and their turns: whose they are, what goes before a question, and who gives way to whom."""

import uuid
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.pieces import kept_text
from service.store.records import (
    INTERRUPTED,
    ConversationChanged,
    ConversationNotFound,
    MessageIdTaken,
    Selection,
    Tenant,
    Terms,
    TooManyStreams,
    Turn,
)
from service.store.rows import COLUMNS, to_record, to_turn
from service.store.tables import conversations, messages, running, storable


def written_by(writer: str | None) -> ColumnElement[bool]:
    """The turns of one writer; see `Store.begin_turn`."""
    return messages.c.writer.is_not_distinct_from(writer)


# A turn that may still be closed: `interrupted` is what others can but suppose, and gives way.
is_open = or_(running, messages.c.code == INTERRUPTED)


def owned_by(tenant_id: int, subject: str | None) -> ColumnElement[bool]:
    """The conversations that a subject may use: its own, and those that are nobody's yet, by their unguessable id.

    Who has no token (None) may use the latter only.
    """
    nobodys, of_tenant = conversations.c.subject.is_(None), conversations.c.tenant_id == tenant_id
    return and_(of_tenant, nobodys if subject is None else or_(nobodys, conversations.c.subject == subject))


select_turns = select(*COLUMNS[Turn], kept_text.label("kept"))  # for `rows.to_turn`


def turns_of(tenant_id: int, subject: str | None) -> Select[*tuple[Any, ...]]:
    """The turns in the conversations that a subject may use."""
    return select_turns.join_from(messages, conversations).where(owned_by(tenant_id, subject))


def last_turn(conversation_id: uuid.UUID) -> ScalarSelect[uuid.UUID]:
    """The id of a conversation's last visible turn."""
    return (
        select(messages.c.id)
        .where(messages.c.conversation_id == conversation_id, messages.c.hidden.is_(False))
        .order_by(messages.c.number.desc())
        .limit(1)
        .scalar_subquery()
    )


async def touch_conversation(
    db: AsyncConnection, tenant_id: int, conversation_id: uuid.UUID, subject: str | None, now: datetime
) -> None:
    """Mark a conversation as used, which also holds off its other writers until this transaction ends.

    Raises ConversationNotFound.
    """
    values: dict[str, Any] = {"updated_at": now} if subject is None else {"updated_at": now, "subject": subject}
    result = await db.execute(
        update(conversations).where(conversations.c.id == conversation_id, owned_by(tenant_id, subject)).values(values)
    )
    if result.rowcount == 0:
        raise ConversationNotFound("The tenant has no such conversation.")


def is_repeat(turn: Turn, conversation_id: uuid.UUID | None, question: str) -> bool:
    """Whether a request with a turn's message id is the one that began it."""
    return turn.question == storable(question) and conversation_id in (None, turn.conversation_id)


async def find_repeated(
    db: AsyncConnection,
    tenant_id: int,
    message_id: uuid.UUID,
    conversation_id: uuid.UUID | None,
    subject: str | None,
    question: str,
) -> Turn:
    """The turn of this id, if it is the same request's. Raises MessageIdTaken."""
    row = (await db.execute(turns_of(tenant_id, subject).where(messages.c.id == message_id))).first()
    turn = to_turn(row) if row else None
    if turn is None or not is_repeat(turn, conversation_id, question):
        raise MessageIdTaken("This message id belongs to another request.")
    return turn


async def check_replaced(db: AsyncConnection, turn: Turn, meant: Sequence[uuid.UUID] | None) -> uuid.UUID | None:
    """Which turn a new one takes the place of, where it would be the conversation's last: only if it is `meant`.

    Raises ConversationChanged when another one is meant that is there.
    """
    if meant is None or turn.replaces is None or turn.replaces in meant:
        return turn.replaces
    there = messages.c.id.in_(meant), messages.c.conversation_id == turn.conversation_id
    if await db.scalar(select(messages.c.id).where(*there).limit(1)) is not None:
        raise ConversationChanged("The last turn of the conversation is another one by now.")
    return None


async def check_streams(db: AsyncConnection, terms: Terms) -> None:
    """Raises TooManyStreams when the turn that was just inserted is one too many for its visitor."""
    if terms.visitor is not None and terms.streams:
        mine = select(func.count()).select_from(messages).where(running, messages.c.visitor == terms.visitor)
        if (await db.scalar(mine) or 0) > terms.streams:
            raise TooManyStreams("The visitor reads as many answers as one may at a time.")


async def history_of(db: AsyncConnection, turn: Turn, terms: Terms) -> list[Turn]:
    """The newest visible turns before this one that have an answer, oldest first, as many as `terms` let."""
    rows = await db.execute(
        select(messages)
        .where(messages.c.conversation_id == turn.conversation_id, messages.c.number < turn.number)
        .where(messages.c.hidden.is_(False), messages.c.answer != "")
        .order_by(messages.c.number.desc())
        .limit(terms.history_turns)
    )
    newest: list[Turn] = []
    characters = 0
    for row in rows:
        earlier = to_record(Turn, row)
        characters += len(earlier.question) + len(earlier.answer)
        if characters > terms.history_chars:
            break
        newest.append(earlier)
    return newest[::-1]


async def restore_replaced(db: AsyncConnection, turn: Turn) -> None:
    """Let a turn that broke or ended without text change places with the last text that it was asked in place of.

    Several may stand in between: whoever asks again and again replaces turns that had no text yet.
    """
    replaced = turn.replaces
    if turn.hidden or (turn.answer and turn.status != "error"):
        return
    while replaced is not None:
        row = (
            await db.execute(select(messages.c.answer, messages.c.replaces).where(messages.c.id == replaced))
        ).first()
        if row is None:
            return
        if row.answer:
            await db.execute(
                update(messages).where(messages.c.id.in_([turn.id, replaced])).values(hidden=messages.c.id == turn.id)
            )
            return
        replaced = row.replaces


def selected(tenant: Tenant, selection: Selection) -> ColumnElement[bool]:
    """The conversations of a tenant that an operator means."""
    chosen = conversations.c.tenant_id == tenant.id
    if selection.id is not None:
        chosen = and_(chosen, conversations.c.id == selection.id)
    if selection.visitor is not None:
        asked = select(messages.c.conversation_id).where(messages.c.visitor == selection.visitor)
        chosen = and_(chosen, conversations.c.id.in_(asked))
    if selection.subject is not None:
        chosen = and_(chosen, conversations.c.subject == selection.subject)
    return chosen
