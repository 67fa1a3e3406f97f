"""Withdrawn questions and regenerated answers, and which of them are shown."""

import uuid
from typing import Any

import pytest

from databases import ask, begin, finish, used
from databases import store as store
from databases import tenant as tenant
from service.store.records import (
    ConversationChanged,
    Tenant,
)
from service.store.store import Store

pytestmark = pytest.mark.each_database


# Withdrawn questions


async def test_the_replacement_of_a_withdrawn_question_stands_alone(store: Store, tenant: Tenant) -> None:
    """Asked again twice, the first time without reaching the provider."""
    first = await ask(store, tenant, "Hello?", "One.")
    again: dict[str, Any] = {"conversation_id": first.turn.conversation_id, "regenerate": True}
    dropped, second = [await begin(store, tenant, **again) for _ in range(2)]

    await store.discard_turn(dropped.turn.id, used(tenant, dropped))
    await finish(store, tenant, second, "Two.")

    visible = await store.conversation(tenant.id, first.turn.conversation_id) or []
    assert [turn.answer for turn in visible] == ["Two."]


@pytest.mark.parametrize("ends_first", [True, False])
async def test_a_replacement_without_text_restores_the_previous_answer(
    store: Store, tenant: Tenant, ends_first: bool
) -> None:
    first = await ask(store, tenant, "Hello?", "One.")
    again: dict[str, Any] = {"conversation_id": first.turn.conversation_id, "regenerate": True}
    dropped, second = [await begin(store, tenant, **again) for _ in range(2)]

    if ends_first:
        await finish(store, tenant, second, "", status="cancelled")
    await store.discard_turn(dropped.turn.id, used(tenant, dropped))
    if not ends_first:
        await finish(store, tenant, second, "", status="cancelled")

    visible = await store.conversation(tenant.id, first.turn.conversation_id) or []
    assert [turn.answer for turn in visible] == ["One."]


async def test_a_conversation_whose_only_question_was_withdrawn_does_not_exist(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, subject="ann")

    await store.discard_turn(start.turn.id, used(tenant, start))

    assert await store.conversations(tenant.id, "ann", newest=50) == []


# Regenerating


async def test_a_regenerated_answer_replaces_the_last_one(store: Store, tenant: Tenant) -> None:
    first = await ask(store, tenant, "1", "one")
    same_conversation = {"conversation_id": first.turn.conversation_id}
    last = await ask(store, tenant, "2", "two", **same_conversation)

    again = await begin(store, tenant, "2", regenerate=True, **same_conversation)
    assert again.turn.replaces == last.turn.id
    assert [turn.answer for turn in again.history] == ["one"]
    await finish(store, tenant, again, "deux")

    turns = await store.conversation(tenant.id, first.turn.conversation_id)
    assert [turn.answer for turn in turns or []] == ["one", "deux"]
    replaced = await store.find_turn(tenant.id, last.turn.id)
    assert replaced is not None
    assert replaced.hidden


async def test_a_regenerated_answer_without_text_restores_the_previous_one(store: Store, tenant: Tenant) -> None:
    first = await ask(store, tenant, "1", "one")
    same_conversation = {"conversation_id": first.turn.conversation_id}
    failed = await begin(store, tenant, "1", regenerate=True, **same_conversation)
    await finish(store, tenant, failed, "", status="error", code="upstream_unreachable")

    turns = await store.conversation(tenant.id, first.turn.conversation_id)
    assert [turn.answer for turn in turns or []] == ["one"]
    ended = await store.find_turn(tenant.id, failed.turn.id)
    assert ended is not None
    assert (ended.status, ended.hidden) == ("error", True)
    assert (await begin(store, tenant, "1", regenerate=True, **same_conversation)).turn.replaces == first.turn.id


async def test_the_last_text_is_restored_after_several_failed_attempts(store: Store, tenant: Tenant) -> None:
    first = await ask(store, tenant, "1", "one")
    same_conversation: dict[str, Any] = {"conversation_id": first.turn.conversation_id, "regenerate": True}
    second = await begin(store, tenant, "1", **same_conversation)
    third = await begin(store, tenant, "1", **same_conversation)

    await finish(store, tenant, second, "", status="cancelled")
    running = await store.conversation(tenant.id, first.turn.conversation_id)
    await finish(store, tenant, third, "", status="cancelled")
    ended = await store.conversation(tenant.id, first.turn.conversation_id)

    assert [turn.id for turn in running or []] == [third.turn.id]
    assert [turn.id for turn in ended or []] == [first.turn.id]


