"""The day's budget: reserved before an answer, settled after it, and never free because of a clock or a crash."""

import asyncio
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from databases import begin, finish, has_spent, used
from databases import store as store
from databases import tenant as tenant
from service.store.records import (
    BudgetSpent,
    ConversationNotFound,
    CutTurn,
    RunningTurn,
    Tenant,
    TooManyStreams,
    TurnLimits,
    TurnStart,
)
from service.store.store import Store

pytestmark = pytest.mark.each_database

HOUR, DAY = 3600, 86_400
NOON = 20_000 * DAY + 12 * HOUR


def limits(tokens: int = 100, tokens_per_day: int = 1000, **given: Any) -> TurnLimits:
    return TurnLimits(tokens=tokens, tokens_per_day=tokens_per_day, **given)


async def spend(store: Store, tenant: Tenant, tokens: int, now: float, **given: Any) -> TurnStart:
    """An answer that uses its whole reservation."""
    start = await begin(store, tenant, limits=limits(tokens, **given), now=now)
    assert await finish(store, tenant, start, usage_row=used(tenant, start, charged=tokens))
    return start


async def spent_at(store: Store, tenant: Tenant, now: float, **given: Any) -> BudgetSpent | None:
    """The budget's refusal at that time, or None."""
    try:
        await spend(store, tenant, 1, now, **given)
    except BudgetSpent as refused:
        return refused
    return None


async def test_a_reservation_counts_until_it_is_settled(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, limits=limits(400))
    assert start.reservation is not None
    assert start.reservation.tokens == 400
    assert await has_spent(store, tenant, 400)

    await finish(store, tenant, start)

    assert await has_spent(store, tenant, 13)


async def test_the_history_sent_with_a_question_is_reserved_too(store: Store, tenant: Tenant) -> None:
    first = await begin(store, tenant, "q" * 300)
    await finish(store, tenant, first, "a" * 300)

    start = await begin(store, tenant, conversation_id=first.turn.conversation_id, limits=limits(50))

    assert start.reservation is not None
    assert start.reservation.tokens == 50 + 2 * (100 + 4)


async def test_the_budget_is_overspent_by_at_most_one_reservation(store: Store, tenant: Tenant) -> None:
    """Fifty ask at once while 950 of 1,000 tokens are spent; each may take 100."""
    await spend(store, tenant, 950, NOON)

    results = await asyncio.gather(
        *(begin(store, tenant, limits=limits(100), now=NOON) for _ in range(50)), return_exceptions=True
    )

    start = [result for result in results if isinstance(result, TurnStart)]
    refused = [result for result in results if isinstance(result, BudgetSpent)]
    assert (len(start), len(refused)) == (1, 49)
    assert all(result.pending for result in refused)
    assert await store.heartbeats() == {start[0].turn.id: RunningTurn(beat=0, is_lost=False)}


async def test_a_spent_budget_says_when_the_next_day_begins(store: Store, tenant: Tenant) -> None:
    await spend(store, tenant, 1000, NOON)

    refused = await spent_at(store, tenant, NOON + 0.25)

    assert refused is not None
    assert (refused.seconds, refused.pending) == (12 * HOUR - 0.25, False)
    assert await spent_at(store, tenant, NOON + 12 * HOUR - 1) is not None
    assert await spent_at(store, tenant, NOON + 12 * HOUR) is None


async def test_zero_means_no_limit_but_is_still_counted(store: Store, tenant: Tenant) -> None:
    for _ in range(3):
        await spend(store, tenant, 10**9, NOON, tokens_per_day=0)

    assert await spent_at(store, tenant, NOON, tokens_per_day=1000) is not None


async def test_a_clock_set_back_over_midnight_does_not_grant_a_day_twice(store: Store, tenant: Tenant) -> None:
    """Half an hour into a new day its budget is spent; then the clock is set back by an hour."""
    midnight = NOON + 12 * HOUR
    await spend(store, tenant, 400, NOON)
    await spend(store, tenant, 1000, midnight + HOUR / 2)

    times = [midnight - HOUR / 2, midnight - 1, midnight, midnight + HOUR, midnight + 23 * HOUR]
    refused = [await spent_at(store, tenant, now) for now in times]

    assert [each and each.seconds for each in refused] == [24.5 * HOUR, DAY + 1, DAY, 23 * HOUR, HOUR]
    assert await spent_at(store, tenant, midnight + DAY) is None


