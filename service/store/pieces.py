"""The text of running turns, which is kept piece by piece: to add to it costs the same however long it is."""

import json
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, case, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

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
DELETED = {
    "sqlite": text("SELECT value FROM json_each(:ids) WHERE value NOT IN (SELECT id FROM messages)"),
    "postgresql": text(
        "SELECT id FROM unnest(CAST(:ids AS UUID[])) AS wanted (id)"
        " WHERE NOT EXISTS (SELECT FROM messages WHERE messages.id = wanted.id)"
    ),
}

DROP = delete(pieces).where(pieces.c.turn.in_(bindparam("ended", expanding=True)))

SINCE = (
    select(pieces.c.position, pieces.c.text)
    .where(pieces.c.turn == bindparam("turn"), pieces.c.position >= bindparam("piece"))
    .order_by(pieces.c.position)
)


async def keep(db: AsyncConnection, kept: Sequence[Piece]) -> None:
    """Keep what is new of turns that still run. Whoever ends one waits for what is being kept of it."""
    rows = [(each.turn, each.position, storable(each.text), each.received) for each in kept]
    if db.dialect.name == "sqlite":
        await db.exec_driver_sql(_KEEP_IN_SQLITE, rows)
    else:
        names = ("turns", "positions", "texts", "received")
        await db.execute(_KEEP_IN_POSTGRESQL, dict(zip(names, map(list, zip(*rows, strict=True)), strict=True)))


def id_values(dialect: str, ids: Sequence[uuid.UUID]) -> dict[str, Any]:
    """What DELETED binds."""
    return {"ids": json.dumps([each.hex for each in ids]) if dialect == "sqlite" else list(ids)}
