"""At the end of a drain every stream gets its last event, even if its answer has not begun or is written elsewhere."""

import asyncio
import socket
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from client import Client, until
from conftest import Serve
from processes import running_service
from upstreams import local_upstream


@pytest.mark.each_database
@pytest.mark.parametrize("has_reader", [True, False])
async def test_an_answer_that_is_still_connecting_ends_with_the_drain(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, has_reader: bool
) -> None:
    with local_upstream() as local:
        async with serve(openai_base_url=local.url("quick"), drain_seconds=0, connect_timeout=60) as client:
            service = client.state["service"]
            message_id = str(uuid.uuid4())
            if has_reader:
                connected = client.hold_connections(monkeypatch)
                asking = asyncio.create_task(client.request("POST", "/api/v1/chat", json_body=question(message_id)))
                await until(lambda: is_connecting(client))
            else:
                connected, message_id = await client.leave_while_connecting(monkeypatch)
            service.shutdown.set()
            await service.drained.wait()
            if has_reader:
                response, body = await asking
                assert response.status == 503
                assert b'"code":"restarting"' in body
            await client.until_idle()
            assert await service.store.heartbeats() == {}
            assert await client.charged() == 0
            connected.set()
        assert local.asked == 0


def question(message_id: str) -> dict[str, str]:
    return {"message": "Hi", "message_id": message_id}


def is_connecting(client: Client) -> bool:
    return any(each.call.phase == "connecting" for each in client.state["service"].answers._writings.values())


@pytest.mark.parametrize("transport", ["httptools", "httpx"])
def test_a_stream_whose_provider_drops_packets_ends_with_the_drain(tmp_path: Path, transport: str) -> None:
    settings = {"CONNECT_TIMEOUT": "20", "DRAIN_SECONDS": "0.1", "UPSTREAM_TRANSPORT": transport}
    with silent_address() as url, running_service(tmp_path, OPENAI_BASE_URL=url, OPENAI_API_KEY="sk", **settings) as s:
        headers = {"X-API-Key": s.api_key, "Origin": "http://localhost"}
        url, asked = f"{s.url}/api/v1/chat", {"message": "Hi"}
        with httpx.stream("POST", url, json=asked, headers=headers, timeout=60) as response:
            lines = response.iter_lines()
            assert next(lines) == "event: start"
            s.process.terminate()
            rest = list(lines)
        s.process.wait(timeout=60)
        [turn] = s.manage("conversation", "list", "shop")
    assert rest.count("event: error") == 1
    assert '"code":"restarting"' in "".join(rest)
    assert turn["outcomes"] == {"restarting": 1}
    assert "Traceback" not in s.log()


@contextmanager
def silent_address() -> Iterator[str]:
    """The URL of a host that answers no SYN: a socket whose queue of connections is full."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listening.getsockname())
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"
