"""When the database is locked, gone, slow or full, the store reports it, and recovers with the database."""

import asyncio
import socket
import sqlite3
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from databases import (
    begin,
    connect_postgres,
    finish,
    has_spent,
    on_each_statement,
    on_postgres,
    own_deadlines,
    take,
    used,
)
from databases import store as store
from databases import tenant as tenant
from service.store import deadlines
from service.store.records import NameTaken, StoreError, StoreTimeout, StoreUnavailable, Tenant, TurnLimits, TurnStart
from service.store.store import Store

pytestmark = pytest.mark.each_database

HANGS_SECONDS = 60  # anything slower counts as hanging


@asynccontextmanager
async def _locked(database_url: str) -> AsyncIterator[None]:
    """Hold the database's write lock."""
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(url.database), isolation_level=None)
        with closing(connection):
            connection.execute("BEGIN EXCLUSIVE")
            yield
    else:
        other = await connect_postgres(url)
        try:
            await other.execute(
                "BEGIN; LOCK TABLE schema_version, tenants, messages, counters IN ACCESS EXCLUSIVE MODE"
            )
            yield
        finally:
            await other.close()


async def test_a_locked_database_is_unavailable(
    database_url: str, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    with own_deadlines(monkeypatch):
        store = Store(database_url)
        async with _locked(database_url), asyncio.timeout(HANGS_SECONDS):
            results = await asyncio.gather(
                *(begin(store, tenant) for _ in range(20)),
                *(take(store, "key", 1) for _ in range(20)),
                store.ping(),
                return_exceptions=True,
            )

    assert all(isinstance(result, StoreUnavailable) for result in results), results
    await store.ping()
    assert await take(store, "key", 1) == 0.0
    await store.close()


async def test_a_short_lock_is_waited_for(database_url: str, store: Store, tenant: Tenant) -> None:
    async with _locked(database_url):
        waiting = asyncio.create_task(begin(store, tenant))
        await asyncio.wait([waiting], timeout=0.2)
        assert not waiting.done()

    assert (await waiting).is_new


async def test_sqlite_can_be_read_during_a_write(tmp_path: Path) -> None:
    url = f"sqlite+aiosqlite:///{tmp_path / 'test.db'}"
    store = Store(url)
    await store.migrate()
    added, _, api_key = await store.add_tenant("shop")

    async with _locked(url):
        access = await store.find_access(api_key)

    assert access is not None
    assert access.tenant == added
    await store.close()


async def test_a_file_that_is_not_a_database_is_unavailable_until_it_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "test.db"
    path.write_bytes(b"not a database " * 100)
    store = Store(f"sqlite+aiosqlite:///{path}")

    with pytest.raises(StoreUnavailable, match="not a database"):
        await store.ping()

    path.unlink()
    await store.migrate()
    await store.ping()
    await store.close()


@pytest.mark.parametrize("path", ["missing/test.db", "."])
async def test_a_file_that_cannot_be_opened_is_unavailable(tmp_path: Path, path: str) -> None:
    store = Store(f"sqlite+aiosqlite:///{tmp_path / path}")

    with pytest.raises(StoreUnavailable, match="unable to open database file"):
        await store.find_access("a4_pub_" + "A" * 32)
    await store.close()


async def test_a_removed_file_is_unavailable_until_it_is_back(tmp_path: Path) -> None:
    """Open connections would otherwise keep using the deleted file."""
    path, elsewhere = tmp_path / "test.db", tmp_path / "elsewhere.db"
    store = Store(f"sqlite+aiosqlite:///{path}")
    await store.migrate()
    tenant, _, api_key = await store.add_tenant("shop")
    path.rename(elsewhere)

    with pytest.raises(StoreUnavailable):
        await store.find_access(api_key)
    with pytest.raises(StoreUnavailable):
        await begin(store, tenant)
    with pytest.raises(StoreUnavailable):
        await store.ping()
    assert not path.exists()

    elsewhere.rename(path)
    await store.ping()
    assert (await begin(store, tenant)).is_new
    await store.close()


async def test_a_replaced_file_is_used_from_then_on(tmp_path: Path) -> None:
    path, restored = tmp_path / "test.db", tmp_path / "restored.db"
    store, other = Store(f"sqlite+aiosqlite:///{path}"), Store(f"sqlite+aiosqlite:///{restored}")
    await store.migrate()
    await store.add_tenant("lost")
    await other.migrate()
    await other.add_tenant("restored")
    await other.close()
    restored.rename(path)
    for log in ("test.db-wal", "test.db-shm"):
        (tmp_path / log).unlink(missing_ok=True)

    assert [tenant.name for tenant in await store.list_tenants()] == ["restored"]
    await store.close()


async def test_a_commit_that_exceeds_the_deadline_does_not_count_as_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Otherwise a turn that was reported as failed would stay running, without a writer."""
    store = Store(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}")
    await store.migrate()
    tenant, _, _ = await store.add_tenant("shop")
    loop, over = asyncio.get_running_loop(), threading.Event()
    now = loop.time

    def pass_the_deadline() -> None:
        monkeypatch.setattr(loop, "time", lambda: now() + deadlines.DEADLINE)
        loop.call_later(0, over.set)  # after what is due then

    def commit(_: Connection) -> None:
        loop.call_soon_threadsafe(pass_the_deadline)
        over.wait()

    event.listen(store._database.engine, "commit", commit)

    assert (await begin(store, tenant)).is_new
    await store.close()


async def test_a_full_sqlite_file_is_unavailable_and_keeps_its_data(tmp_path: Path) -> None:
    store = Store(f"sqlite+aiosqlite:///{tmp_path / 'test.db'}")
    engine = store._database.engine
    event.listen(engine, "connect", lambda connection, _: connection.cursor().execute("PRAGMA max_page_count=60"))
    await store.migrate()
    tenant, _, _ = await store.add_tenant("shop")
    start = await begin(store, tenant)

    with pytest.raises(StoreUnavailable, match="full"):
        await finish(store, tenant, start, "x" * 1_000_000)

    assert await store.conversation(tenant.id, start.turn.conversation_id) == [start.turn]
    assert await has_spent(store, tenant, 0)
    assert await finish(store, tenant, start, "short")
    await store.close()


@asynccontextmanager
async def _busy_writer(store: Store) -> AsyncIterator[None]:
    """Other writes wait, and are committed together at the end."""
    loop, start, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def wait(db: Connection) -> None:
        loop.call_soon_threadsafe(start.set)
        go_on.wait()

    waiting = asyncio.create_task(store._database.write(wait))
    await start.wait()
    yield
    await asyncio.sleep(0)  # the tasks that were made call the store
    go_on.set()
    await waiting


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_long_report_delays_no_question(store: Store, tenant: Tenant) -> None:
    """Reports have their own thread, which starts with the first one."""
    loop, start, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()
    _, _, api_key = await store.add_tenant("bakery")
    assert await store.find_access(api_key) is not None
    threads = set(threading.enumerate())

    def report(db: Connection) -> None:
        loop.call_soon_threadsafe(start.set)
        go_on.wait()

    reporting = asyncio.create_task(store.read(report))
    await start.wait()
    try:
        async with asyncio.timeout(HANGS_SECONDS):
            assert await store.find_access(api_key) is not None
            assert await finish(store, tenant, await begin(store, tenant))
        assert not reporting.done()
        (thread,) = set(threading.enumerate()) - threads
    finally:
        go_on.set()
    await reporting

    await store.close()
    assert not thread.is_alive()


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_pending_writes_share_one_transaction(store: Store, tenant: Tenant) -> None:
    commits: list[object] = []
    event.listen(store._database.engine, "commit", commits.append)

    async with _busy_writer(store):
        asking = [asyncio.create_task(begin(store, tenant)) for _ in range(20)]

    assert all(start.is_new for start in await asyncio.gather(*asking))
    assert len(commits) == 2


async def test_a_failed_write_does_not_affect_others_in_its_transaction(tmp_path: Path) -> None:
    """A duplicate name only fails itself; a text that fills the disk rolls the whole transaction back."""
    store = Store(f"sqlite:///{tmp_path / 'test.db'}")
    event.listen(
        store._database.engine,
        "connect",
        lambda connection, _: connection.cursor().execute("PRAGMA max_page_count=80"),
    )
    await store.migrate()
    tenant, _, _ = await store.add_tenant("shop")
    first, large, last = [await begin(store, tenant) for _ in range(3)]

    async with _busy_writer(store):
        writing = [
            asyncio.create_task(finish(store, tenant, first)),
            asyncio.create_task(store.add_tenant("shop")),
            asyncio.create_task(finish(store, tenant, large, "x" * 1_000_000)),
            asyncio.create_task(finish(store, tenant, last)),
        ]

    results = await asyncio.gather(*writing, return_exceptions=True)
    assert [type(result) for result in results] == [bool, NameTaken, StoreUnavailable, bool]
    assert list(await store.heartbeats()) == [large.turn.id]
    await store.close()


async def test_a_server_that_refuses_connections_is_unavailable(unused_port: int) -> None:
    store = Store(f"postgresql+asyncpg://user:secret@127.0.0.1:{unused_port}/x")

    with pytest.raises(StoreUnavailable, match="cannot be reached") as caught:
        await store.ping()

    assert "secret" not in str(caught.value)
    await store.close()


@asynccontextmanager
async def _silent_server() -> AsyncIterator[tuple[str, asyncio.Event, asyncio.Event]]:
    """The URL of a server that never answers, and whether it has accepted a connection and one was closed."""
    accepted, closed = asyncio.Event(), asyncio.Event()

    async def ignore(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        writer.close()
        closed.set()

    server = await asyncio.start_server(ignore, "127.0.0.1", 0)
    try:
        yield f"postgresql+asyncpg://user@127.0.0.1:{server.sockets[0].getsockname()[1]}/x", accepted, closed
    finally:
        server.close()
        await server.wait_closed()


async def test_a_server_that_never_answers_is_unavailable(monkeypatch: pytest.MonkeyPatch) -> None:
    async with _silent_server() as (url, _, _), asyncio.timeout(HANGS_SECONDS):
        with own_deadlines(monkeypatch):
            store = Store(url)
            results = await asyncio.gather(*(store.ping() for _ in range(20)), return_exceptions=True)

        assert {type(result) for result in results} == {StoreTimeout}
        await store.close()


async def test_a_call_cancelled_before_the_server_answers_leaks_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.store.deadlines.CONNECT", 0.2)
    async with _silent_server() as (url, accepted, closed):
        store = Store(url)
        leaving = asyncio.create_task(store.ping())
        await accepted.wait()
        leaving.cancel()
        await asyncio.wait([leaving])

        async with asyncio.timeout(30):
            await closed.wait()
        await store.close()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_restarted_server_is_used_again_at_once(database_url: str, store: Store, tenant: Tenant) -> None:
    await asyncio.gather(*(store.ping() for _ in range(10)))

    name = make_url(database_url).database  # other tests have connections to the same server
    on_postgres(f"SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{name}'")

    assert await store.list_tenants() == [tenant]
    assert (await begin(store, tenant)).is_new


def connections_in_use(store: Store) -> int:
    """The used connections of a server's pool. A file always has two, one per thread."""
    pool = store._database.engine.pool
    return pool.checkedout() if isinstance(pool, QueuePool) else 0


async def test_cancelled_calls_leak_no_connections(store: Store, tenant: Tenant) -> None:
    for wave in range(10):
        tasks = [asyncio.create_task(begin(store, tenant)) for _ in range(20)]
        await asyncio.wait(tasks, timeout=wave * 0.004)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    assert all(start.is_new for start in await asyncio.gather(*(begin(store, tenant) for _ in range(20))))
    assert connections_in_use(store) == 0


async def test_a_call_cancelled_at_any_statement_writes_nothing_and_blocks_no_other(
    store: Store, tenant: Tenant
) -> None:
    """What it leaves in memory, such as an open cursor with a row to fetch, must not hold the lock."""
    loop = asyncio.get_running_loop()
    first = await begin(store, tenant)
    again: dict[str, Any] = {"conversation_id": first.turn.conversation_id, "regenerate": True}
    again["limits"] = TurnLimits(visitor="a", streams=1000)
    cancelled: list[asyncio.Task[TurnStart]] = []
    left = 0

    async def cancel() -> None:
        cancelled[-1].cancel()

    def count_down(_: str) -> None:
        nonlocal left
        left -= 1
        if left == 0 and threading.current_thread() is threading.main_thread():
            cancelled[-1].cancel()
        elif left == 0:
            asyncio.run_coroutine_threadsafe(cancel(), loop).result()

    await on_each_statement(store, count_down)
    while not cancelled or cancelled[-1].cancelled():
        left = len(cancelled) + 1
        cancelled.append(asyncio.create_task(begin(store, tenant, **again)))
        await asyncio.wait(cancelled)
        assert (await begin(store, tenant, **again)).is_new

    assert len(cancelled) > 5
    assert len(await store.heartbeats()) == 2 + len(cancelled)
    assert connections_in_use(store) == 0


async def test_a_number_too_large_for_the_database_is_a_store_error(store: Store, tenant: Tenant) -> None:
    with pytest.raises(StoreError) as caught:
        await store.revoke_key("shop", 10**30)

    assert not isinstance(caught.value, StoreUnavailable)


async def test_no_error_shows_a_visitors_words(store: Store, tenant: Tenant) -> None:
    """Not even if the driver rejects the statement that contains them."""
    start = await begin(store, tenant)
    no_number: Any = object()

    with pytest.raises(StoreError) as caught:
        await finish(store, tenant, start, "canary", usage_row=replace(used(tenant), prompt_tokens=no_number))

    assert isinstance(caught.value.__cause__, DBAPIError | sqlite3.Error)
    assert "canary" not in f"{caught.value} {caught.value.__cause__}"


@pytest.fixture
def unused_port() -> Iterator[int]:
    """Bound, so that nobody else gets it, but not listening."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]
