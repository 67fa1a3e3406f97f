"""SQLite: a thread that writes, one that reads and, once needed, one for reports, each with its own connection.

Pending writes share one transaction and one commit.
"""

import asyncio
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Generic, Literal, TypeVar

from sqlalchemy import Connection, Engine, create_engine
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

from service.store import deadlines
from service.store.dialects import file_of
from service.store.meter import Meter

RETRY_SECONDS = 0.0003  # before the writer tries again to begin a transaction
MOST_CALLS = 100  # calls in one transaction, so that the first does not wait too long

Result = TypeVar("Result")


class Job(Generic[Result]):
    """A call that waits for its turn in a worker's thread, and its outcome."""

    def __init__(self, function: Callable[[Connection], Result], *, patient: bool) -> None:
        self.function = function
        self.patient = patient
        self._loop = asyncio.get_running_loop()
        self._outcome: asyncio.Future[Result] = self._loop.create_future()
        self._phase: Literal["open", "sealed", "given up"] = "open"
        self._lock = threading.Lock()

    async def outcome(self) -> Result:
        """Wait for the outcome. Raises TimeoutError after the deadline; then, or if cancelled, nothing is written.

        A commit in progress is waited for: it would take effect even if it were reported as failed.
        """
        timer = None if self.patient else self._call_later(deadlines.DEADLINE, self._expire)
        try:
            return await self._outcome
        except asyncio.CancelledError:
            self._give_up()
            if self._outcome.done() and not self._outcome.cancelled():
                self._outcome.exception()  # retrieved, so that asyncio does not warn about it
            raise
        finally:
            if timer is not None:
                timer.cancel()

    # In the worker's thread

    @property
    def is_wanted(self) -> bool:
        return self._phase != "given up" and not self._outcome.done()

    def seal(self) -> bool:
        """Mark it as being committed. Returns False if it was abandoned before."""
        with self._lock:
            if self._phase == "open" and not self._outcome.done():
                self._phase = "sealed"
            return self._phase == "sealed"

    def reopen(self) -> None:
        """Undo `seal`: its transaction was rolled back."""
        with self._lock:
            self._phase = "open" if self._phase == "sealed" else self._phase

    def resolve(self, result: Result) -> None:
        self._set_from_worker(self._outcome.set_result, result)

    def fail(self, error: Exception) -> None:
        self._set_from_worker(self._outcome.set_exception, error)

    def _set_from_worker(self, set_outcome: Callable[[Any], None], value: object) -> None:
        with suppress(RuntimeError):  # the loop has been closed
            self._loop.call_soon_threadsafe(self._set_unless_done, set_outcome, value)

    # In the event loop's thread

    def _set_unless_done(self, set_outcome: Callable[[Any], None], value: object) -> None:
        if not self._outcome.done():
            set_outcome(value)

    def _call_later(self, seconds: float, call: Callable[[], None]) -> asyncio.Handle:
        return self._loop.call_later(seconds, call) if seconds > 0 else self._loop.call_soon(call)

    def _give_up(self) -> bool:
        with self._lock:
            self._phase = "given up" if self._phase == "open" else self._phase
            return self._phase == "given up"

    def _expire(self) -> None:
        if self._give_up():
            self._time_out()
        else:
            self._loop.call_later(deadlines.COMMIT, self._time_out)

    def _time_out(self) -> None:
        self._set_unless_done(self._outcome.set_exception, TimeoutError())


