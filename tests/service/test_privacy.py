"""Secrets and messages don't appear in the log, errors or metrics."""

import json
import logging
import uuid
from pathlib import Path

import httpx
import pytest
import respx

import canaries
from conftest import Serve
from service.logs import JSONFormatter, TextFormatter
from service.testing.chunks import answer, delta, streamed

QUESTION = "canary-question"
ANSWER = "canary-answer"
PROVIDER = "canary-provider-text"
KEY = "sk-canary-provider-key"
COMMENT = "canary-comment"


@pytest.mark.each_database
async def test_no_path_through_the_service_logs_a_secret_or_a_visitors_words(
    serve: Serve, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "chatbot")
    refusal = {"error": {"message": PROVIDER, "code": "invalid_api_key"}}
    upstream.mock(
        side_effect=[
            streamed(*answer(ANSWER)),
            streamed(delta(ANSWER), b"data: " + PROVIDER.encode() + b"\n\n"),
            httpx.Response(401, json=refusal),
            httpx.Response(400, text=PROVIDER),
            httpx.ReadError(f"{PROVIDER} {KEY}"),
            RuntimeError(f"{PROVIDER} {KEY}"),
        ]
    )
    output = ""
    async with serve(openai_api_key=KEY, metrics_token="m3trics") as client:
        secret_key = client.headers["X-API-Key"]
        start = (await client.ask(QUESTION)).events[0].data
        broken = await client.ask(QUESTION)
        output += json.dumps(broken.last.data)
        for _ in range(4):
            output += json.dumps((await client.refused(json_body={"message": QUESTION}))[1])
        output += json.dumps(
            (await client.refused(json_body={"message": QUESTION, "conversation_id": str(uuid.uuid4())}))[1]
        )
        await client.refused(headers={"X-API-Key": secret_key[:-1]})
        await client.request("GET", f"/widget.js?key={secret_key}")
        feedback = {"rating": "down", "comment": COMMENT}
        await client.request("POST", f"/api/v1/messages/{start['message_id']}/feedback", json_body=feedback)
        _, metrics = await client.request("GET", "/metrics", headers={"Authorization": "Bearer m3trics"})
    records = [record for record in caplog.records if record.msg != "starting"]  # that one names the provider's host
    for record in records:
        record.exc_text = None  # what pytest's own formatter has left there
    written = "".join(
        formatter.format(record) for record in records for formatter in (JSONFormatter(), TextFormatter())
    )
    assert written.count('"request"') >= 9
    for canary in (QUESTION, ANSWER, KEY, COMMENT, secret_key, "198.51.100.7", "upstream.test"):
        assert canary not in written, canary
        assert canary not in output
        assert canary.encode() not in metrics
    assert PROVIDER not in output


async def test_no_canary_is_found_in_any_output(tmp_path: Path) -> None:
    """The short form of `python tests/support/canaries.py`: every path, by a real service with either form of log."""
    endings, found = await canaries.run(tmp_path, requests=400)

    assert found == []
    for ending in (
        "quick 200",
        "quick 503",
        "left",
        "429 503",
        "broken 200",
        "body 422",
        "origin 403",
        "token 401",
    ):
        assert endings[ending], (ending, endings)
    assert endings["silent 504"] + endings["silent 200"]  # a refusal, or the end of a stream that had begun meanwhile
