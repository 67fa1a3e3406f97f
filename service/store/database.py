"""Transactions on SQLite and PostgreSQL. Each is a plain function of a `Connection`, which `Database` runs."""

import asyncio
import logging
import os
import random
import secrets
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Connection, Engine, delete, false, func, insert, select, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from service.store import deadlines
from service.store.dialects import is_sqlite
from service.store.meter import CallKind, Meter
from service.store.migrations import Upgrade, newest_version, require_usable, upgrade, version_of
from service.store.processes import LockedFiles, Processes, ProcessTable
from service.store.records import (
    DEFAULT_POOL_SIZE,
    Conflict,
    StoreError,
    StoreTimeout,
    StoreUnavailable,
)
from service.store.sqlite import SqliteFile
from service.store.tables import conversations, counters, messages, probe, usage
from service.store.urls import parse_url

if TYPE_CHECKING:
    from service.store.postgresql import PostgresServer

WAL_TRIES = 20
LOCK_TRIES = 100  # for a table in use by a long query, such as a report
INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE = "42501", "55P03"  # SQLSTATE
MIGRATION_LOCK = 0x6134_6368_6174
PROBE_BYTES = 16_384  # as much as a question of 4,000 characters writes in total

# A privilege that questions need and `Database.ping` does not, because its row needs no generated number.
FORBIDDEN_SEQUENCE = text(
    "SELECT relname FROM pg_class WHERE relkind = 'S' AND relname IN ('usage_id_seq', 'messages_number_seq')"
    " AND pg_table_is_visible(oid) AND NOT has_sequence_privilege(oid, 'USAGE, UPDATE') LIMIT 1"
)

log = logging.getLogger("chatbot")

Result = TypeVar("Result")

# These need the privileges and locks of a question, and add no row.
WRITE_NOTHING = [
    insert(table).from_select(table.columns.keys(), select(table).where(false()), include_defaults=False)
    for table in (conversations, messages, usage, counters)
]


def _postgres(url: URL, pool_size: int) -> "PostgresServer":
    from service.store.postgresql import PostgresServer  # 10 MB, only needed with PostgreSQL

    return PostgresServer(url, pool_size)


class Database:
    """The database of a URL. Raises ValueError for an unusable URL.

    All errors are StoreErrors, for either database. Their messages contain no data; their causes may.
    """

    def __init__(self, url: str, pool_size: int = DEFAULT_POOL_SIZE) -> None:
        parsed = parse_url(url)
        self._path = Path(str(parsed.database)) if parsed.get_backend_name() == "sqlite" else None
        self.meter = Meter()
        self._server = SqliteFile(self._path, self.meter) if self._path else _postgres(parsed, pool_size)
        self._failed_at = float("-inf")  # time.monotonic()

    @property
    def engine(self) -> Engine:
        """SQLAlchemy's engine, for its events."""
        return self._server.engine

    async def read(self, function: Callable[[Connection], Result], *, patient: bool = False) -> Result:
        """Run queries, each of which sees what is committed when it starts.

        `patient`: without a deadline, for an operator's queries.
        """
        return await self._run("read", function, self._server.read, patient)

    async def write(self, function: Callable[[Connection], Result], *, patient: bool = False) -> Result:
        """Run a transaction: committed at the end, rolled back by an exception or a cancellation.

        The function may be called again after a rollback, so it must change nothing but the database.
        """
        return await self._run("write", function, self._server.write, patient)

    async def _run(
        self, kind: CallKind, function: Callable[[Connection], Result], run: Callable[..., Any], patient: bool
    ) -> Result:
        """Measure a call and translate its errors."""
        with self.meter.timed(kind, function) as timed:
            try:
                result: Result = await run(timed, patient=patient)
                return result
            except Exception:
                with self._store_errors():
                    raise

    async def migrate(self, report: Callable[[float], None] = lambda done: None) -> None:
        """Create or upgrade the tables. Safe if several processes start at once, and while others use the database.

        `report` is called with the progress, from 0 to 1, if there is any work. Raises SchemaMismatch if the database
        is newer than this code, and StoreError if it belongs to another application.
        """
        if self._path:
            with self._store_errors():
                self._path.touch()
            await self._use_wal()
        version = await self.read(_version_of)
        if version >= newest_version():
            return
        began, rows, done = time.monotonic(), 0, 0.0
        while done < 1:
            upgraded = await self._upgrade_some()
            rows, done = rows + upgraded.rows, upgraded.done
            report(done)
            await asyncio.sleep(deadlines.MIGRATION_PAUSE if done < 1 else 0)
        seconds = round(time.monotonic() - began, 1)
        log.info("migrated", extra={"from": version, "to": newest_version(), "rows": rows, "seconds": seconds})

    async def _upgrade_some(self) -> Upgrade:
        """Run one transaction of the upgrade. It does not wait long for a table's lock, as others would queue."""
        for tries_left in reversed(range(LOCK_TRIES)):
            try:
                return await self.write(_upgrade, patient=True)
            except StoreUnavailable as error:
                refusal = getattr(error.__cause__, "orig", None)
                if not tries_left or getattr(refusal, "sqlstate", "") != LOCK_NOT_AVAILABLE:
                    raise
            await asyncio.sleep(random.uniform(0.2, 0.5))
        raise AssertionError("the last try returns or raises")

    async def schema_version(self) -> int:
        """The schema version of the tables; 0 without tables or without a file. Raises StoreError like `migrate`."""
        if not self._exists():
            return 0
        return await self.read(_version_of)

    async def require_tables(self) -> None:
        """Return if the database has the tables that this code needs, without changing anything.

        Raises StoreError, which says what to do.
        """
        if self._path and not self._exists():
            raise StoreError(
                f"No such file or directory: {str(self._path.absolute())!r}, which DATABASE_URL names. Run this in the "
                "working directory of the service, or start the service first."
            )
        await self.read(require_usable)

    def _exists(self) -> bool:
        """Whether there is a file, or a server. Raises StoreError if this user may not look."""
        with self._store_errors():
            return self._path is None or self._path.exists()

    async def _use_wal(self) -> None:
        """Switch to WAL. Concurrent switches on a new file fail at once, without SQLite's busy timeout."""
        for tries_left in reversed(range(WAL_TRIES)):
            try:
                return await self.read(_use_wal)
            except StoreUnavailable:
                if not tries_left:
                    raise
            await asyncio.sleep(random.uniform(0.02, 0.1))

    def processes(self) -> Processes:
        """The registry of the processes on this database."""
        return LockedFiles(self._path) if self._path else ProcessTable()

    async def ping(self) -> None:
        """Return if the database can be used, tested by writing as a question does.

        Raises StoreUnavailable if it is gone, locked, full or read-only, SchemaMismatch if it was not migrated.
        """
        await self.write(_probe)

    async def close(self) -> None:
        """Close all connections."""
        await self._server.close()

    @contextmanager
    def _store_errors(self) -> Iterator[None]:
        """Like `store_errors`. A timeout soon after a failure of the database counts as caused by it."""
        try:
            with store_errors():
                yield
        except StoreTimeout as error:
            self.meter.failed()
            if time.monotonic() - self._failed_at < deadlines.FAILING:
                raise StoreUnavailable(str(error)) from error.__cause__
            raise
        except StoreUnavailable:
            self.meter.failed()
            self._failed_at = time.monotonic()
            raise


