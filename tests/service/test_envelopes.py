"""Answers in the formats that real servers send."""

import json
from typing import Any

import httpx
import pytest
import respx

from cases import load
from client import Client
from decoding import decode, every_byte
from service.errors import (
    Busy,
    InvalidAnswer,
    KeyRefused,
    ModelUnknown,
    OutOfCredit,
    ProviderOverloaded,
    QuestionFiltered,
    QuestionTooLong,
    ServiceError,
    UpstreamFailed,
    UpstreamInterrupted,
)
from service.testing.chunks import DONE, Body, answer, data, delta, streamed
from service.upstream.charge import TokenCount
from service.upstream.completion import MAX_BLANK_BYTES
from service.upstream.stream import Finish

COMPLETION: dict[str, Any] = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 4},
}


def whole(**message: Any) -> bytes:
    """A completion that is not streamed."""
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return json.dumps(COMPLETION | {"choices": [choice]}, indent=1).encode()


# A whole completion


@pytest.mark.parametrize("before", [b"", b"\xef\xbb\xbf", b"\r\n\t "])
def test_a_whole_completion_is_an_answer_however_it_is_split_up(before: bytes) -> None:
    body = before + whole(content="Hello\n\n\u2028data: there!")
    for pieces in ([body], every_byte(body)):
        assert decode(pieces) == ("Hello\n\n\u2028data: there!", Finish("complete", TokenCount(9, 4)))


def test_endless_blank_lines_cost_little_work() -> None:
    pieces = [b"\n"] * 200_000 + [delta("Hello", "stop")]
    assert decode(pieces) == ("Hello", Finish("complete"))


@pytest.mark.parametrize(("blank", "ending"), [(MAX_BLANK_BYTES - 1, "complete"), (MAX_BLANK_BYTES, "invalid_answer")])
async def test_a_whole_completion_may_follow_a_limited_number_of_blank_bytes(
    client: Client, upstream: respx.Route, blank: int, ending: str
) -> None:
    """Blank bytes are kept until the kind of body is known. Beyond the limit, it counts as a stream of events."""
    upstream.mock(side_effect=lambda _: streamed(b"\n" * blank, whole(content="Hello!")))
    got = (await client.ask("Hi")).last
    assert got.data.get("status", got.data.get("code")) == ending
    upstream.mock(side_effect=lambda _: streamed(b"\n" * blank, *answer("Hello!")))
    assert (await client.ask("Hi")).text == "Hello!"


def test_a_whole_completion_may_have_parts_thoughts_and_no_finish_reason() -> None:
    assert decode([whole(content=[{"type": "text", "text": "Yes"}], reasoning="Hm")])[0] == "Yes"
    assert decode([whole(content="<think>Hm</think>\nYes")])[0] == "Yes"
    assert decode([b'{"choices": [{"message": {"content": "Yes"}}]}']) == ("Yes", Finish("complete"))


@pytest.mark.parametrize("body", [b"{}", b'{"choices": []}', b'{"choices": [{"mess', b"[]", b'{"answer": "Yes"}'])
def test_json_that_is_not_a_completion_is_an_invalid_answer(body: bytes) -> None:
    assert isinstance(decode([body])[1], InvalidAnswer)


