"""The migrations from each schema version to the next."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Integer,
    MetaData,
    Table,
    Text,
    Uuid,
    delete,
    false,
    func,
    insert,
    inspect,
    select,
    text,
)

from service.store.records import SchemaMismatch, StoreError
from service.store.tables import (
    Serial,
    UtcDateTime,
    counters,
    index_origins,
    metadata,
    schema_steps,
    schema_version,
    tenants,
)

BATCH = 20_000  # rows per transaction, so that others can write within a fraction of a second
LATE_IDS = 10_000  # how far behind the newest id a transaction may commit that took its ids earlier

# Releases that know this version can still use the tables: see `docs/upgrading.md`. A migration that removes something
# raises it to its own version.
COMPATIBLE_SINCE = 8
FIRST_TABLES = {"tenants", "keys", "widgets", "conversations", "messages", "usage", "counters"}  # of version 1


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a long migration done by one transaction: its rows, and the progress from 0 to 1."""

    rows: int
    done: float


@dataclass(frozen=True, slots=True)
class Upgrade:
    """The work of one transaction: the versions, and the number of rows. `done` is 1 when nothing is left."""

    from_version: int
    version: int
    rows: int = 0
    done: float = 1


Step = Callable[[Connection], Part | None]


def _add_identity(connection: Connection) -> None:
    """Add identities signed by tenants' backends."""
    for statement in (
        "ALTER TABLE usage ADD COLUMN subject TEXT",
        "ALTER TABLE usage ADD COLUMN claims JSON",
        "ALTER TABLE conversations ADD COLUMN subject TEXT",
        "CREATE INDEX conversations_subject ON conversations (tenant_id, subject, updated_at)",
        "ALTER TABLE tenants ADD COLUMN identity_secret_env TEXT",
        "ALTER TABLE tenants ADD COLUMN identity_public_key TEXT",
        "ALTER TABLE tenants ADD COLUMN identity_claims JSON NOT NULL DEFAULT '[]'",
        "ALTER TABLE tenants ADD COLUMN require_identity BOOLEAN NOT NULL DEFAULT FALSE",
    ):
        connection.execute(text(statement))


def _add_accounting(connection: Connection) -> Part:
    """Add reservations, visitors and refusals to the usage, and model settings to tenants.

    An unauthenticated request has no tenant. SQLite cannot drop a NOT NULL, so the table is rebuilt.
    """
    part = _rebuild_usage(connection)
    if part.done < 1:
        return part
    real = "DOUBLE PRECISION" if connection.dialect.name == "postgresql" else "DOUBLE"
    added = {
        "messages": ["visitor TEXT", "reserved INTEGER"],
        "tenants": [
            "visitor_streams INTEGER NOT NULL DEFAULT 0",
            f"temperature {real}",
            "max_answer_tokens INTEGER",
            "openai_base_url_env TEXT",
        ],
    }
    for table, columns in added.items():
        for column in columns:
            connection.exec_driver_sql(f"ALTER TABLE {table} ADD COLUMN {column}")
    _merge_daily_counters(connection)
    return part


