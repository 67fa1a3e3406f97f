"""Limits shared by all processes, the day's tokens, and the usage report."""

import asyncio
import uuid
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, event, func, select

from databases import ask, has_spent, take, used
from databases import store as store
from databases import tenant as tenant
from service.store.records import Quota, QuotaState, StoreUnavailable, Tenant, UsageRow
from service.store.store import Store
from service.store.tables import usage

pytestmark = pytest.mark.each_database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def test_a_window_grants_its_limit_and_reports_when_it_ends(store: Store) -> None:
    assert [await take(store, "key", 2, 60, now) for now in (1000, 1010, 1020, 1059.5)] == [0.0, 0.0, 40.0, 0.5]


async def test_the_next_window_begins_when_the_previous_one_ends(store: Store) -> None:
    assert [await take(store, "key", 1, 60, now) for now in (1000, 1059, 1060, 1061, 1119, 1500)] == [
        0.0,
        1.0,
        0.0,
        59.0,
        1.0,
        0.0,
    ]


async def test_each_scope_has_its_own_limit(store: Store) -> None:
    assert [await take(store, scope, 1, 60, 1000) for scope in ("a", "b", "a", "b", "c")] == [0.0, 0.0, 60.0, 60.0, 0.0]


async def test_a_lowered_limit_applies_at_once(store: Store) -> None:
    assert [await take(store, "key", limit, 60, 1000) for limit in (5, 5, 5, 2, 4, 4)] == [0, 0, 0, 60, 0, 60]


async def test_a_clock_set_back_frees_nothing_and_blocks_for_at_most_one_window(store: Store) -> None:
    for _ in range(3):
        await take(store, "key", 2, 60, 5000)

    refused = [await take(store, "key", 2, 60, now) for now in (1400, 1401, 1459)]

    assert refused == [60.0, 59.0, 1.0]
    assert [await take(store, "key", 2, 60, 1460) for _ in range(3)] == [0.0, 0.0, 60.0]


async def test_a_call_that_waited_does_not_move_the_window(store: Store) -> None:
    """Asked at 99.9 s, it comes after the one that began the window at 100 s: the next window begins at 160 s still.

    No caller has to wait longer than a window.
    """
    quota = Quota("key", 2, 60)

    states = [(await store.take(quota, now=now))[0] for now in (100.0, 99.9, 99.9, 159.5, 160.0)]

    assert states == [
        QuotaState(True, 1, 60),
        QuotaState(True, 0, 60),
        QuotaState(False, 0, 60),
        QuotaState(False, 0, 0.5),
        QuotaState(True, 1, 60),
    ]


async def test_a_clock_set_back_within_the_window_keeps_counting(store: Store) -> None:
    assert [await take(store, "key", 2, 60, now) for now in (5000, 1400, 1401)] == [0.0, 0.0, 59.0]


@pytest.mark.parametrize("limit", [1, 7, 20])
async def test_concurrent_calls_get_exactly_the_limit(store: Store, limit: int) -> None:
    results = await asyncio.gather(*(take(store, "key", limit) for _ in range(60)))

    assert results.count(0.0) == limit
    assert all(0 < seconds <= 60 for seconds in results if seconds)


async def test_taking_a_quota_reports_what_is_left(store: Store) -> None:
    """Each quota reports its remaining calls and the end of its window."""
    visitor, key = Quota("visitor", 2), Quota("key", 10)

    states = [await store.take(visitor, key, now=now) for now in (1000, 1010.5, 1020)]

    assert states == [
        [QuotaState(True, 1, 60), QuotaState(True, 9, 60)],
        [QuotaState(True, 0, 49.5), QuotaState(True, 8, 49.5)],
        [QuotaState(False, 0, 40)],
    ]
    assert await store.take(key, now=1021) == [QuotaState(True, 7, 39)]


