"""Answers that this process writes: what the database has of them while they are written, and when they have ended."""

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


# given_up: stopped because nobody reads it; closing: its end is being stored, no more is kept; withdrawn: the same for
# one that was given up before it was asked, of which nothing stays.
Phase = Literal["open", "given_up", "closing", "withdrawn"]


@dataclass(slots=True)
class Writing:
    """An answer that this process writes: the call, what is recorded of it, and who reads it."""

    answer: Answer
    call: Call
    turn: int  # its number
    writer: str  # who it is to the database
    usage: UsageRow
    tenant: str  # its name, for the log
    began: float  # time.monotonic()
    task: asyncio.Task[None] | None = None
    readers: int = 0
    cut: ServiceError | None = None  # why the service itself ended it
    phase: Phase = "open"
    deadline: asyncio.TimerHandle | None = None  # when it is, unless a reader comes back
    followed: int = 0  # how often readers elsewhere have looked
    followed_at: float = float("-inf")  # when that was last seen to grow
    kept: Size = Size()  # of the text that the database has
    kept_tokens: int = 0  # that it knows to be received, thoughts included

    @property
    def first_text_seconds(self) -> float | None:
        """How long its first text took, if there is any."""
        return None if self.answer.first_text_at is None else self.answer.first_text_at - self.began

    @property
    def is_withdrawn(self) -> bool:
        """Nobody waits for it, and the upstream has not seen it: as if it had never been."""
        return self.phase == "withdrawn" or (self.phase == "given_up" and not self.call.sent)

    def next_piece(self) -> Piece | None:
        """What the database does not have yet."""
        text = self.answer.text(self.kept.characters)
        received = (self.kept + Size.of(text)).tokens + self.answer.hidden.tokens
        if not text and received == self.kept_tokens:
            return None
        return Piece(self.turn, self.kept.characters, text, received)

    def note_kept(self, piece: Piece) -> None:
        self.kept += Size.of(piece.text)
        self.kept_tokens = piece.received

    def wanted_again(self) -> bool:
        """Take back that nobody reads it, if it is not too late. True where that changed anything."""
        if self.phase != "given_up" or not self.call.resume():
            return False
        self.phase = "open"
        return True


class Keeper:
    """Keeps what is written in the database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept_at = float("-inf")
        self._heartbeat_at = float("-inf")
        self._keeping = asyncio.Lock()

    async def checkpoint(self, writings: Collection[Writing]) -> bool:
        """Keep what is due of the texts, and show that they are being written. Returns whether a heartbeat was due."""
        now = time.monotonic()
        all_are_due = now - self._kept_at >= pace.KEEP_SECONDS - pace.TICK_SECONDS / 2
        open_ = [each for each in writings if each.phase in ("open", "given_up")]
        due = [each for each in open_ if all_are_due or now - each.followed_at < pace.FOLLOWED_SECONDS]
        kept = [(writing, piece) for writing in due if (piece := writing.next_piece()) is not None]
        heartbeat_is_due = now - self._heartbeat_at > pace.HEARTBEAT_SECONDS
        alive = [each.answer.message_id for each in writings] if heartbeat_is_due else []
        if kept or alive:
            async with self._keeping:
                await self._store.checkpoint(alive, [piece for _, piece in kept])
            for writing, piece in kept:
                writing.note_kept(piece)
        if all_are_due:
            self._kept_at = now
        if heartbeat_is_due:
            self._heartbeat_at = now
        return heartbeat_is_due

    async def close(self, writing: Writing, ending: Finish | ServiceError) -> None:
        """Close the turn in the database; while that is away, try again."""
        status, code = status_of(ending)
        answer, usage, writer = writing.answer, writing.usage, writing.writer
        await self._keep_no_more([writing])
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
            await asyncio.sleep(pace.STORE_AGAIN_SECONDS)

    async def close_cut(self, writings: Sequence[Writing]) -> None:
        """Close the turns that were cut off. All at once: one by one would take too long."""
        turns = [
            CutTurn(each.answer.message_id, each.writer, each.answer.text(), each.usage, each.answer.sources or None)
            for each in writings
        ]
        try:
            async with asyncio.timeout(pace.LAST_WRITES_SECONDS):
                await self._keep_no_more(writings)
                await self._store.cut_turns(Restarting.code, turns)
        except (StoreError, TimeoutError) as error:
            log.error("answers are not stored", extra={"answers": len(turns), "reason": str(error)})

    async def _keep_no_more(self, writings: Sequence[Writing]) -> None:
        """Let what is being kept of them be stored before their ends: a piece that came later would stay for good."""
        for writing in writings:
            writing.phase = "withdrawn" if writing.is_withdrawn else "closing"
        async with self._keeping:
            return


def used_by(writing: Writing, ending: Finish | ServiceError) -> UsageRow:
    """The usage row of an ended answer."""
    answer = writing.answer
    tokens = ending.usage if isinstance(ending, Finish) else None
    first_text = writing.first_text_seconds
    return replace(
        writing.usage,
        outcome=ending.status if isinstance(ending, Finish) else ending.cause or ending.code,
        prompt_tokens=tokens.prompt_tokens if tokens else None,
        completion_tokens=tokens.completion_tokens if tokens else None,
        charged=writing.call.charged_tokens(tokens, Size.of(answer.text()), answer.hidden),
        first_text_ms=None if first_text is None else round(first_text * 1000),
        duration_ms=round((time.monotonic() - writing.began) * 1000),
    )


def log_answer(writing: Writing, ending: Finish | ServiceError) -> None:
    """One line an answer: whose it is, how it ended and why, and how long it took. None of its text."""
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