@contextmanager
def store_errors() -> Iterator[None]:
    """Turn the drivers' errors into StoreErrors."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict("What this belongs to was removed meanwhile.") from error
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", "") == INSUFFICIENT_PRIVILEGE:
            raise StoreError(
                _missing_privilege(str(getattr(error.orig, "__cause__", "")).partition(chr(10))[0])
            ) from error
        # SQLSTATE classes 22 and 42 are bugs: a value or a query that can never succeed.
        if str(getattr(error.orig, "sqlstate", "")).startswith(("22", "42")):
            raise StoreError("The database refused a query.") from error
        raise StoreUnavailable(f"The database cannot be used: {str(error.orig).partition(chr(10))[0]}") from error
    except sqlite3.IntegrityError as error:
        raise Conflict("What this belongs to was removed meanwhile.") from error
    except sqlite3.Error as error:
        raise StoreUnavailable(f"The database cannot be used: {error}") from error
    except OverflowError as error:
        raise StoreError("A number is too large for the database.") from error
    except (PoolTimeout, TimeoutError) as error:
        raise StoreTimeout("The database did not answer in time.") from error
    except OSError as error:
        raise StoreUnavailable(f"The database cannot be reached: {str(error) or type(error).__name__}") from error


def _upgrade(db: Connection) -> Upgrade:
    if not is_sqlite(db):
        db.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
        db.execute(text(f"SET LOCAL lock_timeout = '{deadlines.MIGRATION_LOCK}s'"))
    return upgrade(db)


def _version_of(db: Connection) -> int:
    if not is_sqlite(db) and (encoding := db.scalar(text("SHOW server_encoding"))) != "UTF8":
        raise StoreError(
            f"The database's encoding is {encoding}, which cannot hold every letter. Create one with "
            "CREATE DATABASE name ENCODING 'UTF8' TEMPLATE template0 and name it in DATABASE_URL."
        )
    version = version_of(db)
    if not is_sqlite(db) and (sequence := db.scalar(FORBIDDEN_SEQUENCE)) is not None:
        raise StoreError(_missing_privilege(f"permission denied for sequence {sequence}"))
    return version


def _missing_privilege(problem: str) -> str:
    """The server's message, which names only tables and users, and what to do."""
    return (
        f"The user of DATABASE_URL lacks a privilege: {problem}. Let it own the database and the tables in it: "
        "ALTER DATABASE name OWNER TO user."
    )


def _use_wal(db: Connection) -> None:
    db.exec_driver_sql("PRAGMA journal_mode=WAL")


def _probe(db: Connection) -> None:
    """Write as much as a question does, because only that detects a full disk; no rows are added to its tables."""
    require_usable(db)
    for statement in WRITE_NOTHING:
        db.execute(statement)
    number = secrets.randbits(31)
    db.execute(insert(probe).values(id=number, filler=os.urandom(PROBE_BYTES)))
    db.execute(delete(probe).where(probe.c.id != number))  # afterwards: the new row must need additional space
