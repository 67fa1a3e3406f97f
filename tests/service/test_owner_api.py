"""What the owner's pages ask: a tenant's look and keys, how its days went, and its conversations. One tenant's ids open
nothing of another's."""

import json
import re
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import respx

from client import Client
from conftest import Serve
from service.testing.chunks import answer, streamed
from service.widget_settings import WidgetSettings

TOKEN = "a studio token of some length"
OWNER: dict[str, str | None] = {"X-API-Key": None, "Origin": None, "Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
async def owned(serve: Serve, upstream: respx.Route) -> AsyncIterator[Client]:
    """A service with a token, whose upstream repeats the question."""

    def echo(request: Any) -> Any:
        question = json.loads(request.content)["messages"][-1]["content"]
        reason = "content_filter" if "filter" in question else "length" if "cut" in question else "stop"
        return streamed(*answer(f"You said: {question}", finish_reason=reason))

    upstream.mock(side_effect=echo)
    async with serve(studio_token=TOKEN, price_prompt=1000, price_completion=2000) as client:
        yield client


async def ask_owner(client: Client, path: str, method: str = "GET", **options: Any) -> tuple[int, Any]:
    path = f"/studio/api/tenants/{client.widget_id}{path}"
    response, body = await client.request(method, path, headers=OWNER, **options)
    return response.status, json.loads(body) if body else None


async def converse(client: Client, question: str, **fields: Any) -> tuple[str, str]:
    """Ask a question. Returns the ids of the conversation and the message."""
    started = (await client.ask(question, **fields)).events[0].data
    await client.until_idle()
    return started["conversation_id"], started["message_id"]


async def rate(client: Client, message_id: str, rating: str, comment: str | None = None) -> None:
    body = {"rating": rating, "comment": comment}
    response, _ = await client.request("POST", f"/api/v1/messages/{message_id}/feedback", json_body=body)
    assert response.status == 204


async def found(client: Client, query: str = "") -> list[str]:
    status, page = await ask_owner(client, f"/conversations?{query}")
    assert (status, page["next"]) == (200, None)
    return [each["id"] for each in page["conversations"]]


async def test_a_look_is_replaced_as_a_whole_and_validated_like_on_the_command_line(owned: Client) -> None:
    store = owned.state["service"].store
    await store.set_widget("shop", {"title": "Old", "greeting": "Hello"})
    status, facts = await ask_owner(owned, "")
    assert (status, facts["name"], facts["settings"]) == (200, "shop", {"title": "Old", "greeting": "Hello"})
    look = {"title": "New", "color": "#1a6b54", "suggestions": ["One?"], "offsetX": 20, "consent": True}
    status, facts = await ask_owner(owned, "/look", "PUT", json_body={"settings": look})
    assert (status, facts["settings"]) == (200, look)
    assert (await store.get_widget("shop")).settings == look
    _, page = await owned.request("GET", f"/widget.html?id={owned.widget_id}")
    assert b"#1a6b54" in page
    wrong: Any
    for wrong in ({"color": "reddish"}, {"nonsense": 1}, {"title": "x" * 101}, {"handoff": "javascript:1"}, []):
        status, problem = await ask_owner(owned, "/look", "PUT", json_body={"settings": wrong})
        assert (status, problem["code"]) == (422, "validation_failed")
    assert (await store.get_widget("shop")).settings == look
    assert set(look) <= set(WidgetSettings.model_fields)


async def test_a_new_key_is_shown_once_and_the_others_expire_after_the_grace_period(owned: Client) -> None:
    first = owned.headers["X-API-Key"]
    status, response = await ask_owner(owned, "/keys", "POST", json_body={"grace_hours": None})
    assert (status, len(response["keys"])) == (200, 2)
    second = response["api_key"]
    _, facts = await ask_owner(owned, "")
    assert first not in str(facts) and second not in str(facts)
    assert [key["hint"] for key in facts["keys"]] == [first[-4:], second[-4:]]
    status, response = await ask_owner(owned, "/keys", "POST", json_body={"grace_hours": 0})
    assert (status, [key["hint"] for key in response["keys"]]) == (200, [response["api_key"][-4:]])
    for key, expected in ((first, 401), (second, 401), (response["api_key"], 404)):
        path = f"/api/v1/conversations/{uuid.uuid4()}"
        assert (await owned.request("GET", path, headers={"X-API-Key": key}))[0].status == expected
    for wrong in (-1, 721, "x"):
        assert (await ask_owner(owned, "/keys", "POST", json_body={"grace_hours": wrong}))[0] == 422


@pytest.mark.each_database
async def test_each_conversation_is_found_by_its_outcome(owned: Client) -> None:
    plain, rated = await converse(owned, "Is it oak, at 100 %?")
    cut, _ = await converse(owned, "Please be cut")
    filtered, bad = await converse(owned, "A filtered one")
    await rate(owned, rated, "up")
    await rate(owned, bad, "down", "It said nothing.")
    assert await found(owned) == [filtered, cut, plain]
    assert await found(owned, "words=OAK") == [plain]
    assert await found(owned, "words=100+%25%3F") == [plain]
    assert await found(owned, "words=%25%25") == []
    assert await found(owned, "outcome=length") == [cut]
    assert await found(owned, "outcome=filtered&rating=down") == [filtered]
    assert await found(owned, "rating=up") == [plain]
    assert await found(owned, "outcome=error") == []
    assert await found(owned, "handed_off=true") == []
    today = datetime.now(UTC).date()
    assert len(await found(owned, f"from={today - timedelta(days=1)}&to={today + timedelta(days=1)}")) == 3
    assert await found(owned, f"to={today - timedelta(days=2)}") == []
    for wrong in (
        "rating=sideways",
        "outcome=x'--",
        "from=yesterday",
        "after=1",
        f"after=0001-01-01T00:00:00%2B14:00,{uuid.uuid4()}",
        f"after=9999-12-31T23:59:59-14:00,{uuid.uuid4()}",
        f"after=2026-01-01T00:00:00,{uuid.uuid4()}",
        "to=9999-12-31",
        f"words={'x' * 201}",
    ):
        assert (await ask_owner(owned, f"/conversations?{wrong}"))[0] == 422, wrong


async def test_handed_off_conversations_can_be_found_and_say_so(owned: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.store.tables import outbox

    conversation, _ = await converse(owned, "A person, please")
    await converse(owned, "Nobody")
    store = owned.state["service"].store
    tenant = await store.get_tenant("shop")
    row = {
        "id": uuid.uuid4(),
        "tenant_id": tenant.id,
        "conversation_id": uuid.UUID(conversation),
        "kind": "handoff",
        "data": {"email": "zoe@example.com", "note": "Call me."},
        "state": "pending",
        "attempts": 0,
        "created_at": datetime.now(UTC),
        "due_at": datetime.now(UTC) + timedelta(days=1),
    }
    await store._database.write(lambda db: db.execute(outbox.insert().values(row)))
    assert await found(owned, "handed_off=true") == [conversation]
    _, transcript = await ask_owner(owned, f"/conversations/{conversation}")
    assert [(each["email"], each["note"]) for each in transcript["handoffs"]] == [("zoe@example.com", "Call me.")]
    _, report = await ask_owner(owned, "/report")
    assert report["total"]["handed_off"] == 1


async def test_paging_returns_every_conversation_once(owned: Client) -> None:
    store = owned.state["service"].store
    tenant = await store.get_tenant("shop")
    for _ in range(53):
        await store.begin_turn(tenant.id, uuid.uuid4(), conversation_id=None, question="Hi")
    seen: list[str] = []
    after = ""
    for _ in range(2):
        _, page = await ask_owner(owned, f"/conversations?after={after.replace('+', '%2B')}")
        seen += [each["id"] for each in page["conversations"]]
        after = page["next"] or ""
    assert (len(seen), len(set(seen)), after) == (53, 53, "")


async def test_a_transcript_can_be_read_exported_and_deleted(owned: Client) -> None:
    conversation, message = await converse(owned, "<b>One?</b>")
    await rate(owned, message, "down", "No.")
    await converse(owned, "Two?", conversation_id=conversation)
    status, transcript = await ask_owner(owned, f"/conversations/{conversation}")
    assert (status, transcript["next"], transcript["overview"]["questions"]) == (200, None, 2)
    assert [turn["question"] for turn in transcript["turns"]] == ["<b>One?</b>", "Two?"]
    assert (transcript["turns"][0]["rating"], transcript["turns"][0]["comment"]) == ("down", "No.")
    path = f"/studio/api/tenants/{owned.widget_id}/conversations/{conversation}/export"
    response, body = await owned.request("GET", path, headers=OWNER)
    assert response.headers["content-disposition"] == f'attachment; filename="conversation-{conversation}.json"'
    assert json.loads(body) == {"id": conversation, "turns": transcript["turns"]}
    assert await ask_owner(owned, f"/conversations/{conversation}", "DELETE") == (204, None)
    for method in ("GET", "DELETE"):
        assert (await ask_owner(owned, f"/conversations/{conversation}", method))[0] == 404
    assert (await owned.request("GET", f"/api/v1/conversations/{conversation}"))[0].status == 404
    _, report = await ask_owner(owned, "/report")
    assert report["total"]["questions"] == 2  # the usage stays, without any text


async def test_a_tenants_conversation_is_not_found_under_another_tenant(owned: Client) -> None:
    conversation, _ = await converse(owned, "A secret of the shop")
    _, widget, _ = await owned.state["service"].store.add_tenant("other", origins=["https://other.test"])
    for method, end in (("GET", ""), ("DELETE", ""), ("GET", "/export")):
        path = f"/studio/api/tenants/{widget.id}/conversations/{conversation}{end}"
        response, body = await owned.request(method, path, headers=OWNER)
        assert (response.status, b"secret" in body) == (404, False)
    assert await found(owned) == [conversation]


@pytest.mark.each_database
async def test_the_report_sums_up_the_days(owned: Client) -> None:
    _, first = await converse(owned, "Is it oak?")
    await converse(owned, "A filtered one")
    await rate(owned, first, "down", "Too short.")
    await owned.refused(json_body={"message": ""})
    status, report = await ask_owner(owned, "/report?days=7")
    assert (status, len(report["days"]), report["days"][-1]["date"]) == (200, 7, str(datetime.now(UTC).date()))
    total = report["total"]
    assert (total["questions"], total["outcomes"]) == (2, {"complete": 1, "filtered": 1})
    assert (total["up"], total["down"]) == (0, 1)
    assert total["prompt_tokens"] > 0
    cost = total["prompt_tokens"] / 1000 + total["completion_tokens"] / 500
    assert total["cost"] == pytest.approx(cost)
    assert sum(day["questions"] for day in report["days"]) == 2
    assert report["before"]["questions"] == 0
    assert [(each["question"], each["outcome"], each["comment"]) for each in report["troubles"]] == [
        ("A filtered one", "filtered", None),
        ("Is it oak?", "complete", "Too short."),
    ]
    assert len((await ask_owner(owned, "/report?days=90"))[1]["days"]) == 90
    assert (await ask_owner(owned, "/report?days=8"))[0] == 422


async def test_without_prices_no_cost_is_shown(serve: Serve) -> None:
    async with serve(studio_token=TOKEN) as client:
        _, report = await ask_owner(client, "/report")
    assert (report["total"]["cost"], report["days"][0]["cost"]) == (None, None)


async def test_the_log_has_neither_texts_nor_tokens(owned: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    conversation, _ = await converse(owned, "Something private")
    await found(owned, "words=private")
    await ask_owner(owned, f"/conversations/{conversation}")
    text = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    assert "route" in text
    assert not re.search(f"private|{TOKEN}", text)
