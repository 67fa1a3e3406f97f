"""Answers that other processes write: readers here can follow them, and turns of dead processes are closed."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from service.answers import pace
from service.answers.answer import Answer
from service.errors import Interrupted, MessageUnknown, Restarting, ServiceError
from service.metrics import Metrics
from service.store.records import RunningTurn, StoreUnavailable, Turn
from service.store.store import Store

log = logging.getLogger("chatbot")


@dataclass(slots=True)
class Mirror:
    """A local copy of an answer that another process writes, for readers here."""

    answer: Answer
    task: asyncio.Task[None] | None = None
    readers: int = 0
    piece: int = 0  # the position of the last piece read


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A running turn's heartbeat, and how often this process has seen it unchanged.

    Looks are counted rather than seconds: while the database is unavailable, no heartbeat can grow.
    """

    beat: int
    seen: int = 1

    @property
    def is_lost(self) -> bool:
        return self.seen * pace.HEARTBEAT_SECONDS > pace.LOST_SECONDS


class Elsewhere:
    """The answers of other processes, read from their checkpoints in the database."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._mirrors: dict[UUID, Mirror] = {}
        self._has_ended = False  # no more local copies, because the process is stopping
        self._heartbeats: dict[UUID, Heartbeat] = {}
        self._is_idle = False  # whether nothing was running at the last look
        self._skipped = 0  # heartbeats since then

    def find(self, message_id: UUID) -> Mirror | None:
        return self._mirrors.get(message_id)

    def answer_of(self, turn: Turn) -> Answer:
        """The answer of a turn that this process does not write; it is followed while it runs.

        Raises Restarting if it runs and nothing is followed any more.
        """
        if mirror := self._mirrors.get(turn.id):
            return mirror.answer
        answer = Answer.of(turn)
        if answer.ending is None:
            if self._has_ended:
                raise Restarting("drained", retry_after=1)
            mirror = self._mirrors[turn.id] = Mirror(answer)
            mirror.task = asyncio.create_task(self._mirror(mirror), name=f"mirror {turn.id}")
        return answer

    def tasks(self) -> list[asyncio.Task[None]]:
        """The tasks that follow answers."""
        return [mirror.task for mirror in self._mirrors.values() if mirror.task is not None]

    def end_all(self, error: ServiceError) -> None:
        """End the local copies for the readers here, and make no more, though the answers themselves continue."""
        self._has_ended = True
        for mirror in self._mirrors.values():
            mirror.answer.end(error)

    async def _mirror(self, mirror: Mirror) -> None:
        """Follow an answer that another process writes, by its checkpoints.

        If that process dies, `close_gone` closes the turn.
        """
        try:
            while mirror.answer.ending is None:
                await asyncio.sleep(pace.TICK_SECONDS)
                if mirror.readers == 0:
                    return
                try:
                    await self._follow(mirror)
                except StoreUnavailable as error:
                    log.warning("an answer elsewhere cannot be followed", extra={"reason": str(error)})
        except Exception as error:
            log.exception("an answer elsewhere cannot be followed")
            mirror.answer.end(Interrupted(type(error).__name__))
        finally:
            del self._mirrors[mirror.answer.message_id]

    async def _follow(self, mirror: Mirror) -> None:
        """Read the new text of an answer from the database."""
        answer = mirror.answer
        followed = await self._store.follow_turn(answer.message_id, mirror.piece)
        if followed is None:
            answer.end(MessageUnknown("the turn was deleted, or dropped before it was asked"))
            return
        mirror.piece = followed.piece
        if text := followed.text[answer.length - followed.position :]:
            answer.receive(text)
        answer.end_with(followed.turn)

    async def close_lost(self) -> None:
        """Close the turns of processes that are certainly dead, including this process's predecessor."""
        await self._close_lost(await self._store.heartbeats())

    async def close_gone(self, own: Collection[UUID]) -> None:
        """Close the turns of processes that are certainly dead, or whose heartbeat has stopped for too long.

        Called with every heartbeat; while nothing runs, most calls skip the database. `own` are this process's turns.
        Compares no clocks.
        """
        self._skipped += 1
        if self._is_idle and not own and not self._mirrors and self._skipped < pace.IDLE_HEARTBEATS:
            return
        turns = await self._store.heartbeats()
        self._is_idle, self._skipped = not turns, 0
        await self._close_lost(turns)
        previous, self._heartbeats = self._heartbeats, {}
        for message_id in turns.keys() - set(own):
            beat, last = turns[message_id].beat, previous.get(message_id)
            seen = last.seen + 1 if last and last.beat == beat else 1
            self._heartbeats[message_id] = Heartbeat(beat, seen)
        for message_id, heartbeat in self._heartbeats.items():
            if heartbeat.is_lost:
                await self._close(message_id, heartbeat.beat)

    async def _close_lost(self, turns: Mapping[UUID, RunningTurn]) -> None:
        for message_id, turn in turns.items():
            if turn.is_lost:
                await self._close(message_id, turn.beat)

    async def _close(self, message_id: UUID, beat: int) -> None:
        if await self._store.abandon(message_id, beat):
            self._metrics.interrupted.inc()
            log.warning("an answer was interrupted: its process is gone", extra={"message_id": str(message_id)})
