"""Backup of a SQLite database to a file while it is in use, and its restore (SQLite's backup API)."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from service.store.processes import LockedFiles
from service.store.records import StoreError

PAGES_AT_ONCE = 1000  # 4 MB
LOCK_SECONDS = 10
JOURNALS = ("-wal", "-shm", "-journal")  # the endings of the files that SQLite keeps beside a database
DAMAGED = (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT)

Progress = Callable[[float], None]
"""Called with the finished fraction of the work, from 0 to 1."""


def back_up(database: Path, file: Path, progress: Progress) -> None:
    """Copy a consistent snapshot of a database to a new file that only this user can read.

    Raises StoreError, and then leaves nothing behind.
    """
    unfinished = file.with_name(f"{file.name}.unfinished")
    with copy_errors():
        os.close(os.open(unfinished, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
        try:
            with closing(_open(database)) as source, closing(sqlite3.connect(unfinished)) as copy:
                source.execute("BEGIN")
                source.execute("SELECT 1 FROM sqlite_master")  # starts the snapshot
                _copy(source, copy, progress)
            os.replace(unfinished, file)
        finally:
            unfinished.unlink(missing_ok=True)


def restore(file: Path, database: Path, newest_version: int, progress: Progress) -> None:
    """Replace an unused database with a copy, however damaged it is.

    Raises StoreError if a process uses the database, or if this release cannot use the copy.
    """
    with copy_errors():
        with closing(_open(file)) as source:
            _check(source, file, newest_version)
            if LockedFiles(database).others():
                raise StoreError("The service is running on this database. Stop it first.")
            try:
                _copy_over(source, database, progress)
            except sqlite3.DatabaseError as error:
                if not _is_damage(getattr(error, "sqlite_errorcode", 0)):
                    raise
                _empty(database)
                _copy_over(source, database, progress)


def _is_damage(code: int) -> bool:
    """Whether SQLite found a damaged file. One with a newer format or another page size is read-only to it.

    The lowest byte is the primary code. The others of READONLY are about directories and locks.
    """
    return code & 0xFF in DAMAGED or code == sqlite3.SQLITE_READONLY


def _copy_over(source: sqlite3.Connection, database: Path, progress: Progress) -> None:
    with closing(sqlite3.connect(database, timeout=LOCK_SECONDS)) as target:
        _copy(source, target, progress)


def _empty(database: Path) -> None:
    """Empty a file that SQLite cannot use, and delete its journals, which must not be replayed into the copy.

    The file itself stays, with its owner and its mode, also if it is a link or mounted on its own.
    """
    with open(database.resolve(), "r+b") as file:  # fails first if it may not be written
        for ending in JOURNALS:
            journal = Path(f"{file.name}{ending}")
            journal.touch()  # fails here, and not after the file was emptied, if SQLite cannot make journals
            journal.unlink()
        file.truncate(0)


def _open(path: Path) -> sqlite3.Connection:
    """Open an existing database."""
    if not path.is_file():
        raise StoreError(f"There is no database {str(path.absolute())!r}.")
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=LOCK_SECONDS, isolation_level=None)


def _check(source: sqlite3.Connection, file: Path, newest_version: int) -> None:
    try:
        (version,) = source.execute("SELECT version FROM schema_version").fetchone()
        (verdict,) = source.execute("PRAGMA quick_check(1)").fetchone()
    except (sqlite3.DatabaseError, TypeError):
        raise StoreError(f"{str(file)!r} is not a copy of a chat's database.") from None
    if verdict != "ok":
        raise StoreError(f"{str(file)!r} is damaged: {verdict}")
    if version > newest_version:
        raise StoreError(f"{str(file)!r} has schema version {version}; this release knows {newest_version}.")


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, progress: Progress) -> None:
    def report(status: int, remaining: int, total: int) -> None:
        progress(1 - remaining / total if total else 1)

    source.backup(target, pages=PAGES_AT_ONCE, progress=report, sleep=0)


@contextmanager
def copy_errors() -> Iterator[None]:
    """Turn errors of SQLite and the file system into StoreErrors."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(f"The database cannot be copied: {error}.") from None
    except OSError as error:
        raise StoreError(f"{error.strerror}: {error.filename!r}.") from None
