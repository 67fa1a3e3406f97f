"""Counts of what is in the database."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, func, select, text

from service.store.dialects import is_sqlite
from service.store.migrations import version_of
from service.store.tables import conversations, keys, messages, tenants


@dataclass(frozen=True, slots=True)
class Statistics:
    """Counts of rows; `recent` counts conversations used in the last day. `bytes` is the database's size on disk."""

    schema: int
    tenants: int
    keys: int
    conversations: int
    recent: int
    questions: int
    running: int
    rated_up: int
    rated_down: int
    oldest: datetime | None
    bytes: int


def statistics(db: Connection, now: datetime) -> Statistics:
    """Count everything, which takes a while on a large database."""

    def count(table: object, *conditions: object) -> int:
        return db.scalar(select(func.count()).select_from(table).where(*conditions)) or 0  # type: ignore[arg-type]

    rated = select(messages.c.rating, func.count()).where(messages.c.rating.is_not(None)).group_by(messages.c.rating)
    ratings: dict[str, int] = {row[0]: row[1] for row in db.execute(rated)}
    size = (
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
        if is_sqlite(db)
        else "SELECT pg_database_size(current_database())"
    )
    return Statistics(
        schema=version_of(db),
        tenants=count(tenants),
        keys=count(keys, keys.c.revoked_at.is_(None)),
        conversations=count(conversations),
        recent=count(conversations, conversations.c.updated_at >= now - timedelta(days=1)),
        questions=count(messages, messages.c.hidden.is_(False)),
        running=count(messages, messages.c.status == "running"),
        rated_up=ratings.get("up", 0),
        rated_down=ratings.get("down", 0),
        oldest=db.scalar(select(func.min(conversations.c.created_at))),
        bytes=db.scalar(text(size)) or 0,
    )