async def test_a_clock_that_was_far_ahead_does_not_lock_anyone_out_for_long(store: Store, tenant: Tenant) -> None:
    """The sweeper finds the counter of a far-off day, and turns it into today's."""
    now = time.time()
    await spend(store, tenant, 1000, now + 300 * DAY)
    assert await spent_at(store, tenant, now + DAY) is not None

    await store.purge(None)

    assert await spent_at(store, tenant, now) is not None
    assert await spent_at(store, tenant, now + DAY) is None


async def test_an_answer_over_midnight_is_settled_on_the_day_of_its_reservation(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, limits=limits(900), now=NOON)
    await spend(store, tenant, 990, NOON + DAY)

    await finish(store, tenant, start)

    assert await spent_at(store, tenant, NOON + DAY, tokens_per_day=990) is not None


async def test_a_process_wrongly_taken_for_dead_settles_its_actual_usage(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, limits=limits(300))
    await store.abandon(start.turn.id, beat=0)

    assert await finish(store, tenant, start)
    assert not await finish(store, tenant, start)

    assert await has_spent(store, tenant, 13)
    (total,) = await store.usage("shop", datetime(2020, 1, 1, tzinfo=UTC), ["outcome"])
    assert (total.group, total.charged) == (("complete",), 13)


async def test_cut_discarded_and_deleted_answers_are_settled_too(store: Store, tenant: Tenant) -> None:
    cut, discarded, deleted = [await begin(store, tenant, limits=limits(300)) for _ in range(3)]

    row = used(tenant, cut, prompt_tokens=None, completion_tokens=None, charged=70)
    await store.cut_turns("restarting", [CutTurn(cut.turn.id, None, "Half", row)])
    assert await has_spent(store, tenant, 670)
    await store.discard_turn(discarded.turn.id, used(tenant, discarded, charged=0))
    assert await has_spent(store, tenant, 370)
    assert await store.delete_conversation(tenant.id, deleted.turn.conversation_id)
    await finish(store, tenant, deleted)
    assert await has_spent(store, tenant, 83)


async def test_an_ending_that_is_retried_is_settled_once(store: Store, tenant: Tenant) -> None:
    """A caller that has not heard of a commit retries, and the turn may be gone by then."""
    others = await spend(store, tenant, 500, time.time())
    deleted, discarded = [await begin(store, tenant, limits=limits(300)) for _ in range(2)]
    deleted_row, discarded_row = used(tenant, deleted, charged=70), used(tenant, discarded, charged=0)
    assert await store.delete_conversation(tenant.id, deleted.turn.conversation_id)

    for _ in range(2):
        await finish(store, tenant, deleted, usage_row=deleted_row)
        await store.discard_turn(discarded.turn.id, discarded_row)
        await finish(store, tenant, others, usage_row=used(tenant, others))

    assert await has_spent(store, tenant, 570)
    (total,) = await store.usage("shop", datetime(2020, 1, 1, tzinfo=UTC), [])
    assert (total.requests, total.charged) == (3, 570)


async def test_a_question_that_is_asked_again_after_it_was_discarded_is_settled_again(
    store: Store, tenant: Tenant
) -> None:
    message_id = uuid.uuid4()
    for charged in (0, 20):
        start = await begin(store, tenant, message_id=message_id, limits=limits(300))
        assert await store.delete_conversation(tenant.id, start.turn.conversation_id)
        row = used(tenant, start, charged=charged)
        await store.discard_turn(message_id, row)
        await finish(store, tenant, start, usage_row=row)

    assert await has_spent(store, tenant, 20)


