"""Recorded provider responses through the whole service: the same text, the right ending, one final event."""

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx

from cases import body_of, ends_honestly, load, texts_of
from client import Answer, Client
from service.testing.chunks import Body

BROKEN_END = {
    "connection_reset": httpx.ReadError("reset"),
    "close_without_chunked_terminator": httpx.RemoteProtocolError("incomplete chunked read"),
}


def pieces_of(stream: dict[str, Any], splits: object) -> list[bytes | Exception]:
    """The body split as a network might split it, and its error at the end, if any."""
    body = body_of(stream)
    cuts = splits if isinstance(splits, list) else range(1, len(body)) if splits == "every_byte" else []
    places = [0, *cuts, len(body)]
    pieces = [body[start:end] for start, end in zip(places, places[1:], strict=False)]
    broken = BROKEN_END.get(stream.get("then", ""))
    return [*pieces, broken] if broken else list(pieces)


def ending_of(got: Answer) -> str:
    return "error" if got.last.name == "error" else got.last.data["status"]


@pytest.mark.parametrize("splits", ["whole", "every_byte"])
@pytest.mark.parametrize("stream", load("streams_manifest.json", "streams"))
async def test_a_recorded_answer_is_relayed(
    client: Client, upstream: respx.Route, stream: dict[str, Any], splits: str
) -> None:
    content_type = stream.get("content_type", "text/event-stream")
    body = Body(pieces_of(stream, splits))
    upstream.mock(return_value=httpx.Response(200, headers={"Content-Type": content_type}, stream=body))
    got = await client.ask("Hi")
    assert got.text in texts_of(stream)
    assert ends_honestly(stream, ending_of(got))
    assert [name for name in got.names if name in ("done", "error")] == [got.last.name]
    if not got.text and stream["why"] in ("tool_calls", "empty", "refusal"):
        assert ending_of(got) in ("error", "filtered"), "a visitor would see an empty bubble"


@pytest.mark.parametrize(
    "case", load("upstream_http_errors.json", "cases") + load("reported/upstream_http_errors.json", "cases")
)
async def test_an_upstream_error_is_reported_in_our_own_words(
    client: Client, upstream: respx.Route, case: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    content = (
        "".join(case["body_repeat"][0] for _ in range(case["body_repeat"][1]))
        if "body_repeat" in case
        else case["body"]
    )
    upstream.mock(return_value=httpx.Response(case["status"], headers=case["headers"], content=content))
    status, problem, headers = await client.refused()
    expect = case["expect"]
    assert status in expect["service_status"]
    codes = {
        "busy": {"busy", "provider_overloaded"},
        "unavailable": {"upstream_failed", "provider_overloaded"},
        "too_long": {"question_too_long"},
    }
    assert problem["code"] in codes[expect["sse_error"]]
    assert ("retry-after" in headers) == (expect["sse_error"] == "busy") or case["headers"].get("retry-after")
    for word in content.split():
        if len(word) > 12:
            assert word not in problem["detail"]
    tries = upstream.call_count
    once = 2 if "does not support 'system'" in content else 1  # asked again without a system message
    assert tries == once if expect["retry"] is False else 1 <= tries <= 3


async def test_a_turn_that_the_upstream_refused_is_stored_as_an_error_and_costs_nothing(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(return_value=httpx.Response(401, json={"error": {"code": "invalid_api_key"}}))
    await client.refused()
    totals = await client.state["service"].store.usage(
        "shop", since=datetime.now(UTC) - timedelta(days=1), by=["outcome"]
    )
    assert [(t.group[0], t.requests, t.prompt_tokens) for t in totals] == [("key_refused", 1, 0)]
