"""Usage: one row a request, what the rows come to, and the sums that old ones become."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Text, and_, case, cast, delete, func, insert, literal, null, select
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.records import UsageGroup, UsageRow, UsageTotal
from service.store.tables import usage

SUMMED_AT_ONCE = 10_000

USAGE_GROUPS: dict[UsageGroup, ColumnElement[Any]] = {
    "day": cast(func.date(usage.c.at), Text),
    "key": usage.c.key_id,
    "model": usage.c.model,
    "origin": usage.c.origin,
    "outcome": usage.c.outcome,
    "subject": usage.c.subject,
    "visitor": usage.c.visitor,
}


def usage_values(row: UsageRow) -> dict[str, Any]:
    """What the table keeps of a row."""
    values = asdict(row)
    del values["reservation"]
    return values


async def usage_totals(
    db: AsyncConnection, tenant_id: int, since: datetime, by: Sequence[UsageGroup]
) -> list[UsageTotal]:
    """What a tenant used since then, in groups."""
    group = [USAGE_GROUPS[each].label(each) for each in by]
    # The times to the first text that are the same count as one row, so that their percentiles need not all rows.
    query = select(
        *group,
        usage.c.first_text_ms,
        func.count().label("rows"),
        func.sum(usage.c.requests).label("requests"),
        func.sum(case((usage.c.refused, usage.c.requests), else_=0)).label("refused"),
        *(
            func.coalesce(func.sum(column), 0).label(column.name)
            for column in (usage.c.prompt_tokens, usage.c.completion_tokens, usage.c.charged)
        ),
    )
    rows = await db.execute(
        query.where(usage.c.tenant_id == tenant_id, usage.c.at >= since)
        .group_by(*group, usage.c.first_text_ms)
        .order_by(*(each.nulls_first() for each in group), usage.c.first_text_ms.nulls_first())
    )
    found: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows:
        found.setdefault(tuple(row[: len(by)]), []).append(row)
    return [_usage_total(by, values, same) for values, same in found.items()]


def _usage_total(by: Sequence[UsageGroup], values: tuple[Any, ...], rows: list[Any]) -> UsageTotal:
    timed = [row for row in rows if row.first_text_ms is not None]
    return UsageTotal(
        group=tuple(
            date.fromisoformat(value) if each == "day" else value for each, value in zip(by, values, strict=True)
        ),
        requests=sum(row.requests for row in rows),
        refused=sum(row.refused for row in rows),
        prompt_tokens=int(sum(row.prompt_tokens for row in rows)),
        completion_tokens=int(sum(row.completion_tokens for row in rows)),
        charged=int(sum(row.charged for row in rows)),
        first_text_p50_ms=_percentile(timed, 0.5),
        first_text_p95_ms=_percentile(timed, 0.95),
    )


def _percentile(timed: list[Any], share: float) -> int | None:
    """The nearest rank: the least time that so many of the answers did not exceed."""
    rank = share * sum(row.rows for row in timed)
    for row in timed:
        rank -= row.rows
        if rank <= 0:
            return int(row.first_text_ms)
    return None


async def sum_up_some(db: AsyncConnection, tenant_id: int | None, before: datetime) -> int:
    """Put sums in place of the rows of a tenant's earliest day that has any, if it ended before.

    About SUMMED_AT_ONCE rows at a time, so that nobody waits for long; with the last of them the day's sums so far
    become one. Returns how many rows there were.
    """
    own = usage.c.tenant_id.is_(None) if tenant_id is None else usage.c.tenant_id == tenant_id
    each = and_(own, usage.c.summed.is_(False))
    earliest = select(usage.c.at).where(each).order_by(usage.c.at)
    first = await db.scalar(earliest.limit(1))
    if first is None:
        return 0
    day = first.replace(hour=0, minute=0, second=0, microsecond=0)
    if day + timedelta(days=1) > before:
        return 0
    newest = await db.scalar(select(func.max(usage.c.id)))
    of_day = and_(usage.c.at >= day, usage.c.at < day + timedelta(days=1), usage.c.id <= newest)
    until = await db.scalar(earliest.where(of_day).offset(SUMMED_AT_ONCE - 1).limit(1))
    some = and_(own, of_day) if until is None else and_(each, of_day, usage.c.at <= until)
    rows = await db.scalar(select(func.count()).select_from(usage).where(some, each)) or 0
    # A page that was refused may claim any origin: sums of them would be as many as the rows.
    origin = case((usage.c.refused, null()), else_=usage.c.origin).label("origin")
    same = (usage.c.tenant_id, usage.c.key_id, origin, usage.c.model, usage.c.outcome, usage.c.refused)
    added = (usage.c.prompt_tokens, usage.c.completion_tokens, usage.c.charged, usage.c.requests)
    sums = select(
        literal(day, usage.c.at.type),
        literal(True),
        *same,
        *(cast(func.sum(column), column.type).label(column.name) for column in added),
    )
    columns = ["at", "summed", *(column.name for column in (*same, *added))]
    await db.execute(insert(usage).from_select(columns, sums.where(some).group_by(*same)))
    await db.execute(delete(usage).where(some))
    return rows
