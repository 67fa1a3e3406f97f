"""Conversations: their owners, their turns, and how they are selected and deleted."""

import uuid
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    delete,
    exists,
    func,
    or_,
    select,
    update,
)

from service.store.pieces import kept_text
from service.store.prepared import Prepared
from service.store.records import ConversationNotFound, ConversationSummary, Rating, Selection, Tenant, Turn
from service.store.rows import COLUMNS, to_turn
from service.store.tables import conversations, messages

TITLE_CHARS = 200  # more than a title shows, as white space is collapsed

# A subject may use its own conversations, and those without an owner, by their unguessable id. Without a token (None),
# only the latter.
_SUBJECT = bindparam("subject_", type_=conversations.c.subject.type)
owned = and_(
    conversations.c.tenant_id == bindparam("tenant"),
    or_(conversations.c.subject.is_(None), conversations.c.subject == _SUBJECT),
)
_THIS = conversations.c.id == bindparam("conversation", type_=conversations.c.id.type)
_MESSAGE = messages.c.id == bindparam("message", type_=messages.c.id.type)

select_turns: Select[*tuple[Any, ...]] = select(*COLUMNS[Turn], kept_text.label("kept"))  # for `rows.to_turn`
_OWNED_TURNS = select_turns.join_from(messages, conversations).where(owned)
_VISIBLE = (
    _OWNED_TURNS.where(_THIS, messages.c.hidden.is_(False))
    .order_by(messages.c.number.desc())
    .limit(bindparam("newest", type_=messages.c.reserved.type))
)
_FOUND = _OWNED_TURNS.where(_MESSAGE)
_TOUCH = Prepared(
    update(conversations)
    .where(_THIS, owned)
    .values(
        updated_at=bindparam("at", type_=conversations.c.updated_at.type),
        subject=func.coalesce(_SUBJECT, conversations.c.subject),
    )
    .returning(conversations.c.id)
)
_DELETE = delete(conversations).where(_THIS, owned)
# By the turn's own conversation: with a list, SQLite would scan all.
_RATE = (
    update(messages)
    .where(_MESSAGE, exists().where(conversations.c.id == messages.c.conversation_id, owned))
    .values(rating=bindparam("given"), comment=bindparam("said", type_=messages.c.comment.type))
)
first_question = (
    select(func.substr(messages.c.question, 1, TITLE_CHARS))
    .where(messages.c.conversation_id == conversations.c.id, messages.c.hidden.is_(False))
    .order_by(messages.c.number)
    .limit(1)
    .scalar_subquery()
)
_LISTED = (
    select(conversations.c.id, first_question, conversations.c.updated_at)
    .where(conversations.c.tenant_id == bindparam("tenant"), conversations.c.subject == _SUBJECT)
    .order_by(conversations.c.updated_at.desc(), conversations.c.id)
    .limit(bindparam("newest", type_=messages.c.reserved.type))
)


def touch(db: Connection, tenant_id: int, conversation_id: uuid.UUID, subject: str | None, at: datetime) -> None:
    """Mark a conversation as used, which also locks it until this transaction ends.

    It belongs to `subject` from now on. Raises ConversationNotFound.
    """
    values = {"tenant": tenant_id, "conversation": conversation_id, "subject_": subject, "at": at}
    if _TOUCH.first(db, values) is None:
        raise ConversationNotFound("The tenant has no such conversation.")


def list_conversations(db: Connection, tenant_id: int, subject: str, newest: int) -> list[ConversationSummary]:
    """The `newest` conversations of a subject, the most recently used first."""
    rows = db.execute(_LISTED, {"tenant": tenant_id, "subject_": subject, "newest": newest})
    return [ConversationSummary(row[0], row[1] or "", row[2]) for row in rows]


def visible_turns(
    db: Connection, tenant_id: int, conversation_id: uuid.UUID, subject: str | None, newest: int
) -> list[Turn] | None:
    """The visible turns of a conversation, oldest first. None if the subject has no such conversation."""
    values = {"tenant": tenant_id, "conversation": conversation_id, "subject_": subject, "newest": newest}
    return [to_turn(row) for row in reversed(db.execute(_VISIBLE, values).all())] or None


def find_turn(db: Connection, tenant_id: int, message_id: uuid.UUID, subject: str | None) -> Turn | None:
    """One turn, hidden or not, or None."""
    row = db.execute(_FOUND, {"tenant": tenant_id, "message": message_id, "subject_": subject}).first()
    return to_turn(row) if row else None


def rate_turn(
    db: Connection,
    tenant_id: int,
    message_id: uuid.UUID,
    subject: str | None,
    rating: Rating | None,
    comment: str | None,
) -> bool:
    """Store a visitor's rating, replacing an earlier one. Returns whether the subject has such a turn."""
    values = {"tenant": tenant_id, "message": message_id, "subject_": subject, "given": rating, "said": comment}
    return db.execute(_RATE, values).rowcount > 0


def delete_conversation(db: Connection, tenant_id: int, conversation_id: uuid.UUID, subject: str | None) -> bool:
    """Delete a conversation with all its turns; its usage stays. Returns whether there was one."""
    values = {"tenant": tenant_id, "conversation": conversation_id, "subject_": subject}
    return db.execute(_DELETE, values).rowcount > 0


# For the operator


def chosen(db: Connection, tenant: Tenant, selection: Selection) -> list[uuid.UUID]:
    """The conversations of a tenant that an operator has selected, oldest first."""
    query = select(conversations.c.id).where(_selected(tenant, selection))
    return list(db.scalars(query.order_by(conversations.c.created_at, conversations.c.id)))


def all_turns(db: Connection, conversation_id: uuid.UUID) -> list[Turn]:
    """The turns of a conversation in order, including replaced ones."""
    of_it = select_turns.where(messages.c.conversation_id == conversation_id)
    return [to_turn(row) for row in db.execute(of_it.order_by(messages.c.number))]


def _selected(tenant: Tenant, selection: Selection) -> ColumnElement[bool]:
    selected = conversations.c.tenant_id == tenant.id
    if selection.id is not None:
        selected = and_(selected, conversations.c.id == selection.id)
    if selection.visitor is not None:
        conversation_ids = select(messages.c.conversation_id).where(messages.c.visitor == selection.visitor)
        selected = and_(selected, conversations.c.id.in_(conversation_ids))
    if selection.subject is not None:
        selected = and_(selected, conversations.c.subject == selection.subject)
    return selected
