"""Upgrades while an older release keeps using the database, and a release with a newer database."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import Connection, inspect, text

from databases import ask
from databases import store as store
from databases import tenant as tenant
from service.store import migrations, tables
from service.store.database import Database
from service.store.dialects import is_sqlite
from service.store.records import SchemaMismatch, StoreError, Tenant
from service.store.store import Store

pytestmark = pytest.mark.each_database

SCHEMAS = Path(__file__).with_name("schemas")
TENANT = (
    "INSERT INTO tenants (id, name, origins, rate_per_minute, visitor_rate_per_minute, tokens_per_day, visitor_salt,"
    " created_at) VALUES (7, 'shop', '[]', 0, 0, 0, 'salt', '2026-03-01 12:00:00')"
)
ROW = (
    "INSERT INTO usage (at, tenant_id, outcome, prompt_tokens, completion_tokens, model, origin, request_id)"
    " {} '2026-03-01 12:00:00', 7, 'complete', 9, 4, 'gpt-4o-mini', 'https://www.example.com',"
    " '0123456789abcdef0123456789abcdef'"
)
COUNT = text("SELECT count(*), sum(charged) FROM usage")


def _go_back(rows: int) -> Callable[[Connection], None]:
    """A database of the first release with this many usage rows."""

    def go_back(db: Connection) -> None:
        tables.metadata.drop_all(db)
        for statement in [*(SCHEMAS / f"1-{db.dialect.name}.sql").read_text().splitlines(), TENANT]:
            db.exec_driver_sql(statement)
        series = (
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {0}) {1} FROM n"
            if is_sqlite(db)
            else "{1} FROM generate_series(1, {0})"
        )
        db.exec_driver_sql(series.format(rows, ROW.format("SELECT")))

    return go_back


async def _write_as_before(database: Database, until: asyncio.Event) -> tuple[int, float]:
    """Write as a replica of the older release does. Returns the number of rows and the longest write."""
    written, longest = 0, 0.0
    while not until.is_set():
        began = time.monotonic()
        await database.write(lambda db: db.execute(text(ROW.format("SELECT"))).close())
        written, longest = written + 1, max(longest, time.monotonic() - began)
        await asyncio.sleep(0.005)
    return written, longest


async def test_an_older_release_keeps_writing_during_a_large_upgrade(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, full: bool
) -> None:
    rows = 1_000_000 if full else 20_000
    if not full:
        monkeypatch.setattr(migrations, "BATCH", 2_000)
    old, done = Database(database_url), asyncio.Event()
    await old.write(_go_back(rows), patient=True)
    told: list[float] = []

    writing = asyncio.create_task(_write_as_before(old, done))
    new = Database(database_url)
    began = time.monotonic()
    with caplog.at_level("INFO", "chatbot"):
        await new.migrate(told.append)
    seconds = time.monotonic() - began
    done.set()
    written, longest = await writing

    print(f"{rows} rows in {seconds:.1f} s; {written} written meanwhile, the slowest in {longest * 1000:.0f} ms")
    assert written > 5
    assert not full or longest < 1
    count, charged = await new.read(lambda db: db.execute(COUNT).one())
    assert count == rows + written
    assert charged >= 13 * rows  # those that the older release wrote afterwards are nobody's to charge
    assert told == sorted(told) and told[-1] == 1 and len(told) > 5
    (record,) = [record for record in caplog.records if record.message == "migrated"]
    facts = vars(record)
    assert (facts["from"], facts["to"]) == (1, migrations.newest_version())
    assert facts["rows"] >= rows
    await old.close()
    await new.close()


async def test_an_interrupted_upgrade_continues(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "BATCH", 100)
    database = Database(database_url)
    await database.write(_go_back(1000))

    def stop(done: float) -> None:
        if done > 0.3:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        await database.migrate(stop)
    assert 1 <= await database.read(migrations.version_of) < 3
    await database.migrate()

    assert tuple(await database.read(lambda db: db.execute(COUNT).one())) == (1000, 13_000)
    await database.close()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_an_upgrade_waits_for_a_report_without_blocking_others(
    database_url: str, store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for a table's lock would also block everyone who reads it later."""
    monkeypatch.setattr(migrations, "UPGRADES", [*migrations.UPGRADES, _add_a_column])
    database, reads, over = Database(database_url), asyncio.Event(), asyncio.Event()

    async def report() -> None:
        async with database._server._engine.connect() as db:  # type: ignore[union-attr]
            await db.execute(text("SELECT count(*) FROM tenants"))
            reads.set()
            await over.wait()

    reporting = asyncio.create_task(report())
    await reads.wait()
    migrating = asyncio.create_task(store.migrate())
    began = time.monotonic()
    while time.monotonic() - began < 1.5:
        assert await store.list_tenants() == [tenant]
        await asyncio.sleep(0.05)
    assert not migrating.done()
    over.set()
    await reporting
    await migrating

    await store.ping()
    await database.close()


def _add_a_column(connection: Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE tenants ADD COLUMN note TEXT")


async def test_a_newer_database_with_additions_works_with_this_release(
    store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So replicas of this release can run beside newer ones, and an upgrade can be rolled back."""
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "UPGRADES", [*migrations.UPGRADES, _add_a_column])
        await store.migrate()
        await store.ping()

    await store.ping()
    await store.migrate()
    await store.require_tables()
    assert (await ask(store, tenant)).is_new
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "UPGRADES", [*migrations.UPGRADES, _add_a_column])
        await store.ping()  # what this release did has not made the database older


async def test_a_newer_database_without_what_this_release_needs_is_refused(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as newer:
        newer.setattr(migrations, "UPGRADES", [*migrations.UPGRADES, _add_a_column])
        newer.setattr(migrations, "COMPATIBLE_SINCE", migrations.newest_version())
        await store.migrate()
        await store.ping()

    for use in (store.ping, store.migrate, store.require_tables):
        with pytest.raises(SchemaMismatch, match="Run a newer release"):
            await use()


@pytest.mark.parametrize(
    "statements",
    [
        ["CREATE TABLE conversations (id INTEGER)", "CREATE TABLE messages (id INTEGER)"],
        ["CREATE TABLE schema_version (installed_rank INTEGER, version TEXT)"],  # Flyway's
        ["CREATE TABLE schema_version (version INTEGER)", "INSERT INTO schema_version VALUES (3)"],
        ["CREATE TABLE usage (id INTEGER)"],
    ],
)
async def test_another_applications_tables_are_refused_and_left_alone(
    empty_database_url: str, statements: list[str]
) -> None:
    database = Database(empty_database_url)

    def make(db: Connection) -> list[str]:
        for statement in statements:
            db.exec_driver_sql(statement)
        return inspect(db).get_table_names()

    before = await database.write(make)

    for use in (database.migrate, database.require_tables, database.schema_version, database.ping):
        with pytest.raises(StoreError, match="another application.*DATABASE_URL"):
            await use()
    assert await database.read(lambda db: inspect(db).get_table_names()) == before
    await database.close()


async def test_tables_with_other_names_are_ignored(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    await database.write(lambda db: db.exec_driver_sql("CREATE TABLE users (id INTEGER)").close())
    await database.migrate()
    await database.ping()
    await database.close()
