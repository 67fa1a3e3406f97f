"""What a tenant and each of its visitors may ask."""

from datetime import UTC, datetime, timedelta
from math import ceil

from errors import BudgetExhausted, RateLimited, VisitorRateLimited
from store import Store, Tenant, visitor_id


async def check_limits(store: Store, tenant: Tenant, address: str) -> None:
    """Count one question of the visitor at `address`.

    Raises VisitorRateLimited, RateLimited or BudgetExhausted, with the seconds to wait. The visitor's limit comes
    first: one visitor does not use up what all of them have.
    """
    if seconds := await store.take(
        f"visitor:{tenant.id}:{visitor_id(tenant, address)}", tenant.visitor_rate_per_minute
    ):
        raise VisitorRateLimited("the visitor's rate limit", retry_after=ceil(seconds))
    if seconds := await store.take(f"tenant:{tenant.id}", tenant.rate_per_minute):
        raise RateLimited("the tenant's rate limit", retry_after=ceil(seconds))
    if tenant.tokens_per_day and await store.tokens_used_today(tenant.id) >= tenant.tokens_per_day:
        raise BudgetExhausted("the tenant's tokens of the day", retry_after=_seconds_to_midnight())


def _seconds_to_midnight() -> int:
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return ceil((midnight - now).total_seconds())
