"""The answers that this process writes: their checkpoints in the database, and their endings."""

import asyncio
import logging
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from service.answers import pace
from service.answers.answer import Answer, status_of
from service.errors import Restarting, ServiceError
from service.store.records import Conflict, CutTurn, Piece, StoreError, StoreUnavailable, UsageRow
from service.store.store import Store
from service.upstream.call import Call
from service.upstream.charge import Size
from service.upstream.stream import Finish

log = logging.getLogger("chatbot")


# abandoned: stopped because it has no readers. closing: its ending is being stored, so there are no more checkpoints.
# withdrawn: closing, but the question was abandoned before it was sent, so the turn is discarded.
Phase = Literal["open", "abandoned", "closing", "withdrawn"]


@dataclass(slots=True)
class Writing:
    """An answer that this process writes: its call, its usage and its readers."""

    answer: Answer
    call: Call
    turn: int  # its number
    writer: str  # identifies it in the database
    usage: UsageRow
    tenant: str  # its name, for the log
    began: float  # time.monotonic()
    task: asyncio.Task[None] | None = None
    readers: int = 0
    cut: ServiceError | None = None  # the reason, if a shutdown ended it
    phase: Phase = "open"
    deadline: asyncio.TimerHandle | None = None  # after which it is abandoned, unless a reader resumes it
    followed: int = 0  # how often readers at other processes have looked
    followed_at: float = float("-inf")  # when that last grew
    stored: Size = Size()  # of the text in the database
    stored_tokens: int = 0  # received according to the database, including thoughts

    @property
    def first_text_seconds(self) -> float | None:
        """How long the first text took, if there is any."""
        return None if self.answer.first_text_at is None else self.answer.first_text_at - self.began

    @property
    def is_withdrawn(self) -> bool:
        """Whether it has no readers and was never sent to the upstream, so that nothing of it needs to be stored."""
        return self.phase == "withdrawn" or (self.phase == "abandoned" and not self.call.sent)

    def next_piece(self) -> Piece | None:
        """The part that the database does not have yet."""
        text = self.answer.text(self.stored.characters)
        received = (self.stored + Size.of(text)).tokens + self.answer.hidden.tokens
        if not text and received == self.stored_tokens:
            return None
        return Piece(self.turn, self.stored.characters, text, received)

    def note_stored(self, piece: Piece) -> None:
        self.stored += Size.of(piece.text)
        self.stored_tokens = piece.received

    def resume(self) -> bool:
        """Continue an abandoned answer, if it is not too late. Returns whether it was abandoned and now continues."""
        if self.phase != "abandoned" or not self.call.resume():
            return False
        self.phase = "open"
        return True


class Checkpoints:
    """Stores answers in the database, while they are written and when they end."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._written_at = float("-inf")
        self._heartbeat_at = float("-inf")
        self._writing = asyncio.Lock()

    async def write(self, writings: Collection[Writing]) -> bool:
        """Store the due checkpoints and heartbeats. Returns whether heartbeats were due."""
        now = time.monotonic()
        all_are_due = now - self._written_at >= pace.CHECKPOINT_SECONDS - pace.TICK_SECONDS / 2
        open_ = [each for each in writings if each.phase in ("open", "abandoned")]
        due = [each for each in open_ if all_are_due or now - each.followed_at < pace.FOLLOWED_SECONDS]
        pieces = [(writing, piece) for writing in due if (piece := writing.next_piece()) is not None]
        heartbeat_is_due = now - self._heartbeat_at > pace.HEARTBEAT_SECONDS
        alive = [each.answer.message_id for each in writings] if heartbeat_is_due else []
        if pieces or alive:
            async with self._writing:
                await self._store.checkpoint(alive, [piece for _, piece in pieces])
            for writing, piece in pieces:
                writing.note_stored(piece)
        if all_are_due:
            self._written_at = now
        if heartbeat_is_due:
            self._heartbeat_at = now
        return heartbeat_is_due

    async def close(self, writing: Writing, ending: Finish | ServiceError) -> None:
        """Close the turn in the database; retry while the database is unavailable."""
        status, code = status_of(ending)
        answer, usage, writer = writing.answer, writing.usage, writing.writer
        await self._stop_checkpoints([writing])
        while True:
            try:
                if writing.is_withdrawn:
                    await self._store.discard_turn(answer.message_id, usage, writer)
                else:
                    await self._store.finish_turn(
                        answer.message_id,
                        answer.text(),
                        status=status,
                        code=code,
                        usage_row=usage,
                        writer=writer,
                        sources=answer.sources or None,
                    )
                return
            except StoreUnavailable as error:
                log.warning("an answer is not stored yet", extra={"request_id": usage.request_id, "reason": str(error)})
            except Conflict:
                log.info("an answer was not stored: its tenant is gone", extra={"request_id": usage.request_id})
                return
            except StoreError:
                log.exception("an answer was not stored", extra={"request_id": usage.request_id})
                return
            await asyncio.sleep(pace.STORE_RETRY_SECONDS)

    async def close_cut(self, writings: Sequence[Writing]) -> None:
        """Close the turns that a shutdown cut off, all in one transaction: one by one would take too long."""
        turns = [
            CutTurn(each.answer.message_id, each.writer, each.answer.text(), each.usage, each.answer.sources or None)
            for each in writings
        ]
        try:
            async with asyncio.timeout(pace.LAST_WRITES_SECONDS):
                await self._stop_checkpoints(writings)
                await self._store.cut_turns(Restarting.code, turns)
        except (StoreError, TimeoutError) as error:
            log.error("answers are not stored", extra={"answers": len(turns), "reason": str(error)})

    async def _stop_checkpoints(self, writings: Sequence[Writing]) -> None:
        """Wait for a checkpoint in progress: if it were stored after the endings, its pieces would never be deleted."""
        for writing in writings:
            writing.phase = "withdrawn" if writing.is_withdrawn else "closing"
        async with self._writing:
            return


def used_by(writing: Writing, ending: Finish | ServiceError) -> UsageRow:
    """The usage row of an ended answer."""
    answer, tokens = writing.answer, writing.call.usage
    first_text = writing.first_text_seconds
    return replace(
        writing.usage,
        outcome=ending.status if isinstance(ending, Finish) else ending.cause or ending.code,
        prompt_tokens=tokens.prompt_tokens if tokens else None,
        completion_tokens=tokens.completion_tokens if tokens else None,
        charged=writing.call.charged_tokens(Size.of(answer.text()), answer.hidden),
        first_text_ms=None if first_text is None else round(first_text * 1000),
        duration_ms=round((time.monotonic() - writing.began) * 1000),
    )


def log_answer(writing: Writing, ending: Finish | ServiceError) -> None:
    """Log one line per answer: whose it is, how it ended and why, and how long it took, but none of its text."""
    usage, answer = writing.usage, writing.answer
    broke = isinstance(ending, ServiceError)
    log.log(
        logging.WARNING if broke else logging.INFO,
        "answer",
        extra={
            "request_id": usage.request_id,
            "tenant": writing.tenant,
            "key": usage.key_id,
            "model": usage.model,
            "conversation_id": str(answer.conversation_id),
            "message_id": str(answer.message_id),
            "upstream_status": writing.call.status,
            "outcome": usage.outcome,
            "reason": str(ending) if broke else None,
            "finish_reason": ending.unknown_reason if isinstance(ending, Finish) else None,
            "first_text_ms": usage.first_text_ms,
            "duration_ms": usage.duration_ms,
            "characters": answer.length,
        },
    )
