"""Connections to SQLite and PostgreSQL: transactions, timeouts, and one family of errors for both."""

import asyncio
import os
import random
import re
import secrets
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakSet

import aiosqlite
import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    Table,
    cast,
    delete,
    event,
    false,
    func,
    insert,
    literal,
    select,
    text,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DBAPIError, DisconnectionError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from service.store.processes import LockedFiles, Processes, ProcessTable
from service.store.records import DAY_SECONDS, Conflict, SchemaMismatch, StoreError, StoreTimeout, StoreUnavailable
from service.store.tables import conversations, counters, messages, newest_version, probe, upgrade, usage, version_of

# Seconds. A thread that waits for SQLite's lock cannot be interrupted, so a call takes DEADLINE + BUSY at the longest,
# and one that commits at last DEADLINE + COMMIT.
DEADLINE = 5
BUSY = 3
COMMIT = 3
CONNECT = 3
STATEMENT = 4
FAILING = 2 * DEADLINE  # how long a failure explains what is late

WAL_TRIES = 20
POOL_SIZE = 8
STATEMENTS_OPTION = "prepared_statement_cache_size"
# Of a URL, after its `?`: what asyncpg.connect takes as text, and the one of which SQLAlchemy makes a number.
POSTGRESQL_OPTIONS = {
    *("host", "ssl", "passfile", "target_session_attrs", "krbsrvname", "gsslib", "service", "servicefile"),
    STATEMENTS_OPTION,
}
PROBE_BYTES = 16_384  # a question of 4,000 characters with all that is written beside it
MIGRATION_LOCK = 0x6134_6368_6174


# These take the rights and the locks of a question, and add no row.
WRITE_NOTHING = [
    insert(table).from_select(table.columns.keys(), select(table).where(false()), include_defaults=False)
    for table in (conversations, messages, usage, counters)
]


