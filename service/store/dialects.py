"""Differences between SQLite and PostgreSQL: INSERT, clocks and locks."""

import sqlite3
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Double, Table, bindparam, cast, func, select
from sqlalchemy.dialects import postgresql, sqlite

from service.store.records import DAY_SECONDS

Statement = TypeVar("Statement")
Insert = Callable[[Table], sqlite.Insert | postgresql.Insert]

INSERTS: dict[str, Insert] = {"sqlite": sqlite.insert, "postgresql": postgresql.insert}
_HOLD = select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("held"), 0)))

# Seconds on a clock that all processes of a database share: the server's own, or the machine's for a file, from
# `now_values`. `now`, if given, overrides both.
_SERVER = func.coalesce(
    bindparam("now", type_=Double), cast(func.extract("epoch", func.clock_timestamp()), Double), type_=Double
)
CLOCKS: dict[str, ColumnElement[float]] = {"sqlite": bindparam("now", type_=Double), "postgresql": _SERVER}
# The beginning of the day in UTC, in seconds since the epoch.
MIDNIGHTS: dict[str, ColumnElement[float]] = {
    "sqlite": bindparam("midnight", type_=Double),
    "postgresql": func.floor(_SERVER / DAY_SECONDS, type_=Double) * DAY_SECONDS,
}


def for_each_dialect(make: Callable[[str], Statement]) -> dict[str, Statement]:
    """A statement for each database."""
    return {name: make(name) for name in INSERTS}


def is_sqlite(db: Connection) -> bool:
    return db.dialect.name == "sqlite"


def file_of(db: Connection) -> sqlite3.Connection:
    """The driver's connection to an SQLite file."""
    file: sqlite3.Connection = db.connection.driver_connection  # type: ignore[assignment]
    return file


def monotonic_values(db: Connection, now: float | None) -> dict[str, Any]:
    """The values that CLOCKS binds, for windows: a monotonic clock."""
    return {"now": time.monotonic() if now is None and is_sqlite(db) else now}


def day_values(db: Connection, now: float | None) -> dict[str, Any]:
    """The values that CLOCKS and MIDNIGHTS bind, for days and dates: seconds since 1970-01-01 UTC."""
    if not is_sqlite(db):
        return {"now": now}
    seconds = time.time() if now is None else now
    return {"now": seconds, "midnight": seconds // DAY_SECONDS * DAY_SECONDS}


def hold(db: Connection, name: str) -> None:
    """Hold an advisory lock of this name until the transaction ends. SQLite has only one writer anyway."""
    if not is_sqlite(db):
        db.execute(_HOLD, {"held": name})
