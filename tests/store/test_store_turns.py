"""Conversations: turns begin once, end once, and belong to one tenant."""

import asyncio
import re
import sqlite3
import uuid
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from databases import ask, begin, finish, has_spent, on_each_statement, used
from databases import store as store
from databases import tenant as tenant
from service.store.records import (
    Conflict,
    ConversationNotFound,
    CutTurn,
    MessageIdTaken,
    Quota,
    StoreError,
    Tenant,
    TurnLimits,
)
from service.store.store import Store

pytestmark = pytest.mark.each_database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

HARD_TEXTS = [
    "line\u2028paragraph\u2029next\u0085line",
    "👩‍👩‍👧‍👦 🏳️‍🌈 \U0010ffff",
    "مرحبا \u202eabc\u202c עולם",
    "e\u0301 ≠ é, \ufeff, \t\r\n\x0b",
    "'; DROP TABLE messages; -- %s :x $1 ?",
    "long " * 20_000,
]


async def test_a_first_question_starts_a_conversation(store: Store, tenant: Tenant) -> None:
    message_id = uuid.uuid4()

    start = await begin(store, tenant, "Hello?", message_id=message_id, model="small")

    assert start.is_new
    assert start.history == []
    assert (start.turn.id, start.turn.question, start.turn.answer) == (message_id, "Hello?", "")
    assert (start.turn.status, start.turn.model, start.turn.hidden) == ("running", "small", False)
    assert start.turn.created_at.utcoffset() == timedelta()
    assert await store.conversation(tenant.id, start.turn.conversation_id) == [start.turn]


async def test_a_finished_turn_keeps_its_answer_and_tokens(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)

    assert await finish(store, tenant, start, "Hi.", status="length")

    turn = await store.find_turn(tenant.id, start.turn.id)
    assert turn is not None
    assert (turn.answer, turn.status, turn.code) == ("Hi.", "length", None)
    assert (turn.prompt_tokens, turn.completion_tokens) == (9, 4)
    assert turn.finished_at is not None
    assert turn.finished_at >= turn.created_at


async def test_a_turn_ends_only_once(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)
    assert await finish(store, tenant, start, "first")

    assert not await finish(store, tenant, start, "second", status="error", code="late")

    turn = await store.find_turn(tenant.id, start.turn.id)
    assert turn is not None
    assert (turn.answer, turn.status) == ("first", "complete")
    assert [total.requests for total in await store.usage("shop", EPOCH)] == [1]
    assert await has_spent(store, tenant, 13)


async def test_of_concurrent_endings_only_one_is_stored(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)

    endings = await asyncio.gather(*(finish(store, tenant, start, f"answer {n}") for n in range(20)))

    assert endings.count(True) == 1
    turn = await store.find_turn(tenant.id, start.turn.id)
    assert turn is not None
    assert turn.answer == f"answer {endings.index(True)}"
    assert await has_spent(store, tenant, 13)


async def test_the_history_has_the_newest_answered_turns_oldest_first(store: Store, tenant: Tenant) -> None:
    first = await ask(store, tenant, "1", "one")
    conversation_id = first.turn.conversation_id
    for number, answer in enumerate(["two", "", "four", "five"], start=2):
        await ask(store, tenant, str(number), answer, conversation_id=conversation_id)

    start = await begin(store, tenant, "6", conversation_id=conversation_id)
    short = await begin(store, tenant, "7", conversation_id=conversation_id, limits=TurnLimits(history_turns=2))
    none = await begin(store, tenant, "8", conversation_id=conversation_id, limits=TurnLimits(history_turns=0))

    assert [turn.answer for turn in start.history] == ["one", "two", "four", "five"]
    assert [turn.answer for turn in short.history] == ["four", "five"]
    assert none.history == []


