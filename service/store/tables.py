"""The tables, their column types and the way from one schema version to the next."""

import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Connection,
    DateTime,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    Uuid,
    delete,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from service.store.records import INTERRUPTED, SchemaMismatch


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. SQLite keeps no zone, so the zone is taken off and put back here."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class SafeText(TypeDecorator[str]):
    """Text that both databases can hold: what PostgreSQL or UTF-8 cannot becomes U+FFFD instead of losing the row."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return storable(value) if value is not None else None


def storable(value: str) -> str:
    """A text as SafeText keeps it."""
    return re.sub("[\0\ud800-\udfff]", "\ufffd", value)


# SQLite counts up by itself only in a column declared INTEGER.
Serial = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))

tenants = Table(
    "tenants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", SafeText, nullable=False, unique=True),
    Column("origins", JSON, nullable=False, default=list),
    Column("rate_per_minute", Integer, nullable=False, default=6000),
    Column("visitor_rate_per_minute", Integer, nullable=False, default=1200),
    Column("visitor_streams", Integer, nullable=False, default=0),
    Column("tokens_per_day", BigInteger, nullable=False, default=10_000_000),
    Column("model", SafeText),
    Column("system_prompt", SafeText),
    Column("temperature", Double),
    Column("max_answer_tokens", Integer),
    Column("openai_key_env", SafeText),
    Column("openai_base_url_env", SafeText),
    Column("upstream", JSON(none_as_null=True)),
    Column("identity_secret_env", SafeText),
    Column("identity_public_key", SafeText),
    Column("identity_claims", JSON, nullable=False, default=list),
    Column("require_identity", Boolean, nullable=False, default=False),
    Column("tell_upstream", Boolean, nullable=False, default=False),
    Column("visitor_salt", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Counters bear the id in their scope: the id of a removed tenant must not come back.
    sqlite_autoincrement=True,
)


def _tenant_id(**options: Any) -> Column[int]:
    return Column("tenant_id", Integer, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, **options)


# What is in `tenants.origins`, one row per entry: finds an origin without reading every tenant.
origins = Table(
    "origins",
    metadata,
    Column("origin", SafeText, primary_key=True),
    _tenant_id(primary_key=True),
    Index("origins_tenant", "tenant_id"),
)


keys = Table(
    "keys",
    metadata,
    Column("id", Integer, primary_key=True),
    _tenant_id(),
    Column("hash", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("hint", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("revoked_at", UtcDateTime),
    Index("keys_tenant", "tenant_id"),
)

widgets = Table(
    "widgets",
    metadata,
    Column("id", Text, primary_key=True),
    _tenant_id(),
    Column("settings", JSON, nullable=False),
    Index("widgets_tenant", "tenant_id"),
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant_id(),
    Column("created_at", UtcDateTime, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("subject", SafeText),
    Index("conversations_tenant", "tenant_id"),
    Index("conversations_subject", "tenant_id", "subject", "updated_at"),
    Index("conversations_updated", "updated_at"),
)

messages = Table(
    "messages",
    metadata,
    Column("number", Serial, primary_key=True),
    Column("id", Uuid, nullable=False, unique=True),
    Column(
        "conversation_id",
        Uuid,
        # Checked at the commit: a turn is inserted before the conversation that it opens, see `Store.begin_turn`.
        ForeignKey("conversations.id", ondelete="CASCADE", deferrable=True, initially="DEFERRED"),
        nullable=False,
    ),
    Column("question", SafeText, nullable=False),
    Column("answer", SafeText, nullable=False, default=""),
    Column("status", Text, nullable=False),
    Column("code", SafeText),
    Column("model", SafeText),
    Column("prompt_tokens", Integer),
    Column("completion_tokens", Integer),
    Column("replaces", Uuid),
    Column("hidden", Boolean, nullable=False, default=False),
    Column("rating", Text),
    Column("comment", SafeText),
    Column("sources", JSON(none_as_null=True)),
    Column("visitor", Text),
    Column("reserved", Integer),
    Column("prompt_estimate", Integer),
    # While it runs: who writes it, which counts `beat` up while it lives; how often readers elsewhere have looked; and
    # whether one of them asked to stop it.
    Column("writer", Text),
    Column("beat", Integer, nullable=False, default=0),
    Column("followed", Integer, nullable=False, default=0),
    Column("stop_asked", Boolean, nullable=False, default=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Column("updated_at", UtcDateTime, nullable=False),
    Index("messages_conversation", "conversation_id", "number"),
)
running = messages.c.status == "running"
Index("messages_running", messages.c.id, sqlite_where=running, postgresql_where=running)

# The text so far of a running turn, as it was kept piece by piece. Its end moves it to the turn's own row.
pieces = Table(
    "pieces",
    metadata,
    # By number: SQLite then adds to the end of the table, and its index stays small.
    Column("turn", Serial, ForeignKey("messages.number", ondelete="CASCADE"), primary_key=True, autoincrement=False),
    Column("position", Integer, primary_key=True, autoincrement=False),  # of its first character in the answer
    Column("text", SafeText, nullable=False),
    Column("received", Integer, nullable=False),  # tokens of the answer up to its end, thoughts included, estimated
)

# What `Database.ping` writes.
probe = Table(
    "probe",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("filler", LargeBinary, nullable=False),
)

# The bill outlives the conversation, so only the tenant is a foreign key here; a request with an unknown key has none.
# A row stands for one request, or, where many were refused at once or the days are past, for the sum of several.
usage = Table(
    "usage",
    metadata,
    Column("id", Serial, primary_key=True),
    Column("at", UtcDateTime, nullable=False),
    Column("tenant_id", Integer, ForeignKey("tenants.id", ondelete="CASCADE")),
    Column("key_id", Integer),
    Column("visitor", Text),
    Column("conversation_id", Uuid),
    Column("message_id", Uuid),
    Column("origin", SafeText),
    Column("model", SafeText),
    Column("prompt_tokens", BigInteger),
    Column("completion_tokens", BigInteger),
    Column("charged", BigInteger),
    Column("first_text_ms", Integer),
    Column("duration_ms", Integer),
    Column("outcome", SafeText, nullable=False),
    Column("request_id", SafeText),
    Column("subject", SafeText),
    Column("claims", JSON(none_as_null=True)),
    Column("refused", Boolean, nullable=False, default=False),
    Column("requests", Integer, nullable=False, default=1),
    Column("summed", Boolean, nullable=False, default=False),
    Index("usage_tenant_at", "tenant_id", "at"),
)

# What was recorded of an answer whose process seemed to be gone, which gives way when the answer ends after all.
supposed = usage.c.outcome == INTERRUPTED
Index("usage_supposed", usage.c.message_id, sqlite_where=supposed, postgresql_where=supposed)

counters = Table(
    "counters",
    metadata,
    Column("scope", SafeText, primary_key=True),
    Column("started", Double, nullable=False),
    Column("used", BigInteger, nullable=False),
)


def index_origins(connection: Connection, tenant_id: int, listed: Iterable[str]) -> None:
    """Make a tenant's rows of `origins` those of its list."""
    connection.execute(delete(origins).where(origins.c.tenant_id == tenant_id))
    if rows := [{"origin": origin, "tenant_id": tenant_id} for origin in dict.fromkeys(listed)]:
        connection.execute(insert(origins), rows)


# Migrations


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


# The step at index n takes a database from version n + 1 to n + 2. An empty database gets the newest tables at once.
UPGRADES: list[Callable[[Connection], None]] = [
    _add_identity,
    _keep_accounts,
    _find_supposed_usage,
    _add_index_of_origins,
    _keep_pieces,
    _add_overlay,
    _keep_sources,
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
