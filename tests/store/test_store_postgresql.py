"""PostgreSQL in production: behind PgBouncer, after switchovers, and on networks that drop connections."""

import asyncio
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text
from sqlalchemy.engine import make_url
from sqlalchemy.pool import QueuePool

from databases import ask, begin, connect_postgres
from databases import store as store
from databases import tenant as tenant
from poolers import forgetful_network, pgbouncer
from service.store.records import Tenant
from service.store.store import Store

pytestmark = pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)


WAITING = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


@pytest.fixture
def pooled_url(database_url: str, tmp_path: Path) -> Iterator[str]:
    with pgbouncer(database_url, tmp_path) as url:
        yield url


async def test_concurrent_questions_work_through_pgbouncer(pooled_url: str) -> None:
    """More connections than PgBouncer has of the server's, so that one transaction follows another on any of them."""
    store = Store(pooled_url, pool_size=16)
    await store.migrate()
    tenant, _, api_key = await store.add_tenant("shop")

    for _ in range(3):
        start = await asyncio.gather(*(ask(store, tenant) for _ in range(40)))
        access = await asyncio.gather(*(store.find_access(api_key) for _ in range(40)))

    assert len({one.turn.id for one in start}) == 40
    assert all(one and one.tenant == tenant for one in access)
    await store.close()


async def test_a_transaction_through_pgbouncer_has_the_usual_deadlines(pooled_url: str) -> None:
    """And doesn't leave them set for the connection's next user."""
    store = Store(pooled_url, pool_size=1)
    names = ("statement_timeout", "idle_in_transaction_session_timeout")

    def look(db: Connection) -> list[str]:
        return [db.scalar(text(f"SHOW {name}")) or "" for name in names]

    within = await store._database.write(look)
    without = await store._database.read(look)

    assert within == ["1min", "1min"]
    assert without == ["0", "0"]
    await store.close()


async def test_a_connection_to_a_primary_that_became_read_only_is_replaced(store: Store, tenant: Tenant) -> None:
    """As after a switchover, when the address already leads to the new primary. No question fails."""

    def become_read_only(db: Connection) -> None:
        db.execute(text("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"))

    await asyncio.gather(*(store._database.write(become_read_only) for _ in range(8)))

    assert all(start.is_new for start in await asyncio.gather(*(begin(store, tenant) for _ in range(8))))


async def test_connections_that_the_network_dropped_are_replaced(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Idle connections are tested before use; if one is dead, all are replaced."""
    async with forgetful_network(database_url) as (network, url):
        store = Store(url)
        tenant, _, _ = await store.add_tenant("shop")
        await asyncio.gather(*(store.ping() for _ in range(8)))
        pool = store._database.engine.pool
        assert isinstance(pool, QueuePool)
        open_before = pool.checkedin()
        monkeypatch.setattr("service.store.deadlines.SILENCE", 0)
        assert network.forget() >= open_before > 1

        assert (await begin(store, tenant)).is_new
        monkeypatch.setattr("service.store.deadlines.PING", 3600)  # from here on nobody may wait for a dead one
        async with asyncio.timeout(30):
            for _ in range(open_before):
                assert (await begin(store, tenant)).is_new

        network.forget()
        async with asyncio.timeout(30):
            await store.close()


async def test_a_call_lost_in_the_network_leaves_no_dead_connection_behind(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with forgetful_network(database_url) as (network, url):
        store = Store(url)
        await asyncio.gather(*(store.ping() for _ in range(8)))
        network.forget()
        monkeypatch.setattr("service.store.deadlines.DEADLINE", 1)
        results = await asyncio.gather(store.ping(), return_exceptions=True)
        monkeypatch.setattr("service.store.deadlines.DEADLINE", 60)

        assert isinstance(results[0], Exception)
        for _ in range(8):
            await store.ping()
        await store.close()


async def test_every_connection_has_tcp_keepalive(store: Store) -> None:
    def look(db: Connection) -> tuple[int, int]:
        connection: Any = db.connection.driver_connection
        connected = connection._transport.get_extra_info("socket")
        return (
            connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE),
        )

    is_on, idle_seconds = await store._database.read(look)
    assert is_on == 1
    assert idle_seconds <= 30


async def test_a_store_opens_at_most_its_pool_size(database_url: str) -> None:
    store = Store(database_url, pool_size=2)
    await asyncio.gather(*(store.ping() for _ in range(20)))

    pool = store._database.engine.pool
    assert isinstance(pool, QueuePool)
    assert pool.checkedin() == 2
    await store.close()


async def test_a_conversation_that_is_used_during_a_purge_is_not_deleted(
    store: Store, tenant: Tenant, database_url: str
) -> None:
    """The purge has chosen it, and waits for the question that is being stored."""
    old = (await ask(store, tenant)).turn
    visitor, watcher = [await connect_postgres(make_url(database_url)) for _ in range(2)]
    async with visitor.transaction():
        await visitor.execute("UPDATE conversations SET updated_at = now() + interval '1 minute'")
        purging = asyncio.create_task(store.purge(datetime.now(UTC)))
        async with asyncio.timeout(30):
            while not await watcher.fetchval(WAITING):
                await asyncio.sleep(0.01)

    assert (await purging).conversations == 0
    assert await store.find_turn(tenant.id, old.id) is not None
    for connection in (visitor, watcher):
        await connection.close()
