"""The checkpoints of running turns: text is stored in pieces, so that adding to it costs the same at any length."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, select, text

from service.store.dialects import is_sqlite
from service.store.records import Piece
from service.store.tables import messages, pieces, storable

_OF_TURN = select(pieces.c.text).where(pieces.c.turn == messages.c.number).order_by(pieces.c.position)

# The text of a turn whose own row has none yet. The rows are joined in order.
kept_text = case(
    (
        messages.c.answer == "",
        select(func.aggregate_strings(_OF_TURN.correlate(messages).subquery().c.text, "")).scalar_subquery(),
    )
)

# These store pieces of turns that are still running. A retried piece overwrites the first try, which has the same
# position. For PostgreSQL, each list is bound as one value. No turn is locked, so that a batch neither waits for other
# transactions on its turns nor blocks them.
_KEEP = """
    INSERT INTO pieces (turn, position, text, received) {rows}
    ON CONFLICT (turn, position) DO UPDATE SET text = excluded.text, received = excluded.received
"""
_KEEP_IN_SQLITE = _KEEP.format(
    rows="SELECT ?1, ?2, ?3, ?4 WHERE EXISTS (SELECT 1 FROM messages WHERE number = ?1 AND status = 'running')"
)
_KEEP_IN_POSTGRESQL = text(
    _KEEP.format(
        rows="SELECT new.* FROM unnest(CAST(:turns AS BIGINT[]), CAST(:positions AS INTEGER[]), CAST(:texts AS TEXT[]),"
        " CAST(:received AS INTEGER[])) AS new (turn, position, text, received)"
        " JOIN messages ON messages.number = new.turn WHERE messages.status = 'running'"
    )
)

# The turns that no longer exist.
_DELETED = {
    "sqlite": text("SELECT value FROM json_each(:ids) WHERE value NOT IN (SELECT id FROM messages)"),
    "postgresql": text(
        "SELECT id FROM unnest(CAST(:ids AS UUID[])) AS wanted (id)"
        " WHERE NOT EXISTS (SELECT FROM messages WHERE messages.id = wanted.id)"
    ),
}

drop_pieces = delete(pieces).where(pieces.c.turn == bindparam("ended"))
received_tokens = select(func.max(pieces.c.received)).where(pieces.c.turn == messages.c.number).scalar_subquery()

_SINCE = (
    select(pieces.c.position, pieces.c.text)
    .where(pieces.c.turn == bindparam("turn"), pieces.c.position >= bindparam("piece"))
    .order_by(pieces.c.position)
)


def store_pieces(db: Connection, new_pieces: Sequence[Piece]) -> None:
    """Store new pieces of running turns. Closing a turn waits for a checkpoint in progress."""
    rows = [(each.turn, each.position, storable(each.text), each.received) for each in new_pieces]
    if is_sqlite(db):
        db.exec_driver_sql(_KEEP_IN_SQLITE, rows)
    else:
        names = ("turns", "positions", "texts", "received")
        db.execute(_KEEP_IN_POSTGRESQL, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def pieces_from(db: Connection, turn: int, piece: int) -> tuple[int, str, int] | None:
    """A running turn's text from this piece on: its position, the text, and the position of the last piece."""
    rows = db.execute(_SINCE, {"turn": turn, "piece": piece}).all()
    return (rows[0].position, "".join(each.text for each in rows), rows[-1].position) if rows else None


def deleted_among(db: Connection, message_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """The turns among these that no longer exist."""
    ids: Any = json.dumps([each.hex for each in message_ids]) if is_sqlite(db) else list(message_ids)
    return [uuid.UUID(str(found)) for found in db.scalars(_DELETED[db.dialect.name], {"ids": ids})]
