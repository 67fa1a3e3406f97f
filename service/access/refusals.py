"""The ledger of refused questions. Accepted ones are recorded with their answers.

A flood of refusals must not fill the disk or keep the database busy. They are therefore written in batches, once a
second: a limited number per second and per hour as individual rows, and the rest as counts, one row per minute, key and
reason. A killed process loses what it has not written yet, a second of rows and a minute of counts; the log has it all.
"""

import asyncio
import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from service.store.records import StoreError, UsageRow
from service.store.store import Store

log = logging.getLogger("chatbot")

FLUSH_SECONDS = 1.0
ROWS_PER_FLUSH = 50
ROWS_PER_HOUR = 5_000  # 30 MB a day at most
MAX_COUNTS = 10_000  # distinct ones held while the database is unavailable
LAST_FLUSH_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Kind:
    """What refusals that are only counted have in common."""

    minute: datetime
    tenant_id: int | None
    key_id: int | None
    outcome: str


class Ledger:
    """Collects refusals with `note` and writes them; `run` is its task."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._rows: list[UsageRow] = []
        self._hour = datetime.min.replace(tzinfo=UTC)
        self._rows_of_hour = 0
        self._counts: Counter[Kind] = Counter()
        self._lost = 0
        self._writing = asyncio.Lock()  # so that no two flushes write the same rows

    def note(self, row: UsageRow) -> None:
        """Note a refused question. Without a known tenant it is only counted."""
        hour = row.at.replace(minute=0, second=0, microsecond=0)
        if hour != self._hour:
            self._hour, self._rows_of_hour = hour, 0
        if row.tenant_id is not None and len(self._rows) < ROWS_PER_FLUSH and self._rows_of_hour < ROWS_PER_HOUR:
            self._rows.append(row)
            self._rows_of_hour += 1
            return
        kind = Kind(row.at.replace(second=0, microsecond=0), row.tenant_id, row.key_id, row.outcome)
        if kind in self._counts or len(self._counts) < MAX_COUNTS:
            self._counts[kind] += row.requests
        else:
            self._lost += row.requests

    async def flush(self, now: datetime | None = None) -> None:
        """Write the rows, and the counts of past minutes; without `now`, all counts.

        Raises StoreError; nothing is lost then, and the next flush tries again.
        """
        async with self._writing:
            rows = list(self._rows)
            minute = now and now.replace(second=0, microsecond=0)
            due = {kind: count for kind, count in self._counts.items() if minute is None or kind.minute < minute}
            if not rows and not due:
                return
            await self._store.record([*rows, *(_row_of(kind, count) for kind, count in due.items())])
            del self._rows[: len(rows)]
            self._counts -= Counter(due)

    async def run(self, closing: asyncio.Event) -> None:
        """Write once a second until `closing` is set, then write the rest."""
        while not closing.is_set():
            try:
                async with asyncio.timeout(FLUSH_SECONDS):
                    await closing.wait()
            except TimeoutError:
                await self._flush_or_log(whole=False)
        await self._flush_or_log(whole=True)

    async def _flush_or_log(self, *, whole: bool) -> None:
        try:
            async with asyncio.timeout(LAST_FLUSH_SECONDS if whole else None):
                await self.flush(None if whole else datetime.now(UTC))
        except (StoreError, TimeoutError) as error:
            waiting = len(self._rows) + self._counts.total()
            log.warning("refusals are not recorded yet", extra={"requests": waiting, "reason": str(error)})
        if self._lost:
            log.warning("refusals were not recorded", extra={"requests": self._lost})
            self._lost = 0


def _row_of(kind: Kind, count: int) -> UsageRow:
    return UsageRow(kind.minute, kind.tenant_id, kind.outcome, key_id=kind.key_id, refused=True, requests=count)
