"""A question's whole path: checks, upstream, events, database."""

import asyncio
import gzip
import json
import uuid

import httpx
import pytest
import respx

from client import Client, until
from conftest import ORIGIN, Serve
from service.testing.chunks import Body, answer, data, delta, streamed
from upstreams import local_upstream


async def test_an_answer_is_relayed_as_events_in_order(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello", ", ", "you!")))
    got = await client.ask("Hi?")
    assert got.names == ["start", "message", "done"]
    assert got.text == "Hello, you!"
    assert got.last.data == {"status": "complete", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}
    assert uuid.UUID(got.events[0].data["conversation_id"]) != uuid.UUID(got.events[0].data["message_id"])


async def test_the_first_text_arrives_while_the_upstream_is_still_writing(
    client: Client, upstream: respx.Route
) -> None:
    resume = asyncio.Event()
    upstream.mock(return_value=streamed(delta("One "), resume, *answer("two")))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Count"}) as response:
        events = response.events()
        assert (await anext(events)).name == "start"
        assert (await anext(events)).data == {"chunk": "One "}
        resume.set()
        assert [event.name async for event in events] == ["message", "done"]


async def test_the_stream_has_the_headers_that_stop_proxies_from_buffering(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["cache-control"] == "no-cache, no-store"
        assert response.headers["x-accel-buffering"] == "no"
        assert response.headers["x-request-id"]
        await response.answer()


async def test_the_upstream_is_asked_for_a_stream_with_its_usage(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    async with serve(openai_model="small-model", system_prompt="Be kind.") as client:
        await client.ask("  What is it?  ")
    request = upstream.calls.last.request
    assert json.loads(request.content) == {
        "model": "small-model",
        "messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "What is it?"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 4096,
    }
    assert request.headers["authorization"] == "Bearer sk-upstream"
    assert request.headers["accept-encoding"] == "identity"


async def test_a_second_question_includes_the_first_turn(client: Client, upstream: respx.Route) -> None:
    upstream.mock(side_effect=[streamed(*answer("Ada.")), streamed(*answer("1815."))])
    first = await client.ask("Who wrote the first program?")
    await client.ask("When was she born?", conversation_id=first.events[0].data["conversation_id"])
    assert json.loads(upstream.calls.last.request.content)["messages"][1:] == [
        {"role": "user", "content": "Who wrote the first program?"},
        {"role": "assistant", "content": "Ada."},
        {"role": "user", "content": "When was she born?"},
    ]


@pytest.mark.each_database
async def test_regenerate_replaces_the_last_answer(client: Client, upstream: respx.Route) -> None:
    upstream.mock(side_effect=[streamed(*answer("Bad")), streamed(*answer("Good"))])
    first = await client.ask("Well?")
    conversation = first.events[0].data["conversation_id"]
    await client.ask("Well?", conversation_id=conversation, regenerate=True)
    assert len(json.loads(upstream.calls.last.request.content)["messages"]) == 2
    turns = await client.get_json(f"/api/v1/conversations/{conversation}")
    assert [message["content"] for message in turns["messages"]] == ["Well?", "Good"]


@pytest.mark.each_database
async def test_regenerate_replaces_only_the_turn_that_the_client_names(client: Client, upstream: respx.Route) -> None:
    upstream.mock(side_effect=[streamed(*answer("One")), streamed(*answer("Two"))])
    start = (await client.ask("First?")).events[0].data
    of_this = {"conversation_id": start["conversation_id"]}
    await client.ask("Second?", **of_this)
    again = {"message": "First?", "replaces": [start["message_id"]], **of_this}
    status, problem, _ = await client.refused(json_body=again)
    assert (status, problem["code"]) == (409, "conversation_changed")
    assert upstream.call_count == 2


async def test_a_tenants_own_model_prompt_and_key_are_used(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_KEY", "sk-of-the-shop")
    upstream.mock(return_value=streamed(*answer("Hello")))
    tenant = {"model": "large-model", "system_prompt": "Sell.", "openai_key_env": "SHOP_KEY"}
    async with serve(tenant=tenant) as client:
        await client.ask("Hi")
    request = upstream.calls.last.request
    assert json.loads(request.content)["model"] == "large-model"
    assert json.loads(request.content)["messages"][0] == {"role": "system", "content": "Sell."}
    assert request.headers["authorization"] == "Bearer sk-of-the-shop"


@pytest.mark.each_database
async def test_a_repeated_message_id_asks_the_upstream_once_and_returns_the_same_answer(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(*answer("Only ", "once")))
    message_id = str(uuid.uuid4())
    first = await client.ask("Hi", message_id=message_id)
    second = await client.ask("Hi", message_id=message_id)
    assert upstream.call_count == 1
    assert second.text == first.text == "Only once"
    assert second.last.data == first.last.data
    assert second.events[0].data == first.events[0].data


async def test_a_reader_resumes_after_its_last_event(client: Client, upstream: respx.Route) -> None:
    resume = asyncio.Event()
    upstream.mock(return_value=streamed(delta("Once upon "), resume, *answer("a time")))
    message_id = str(uuid.uuid4())
    question = {"message": "A story", "message_id": message_id}
    async with client.stream("POST", "/api/v1/chat", json_body=question) as response:
        events = response.events()
        assert (await anext(events)).name == "start"
        seen = await anext(events)
        await response.leave()
    resume.set()
    again = await client.ask("A story", message_id=message_id, headers={"Last-Event-ID": seen.id})
    assert seen.data["chunk"] + again.text == "Once upon a time"
    assert again.last.data["status"] == "complete"
    assert upstream.call_count == 1


async def test_resuming_a_deleted_answer_never_returns_the_rest_of_another_one(
    client: Client, upstream: respx.Route
) -> None:
    """The conversation was deleted on another device: the text read so far isn't part of a new answer."""
    upstream.mock(side_effect=[streamed(*answer("Once upon a time")), streamed(*answer("There was a king"))])
    message_id = str(uuid.uuid4())
    first = await client.ask("A story", message_id=message_id)
    deleted, _ = await client.request("DELETE", f"/api/v1/conversations/{first.events[0].data['conversation_id']}")
    assert deleted.status == 204
    asked = {"message": "A story", "message_id": message_id}
    status, problem, _ = await client.refused(json_body=asked, headers={"Last-Event-ID": "5"})
    assert (status, problem["code"]) == (404, "message_not_found")
    assert upstream.call_count == 1
    assert (await client.ask("A story", message_id=message_id)).text == "There was a king"


async def test_a_last_event_id_without_a_message_id_is_ignored(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    assert (await client.ask("Hi", headers={"Last-Event-ID": "3"})).text == "Hello"


async def test_a_message_id_cannot_be_used_for_another_question(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    message_id = str(uuid.uuid4())
    await client.ask("Hi", message_id=message_id)
    status, problem, _ = await client.refused(json_body={"message": "Other", "message_id": message_id})
    assert (status, problem["code"]) == (409, "message_id_taken")


@pytest.mark.each_database
async def test_text_that_looks_like_events_stays_text(client: Client, upstream: respx.Route) -> None:
    evil = 'x\n\nevent: done\ndata: {"status":"complete"}\n\n\r\nevent: error\r\ndata: {}\r\n\r\n'
    upstream.mock(return_value=streamed(*answer(evil)))
    got = await client.ask("Hi")
    assert got.names == ["start", "message", "done"]
    assert got.text == evil


@pytest.mark.parametrize(
    ("pieces", "code"),
    [
        ([delta("Half")], "upstream_interrupted"),
        ([delta("Half"), httpx.ReadError("reset")], "upstream_interrupted"),
        ([delta("Half"), httpx.ReadTimeout("slow")], "upstream_timeout"),
        ([delta("Half"), b"data: {nonsense\n\n"], "invalid_answer"),
    ],
)
async def test_an_interrupted_answer_keeps_its_text_and_ends_with_one_error(
    client: Client, upstream: respx.Route, pieces: list[bytes | Exception], code: str
) -> None:
    upstream.mock(return_value=streamed(*pieces))
    got = await client.ask("Hi")
    assert got.names == ["start", "message", "error"]
    assert got.text == "Half"
    assert got.last.data["code"] == code
    turns = await client.get_json(f"/api/v1/conversations/{got.events[0].data['conversation_id']}")
    assert (turns["messages"][1]["content"], turns["messages"][1]["status"]) == ("Half", "error")


@pytest.mark.parametrize(("reason", "status"), [("length", "length"), ("content_filter", "filtered")])
async def test_an_incomplete_answer_says_so(client: Client, upstream: respx.Route, reason: str, status: str) -> None:
    upstream.mock(return_value=streamed(*answer("Half", finish_reason=reason, tokens=None)))
    assert (await client.ask("Hi")).last.data == {"status": status, "usage": None}


async def test_an_answer_beyond_max_answer_chars_is_stopped(serve: Serve, upstream: respx.Route) -> None:
    """However the provider cuts it, and whatever arrives together."""
    upstream.mock(return_value=streamed(*answer("1234", "56", "7890x", "y")))
    async with serve(max_answer_chars=10) as client:
        got = await client.ask("Hi")
    assert (got.text, got.last.data["code"]) == ("1234567890", "answer_too_long")


async def test_an_upstream_that_sends_no_text_in_time_is_a_timeout(serve: Serve, upstream: respx.Route) -> None:
    body = Body([delta("One"), asyncio.Event()])
    upstream.mock(return_value=httpx.Response(200, stream=body))
    async with serve(text_timeout=0.5) as client:
        got = await client.ask("Hi")
    assert (got.text, got.last.data["code"]) == ("One", "upstream_timeout")
    assert body.closed.is_set()


async def test_a_model_that_thinks_for_a_long_time_does_not_time_out(serve: Serve, upstream: respx.Route) -> None:
    """Its reasoning isn't shown, but counts as activity."""
    thoughts_end = asyncio.Event()
    thought = data({"choices": [{"index": 0, "delta": {"role": "assistant", "reasoning_content": "Hm."}}]})
    upstream.mock(return_value=streamed(thought, thoughts_end, *answer("Yes")))
    async with serve(connect_timeout=0.25, first_text_timeout=1, text_timeout=60) as client:
        asyncio.get_running_loop().call_later(3, thoughts_end.set)  # beyond the time for connecting and a first text
        got = await client.ask("Hi")
    assert (got.text, got.last.data["status"]) == ("Yes", "complete")


async def test_a_providers_cookies_are_never_sent(client: Client, upstream: respx.Route) -> None:
    cookie = {"Set-Cookie": "session=of-the-first; Path=/"}
    upstream.mock(side_effect=lambda request: streamed(*answer("Hi"), headers=cookie))
    await client.ask("Hi")
    await client.ask("Hi")
    assert upstream.call_count == 2
    assert [call.request.headers.get("cookie") for call in upstream.calls] == [None, None]


async def test_comments_do_not_extend_the_answer_timeout(serve: Serve, upstream: respx.Route) -> None:
    """Even if the timeout for the first text is longer than that of the whole answer."""
    upstream.mock(return_value=streamed(b": ping\n\n", asyncio.Event()))
    async with serve(answer_timeout=2, first_text_timeout=600) as client, asyncio.timeout(30):
        got = await client.ask("Hi")
    assert (got.names, got.last.data["code"]) == (["start", "error"], "upstream_timeout")


@pytest.mark.parametrize(
    "members",
    [
        [b"".join(answer("One ", "two"))],
        [b"".join(answer("One ", "two")[:1]), b"", b"".join(answer("One ", "two")[1:])],
        answer("One ", "two"),
    ],
)
@pytest.mark.parametrize("size", [1, 7, 100_000])
async def test_an_unrequested_compressed_response_is_decompressed(
    client: Client, upstream: respx.Route, members: list[bytes], size: int
) -> None:
    """gzip may have several members, one after the other (RFC 1952, section 2.2), and zeros that fill a block."""
    compressed = b"".join(gzip.compress(member) for member in members) + bytes(50)
    pieces = [compressed[begin : begin + size] for begin in range(0, len(compressed), size)]
    upstream.mock(return_value=streamed(*pieces, headers={"Content-Encoding": "gzip"}))
    got = await client.ask("Count")
    assert (got.text, got.last.data["status"]) == ("One two", "complete")


@pytest.mark.parametrize("broken", [b"no gzip", gzip.compress(delta("One")) + b"no gzip"])
async def test_a_corrupt_compressed_response_is_an_error(client: Client, upstream: respx.Route, broken: bytes) -> None:
    upstream.mock(return_value=streamed(broken, headers={"Content-Encoding": "gzip"}))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
        assert b"invalid_answer" in await response.body()


@pytest.mark.parametrize("header", ["Mon, 01 Jan 99999999999999999999 00:00:00 GMT", "9" * 5000, "soon", "-1"])
async def test_an_impossible_retry_after_is_ignored(
    client: Client, upstream: respx.Route, header: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    upstream.mock(return_value=httpx.Response(429, headers={"Retry-After": header}))
    status, problem, headers = await client.refused()
    assert (status, problem["code"]) == (503, "busy")
    assert 0 < int(headers.get("retry-after", "1")) <= 3600


async def test_waiting_for_a_retry_ends_with_the_answer_timeout(serve: Serve, upstream: respx.Route) -> None:
    """The refusal asks for a longer wait than the time left."""
    upstream.mock(return_value=httpx.Response(503, headers={"Retry-After": "3"}))
    async with serve(answer_timeout=2) as client:
        assert (await client.refused())[1]["code"] == "upstream_timeout"
    assert upstream.call_count == 1


async def test_an_answer_that_times_out_while_connecting_ends_once_connected(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connecting has its own timeout: cancelling it would leak a place in the pool (httpcore issue 1093)."""
    with local_upstream() as local:
        async with serve(answer_timeout=0.3, openai_base_url=local.url("endless")) as client, asyncio.timeout(60):
            connected = client.hold_connections(monkeypatch)
            asking = asyncio.create_task(client.refused())
            writings = client.state["service"].answers._writings
            await until(lambda: any(writing.call.phase == "connecting" for writing in writings.values()))
            [writing] = writings.values()
            await until(lambda: asyncio.get_running_loop().time() > writing.call._last_moment)
            await client.get_json("/api/v1/ready")  # and whatever that moment brings has come
            assert writing.call.phase == "connecting"
            connected.set()
            assert (await asking)[1]["code"] == "upstream_timeout"
            await client.until_idle()


async def test_a_silent_answer_is_kept_alive_by_pings(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(asyncio.Event()))
    async with (
        serve(ping_seconds=0.01, first_text_timeout=10) as client,
        client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response,
    ):
        chunks = response.chunks()
        assert (await anext(chunks)).startswith(b"event: start")
        assert await anext(chunks) == b": ping\n\n"


@pytest.mark.parametrize(
    ("decision", "last"),
    [(streamed(*answer("At last")), "done"), (httpx.Response(401), "error"), (httpx.ReadTimeout("slow"), "error")],
    ids=["an answer", "a refusal", "none"],
)
async def test_the_stream_begins_before_a_slow_upstream_has_sent_its_status(
    serve: Serve, upstream: respx.Route, decision: httpx.Response | Exception, last: str
) -> None:
    """Proxies close silent connections, so pings are sent even before the provider's status."""
    decides = asyncio.Event()

    async def decide(request: httpx.Request) -> httpx.Response:
        await decides.wait()
        if isinstance(decision, Exception):
            raise decision
        return decision

    upstream.mock(side_effect=decide)
    async with (
        serve(ping_seconds=0.01, connect_timeout=1, first_text_timeout=10) as client,
        client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response,
    ):
        assert response.status == 200
        chunks = response.chunks()
        assert (await anext(chunks)).startswith(b"event: start")
        assert await anext(chunks) == b": ping\n\n"
        decides.set()
        resume = b"".join([chunk async for chunk in chunks])
    assert resume.count(b"event: done") + resume.count(b"event: error") == 1
    assert f"event: {last}" in resume.decode()


@pytest.mark.each_database
async def test_stopping_an_answer_keeps_its_text(client: Client, upstream: respx.Route) -> None:
    body = Body([delta("Half"), asyncio.Event()])
    upstream.mock(return_value=httpx.Response(200, stream=body))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
        events = response.events()
        start = await anext(events)
        await anext(events)
        stopped, _ = await client.request("POST", f"/api/v1/messages/{start.data['message_id']}/stop")
        assert stopped.status == 204
        assert [event.data async for event in events] == [{"status": "cancelled", "usage": None}]
    assert body.closed.is_set()
    turns = await client.get_json(f"/api/v1/conversations/{start.data['conversation_id']}")
    assert (turns["messages"][1]["content"], turns["messages"][1]["status"]) == ("Half", "cancelled")


@pytest.mark.each_database
async def test_a_conversation_can_be_read_rated_and_deleted(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    start = (await client.ask("Hi")).events[0].data
    rated, _ = await client.request(
        "POST", f"/api/v1/messages/{start['message_id']}/feedback", json_body={"rating": "up", "comment": "Nice"}
    )
    assert rated.status == 204
    path = f"/api/v1/conversations/{start['conversation_id']}"
    assert [(m["role"], m["content"], m.get("rating")) for m in (await client.get_json(path))["messages"]] == [
        ("user", "Hi", None),
        ("assistant", "Hello", "up"),
    ]
    deleted, _ = await client.request("DELETE", path)
    assert deleted.status == 204
    gone, body = await client.request("GET", path)
    assert (gone.status, json.loads(body)["code"]) == (404, "conversation_not_found")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "conversations/{id}"),
        ("DELETE", "conversations/{id}"),
        ("POST", "messages/{id}/stop"),
        ("POST", "messages/{id}/feedback"),
    ],
)
@pytest.mark.parametrize("identifier", ["6f1b1f0e-5a52-4a63-9f0a-000000000000", "not-a-uuid"])
async def test_an_unknown_id_is_not_found(client: Client, method: str, path: str, identifier: str) -> None:
    response, body = await client.request(method, "/api/v1/" + path.format(id=identifier), json_body={"rating": "up"})
    assert (response.status, json.loads(body)["status"]) == (404, 404)


@pytest.mark.each_database
async def test_another_tenant_sees_nothing_of_a_conversation(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    start = (await client.ask("Hi")).events[0].data
    _, _, other_key = await client.state["service"].store.add_tenant("other", origins=[ORIGIN])
    other = {"X-API-Key": other_key}
    responses = []
    for conversation_id in (start["conversation_id"], uuid.uuid4()):  # an existing one and an unknown one
        response, body = await client.request("GET", f"/api/v1/conversations/{conversation_id}", headers=other)
        responses.append((response.status, json.loads(body) | {"request_id": ""}))
    assert responses[0] == responses[1]
    assert responses[0][0] == 404
    status, problem, _ = await client.refused(
        json_body={"message": "Hi", "conversation_id": start["conversation_id"]}, headers=other
    )
    assert (status, problem["code"]) == (404, "conversation_not_found")
    assert upstream.call_count == 1
