"""The tests' PostgreSQL databases."""

import asyncio

from sqlalchemy.engine import make_url

from databases import PostgresqlDatabases, connect_postgres
from service.store.store import Store


def run(url: str, statement: str) -> None:
    async def execute() -> None:
        connection = await connect_postgres(make_url(url))
        await connection.execute(statement)
        await connection.close()

    asyncio.run(execute())


async def add_shop(url: str) -> int:
    store = Store(url)
    await store.require_tables()
    tenant, _, _ = await store.add_tenant("shop", origins=["https://shop.test"])
    await store.close()
    return tenant.id


def test_a_database_is_used_again_without_its_rows(postgresql_databases: PostgresqlDatabases) -> None:
    ids, urls = set(), set()
    for _ in range(2):
        with postgresql_databases.empty() as url:
            ids.add(asyncio.run(add_shop(url)))
            urls.add(url)
    assert len(ids) == len(urls) == 1


def test_a_database_whose_tables_were_changed_is_not_used_again(postgresql_databases: PostgresqlDatabases) -> None:
    changed = set()
    for change in (
        "ALTER TABLE tenants RENAME TO others",
        "ALTER TABLE tenants ADD COLUMN note TEXT",
        "DROP TABLE pieces",
        "UPDATE schema_version SET version = 999",
        "REVOKE ALL ON tenants FROM CURRENT_USER",
    ):
        with postgresql_databases.empty() as url:
            assert url not in changed
            run(url, change)
            changed.add(url)
    with postgresql_databases.empty() as url:
        assert url not in changed
