"""The log has one line per event, with ids to search for, which responses carry, too."""

import json
import logging
import os
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from client import Client
from preloaded import CHATBOT, run_program
from processes import running_service
from service.testing.chunks import answer, delta, streamed


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="chatbot")


def lines(caplog: pytest.LogCaptureFixture, message: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if record.getMessage() == message]


async def test_an_answers_log_line_names_its_tenant_key_model_and_conversation(
    client: Client, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    message_id = str(uuid.uuid4())
    got = await client.ask("Hi", message_id=message_id)
    await client.until_idle()

    [key] = await client.state["service"].store.list_keys("shop")
    [line] = lines(caplog, "answer")
    fields = {
        name: line[name] for name in ("tenant", "key", "model", "conversation_id", "message_id", "upstream_status")
    }
    assert fields == {
        "tenant": "shop",
        "key": key.id,
        "model": "gpt-4o-mini",
        "conversation_id": got.events[0].data["conversation_id"],
        "message_id": message_id,
        "upstream_status": 200,
    }


async def test_a_refusal_has_the_request_id_of_its_log_line(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    _, problem, headers = await client.refused(json_body={"message": ""})
    [line] = lines(caplog, "request")
    assert problem["request_id"] == headers["x-request-id"] == line["request_id"]


async def test_an_answers_error_event_has_the_request_id_of_its_log_line(
    client: Client, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    upstream.mock(return_value=streamed(delta("Half "), httpx.ReadError("gone")))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
        got = await response.answer()
    [line] = lines(caplog, "answer")
    assert got.last.name == "error"
    assert got.last.data["request_id"] == response.headers["x-request-id"] == line["request_id"]


def test_malformed_requests_get_an_id_too_and_all_log_lines_are_json(tmp_path: Path) -> None:
    with running_service(tmp_path, LOG_FORMAT="json") as service:
        refused = httpx.get(service.url, headers={"X-Long": "x" * 70_000}, timeout=60)
        assert refused.status_code == 431
        assert refused.json()["request_id"] == refused.headers["x-request-id"]
    logged = [json.loads(line) for line in service.log().splitlines()]
    assert [each["code"] for each in logged if each.get("request_id") == refused.json()["request_id"]] == [
        "head_too_large"
    ]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"PORT": "none"}, "PORT: "),
        ({"DATABASE_URL": "sqlite:////nowhere/chatbot.db"}, "DATABASE_URL: "),
        ({"HOST": "192.0.2.1"}, "HOST, PORT: "),
    ],
)
def test_a_failed_start_says_why_in_json(tmp_path: Path, settings: dict[str, str], reason: str) -> None:
    environment = {"PATH": os.environ["PATH"], "PORT": "0", "LOG_FORMAT": "json", **settings}
    done = run_program([CHATBOT], cwd=tmp_path, env=environment, directory=tmp_path)
    assert done.returncode != 0
    logged = [json.loads(line) for line in done.stderr.splitlines()]
    assert logged[-1]["reason"].startswith(reason)