def test_a_whole_completion_is_limited_in_size() -> None:
    assert isinstance(decode([whole(content="x" * 1_048_576)])[1], InvalidAnswer)


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "text/event-stream", "text/plain"]
)
async def test_a_whole_completion_is_relayed(client: Client, upstream: respx.Route, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    upstream.mock(side_effect=lambda _: httpx.Response(200, headers=headers, stream=Body([whole(content="Hello!")])))
    got = await client.ask("Hi")
    assert (got.names, got.text) == (["start", "message", "done"], "Hello!")
    assert got.last.data == {"status": "complete", "usage": {"prompt_tokens": 9, "completion_tokens": 4}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": {"message": "a secret of theirs", "code": "bad_request"}}',
        b'{"error": "a secret of theirs"}',
        b'{"object": "error", "message": "a secret of theirs"}',
        b'{"detail": "a secret of theirs"}',
        b"<!doctype html><title>a secret of theirs</title>",
        b"",
        b"a secret of theirs",
    ],
)
@pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
async def test_an_invalid_response_is_refused_before_the_stream_and_costs_nothing(
    client: Client, upstream: respx.Route, body: bytes, content_type: str
) -> None:
    upstream.mock(return_value=httpx.Response(200, headers={"Content-Type": content_type}, stream=Body([body])))
    status, problem, _ = await client.refused()
    assert status == 502
    assert "secret" not in problem["detail"]
    await client.until_idle()
    assert await client.charged() == 0
    assert upstream.call_count == 1


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        ({"error": {"message": "Rate limit exceeded", "code": 429}}, Busy),
        ({"error": {"type": "rate_limit_exceeded", "message": "Try again in 7.66s"}}, Busy),
        ({"error": {"type": "overloaded_error", "message": "Overloaded"}}, ProviderOverloaded),
        ({"error": {"code": "insufficient_quota", "message": "x"}}, OutOfCredit),
        ({"error": {"code": "invalid_api_key", "message": "x"}}, KeyRefused),
        ({"error": "The model `x` does not exist"}, ModelUnknown),
        ({"detail": "This model's maximum context length is 2048 tokens"}, QuestionTooLong),
        ({"error": {"code": "content_filter", "message": "x"}}, QuestionFiltered),
        ({"object": "error", "message": "Internal worker died", "code": 503}, ProviderOverloaded),
        ({"error": {"message": "Something"}}, UpstreamFailed),
    ],
)
def test_an_error_inside_a_200_response_is_classified_as_such(
    error: dict[str, Any], meaning: type[ServiceError]
) -> None:
    for body in (json.dumps(error).encode(), data(error)):
        assert type(decode([body])[1]) is meaning


FILTER = {"code": "data_inspection_failed", "message": "Output data may contain inappropriate content."}  # DashScope


@pytest.mark.parametrize("before", ["Half", "<think>Hm"])
@pytest.mark.parametrize(
    "event",
    [
        data({"error": FILTER}),
        data({"error": FILTER, "choices": [{"delta": {}, "finish_reason": "error"}]}),
        data({"choices": [{"delta": {}, "error": FILTER, "finish_reason": "error"}]}),
        data({"choices": [], "x_groq": {"error": FILTER}}),
        data(FILTER),
        b"event: error\ndata: inappropriate content\n\n",
        data({"choices": None, "output_sensitive": True, "base_resp": {"status_code": 1027}}),  # MiniMax
        data({"choices": [{"delta": {}, "finish_reason": "stop"}], "output_sensitive": True}),
    ],
)
def test_an_answer_that_a_filter_cuts_off_with_an_error_is_filtered(event: bytes, before: str) -> None:
    for pieces in ([delta(before), event, DONE], [delta(before), event]):
        assert decode(pieces) == (before.removeprefix("<think>Hm"), Finish("filtered"))


def test_an_answer_that_no_filter_found_sensitive_is_complete() -> None:
    fields = {"output_sensitive": False, "base_resp": {"status_code": 0, "status_msg": ""}}
    chunk = {"choices": [{"delta": {"content": "Hello"}, "finish_reason": "stop"}], **fields}
    assert decode([data(chunk), DONE]) == ("Hello", Finish("complete"))


async def test_a_filters_error_after_some_text_is_reported_as_filtered(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(delta("Half"), data({"error": FILTER}), DONE))
    got = await client.ask("Hi")
    assert (got.text, got.last.name, got.last.data["status"]) == ("Half", "done", "filtered")


def test_any_other_error_after_some_text_is_an_interruption() -> None:
    limit = data({"error": {"message": "Rate limit exceeded", "code": 429}})
    text, ending = decode([delta("Half"), limit])
    assert (text, type(ending)) == ("Half", UpstreamInterrupted)


