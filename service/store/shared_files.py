"""Browser files of every release that runs or ran on the database: during an upgrade, a page and its files may come
from replicas of different releases, and an open window requests files of its own release.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from service.store.database import Database
from service.store.tables import shared_files

KEPT = timedelta(days=180)  # after the last start of a release that has the file
MOST_BYTES = 262_144  # of one file

_FIND = select(shared_files.c.body).where(shared_files.c.name == bindparam("wanted"))


class SharedFiles:
    """The files in the database, by their names, which contain a hash of the content."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def keep(self, files: Mapping[str, bytes]) -> None:
        """Store these for other releases, and delete files that no release has had for a long time."""
        now = datetime.now(UTC)
        await self._database.write(lambda db: _keep(db, files, now))

    async def find(self, name: str) -> bytes | None:
        """A file of any release."""
        return await self._database.read(lambda db: db.scalar(_FIND, {"wanted": name}))


def _keep(db: Connection, files: Mapping[str, bytes], now: datetime) -> None:
    there = set(db.scalars(select(shared_files.c.name)).all())
    missing = [
        {"name": name, "body": body, "seen_at": now}
        for name, body in files.items()
        if name not in there and len(body) <= MOST_BYTES
    ]
    if missing:
        db.execute(insert(shared_files), missing)
    db.execute(update(shared_files).where(shared_files.c.name.in_(there & files.keys())).values(seen_at=now))
    db.execute(delete(shared_files).where(shared_files.c.seen_at < now - KEPT))
