"""Fresh databases on SQLite, and also on PostgreSQL for tests marked `each_database`.

TEST_POSTGRES_URL names the server, such as postgresql+asyncpg://postgres@127.0.0.1:15432/postgres.
"""

import asyncio
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
import pytest
from sqlalchemy import Connection, event
from sqlalchemy.engine import URL, make_url

from days import wait_for_a_long_enough_day
from required import skip_unless_required
from service.store import deadlines
from service.store.dialects import file_of
from service.store.records import BudgetSpent, Quota, Tenant, TurnLimits, TurnStart, UsageRow
from service.store.store import Store

T = TypeVar("T")
PATIENCE_SECONDS = 60
OWN_DEADLINES = {name: getattr(deadlines, name) for name in ("DEADLINE", "BUSY", "COMMIT", "CONNECT", "STATEMENT")}
AROUND_STATEMENTS = ("BEGIN", "SAVEPOINT", "RELEASE", "ROLLBACK", "COMMIT", "--")
POSTGRES = os.environ.get("TEST_POSTGRES_URL", "")


def extend_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend the database's deadlines, which many concurrent questions on a busy machine could exceed."""
    for deadline in OWN_DEADLINES:
        monkeypatch.setattr(deadlines, deadline, PATIENCE_SECONDS)


@contextmanager
def own_deadlines(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The service's own deadlines, for a block in which they have to expire."""
    with monkeypatch.context() as own:
        for deadline, seconds in OWN_DEADLINES.items():
            own.setattr(deadlines, deadline, seconds)
        yield


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """`sqlite`, or each in turn if the test or its module is marked `each_database`."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def empty_database_url(database_kind: str, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without tables."""
    wait_for_a_long_enough_day()
    if database_kind == "sqlite":
        (tmp_path / "test.db").touch()
        yield f"sqlite:///{tmp_path / 'test.db'}"
    else:
        with _postgresql_database("template1") as url:
            yield url


@pytest.fixture
def database_url(database_kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database with empty tables."""
    wait_for_a_long_enough_day()
    if database_kind == "sqlite":
        copy = shutil.copy(request.getfixturevalue("sqlite_template"), tmp_path / "test.db")
        yield f"sqlite:///{copy}"
    else:
        with request.getfixturevalue("postgresql_databases").empty() as url:
            yield url


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "test.db"
    _run(_migrate(f"sqlite:///{path}"))
    return path


# Everything that a test could change in a database, except the rows of its tables.
STRUCTURE = """
    WITH tables AS (SELECT * FROM pg_class WHERE relnamespace = 'public'::regnamespace)
    SELECT string_agg(line, ';' ORDER BY line) FROM (
        SELECT concat_ws(' ', relname, relkind, relacl) FROM tables
        UNION ALL
        SELECT concat_ws(' ', relname, attname, atttypid, attnotnull, atthasdef) FROM pg_attribute
        JOIN tables ON tables.oid = attrelid
        UNION ALL SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        UNION ALL SELECT schema_version::text FROM schema_version
        UNION ALL SELECT schema_steps::text FROM schema_steps
    ) AS lines (line)
"""
END_OTHER_CONNECTIONS = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
EMPTY_TABLES = """
    DO $$ BEGIN EXECUTE (
        SELECT 'TRUNCATE ' || string_agg(quote_ident(tablename), ', ') || ' RESTART IDENTITY' FROM pg_tables
        WHERE schemaname = 'public' AND tablename NOT IN ('schema_version', 'schema_steps')
    ); END $$
"""


class PostgresqlDatabases:
    """Databases with empty tables. To empty one again is quicker than to create one."""

    def __init__(self, template: str) -> None:
        self._template = str(make_url(template).database)
        self._structure = _run(_structure(template))
        self._stack = ExitStack()
        self._free: list[str] = []

    @contextmanager
    def empty(self) -> Iterator[str]:
        """The URL of one, which the next test gets unless this one changes its structure."""
        url = self._free.pop() if self._free else self._stack.enter_context(_postgresql_database(self._template))
        yield url
        if _run(_empty(url, self._structure)):
            self._free.append(url)

    def drop(self) -> None:
        self._stack.close()


@pytest.fixture(scope="session")
def postgresql_databases() -> Iterator[PostgresqlDatabases]:
    with _postgresql_database("template1") as template:
        _run(_migrate(template))
        databases = PostgresqlDatabases(template)
        yield databases
        databases.drop()


async def _structure(url: str) -> str:
    connection = await connect_postgres(make_url(url))
    try:
        return str(await connection.fetchval(STRUCTURE))
    finally:
        await connection.close()


async def _empty(url: str, structure: str) -> bool:
    """Empty the tables, unless the database has another structure."""
    try:
        connection = await connect_postgres(make_url(url))
    except asyncpg.PostgresError:
        return False
    try:
        await connection.execute(END_OTHER_CONNECTIONS)
        if await connection.fetchval(STRUCTURE) != structure:
            return False
        await connection.execute(EMPTY_TABLES)
        return True
    except asyncpg.PostgresError:
        return False
    finally:
        await connection.close()


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


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run in a separate thread, so that the test's event loop is not affected."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


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
