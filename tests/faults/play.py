"""How a fault is run: its name, its pass criterion, the measurements, and the failures."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from faults.faulty import FaultyUpstream
from faults.machine import MEASURED_DEADLINES, MIB, SHORT_DEADLINES, Deployment, Postgres, Replica, Unmeasurable, Weight
from faults.readers import Reply, ask
from service.upstream.clients import KEEPALIVE_CONNECTIONS

WORN_IN_BYTES = 20 * MIB  # memory that a process may keep after its first load: caches, pools, the allocator's arenas
# sse-starlette keeps one for all streams once there was one, and a timer runs now and then.
SPARE_TASKS = 2


@dataclass
class Play:
    """One run of one fault."""

    directory: Path
    short: bool = False
    most: int | None = None  # an upper bound for all counts
    postgres: Callable[[], Postgres] | None = None  # the shared server, if there is one
    measured: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def count(self, full: int, short: int) -> int:
        """The number of repetitions, in full or in the short form."""
        chosen = short if self.short else full
        return min(chosen, self.most) if self.most else chosen

    @property
    def deadlines(self) -> dict[str, str]:
        return SHORT_DEADLINES if self.short else MEASURED_DEADLINES

    @property
    def answer_seconds(self) -> float:
        return float(self.deadlines["ANSWER_TIMEOUT"])

    def measure(self, text: str) -> None:
        self.measured.append(text)

    def require(self, holds: bool, otherwise: str) -> None:
        """Fail unless the condition holds; `otherwise` describes the failure."""
        if not holds:
            self.failures.append(otherwise)

    def require_in_time(self, seconds: float, most: float, what: str) -> None:
        """Fail if a time is too long. Not in the short form, as other tests run at the same time."""
        self.require(self.short or seconds < most, f"{what}: {seconds:.2f} s, not less than {most:g}")

    def postgres_server(self) -> Postgres:
        """The PostgreSQL server. Raises Unmeasurable if there is none."""
        if self.postgres is None:
            raise Unmeasurable("there is no PostgreSQL")
        return self.postgres()

    def postgres_url(self, name: str) -> str:
        """The URL of a new database on the PostgreSQL server."""
        return self.postgres_server().new_database(f"{name}_{uuid.uuid4().hex[:8]}")

    def subdirectory(self, name: str) -> Path:
        path = self.directory / name
        path.mkdir()
        return path

    def require_endings(self, reply: list[Reply], allowed: set[str], *, clean: bool = True) -> None:
        """Fail unless every visitor received exactly one of these endings, complete."""
        endings = Counter(one.ending for one in reply)
        self.measure(", ".join(f"{count} {ending}" for ending, count in endings.most_common()))
        self.require(set(endings) <= allowed, f"endings {dict(endings)}")
        if clean:
            unclean = sum(not one.is_clean_error for one in reply)
            self.require(not unclean, f"{unclean} of {len(reply)} errors were not clean")

    @asynccontextmanager
    async def back_to_start(self, deployment: Deployment, upstream: FaultyUpstream) -> AsyncIterator[list[Reply]]:
        """Fail unless every process's memory, sockets and tasks return to their level after a first answer.

        Yields these answers, which a short deadline may have cut off.
        """
        before, first = [], []
        for replica in deployment.replicas:
            first.append(await ask(replica.url, deployment.key, "quick warm-up"))
            await deployment.until_idle()
            before.append(await replica.weigh(upstream.port))
        yield first
        self.require(await deployment.until_idle(), "answers are still open")
        for replica, start in zip(deployment.replicas, before, strict=True):
            if replica.process.poll() is None:
                await self._require_back(replica, start, upstream.port)

    async def _require_back(self, replica: Replica, start: Weight, upstream_port: int) -> None:
        def is_back(now: Weight) -> bool:
            return (
                (now.tasks - start.tasks).total() <= SPARE_TASKS
                and now.reader_sockets <= start.reader_sockets
                and now.upstream_sockets <= KEEPALIVE_CONNECTIONS
            )

        end = await replica.weigh_until(upstream_port, is_back)
        grown = end.memory - start.memory
        self.measure(
            f"{replica.name} after: {grown / MIB:+.1f} MiB, {end.reader_sockets} reader sockets, "
            f"{end.upstream_sockets} idle upstream sockets, tasks {start.tasks.total()} -> {end.tasks.total()}"
        )
        left = end.tasks - start.tasks
        self.require(left.total() <= SPARE_TASKS, f"tasks are left in {replica.name}: {dict(left)}")
        self.require(end.reader_sockets <= start.reader_sockets, f"{end.reader_sockets} sockets to readers are left")
        self.require(
            end.upstream_sockets <= KEEPALIVE_CONNECTIONS, f"{end.upstream_sockets} sockets to the upstream are left"
        )
        self.require(grown < WORN_IN_BYTES, f"{replica.name} grew by {grown / MIB:.1f} MiB")


Player = Callable[[Play], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Fault:
    """A fault, its pass criterion, and the function that runs it."""

    id: str
    number: str
    play: Player


FAULTS: dict[str, Fault] = {}


def fault(id: str, number: str) -> Callable[[Player], Player]:
    def add(function: Player) -> Player:
        FAULTS[id] = Fault(id, number, function)
        return function

    return add


Result = TypeVar("Result")


async def many(count: int, at_once: int, do: Callable[[int], Awaitable[Result]]) -> list[Result]:
    """Do something `count` times, with limited concurrency."""
    places = asyncio.Semaphore(at_once)

    async def one(number: int) -> Result:
        async with places:
            return await do(number)

    return await asyncio.gather(*(one(number) for number in range(count)))
