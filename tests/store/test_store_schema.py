"""Creating and upgrading the tables, and the URLs that a store accepts."""

import asyncio
import hashlib
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy import Connection, inspect, select, text, update

from databases import ask, has_spent
from databases import store as store
from databases import tenant as tenant
from service.store import migrations, tables
from service.store.database import Database
from service.store.dialects import is_sqlite
from service.store.records import SchemaMismatch, Tenant, UsageRow
from service.store.store import Store

pytestmark = pytest.mark.each_database

SCHEMAS = Path(__file__).with_name("schemas")  # as earlier releases made their tables
OLD_API_KEY = "a4_pub_" + "x" * 32
OLD_TENANT = {
    "id": 1,
    "name": "shop",
    "origins": ["https://shop.test"],
    "rate_per_minute": 0,
    "visitor_rate_per_minute": 0,
    "tokens_per_day": 0,
    "visitor_salt": b"salt",
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
}
OLD_KEY = {
    "id": 1,
    "tenant_id": 1,
    "hash": hashlib.sha256(OLD_API_KEY.encode()).hexdigest(),
    "kind": "public",
    "hint": "xxxx",
    "created_at": datetime(2026, 1, 1, tzinfo=UTC),
}


def _add_a_column(connection: Connection) -> None:
    connection.execute(text("ALTER TABLE tenants ADD COLUMN note TEXT"))


async def _columns(url: str, table: str) -> list[str]:
    database = Database(url)
    columns = await database.read(lambda db: inspect(db).get_columns(table))
    await database.close()
    return [column["name"] for column in columns]


async def _shape(url: str) -> dict[str, Any]:
    """The columns and indexes of a database with the newest tables, however it got them, in no order."""
    store = Store(url)
    await store.migrate()
    await store.close()
    database = Database(url)

    def look(connection: Connection) -> dict[str, Any]:
        found = inspect(connection)
        return {
            table: {
                "columns": {
                    column["name"]: (str(column["type"]), column["nullable"]) for column in found.get_columns(table)
                },
                "indexes": {index["name"]: index["column_names"] for index in found.get_indexes(table)},
            }
            for table in found.get_table_names()
        }

    shape = await database.read(look)
    await database.close()
    return shape


def _schema(db: Connection, version: int) -> list[str]:
    """The statements with which an earlier release made its tables."""
    return (SCHEMAS / f"{version}-{db.dialect.name}.sql").read_text().splitlines()


async def _set_version(url: str, version: int) -> None:
    database = Database(url)
    setting = update(tables.schema_version).values(version=version)
    await database.write(lambda db: db.execute(setting).close())
    await database.close()


async def test_an_empty_database_gets_the_tables(empty_database_url: str) -> None:
    store = Store(empty_database_url)
    with pytest.raises(SchemaMismatch, match=f"version 0.*needs {migrations.newest_version()}"):
        await store.ping()

    await store.migrate()

    await store.ping()
    assert await store.list_tenants() == []
    await store.close()


async def test_a_database_of_version_0_gets_the_tables(empty_database_url: str) -> None:
    def make(db: Connection) -> None:
        tables.schema_version.create(db)
        db.execute(tables.schema_version.insert().values(version=0))

    database = Database(empty_database_url)
    await database.write(make)
    await database.close()

    store = Store(empty_database_url)
    await store.migrate()
    await store.ping()
    await store.close()


async def test_migrating_again_changes_nothing(store: Store, tenant: Tenant) -> None:
    start = await ask(store, tenant)

    await store.migrate()

    assert await store.list_tenants() == [tenant]
    assert await store.find_turn(tenant.id, start.turn.id) is not None