class Database:
    """A bounded pool of connections to the database that a URL names, opened when they are first needed.

    Raises ValueError when it names none that can be used.
    """

    def __init__(self, url: str) -> None:
        parsed = parse_url(url)
        self.is_sqlite = parsed.get_backend_name() == "sqlite"
        self._path = Path(str(parsed.database)) if self.is_sqlite else None
        self.insert: Callable[[Table], sqlite.Insert | postgresql.Insert]
        self._turn_to_write: AbstractAsyncContextManager[object]
        if self.is_sqlite:
            self._engine = self._reader = _sqlite_engine(parsed)
            self.insert = sqlite.insert
            # SQLite's own queue for its write lock is unfair, and each that waits in it holds a connection.
            self._turn_to_write = asyncio.Lock()
        else:
            self._engine = _postgresql_engine(parsed)
            self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
            self.insert = postgresql.insert
            self._turn_to_write = nullcontext()
        self._writer = self._engine.execution_options(immediate=True)
        self._failed_at = float("-inf")  # time.monotonic()

    @contextmanager
    def _one_family(self) -> Iterator[None]:
        """As the function of this name. What is late soon after the database failed is late because of that."""
        try:
            with _one_family():
                yield
        except StoreTimeout as error:
            if time.monotonic() - self._failed_at < FAILING:
                raise StoreUnavailable(str(error)) from error.__cause__
            raise
        except StoreUnavailable:
            self._failed_at = time.monotonic()
            raise

    async def migrate(self) -> None:
        """Make or upgrade the tables. Safe when several processes start at once.

        Raises SchemaMismatch when the database is newer than this code.
        """
        if self._path:
            with self._one_family():
                self._path.touch()
            await self._use_wal()
        async with self.writing_unhurried() as db:
            if not self.is_sqlite:
                await db.execute(select(func.pg_advisory_xact_lock(MIGRATION_LOCK)))
            await db.run_sync(upgrade)

    async def _use_wal(self) -> None:
        """Several that do this at once on a new file refuse each other at once, without SQLite's usual patience."""
        for tries_left in reversed(range(WAL_TRIES)):
            try:
                async with self.reading() as db:
                    await db.exec_driver_sql("PRAGMA journal_mode=WAL")
                return
            except StoreUnavailable:
                if not tries_left:
                    raise
            await asyncio.sleep(random.uniform(0.02, 0.1))

    def processes(self) -> Processes:
        """What tells which of the processes on this database live."""
        return LockedFiles(self._path) if self._path else ProcessTable()

    def clock(self) -> ColumnElement[float]:
        """Seconds on a clock that all processes on this database share, and that setting one's own does not move.

        A server has one of its own. A file is shared on one machine, whose processes share its monotonic clock.
        """
        if self.is_sqlite:
            return literal(time.monotonic(), Double)
        return cast(func.extract("epoch", func.clock_timestamp()), Double)

    def wall_clock(self) -> ColumnElement[float]:
        """Seconds since 1970-01-01 UTC, by the server's clock or, with a file, the machine's: for days and dates."""
        if self.is_sqlite:
            return literal(time.time(), Double)
        return cast(func.extract("epoch", func.clock_timestamp()), Double)

    def midnight(self) -> ColumnElement[float]:
        """When the day in UTC began, on the same clock."""
        if self.is_sqlite:
            return literal(time.time() // DAY_SECONDS * DAY_SECONDS, Double)
        return func.floor(self.wall_clock() / DAY_SECONDS, type_=Double) * DAY_SECONDS

    async def ping(self) -> None:
        """Return if the database can be used, by writing as a question does.

        To the tables that a question fills nothing is added. What is committed is as much as a question, because only
        that finds a full disk: SQLite writes nothing before.

        Raises StoreUnavailable when it is gone, locked, full or read-only, SchemaMismatch when it was not migrated.
        """
        newest = newest_version()
        async with self.writing() as db:
            version = await db.run_sync(version_of)
            if version != newest:
                raise SchemaMismatch(f"The database has schema version {version}; this release needs {newest}.")
            for statement in WRITE_NOTHING:
                await db.execute(statement)
            number = secrets.randbits(31)
            await db.execute(insert(probe).values(id=number, filler=os.urandom(PROBE_BYTES)))
            await db.execute(delete(probe).where(probe.c.id != number))  # after it: the new row needs room of its own

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()

    @asynccontextmanager
    async def reading(self, *, hurried: bool = True) -> AsyncIterator[AsyncConnection]:
        """A connection for queries, each of which sees what is committed when it starts."""
        with self._one_family():
            async with asyncio.timeout(DEADLINE if hurried else None), self._reader.connect() as db:
                yield db

    @asynccontextmanager
    async def reading_unhurried(self) -> AsyncIterator[AsyncConnection]:
        """The same for an operator's queries, which may take as long as there is data."""
        if self.is_sqlite:
            async with self.reading(hurried=False) as db:
                yield db
        else:
            async with self.writing_unhurried() as db:  # a transaction: what it sets is gone with it
                yield db

    @asynccontextmanager
    async def writing(self, *, hurried: bool = True) -> AsyncIterator[AsyncConnection]:
        """A transaction that may write; committed at the end, rolled back by an exception."""
        with self._one_family():
            deadline = DEADLINE if hurried else None
            async with asyncio.timeout(deadline) as timeout, self._turn_to_write, self._writer.begin() as db:
                yield db
                # Only its end tells whether a commit was made: one that has begun is given time of its own.
                if hurried:
                    timeout.reschedule(asyncio.get_running_loop().time() + COMMIT)

    @asynccontextmanager
    async def writing_unhurried(self) -> AsyncIterator[AsyncConnection]:
        """A transaction for an operator's work, which may take as long as there is data."""
        async with self.writing(hurried=False) as db:
            if not self.is_sqlite:
                await db.execute(text("SET LOCAL statement_timeout = 0"))
            yield db


@contextmanager
def _one_family() -> Iterator[None]:
    """Raise StoreError for whatever the drivers raise. No message bears data; the causes may."""
    try:
        yield
    except IntegrityError as error:
        raise Conflict("What this belongs to was removed meanwhile.") from error
    except DBAPIError as error:
        # SQLSTATE classes 22 and 42 are ours to mend: a value or a query that can never succeed.
        if str(getattr(error.orig, "sqlstate", "")).startswith(("22", "42")):
            raise StoreError("The database refused a query.") from error
        raise StoreUnavailable(f"The database cannot be used: {str(error.orig).partition(chr(10))[0]}") from error
    except OverflowError as error:
        raise StoreError("A number is too large for the database.") from error
    except (PoolTimeout, TimeoutError) as error:
        raise StoreTimeout("The database did not answer in time.") from error
    except OSError as error:
        raise StoreUnavailable(f"The database cannot be reached: {str(error) or type(error).__name__}") from error


def parse_url(url: str) -> URL:
    """A database URL that this can use. Raises ValueError, without the URL in it: it may hold a password."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ValueError("is not a database URL") from None  # the message would show the password
    if parsed.drivername not in ("sqlite+aiosqlite", "postgresql+asyncpg"):
        raise ValueError("must begin with sqlite+aiosqlite:// or postgresql+asyncpg://")
    if "\0" in url or "%00" in url:
        raise ValueError("has a NUL character")
    if parsed.drivername == "sqlite+aiosqlite":
        _check_sqlite_url(parsed)
    else:
        _check_postgresql_url(parsed)
    return parsed


def _check_sqlite_url(url: URL) -> None:
    if url.host or url.username or url.port:
        raise ValueError("must have three slashes before a file's name and four before a path from the root")
    if re.match(r"$|:memory:|file:", url.database or ""):
        raise ValueError("must name a file, such as sqlite+aiosqlite:///chatbot.db")
    if url.query:
        raise ValueError(f"has unknown options: {', '.join(sorted(url.query))} (SQLite has none here)")


def _check_postgresql_url(url: URL) -> None:
    if url.port is not None and not 0 < url.port < 65_536:
        raise ValueError("must have a port from 1 to 65535")
    try:
        (url.host or "").encode("idna")  # as a socket's name is, which fails for an empty or long label
    except UnicodeError:
        raise ValueError("has a host that there cannot be") from None
    if unknown := sorted(url.query.keys() - POSTGRESQL_OPTIONS):
        raise ValueError(f"has unknown options: {', '.join(unknown)} (for TLS, it is ssl=require)")
    if twice := [name for name, value in url.query.items() if not isinstance(value, str) and name != "host"]:
        raise ValueError(f"has options more than once: {', '.join(sorted(twice))}")
    if not re.fullmatch("[0-9]{1,6}", str(url.query.get(STATEMENTS_OPTION, "0"))):
        raise ValueError(f"has a {STATEMENTS_OPTION} that is not a number")
    try:
        url.get_dialect()().create_connect_args(url)
    except ArgumentError:
        raise ValueError("has hosts that the driver does not take: each needs its port, as in ?host=a:5432") from None


def _sqlite_engine(url: URL) -> AsyncEngine:
    engine = create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=DEADLINE,
        hide_parameters=True,
        # No isolation level: the driver begins no transaction by itself, `_begin_immediate` does.
        connect_args={
            "async_creator_fn": _open_file,
            "factory": _SqliteConnection,
            "timeout": BUSY,
            "isolation_level": None,
            "cached_statements": 32,  # lists of many lengths are as many statements, each kept by each connection
        },
    )
    event.listen(engine.sync_engine, "connect", _set_pragmas)
    event.listen(engine.sync_engine, "checkout", partial(_require_same_file, Path(str(url.database))))
    event.listen(engine.sync_engine, "begin", _begin_immediate)
    return engine


class _SqliteConnection(sqlite3.Connection):
    """A connection whose cursors are closed with it.

    A call that is cancelled within INSERT … RETURNING leaves a cursor with a row to fetch. SQLite would keep the
    transaction, and with it the write lock, until that cursor is garbage: see sqlite.org/c3ref/close.html.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._cursors: WeakSet[sqlite3.Cursor] = WeakSet()

    def cursor(self, factory: Any = sqlite3.Cursor) -> Any:
        cursor = super().cursor(factory)
        self._cursors.add(cursor)
        return cursor

    def close(self) -> None:
        for cursor in list(self._cursors):
            cursor.close()
        self._cursors.clear()  # a connection may be closed twice
        super().close()


async def _open_file(path: str, **options: Any) -> aiosqlite.Connection:
    """Open a SQLite file that is there; `migrate` alone makes one, so that a disk that is gone is not hidden by it.

    If that fails, see the driver's thread out: it would complain when it outlives the loop.
    """
    if not os.path.exists(path):
        raise sqlite3.OperationalError("unable to open database file")
    connection = aiosqlite.connect(path, **options)
    connection._thread.daemon = True
    try:
        return await connection
    except sqlite3.Error:
        connection._thread.join()
        raise


def _set_pragmas(connection: DBAPIConnection, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA foreign_keys=ON")
    # Safe with WAL, and no wait for the disk at each commit; a power cut may undo the last moments, never half of one.
    cursor.execute("PRAGMA synchronous=NORMAL")
    cursor.execute("PRAGMA cache_size=-512")  # KiB a connection; what is read again, the system's own cache has
    cursor.close()


def _require_same_file(path: Path, _connection: DBAPIConnection, record: ConnectionPoolEntry, _: object) -> None:
    """Give up a connection whose file was removed or replaced: what it wrote nobody would find again."""
    found = path.stat()
    if record.info.setdefault("file", (found.st_dev, found.st_ino)) != (found.st_dev, found.st_ino):
        raise DisconnectionError("The file is another one now.")


def _begin_immediate(connection: Connection) -> None:
    """Take the write lock at once: a transaction that reads first and then writes is refused when another wrote."""
    if connection.get_execution_options().get("immediate"):
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _postgresql_engine(url: URL) -> AsyncEngine:
    return create_async_engine(
        url,
        pool_size=POOL_SIZE,
        max_overflow=0,
        pool_timeout=DEADLINE,
        pool_pre_ping=True,
        hide_parameters=True,
        connect_args={
            "async_creator_fn": _connect_undisturbed,
            "timeout": CONNECT,
            "server_settings": {
                "application_name": "chatbot",
                "timezone": "UTC",
                "statement_timeout": f"{STATEMENT}s",
                "idle_in_transaction_session_timeout": f"{DEADLINE}s",
            },
        },
    )


async def _connect_undisturbed(**given: Any) -> asyncpg.Connection:
    """Connect without being cancelled half way: asyncpg then leaves an error behind that is logged with a traceback."""
    connecting = asyncio.create_task(asyncpg.connect(**given))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_discard)
        raise


def _discard(connecting: asyncio.Task[asyncpg.Connection]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()