async def test_a_refused_visitor_uses_up_nothing_of_the_keys_limit(store: Store) -> None:
    """A visitor's calls beyond its own limit don't count towards the shared limit."""
    for _ in range(50):
        await store.take(Quota("loud", 3), Quota("key", 5), now=1000)

    assert [len(await store.take(Quota(who, 3), Quota("key", 5), now=1001)) for who in ("a", "b")] == [2, 2]


async def test_concurrent_settlements_lose_no_tokens(store: Store, tenant: Tenant) -> None:
    await asyncio.gather(*(ask(store, tenant) for _ in range(30)))

    assert await has_spent(store, tenant, 30 * 13)


async def test_usage_is_summed_by_day_model_and_outcome(store: Store, tenant: Tenant) -> None:
    other, _, _ = await store.add_tenant("other")
    late, early = datetime(2026, 3, 1, 23, 59, 59, 999_999, UTC), datetime(2026, 3, 2, tzinfo=UTC)
    in_another_zone = datetime.fromisoformat("2026-03-02T01:30:00+02:00")
    for at in (late, in_another_zone, early):
        await store.record([used(tenant, at=at, model="small", key_id=1, origin="https://shop.test")])
    await store.record([refused(tenant, early, requests=5), used(other, at=early)])

    totals = await store.usage("shop", EPOCH, ["day", "model", "outcome"])

    assert [(each.group, each.requests, each.refused) for each in totals] == [
        ((date(2026, 3, 1), "small", "complete"), 2, 0),
        ((date(2026, 3, 2), None, "rate_limited"), 5, 5),
        ((date(2026, 3, 2), "small", "complete"), 1, 0),
    ]
    counted = [(each.prompt_tokens, each.completion_tokens, each.charged) for each in totals]
    assert counted == [(18, 8, 26), (0, 0, 0), (9, 4, 13)]
    assert [each.requests for each in await store.usage("shop", early)] == [6]
    assert [each.group for each in await store.usage("shop", EPOCH, ["key"])] == [(None,), (1,)]


def refused(tenant: Tenant, at: datetime, **given: Any) -> UsageRow:
    return UsageRow(at, tenant.id, "rate_limited", refused=True, **given)


async def test_times_to_the_first_text_are_reported_as_percentiles(store: Store, tenant: Tenant) -> None:
    """The nearest rank: half of the answers began after 10 ms, 95 of 100 after 950 ms."""
    rows = [used(tenant, at=EPOCH, first_text_ms=ms) for ms in [10] * 50 + list(range(510, 1000, 10)) + [5000]]
    await store.record([*rows, refused(tenant, EPOCH)])

    (total,) = await store.usage("shop", EPOCH)

    assert (total.first_text_p50_ms, total.first_text_p95_ms) == (10, 950)


async def test_usage_of_past_days_becomes_anonymous_totals(store: Store, tenant: Tenant) -> None:
    """After RETENTION_DAYS, the totals are unchanged, but no row identifies a visitor or request."""
    days = [datetime(2026, 3, day, hour, tzinfo=UTC) for day in (1, 2, 3) for hour in (0, 12, 23)]
    rows = [used(tenant, at=at, visitor="f" * 32, first_text_ms=7, request_id="r", key_id=1) for at in days]
    await store.record([*rows, *(refused(tenant, at, requests=3) for at in days)])
    before = [
        replace(each, first_text_p50_ms=None, first_text_p95_ms=None) for each in await store.usage("shop", EPOCH)
    ]

    summed = (await store.purge(days[-1])).usage

    assert summed == 12
    after = await store.usage("shop", EPOCH)
    assert after[:2] == before[:2]
    assert after[2].first_text_p50_ms == 7
    assert [each.group[0] for each in await store.usage("shop", EPOCH, ["visitor"])] == [None, "f" * 32]
    assert (await store.usage("shop", EPOCH, ["visitor"]))[1].requests == 3
    assert (await store.purge(days[-1])).usage == 0