async def test_an_older_database_is_upgraded_and_keeps_its_rows(
    database_url: str, store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    newest = migrations.newest_version()
    monkeypatch.setattr(migrations, "UPGRADES", [*migrations.UPGRADES, _add_a_column])
    with pytest.raises(SchemaMismatch, match=f"version {newest}.*needs {newest + 1}"):
        await store.ping()

    await store.migrate()
    await store.migrate()

    await store.ping()
    assert await store.list_tenants() == [tenant]
    assert (await _columns(database_url, "tenants"))[-1] == "note"


@pytest.mark.parametrize("version", [1])
async def test_an_upgraded_database_has_the_schema_of_a_new_one(database_url: str, version: int) -> None:
    fresh = await _shape(database_url)

    def go_back(db: Connection) -> None:
        tables.metadata.drop_all(db)
        for statement in _schema(db, version):
            db.exec_driver_sql(statement)
        for table, row in ((tables.tenants, OLD_TENANT), (tables.keys, OLD_KEY)):
            old = sqlalchemy.table(table.name, *(sqlalchemy.column(name, table.c[name].type) for name in row))
            db.execute(old.insert().values(row))

    database = Database(database_url)
    await database.write(go_back)
    await database.close()

    store = Store(database_url)
    await store.migrate()

    await store.ping()
    access = await store.find_access(OLD_API_KEY)
    assert access is not None
    assert (access.tenant.name, access.tenant.identity_claims, access.tenant.require_identity) == ("shop", [], False)
    assert await store.lists_any(["https://shop.test"])
    start = await ask(store, access.tenant, subject="user-1")
    listed = await store.conversations(access.tenant.id, "user-1", newest=50)
    assert [one.id for one in listed] == [start.turn.conversation_id]
    await store.close()
    assert await _shape(database_url) == fresh


ROWS_OF_VERSION_1 = (
    "INSERT INTO tenants (id, name, origins, rate_per_minute, visitor_rate_per_minute, tokens_per_day, visitor_salt,"
    " created_at) VALUES (7, 'shop', '[]', 3000, 600, 1000, 'salt', '2026-03-01 12:00:00')",
    "INSERT INTO conversations VALUES ('{one}', 7, '2026-03-01 12:00:00', '2026-03-01 12:00:00')",
    "INSERT INTO messages (id, conversation_id, question, answer, status, hidden, beat, followed, stop_asked,"
    " created_at, updated_at) VALUES ('{two}', '{one}', 'Hello?', 'Hi.', 'complete', false, 0, 0, false,"
    " '2026-03-01 12:00:00', '2026-03-01 12:00:00')",
    "INSERT INTO usage (at, tenant_id, outcome, prompt_tokens, completion_tokens)"
    " VALUES ('2026-03-01 12:00:00', 7, 'complete', 9, 4)",
    "INSERT INTO counters VALUES ('tokens:7:{yesterday}', {midnight} - 86400, 5000)",
    "INSERT INTO counters VALUES ('tokens:7:{today}', {midnight}, 950)",
)


async def test_a_database_of_version_1_is_upgraded_with_its_rows_and_todays_budget(empty_database_url: str) -> None:
    """Rows of the first releases are kept, and so is what they spent of today's budget."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    one, two = uuid.uuid4(), uuid.uuid4()
    known = {"today": today.date(), "yesterday": (today - timedelta(days=1)).date(), "midnight": today.timestamp()}

    def go_back(db: Connection) -> None:
        ids = {"one": one.hex, "two": two.hex} if is_sqlite(db) else {"one": one, "two": two}
        tables.metadata.drop_all(db)
        for statement in [*_schema(db, 1), *(row.format(**known, **ids) for row in ROWS_OF_VERSION_1)]:
            db.exec_driver_sql(statement)

    database = Database(empty_database_url)
    await database.migrate()
    await database.write(go_back)
    await database.close()

    store = Store(empty_database_url)
    await store.migrate()

    await store.ping()
    tenant = await store.get_tenant("shop")
    assert (tenant.rate_per_minute, tenant.visitor_streams, tenant.temperature) == (3000, 0, None)
    turn = await store.find_turn(tenant.id, two)
    assert turn is not None and (turn.answer, turn.visitor, turn.reserved) == ("Hi.", None, None)
    (total,) = await store.usage("shop", datetime(2026, 1, 1, tzinfo=UTC))
    assert (total.requests, total.refused, total.prompt_tokens, total.charged) == (1, 0, 9, 13)
    assert await has_spent(store, tenant, 950)
    await store.record([UsageRow(datetime.now(UTC), None, "key_invalid", refused=True)])
    await ask(store, tenant)
    await store.remove_tenant("shop")
    await store.close()


async def test_an_upgrade_that_fails_leaves_the_older_database(
    database_url: str, store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(connection: Connection) -> None:
        raise RuntimeError("half way")

    with monkeypatch.context() as patch:
        patch.setattr(migrations, "UPGRADES", [*migrations.UPGRADES, _add_a_column, fail])
        with pytest.raises(RuntimeError, match="half way"):
            await store.migrate()

    await store.ping()
    assert "note" not in await _columns(database_url, "tenants")


async def test_a_newer_database_is_refused_and_left_alone(database_url: str, store: Store) -> None:
    await _set_version(database_url, 99)

    with pytest.raises(
        SchemaMismatch, match=f"schema version 99; this release knows {migrations.newest_version()}. Run a newer"
    ):
        await store.migrate()
    with pytest.raises(SchemaMismatch):
        await store.ping()


async def test_concurrent_starts_migrate_once(empty_database_url: str) -> None:
    stores = [Store(empty_database_url) for _ in range(8)]

    await asyncio.gather(*(store.migrate() for store in stores))

    database = Database(empty_database_url)
    steps = select(tables.schema_steps.c.version)
    assert await database.read(lambda db: db.scalars(steps).all()) == [migrations.newest_version()]
    await database.close()
    await asyncio.gather(*(store.close() for store in stores))


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("chatbot.db", "is not a database URL"),
        ("postgresql+asyncpg://user:secret@host:port/x", "is not a database URL"),
        ("postgresql+psycopg://user:secret@host/x", "must begin with"),
        ("sqlite+aiosqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
    ],
)
def test_a_url_of_another_kind_is_refused_without_its_password(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        Store(url)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("driver", ["sqlite", "sqlite+aiosqlite"])
async def test_a_file_is_the_same_however_its_url_is_spelled(tmp_path: Path, driver: str) -> None:
    store = Store(f"{driver}:///{tmp_path / 'test.db'}")
    await store.migrate()
    await store.add_tenant("shop")
    await store.close()

    other = Store(f"sqlite:///{tmp_path / 'test.db'}")
    assert [each.name for each in await other.list_tenants()] == ["shop"]
    await other.close()


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
@pytest.mark.parametrize("driver", ["postgres", "postgresql", "postgresql+asyncpg"])
@pytest.mark.parametrize("option", ["ssl", "sslmode"])
async def test_a_server_is_the_same_however_its_url_is_spelled(database_url: str, driver: str, option: str) -> None:
    store = Store(f"{driver}{database_url.removeprefix('postgresql+asyncpg')}?{option}=disable")
    await store.ping()
    await store.close()
