"""Several processes on one database: limits are exact, turns begin and end once, and nothing is lost."""

import asyncio
import multiprocessing
import uuid
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from databases import ask, begin, extend_deadlines, finish, has_spent, take, used
from databases import store as store
from databases import tenant as tenant
from service.store.records import Tenant
from service.store.store import Store

pytestmark = pytest.mark.each_database

PROCESSES = 3


InProcesses = Callable[..., Awaitable[list[Any]]]

_everybody: Barrier  # of each of the processes


@pytest.fixture(scope="module")
def _pool() -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, initializer=_meet_at, initargs=(barrier,)) as pool:
        yield pool


def _meet_at(barrier: Barrier) -> None:
    global _everybody
    _everybody = barrier
    extend_deadlines(pytest.MonkeyPatch())


def _at_once(work: Callable[..., Any], *given: Any) -> Any:
    _everybody.wait(60)
    return work(*given)


@pytest.fixture
def in_processes(_pool: ProcessPoolExecutor) -> InProcesses:
    """The results of a function run in several independent processes at once."""

    async def run(work: Callable[..., Any], *given: Any) -> list[Any]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(loop.run_in_executor(_pool, _at_once, work, *given) for _ in range(PROCESSES)))

    return run


def _migrate(url: str) -> None:
    async def run() -> None:
        store = Store(url)
        await store.migrate()
        await store.ping()
        await store.close()

    asyncio.run(run())


def _take(url: str, limit: int, times: int) -> int:
    """The number of grants."""

    async def run() -> int:
        store = Store(url)
        granted = 0
        for _ in range(times // 10):  # ten at once, which a busy machine's database can take within its deadline
            granted += (await asyncio.gather(*(take(store, "key", limit) for _ in range(10)))).count(0.0)
        await store.close()
        return granted

    return asyncio.run(run())


def _ask(url: str, times: int, shared: list[uuid.UUID]) -> tuple[int, int]:
    """Ask questions of this process's own and some that all processes ask; how many of those began and ended here."""

    async def once(store: Store, tenant: Tenant, message_id: uuid.UUID) -> tuple[bool, bool]:
        start = await begin(store, tenant, message_id=message_id)
        return start.is_new, await finish(store, tenant, start)

    async def run() -> tuple[int, int]:
        store = Store(url)
        tenant = await store.get_tenant("shop")
        results = await asyncio.gather(*(once(store, tenant, message_id) for message_id in shared))
        await asyncio.gather(*(ask(store, tenant) for _ in range(times)))
        await store.close()
        return sum(start for start, _ in results), sum(ended for _, ended in results)

    return asyncio.run(run())


def _purge(url: str) -> None:
    async def run() -> None:
        store = Store(url)
        await store.purge(datetime(2026, 4, 1, tzinfo=UTC))
        await store.close()

    asyncio.run(run())


def _set_widget(url: str, times: int) -> None:
    """Change settings that no other process changes, all at once."""

    async def run() -> None:
        store = Store(url)
        await asyncio.gather(*(store.set_widget("shop", {uuid.uuid4().hex: "x"}) for _ in range(times)))
        await store.close()

    asyncio.run(run())


async def test_processes_starting_together_create_the_tables_once(
    in_processes: InProcesses, empty_database_url: str
) -> None:
    await in_processes(_migrate, empty_database_url)


@pytest.mark.parametrize("limit", [40, 1000])
async def test_processes_share_one_limit(
    in_processes: InProcesses, database_url: str, store: Store, limit: int
) -> None:
    granted = await in_processes(_take, database_url, limit, 100)

    assert sum(granted) == min(limit, 100 * PROCESSES)


async def test_concurrent_processes_neither_lose_nor_repeat_a_turn(
    in_processes: InProcesses, database_url: str, store: Store, tenant: Tenant
) -> None:
    shared = [uuid.uuid4() for _ in range(30)]

    results = await in_processes(_ask, database_url, 30, shared)

    assert sum(start for start, _ in results) == len(shared)
    assert sum(ended for _, ended in results) == len(shared)
    assert await has_spent(store, tenant, 13 * (len(shared) + 30 * PROCESSES))


async def test_concurrent_aggregation_counts_nothing_twice(
    in_processes: InProcesses, database_url: str, store: Store, tenant: Tenant
) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    await store.record([used(tenant, at=at + timedelta(days=day)) for day in range(3) for _ in range(4000)])

    await in_processes(_purge, database_url)

    (total,) = await store.usage("shop", at, ())
    assert (total.requests, total.charged) == (12_000, 156_000)


async def test_concurrent_read_modify_writes_lose_nothing(
    in_processes: InProcesses, database_url: str, store: Store, tenant: Tenant
) -> None:
    await in_processes(_set_widget, database_url, 30)

    assert len((await store.get_widget("shop")).settings) == 30 * PROCESSES
