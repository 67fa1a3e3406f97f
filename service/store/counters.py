"""Counters shared by all processes: rate limit windows, and each tenant's tokens of the day.

All use the database's clock, unless `now` is given.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Executable,
    Select,
    Update,
    and_,
    bindparam,
    case,
    delete,
    func,
    literal,
    not_,
    or_,
    select,
    true,
    update,
)

from service.store.dialects import CLOCKS, INSERTS, MIDNIGHTS, day_values, for_each_dialect, is_sqlite, monotonic_values
from service.store.prepared import Prepared
from service.store.records import DAY_SECONDS, BudgetSpent, Quota, QuotaState, UsageRow
from service.store.tables import conversations, counters, messages, running

COUNTER_DAYS = 2
# The most that a server's clock reading may precede the statement; if it is further behind, the clock was set back.
WAIT_SECONDS = 10

_started, _used = counters.c.started, counters.c.used
_SCOPE = bindparam("of", type_=counters.c.scope.type)  # the counter's scope
_HAS_SCOPE = counters.c.scope == _SCOPE
_WINDOW = bindparam("window", type_=Double)
_LIMIT = bindparam("limit", type_=BigInteger)
_TOKENS = bindparam("tokens", type_=BigInteger)


@dataclass(frozen=True, slots=True)
class Taking:
    """A quota taken within a statement: whether it is granted, and the columns with what is left."""

    granted: ColumnElement[bool]
    columns: tuple[ColumnElement[Any], ColumnElement[Any]]


def _taking(dialect: str, place: int, condition: ColumnElement[bool] | None = None) -> Any:
    """Take one from a quota, if any is left and an optional condition holds (PostgreSQL)."""
    clock = CLOCKS[dialect]
    window, limit = bindparam(f"window_{place}", type_=Double), bindparam(f"limit_{place}", type_=BigInteger)
    over, ahead = _started <= clock - window, _started > clock + WAIT_SECONDS
    scope = bindparam(f"of_{place}", type_=counters.c.scope.type)
    into = INSERTS[dialect](counters)
    insertion = (
        into.values(scope=scope, started=clock, used=1)
        if condition is None
        else into.from_select(["scope", "started", "used"], select(scope, clock, literal(1)).where(condition))
    )
    return insertion.on_conflict_do_update(
        index_elements=["scope"],
        set_={"started": case((or_(over, ahead), clock), else_=_started), "used": case((over, 1), else_=_used + 1)},
        where=or_(over, ahead, _used < limit),
    ).returning(_used, (_started + window - clock).label("ends"))


def takings(number: int, unless: ColumnElement[bool] | None = None) -> list[Taking]:
    """For PostgreSQL, within one statement: take several quotas, each only if the previous one was granted."""
    taken: list[Taking] = []
    for place in range(number):
        condition = taken[-1].granted if taken else not_(unless) if unless is not None else true()
        taking = _taking("postgresql", place, condition).cte(f"taken_{place}")
        used = select(taking.c.used).scalar_subquery()
        granted = used <= bindparam(f"limit_{place}", type_=BigInteger)
        taken.append(Taking(granted, (used, select(taking.c.ends).scalar_subquery())))
    return taken


def _ends(dialect: str) -> Any:
    return (_started + _WINDOW - CLOCKS[dialect]).label("ends")


def reserving(dialect: str, after: CTE | None = None) -> Any:
    """Reserve tokens of the day's budget, if it is not spent; with `after`, only if that has a row."""
    today = MIDNIGHTS[dialect]
    is_new = _started < today
    into = INSERTS[dialect](counters)
    insertion = (
        into.values(scope=_SCOPE, started=today, used=_TOKENS)
        if after is None
        else into.from_select(["scope", "started", "used"], select(_SCOPE, today, _TOKENS).select_from(after))
    )
    return insertion.on_conflict_do_update(
        index_elements=["scope"],
        set_={"started": case((is_new, today), else_=_started), "used": case((is_new, _TOKENS), else_=_used + _TOKENS)},
        where=or_(is_new, _LIMIT == 0, _used < _LIMIT),
    ).returning(_started)


_TAKE = Prepared(_taking("sqlite", 0))
_GIVE_BACK = (
    update(counters)
    .where(counters.c.scope.in_(bindparam("taken", expanding=True, type_=counters.c.scope.type)))
    .values(used=_used - 1)
)
_LEFT = for_each_dialect(lambda dialect: select(_ends(dialect)).where(_HAS_SCOPE))
_SPENT = for_each_dialect(
    lambda dialect: select(_used, (_started + DAY_SECONDS - CLOCKS[dialect]).label("left")).where(_HAS_SCOPE)
)
_UNDER_WAY = (
    select(func.coalesce(func.sum(messages.c.reserved), 0))
    .join_from(messages, conversations)
    .where(running, conversations.c.tenant_id == bindparam("tenant"))
)
_DAY = bindparam("day", type_=Double)


def settling(dialect: str, tokens: ColumnElement[int]) -> Update:
    """Add tokens to the budget of the day on which they were reserved, or to today's if they were not reserved."""
    its_day = or_(_started == _DAY, and_(_DAY.is_(None), _started >= MIDNIGHTS[dialect]))
    return update(counters).where(_HAS_SCOPE, its_day).values(used=_used + tokens)


