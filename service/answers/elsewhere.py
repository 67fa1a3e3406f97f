"""Answers that other processes write: readers here follow them, and the turns of processes that are gone are closed."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from uuid import UUID

from service.answers import pace
from service.answers.answer import Answer
from service.errors import Interrupted, MessageUnknown, ServiceError
from service.metrics import Metrics
from service.store.records import RunningTurn, StoreUnavailable, Turn
from service.store.store import Store

log = logging.getLogger("chatbot")


@dataclass(slots=True)
class Mirror:
    """An answer that another process writes, as readers here follow it."""

    answer: Answer
    task: asyncio.Task[None] | None = None
    readers: int = 0
    piece: int = 0  # where the last piece begins that was read


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A running turn's `beat`, and how often this process has seen it so: while nobody could write, none could grow."""

    beat: int
    seen: int = 1

    @property
    def is_gone(self) -> bool:
        return self.seen * pace.HEARTBEAT_SECONDS > pace.ABANDONED_SECONDS


class Elsewhere:
    """What this process knows of the answers of others, by what those keep in the database."""

    def __init__(self, store: Store, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._mirrors: dict[UUID, Mirror] = {}
        self._heartbeats: dict[UUID, Heartbeat] = {}
        self._nothing_runs = False  # when it was last looked
        self._left_out = 0  # heartbeats since then

    def find(self, message_id: UUID) -> Mirror | None:
        return self._mirrors.get(message_id)

    def answer_of(self, turn: Turn) -> Answer:
        """The answer of a turn that this process does not write: followed while it runs."""
        if mirror := self._mirrors.get(turn.id):
            return mirror.answer
        answer = Answer.of(turn)
        if answer.ending is None:
            mirror = self._mirrors[turn.id] = Mirror(answer)
            mirror.task = asyncio.create_task(self._mirror(mirror), name=f"mirror {turn.id}")
        return answer

    def tasks(self) -> list[asyncio.Task[None]]:
        """Those that follow."""
        return [mirror.task for mirror in self._mirrors.values() if mirror.task is not None]

    def end_all(self, error: ServiceError) -> None:
        """Tell the readers here an end that the answers themselves do not have."""
        for mirror in self._mirrors.values():
            mirror.answer.end(error)

    async def _mirror(self, mirror: Mirror) -> None:
        """Follow an answer that another process writes, by what it keeps in the database.

        Should that process die, `close_gone` closes the turn.
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
        """Take over what the database has more of an answer."""
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
        """Close the turns of processes that are gone for certain: those of this one's own earlier life among them."""
        await self._close_lost(await self._store.heartbeats())

    async def close_gone(self, own: Collection[UUID]) -> None:
        """Close the turns of processes that are gone for certain, or whose heartbeat has stood still for too long.

        This is for every heartbeat. While nothing runs, most of them ask the database nothing. `own` are the turns of
        this process; no clock is compared with another's.
        """
        self._left_out += 1
        if self._nothing_runs and not own and not self._mirrors and self._left_out < pace.IDLE_HEARTBEATS:
            return
        turns = await self._store.heartbeats()
        self._nothing_runs, self._left_out = not turns, 0
        await self._close_lost(turns)
        known, self._heartbeats = self._heartbeats, {}
        for message_id in turns.keys() - set(own):
            beat, last = turns[message_id].beat, known.get(message_id)
            seen = last.seen + 1 if last and last.beat == beat else 1
            self._heartbeats[message_id] = Heartbeat(beat, seen)
        for message_id, heartbeat in self._heartbeats.items():
            if heartbeat.is_gone:
                await self._abandon(message_id, heartbeat.beat)

    async def _close_lost(self, turns: Mapping[UUID, RunningTurn]) -> None:
        for message_id, turn in turns.items():
            if turn.is_lost:
                await self._abandon(message_id, turn.beat)

    async def _abandon(self, message_id: UUID, beat: int) -> None:
        if await self._store.abandon(message_id, beat):
            self._metrics.interrupted.inc()
            log.warning("an answer was interrupted: its process is gone", extra={"message_id": str(message_id)})
