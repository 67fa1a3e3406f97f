"""A timer that is put off much more often than it rings: with each token."""

import asyncio
from collections.abc import Callable


class Alarm:
    """Rings when it was last set to. Setting it later, as each token does, moves a number and no timer."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._ring = ring
        self._loop = asyncio.get_running_loop()
        self._due: float | None = None
        self._handle: asyncio.TimerHandle | None = None
        self._handle_due = 0.0

    def set(self, seconds: float | None) -> None:
        """Ring after so many seconds; None for never."""
        self._due = due = None if seconds is None else self._loop.time() + seconds
        if due is not None and (self._handle is None or due < self._handle_due):
            self._start(due)

    def stop(self) -> None:
        self._due = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _start(self, due: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = self._loop.call_at(due, self._look)
        self._handle_due = due

    def _look(self) -> None:
        self._handle = None
        if self._due is not None:
            if self._due - self._loop.time() > 0.001:  # uvloop's clock counts milliseconds
                self._start(self._due)
            else:
                self._due = None
                self._ring()