class _Worker:
    """A thread that runs calls in order, and its connection, opened on first use."""

    def __init__(self, engine: Engine, path: Path, name: str) -> None:
        self._engine = engine
        self._path = path
        self._name = name
        self._queue: SimpleQueue[Job[Any] | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._db: Connection | None = None
        self._file: tuple[int, int] | None = None

    async def run(self, function: Callable[[Connection], Result], *, patient: bool) -> Result:
        job = Job(function, patient=patient)
        if self._thread is None:
            self._queue = SimpleQueue()
            self._thread = threading.Thread(target=self._work, args=[self._queue], name=self._name, daemon=True)
            self._thread.start()
        self._queue.put(job)
        return await job.outcome()

    async def close(self) -> None:
        """End the thread after pending calls, with a timeout in case the file system hangs."""
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            await asyncio.to_thread(thread.join, deadlines.DEADLINE)

    def _work(self, queue: SimpleQueue[Job[Any] | None]) -> None:
        following = queue.get()
        while following is not None:
            jobs = [following]
            following = None
            with suppress(Empty):
                while (following := queue.get_nowait()) is not None and _may_share_transaction(jobs, following):
                    jobs.append(following)
                    following = None
                if following is None:
                    queue.put(None)  # for later: this is the last call
            self._attempt(jobs)
            if following is None:
                following = queue.get()
        self._disconnect()

    def _attempt(self, jobs: list[Job[Any]]) -> None:
        try:
            self._do(jobs)
        except Exception as error:  # nothing was done
            self._disconnect()
            for job in jobs:
                job.fail(error)

    def _do(self, jobs: list[Job[Any]]) -> None:
        raise NotImplementedError

    def _connection(self) -> Connection:
        """The connection, reopened if its file was removed or replaced: its writes would be lost."""
        if self._db is not None:
            if _identity(self._path) == self._file:
                return self._db
            self._disconnect()
        self._db = self._connect()
        self._file = _identity(self._path)
        return self._db

    def _connect(self) -> Connection:
        return self._engine.connect()

    def _disconnect(self) -> None:
        db, self._db = self._db, None
        if db is not None:
            with suppress(Exception):  # closing a broken connection may fail
                db.close()


class _Reader(_Worker):
    """Each query sees what is committed when it starts."""

    def _do(self, jobs: list[Job[Any]]) -> None:
        for job in jobs:
            if job.is_wanted:
                self._attempt_one(job)

    def _attempt_one(self, job: Job[Any]) -> None:
        try:
            result = job.function(self._connection())
        except Exception as error:
            self._disconnect()
            job.fail(error)
        else:
            job.resolve(result)


class _Writer(_Worker):
    """Runs pending calls in one transaction, each with a savepoint to roll back to on its own."""

    def __init__(self, engine: Engine, path: Path, name: str, meter: Meter) -> None:
        super().__init__(engine, path, name)
        self._meter = meter

    def _connect(self) -> Connection:
        db = super()._connect()
        if file_of(db).execute("PRAGMA journal_mode").fetchone() == ("wal",):
            # Only `_begin` has to wait then. SQLite would sleep for 1 to 100 ms between its tries: two processes that
            # write all the time would write less than one.
            file_of(db).execute("PRAGMA busy_timeout=0")
        return db

    def _do(self, jobs: list[Job[Any]]) -> None:
        db = self._connection()
        _begin(file_of(db))  # a SQLAlchemy event could do this too, but would slow down every statement
        try:
            with db.begin():
                callbacks = [self._run_one(db, job) for job in jobs if job.is_wanted]
        except Exception:
            if len(jobs) == 1:
                raise
            self._disconnect()
            for job in jobs:  # if one failed, such as on a full disk, the others may still succeed
                job.reopen()
                self._attempt([job])
        else:
            self._meter.committed(len(callbacks))
            for callback in callbacks:
                callback()

    def _run_one(self, db: Connection, job: Job[Any]) -> Callable[[], None]:
        """Run one call. Returns the callback for after the commit."""
        file = file_of(db)
        file.execute("SAVEPOINT job")
        try:
            result = job.function(db)
        except Exception as error:
            if not file.in_transaction:  # SQLite has rolled everything back
                raise
            failure = error
        else:
            if job.seal():
                file.execute("RELEASE job")
                return partial(job.resolve, result)
            failure = TimeoutError()
        file.execute("ROLLBACK TO job")
        file.execute("RELEASE job")
        return partial(job.fail, failure)


class SqliteFile:
    """An SQLite file, and the threads that use it."""

    def __init__(self, path: Path, meter: Meter) -> None:
        self.engine = create_engine(
            URL.create("sqlite", database=str(path)),
            creator=partial(_open, path),
            poolclass=NullPool,
            hide_parameters=True,
        )
        self._reader = _Reader(self.engine, path, "database reader")
        self._reporter = _Reader(self.engine, path, "database reports")  # slow: every request needs the other reader
        self._writer = _Writer(self.engine, path, "database writer", meter)

    async def read(self, function: Callable[[Connection], Result], *, patient: bool) -> Result:
        reader = self._reporter if patient else self._reader
        return await reader.run(function, patient=patient)

    async def write(self, function: Callable[[Connection], Result], *, patient: bool) -> Result:
        return await self._writer.run(function, patient=patient)

    async def close(self) -> None:
        await self._writer.close()
        await self._reader.close()
        await self._reporter.close()


def _may_share_transaction(jobs: list[Job[Any]], following: Job[Any]) -> bool:
    """Whether a call may share the transaction: a patient one may be slow, and would delay the others' commit."""
    return len(jobs) < MOST_CALLS and not jobs[0].patient and not following.patient


def _begin(file: sqlite3.Connection) -> None:
    """Begin a transaction. Raises sqlite3.OperationalError if another process holds the lock for too long.

    It is IMMEDIATE, because one that reads before it writes is refused if another process has written since.
    """
    give_up = time.monotonic() + deadlines.BUSY
    while True:
        try:
            file.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > give_up:
                raise
        time.sleep(RETRY_SECONDS)


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_dev, found.st_ino


def _open(path: Path) -> sqlite3.Connection:
    """Open an existing file; only `migrate` creates one, so that a missing disk is not hidden."""
    if not path.exists():
        raise sqlite3.OperationalError("unable to open database file")
    # No isolation level: the writer begins transactions, not the driver.
    file = sqlite3.connect(path, timeout=deadlines.BUSY, isolation_level=None)
    try:
        file.execute("PRAGMA foreign_keys=ON")
        # Safe with WAL, without waiting for the disk at each commit. A power cut may undo the last transactions, but
        # leaves none half done.
        file.execute("PRAGMA synchronous=NORMAL")
        file.execute("PRAGMA cache_size=-512")  # KiB per connection; the system's page cache has the rest
    except sqlite3.Error:
        file.close()
        raise
    return file
