"""The charge for an answer: credible counts are used, and reasoning counts as received text."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx

from client import Client
from conftest import Serve
from service.testing.chunks import DONE, Body, Piece, answer, counted, data, delta, streamed
from service.tokens import estimate_tokens
from service.upstream.charge import Size, TokenCount, charged_tokens, is_credible
from service.upstream.completion import ChatDecoder
from service.upstream.stream import Hidden

WORDS = "word " * 200
ASKED = Size.of("question " * 20)


@pytest.mark.parametrize(
    ("count", "text", "cap", "credible", "charged"),
    [
        (TokenCount(40, 200, 240), WORDS, 0, True, 240),
        (TokenCount(40, 200), WORDS, 0, True, 240),
        (TokenCount(0, 0, 0), WORDS, 0, False, 500),
        (TokenCount(60, 0, 60), WORDS, 0, False, 500),
        (TokenCount(0, 200, 200), WORDS, 0, False, 500),
        (TokenCount(900, 1, 901), WORDS, 0, False, 901),
        (TokenCount(40, 5), WORDS, 0, False, 500),
        (TokenCount(40, 2), "Hello", 0, True, 42),
        (TokenCount(40, 0), "", 0, True, 40),
        (TokenCount(40, 2, 9000), "Hello", 4096, True, 9000),
        (TokenCount(40, 9000), "Hello", 4096, True, 9040),
        (TokenCount(40, 2, 3), "Hello", 0, True, 42),
        (TokenCount(40, 2, 2_000_000_000), "Hello", 100, False, 500),
        (TokenCount(40, 2_000_000_000), "Hello", 100, False, 500),
        (TokenCount(2_000_000_000, 2), "Hello", 100, False, 500),
        (TokenCount(-40, 200), WORDS, 0, False, 500),
        (TokenCount(40, -1), "Hello", 0, False, 500),
    ],
)
def test_a_plausible_token_count_is_believed(
    count: TokenCount, text: str, cap: int, credible: bool, charged: int
) -> None:
    """Otherwise the estimate is charged, here 500 tokens, or the count if it is larger but possible."""
    received = Size.of(text)
    assert is_credible(count, ASKED, received, cap) is credible
    assert charged_tokens(count, ASKED, received, cap, estimate=500) == charged


def test_without_a_count_the_estimate_is_charged() -> None:
    assert charged_tokens(None, ASKED, Size.of(WORDS), cap=0, estimate=500) == 500


THOUGHT = "I think. "


@pytest.mark.parametrize(
    "delta",
    [
        {"reasoning_content": THOUGHT},
        {"reasoning": THOUGHT, "content": ""},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}]},
        {
            "reasoning": THOUGHT,
            "reasoning_details": [{"type": "reasoning.text", "text": THOUGHT, "format": "unknown", "index": 0}],
        },
        {"role": "assistant", "content": None, "refusal": THOUGHT},
        {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"arguments": THOUGHT}}]},
    ],
)
def test_hidden_parts_are_charged_too(delta: dict[str, Any]) -> None:
    parts = list(ChatDecoder().feed(data({"choices": [{"index": 0, "delta": delta}]})))
    assert parts == [Hidden(Size.of(THOUGHT))]


def test_what_a_gateway_reports_about_itself_is_not_counted_as_hidden() -> None:
    """As Vercel's AI gateway does in the last delta."""
    routing = {"gateway": {"routing": {"resolvedProvider": "vertex", "planningReasoning": THOUGHT}, "cost": "0.01"}}
    delta = {"provider_metadata": routing}
    chunk = {"choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}
    assert list(ChatDecoder().feed(data(chunk))) == []


def test_visible_text_is_not_counted_as_hidden() -> None:
    decoder = ChatDecoder()
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    for content in ("Hello", parts):
        sent = data({"choices": [{"index": 0, "delta": {"role": "assistant", "content": content}}]})
        assert list(decoder.feed(sent)) == ["Hello"]


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
        {"prompt_tokens": 60, "completion_tokens": 0, "total_tokens": 60},
        {"prompt_tokens": 9, "completion_tokens": 1},
        {"prompt_tokens": -5, "completion_tokens": -5},
        {"prompt_tokens": True, "completion_tokens": 10**30},
    ],
)
async def test_an_impossible_token_count_is_not_charged(
    serve: Serve, upstream: respx.Route, usage: dict[str, Any]
) -> None:
    upstream.mock(
        return_value=streamed(delta(WORDS), delta(finish_reason="stop"), data({"choices": [], "usage": usage}), DONE)
    )
    async with serve(system_prompt="Be kind.") as client:
        assert (await client.ask("Hi")).last.data["status"] == "complete"
        assert await client.charged() == estimate_tokens(["Be kind.", "Hi", WORDS])


