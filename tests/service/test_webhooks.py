"""A tenant's webhook receives hand-offs and ratings: signed, once, and nothing that was deleted."""

import re
import uuid
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from standardwebhooks import Webhook, WebhookVerificationError

from client import until
from conftest import ORIGIN, Serve
from databases import ask, on_each_statement
from hooks import HOOKED, SECRET, WANTED, Clock, hand_off, hold_conversation, outbox, outbox_when_idle, rate, received
from hooks import _hook as _hook
from hooks import clock as clock
from hooks import hook as hook
from service.store.outbox import MOST_CHARS, Outbox
from service.testing.chunks import answer, streamed
from service.webhooks import delivery


@pytest.mark.each_database
async def test_a_handoff_reaches_the_webhook_once_and_signed(serve: Serve, hook: respx.Route) -> None:
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        await client.ask("And now?", conversation_id=started["conversation_id"])
        await client.until_idle()

        assert await hand_off(client, started["conversation_id"]) == (204, None)
        assert await hand_off(client, started["conversation_id"]) == (204, None)
        (event,) = await outbox_when_idle(client)
        assert await hand_off(client, started["conversation_id"]) == (204, None)
        assert await outbox_when_idle(client) == [event]

        (message,) = received(hook)
        request = hook.calls[0].request
        assert message["id"] == request.headers["webhook-id"] == f"msg_{event.id.hex}"
        assert (message["type"], message["tenant"], event.state, event.attempts) == ("handoff", "shop", "delivered", 1)
        assert datetime.fromisoformat(message["created"]) == event.created_at
        data = message["data"]
        assert (data["conversation_id"], data["email"], data["note"], data["consent"], data["truncated"]) == (
            *(started["conversation_id"], WANTED["email"], WANTED["note"], True, False),
        )
        assert [(turn["question"], turn["answer"], turn["status"]) for turn in data["turns"]] == [
            ("Where is my parcel?", "Hello!", "complete"),
            ("And now?", "Hello!", "complete"),
        ]
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(request.content + b" ", dict(request.headers))

        await client.ask("Still?", conversation_id=started["conversation_id"])
        assert await hand_off(client, started["conversation_id"]) == (204, None)  # it went on: another event
        await outbox_when_idle(client)
        assert len(received(hook)[1]["data"]["turns"]) == 3


@pytest.mark.parametrize("kind", ["handoff", "feedback"])
async def test_a_new_event_is_delivered_without_waiting_for_the_next_poll(
    serve: Serve, hook: respx.Route, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(delivery, "POLL_SECONDS", 3600)
    looks: list[object] = []
    next_due = Outbox.next_due

    async def noted(outbox: Outbox, busy: Collection[int]) -> object:
        looks.append(due := await next_due(outbox, busy))
        return due

    monkeypatch.setattr(Outbox, "next_due", noted)
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        await until(lambda: looks == [None])  # the next look is in an hour

        if kind == "handoff":
            await hand_off(client, started["conversation_id"])
        else:
            await rate(client, started["message_id"], rating="up")
        await until(lambda: bool(hook.calls))

        assert received(hook)[0]["type"] == kind


async def test_an_invalid_handoff_is_refused_and_not_delivered(serve: Serve, hook: respx.Route) -> None:
    async with serve(tenant=HOOKED) as client:
        conversation_id = (await hold_conversation(client))["conversation_id"]
        store = client.state["service"].store
        _, _, other_key = await store.add_tenant("other", origins=[ORIGIN], **HOOKED)
        somebodys = (await ask(store, await store.get_tenant("shop"), subject="user-1")).turn.conversation_id

        refused: list[tuple[tuple[int, Any], tuple[int, str]]] = [
            (await hand_off(client, str(uuid.uuid4())), (404, "conversation_not_found")),
            (await hand_off(client, "1"), (404, "conversation_not_found")),
            (await hand_off(client, str(somebodys)), (404, "conversation_not_found")),
            (
                await hand_off(client, conversation_id, headers={"X-API-Key": other_key}),
                (404, "conversation_not_found"),
            ),
            (await hand_off(client, conversation_id, headers={"X-API-Key": None}), (401, "key_missing")),
            (
                await hand_off(client, conversation_id, headers={"Origin": "https://evil.test"}),
                (403, "origin_not_allowed"),
            ),
            (
                await hand_off(client, conversation_id, headers={"Content-Type": "text/plain"}),
                (415, "unsupported_media_type"),
            ),
        ]
        for (status, problem), expected in refused:
            assert (status, problem["code"]) == expected
        assert await outbox(client) == []
    assert not hook.called


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "ada"}, "email"),
        ({"email": "ada@example.com\r\nBcc: all@example.com"}, "email"),
        ({"email": "ada@example.com, all@example.com"}, "email"),
        ({"email": "a" * 250 + "@b.cd"}, "email"),
        ({"email": None}, "email"),
        ({"note": "x" * 2001}, "note"),
        ({"note": "a\0b"}, "note"),
        ({"consent": False}, "consent"),
        ({"consent": 1}, "consent"),
        ({"copy": "me"}, "copy"),
    ],
)
async def test_invalid_fields_are_named(serve: Serve, hook: respx.Route, change: dict[str, Any], field: str) -> None:
    async with serve(tenant=HOOKED) as client:
        conversation_id = (await hold_conversation(client))["conversation_id"]

        status, problem = await hand_off(client, conversation_id, WANTED | change)

        assert (status, [error["field"] for error in problem["errors"]]) == (422, [field])
        assert await outbox(client) == []