async def test_of_two_failed_answers_the_newer_one_shows(store: Store, tenant: Tenant) -> None:
    first = await begin(store, tenant, "1")
    await finish(store, tenant, first, "", status="error", code="upstream_failed")
    again = await begin(store, tenant, "1", conversation_id=first.turn.conversation_id, regenerate=True)
    await finish(store, tenant, again, "", status="error", code="upstream_timeout")

    turns = await store.conversation(tenant.id, first.turn.conversation_id)

    assert [(turn.id, turn.code) for turn in turns or []] == [(again.turn.id, "upstream_timeout")]


async def test_an_interrupted_regeneration_restores_the_previous_answer_but_a_stopped_one_does_not(
    store: Store, tenant: Tenant
) -> None:
    first = await ask(store, tenant, "1", "one")
    same_conversation: dict[str, Any] = {"conversation_id": first.turn.conversation_id, "regenerate": True}
    broken = await begin(store, tenant, "1", **same_conversation)
    await finish(store, tenant, broken, "o", status="error", code="upstream_interrupted")
    after_a_break = await store.conversation(tenant.id, first.turn.conversation_id)
    stopped = await begin(store, tenant, "1", **same_conversation)
    await finish(store, tenant, stopped, "o", status="cancelled")
    after_a_stop = await store.conversation(tenant.id, first.turn.conversation_id)

    assert [turn.answer for turn in after_a_break or []] == ["one"]
    assert [turn.answer for turn in after_a_stop or []] == ["o"]


async def test_only_the_turn_that_the_client_names_is_replaced(store: Store, tenant: Tenant) -> None:
    """Another tab may have asked since, and its question must not be replaced."""
    first = await ask(store, tenant, "1", "one")
    same_conversation: dict[str, Any] = {"conversation_id": first.turn.conversation_id, "regenerate": True}
    another_tab = await ask(store, tenant, "2", "two", conversation_id=first.turn.conversation_id)

    with pytest.raises(ConversationChanged):
        await begin(store, tenant, "1", replaces=[first.turn.id], **same_conversation)
    never_stored = await begin(store, tenant, "3", replaces=[uuid.uuid4()], **same_conversation)
    await finish(store, tenant, never_stored, "three")
    replacing = await begin(store, tenant, "3", replaces=[uuid.uuid4(), never_stored.turn.id], **same_conversation)
    repeated = await begin(
        store, tenant, "3", message_id=replacing.turn.id, replaces=[never_stored.turn.id], **same_conversation
    )

    assert never_stored.turn.replaces is None
    assert replacing.turn.replaces == never_stored.turn.id
    assert (repeated.is_new, repeated.turn.id) == (False, replacing.turn.id)
    turns = await store.conversation(tenant.id, first.turn.conversation_id)
    assert [turn.id for turn in turns or []] == [first.turn.id, another_tab.turn.id, replacing.turn.id]


async def test_regenerating_without_an_earlier_question_just_asks(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, "1", regenerate=True)

    assert start.is_new
    assert start.turn.replaces is None


async def test_a_regenerated_answer_that_was_wrongly_taken_for_lost_replaces_the_previous_one_after_all(
    store: Store, tenant: Tenant
) -> None:
    """As when its process had stood still for half a minute: its readers have seen the new answer."""
    first = await ask(store, tenant, "Hello?", "One.")
    conversation_id = first.turn.conversation_id
    again = await begin(store, tenant, "Hello?", conversation_id=conversation_id, regenerate=True)

    async def shown() -> list[str]:
        return [turn.answer for turn in await store.conversation(tenant.id, conversation_id) or []]

    assert await store.abandon(again.turn.id, again.turn.beat)
    assert await shown() == ["One."]
    assert await finish(store, tenant, again, "Two.")
    assert await shown() == ["Two."]


async def test_a_replaced_answer_that_ends_late_stays_replaced(store: Store, tenant: Tenant) -> None:
    """Another tab asked again before it ended."""
    first = await ask(store, tenant, "Hello?", "One.")
    again: dict[str, Any] = {"conversation_id": first.turn.conversation_id, "regenerate": True}
    second, third = [await begin(store, tenant, "Hello?", **again) for _ in range(2)]
    await finish(store, tenant, third, "Three.")

    await finish(store, tenant, second, "Two.")

    visible = await store.conversation(tenant.id, first.turn.conversation_id) or []
    assert [turn.answer for turn in visible] == ["Three."]
