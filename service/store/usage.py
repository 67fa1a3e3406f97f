"""Usage: one row per request, reports, and the aggregation of old rows."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    and_,
    bindparam,
    case,
    cast,
    delete,
    func,
    insert,
    literal,
    null,
    select,
    true,
)

from service.store.counters import settle as settle_budget
from service.store.counters import settle_values, settling
from service.store.dialects import hold, is_sqlite
from service.store.pieces import drop_pieces
from service.store.prepared import Prepared
from service.store.records import UsageGroup, UsageRow, UsageTotal
from service.store.rows import defaults
from service.store.tables import presumed_lost, tenants, usage
from service.store.tenants import get_tenant

SUMMED_AT_ONCE = 10_000

USAGE_GROUPS: dict[UsageGroup, ColumnElement[Any]] = {
    "day": cast(func.date(usage.c.at), Text),
    "key": usage.c.key_id,
    "model": usage.c.model,
    "origin": usage.c.origin,
    "outcome": usage.c.outcome,
    "subject": usage.c.subject,
    "tenant": tenants.c.name,
    "visitor": usage.c.visitor,
}


_KEPT = [field.name for field in fields(UsageRow) if field.name != "reservation"]
_RECORD = insert(usage)
_RETRACTING = (
    delete(usage)
    .where(usage.c.message_id == bindparam("message", type_=usage.c.message_id.type), presumed_lost)
    .returning(usage.c.charged)
)
# By the time, too: it is in the index, and a question that was discarded can be asked again with its id.
_SETTLED = select(usage.c.id).where(
    usage.c.tenant_id == bindparam("of", type_=usage.c.tenant_id.type),
    usage.c.at == bindparam("at", type_=usage.c.at.type),
    usage.c.message_id == bindparam("message", type_=usage.c.message_id.type),
    ~presumed_lost,
)
_KNOWN_TENANTS = select(tenants.c.id).where(
    tenants.c.id.in_(bindparam("known", expanding=True, type_=tenants.c.id.type))
)


_USAGE_VALUES = defaults(usage) | {name: bindparam(f"booked_{name}", type_=usage.c[name].type) for name in _KEPT}
_INSERT_USAGE = Prepared(insert(usage).values(_USAGE_VALUES).inline())
_RETRACT = Prepared(_RETRACTING)
_DROP_PIECES = Prepared(drop_pieces)


def _settle_at_once() -> Select[Any]:
    """All of `settle` in one statement, for PostgreSQL."""
    retracted = _RETRACTING.cte("retracted")
    charged = select(retracted.c.charged).scalar_subquery()
    due = bindparam("charged", type_=BigInteger) - func.coalesce(charged, bindparam("reserved", type_=BigInteger))
    return select(literal(1)).add_cte(
        retracted,
        drop_pieces.cte("dropped"),
        insert(usage).values(_USAGE_VALUES).cte("booked"),
        settling("postgresql", due).cte("settled"),
    )


_SETTLE_AT_ONCE = _settle_at_once()


def settle(db: Connection, row: UsageRow, ended: int | None) -> None:
    """Record an answer's usage, and charge it to the day's budget in place of its reservation.

    An earlier row that presumed the answer lost is replaced, and its charge, too. `ended` is the number of the closed
    turn, if it exists: its pieces are deleted.
    """
    reserved = row.reservation.tokens if row.reservation else 0
    booked = {f"booked_{name}": value for name, value in _values(row).items()}
    if not is_sqlite(db):
        values = booked | settle_values(db, row)
        values |= {"message": row.message_id, "ended": ended, "charged": row.charged, "reserved": reserved}
        db.execute(_SETTLE_AT_ONCE, values)
        return
    if (charged := _RETRACT.scalar(db, {"message": row.message_id})) is not None:
        reserved = charged
    if ended is not None:
        _DROP_PIECES.execute(db, {"ended": ended})
    _INSERT_USAGE.execute(db, booked)
    settle_budget(db, row, reserved)


def is_settled(db: Connection, row: UsageRow) -> bool:
    """Whether `settle` has recorded this row before, as the call whose outcome is unknown may have."""
    return db.scalar(_SETTLED, {"of": row.tenant_id, "at": row.at, "message": row.message_id}) is not None


def record(db: Connection, rows: Sequence[UsageRow]) -> None:
    """Record refused requests. Those of a tenant that was removed meanwhile are left out."""
    values = [_values(row) for row in of_known_tenants(db, rows)]
    if values:
        db.execute(_RECORD, values)


def of_known_tenants(db: Connection, rows: Sequence[UsageRow]) -> list[UsageRow]:
    """The rows without a tenant, or of an existing one."""
    existing = {None, *db.scalars(_KNOWN_TENANTS, {"known": [*{row.tenant_id for row in rows} - {None}]})}
    return [row for row in rows if row.tenant_id in existing]


def _values(row: UsageRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _KEPT}


def totals(db: Connection, name: str | None, since: datetime, by: Sequence[UsageGroup]) -> list[UsageTotal]:
    """The usage of a tenant since then, in groups; without a name, of all tenants and unknown ones.

    Raises TenantNotFound.
    """
    chosen = true() if name is None else usage.c.tenant_id == get_tenant(db, name).id
    group = [USAGE_GROUPS[each].label(each) for each in by]
    # Equal times to the first text are grouped, so that their percentiles do not need all rows.
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
    rows = db.execute(
        query.select_from(usage.outerjoin(tenants))
        .where(chosen, usage.c.at >= since)
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
    """The percentile by nearest rank: the shortest time that this share of the answers did not exceed."""
    rank = share * sum(row.rows for row in timed)
    for row in timed:
        rank -= row.rows
        if rank <= 0:
            return int(row.first_text_ms)
    return None


def days_to_sum_up(db: Connection, before: datetime) -> list[tuple[int | None, datetime]]:
    """Each tenant's earliest day with rows to aggregate, of those that ended before.

    A query of its own, because it passes over all totals, and a transaction of SQLite that writes would delay others.
    """
    found = []
    for tenant_id in [None, *db.scalars(select(tenants.c.id)).all()]:
        first = db.scalar(_in_order(_of(tenant_id)).where(usage.c.at < before).limit(1))
        if first is not None:
            day = first.replace(hour=0, minute=0, second=0, microsecond=0)
            found += [(tenant_id, day)] if day + timedelta(days=1) <= before else []
    return found


def sum_up_some(db: Connection, tenant_id: int | None, day: datetime) -> int:
    """Aggregate some rows of a tenant's day. Returns how many; 0 if there are none left.

    It takes about SUMMED_AT_ONCE rows at a time, so that nobody waits for long; the last batch merges the day's totals.
    """
    hold(db, "the sums of usage")
    own = _of(tenant_id)
    each = and_(own, usage.c.summed.is_(False))
    newest = db.scalar(select(func.max(usage.c.id)))
    of_day = and_(usage.c.at >= day, usage.c.at < day + timedelta(days=1), usage.c.id <= newest)
    until = db.scalar(_in_order(own).where(of_day).offset(SUMMED_AT_ONCE - 1).limit(1))
    some = and_(own, of_day) if until is None else and_(each, of_day, usage.c.at <= until)
    rows = db.scalar(select(func.count()).select_from(usage).where(some, each)) or 0
    if not rows:
        return 0
    # Refused pages may claim any origin: aggregating by origin would save no rows.
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
    db.execute(insert(usage).from_select(columns, sums.where(some).group_by(*same)))
    db.execute(delete(usage).where(some))
    return rows


def _of(tenant_id: int | None) -> ColumnElement[bool]:
    return usage.c.tenant_id.is_(None) if tenant_id is None else usage.c.tenant_id == tenant_id


def _in_order(own: ColumnElement[bool]) -> Select[Any]:
    """The times of the rows that were not aggregated yet."""
    return select(usage.c.at).where(own, usage.c.summed.is_(False)).order_by(usage.c.at)
