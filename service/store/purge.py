"""Purging old data and deleting many rows: in small steps, so that others can write in between."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial

from sqlalchemy import ColumnElement, Connection, Table, delete, select

from service.store import counters, usage
from service.store.database import Database
from service.store.records import Purged
from service.store.tables import conversations, outbox
from service.store.tables import usage as usage_table

BATCH = 500
PAUSE_SECONDS = 0.02  # between two large steps, so that others can write


async def purge(database: Database, before: datetime | None) -> AsyncIterator[Purged]:
    """Delete the counters of past days and, unless `before` is None, the conversations unused since and older events.

    Older usage becomes one total per day, key, origin, model and outcome. Yields the result of each step.
    """
    yield Purged(counters=await database.write(counters.purge))
    if before is None:
        return
    while deleted := await _delete_some(database, conversations, conversations.c.updated_at < before):
        yield Purged(conversations=deleted)
    while await _delete_some(database, outbox, outbox.c.created_at < before):
        yield Purged()
    while days := await database.read(partial(usage.days_to_sum_up, before=before), patient=True):
        for tenant_id, day in days:
            sum_up_some = partial(usage.sum_up_some, tenant_id=tenant_id, day=day)
            while summed := await database.write(sum_up_some, patient=True):
                yield Purged(usage=summed)
                await asyncio.sleep(PAUSE_SECONDS)


async def delete_usage(database: Database, tenant_id: int) -> None:
    """Delete all of a tenant's usage."""
    while await _delete_some(database, usage_table, usage_table.c.tenant_id == tenant_id):
        pass


async def delete_conversations(database: Database, ids: Sequence[uuid.UUID]) -> int:
    """Delete conversations. Returns how many there were."""
    deleted = 0
    for start in range(0, len(ids), BATCH):
        deleted += await _delete_some(database, conversations, conversations.c.id.in_(ids[start : start + BATCH]))
    return deleted


async def _delete_some(database: Database, table: Table, condition: ColumnElement[bool]) -> int:
    """Delete at most BATCH of the rows that meet a condition, and let others write before the next step."""
    some = select(table.c.id).where(condition).limit(BATCH)

    def delete_them(db: Connection) -> int:
        # The condition again: PostgreSQL checks it for a row that another transaction has changed meanwhile.
        return db.execute(delete(table).where(table.c.id.in_(some), condition)).rowcount

    deleted = await database.write(delete_them)
    if deleted:
        await asyncio.sleep(PAUSE_SECONDS)
    return deleted