_version_3 = MetaData()
Table("tenants", _version_3, Column("id", Integer, primary_key=True))
_usage_of_version_3 = Table(
    "usage_of_version_3",
    _version_3,
    Column("id", Serial, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("tenant_id", Integer, ForeignKey("tenants.id", ondelete="CASCADE")),
    Column("key_id", Integer),
    Column("conversation_id", Uuid),
    Column("message_id", Uuid),
    Column("origin", Text),
    Column("model", Text),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("first_text_ms", Integer),
    Column("duration_ms", Integer),
    Column("outcome", Text, nullable=False),
    Column("request_id", Text),
    Column("subject", Text),
    Column("claims", JSON(none_as_null=True)),
    Column("visitor", Text),
    Column("charged", BigInteger),
    Column("refused", Boolean, nullable=False, server_default=false()),
    Column("requests", Integer, nullable=False, server_default="1"),
    Column("summed", Boolean, nullable=False, server_default=false()),
)
_OLD_USAGE = "usage_before_version_3"
_INDEX_OF_PRESUMED_LOST = "CREATE INDEX IF NOT EXISTS usage_supposed ON {} (message_id) WHERE outcome = 'interrupted'"
_COPIED = [column.name for column in _usage_of_version_3.c][:16]  # those of version 2


def _rebuild_usage(connection: Connection) -> Part:
    """Copy the rows in batches to a table with other constraints, which then replaces the old one.

    Meanwhile, an older release keeps writing to the old table.
    """
    new = _usage_of_version_3
    if inspect(connection).has_table(_OLD_USAGE):
        return _drop_old_usage(connection)
    if not inspect(connection).has_table(new.name):
        new.create(connection)
        connection.exec_driver_sql("DROP INDEX usage_tenant_at")  # the new index needs its name
        connection.exec_driver_sql(f"CREATE INDEX usage_tenant_at ON {new.name} (tenant_id, at)")
        connection.exec_driver_sql(_INDEX_OF_PRESUMED_LOST.format(new.name))
        return Part(0, 0)
    position = connection.exec_driver_sql(f"SELECT coalesce(max(id), 0) FROM {new.name}").scalar_one()
    copied = _copy_usage(connection, f"id > {position} ORDER BY id LIMIT {BATCH}")
    if copied == BATCH:
        newest = connection.exec_driver_sql("SELECT max(id) FROM usage").scalar_one()
        return Part(copied, min(position / newest, 1) * 0.7)
    is_sqlite = connection.dialect.name == "sqlite"
    if not is_sqlite:
        connection.exec_driver_sql("LOCK TABLE usage IN ACCESS EXCLUSIVE MODE")
    _copy_usage(connection, f"id > {position - LATE_IDS} ON CONFLICT DO NOTHING")
    connection.exec_driver_sql(  # those whose answers ended after all
        f"DELETE FROM {new.name} WHERE outcome = 'interrupted'"
        f" AND NOT EXISTS (SELECT 1 FROM usage WHERE usage.id = {new.name}.id)"
    )
    connection.exec_driver_sql(f"ALTER TABLE usage RENAME TO {_OLD_USAGE}" if is_sqlite else "DROP TABLE usage")
    connection.exec_driver_sql(f"ALTER TABLE {new.name} RENAME TO usage")
    if not is_sqlite:
        connection.exec_driver_sql(f"ALTER SEQUENCE {new.name}_id_seq RENAME TO usage_id_seq")
        connection.exec_driver_sql("SELECT setval('usage_id_seq', coalesce(max(id), 0) + 1, false) FROM usage")
        for constraint in ("pkey", "tenant_id_fkey"):
            connection.exec_driver_sql(
                f"ALTER TABLE usage RENAME CONSTRAINT {new.name}_{constraint} TO usage_{constraint}"
            )
    return Part(copied, 0.7 if is_sqlite else 1)


def _drop_old_usage(connection: Connection) -> Part:
    """Delete most rows before dropping the table, because SQLite scans a table that it drops."""
    some = f"SELECT id FROM {_OLD_USAGE} ORDER BY id LIMIT {BATCH}"
    if connection.exec_driver_sql(f"DELETE FROM {_OLD_USAGE} WHERE id IN ({some})").rowcount == BATCH:
        return Part(0, 0.9)
    connection.exec_driver_sql(f"DROP TABLE {_OLD_USAGE}")
    return Part(0, 1)


def _copy_usage(connection: Connection, which: str) -> int:
    names = ", ".join(_COPIED)
    charged = "coalesce(prompt_tokens, 0) + coalesce(completion_tokens, 0)"
    return connection.exec_driver_sql(
        f"INSERT INTO {_usage_of_version_3.name} ({names}, charged) SELECT {names}, {charged} FROM usage WHERE {which}"
    ).rowcount


def _merge_daily_counters(connection: Connection) -> None:
    """Replace the counters per day, `tokens:ID:DATE`, with one per tenant that knows its day."""
    days = connection.execute(
        select(counters).where(counters.c.scope.like("tokens:%:%")).order_by(counters.c.started.desc())
    ).all()
    connection.execute(delete(counters).where(counters.c.scope.like("tokens:%:%")))
    newest = {day.scope.rpartition(":")[0]: day for day in reversed(days)}
    for scope, day in newest.items():
        connection.execute(insert(counters).values(scope=scope, started=day.started, used=day.used))


def _index_presumed_lost_usage(connection: Connection) -> None:
    """Add an index for the usage that each ending answer looks up."""
    connection.exec_driver_sql(_INDEX_OF_PRESUMED_LOST.format("usage"))


def _add_origins(connection: Connection) -> None:
    """Add an index of origins, so that a lookup does not read every tenant."""
    connection.exec_driver_sql(
        "CREATE TABLE origins (origin TEXT NOT NULL, tenant_id INTEGER NOT NULL REFERENCES tenants (id)"
        " ON DELETE CASCADE, PRIMARY KEY (origin, tenant_id))"
    )
    connection.exec_driver_sql("CREATE INDEX origins_tenant ON origins (tenant_id)")
    for tenant in connection.execute(select(tenants.c.id, tenants.c.origins)).all():
        index_origins(connection, tenant.id, tenant.origins)


def _add_pieces(connection: Connection) -> None:
    """Add the text of running turns, the estimates of their prompts, and the table of readiness checks."""
    is_sqlite = connection.dialect.name == "sqlite"
    number, binary = ("INTEGER", "BLOB") if is_sqlite else ("BIGINT", "BYTEA")
    connection.exec_driver_sql("ALTER TABLE messages ADD COLUMN prompt_estimate INTEGER")
    connection.exec_driver_sql(
        f"CREATE TABLE pieces (turn {number} NOT NULL REFERENCES messages (number) ON DELETE CASCADE,"
        " position INTEGER NOT NULL, text TEXT NOT NULL, received INTEGER NOT NULL, PRIMARY KEY (turn, position))"
    )
    connection.exec_driver_sql(f"CREATE TABLE probe (id INTEGER NOT NULL PRIMARY KEY, filler {binary} NOT NULL)")


def _add_overlay(connection: Connection) -> None:
    """Add tenants' overlays."""
    connection.exec_driver_sql("ALTER TABLE tenants ADD COLUMN upstream JSON")


def _add_sources(connection: Connection) -> None:
    """Add the sources of answers, and `tell_upstream` to tenants."""
    connection.exec_driver_sql("ALTER TABLE messages ADD COLUMN sources JSON")
    connection.exec_driver_sql("ALTER TABLE tenants ADD COLUMN tell_upstream BOOLEAN NOT NULL DEFAULT FALSE")


def _add_steps(connection: Connection) -> None:
    """Record additive migrations in a separate table, so that the version that older releases check stays the same."""
    moment = UtcDateTime().compile(connection.dialect)
    connection.exec_driver_sql(
        f"CREATE TABLE schema_steps (version INTEGER NOT NULL, at {moment} NOT NULL, PRIMARY KEY (version))"
    )


def _add_outbox(connection: Connection) -> None:
    """Add webhooks and their outbox."""
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


def _add_shared_files(connection: Connection) -> None:
    """Add the files that replicas of other releases may need."""
    moment = UtcDateTime().compile(connection.dialect)
    binary = "BLOB" if connection.dialect.name == "sqlite" else "BYTEA"
    connection.exec_driver_sql(
        f"CREATE TABLE shared_files (name TEXT NOT NULL, body {binary} NOT NULL, seen_at {moment} NOT NULL,"
        " PRIMARY KEY (name))"
    )


# The step at index n upgrades a database from version n + 1 to n + 2. An empty database gets the newest tables at once.
# A step that returns an unfinished Part is called again, in the next transaction. To avoid deadlocks, each step changes
# `tenants` after the tables that refer to it, the order in which writers lock them.
UPGRADES: list[Step] = [
    _add_identity,
    _add_accounting,
    _index_presumed_lost_usage,
    _add_origins,
    _add_pieces,
    _add_overlay,
    _add_sources,
    _add_steps,
    _add_outbox,
    _add_shared_files,
]


def upgrade(connection: Connection) -> Upgrade:
    """Run the next migration, or a part of it, in the caller's transaction.

    Raises SchemaMismatch if the database is too new, StoreError if its tables belong to another application.
    """
    first_version = version = version_of(connection)
    newest = newest_version()
    if version >= newest:
        return Upgrade(version, version)
    if version == 0:
        metadata.create_all(connection)
        _note_version(connection, newest)
        return Upgrade(0, newest)
    rows = 0
    for step in UPGRADES[version - 1 :]:
        part = step(connection) or Part(0, 1)
        rows += part.rows
        if part.done < 1:
            _note_version(connection, version)
            return Upgrade(first_version, version, rows, part.done)
        version += 1
    _note_version(connection, version)
    return Upgrade(first_version, version, rows)


def _note_version(connection: Connection, version: int) -> None:
    connection.execute(delete(schema_version))
    connection.execute(insert(schema_version).values(version=min(version, COMPATIBLE_SINCE)))
    if version > COMPATIBLE_SINCE and version not in connection.scalars(select(schema_steps.c.version)).all():
        connection.execute(insert(schema_steps).values(version=version, at=datetime.now(UTC)))


def newest_version() -> int:
    """The schema version that this code works with."""
    return 1 + len(UPGRADES)


def require_usable(connection: Connection) -> None:
    """Return if this release can work with the database as it is. Raises SchemaMismatch, or StoreError as `version_of`.

    A newer one is good as long as it has what this release needs.
    """
    version = version_of(connection)
    if version < newest_version():
        raise SchemaMismatch(
            f"The database has schema version {version}; this release needs {newest_version()}. "
            "Run manage.py migrate, or start the service."
        )


def version_of(connection: Connection) -> int:
    """The schema version of a database; 0 for an empty one.

    Raises SchemaMismatch if it was made for releases that are newer than this one, and StoreError if the tables are not
    the chat's.
    """
    names = set(inspect(connection).get_table_names())
    ours = names & metadata.tables.keys()
    is_ours = schema_version.name in ours and _columns(connection, schema_version.name) == {"version"}
    oldest = connection.scalar(select(schema_version.c.version)) or 0 if is_ours else 0
    others = ours - {schema_version.name} if is_ours else ours
    is_foreign = not FIRST_TABLES <= ours if oldest else bool(others)
    if is_foreign:
        raise StoreError(
            f"The database belongs to another application, whose tables are named like the chat's "
            f"({', '.join(sorted(ours))}). Create one for the chat and name it in DATABASE_URL."
        )
    if oldest > newest_version():
        raise SchemaMismatch(
            f"The database has schema version {oldest}; this release knows {newest_version()}. Run a newer release."
        )
    if schema_steps.name not in names:
        return oldest
    return max(oldest, connection.scalar(select(func.max(schema_steps.c.version))) or 0)


def _columns(connection: Connection, table: str) -> set[str]:
    return {column["name"] for column in inspect(connection).get_columns(table)}
