"""The way from one schema version to the next."""

import re
from collections.abc import Callable

from sqlalchemy import Connection, delete, insert, inspect, select, text

from service.store.records import SchemaMismatch
from service.store.tables import counters, index_origins, metadata, schema_version, tenants


def _add_identity(connection: Connection) -> None:
    """Who asks, as the tenant's own backend says it."""
    for statement in (
        "ALTER TABLE tenants ADD COLUMN identity_secret_env TEXT",
        "ALTER TABLE tenants ADD COLUMN identity_public_key TEXT",
        "ALTER TABLE tenants ADD COLUMN identity_claims JSON NOT NULL DEFAULT '[]'",
        "ALTER TABLE tenants ADD COLUMN require_identity BOOLEAN NOT NULL DEFAULT FALSE",
        "ALTER TABLE conversations ADD COLUMN subject TEXT",
        "CREATE INDEX conversations_subject ON conversations (tenant_id, subject, updated_at)",
        "ALTER TABLE usage ADD COLUMN subject TEXT",
        "ALTER TABLE usage ADD COLUMN claims JSON",
    ):
        connection.execute(text(statement))


def _keep_accounts(connection: Connection) -> None:
    """Reservations, visitors and refusals in the books; what a tenant may set of its model."""
    real = "DOUBLE PRECISION" if connection.dialect.name == "postgresql" else "DOUBLE"
    truth = "BOOLEAN NOT NULL DEFAULT false"
    added = {
        "tenants": [
            "visitor_streams INTEGER NOT NULL DEFAULT 0",
            f"temperature {real}",
            "max_answer_tokens INTEGER",
            "openai_base_url_env TEXT",
        ],
        "messages": ["visitor TEXT", "reserved INTEGER"],
        "usage": [
            "visitor TEXT",
            "charged BIGINT",
            f"refused {truth}",
            "requests INTEGER NOT NULL DEFAULT 1",
            f"summed {truth}",
        ],
    }
    for table, columns in added.items():
        for column in columns:
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column}")
    connection.exec_driver_sql("UPDATE usage SET charged = coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)")
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("ALTER TABLE usage ALTER COLUMN tenant_id DROP NOT NULL")
        for column in ("prompt_tokens", "completion_tokens"):
            connection.exec_driver_sql(f"ALTER TABLE usage ALTER COLUMN {column} TYPE BIGINT")
    else:
        _let_usage_be_nobodys(connection)
    _make_days_one_counter(connection)


def _let_usage_be_nobodys(connection: Connection) -> None:
    """SQLite cannot take a NOT NULL away: the table is made anew."""
    made = connection.exec_driver_sql("SELECT sql FROM sqlite_master WHERE name = 'usage'").scalar_one()
    loose = made.replace("tenant_id INTEGER NOT NULL", "tenant_id INTEGER").replace("_tokens INTEGER", "_tokens BIGINT")
    connection.exec_driver_sql(re.sub(r'^CREATE TABLE "?usage"?', "CREATE TABLE usage_loose", loose))
    connection.exec_driver_sql("INSERT INTO usage_loose SELECT * FROM usage")
    connection.exec_driver_sql("DROP TABLE usage")
    connection.exec_driver_sql("ALTER TABLE usage_loose RENAME TO usage")
    connection.exec_driver_sql("CREATE INDEX usage_tenant_at ON usage (tenant_id, at)")


def _make_days_one_counter(connection: Connection) -> None:
    """A tenant's day had a counter of its own, `tokens:ID:DATE`; now there is one, which knows its day."""
    days = connection.execute(
        select(counters).where(counters.c.scope.like("tokens:%:%")).order_by(counters.c.started.desc())
    ).all()
    connection.execute(delete(counters).where(counters.c.scope.like("tokens:%:%")))
    newest = {day.scope.rpartition(":")[0]: day for day in reversed(days)}
    for scope, day in newest.items():
        connection.execute(insert(counters).values(scope=scope, started=day.started, used=day.used))


def _find_supposed_usage(connection: Connection) -> None:
    """Each answer that ends looks for what was recorded of it before."""
    connection.exec_driver_sql("CREATE INDEX usage_supposed ON usage (message_id) WHERE outcome = 'interrupted'")


