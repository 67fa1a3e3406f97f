"""When and how an answer ends, from the finish reasons that providers send."""

import asyncio
from typing import Any

import httpx
import pytest
import respx

from client import Client
from conftest import Serve
from decoding import decode
from service.errors import EmptyAnswer, UpstreamInterrupted
from service.testing.chunks import DONE, Body, answer, counted, data, delta, streamed
from service.upstream.completion import ChatDecoder
from service.upstream.stream import Finish


@pytest.mark.parametrize(
    ("reason", "status"),
    [
        *((word, "complete") for word in ("stop", "STOP", "eos", "end_turn", "COMPLETE", "tool_use", "stop_sequence")),
        *((word, "length") for word in ("length", "max_tokens", "MAX_TOKENS", "maxTokens", "model_length")),
        *((word, "length") for word in ("model_context_window_exceeded", "ERROR_LIMIT", "token limit")),
        *((word, "length") for word in ("token_limit_exceeded", "max_tokens_exceeded")),
        *((word, "filtered") for word in ("content_filter", "sensitive", "refusal", "content_filtered", "SAFETY")),
        *((word, "filtered") for word in ("guardrail_intervened", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST")),
        *((word, "filtered") for word in ("SPII", "ERROR_TOXIC", "image_safety", "contentFilter")),
        ("content_filter: PROHIBITED_CONTENT", "filtered"),
        *((word, "complete") for word in ("OTHER", "unknown", "eof_reached", "🙂")),
    ],
)
def test_finish_reasons_are_classified_by_meaning(reason: str, status: str) -> None:
    assert decode([delta("Hi", reason), DONE]) == ("Hi", Finish(status))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "reason",
    [
        *("error", "abort", "aborted", "ERROR", "insufficient_system_resource", "network_error", "rate_limited"),
        *("deadline_exceeded", "quota_exceeded", "capacity_exceeded", "pause_turn"),
        *("preempted", "terminated", "expired", "partial", "MALFORMED_FUNCTION_CALL"),
        *("function_call_filter: MALFORMED_FUNCTION_CALL", "function_call_filter: UNEXPECTED_TOOL_CALL"),
    ],
)
def test_a_failure_is_not_a_finish_reason(reason: str) -> None:
    text, ending = decode([delta("Hi", reason), DONE])
    assert (text, type(ending)) == ("Hi", UpstreamInterrupted)


def test_an_unknown_finish_reason_is_logged_if_it_is_a_word() -> None:
    for reason, kept in (
        ("OTHER", "OTHER"),
        ("mail to a@b.test", "not a word"),
        ("t0ken1", "not a word"),
        ("stop", None),
    ):
        ending = decode([delta("Hi", reason), DONE])[1]
        assert isinstance(ending, Finish) and ending.unknown_reason == kept


def test_an_unknown_finish_reason_without_text_is_not_an_answer() -> None:
    assert isinstance(decode([delta(finish_reason="OTHER"), DONE])[1], EmptyAnswer)


@pytest.mark.parametrize(
    "reason", ["null", "None", "", " ", "NULL", "FINISH_REASON_UNSPECIFIED", "NOT_FINISHED", 0, False, [], {}]
)
def test_an_empty_finish_reason_does_not_end_the_answer(reason: object) -> None:
    piece = data({"choices": [{"index": 0, "delta": {"content": "Hi"}, "finish_reason": reason}]})
    assert isinstance(decode([piece])[1], UpstreamInterrupted)
    assert decode([piece, delta(" there", "stop")]) == ("Hi there", Finish("complete"))


def thought(text: str, reason: str | None = None) -> bytes:
    return data({"choices": [{"index": 0, "delta": {"reasoning_content": text}, "finish_reason": reason}]})


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([delta(word, "stop") for word in ("One ", "two")], id="on every chunk"),
        pytest.param([delta(word, "stop") for word in ("One ", "two")] + [DONE], id="on every chunk, with [DONE]"),
        pytest.param([thought("Hm", "stop"), delta("One "), delta("two"), DONE], id="on thoughts"),
        pytest.param([delta("", "stop"), delta("One "), delta("two"), DONE], id="before the text"),
        pytest.param([delta("", "stop"), delta("One "), delta("two")], id="before the text, without [DONE]"),
        pytest.param([delta("One ", "null"), delta("two", "null"), DONE], id='the word "null"'),
        pytest.param([delta("One "), delta("two"), delta(None, "stop"), delta(None, "stop")], id="twice"),
    ],
)
def test_text_after_a_finish_reason_belongs_to_the_answer(pieces: list[bytes]) -> None:
    assert decode(pieces) == ("One two", Finish("complete"))


def test_the_last_finish_reason_sent_with_text_counts() -> None:
    assert decode([delta("One ", "stop"), delta("two", "length"), DONE])[1] == Finish("length")
    assert decode([delta("One ", "length"), delta("two", "stop"), DONE])[1] == Finish("complete")


