"""Running turns across processes: heartbeats, checkpoints, readers elsewhere, and requests to stop."""

import uuid
from collections.abc import Callable, Collection, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, func, or_, select, update

from service.store.closing import Closing, close_turn
from service.store.pieces import deleted_among, kept_text, pieces_from, received_tokens, store_pieces
from service.store.records import (
    DAY_SECONDS,
    INTERRUPTED,
    LARGEST_INTEGER,
    Followed,
    Piece,
    Reservation,
    RunningTurn,
    Turn,
    TurnRequests,
    UsageRow,
)
from service.store.rows import COLUMNS, fetch_record, to_record
from service.store.tables import conversations, messages, running

_HAS_ID = messages.c.id == bindparam("message", type_=messages.c.id.type)
_BEAT = (
    update(messages)
    .where(messages.c.id.in_(bindparam("alive", expanding=True, type_=messages.c.id.type)), running)
    .values(beat=messages.c.beat + 1)
)
_REQUESTS = select(messages.c.id, messages.c.followed, messages.c.stop_asked).where(
    running, or_(messages.c.stop_asked, messages.c.followed > 0)
)
_FOLLOW = update(messages).where(_HAS_ID, running).values(followed=messages.c.followed + 1).returning(*COLUMNS[Turn])
_TURN = select(*COLUMNS[Turn]).where(_HAS_ID)
_STOP = update(messages).where(_HAS_ID, running).values(stop_asked=True)
_WRITERS = select(messages.c.id, messages.c.beat, messages.c.writer).where(running)
_RUNNING_WITH_BEAT = (
    select(
        *COLUMNS[Turn],
        func.coalesce(kept_text, messages.c.answer).label("kept"),
        received_tokens.label("received"),
        messages.c.writer,
        conversations.c.tenant_id,
        conversations.c.subject,
    )
    .join_from(messages, conversations)
    .where(_HAS_ID, messages.c.beat == bindparam("beat_", type_=messages.c.beat.type), running)
)


def checkpoint(db: Connection, alive: Sequence[uuid.UUID], new_pieces: Sequence[Piece]) -> None:
    """Store heartbeats for the turns in `alive`, and new pieces of text."""
    if alive:
        db.execute(_BEAT, {"alive": list(alive)})
    if new_pieces:
        store_pieces(db, new_pieces)


def requests_for(db: Connection, message_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, TurnRequests]:
    """Other processes' requests for these running turns; a turn without any is missing."""
    requests = {row.id: TurnRequests(row.followed, row.stop_asked) for row in db.execute(_REQUESTS).all()}
    for deleted in deleted_among(db, message_ids):
        requests[deleted] = TurnRequests(followed=0, stop_asked=True)
    return requests


def follow_turn(db: Connection, message_id: uuid.UUID, piece: int) -> Followed | None:
    """A turn and its text from this piece on. If it is still running, its writer learns that it has a reader."""
    this = {"message": message_id}
    turn = fetch_record(db, Turn, _FOLLOW, this)
    if turn is None:
        turn = fetch_record(db, Turn, _TURN, this)
        return Followed(turn, 0, turn.answer, 0) if turn else None
    stored = pieces_from(db, turn.number, piece)
    return Followed(turn, *stored) if stored else Followed(turn, 0, turn.answer, piece)


def ask_to_stop(db: Connection, message_id: uuid.UUID) -> None:
    """Ask the process that writes a turn to end it."""
    db.execute(_STOP, {"message": message_id})


def heartbeats(db: Connection, own: str, is_gone: Callable[[str], bool]) -> dict[uuid.UUID, RunningTurn]:
    """The heartbeats of all running turns: one that stops has lost its process.

    `own` is the name of this process.
    """
    rows = [(row.id, row.beat, process_of(row.writer)) for row in db.execute(_WRITERS).all()]
    dead = {name for name in {process for _, _, process in rows} if name != own and is_gone(name)}
    return {message_id: RunningTurn(beat, process in dead) for message_id, beat, process in rows}


def processes_that_write(db: Connection) -> Collection[str]:
    """The names of the processes of running turns."""
    return {process_of(row.writer) for row in db.execute(_WRITERS).all()}


def process_of(writer: str | None) -> str:
    """The process of a turn's writer; see `Store.new_writer`."""
    return (writer or "").rpartition(":")[0]


def abandon(db: Connection, message_id: uuid.UUID, beat: int, at: datetime) -> bool:
    """Close a running turn of a dead process as `interrupted`, unless its heartbeat has changed meanwhile.

    Its answer is the text of its checkpoints, and the charge an estimate of that and the prompt, because nobody knows
    how far the provider got.
    """
    row = db.execute(_RUNNING_WITH_BEAT, {"message": message_id, "beat_": beat}).first()
    if row is None:
        return False
    turn = to_record(Turn, row)
    reserved = turn.reserved or 0
    usage_row = UsageRow(
        at=turn.created_at,
        tenant_id=row.tenant_id,
        subject=row.subject,
        outcome=INTERRUPTED,
        conversation_id=turn.conversation_id,
        message_id=turn.id,
        visitor=turn.visitor,
        model=turn.model,
        charged=reserved if turn.prompt_estimate is None else turn.prompt_estimate + (row.received or 0),
        reservation=Reservation(reserved, day=int(turn.created_at.timestamp() // DAY_SECONDS)),
        # A turn may be months old, as in a restored backup: its milliseconds must fit the column all the same.
        duration_ms=min(round(max((at - turn.created_at).total_seconds(), 0) * 1000), LARGEST_INTEGER),
    )
    return close_turn(db, Closing(turn.id, row.writer, row.kept, "error", INTERRUPTED, usage_row, at, beat=beat))