async def test_turns_with_equal_times_keep_their_order(
    store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = datetime.now(UTC)
    monkeypatch.setattr("service.store.store._now", lambda: moment)
    first = await ask(store, tenant, "0")
    for number in range(1, 10):
        await ask(store, tenant, str(number), conversation_id=first.turn.conversation_id)

    turns = await store.conversation(tenant.id, first.turn.conversation_id)

    assert turns is not None
    assert {turn.created_at for turn in turns} == {moment}
    assert [turn.question for turn in turns] == [str(number) for number in range(10)]


async def test_a_long_conversation_returns_its_newest_turns(store: Store, tenant: Tenant) -> None:
    first = await ask(store, tenant, "0")
    for number in range(1, 5):
        await ask(store, tenant, str(number), conversation_id=first.turn.conversation_id)

    turns = await store.conversation(tenant.id, first.turn.conversation_id, newest_turns=2)

    assert [turn.question for turn in turns or []] == ["3", "4"]


@pytest.mark.parametrize("text", HARD_TEXTS, ids=range(len(HARD_TEXTS)))
async def test_any_text_is_stored_unchanged(store: Store, tenant: Tenant, text: str) -> None:
    start = await ask(store, tenant, text, text)
    assert await store.rate_turn(tenant.id, start.turn.id, rating="down", comment=text)

    turn = await store.find_turn(tenant.id, start.turn.id)

    assert turn is not None
    assert (turn.question, turn.answer, turn.comment) == (text, text, text)


async def test_characters_that_the_database_cannot_hold_are_replaced(store: Store, tenant: Tenant) -> None:
    message_id = uuid.uuid4()
    start = await begin(store, tenant, "a\0b\ud800c", message_id=message_id)
    await finish(store, tenant, start, "x\0y\udfffz")

    turn = await store.find_turn(tenant.id, message_id)
    assert turn is not None
    assert (turn.question, turn.answer) == ("a\ufffdb\ufffdc", "x\ufffdy\ufffdz")
    assert not (await begin(store, tenant, "a\0b\ud800c", message_id=message_id)).is_new


# The same request again


async def test_a_repeated_request_returns_the_existing_turn(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, "Hello?")
    running = await begin(store, tenant, "Hello?", message_id=start.turn.id)
    await finish(store, tenant, start, "Hi.")
    fields: dict[str, Any] = {"message_id": start.turn.id, "conversation_id": start.turn.conversation_id}
    ended = await begin(store, tenant, "Hello?", **fields)

    assert (running.is_new, running.turn) == (False, start.turn)
    assert (ended.is_new, ended.turn.answer, ended.turn.status) == (False, "Hi.", "complete")
    assert len(await store.conversation(tenant.id, start.turn.conversation_id) or []) == 1


async def test_of_many_identical_concurrent_requests_one_begins(store: Store, tenant: Tenant) -> None:
    message_id = uuid.uuid4()

    results = await asyncio.gather(*(begin(store, tenant, message_id=message_id) for _ in range(20)))

    assert [result.is_new for result in results].count(True) == 1
    assert len({result.turn.conversation_id for result in results}) == 1
    turn = results[0].turn
    assert await store.conversation(tenant.id, turn.conversation_id) == [turn]
    assert (await store.purge(datetime.now(UTC) + timedelta(days=1))).conversations == 1, "one left without a turn"


async def test_of_many_identical_concurrent_requests_one_takes_from_the_quotas(store: Store, tenant: Tenant) -> None:
    message_id, quotas = uuid.uuid4(), [Quota("visitor", 100), Quota("key", 100)]
    await asyncio.gather(*(store.get_tenant(tenant.name) for _ in range(10)))  # with connections open, they race

    await asyncio.gather(*(begin(store, tenant, message_id=message_id, quotas=quotas) for _ in range(10)))

    assert [state.left for state in await store.take(*quotas)] == [98, 98]


async def test_of_many_identical_requests_in_a_conversation_one_begins(store: Store, tenant: Tenant) -> None:
    first = await ask(store, tenant)
    fields: dict[str, Any] = {
        "message_id": uuid.uuid4(),
        "conversation_id": first.turn.conversation_id,
        "regenerate": True,
    }

    results = await asyncio.gather(*(begin(store, tenant, **fields) for _ in range(20)))

    assert [result.is_new for result in results].count(True) == 1
    assert {result.turn.replaces for result in results} == {first.turn.id}


async def test_a_message_id_belongs_to_one_question_in_one_conversation(store: Store, tenant: Tenant) -> None:
    taken = await begin(store, tenant, "Hello?")
    other = await begin(store, tenant, "Hello?")

    with pytest.raises(MessageIdTaken):
        await begin(store, tenant, "Something else?", message_id=taken.turn.id)
    with pytest.raises(MessageIdTaken):
        await begin(store, tenant, "Hello?", message_id=taken.turn.id, conversation_id=other.turn.conversation_id)


async def test_a_request_with_a_taken_message_id_changes_nothing(store: Store, tenant: Tenant) -> None:
    taken = await begin(store, tenant, "Hello?")

    with pytest.raises(MessageIdTaken):
        await begin(store, tenant, "Something else?", message_id=taken.turn.id)

    assert await store.conversation(tenant.id, taken.turn.conversation_id) == [taken.turn]
    assert (await store.purge(datetime.now(UTC) + timedelta(days=1))).conversations == 1


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_no_visitors_request_scans_a_whole_table(store: Store, tenant: Tenant, database_url: str) -> None:
    """So a question stays as fast after millions of them."""
    statements: list[str] = []
    await on_each_statement(store, statements.append)

    start = await ask(store, tenant, "1", limits=TurnLimits(visitor="a", streams=3))
    conversation_id = start.turn.conversation_id
    again = await begin(store, tenant, "1", conversation_id=conversation_id, replaces=[start.turn.id], regenerate=True)
    await store.find_turn(tenant.id, again.turn.id, "alice")
    await store.cut_turns("restarting", [CutTurn(again.turn.id, None, "", used(tenant, again))])
    await store.rate_turn(tenant.id, start.turn.id, rating="up")
    await store.conversation(tenant.id, conversation_id)
    await store.conversations(tenant.id, "alice", newest=50)
    await store.delete_conversation(tenant.id, conversation_id)

    scans = []
    with closing(sqlite3.connect(make_url(database_url).database or "")) as db:
        for statement in statements:
            for *_, step in db.execute(f"EXPLAIN QUERY PLAN {statement}"):
                if re.match("SCAN (usage|messages|conversations)(?!.* messages_running$)", step):
                    scans.append((step, statement))
    assert len(statements) > 20
    assert scans == []


# Ownership


async def test_a_tenant_cannot_see_another_tenants_turns(store: Store, tenant: Tenant) -> None:
    other, _, _ = await store.add_tenant("other")
    start = await ask(store, tenant, "secret", "secret")
    turn = start.turn

    assert await store.conversation(other.id, turn.conversation_id) is None
    assert await store.find_turn(other.id, turn.id) is None
    assert not await store.rate_turn(other.id, turn.id, rating="up")
    assert not await store.delete_conversation(other.id, turn.conversation_id)
    with pytest.raises(ConversationNotFound):
        await begin(store, other, "more", conversation_id=turn.conversation_id)
    with pytest.raises(ConversationNotFound):
        await begin(store, other, "secret", message_id=turn.id, conversation_id=turn.conversation_id)
    with pytest.raises(MessageIdTaken):
        await begin(store, other, "secret", message_id=turn.id)

    kept = await store.conversation(tenant.id, turn.conversation_id)
    assert [(each.answer, each.rating) for each in kept or []] == [("secret", None)]


async def test_only_an_existing_conversation_can_be_continued(store: Store, tenant: Tenant) -> None:
    with pytest.raises(ConversationNotFound):
        await begin(store, tenant, conversation_id=uuid.uuid4())


async def test_a_rating_replaces_an_earlier_one(store: Store, tenant: Tenant) -> None:
    start = await ask(store, tenant)
    assert await store.rate_turn(tenant.id, start.turn.id, rating="down", comment="wrong")
    assert await store.rate_turn(tenant.id, start.turn.id, rating="up")

    turn = await store.find_turn(tenant.id, start.turn.id)

    assert turn is not None
    assert (turn.rating, turn.comment) == ("up", None)
    assert not await store.rate_turn(tenant.id, uuid.uuid4(), rating="up")


# Deletion


async def test_a_deleted_conversation_is_gone_but_its_usage_stays(store: Store, tenant: Tenant) -> None:
    start = await ask(store, tenant)

    assert await store.delete_conversation(tenant.id, start.turn.conversation_id)

    assert not await store.delete_conversation(tenant.id, start.turn.conversation_id)
    assert await store.conversation(tenant.id, start.turn.conversation_id) is None
    assert await store.find_turn(tenant.id, start.turn.id) is None
    assert [total.requests for total in await store.usage("shop", EPOCH)] == [1]


async def test_an_answer_whose_conversation_was_deleted_is_still_charged(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)
    await store.delete_conversation(tenant.id, start.turn.conversation_id)

    assert not await finish(store, tenant, start)

    assert await store.conversation(tenant.id, start.turn.conversation_id) is None
    assert await has_spent(store, tenant, 13)


async def test_an_answer_whose_tenant_was_removed_is_a_conflict(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)
    await store.remove_tenant("shop")

    with pytest.raises(Conflict):
        await finish(store, tenant, start)
    with pytest.raises(Conflict):
        await begin(store, tenant)


async def test_a_purge_deletes_conversations_that_were_not_used_since(
    store: Store, tenant: Tenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.purge.BATCH", 2)
    old = [await ask(store, tenant) for _ in range(5)]
    moment = datetime.now(UTC)
    await begin(store, tenant, "more", conversation_id=old[0].turn.conversation_id)
    fresh = await ask(store, tenant)

    purged = await store.purge(moment)

    assert purged.conversations == 4
    assert (await store.purge(moment)).conversations == 0
    kept = [old[0].turn.conversation_id, fresh.turn.conversation_id]
    assert [len(await store.conversation(tenant.id, each) or []) for each in kept] == [2, 1]
    assert await store.find_turn(tenant.id, old[1].turn.id) is None


async def test_a_time_without_a_zone_is_refused(store: Store, tenant: Tenant) -> None:
    with pytest.raises(Exception, match="no time zone") as caught:
        await store.purge(datetime.now())

    assert not isinstance(caught.value, StoreError)
