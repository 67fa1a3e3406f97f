"""Hooks for measuring the database's work; they do nothing by default."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from sqlalchemy import Connection

CallKind = Literal["read", "write"]
CALL_KINDS: tuple[CallKind, ...] = get_args(CallKind)
Result = TypeVar("Result")


def _ignore(*_: Any) -> None:
    pass


@dataclass(slots=True)
class Meter:
    """Callbacks for calls, from any thread, with times in seconds.

    `waited`: until its turn came or a connection was free. `took`: from then to its end, including the commit.
    `committed`: the number of calls in an SQLite transaction. `failed`: the database is unavailable or late.
    """

    waited: Callable[[CallKind, float], None] = _ignore
    took: Callable[[CallKind, float], None] = _ignore
    committed: Callable[[int], None] = _ignore
    failed: Callable[[], None] = _ignore

    @contextmanager
    def timed(
        self, kind: CallKind, function: Callable[[Connection], Result]
    ) -> Iterator[Callable[[Connection], Result]]:
        """A wrapper of a function that measures its call."""
        requested, began = time.perf_counter(), None

        def run(db: Connection) -> Result:
            nonlocal began
            began = time.perf_counter()
            return function(db)

        try:
            yield run
        finally:
            ended = time.perf_counter()
            self.waited(kind, (began or ended) - requested)
            if began is not None:
                self.took(kind, ended - began)