async def test_a_total_that_includes_thoughts_is_charged_and_the_parts_are_reported_as_received(
    client: Client, upstream: respx.Route
) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 2, "total_tokens": 354}
    upstream.mock(
        return_value=streamed(delta("Hello"), delta(finish_reason="stop"), data({"choices": [], "usage": usage}), DONE)
    )
    got = await client.ask("Hi")
    assert got.last.data["usage"] == {"prompt_tokens": 12, "completion_tokens": 2}
    assert await client.charged() == 354


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
async def test_a_stopped_answer_is_charged_for_its_thoughts(serve: Serve, upstream: respx.Route, name: str) -> None:
    thoughts = [data({"choices": [{"index": 0, "delta": {name: THOUGHT}}]})] * 1000
    upstream.mock(return_value=streamed(*thoughts, delta("Half"), asyncio.Event()))
    async with serve(system_prompt="Be kind.") as client:
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
            events = response.events()
            start = await anext(events)
            assert (await anext(events)).data == {"chunk": "Half"}
            await client.request("POST", f"/api/v1/messages/{start.data['message_id']}/stop")
            assert [event async for event in events][-1].data["status"] == "cancelled"
        await client.until_idle()
        expected = estimate_tokens(["Be kind.", "Hi", "Half"]) + Size.of(THOUGHT * 1000).tokens
        assert await client.charged() == expected


async def test_an_interrupted_answer_of_thoughts_alone_is_charged_for_them(serve: Serve, upstream: respx.Route) -> None:
    thoughts = [data({"choices": [{"index": 0, "delta": {"reasoning_content": THOUGHT}}]})] * 100
    upstream.mock(return_value=streamed(*thoughts, *answer(tokens=None)))
    async with serve(system_prompt="Be kind.") as client:
        assert (await client.ask("Hi")).last.data["code"] == "empty_answer"
        await client.until_idle()
        assert await client.charged() == estimate_tokens(["Be kind.", "Hi", ""]) + Size.of(THOUGHT * 100).tokens


SPENT = {"prompt_tokens": 20, "completion_tokens": 4000}
CALLED = {"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"arguments": "{}"}}]}


@pytest.mark.parametrize(
    ("pieces", "ending"),
    [
        ([delta("", "stop"), counted(20, 4000), DONE], "empty_answer"),
        ([delta("Whole", "stop"), data({"choices": [], "x_groq": {"usage": SPENT}}), DONE], "complete"),
        ([data({"choices": [{"delta": CALLED, "finish_reason": "tool_calls"}], "usage": SPENT}), DONE], "empty_answer"),
        ([delta("", "error"), counted(20, 4000), DONE], "upstream_failed"),
        ([delta("Half"), counted(20, 4000), httpx.ReadError("reset")], "upstream_interrupted"),
        ([delta("Half"), data({"error": {"code": "server_error"}, "usage": SPENT})], "upstream_interrupted"),
        ([delta("Whole"), data({"choices": [{"delta": {}, "finish_reason": "stop", "usage": SPENT}]})], "complete"),
    ],
    ids=["no text", "of Groq", "a tool call", "an error", "a cut", "an error within", "in the choice"],
)
async def test_a_reported_count_is_charged_however_the_answer_ends(
    client: Client, upstream: respx.Route, pieces: list[Piece], ending: str
) -> None:
    upstream.mock(return_value=streamed(*pieces))
    last = (await client.ask("Hi")).last.data
    assert last.get("code", last.get("status")) == ending
    await client.until_idle()
    assert await spent(client) == (20, 4000, 4020)


def test_a_count_in_a_field_of_groq_is_used_only_without_another() -> None:
    groq = {"usage": SPENT | {"completion_tokens": 1}}
    decoder = ChatDecoder()
    list(decoder.feed(data({"choices": [], "usage": SPENT, "x_groq": groq})))
    assert decoder.usage == TokenCount(20, 4000)


async def test_a_stopped_answer_has_the_count_that_came_before(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(counted(20, 4000), delta("Half"), asyncio.Event()))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
        events = response.events()
        start, _ = await anext(events), await anext(events)
        await client.request("POST", f"/api/v1/messages/{start.data['message_id']}/stop")
        assert [event async for event in events][-1].data == {"status": "cancelled", "usage": SPENT}
    assert await spent(client) == (20, 4000, 4020)


@pytest.mark.parametrize(
    ("fields", "charged"),
    [
        ({"choices": [{"message": {"content": ""}, "finish_reason": "stop"}], "usage": SPENT}, (20, 4000, 4020)),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "error"}], "usage": SPENT}, (20, 4000, 4020)),
        ({"choices": [{"message": {"content": ""}, "finish_reason": "stop"}]}, (0, 0, 0)),
        ({"error": {"code": "server_error"}, "usage": SPENT}, (0, 0, 0)),
    ],
    ids=["empty", "failed", "uncounted", "refused"],
)
async def test_whole_json_without_text_is_charged_only_if_it_reports_a_count(
    client: Client, upstream: respx.Route, fields: dict[str, Any], charged: tuple[int, int, int]
) -> None:
    body = Body([json.dumps(fields).encode()])
    upstream.mock(return_value=httpx.Response(200, headers={"Content-Type": "application/json"}, stream=body))
    assert (await client.refused())[0] == 502
    await client.until_idle()
    assert await spent(client) == charged


async def spent(client: Client) -> tuple[int, int, int]:
    """The reported prompt and completion tokens, and the charge."""
    [total] = await client.state["service"].store.usage("shop", datetime.now(UTC) - timedelta(days=1), ())
    return total.prompt_tokens, total.completion_tokens, total.charged
