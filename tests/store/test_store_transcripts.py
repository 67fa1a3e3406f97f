"""Finding and reading conversations as an operator."""

from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from databases import ask, begin, finish
from databases import store as store
from databases import tenant as tenant
from service.store import transcripts
from service.store.records import Tenant, TenantNotFound
from service.store.store import Store
from service.store.transcripts import Overview, Wanted

pytestmark = pytest.mark.each_database


async def found(store: Store, **wanted: object) -> list[str]:
    """The first questions of the matching conversations, the most recently used first."""
    listed = await store.read(partial(transcripts.find, wanted=Wanted(**wanted)))  # type: ignore[arg-type]
    return [each.question for each in listed]


async def test_an_overview_counts_questions_outcomes_and_ratings(store: Store, tenant: Tenant) -> None:
    """A regenerated answer is no second question, and the rating of the replaced one still counts."""
    first = await ask(store, tenant, "How long?")
    await store.rate_turn(tenant.id, first.turn.id, rating="down", comment="Wrong.")
    conversation = first.turn.conversation_id
    await ask(store, tenant, "How long?", regenerate=True, conversation_id=conversation)
    broken = await begin(store, tenant, "And then?", conversation_id=conversation)
    await finish(store, tenant, broken, "", status="error", code="upstream_failed")

    [overview] = await store.read(partial(transcripts.find, wanted=Wanted()))

    assert overview == await store.read(partial(transcripts.overview, conversation_id=conversation, tenant="shop"))
    assert overview.started < overview.last
    assert overview == Overview(
        id=conversation,
        tenant="shop",
        started=overview.started,
        last=overview.last,
        subject=None,
        questions=2,
        outcomes={"complete": 2, "upstream_failed": 1},
        ratings={"down": 1},
        question="How long?",
    )


async def test_conversations_are_found_by_tenant_time_rating_and_outcome(store: Store, tenant: Tenant) -> None:
    bakery, _, _ = await store.add_tenant("bakery")
    start = datetime.now(UTC)
    good = await ask(store, tenant, "good")
    await store.rate_turn(tenant.id, good.turn.id, rating="up")
    bad = await ask(store, bakery, "bad")
    await store.rate_turn(bakery.id, bad.turn.id, rating="down")
    cut = await begin(store, tenant, "cut")
    await finish(store, tenant, cut, "So f", status="cancelled")
    middle = datetime.now(UTC)
    broken = await begin(store, tenant, "broken")
    await finish(store, tenant, broken, "", status="error", code="read_timeout")

    assert await found(store) == ["broken", "cut", "bad", "good"]
    assert await found(store, tenant="shop") == ["broken", "cut", "good"]
    assert await found(store, rating="down") == ["bad"]
    assert await found(store, tenant="shop", rating="down") == []
    assert await found(store, outcome="cancelled") == ["cut"]
    assert await found(store, outcome="error") == await found(store, outcome="read_timeout") == ["broken"]
    assert await found(store, since=middle) == ["broken"]
    assert await found(store, since=start, until=middle, tenant="shop") == ["cut", "good"]
    assert await found(store, until=start - timedelta(days=1)) == []
    with pytest.raises(TenantNotFound):
        await found(store, tenant="nobody")


async def test_paging_returns_every_conversation_and_turn_once(store: Store, tenant: Tenant) -> None:
    """Conversations last used at the same moment are ordered by id."""
    first = await ask(store, tenant, "0")
    for number in range(1, 5):
        await ask(store, tenant, str(number))
        await ask(store, tenant, f"0.{number}", conversation_id=first.turn.conversation_id)
    await store.rate_turn(tenant.id, first.turn.id, rating="up")

    listed: list[Overview] = []
    while page := await store.read(
        partial(transcripts.find, wanted=Wanted(), limit=2, after=(listed[-1].last, listed[-1].id) if listed else None)
    ):
        assert len(page) <= 2
        listed += page
    assert [each.question for each in listed] == ["0", "4", "3", "2", "1"]

    conversation = first.turn.conversation_id
    turns = await store.read(partial(transcripts.turns, conversation_id=conversation, limit=3))
    rest = await store.read(partial(transcripts.turns, conversation_id=conversation, after=turns[-1].number))
    assert [(each.question, each.answer, each.rating) for each in turns + rest] == [
        ("0", "Hi.", "up"),
        *((f"0.{number}", "Hi.", None) for number in range(1, 5)),
    ]


async def test_a_conversation_of_another_tenant_is_not_shown(store: Store, tenant: Tenant) -> None:
    await store.add_tenant("bakery")
    asked = await ask(store, tenant, "Mine")

    read = partial(transcripts.overview, conversation_id=asked.turn.conversation_id)
    assert await store.read(partial(read, tenant="bakery")) is None
    assert (shown := await store.read(partial(read, tenant=None))) is not None
    assert shown.question == "Mine"