OUT_OF_CONTEXT = {"code": 400, "message": "the request exceeds the available context size"}


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"error: " + json.dumps(OUT_OF_CONTEXT).encode(), id="a field named error"),  # llama.cpp
        pytest.param(json.dumps({"error": OUT_OF_CONTEXT}).encode(), id="JSON without a field"),
    ],
)
def test_an_error_outside_of_the_data_is_an_error(line: bytes) -> None:
    for end in (b"\n\n", b"\r\n\r\n", b"\n"):
        body = b"".join([delta("Half"), line, end, DONE])
        for pieces in ([body], [delta("Half"), line + end, DONE], every_byte(body)):
            text, ending = decode(pieces)
            assert (text, type(ending)) == ("Half", UpstreamInterrupted)
        assert type(decode([b": ping\n\n", line, end, DONE])[1]) is QuestionTooLong


async def test_a_question_that_is_too_long_for_llama_cpp_is_refused_as_such(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(b"error: " + json.dumps(OUT_OF_CONTEXT).encode() + b"\n\n", DONE))
    assert (await client.ask("Hi")).last.data["code"] == "question_too_long"


@pytest.mark.parametrize("fields", [{}, {"choices": []}, {"choices": [{"delta": {}, "finish_reason": None}]}])
@pytest.mark.parametrize("error", ["rate limit reached", {"message": "Rate limit reached", "type": "x"}])
def test_an_error_in_a_field_of_groq_is_an_error(fields: dict[str, Any], error: object) -> None:
    """Groq API reference, `x_groq.error`: "An error string indicating why a stream was stopped early"."""
    stopped = data(fields | {"x_groq": {"id": "req_1", "error": error}})
    text, ending = decode([delta("Half"), stopped, DONE])
    assert (text, type(ending)) == ("Half", UpstreamInterrupted)
    assert type(decode([stopped, DONE])[1]) is Busy


@pytest.mark.parametrize("groq", [None, [], "x", {}, {"id": "req_1", "error": None}, {"error": ""}])
def test_a_field_of_groq_without_an_error_does_no_harm(groq: object) -> None:
    chunk = {"choices": [{"delta": {"content": "Hello"}, "finish_reason": None}], "x_groq": groq}
    assert decode([data(chunk), DONE]) == ("Hello", Finish("complete"))


# Errors in a form that is not known

UNKNOWN_ERRORS = [
    data({"text": "**NETWORK ERROR DUE TO HIGH TRAFFIC.**", "error_code": 50004}),  # FastChat
    data({"error_code": 336501, "error_msg": "rate limit"}),
    data({"code": 500, "message": "boom"}),
    data({"detail": "Internal Server Error"}),
    data({"success": False, "errors": [{"code": 7009}]}),
    data({"choices": None, "base_resp": {"status_code": 1000, "status_msg": "unknown error"}}),
    data({"choices": [], "usage": {"total_tokens": 0}, "base_resp": {"status_code": 1008}}),
    data({"type": "error", "message": "boom"}),
    data({"type": ["error"]}),
    data({"choices": [], "status": "error", "message": "boom"}),
    data({"choices": [], "success": False}),
    b"event: failed\ndata: {}\n\n",
    b"event: exception\ndata: null\n\n",
    b"data: Internal Server Error\n\n",
    b"data: [ERROR] CUDA out of memory\n\n",
    b'data: "Internal Server Error"\n\n',
    b'data: ["boom"]\n\n',
]


@pytest.mark.parametrize("error", UNKNOWN_ERRORS)
def test_an_answer_that_ends_with_an_unknown_error_is_not_complete(error: bytes) -> None:
    """Without a finish_reason, `[DONE]` only says that the stream has ended."""
    text, ending = decode([delta("Half"), error, DONE])
    assert (text, type(ending)) == ("Half", UpstreamInterrupted)
    text, ending = decode([delta("<think>Hm"), error, DONE])
    assert (text, type(ending)) == ("", UpstreamInterrupted)


@pytest.mark.parametrize("error", UNKNOWN_ERRORS)
def test_an_event_of_unknown_meaning_does_no_harm_to_an_answer_that_goes_on_or_has_a_finish_reason(
    error: bytes,
) -> None:
    assert decode([error, delta("Hello"), error, delta(" there"), DONE]) == ("Hello there", Finish("complete"))
    assert decode([delta("Hello"), error, delta(finish_reason="stop"), DONE]) == ("Hello", Finish("complete"))
    assert decode([delta("Hello", "stop"), error, DONE]) == ("Hello", Finish("complete"))


