"""Timers that are postponed far more often than they fire: with each token."""

import asyncio
from collections.abc import Callable
from functools import partial
from types import TracebackType


class Alarm:
    """Fires at the time it was last set to. Postponing it, as each token does, changes a number but no timer."""

    __slots__ = ("_due", "_handle", "_handle_due", "_loop", "_ring")

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._handle_due = 0.0

    def set(self, seconds: float | None) -> None:
        """Fire after this many seconds; None for never."""
        self._due = due = None if seconds is None else self._loop.time() + seconds
        if due is not None and (self._handle is None or due < self._handle_due):
            self._start(due)

    def set_at(self, due: float) -> None:
        """Fire at this time of the loop."""
        self._due = due
        if self._handle is None or due < self._handle_due:
            self._start(due)

    def stop(self) -> None:
        self._due = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def close(self) -> None:
        """Stop for good, and let go of what it rings, which may refer back to this alarm."""
        self.stop()
        self._ring = lambda: None

    def _start(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(due, self._look)
        self._handle_due = due

    def _look(self) -> None:
        self._handle = None
        if self._due is not None:
            if self._due - self._loop.time() > 0.001:  # uvloop's clock has a resolution of milliseconds
                self._start(self._due)
            else:
                self._due = None
                self._ring()


class Deadline:
    """Like `asyncio.timeout_at`, but with an `Alarm` as its timer."""

    __slots__ = ("_alarm", "_loop", "_timeout", "_when")

    def __init__(self, when: float) -> None:
        self._when = when
        self._loop = asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self._alarm = Alarm(partial(self._timeout.reschedule, 0))

    def when(self) -> float:
        return self._when

    def reschedule(self, when: float) -> None:
        self._when = when
        if when <= self._loop.time():
            self._timeout.reschedule(when)  # immediately: a timer would run after data that has arrived meanwhile
        else:
            self._alarm.set_at(when)

    async def __aenter__(self) -> "Deadline":
        await self._timeout.__aenter__()
        self.reschedule(self._when)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._alarm.stop()
        await self._timeout.__aexit__(kind, error, trace)