async def test_a_tenant_without_a_usable_webhook_says_so(
    serve: Serve, hook: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as client:
        started = await hold_conversation(client)
        for named in ({}, HOOKED):
            monkeypatch.setenv("SHOP_HOOK_SECRET", "short")
            await client.state["service"].store.set_tenant("shop", **named)

            status, problem = await hand_off(client, started["conversation_id"])

            assert (status, problem["code"]) == (409, "handoff_not_set_up")
        assert await outbox(client) == []


async def test_handoffs_per_visitor_are_limited(serve: Serve, hook: respx.Route) -> None:
    """A repeat of the same hand-off doesn't count, so it isn't refused."""
    async with serve(tenant=HOOKED) as client:
        conversation_id = (await hold_conversation(client))["conversation_id"]
        for number in range(10):
            assert (await hand_off(client, conversation_id, WANTED | {"note": f"{number}"}))[0] == 204

        path = f"/api/v1/conversations/{conversation_id}/handoff"
        refused, _ = await client.request("POST", path, json_body=WANTED)
        assert (refused.status, 0 < int(refused.headers["retry-after"]) <= 3600) == (429, True)
        assert (await hand_off(client, conversation_id, WANTED | {"note": "3"}))[0] == 204
        assert (await hand_off(client, conversation_id, address="203.0.113.5"))[0] == 204
        assert len(await outbox_when_idle(client)) == 11


async def test_a_long_conversation_is_truncated_at_its_beginning(
    serve: Serve, hook: respx.Route, upstream: respx.Route
) -> None:
    async with serve(tenant=HOOKED) as client:
        upstream.mock(side_effect=lambda _: streamed(*answer("x" * 45_000)))
        started = await hold_conversation(client, "First?")
        for number in range(5):
            await client.ask(f"{number}?", conversation_id=started["conversation_id"])
        await client.until_idle()

        await hand_off(client, started["conversation_id"])
        await outbox_when_idle(client)

        data = received(hook)[0]["data"]
        assert [turn["question"] for turn in data["turns"]] == ["1?", "2?", "3?", "4?"]
        assert data["truncated"] is True
        assert sum(len(turn["answer"]) for turn in data["turns"]) <= MOST_CHARS


async def test_a_handoff_that_sends_nothing_does_not_read_the_conversation(serve: Serve, hook: respx.Route) -> None:
    """Reading a long one takes a while, for which all questions would wait."""
    async with serve(tenant=HOOKED) as client:
        conversation_id = (await hold_conversation(client))["conversation_id"]
        for number in range(10):
            assert (await hand_off(client, conversation_id, WANTED | {"note": f"{number}"}))[0] == 204
        await outbox_when_idle(client)
        statements: list[str] = []
        await on_each_statement(client.state["service"].store, statements.append)

        assert (await hand_off(client, conversation_id, WANTED | {"note": "3"}))[0] == 204
        assert (await hand_off(client, conversation_id, WANTED))[0] == 429

        turns_read = [re.findall(r"LIMIT (\d+)", each) for each in statements if "FROM messages JOIN" in each]
        assert [limits[-1] for limits in turns_read] == ["1", "1"]


async def test_a_conversation_of_just_the_most_turns_is_whole(
    serve: Serve, hook: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.store.outbox.NEWEST_TURNS", 2)
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        for question in ("Second?", "Third?"):
            await client.ask(question, conversation_id=started["conversation_id"])
            await client.until_idle()
            assert (await hand_off(client, started["conversation_id"]))[0] == 204
            await outbox_when_idle(client)

        whole, longer = (message["data"] for message in received(hook))
        assert (len(whole["turns"]), whole["truncated"]) == (2, False)
        assert ([turn["question"] for turn in longer["turns"]], longer["truncated"]) == (["Second?", "Third?"], True)


@pytest.mark.each_database
async def test_changed_feedback_is_delivered(serve: Serve, hook: respx.Route, clock: Clock) -> None:
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        message_id = started["message_id"]

        assert await rate(client, message_id, rating="down") == 204
        await outbox_when_idle(client)
        assert await rate(client, message_id, rating="down") == 204
        assert len(await outbox_when_idle(client)) == 1
        hook.mock(return_value=httpx.Response(500))
        for comment in ("No.", "It is late."):
            assert await rate(client, message_id, rating="down", comment=comment) == 204
            await outbox_when_idle(client)
        hook.mock(return_value=httpx.Response(200))
        clock.ahead = timedelta(seconds=10)

        assert [event.state for event in await outbox_when_idle(client)] == ["delivered", "delivered"]
        first, _, _, last = received(hook)
        assert (first["type"], first["data"]["rating"], first["data"]["comment"]) == ("feedback", "down", None)
        assert last["data"] == {
            "conversation_id": started["conversation_id"],
            "message_id": message_id,
            "rating": "down",
            "comment": "It is late.",
            "subject": None,
            "question": "Where is my parcel?",
            "answer": "Hello!",
        }


async def test_feedback_events_per_visitor_are_limited(serve: Serve, hook: respx.Route) -> None:
    """A rating beyond the limit is stored, and another visitor's is delivered."""
    async with serve(tenant=HOOKED) as client:
        message_id = (await hold_conversation(client))["message_id"]
        for number in range(62):
            assert await rate(client, message_id, rating="down", comment=f"{number}") == 204
            await outbox_when_idle(client)

        assert [message["data"]["comment"] for message in received(hook)] == [f"{number}" for number in range(60)]
        store = client.state["service"].store
        assert (await store.find_turn((await store.get_tenant("shop")).id, uuid.UUID(message_id))).comment == "61"
        assert await rate(client, message_id, address="203.0.113.5", rating="up") == 204
        assert len(await outbox_when_idle(client)) == 61


async def test_feedback_without_a_webhook_is_only_stored(serve: Serve, hook: respx.Route) -> None:
    async with serve() as client:
        started = await hold_conversation(client)

        assert await rate(client, started["message_id"], rating="up") == 204

        assert await outbox(client) == []


async def test_a_deleted_conversation_is_not_delivered(serve: Serve, hook: respx.Route, clock: Clock) -> None:
    hook.mock(return_value=httpx.Response(500))
    async with serve(tenant=HOOKED) as client:
        kept, deleted = await hold_conversation(client), await hold_conversation(client)
        for started in (kept, deleted):
            await hand_off(client, started["conversation_id"])
        assert len(await outbox_when_idle(client)) == 2

        await client.request("DELETE", f"/api/v1/conversations/{deleted['conversation_id']}")
        assert len(await outbox(client)) == 1
        await client.state["service"].store.purge(clock.now() + timedelta(seconds=1))
        assert await outbox(client) == []


async def test_the_window_has_a_form_if_the_webhook_is_usable(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(tenant=HOOKED) as client:
        for secret, handoff in ((SECRET, b'"handoff":"form"'), ("short", b'"handoff":"help@shop.test"')):
            monkeypatch.setenv("SHOP_HOOK_SECRET", secret)
            await client.state["service"].store.set_widget("shop", {"handoff": "help@shop.test"})

            _, page = await client.request("GET", f"/widget.html?id={client.widget_id}")

            assert handoff in page and page.count(b'"handoff"') == 1
