"""What the upstream learns about the caller: the trace always, ids and the visitor only if the tenant enables it."""

import uuid

import pytest
import respx
from test_identity import SECRET, user

from client import Client
from conftest import Serve
from service.testing.chunks import answer, streamed

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
TOLD = ("x-conversation-id", "x-message-id", "x-request-id", "x-user-id")


async def test_by_default_the_upstream_learns_nothing(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    await client.ask("Hi")
    sent = upstream.calls.last.request.headers
    assert not [name for name in (*TOLD, "traceparent") if name in sent]


async def test_with_the_flag_the_upstream_learns_the_ids(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda _: streamed(*answer("Hello")))
    async with serve(tenant={"tell_upstream": True}) as client:
        message_id = str(uuid.uuid4())
        async with client.stream(
            "POST", "/api/v1/chat", json_body={"message": "Hi", "message_id": message_id}
        ) as response:
            start = (await response.answer()).events[0].data
            request_id = response.headers["x-request-id"]
        sent = upstream.calls.last.request.headers
        assert [sent.get(name) for name in TOLD] == [start["conversation_id"], message_id, request_id, None]
        again = await client.ask("And now?", conversation_id=start["conversation_id"])
        sent = upstream.calls.last.request.headers
        assert sent["x-conversation-id"] == start["conversation_id"]
        assert sent["x-message-id"] == again.events[0].data["message_id"] != message_id


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        ("user-42", "user-42"),
        ("auth0|a+b@shop.test", "auth0|a+b@shop.test"),
        ("Zoë 100%", "Zo%C3%AB%20100%25"),
        ("a: b", "a:%20b"),
    ],
)
async def test_with_the_flag_the_upstream_learns_the_signed_visitor(
    serve: Serve, upstream: respx.Route, subject: str, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    monkeypatch.setenv("SHOP_SECRET", SECRET)
    async with serve(tenant={"tell_upstream": True, "identity_secret_env": "SHOP_SECRET"}) as client:
        await client.ask("Hi", headers=user(subject))
    assert upstream.calls.last.request.headers["x-user-id"] == expected


async def test_a_traceparent_is_passed_on(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    await client.ask("Hi", headers={"traceparent": TRACE})
    assert upstream.calls.last.request.headers.get_list("traceparent") == [TRACE]


@pytest.mark.parametrize(
    "value",
    [
        "",
        "nonsense",
        TRACE.upper(),
        TRACE + "-x",
        TRACE.replace("00-4", "ff-4"),
        "00-" + "0" * 32 + "-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-" + "0" * 16 + "-01",
    ],
)
async def test_an_invalid_traceparent_is_dropped(client: Client, upstream: respx.Route, value: str) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    await client.ask("Hi", headers={"traceparent": value})
    assert "traceparent" not in upstream.calls.last.request.headers