def _add_index_of_origins(connection: Connection) -> None:
    """An origin is found without reading every tenant."""
    connection.exec_driver_sql(
        "CREATE TABLE origins (origin TEXT NOT NULL, tenant_id INTEGER NOT NULL REFERENCES tenants (id)"
        " ON DELETE CASCADE, PRIMARY KEY (origin, tenant_id))"
    )
    connection.exec_driver_sql("CREATE INDEX origins_tenant ON origins (tenant_id)")
    for tenant in connection.execute(select(tenants.c.id, tenants.c.origins)).all():
        index_origins(connection, tenant.id, tenant.origins)


def _keep_pieces(connection: Connection) -> None:
    """The text of running turns, what their prompts may cost, and what a readiness check writes."""
    is_sqlite = connection.dialect.name == "sqlite"
    number, binary = ("INTEGER", "BLOB") if is_sqlite else ("BIGINT", "BYTEA")
    connection.exec_driver_sql("ALTER TABLE messages ADD COLUMN prompt_estimate INTEGER")
    connection.exec_driver_sql(
        f"CREATE TABLE pieces (turn {number} NOT NULL REFERENCES messages (number) ON DELETE CASCADE,"
        " position INTEGER NOT NULL, text TEXT NOT NULL, received INTEGER NOT NULL, PRIMARY KEY (turn, position))"
    )
    connection.exec_driver_sql(f"CREATE TABLE probe (id INTEGER NOT NULL PRIMARY KEY, filler {binary} NOT NULL)")


def _add_overlay(connection: Connection) -> None:
    """What a tenant sends to its provider with each question."""
    connection.exec_driver_sql("ALTER TABLE tenants ADD COLUMN upstream JSON")


def _keep_sources(connection: Connection) -> None:
    """What answers cite, and whether a tenant's provider learns who asks it."""
    connection.exec_driver_sql("ALTER TABLE messages ADD COLUMN sources JSON")
    connection.exec_driver_sql("ALTER TABLE tenants ADD COLUMN tell_upstream BOOLEAN NOT NULL DEFAULT FALSE")


def _add_outbox(connection: Connection) -> None:
    """What tenants' webhooks are told, and where they are."""
    is_sqlite = connection.dialect.name == "sqlite"
    uuid, time = ("CHAR(32)", "DATETIME") if is_sqlite else ("UUID", "TIMESTAMP WITH TIME ZONE")
    for statement in (
        "ALTER TABLE tenants ADD COLUMN webhook_url_env TEXT",
        "ALTER TABLE tenants ADD COLUMN webhook_secret_env TEXT",
        f"CREATE TABLE outbox (id {uuid} NOT NULL PRIMARY KEY,"
        " tenant_id INTEGER NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,"
        f" conversation_id {uuid} NOT NULL REFERENCES conversations (id) ON DELETE CASCADE, message_id {uuid},"
        " kind TEXT NOT NULL, data JSON, state TEXT NOT NULL, attempts INTEGER NOT NULL, problem TEXT,"
        f" created_at {time} NOT NULL, due_at {time} NOT NULL, finished_at {time})",
        "CREATE INDEX outbox_tenant ON outbox (tenant_id, created_at)",
        "CREATE INDEX outbox_conversation ON outbox (conversation_id)",
        "CREATE INDEX outbox_created ON outbox (created_at)",
        "CREATE INDEX outbox_due ON outbox (due_at) WHERE state = 'pending'",
    ):
        connection.exec_driver_sql(statement)


# The step at index n takes a database from version n + 1 to n + 2. An empty database gets the newest tables at once.
UPGRADES: list[Callable[[Connection], None]] = [
    _add_identity,
    _keep_accounts,
    _find_supposed_usage,
    _add_index_of_origins,
    _keep_pieces,
    _add_overlay,
    _keep_sources,
    _add_outbox,
]


def upgrade(connection: Connection) -> None:
    """Bring the database to the newest version, in the caller's transaction. Raises SchemaMismatch if it is beyond."""
    newest = newest_version()
    version = version_of(connection)
    if version > newest:
        raise SchemaMismatch(
            f"The database has schema version {version}; this release knows {newest}. Run a newer one."
        )
    if version == 0:
        metadata.create_all(connection)
    else:
        for step in UPGRADES[version - 1 :]:
            step(connection)
    connection.execute(delete(schema_version))
    connection.execute(insert(schema_version).values(version=newest))


def newest_version() -> int:
    """The schema version that this code works with."""
    return 1 + len(UPGRADES)


def version_of(connection: Connection) -> int:
    """The schema version of a database; 0 for an empty one."""
    if not inspect(connection).has_table(schema_version.name):
        return 0
    return connection.scalar(select(schema_version.c.version)) or 0