async def test_a_day_that_is_aggregated_in_steps_has_one_total_per_outcome(
    store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No transaction is long, and the origins of refused pages are removed."""
    monkeypatch.setattr("service.store.usage.SUMMED_AT_ONCE", 3)
    at = datetime(2026, 3, 1, tzinfo=UTC)
    rows = [used(tenant, at=at + timedelta(hours=hour), origin="https://shop.test") for hour in range(10)]
    strangers = [refused(tenant, at + timedelta(hours=hour), origin=f"https://{hour}.test") for hour in range(8)]
    await store.record([*rows, *strangers, UsageRow(at, None, "key_invalid", refused=True, requests=5)])

    steps = [step.usage async for step in store.purge_steps(at + timedelta(days=2))]

    assert sum(steps) == 19
    assert max(steps) < 7
    totals = await store.usage("shop", EPOCH, ["origin"])
    assert [(total.group[0], total.requests) for total in totals] == [(None, 8), ("https://shop.test", 10)]
    count = select(func.count()).select_from(usage)
    assert await store._database.read(lambda db: db.scalar(count)) == 3


async def test_a_purge_with_nothing_to_do_writes_no_more_with_many_tenants_and_totals(
    store: Store, tenant: Tenant
) -> None:
    """With SQLite, all questions wait for a transaction that writes, however often it only reads."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    await store.record([used(tenant, at=at + timedelta(days=day)) for day in range(3)])
    await store.purge(at + timedelta(days=30))
    writing: list[str] = []
    write = store._database.write

    def note(*executed: Any) -> None:
        writing.append(executed[2])

    async def watched(function: Any, **how: Any) -> Any:
        def run(db: Connection) -> Any:
            event.listen(db, "before_cursor_execute", note)
            try:
                return function(db)
            finally:
                event.remove(db, "before_cursor_execute", note)

        return await write(run, **how)

    counts = []
    for number in (1, 10):
        for each in range(number):
            await store.add_tenant(f"{number}.{each}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(store._database, "write", watched)
            writing.clear()
            await store.purge(at + timedelta(days=30))
        counts.append(len(writing))
    assert counts[0] == counts[1]


async def test_an_operators_reports_have_no_deadline(
    store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.record([used(tenant, key_id=1)])
    monkeypatch.setattr("service.store.deadlines.DEADLINE", 0)
    with pytest.raises(StoreUnavailable):
        await store.get_tenant("shop")

    assert [each.requests for each in await store.usage("shop", EPOCH)] == [1]
    assert list(await store.keys_last_used("shop")) == [1]


async def test_refusals_of_unknown_and_removed_tenants_are_stored(store: Store, tenant: Tenant) -> None:
    """A request with an unknown key has no tenant; one whose tenant was just removed is left out."""
    gone, _, _ = await store.add_tenant("gone")
    await store.remove_tenant("gone")

    await store.record(
        [UsageRow(EPOCH, None, "key_invalid", refused=True), refused(gone, EPOCH), refused(tenant, EPOCH)]
    )

    assert [each.requests for each in await store.usage("shop", EPOCH)] == [1]


async def test_a_purge_deletes_old_counters_and_keeps_todays(store: Store, tenant: Tenant) -> None:
    await take(store, "old", 1, now=(datetime.now(UTC) - timedelta(days=3)).timestamp())
    await take(store, "new", 1)
    await ask(store, tenant)

    purged = await store.purge(EPOCH)

    assert purged.counters == 1
    assert await take(store, "new", 1) > 0
    assert await has_spent(store, tenant, 13)


async def test_usage_stores_headers_with_characters_that_the_database_cannot_hold(store: Store, tenant: Tenant) -> None:
    row = used(tenant, origin="https://evil\0\ud800", request_id="\0", message_id=uuid.uuid4())

    await store.record([row])

    assert len(await store.usage("shop", EPOCH)) == 1
