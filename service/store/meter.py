"""What the database tells about its work. Nothing is done with it unless somebody listens."""

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
    """Functions that hear of calls, from any thread. In seconds:

    `waited`: until it was its turn or a connection was free; `took`: from then to its end, the commit included.
    `committed`: how many calls were in a transaction of SQLite.
    """

    waited: Callable[[CallKind, float], None] = _ignore
    took: Callable[[CallKind, float], None] = _ignore
    committed: Callable[[int], None] = _ignore

    @contextmanager
    def timed(
        self, kind: CallKind, function: Callable[[Connection], Result]
    ) -> Iterator[Callable[[Connection], Result]]:
        """The function to call in its place, until the call has ended."""
        asked, began = time.perf_counter(), None

        def run(db: Connection) -> Result:
            nonlocal began
            began = time.perf_counter()
            return function(db)

        try:
            yield run
        finally:
            ended = time.perf_counter()
            self.waited(kind, (began or ended) - asked)
            if began is not None:
                self.took(kind, ended - began)
