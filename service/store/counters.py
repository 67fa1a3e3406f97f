"""Counters that all processes share: windows of so many questions, and each tenant's tokens of the day."""

from sqlalchemy import Double, and_, case, delete, func, literal, not_, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.database import Database
from service.store.records import DAY_SECONDS, BudgetSpent, Quota, Reservation, Taken, UsageRow
from service.store.tables import conversations, counters, messages, running

COUNTER_DAYS = 2
WAIT_SECONDS = 10  # a server may read its clock so long before it is a statement's turn; what is later was set back


class Counters:
    """What is done with the counters within a transaction. All go by the database's clock."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take(self, db: AsyncConnection, quota: Quota, now: float | None) -> Taken:
        """Use one of a quota, if there is one left. A window begins with what is first taken of it."""
        clock = self._database.clock() if now is None else literal(now, Double)
        started, used = counters.c.started, counters.c.used
        over, ahead = started <= clock - quota.window, started > clock + WAIT_SECONDS
        ends = (started + quota.window - clock).label("ends")
        statement = (
            self._database.insert(counters)
            .values(scope=quota.scope, started=clock, used=1)
            .on_conflict_do_update(
                index_elements=["scope"],
                set_={
                    "started": case((or_(over, ahead), clock), else_=started),
                    "used": case((over, 1), else_=used + 1),
                },
                where=or_(over, ahead, used < quota.limit),
            )
            .returning(used, ends)
        )
        row = (await db.execute(statement)).first()
        if row is not None and row.used <= quota.limit:
            return Taken(True, quota.limit - row.used, min(max(row.ends, 0.001), quota.window))
        left = await db.scalar(select(ends).where(counters.c.scope == quota.scope))
        return Taken(False, 0, min(max(quota.window if left is None else left, 0.001), quota.window))

    async def reserve(
        self, db: AsyncConnection, tenant_id: int, tokens: int, limit: int, now: float | None
    ) -> Reservation:
        """Set tokens of the day's budget aside. Raises BudgetSpent when there is none left.

        A budget that is not yet spent grants the whole reservation, so one answer may go beyond it. A day never goes
        back: when the clock is set back over midnight, the day that has begun goes on.
        """
        clock = self._database.wall_clock() if now is None else literal(now, Double)
        today = self._database.midnight() if now is None else literal(now // DAY_SECONDS * DAY_SECONDS, Double)
        started, used = counters.c.started, counters.c.used
        is_new = started < today
        statement = (
            self._database.insert(counters)
            .values(scope=_tokens_scope(tenant_id), started=today, used=tokens)
            .on_conflict_do_update(
                index_elements=["scope"],
                set_={
                    "started": case((is_new, today), else_=started),
                    "used": case((is_new, tokens), else_=used + tokens),
                },
                where=or_(is_new, used < limit) if limit else None,
            )
            .returning(started)
        )
        day = await db.scalar(statement)
        if day is not None:
            return Reservation(tokens, round(day / DAY_SECONDS))
        spent = select(used, (started + DAY_SECONDS - clock).label("left"))
        row = (await db.execute(spent.where(counters.c.scope == _tokens_scope(tenant_id)))).one()
        under_way = select(func.coalesce(func.sum(messages.c.reserved), 0)).join_from(messages, conversations)
        reserved = await db.scalar(under_way.where(running, conversations.c.tenant_id == tenant_id)) or 0
        others = reserved - tokens  # without the turn that asks
        raise BudgetSpent(min(max(row.left, 0.001), 2 * DAY_SECONDS), pending=row.used - others < limit)

    async def settle(self, db: AsyncConnection, row: UsageRow) -> None:
        """Charge the budget of the day on which it was reserved what an answer really took."""
        still_due = row.charged - (row.reservation.tokens if row.reservation else 0)
        if not still_due or row.tenant_id is None:
            return
        started = counters.c.started
        day = started == row.reservation.day * DAY_SECONDS if row.reservation else started >= self._database.midnight()
        budget = update(counters).where(counters.c.scope == _tokens_scope(row.tenant_id), day)
        await db.execute(budget.values(used=counters.c.used + still_due))

    async def purge(self, db: AsyncConnection) -> int:
        """Delete the counters of past days and windows. Returns how many there were.

        A day that begins after tomorrow is one that a clock made which was far ahead: it goes on as today.
        """
        seconds = COUNTER_DAYS * DAY_SECONDS
        is_day = counters.c.scope.startswith("tokens:")
        past_day = and_(is_day, counters.c.started < self._database.wall_clock() - seconds)
        clock = self._database.clock()
        past_window = and_(not_(is_day), or_(counters.c.started < clock - seconds, counters.c.started > clock))
        today = self._database.midnight()
        far_ahead = update(counters).where(is_day, counters.c.started > today + DAY_SECONDS)
        await db.execute(far_ahead.values(started=today))
        return (await db.execute(delete(counters).where(or_(past_day, past_window)))).rowcount


def _tokens_scope(tenant_id: int) -> str:
    return f"tokens:{tenant_id}"