def test_a_plain_ending_without_text_does_not_replace_an_earlier_one() -> None:
    pieces = [delta("One", "content_filter"), delta(None, "stop"), DONE]
    assert decode(pieces)[1] == Finish("filtered")


def certainty(*pieces: bytes) -> tuple[bool, bool]:
    decoder = ChatDecoder()
    for piece in pieces:
        list(decoder.feed(piece))
    return decoder.ended, decoder.is_certain


def test_a_finish_reason_is_certain_until_more_text_follows() -> None:
    assert certainty(delta("One")) == (False, False)
    assert certainty(delta("One", "stop")) == (True, True)
    assert certainty(delta("One", "stop"), counted(9, 4)) == (True, True)
    assert certainty(delta("One", "stop"), delta("two")) == (False, False)
    assert certainty(delta("One", "stop"), delta("two", "stop")) == (True, False)
    assert certainty(delta("One", "stop"), delta("two", "stop"), DONE) == (True, True)
    assert certainty(thought("Hm", "stop"), thought("hm", "stop")) == (True, False)


# End to end: when the service stops waiting


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.upstream.call.AFTER_FINISH_SECONDS", 0.05)
    monkeypatch.setattr("service.upstream.call.AFTER_UNSURE_FINISH_SECONDS", 0.1)


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([delta("One "), delta("two", "stop")], id="once"),
        pytest.param([delta("One ", "stop"), delta("two", "stop")], id="on every chunk"),
        pytest.param([delta("One ", "stop"), delta("two", "stop"), b": ping\n\n"], id="and comments"),
    ],
)
async def test_silence_after_a_finish_reason_ends_the_answer(
    client: Client, upstream: respx.Route, pieces: list[bytes]
) -> None:
    body = Body([*pieces, asyncio.Event()])
    upstream.mock(return_value=httpx.Response(200, stream=body))
    async with asyncio.timeout(30):
        got = await client.ask("Count")
    assert (got.text, got.last.data["status"]) == ("One two", "complete")
    assert body.closed.is_set()


@pytest.mark.usefixtures("patience")
@pytest.mark.parametrize("first", [thought("Hm", "stop"), delta("", "stop"), delta(None, "stop")])
async def test_a_finish_reason_before_the_text_does_not_end_the_answer(
    client: Client, upstream: respx.Route, first: bytes
) -> None:
    text_comes = asyncio.Event()
    upstream.mock(return_value=streamed(first, text_comes, *answer("Hello")))
    asyncio.get_running_loop().call_later(0.5, text_comes.set)
    got = await client.ask("Hi")
    assert (got.text, got.last.data["status"]) == ("Hello", "complete")


async def test_a_connection_that_breaks_after_an_uncertain_ending_is_an_interruption(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(delta("One ", "stop"), delta("two", "stop"), httpx.ReadError("reset")))
    got = await client.ask("Count")
    assert (got.text, got.last.data["code"]) == ("One two", "upstream_interrupted")


async def test_a_connection_that_breaks_after_a_certain_ending_changes_nothing(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(delta("One"), delta(None, "stop"), httpx.ReadError("reset")))
    assert (await client.ask("Count")).last.data["status"] == "complete"


async def test_an_answer_that_times_out_after_an_uncertain_ending_is_not_complete(
    serve: Serve, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(delta("One ", "stop"), delta("two", "stop"), asyncio.Event()))
    async with serve(answer_timeout=0.5) as client:
        got = await client.ask("Count")
    assert (got.text, got.last.data["code"]) == ("One two", "upstream_timeout")


async def test_an_answer_stopped_after_an_uncertain_ending_is_cancelled(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(delta("One ", "stop"), delta("two", "stop"), asyncio.Event()))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Count"}) as response:
        events = response.events()
        start, text = await anext(events), ""
        while text != "One two":
            text += (await anext(events)).data["chunk"]
        await client.request("POST", f"/api/v1/messages/{start.data['message_id']}/stop")
        assert [event.data["status"] async for event in events] == ["cancelled"]


@pytest.mark.parametrize("reason", ["sensitive", "guardrail_intervened"])
async def test_a_filtered_answer_is_stored_as_filtered(client: Client, upstream: respx.Route, reason: str) -> None:
    upstream.mock(return_value=streamed(*answer("Some text.", finish_reason=reason)))
    got = await client.ask("Hi")
    assert got.last.data["status"] == "filtered"
    turns = await client.get_json(f"/api/v1/conversations/{got.events[0].data['conversation_id']}")
    assert (turns["messages"][1]["content"], turns["messages"][1]["status"]) == ("Some text.", "filtered")


async def test_the_log_has_an_unknown_finish_reason(
    client: Client, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.mock(return_value=streamed(*answer("Some text.", finish_reason="OTHER")))
    with caplog.at_level("INFO", "chatbot"):
        assert (await client.ask("Hi")).last.data["status"] == "complete"
        await client.until_idle()
    assert [reason for record in caplog.records if (reason := _field(record, "finish_reason"))] == ["OTHER"]


def _field(record: Any, name: str) -> object:
    return getattr(record, name, None)
