"""The database queries of an idle service."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Connection, event

from client import Client
from conftest import Serve
from databases import begin
from service.answers import pace
from service.store.database import Database
from service.webhooks import delivery

TICK_SECONDS = pace.TICK_SECONDS
TICKS_PER_HEARTBEAT = int(pace.HEARTBEAT_SECONDS / TICK_SECONDS) + 1
TICKS_PER_LOOK = pace.IDLE_HEARTBEATS * TICKS_PER_HEARTBEAT  # at the heartbeats of other processes

pytestmark = pytest.mark.each_database


class Clock:
    """The clock of heartbeats, which a test turns on."""

    def __init__(self) -> None:
        self.now = 0.0

    async def turn(self, client: Client, ticks: int) -> None:
        """Let the service look after its answers so many times, at their intervals."""
        for _ in range(ticks):
            self.now += TICK_SECONDS
            await client.state["service"].answers.tick()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The service's own task looks after its answers at the start, and then only if a test does."""
    clock = Clock()
    monkeypatch.setattr(pace, "TICK_SECONDS", 3600)
    monkeypatch.setattr("service.answers.writing.time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@asynccontextmanager
async def statements_of_this_task(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[str]]:
    """What this task asks the database, and not what the service's own tasks do beside it."""
    statements: list[str] = []
    here, read, write = asyncio.current_task(), Database.read, Database.write

    def note(*executed: Any) -> None:
        statements.append(executed[2])

    def noting(function: Callable[[Connection], Any]) -> Callable[[Connection], Any]:
        def run(db: Connection) -> Any:
            event.listen(db, "before_cursor_execute", note)
            try:
                return function(db)
            finally:
                event.remove(db, "before_cursor_execute", note)

        return run if asyncio.current_task() is here else function

    with monkeypatch.context() as patch:
        patch.setattr(Database, "read", lambda self, function, **given: read(self, noting(function), **given))
        patch.setattr(Database, "write", lambda self, function, **given: write(self, noting(function), **given))
        yield statements


async def test_an_idle_service_sends_its_database_few_statements(
    serve: Serve, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One in sixteen seconds about the answers of other processes, and one in thirty about the outbox."""
    assert TICKS_PER_LOOK * TICK_SECONDS > 16
    async with serve() as client:
        await clock.turn(client, 2 * TICKS_PER_LOOK)
        async with statements_of_this_task(monkeypatch) as statements:
            await clock.turn(client, 4 * TICKS_PER_LOOK)
            assert len(statements) == 4, statements
            statements.clear()
            assert await client.state["service"].webhooks._start_due() == delivery.POLL_SECONDS == 30
            assert len(statements) == 1, statements


async def test_an_idle_service_closes_an_answer_whose_process_died(serve: Serve, clock: Clock) -> None:
    """It notices the answer a little later, and then waits as long as any other process."""
    async with serve() as client:
        store = client.state["service"].store
        await clock.turn(client, 2 * TICKS_PER_LOOK)
        tenant = await store.get_tenant("shop")
        start = await begin(store, tenant, message_id=uuid.uuid4(), writer="a process that died")

        async def status() -> str:
            return str((await store.find_turn(tenant.id, start.turn.id)).status)

        seconds = 0.0
        while await status() == "running":
            await clock.turn(client, 1)
            seconds += TICK_SECONDS
            assert seconds < 60
        most = pace.LOST_SECONDS + (pace.IDLE_HEARTBEATS + 1) * (pace.HEARTBEAT_SECONDS + TICK_SECONDS)
        assert pace.LOST_SECONDS <= seconds <= most