@pytest.mark.parametrize(
    ("error", "meaning"),
    [
        (b"data: Internal Server Error\n\n", UpstreamFailed),
        (data({"error_code": 18, "error_msg": "Rate limit reached"}), Busy),
        (data({"choices": [], "base_resp": {"status_msg": "insufficient balance"}}), OutOfCredit),
    ],
)
def test_an_unknown_error_in_place_of_an_answer_is_classified(error: bytes, meaning: type[ServiceError]) -> None:
    for pieces in ([error, DONE], [error]):
        assert type(decode(pieces)[1]) is meaning


@pytest.mark.parametrize(
    "event",
    [
        data({"choices": [], "usage": {"prompt_tokens": 9}}),
        data({"choices": [], "object": "chat.completion.chunk", "timings": {"predicted_ms": 7}}),
        data({"id": "", "object": "", "choices": [], "prompt_filter_results": [{"content_filter_results": {}}]}),
        data({"id": "", "object": "", "prompt_annotations": [{"prompt_index": 0}]}),
        data({"x_groq": {"id": "req_1"}}),
        data({"citations": ["https://a.test"], "status": "completed"}),
        data({"choices": [], "code": 0, "message": "", "success": True, "base_resp": {"status_code": 0}}),
        data({"choices": []}),
        data({"type": "ping", "message": "still here"}),
        b"event: ping\ndata: still here\n\n",
        b"data: {}\n\n",
        b"data: []\n\n",
        b"data: OPENROUTER PROCESSING\n\n",
        b"data: [HEARTBEAT]\n\n",
        b"data: : keep-alive\n\n",
        b"data: 2026-11-30T09:00:00Z\n\n",
        b": OPENROUTER PROCESSING\n\n",
    ],
)
def test_an_event_that_is_known_to_be_harmless_may_end_an_answer(event: bytes) -> None:
    assert decode([delta("Hello"), event, DONE]) == ("Hello", Finish("complete"))


async def test_an_unknown_error_is_reported_to_the_visitor(client: Client, upstream: respx.Route) -> None:
    failed = data({"text": "**NETWORK ERROR DUE TO HIGH TRAFFIC.**", "error_code": 50004})
    upstream.mock(return_value=streamed(delta("Half"), failed, DONE))
    got = await client.ask("Hi")
    assert (got.text, got.last.name, got.last.data["code"]) == ("Half", "error", "upstream_interrupted")


# Content types


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json, text/event-stream; charset=utf-8",
        "text/event-stream;charset=utf-8, text/plain",
        "TEXT/Event-Stream; Charset=UTF-8",
        "text/plain; charset=utf-8",
        "application/octet-stream",
        "",
        None,
    ],
)
async def test_a_stream_is_read_with_any_of_these_content_types(
    client: Client, upstream: respx.Route, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}
    upstream.mock(return_value=httpx.Response(200, headers=headers, stream=Body(answer("Hello!"))))
    got = await client.ask("Hi")
    assert (got.text, got.last.data["status"]) == ("Hello!", "complete")


@pytest.mark.parametrize("case", load("sse_parser_cases.json", "content_type_cases"))
async def test_content_types_are_parsed_as_specified(
    client: Client, upstream: respx.Route, case: dict[str, Any]
) -> None:
    """A body of another type is closed unread: it may be endless."""
    headers = {"Content-Type": case["content_type"]}
    body = Body(answer("Hello!"))
    upstream.mock(return_value=httpx.Response(200, headers=headers, stream=body))
    if case["expected"].startswith("accepted"):
        assert (await client.ask("Hi")).text == "Hello!"
    else:
        assert (await client.refused())[1]["code"] == "invalid_answer"
        assert body.closed.is_set()


@pytest.mark.parametrize("encoding", ["identity", "none", "UTF-8", "chunked", ""])
async def test_a_stream_is_read_with_a_content_encoding_that_is_none(
    client: Client, upstream: respx.Route, encoding: str
) -> None:
    upstream.mock(return_value=streamed(*answer("Hello!"), headers={"Content-Encoding": encoding}))
    got = await client.ask("Hi")
    assert (got.text, got.last.data["status"]) == ("Hello!", "complete")


