"""Limits that all processes share, the day's tokens, and the bill."""

import asyncio
import uuid
from datetime import UTC, date, datetime, timedelta

import pytest

from databases import ask, used
from databases import store as store
from databases import tenant as tenant
from store import Store, Tenant

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def test_a_window_grants_its_limit_and_tells_when_it_ends(store: Store) -> None:
    assert [await store.take("key", 2, 60, now) for now in (1000, 1010, 1020, 1059.5)] == [0.0, 0.0, 40.0, 0.5]


async def test_the_next_window_begins_when_the_last_is_over(store: Store) -> None:
    assert [await store.take("key", 1, 60, now) for now in (1000, 1059, 1060, 1061, 1119, 1500)] == [
        0.0,
        1.0,
        0.0,
        59.0,
        1.0,
        0.0,
    ]


async def test_scopes_have_limits_of_their_own(store: Store) -> None:
    assert [await store.take(scope, 1, 60, 1000) for scope in ("a", "b", "a", "b", "c")] == [0.0, 0.0, 60.0, 60.0, 0.0]


async def test_a_limit_of_zero_is_none(store: Store) -> None:
    assert [await store.take("key", 0) for _ in range(5)] == [0.0] * 5


async def test_a_lower_limit_holds_at_once(store: Store) -> None:
    assert [await store.take("key", limit, 60, 1000) for limit in (5, 5, 5, 2, 4, 4)] == [0, 0, 0, 60, 0, 60]


async def test_a_clock_set_back_frees_nothing_and_blocks_for_one_window(store: Store) -> None:
    for _ in range(3):
        await store.take("key", 2, 60, 5000)

    refused = [await store.take("key", 2, 60, now) for now in (1400, 1401, 1459)]

    assert refused == [60.0, 59.0, 1.0]
    assert [await store.take("key", 2, 60, 1460) for _ in range(3)] == [0.0, 0.0, 60.0]


async def test_a_clock_set_back_within_the_limit_counts_on(store: Store) -> None:
    assert [await store.take("key", 2, 60, now) for now in (5000, 1400, 1401)] == [0.0, 0.0, 59.0]


@pytest.mark.parametrize("limit", [1, 7, 20])
async def test_many_at_once_get_exactly_the_limit(store: Store, limit: int) -> None:
    results = await asyncio.gather(*(store.take("key", limit) for _ in range(60)))

    assert results.count(0.0) == limit
    assert all(0 < seconds <= 60 for seconds in results if seconds)


async def test_the_tokens_of_answers_count_for_the_day(store: Store, tenant: Tenant) -> None:
    other, _, _ = await store.add_tenant("other")
    assert await store.tokens_used_today(tenant.id) == 0

    await ask(store, tenant)
    await store.record_usage(used(tenant, prompt_tokens=100, completion_tokens=None))
    await store.record_usage(used(tenant, prompt_tokens=None, completion_tokens=None))
    await store.record_usage(used(tenant, at=datetime.now(UTC) - timedelta(days=1)))

    assert await store.tokens_used_today(tenant.id) == 113
    assert await store.tokens_used_today(other.id) == 0


async def test_no_tokens_are_lost_when_many_answers_end_at_once(store: Store, tenant: Tenant) -> None:
    await asyncio.gather(*(ask(store, tenant) for _ in range(30)))

    assert await store.tokens_used_today(tenant.id) == 30 * 13


async def test_usage_is_summed_by_day_model_and_outcome(store: Store, tenant: Tenant) -> None:
    other, _, _ = await store.add_tenant("other")
    late, early = datetime(2026, 3, 1, 23, 59, 59, 999_999, UTC), datetime(2026, 3, 2, tzinfo=UTC)
    in_another_zone = datetime.fromisoformat("2026-03-02T01:30:00+02:00")
    for at in (late, in_another_zone, early):
        await store.record_usage(used(tenant, at=at, model="small", key_id=1, origin="https://shop.test"))
    await store.record_usage(used(tenant, at=early, outcome="rate_limited", prompt_tokens=None, completion_tokens=None))
    await store.record_usage(used(other, at=early))

    totals = await store.usage("shop", EPOCH)

    assert [(each.day, each.model, each.outcome, each.requests) for each in totals] == [
        (date(2026, 3, 1), "small", "complete", 2),
        (date(2026, 3, 2), None, "rate_limited", 1),
        (date(2026, 3, 2), "small", "complete", 1),
    ]
    assert [(each.prompt_tokens, each.completion_tokens) for each in totals] == [(18, 8), (0, 0), (9, 4)]
    assert [each.requests for each in await store.usage("shop", early)] == [1, 1]


async def test_a_purge_forgets_old_counters_and_keeps_the_days(store: Store, tenant: Tenant) -> None:
    await store.take("old", 1, now=(datetime.now(UTC) - timedelta(days=3)).timestamp())
    await store.take("new", 1)
    await store.record_usage(used(tenant))

    purged = await store.purge(EPOCH)

    assert purged.counters == 1
    assert await store.take("new", 1) > 0
    assert await store.tokens_used_today(tenant.id) == 13


async def test_usage_keeps_a_header_that_no_database_holds(store: Store, tenant: Tenant) -> None:
    row = used(tenant, origin="https://evil\0\ud800", request_id="\0", message_id=uuid.uuid4())

    await store.record_usage(row)

    assert len(await store.usage("shop", EPOCH)) == 1
