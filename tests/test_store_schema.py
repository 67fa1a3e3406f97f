"""Making and upgrading the tables, and the URLs that a store takes."""

import asyncio

import pytest
from sqlalchemy import Connection, inspect, select, text

import tables
from database import Database
from databases import ask
from databases import store as store
from databases import tenant as tenant
from store import SchemaMismatch, Store, Tenant


def _add_a_column(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE tenants ADD COLUMN note TEXT"))


async def _columns(url: str, table: str) -> list[str]:
    database = Database(url)
    async with database.reading() as db:
        columns = await db.run_sync(lambda connection: inspect(connection).get_columns(table))
    await database.close()
    return [column["name"] for column in columns]


async def _set_version(url: str, version: int) -> None:
    database = Database(url)
    async with database.writing() as db:
        await db.execute(text("UPDATE schema_version SET version = :version"), {"version": version})
    await database.close()


async def test_an_empty_database_gets_its_tables(database_url: str) -> None:
    store = Store(database_url)
    with pytest.raises(SchemaMismatch, match="version 0.*needs 1"):
        await store.ping()

    await store.migrate()

    await store.ping()
    assert await store.list_tenants() == []
    await store.close()


async def test_a_database_of_version_0_gets_its_tables(database_url: str) -> None:
    database = Database(database_url)
    async with database.writing() as db:
        await db.run_sync(tables.schema_version.create)
        await db.execute(tables.schema_version.insert().values(version=0))
    await database.close()

    store = Store(database_url)
    await store.migrate()
    await store.ping()
    await store.close()


async def test_migrating_again_changes_nothing(store: Store, tenant: Tenant) -> None:
    begun = await ask(store, tenant)

    await store.migrate()

    assert await store.list_tenants() == [tenant]
    assert await store.find_turn(tenant.id, begun.turn.id) is not None


async def test_an_older_database_is_upgraded_and_keeps_its_rows(
    database_url: str, store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "UPGRADES", [_add_a_column])
    with pytest.raises(SchemaMismatch, match="version 1.*needs 2"):
        await store.ping()

    await store.migrate()
    await store.migrate()

    await store.ping()
    assert await store.list_tenants() == [tenant]
    assert (await _columns(database_url, "tenants"))[-1] == "note"


async def test_an_upgrade_that_fails_leaves_the_older_database(
    database_url: str, store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: Connection) -> None:
        raise RuntimeError("half way")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "UPGRADES", [_add_a_column, fail])
        with pytest.raises(RuntimeError, match="half way"):
            await store.migrate()

    await store.ping()
    assert "note" not in await _columns(database_url, "tenants")


async def test_a_newer_database_is_refused_as_it_is(database_url: str, store: Store) -> None:
    await _set_version(database_url, 99)

    with pytest.raises(SchemaMismatch, match=r"schema version 99; this release knows 1\. Run a newer one"):
        await store.migrate()
    with pytest.raises(SchemaMismatch):
        await store.ping()


async def test_many_that_start_at_once_migrate_once(database_url: str) -> None:
    stores = [Store(database_url) for _ in range(8)]

    await asyncio.gather(*(store.migrate() for store in stores))

    database = Database(database_url)
    async with database.reading() as db:
        assert (await db.scalars(select(tables.schema_version.c.version))).all() == [1]
    await database.close()
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("chatbot.db", "is not a database URL"),
        ("postgresql+asyncpg://user:secret@host:port/x", "is not a database URL"),
        ("sqlite:///chatbot.db", "must begin with"),
        ("postgresql+psycopg://user:secret@host/x", "must begin with"),
        ("sqlite+aiosqlite://", "must name a file"),
        ("sqlite+aiosqlite:///:memory:", "must name a file"),
    ],
)
def test_a_url_of_another_kind_is_refused_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        Store(url)

    assert "secret" not in str(caught.value)