@pytest.mark.parametrize("encoding", ["br", "zstd", "deflate", "gzip, br"])
async def test_a_stream_in_another_encoding_is_refused(client: Client, upstream: respx.Route, encoding: str) -> None:
    upstream.mock(return_value=streamed(*answer("Hello!"), headers={"Content-Encoding": encoding}))
    assert (await client.refused())[1]["code"] == "invalid_answer"


# Heartbeats


@pytest.mark.parametrize(
    "heartbeat",
    [
        b"data: ping\n\n",
        b"data: [PING]\n\n",
        b"data: : keep-alive\n\n",
        b"data: OPENROUTER PROCESSING\n\n",
        b"data: 2026-11-30T09:00:00Z\n\n",
        b"data: 17\n\ndata: null\n\n",
        b'data: {"type": "ping"}\n\n',
        b"event: ping\ndata: still {here}\n\n",
        b"event: heartbeat\ndata: {\n\n",
        b"data:\n\n: ping\n\n",
    ],
)
def test_a_heartbeat_is_not_part_of_the_answer(heartbeat: bytes) -> None:
    pieces = [heartbeat, delta("Hello"), heartbeat, delta(" there", "stop"), heartbeat, DONE]
    assert decode(pieces) == ("Hello there", Finish("complete"))


@pytest.mark.parametrize(
    "broken", [b'data: {"choices": [\n\n', b'data: "Hello\n\n', b"data: [DONE]x\n\n", b"data: [{\n\n"]
)
def test_a_broken_chunk_is_not_taken_for_a_heartbeat(broken: bytes) -> None:
    text, ending = decode([delta("Hello"), broken, delta(" there", "stop"), DONE])
    assert (text, type(ending)) == ("Hello", InvalidAnswer)


@pytest.mark.parametrize("error", [b"event: error\ndata: out of memory\n\n", b"event: error\ndata: {}\n\n"])
def test_an_error_event_is_an_error_with_any_data(error: bytes) -> None:
    text, ending = decode([delta("Hello"), error, delta(" there", "stop"), DONE])
    assert (text, type(ending)) == ("Hello", UpstreamInterrupted)


# Messages in place of deltas


def choice(**fields: Any) -> bytes:
    return data({"choices": [{"index": 0, **fields}]})


def message(text: str, **fields: Any) -> bytes:
    return choice(delta={}, message={"role": "assistant", "content": text}, **fields)


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param([message("One two", finish_reason="stop")], id="whole"),
        pytest.param([message("One "), message("two", finish_reason="stop")], id="in pieces"),
        pytest.param([message("One "), message("One two"), message("One two", finish_reason="stop")], id="all so far"),
        pytest.param([delta("One "), delta("two"), message("One two", finish_reason="stop")], id="after the deltas"),
        pytest.param(
            [
                choice(delta={"content": "One "}, message={"content": "One "}),
                choice(delta={"content": "two"}, message={"content": "One two"}),
                choice(delta={"content": ""}, message={"content": "One two"}, finish_reason="stop"),
            ],
            id="beside the deltas",
        ),
        pytest.param([choice(message={"content": "One two"}, finish_reason="stop")], id="without a delta"),
        pytest.param([choice(delta=None, message={"content": "One two"}, finish_reason="stop")], id="delta null"),
    ],
)
def test_a_message_next_to_an_empty_delta_has_the_text(pieces: list[bytes]) -> None:
    assert decode([*pieces, DONE]) == ("One two", Finish("complete"))


def test_many_growing_messages_cost_linear_work() -> None:
    words = [f"{number} " for number in range(20_000)]
    assert decode([*map(message, words), delta(finish_reason="stop")])[0] == "".join(words)


async def test_any_2xx_status_is_a_success(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=httpx.Response(201, stream=Body(answer("Hello!"))))
    assert (await client.ask("Hi")).text == "Hello!"
    upstream.mock(return_value=streamed())
    assert (await client.ask("Hi")).last.data["code"] == "upstream_interrupted"
