"""Answers under way in this process. An answer is written by a task of its own, and outlives its readers: one that
drops may come back and read on; when nobody does, the answer is stopped."""

import asyncio
import logging
import time
from bisect import bisect_right
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from errors import Overloaded, Restarting, ServiceError
from upstream import Call, Finish

log = logging.getLogger("chatbot")

StoreAnswer = Callable[["Answer", Finish | ServiceError], Coroutine[Any, Any, None]]

STORING_SECONDS = 2.0  # how long a reader waits for the database before it hears of the end


class Answer:
    """The text of one answer as far as it is known, and its ending.

    Positions are counted in characters (Unicode code points) from the answer's beginning.
    """

    def __init__(self, conversation_id: UUID, message_id: UUID) -> None:
        self.conversation_id = conversation_id
        self.message_id = message_id
        self.opened = asyncio.Event()  # the upstream has accepted the question, or the answer has ended without that
        self.accepted = False
        self.ending: Finish | ServiceError | None = None
        self.first_text_at: float | None = None  # time.monotonic()
        self._pieces: list[str] = []
        self._ends: list[int] = []  # the position after each piece
        self._waiting: list[asyncio.Future[None]] = []

    @classmethod
    def stored(cls, conversation_id: UUID, message_id: UUID, text: str, ending: Finish | ServiceError) -> "Answer":
        """An answer that has ended before, as the database holds it."""
        answer = cls(conversation_id, message_id)
        answer.accept()
        if text:
            answer.append(text)
        answer.end(ending)
        return answer

    @property
    def length(self) -> int:
        """Characters so far."""
        return self._ends[-1] if self._ends else 0

    def text(self, after: int = 0) -> str:
        """The text after a position; empty when the position is at the end or beyond."""
        first = bisect_right(self._ends, after)
        pieces = self._pieces[first:]
        if pieces:
            pieces[0] = pieces[0][after - self._ends[first] :]
        return "".join(pieces)

    def accept(self) -> None:
        self.accepted = True
        self.opened.set()

    def append(self, piece: str) -> None:
        if self.first_text_at is None:
            self.first_text_at = time.monotonic()
        self._pieces.append(piece)
        self._ends.append(self.length + len(piece))
        self._wake()

    def end(self, ending: Finish | ServiceError) -> None:
        """The first ending counts."""
        self.ending = self.ending or ending
        self.opened.set()
        self._wake()

    async def more(self, seconds: float) -> bool:
        """Wait until there is more text or an ending. False when the seconds passed first."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(seconds):
                await waiter
        except TimeoutError:
            self._waiting.remove(waiter)
            return False
        return True

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.done():
                waiter.set_result(None)


@dataclass(slots=True)
class Writing:
    """An answer under way: the call that writes it, and how many read it."""

    answer: Answer
    call: Call
    task: asyncio.Task[None]
    readers: int = 0
    cut: ServiceError | None = None  # why the service itself ended it
    deadline: asyncio.TimerHandle | None = None  # when it is stopped, unless a reader comes back


class Answers:
    """The answers that this process writes: at most `max_streams` at a time.

    `resume_seconds`: how long an answer goes on without a reader.
    """

    def __init__(self, *, max_streams: int, resume_seconds: float) -> None:
        self.draining = False
        self._max_streams = max_streams
        self._resume_seconds = resume_seconds
        self._writings: dict[UUID, Writing] = {}

    def __len__(self) -> int:
        return len(self._writings)

    def check_room(self) -> None:
        """Raises Restarting or Overloaded when no further answer may begin."""
        if self.draining:
            raise Restarting("draining", retry_after=1)
        if len(self._writings) >= self._max_streams:
            raise Overloaded(f"{self._max_streams} answers are under way", retry_after=2)

    def find(self, message_id: UUID) -> Answer | None:
        writing = self._writings.get(message_id)
        return writing.answer if writing else None

    def start(self, answer: Answer, call: Call, store: StoreAnswer) -> None:
        """Write `answer` by `call`. `store` is given its ending before the readers hear of it."""
        task = asyncio.create_task(self._write(answer, call, store), name=f"answer {answer.message_id}")
        self._writings[answer.message_id] = Writing(answer, call, task)

    def join(self, answer: Answer) -> None:
        """Count a reader in. Each `join` is followed by one `leave`."""
        writing = self._writings.get(answer.message_id)
        if writing is not None:
            writing.readers += 1
            if writing.deadline is not None:
                writing.deadline.cancel()
                writing.deadline = None

    def leave(self, answer: Answer) -> None:
        """Count a reader out; without readers the answer is stopped, at once if it was not even asked for yet."""
        writing = self._writings.get(answer.message_id)
        if writing is None:
            return
        writing.readers -= 1
        if writing.readers == 0 and answer.ending is None:
            seconds = self._resume_seconds if writing.call.sent else 0
            writing.deadline = asyncio.get_running_loop().call_later(seconds, writing.call.stop)

    def stop(self, message_id: UUID) -> bool:
        """End an answer as cancelled. False if this process is not writing it."""
        writing = self._writings.get(message_id)
        if writing is None:
            return False
        writing.call.stop()
        if writing.call.connecting:  # it ends when it is connected; the readers need not wait for that
            writing.answer.end(Finish("cancelled"))
        return True

    async def drain(self, seconds: float) -> None:
        """Begin no more answers, give those under way their time, then end what is left as `restarting`."""
        self.draining = True
        tasks = [writing.task for writing in self._writings.values()]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for writing in self._writings.values():
            writing.cut = Restarting("the service was shut down")
            writing.call.stop()
        while self._writings:
            await asyncio.wait([writing.task for writing in self._writings.values()])

    async def _write(self, answer: Answer, call: Call, store: StoreAnswer) -> None:
        ending: Finish | ServiceError
        try:
            ending = await call.run()
        except asyncio.CancelledError:
            ending = self._writings[answer.message_id].cut or Finish("cancelled")
        except ServiceError as error:
            ending = error
        except Exception:
            log.exception("an answer failed", extra={"message_id": str(answer.message_id)})
            ending = ServiceError("unexpected")
        storing = asyncio.create_task(store(answer, ending))
        try:
            await asyncio.wait([storing], timeout=STORING_SECONDS)
            answer.end(ending)
            await storing
        finally:
            del self._writings[answer.message_id]
