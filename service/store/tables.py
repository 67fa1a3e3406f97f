"""The tables and their column types."""

import re
from collections.abc import Iterable
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
)
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

from service.store.records import INTERRUPTED


class UtcDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime. SQLite stores no time zone, so it is removed and added here."""

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
    """Text that both databases can store: invalid characters become U+FFFD instead of failing the whole row."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        return storable(value) if value is not None else None


def storable(value: str) -> str:
    """A text as SafeText stores it."""
    return re.sub("[\0\ud800-\udfff]", "\ufffd", value)


# SQLite only auto-increments a column declared INTEGER.
Serial = BigInteger().with_variant(Integer, "sqlite")

metadata = MetaData()

# The version that a release must know to use the database, and the later additive migrations, which it need not know.
schema_version = Table("schema_version", metadata, Column("version", Integer, nullable=False))
schema_steps = Table(
    "schema_steps",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("at", UtcDateTime, nullable=False),
)

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
    Column("webhook_url_env", SafeText),
    Column("webhook_secret_env", SafeText),
    Column("visitor_salt", LargeBinary, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    # Counters have the tenant's id in their scope, so the id of a removed tenant must not be reused.
    sqlite_autoincrement=True,
)


def _tenant_id(**options: Any) -> Column[int]:
    return Column("tenant_id", Integer, ForeignKey("tenants.id", ondelete="CASCADE"), nullable=False, **options)


# The entries of `tenants.origins`, one per row, to find an origin without reading every tenant.
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
        # Checked at the commit: a turn is inserted before its new conversation, see `Store.begin_turn`.
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

# Browser files of each release: see `shared_files.py`.
shared_files = Table(
    "shared_files",
    metadata,
    Column("name", Text, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)

# Written by `Database.ping`.
probe = Table(
    "probe",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("filler", LargeBinary, nullable=False),
)

# The bill outlives the conversation, so only the tenant is a foreign key here; a request with an unknown key has none.
# A row is one request, or the sum of several: of many refused at once, or of past days.
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

# Usage recorded for an answer whose process seemed to be dead; it is replaced if the answer ends after all.
presumed_lost = usage.c.outcome == INTERRUPTED
Index("usage_supposed", usage.c.message_id, sqlite_where=presumed_lost, postgresql_where=presumed_lost)

# Events for tenants' webhooks; `data` is empty after delivery.
outbox = Table(
    "outbox",
    metadata,
    Column("id", Uuid, primary_key=True),
    _tenant_id(),
    Column("conversation_id", Uuid, ForeignKey("conversations.id", ondelete="CASCADE"), nullable=False),
    Column("message_id", Uuid),
    Column("kind", Text, nullable=False),
    Column("data", JSON(none_as_null=True)),
    Column("state", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("problem", SafeText),
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("finished_at", UtcDateTime),
    Index("outbox_tenant", "tenant_id", "created_at"),
    Index("outbox_conversation", "conversation_id"),
    Index("outbox_created", "created_at"),
)
undelivered = outbox.c.state == "pending"
Index("outbox_due", outbox.c.due_at, sqlite_where=undelivered, postgresql_where=undelivered)

counters = Table(
    "counters",
    metadata,
    Column("scope", SafeText, primary_key=True),
    Column("started", Double, nullable=False),
    Column("used", BigInteger, nullable=False),
)


def index_origins(connection: Connection, tenant_id: int, listed: Iterable[str]) -> None:
    """Update a tenant's rows in `origins` from its list."""
    connection.execute(delete(origins).where(origins.c.tenant_id == tenant_id))
    if rows := [{"origin": origin, "tenant_id": tenant_id} for origin in dict.fromkeys(listed)]:
        connection.execute(insert(origins), rows)