async def test_an_answer_taken_for_lost_and_then_discarded_is_settled_once(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, limits=limits(300))
    await store.abandon(start.turn.id, beat=0)
    row = used(tenant, start, charged=10, at=start.turn.created_at)

    for _ in range(2):
        await store.discard_turn(start.turn.id, row)

    assert await has_spent(store, tenant, 10)


async def test_an_answer_taken_for_lost_and_then_cut_is_settled_once(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, writer="mine", limits=limits(300))
    ended = await begin(store, tenant, writer="mine", limits=limits(300))
    await store.abandon(start.turn.id, beat=0)
    await finish(store, tenant, ended, writer="mine")

    turns = [
        CutTurn(each.turn.id, "mine", "Half", used(tenant, each, outcome="restarting", charged=70))
        for each in (start, ended)
    ]
    await store.cut_turns("restarting", turns)

    assert await has_spent(store, tenant, 83)
    totals = await store.usage("shop", datetime(2020, 1, 1, tzinfo=UTC), ["outcome"])
    assert [(total.group[0], total.requests, total.charged) for total in totals] == [
        ("complete", 1, 13),
        ("restarting", 1, 70),
    ]
    found = [await store.find_turn(tenant.id, each.turn.id) for each in (start, ended)]
    assert [(turn.answer, turn.code) for turn in found if turn] == [("Half", "restarting"), ("Hi.", None)]


async def test_a_removed_tenant_does_not_block_other_answers_from_being_cut(store: Store, tenant: Tenant) -> None:
    removed, _, _ = await store.add_tenant("removed")
    gone, kept = await begin(store, removed), await begin(store, tenant)
    await store.remove_tenant("removed")

    turns = [CutTurn(each.turn.id, None, "Half", used(of, each)) for each, of in ((gone, removed), (kept, tenant))]
    await store.cut_turns("restarting", turns)

    turn = await store.find_turn(tenant.id, kept.turn.id)
    assert turn is not None
    assert (turn.answer, turn.code) == ("Half", "restarting")


async def test_a_refused_or_repeated_question_reserves_nothing(store: Store, tenant: Tenant) -> None:
    message_id = uuid.uuid4()
    await begin(store, tenant, message_id=message_id, limits=limits(100))
    await begin(store, tenant, message_id=message_id, limits=limits(100))
    with pytest.raises(ConversationNotFound):
        await begin(store, tenant, conversation_id=uuid.uuid4(), limits=limits(100))

    assert await has_spent(store, tenant, 100)


async def test_concurrent_answers_are_limited_per_visitor(store: Store, tenant: Tenant) -> None:
    """Of thirty concurrent questions, exactly the three allowed begin. One that ends makes room for another."""
    mine, other = limits(1, 0, visitor="a" * 32, streams=3), limits(1, 0, visitor="b" * 32, streams=3)
    results = await asyncio.gather(*(begin(store, tenant, limits=mine) for _ in range(30)), return_exceptions=True)

    start = [result for result in results if isinstance(result, TurnStart)]
    assert len(start) == 3
    assert [type(result) for result in results].count(TooManyStreams) == 27
    await begin(store, tenant, limits=other)
    await finish(store, tenant, start[0])
    again = await begin(store, tenant, limits=mine)
    with pytest.raises(TooManyStreams):
        await begin(store, tenant, limits=mine)
    await store.abandon(again.turn.id, beat=0)
    await begin(store, tenant, limits=replace(mine, tokens=0))


async def test_the_history_is_limited_in_characters(store: Store, tenant: Tenant) -> None:
    """The newest turns count first, and none is cut in the middle."""
    first = await begin(store, tenant, "1" * 10)
    conversation_id = first.turn.conversation_id
    await finish(store, tenant, first, "x" * 10)
    for question in "23":
        await finish(
            store, tenant, await begin(store, tenant, question * 10, conversation_id=conversation_id), "y" * 10
        )

    for most, seen in ((60, "123"), (59, "23"), (40, "23"), (39, "3"), (19, "")):
        start = await begin(store, tenant, conversation_id=conversation_id, limits=TurnLimits(history_chars=most))
        assert "".join(turn.question[0] for turn in start.history) == seen
