"""The text of running turns, which is kept piece by piece: to add to it costs the same however long it is."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete, func, select, text

from service.store.dialects import is_sqlite
from service.store.records import Piece
from service.store.tables import messages, pieces, storable

_OF_TURN = select(pieces.c.text).where(pieces.c.turn == messages.c.number).order_by(pieces.c.position)

# A turn's text, where its own row has none yet. The order of the rows is the order in which they are joined.
kept_text = case(
    (
        messages.c.answer == "",
        select(func.aggregate_strings(_OF_TURN.correlate(messages).subquery().c.text, "")).scalar_subquery(),
    )
)

# These keep pieces of turns that still run. A piece whose first try may have been stored or not is written over: it
# begins where that one began. For PostgreSQL the lists are bound as one value each. No turn is locked: a batch would
# wait for all that others do with its turns, and they for it.
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

# The turns that are not there any more.
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


def keep(db: Connection, kept: Sequence[Piece]) -> None:
    """Keep what is new of turns that still run. Whoever ends one waits for what is being kept of it."""
    rows = [(each.turn, each.position, storable(each.text), each.received) for each in kept]
    if is_sqlite(db):
        db.exec_driver_sql(_KEEP_IN_SQLITE, rows)
    else:
        names = ("turns", "positions", "texts", "received")
        db.execute(_KEEP_IN_POSTGRESQL, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def since(db: Connection, turn: int, piece: int) -> tuple[int, str, int] | None:
    """A running turn's text from the piece that begins there on: its position, the text, and where its last begins."""
    kept = db.execute(_SINCE, {"turn": turn, "piece": piece}).all()
    return (kept[0].position, "".join(each.text for each in kept), kept[-1].position) if kept else None


def deleted_among(db: Connection, message_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Those of these turns that are not there any more."""
    ids: Any = json.dumps([each.hex for each in message_ids]) if is_sqlite(db) else list(message_ids)
    return [uuid.UUID(str(found)) for found in db.scalars(_DELETED[db.dialect.name], {"ids": ids})]