_SETTLE = Prepared(settling("sqlite", _TOKENS))


@cache
def _take_at_once(number: int) -> Select[Any]:
    return select(*(column for each in takings(number) for column in each.columns))


def take(db: Connection, quotas: Sequence[Quota], now: float | None = None) -> list[QuotaState]:
    """Take one from each quota, in this order, up to the first that is used up, which is then the last one returned.

    A window, at most a day long, begins when one is first taken from it.
    """
    if not is_sqlite(db):
        values = take_values(db, quotas, now)
        return states_of(db, quotas, db.execute(_take_at_once(len(quotas)), values).one(), now) if quotas else []
    states: list[QuotaState] = []
    for quota in quotas:
        row = _TAKE.first(db, take_values(db, [quota], now))
        states += states_of(db, [quota], row or (None, None), now)
        if not states[-1].granted:
            break
    return states


def take_values(db: Connection, quotas: Sequence[Quota], now: float | None = None) -> dict[str, Any]:
    """The values that `takings` bind."""
    values = monotonic_values(db, now)
    for place, quota in enumerate(quotas):
        values |= {f"of_{place}": quota.scope, f"limit_{place}": quota.limit, f"window_{place}": quota.window}
    return values


def states_of(
    db: Connection, quotas: Sequence[Quota], row: Sequence[Any], now: float | None = None
) -> list[QuotaState]:
    """The quotas taken, from the columns of `takings`."""
    states: list[QuotaState] = []
    for quota, used, ends in zip(quotas, row[::2], row[1::2], strict=False):
        if used is not None and used <= quota.limit:
            states.append(QuotaState(True, quota.limit - used, _within(ends, quota.window)))
            continue
        left = db.scalar(
            _LEFT[db.dialect.name], {"of": quota.scope, "window": quota.window, **monotonic_values(db, now)}
        )
        return [*states, QuotaState(False, 0, _within(quota.window if left is None else left, quota.window))]
    return states


def give_back(db: Connection, quotas: Sequence[Quota], row: Sequence[Any]) -> None:
    """Undo what `takings` took, within the same transaction. `row` has its columns."""
    if taken := [quota.scope for quota, used in zip(quotas, row[::2], strict=False) if used is not None]:
        db.execute(_GIVE_BACK, {"taken": taken})


def _within(seconds: float, window: float) -> float:
    return min(max(seconds, 0.001), window)


def reserve_values(db: Connection, tenant_id: int, tokens: int, limit: int, now: float | None = None) -> dict[str, Any]:
    """The values that `reserving` binds.

    A budget that is not yet spent grants the whole reservation, so one answer may exceed it. A day never goes back:
    if the clock is set back over midnight, the current day continues.
    """
    return {"of": tokens_scope(tenant_id), "tokens": tokens, "limit": limit, **day_values(db, now)}


def budget_spent(db: Connection, tenant_id: int, tokens: int, limit: int, now: float | None) -> BudgetSpent:
    """The error if nothing was reserved for a turn that was just inserted."""
    spent = db.execute(_SPENT[db.dialect.name], {"of": tokens_scope(tenant_id), **day_values(db, now)}).one()
    others = (db.scalar(_UNDER_WAY, {"tenant": tenant_id}) or 0) - tokens  # without this turn
    return BudgetSpent(min(max(spent.left, 0.001), 2 * DAY_SECONDS), pending=spent.used - others < limit)


def settle(db: Connection, row: UsageRow, reserved: int) -> None:
    """SQLite: replace an answer's reservation with its actual charge."""
    due = row.charged - reserved
    if due and row.tenant_id is not None:
        _SETTLE.execute(db, settle_values(db, row) | {"tokens": due})


def settle_values(db: Connection, row: UsageRow) -> dict[str, Any]:
    """The values that `settling` binds in addition to the tokens."""
    day = row.reservation.day * DAY_SECONDS if row.reservation else None
    return {"of": tokens_scope(row.tenant_id), "day": day, **day_values(db, None)}


def tokens_scope(tenant_id: int | None) -> str:
    """The name of a tenant's counter for the day's tokens."""
    return f"tokens:{tenant_id}"


def _purging(dialect: str) -> tuple[Executable, Executable]:
    seconds = COUNTER_DAYS * DAY_SECONDS
    is_day = counters.c.scope.startswith("tokens:")
    clock, today = CLOCKS[dialect], MIDNIGHTS[dialect]
    wall = bindparam("wall", type_=Double) if dialect == "sqlite" else clock
    far_ahead = update(counters).where(is_day, _started > today + DAY_SECONDS).values(started=today)
    past_day = and_(is_day, _started < wall - seconds)
    past_window = and_(not_(is_day), or_(_started < clock - seconds, _started > clock))
    return far_ahead, delete(counters).where(or_(past_day, past_window))


_PURGE = for_each_dialect(_purging)


def purge(db: Connection) -> int:
    """Delete the counters of past days and windows. Returns how many there were.

    A day after tomorrow comes from a clock that was far ahead: it continues as today.
    """
    far_ahead, past = _PURGE[db.dialect.name]
    days = day_values(db, None)
    db.execute(far_ahead, days)
    return db.execute(past, {**monotonic_values(db, None), "wall": days["now"]}).rowcount
