"""One answer: its text so far, and how it ended. Readers can wait for more at any position."""

import asyncio
import time
from bisect import bisect_right
from uuid import UUID

from service.errors import Busy, ServiceError, every_error
from service.store.records import Source, Status, Turn
from service.upstream.charge import Size, TokenCount
from service.upstream.responses import BUSY_SECONDS
from service.upstream.stream import Finish, Hidden, Part

MAX_UNJOINED = 64  # pieces of text before they become one: each takes some 100 bytes beside its characters


class Answer:
    """An answer as far as it is known; a `stream.Receiver`.

    Positions count characters (Unicode code points) from the beginning of its text.
    """

    def __init__(self, conversation_id: UUID, message_id: UUID) -> None:
        self.conversation_id = conversation_id
        self.message_id = message_id
        self._loop = asyncio.get_running_loop()
        # Done when the upstream has accepted the question, or the answer has ended before that.
        self.opened: asyncio.Future[None] = self._loop.create_future()
        self.accepted = False
        self.ending: Finish | ServiceError | None = None
        self.sources: list[Source] = []
        self.hidden = Size()  # of parts that are not shown, such as thoughts
        self.first_text_at: float | None = None  # time.monotonic()
        self.length = 0  # characters so far
        self._pieces: list[str] = []
        self._ends: list[int] = []  # the position after each piece
        self._unjoined = 0  # pieces at the end, each as it was received
        self._waiters: set[asyncio.Future[bool]] = set()

    @classmethod
    def of(cls, turn: Turn) -> "Answer":
        """The stored answer of a turn."""
        answer = cls(turn.conversation_id, turn.id)
        answer.accept()
        if turn.answer:
            answer.receive(turn.answer)
        answer.end_with(turn)
        return answer

    def text(self, after: int = 0) -> str:
        """The text after a position; empty if the position is at the end or beyond."""
        if after >= self.length:
            return ""
        if after == self.length - len(self._pieces[-1]):  # the usual case: the reader is up to date
            return self._pieces[-1]
        first = bisect_right(self._ends, after)
        pieces = self._pieces[first:]
        if pieces and first > 0:
            after -= self._ends[first - 1]
        text = "".join(pieces)
        if first == 0 and len(pieces) > 1:  # keep only one copy of the text in memory
            self._pieces, self._ends, self._unjoined = [text], [self.length], 0
        return text[after:]

    def accept(self) -> None:
        self.accepted = True
        self._open()

    def receive(self, part: Part) -> None:
        if isinstance(part, str):
            if self.first_text_at is None:
                self.first_text_at = time.monotonic()
            self.length += len(part)
            self._pieces.append(part)
            self._ends.append(self.length)
            self._unjoined += 1
            if self._unjoined == MAX_UNJOINED:
                self._join_last()
            self._wake()
        elif isinstance(part, Hidden):
            self.hidden += part.size
        else:
            self.sources = part.sources

    def end(self, ending: Finish | ServiceError) -> None:
        """End the answer; only the first ending counts."""
        self.ending = self.ending or ending
        self._open()
        self._wake()

    def end_with(self, turn: Turn) -> None:
        """End the answer like its turn, unless that is still running."""
        if turn.status != "running":
            self.sources = turn.sources or []
            self.end(ending_of(turn))

    def waiter(self) -> asyncio.Future[bool]:
        """A future that becomes true once there is more text or an ending; a reader that stops waiting cancels it."""
        self._waiters = {each for each in self._waiters if not each.done()}
        waiter = self._loop.create_future()
        self._waiters.add(waiter)
        return waiter

    def _join_last(self) -> None:
        self._pieces[-self._unjoined :] = ["".join(self._pieces[-self._unjoined :])]
        self._ends[-self._unjoined :] = [self.length]
        self._unjoined = 0

    def _open(self) -> None:
        if not self.opened.done():
            self.opened.set_result(None)

    def _wake(self) -> None:
        if self._waiters:
            waiters, self._waiters = self._waiters, set()
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(True)


def ending_of(turn: Turn) -> Finish | ServiceError:
    """The ending of a turn that is not running."""
    if turn.status == "running" or turn.status == "error":
        error = every_error().get(turn.code or "", ServiceError)()
        if isinstance(error, Busy):  # the wait that the provider named is not stored
            error.retry_after = BUSY_SECONDS
        return error
    counted = turn.prompt_tokens is not None and turn.completion_tokens is not None
    return Finish(turn.status, TokenCount(turn.prompt_tokens or 0, turn.completion_tokens or 0) if counted else None)


def status_of(ending: Finish | ServiceError) -> tuple[Status, str | None]:
    """The status and code to store for an ending."""
    return (ending.status, None) if isinstance(ending, Finish) else ("error", ending.code)
