"""The lag of the event loop, the first sign of an overloaded process."""

import asyncio
import time
from collections import deque

from service.errors import Overloaded

STEP_SECONDS = 0.1  # between measurements
LATE_SECONDS = 1.0  # a question takes some twenty turns of the loop, so no database call would meet its deadline
SUSPECT_SECONDS = 0.2  # on average; over that many turns, it is most of a database call's five seconds
OVERLOADED_SECONDS = 2  # a refused visitor's wait
REMEMBERED_SECONDS = 8.0  # the longest time of a database call


class LoopLag:
    """Measures how late the event loop wakes a sleeping task; `run` is its task."""

    def __init__(self) -> None:
        self._wakes_at = float("inf")  # time.monotonic()
        self._before, self._last = 0.0, 0.0
        self._measured: deque[tuple[float, float]] = deque()  # when, and how late

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            self._wakes_at = time.monotonic() + STEP_SECONDS
            await asyncio.sleep(STEP_SECONDS)
            self._note(max(time.monotonic() - self._wakes_at, 0.0))

    @property
    def worst(self) -> float:
        """The longest lag, in seconds, of the last eight seconds."""
        return max(self._recent(), default=0.0)

    @property
    def was_late(self) -> bool:
        """Whether this process itself caused the delays of the last seconds."""
        recent = self._recent()
        return bool(recent) and sum(recent) / len(recent) > SUSPECT_SECONDS

    def check(self) -> None:
        """Raises Overloaded while the loop is repeatedly late; once may be a hiccup."""
        under_way = self._under_way()
        before, now = (self._last, under_way) if under_way > LATE_SECONDS else (self._before, self._last)
        if min(before, now) > LATE_SECONDS:
            raise Overloaded(f"the event loop is {now:.2f} s late", retry_after=OVERLOADED_SECONDS)

    def _recent(self) -> list[float]:
        oldest = time.monotonic() - REMEMBERED_SECONDS
        while self._measured and self._measured[0][0] < oldest:
            self._measured.popleft()
        lags = [lag for _, lag in self._measured]
        return [*lags, under_way] if (under_way := self._under_way()) > 0 else lags

    def _under_way(self) -> float:
        return time.monotonic() - self._wakes_at

    def _note(self, lag: float) -> None:
        self._before, self._last = self._last, lag
        self._measured.append((time.monotonic(), lag))
