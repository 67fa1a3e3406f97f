"""Fresh databases on SQLite, and also on PostgreSQL for tests marked `each_database`.

TEST_POSTGRES_URL names the server, such as postgresql+asyncpg://postgres@127.0.0.1:15432/postgres; each test creates
its own database there and drops it.
"""

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url

from required import skip_unless_required
from service.store import deadlines
from service.store.dialects import file_of
from service.store.records import BudgetSpent, Quota, Tenant, TurnLimits, TurnStart, UsageRow
from service.store.store import Store

PATIENCE_SECONDS = 60
AROUND_STATEMENTS = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT", "--")
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "")


def extend_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend the database's deadlines, which many concurrent questions on a busy machine could exceed."""
    for deadline in ("DEADLINE", "BUSY", "COMMIT", "CONNECT", "STATEMENT"):
        monkeypatch.setattr(deadlines, deadline, PATIENCE_SECONDS)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """`sqlite`, or each in turn if the test or its module is marked `each_database`."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def empty_database_url(database_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    if database_kind == "sqlite":
        (tmp_path / "test.db").touch()
        yield f"sqlite:///{tmp_path / 'test.db'}"
    else:
        with _postgresql_database("template1") as url:
            yield url


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with empty tables."""
    template = request.getfixturevalue(f"{database_kind}_template")
    if database_kind == "sqlite":
        copy = shutil.copy(template, tmp_path / "test.db")
        yield f"sqlite:///{copy}"
    else:
        with _postgresql_database(template) as url:
            yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "test.db"
    _run(_migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture(scope="session")
def postgresql_template() -> Iterator[str]:
    with _postgresql_database("template1") as url:
        _run(_migrate(url))
        yield str(make_url(url).database)


@contextmanager
def _postgresql_database(template: str) -> Iterator[str]:
    """The URL of a copy of a database on the server."""
    if not POSTGRES:
        skip_unless_required("TEST_POSTGRES_URL names no PostgreSQL server")
    name = f"test_{uuid.uuid4().hex}"
    on_postgres(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
    try:
        yield make_url(POSTGRES).set(database=name).render_as_string(hide_password=False)
    finally:
        on_postgres(f'DROP DATABASE "{name}" WITH (FORCE)')


async def _migrate(url: str) -> None:
    store = Store(url)
    await store.migrate()
    await store.close()


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Store]:
    """A store on a fresh database."""
    opened = Store(database_url)
    yield opened
    await opened.close()


@pytest.fixture
async def tenant(store: Store) -> Tenant:
    """A tenant named shop."""
    added, _, _ = await store.add_tenant("shop", origins=["https://shop.test"])
    return added


def on_postgres(statement: str) -> None:
    """Run one statement on the PostgreSQL server."""
    _run(_execute(make_url(POSTGRES), statement))


def _run(work: Coroutine[Any, Any, None]) -> None:
    """Run in a separate thread, so that the test's event loop is not affected."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(asyncio.run, work).result()


async def _execute(url: URL, statement: str) -> None:
    connection = await connect_postgres(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


async def connect_postgres(url: URL) -> Any:
    """A direct asyncpg connection, bypassing the store."""
    return await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))


async def on_each_statement(store: Store, note: Callable[[str], None]) -> None:
    """From now on, call `note` with each statement, in the thread that executes it."""
    if (engine := store._database.engine).dialect.name != "sqlite":
        event.listen(engine, "before_cursor_execute", lambda _connection, _cursor, text, *_: note(text))
        return

    def trace(db: Connection) -> None:
        file_of(db).set_trace_callback(lambda text: None if text.startswith(AROUND_STATEMENTS) else note(text))

    await store._database.read(trace)
    await store._database.write(trace)


async def begin(store: Store, tenant: Tenant, question: str = "Hello?", **given: Any) -> TurnStart:
    """A running turn, in a new conversation unless `conversation_id` is given."""
    values = {"message_id": uuid.uuid4(), "conversation_id": None} | given
    return await store.begin_turn(tenant.id, question=question, **values)


async def finish(store: Store, tenant: Tenant, start: TurnStart, answer: str = "Hi.", **given: Any) -> bool:
    """End a turn, as complete unless `status` and `code` are given."""
    values = {"status": "complete", "code": None, "usage_row": used(tenant, start)} | given
    return await store.finish_turn(start.turn.id, answer, **values)


async def ask(store: Store, tenant: Tenant, question: str = "Hello?", answer: str = "Hi.", **given: Any) -> TurnStart:
    """A complete turn."""
    start = await begin(store, tenant, question, **given)
    assert await finish(store, tenant, start, answer)
    return start


async def has_spent(store: Store, tenant: Tenant, tokens: int) -> bool:
    """Whether the day's answers used exactly this many tokens: a budget of as many is spent, one of one more is not."""
    return (tokens == 0 or await _is_spent(store, tenant, tokens)) and not await _is_spent(store, tenant, tokens + 1)


async def _is_spent(store: Store, tenant: Tenant, tokens_per_day: int) -> bool:
    try:
        start = await begin(store, tenant, limits=TurnLimits(tokens_per_day=tokens_per_day))
    except BudgetSpent:
        return True
    await store.delete_conversation(tenant.id, start.turn.conversation_id)
    return False


def used(tenant: Tenant, start: TurnStart | None = None, **given: Any) -> UsageRow:
    """The usage of a complete answer: 9 and 4 tokens."""
    values: dict[str, Any] = {
        "at": datetime.now(UTC),
        "outcome": "complete",
        "prompt_tokens": 9,
        "completion_tokens": 4,
    } | given
    values.setdefault("charged", (values["prompt_tokens"] or 0) + (values["completion_tokens"] or 0))
    if start is not None:
        values |= {"reservation": start.reservation}
        values |= {"conversation_id": start.turn.conversation_id, "message_id": start.turn.id}
    return UsageRow(tenant_id=tenant.id, **values)


async def take(store: Store, scope: str, limit: int, window: float = 60, now: float | None = None) -> float:
    """Take one from a quota. Returns 0.0 if it was granted, otherwise the seconds to wait."""
    (taken,) = await store.take(Quota(scope, limit, window), now=now)
    return 0.0 if taken.granted else taken.seconds
