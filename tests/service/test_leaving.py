"""When readers leave, upstreams stall or the service stops, everything is closed and every answer is recorded."""

import asyncio
import itertools
import logging
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
import respx

import chatbot
from client import Client, until
from conftest import Serve
from preloaded import ROOT
from processes import UVICORN, running_service, running_under_uvicorn
from service.testing.chunks import Body, answer, delta, streamed
from upstreams import local_upstream

pytestmark = pytest.mark.each_database


async def test_an_answer_stops_when_its_reader_does_not_come_back(serve: Serve, upstream: respx.Route) -> None:
    body = Body([delta("Half"), asyncio.Event()])
    upstream.mock(return_value=httpx.Response(200, stream=body))
    async with serve(resume_seconds=0.05) as client:
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
            events = response.events()
            start = await anext(events)
            await anext(events)
            await response.leave()
        await client.until_idle()
        assert body.closed.is_set()
        turns = await client.get_json(f"/api/v1/conversations/{start.data['conversation_id']}")
    assert (turns["messages"][1]["content"], turns["messages"][1]["status"]) == ("Half", "cancelled")


async def test_an_answer_continues_while_another_reader_is_connected(serve: Serve, upstream: respx.Route) -> None:
    resume = asyncio.Event()
    upstream.mock(return_value=streamed(delta("One "), resume, *answer("two")))
    question = {"message": "Count", "message_id": str(uuid.uuid4())}
    async with (
        serve(resume_seconds=0) as client,
        client.stream("POST", "/api/v1/chat", json_body=question) as first,
        client.stream("POST", "/api/v1/chat", json_body=question) as second,
    ):
        await anext(first.events())
        await first.leave()
        resume.set()
        assert (await second.answer()).text == "One two"
    assert upstream.call_count == 1


async def test_a_reader_who_leaves_is_noticed_even_if_every_loop_iteration_brings_a_token(
    serve: Serve, upstream: respx.Route
) -> None:
    tokens = itertools.count()

    async def token_per_iteration() -> AsyncIterator[bytes]:
        while next(tokens) < 5_000:
            yield delta("word ")
            await asyncio.sleep(0)

    upstream.mock(return_value=httpx.Response(200, content=token_per_iteration()))
    async with serve(resume_seconds=0) as client:
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Go on"}) as response:
            await anext(response.events())
            await response.leave()
        await client.until_idle()
        assert next(tokens) < 1_000


async def test_disconnected_readers_leave_nothing_behind(serve: Serve, full: bool) -> None:
    waves = 10 if full else 3
    with local_upstream() as local:
        async with serve(resume_seconds=0, openai_base_url=local.url("endless")) as client:

            async def ask_and_leave() -> None:
                async with client.stream("POST", "/api/v1/chat", json_body={"message": "Go on"}) as response:
                    events = response.events()
                    for _ in range(3):
                        await anext(events)
                    await response.leave()

            await ask_and_leave()  # sse-starlette starts one task for all streams with the first
            await client.until_idle()
            tasks_before = len(asyncio.all_tasks())
            for _ in range(waves):  # more at a moment than a busy machine's database can take would be refused
                await asyncio.gather(*(ask_and_leave() for _ in range(10)))
            assert await asyncio.to_thread(local.wait_until_open, 0)
            await client.until_idle()
            assert local.asked == 1 + 10 * waves
            await until(lambda: len(asyncio.all_tasks()) <= tasks_before)
            assert await outcomes(client) == {"cancelled": 1 + 10 * waves}


async def test_readers_who_leave_during_the_upstream_connect_leak_no_connection(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """httpcore issue 1093: a request that is cancelled while it connects occupies its place in the pool forever."""
    with local_upstream() as local:
        async with serve(resume_seconds=0, max_streams=5, openai_base_url=local.url("quick")) as client:
            connected = client.hold_connections(monkeypatch)
            leaving = [asyncio.create_task(client.ask_and_leave()) for _ in range(5)]
            await until(lambda: len(client.state["service"].answers) == 5)
            for task in leaving:
                task.cancel()
            await asyncio.wait(leaving)
            connected.set()
            await client.until_idle()
            for _ in range(6):
                assert (await client.ask("Hi")).text == "Quick answer"


async def test_a_reader_who_returns_during_the_upstream_connect_gets_the_answer(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_upstream() as local:
        async with serve(openai_base_url=local.url("quick")) as client:
            connected, message_id = await client.leave_while_connecting(monkeypatch)
            back = asyncio.create_task(client.ask("Hi", message_id=message_id))
            await until(lambda: any(w.readers for w in client.state["service"].answers._writings.values()))
            connected.set()
            assert (await back).text == "Quick answer"
            assert local.asked == 1


async def test_a_reader_who_returns_while_a_question_is_being_withdrawn_gets_an_answer(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_upstream() as local:
        async with serve(openai_base_url=local.url("quick")) as client:
            store, answers = client.state["service"].store, client.state["service"].answers
            discard, dropping, go_on = store.discard_turn, asyncio.Event(), asyncio.Event()

            async def discard_later(*arguments: object) -> None:
                dropping.set()
                await go_on.wait()
                await discard(*arguments)

            monkeypatch.setattr(store, "discard_turn", discard_later)
            connected, message_id = await client.leave_while_connecting(monkeypatch)
            connected.set()
            await dropping.wait()
            was_withdrawn, came_back = answers.was_withdrawn, asyncio.Event()

            async def withdrawn_later(message_id: uuid.UUID) -> bool:
                came_back.set()
                dropped: bool = await was_withdrawn(message_id)
                return dropped

            monkeypatch.setattr(answers, "was_withdrawn", withdrawn_later)
            back = asyncio.create_task(client.ask("Hi", message_id=message_id))
            await came_back.wait()
            go_on.set()
            assert (await back).text == "Quick answer"
            assert local.asked == 1


async def test_a_conversation_deleted_during_an_answer_stays_deleted(client: Client, upstream: respx.Route) -> None:
    body = Body([delta("Private"), asyncio.Event()])
    upstream.mock(side_effect=[httpx.Response(200, stream=body), streamed(*answer("New"))])
    question = {"message": "Hi", "message_id": str(uuid.uuid4())}
    async with client.stream("POST", "/api/v1/chat", json_body=question) as response:
        events = response.events()
        start = (await anext(events)).data
        await anext(events)
        deleted, _ = await client.request("DELETE", f"/api/v1/conversations/{start['conversation_id']}")
        assert deleted.status == 204
        assert body.closed.is_set()
        assert [event.data["status"] async for event in events] == ["cancelled"]
    assert (await client.ask("Hi", message_id=question["message_id"])).text == "New"
    await client.until_idle()
    gone, _ = await client.request("GET", f"/api/v1/conversations/{start['conversation_id']}")
    assert gone.status == 404
    assert await outcomes(client) == {"cancelled": 1, "complete": 1}


async def test_a_tenant_removed_during_an_answer_leaves_one_log_line(
    client: Client, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="chatbot")
    resume = asyncio.Event()
    upstream.mock(return_value=streamed(delta("Half"), resume, *answer("whole")))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
        assert (await anext(response.events())).name == "start"
        await client.state["service"].store.remove_tenant("shop")
        resume.set()
        await response.body()
    await client.until_idle()
    assert not [record for record in caplog.records if record.levelno > logging.INFO]
    assert [record.getMessage() for record in caplog.records].count("an answer was not stored: its tenant is gone") == 1


async def test_all_open_answers_are_stored_when_the_service_stops(
    serve: Serve, upstream: respx.Route, full: bool
) -> None:
    count = 100 if full else 25
    upstream.mock(side_effect=lambda request: streamed(delta("Half"), asyncio.Event()))

    async def read_to_the_end(client: Client) -> str:
        return str((await client.ask("Hi")).last.data["code"])

    async with serve(drain_seconds=0) as client:
        readers: list[asyncio.Task[str]] = []
        writings = client.state["service"].answers._writings

        def all_read() -> bool:
            assert not any(reader.done() for reader in readers)
            return len(writings) == len(readers) and all(writing.answer.length for writing in writings.values())

        while len(readers) < count:  # more at a moment than a busy machine's database can take would be refused
            readers += [asyncio.create_task(read_to_the_end(client)) for _ in range(5)]
            await until(all_read)
        client.state["service"].shutdown.set()
        assert set(await asyncio.gather(*readers)) == {"restarting"}
        await client.until_idle()
        await client.state["service"].drained.wait()
        assert await outcomes(client) == {"restarting": count}
        assert await client.state["service"].store.heartbeats() == {}


@pytest.mark.parametrize("transport", ["httptools", "httpx"])
async def test_a_stale_upstream_connection_is_retried(
    serve: Serve, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.upstream.call.STALE_SECONDS", 30)
    with local_upstream() as local:
        async with serve(openai_base_url=local.url("once"), upstream_transport=transport) as client:
            for _ in range(2):
                assert (await client.ask("Hi")).text == "Quick answer"
            assert local.asked == 3


@pytest.mark.parametrize("status", [500, 502, 503, 504])
async def test_a_failure_before_the_first_byte_is_retried(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    upstream.mock(side_effect=[httpx.Response(status), httpx.Response(status), streamed(*answer("Hello"))])
    assert (await client.ask("Hi")).text == "Hello"


async def test_a_failed_connection_is_tried_three_times_and_then_reported(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    upstream.mock(side_effect=httpx.ConnectError("refused"))
    status, problem, _ = await client.refused()
    assert (status, problem["code"], upstream.call_count) == (502, "upstream_failed", 3)


@pytest.mark.parametrize("error", [httpx.ReadError("reset"), httpx.RemoteProtocolError("closed")])
async def test_a_question_that_may_have_been_answered_is_not_retried(
    client: Client, upstream: respx.Route, error: Exception
) -> None:
    upstream.mock(side_effect=error)
    assert (await client.refused())[1]["code"] == "upstream_interrupted"
    assert upstream.call_count == 1


async def test_an_upstream_that_does_not_answer_in_time_is_a_504(client: Client, upstream: respx.Route) -> None:
    upstream.mock(side_effect=httpx.ReadTimeout("slow"))
    status, problem, _ = await client.refused()
    assert (status, problem["code"]) == (504, "upstream_timeout")


async def test_the_circuit_opens_when_an_upstream_is_down(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.upstream.circuit.OPEN_SECONDS", 1)
    upstream.mock(side_effect=httpx.ReadTimeout("slow"))
    for _ in range(10):
        assert (await client.refused())[0] == 504
    status, problem, headers = await client.refused()
    assert (status, problem["code"], headers["retry-after"]) == (502, "upstream_failed", "1")
    assert upstream.call_count == 10
    upstream.mock(side_effect=lambda request: streamed(*answer("Back")))
    async with asyncio.timeout(30):
        while (await client.request("POST", "/api/v1/chat", json_body={"message": "Hi"}))[0].status != 200:
            await asyncio.sleep(0.01)
    assert (await client.ask("Hi")).text == "Back"


@pytest.mark.parametrize("status", [400, 401, 404, 429])
async def test_a_refusal_does_not_count_as_an_outage(client: Client, upstream: respx.Route, status: int) -> None:
    upstream.mock(return_value=httpx.Response(status, headers={"Retry-After": "60"}))
    for _ in range(12):
        await client.refused()
    assert upstream.call_count == 12


async def test_a_shutdown_ends_open_answers_with_one_error_and_stores_them(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(delta("Half"), asyncio.Event()))
    async with (
        serve(drain_seconds=0.05) as client,
        client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response,
    ):
        events = response.events()
        start = await anext(events)
        await anext(events)
        client.state["service"].shutdown.set()
        resume = [event async for event in events]
        assert [(event.name, event.data["code"]) for event in resume] == [("error", "restarting")]
        assert (await client.refused())[1]["code"] == "restarting"
        ready, _ = await client.request("GET", "/api/v1/ready")
        assert ready.status == 503
        await client.state["service"].drained.wait()
        turns = await client.get_json(f"/api/v1/conversations/{start.data['conversation_id']}")
        assert (turns["messages"][1]["content"], turns["messages"][1]["code"]) == ("Half", "restarting")


async def test_a_question_without_a_response_at_the_end_of_the_drain_gets_a_retry_after(
    serve: Serve, upstream: respx.Route
) -> None:
    reached, answering = asyncio.Event(), asyncio.Event()

    async def answer_later(request: httpx.Request) -> httpx.Response:
        reached.set()
        await answering.wait()
        return streamed(*answer("Too late"))

    upstream.mock(side_effect=answer_later)
    async with serve(drain_seconds=0.05) as client:
        asking = asyncio.create_task(client.refused())
        await reached.wait()
        client.state["service"].shutdown.set()
        status, problem, headers = await asking
    assert (status, problem["code"], headers.get("retry-after")) == (503, "restarting", "1")


async def test_a_question_accepted_just_before_a_shutdown_may_finish(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = asyncio.Event()
    upstream.mock(return_value=streamed(delta("Half "), resume, *answer("whole")))
    async with serve(drain_seconds=30) as client:
        service = client.state["service"]
        begin_turn, beginning, go_on = service.store.begin_turn, asyncio.Event(), asyncio.Event()

        async def begin_later(*arguments: object, **options: object) -> object:
            beginning.set()
            await go_on.wait()
            return await begin_turn(*arguments, **options)

        monkeypatch.setattr(service.store, "begin_turn", begin_later)
        asking = asyncio.create_task(client.ask("Hi"))
        await beginning.wait()
        service.shutdown.set()
        await until(lambda: service.answers.draining)
        go_on.set()
        await until(lambda: len(service.answers) == 1)
        assert not service.drained.is_set()
        resume.set()
        assert (await asking).text == "Half whole"
        await service.drained.wait()


@pytest.mark.parametrize("command", [[], UVICORN], ids=["own server", "uvicorn's command"])
def test_sigterm_lets_answers_finish_and_then_the_process_exits(tmp_path: Path, command: list[str]) -> None:
    with local_upstream() as local:
        settings = {"OPENAI_BASE_URL": local.url("endless"), "DRAIN_SECONDS": "1", "OPENAI_API_KEY": "sk"}
        with running_service(tmp_path, command=command, **settings) as running:
            headers = {"X-API-Key": running.api_key, "Origin": "http://localhost"}
            with httpx.stream(
                "POST", f"{running.url}/api/v1/chat", json={"message": "Hi"}, headers=headers, timeout=60
            ) as response:
                lines = response.iter_lines()
                assert next(lines) == "event: start"
                running.process.terminate()
                resume = list(lines)
            running.process.wait(timeout=60)
            assert resume.count("event: error") == 1
            assert '"code":"restarting"' in "".join(resume)
            assert "event: done" not in resume
            assert "Traceback" not in running.log()


def test_an_incomplete_request_at_shutdown_gets_a_retry_after(tmp_path: Path) -> None:
    head = "POST /api/v1/chat HTTP/1.1\r\nHost: {}\r\nOrigin: {}\r\nX-API-Key: {}\r\nExpect: 100-continue\r\n"
    body = "Content-Type: application/json\r\nContent-Length: 500\r\n\r\n"
    with running_service(tmp_path) as running:
        url = httpx.URL(running.url)
        with socket.create_connection((url.host, url.port or 0), timeout=60) as slow:
            slow.sendall((head.format(url.netloc.decode(), "http://localhost", running.api_key) + body).encode())
            assert slow.recv(1000).startswith(b"HTTP/1.1 100 ")  # the body is waited for
            slow.sendall(b'{"message": "H')
            running.process.terminate()
            answered = b"".join(iter(lambda: slow.recv(65_536), b""))
        running.process.wait(timeout=60)
    assert answered.startswith(b"HTTP/1.1 503 ")
    assert b'"code":"restarting"' in answered
    assert b"\r\nretry-after: 1\r\n" in answered.lower()
    assert "Traceback" not in running.log()
    assert "status=500" not in running.log()


def test_ctrl_c_stops_the_service_without_a_traceback(tmp_path: Path) -> None:
    with running_service(tmp_path) as running:
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(timeout=60) == 0
        assert "Traceback" not in running.log()


def test_the_uvicorn_command_serves_and_stops_too(tmp_path: Path) -> None:
    with running_under_uvicorn(tmp_path) as running:
        assert httpx.get(f"{running.url}/api/v1/ready", timeout=60).json() == {"status": "ready"}
    assert "Traceback" not in running.log()


def test_the_modules_app_is_created_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(chatbot), "app", None)  # so that changes made here are undone at the end
    del chatbot.app
    assert chatbot.app is chatbot.app


def test_an_invalid_setting_prevents_startup_with_one_line_that_names_it(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "chatbot.py")]
    done = subprocess.run(command, cwd=tmp_path, env={"PORT": "http"}, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert re.fullmatch(r"chatbot: PORT: .*\n", done.stderr)


async def outcomes(client: Client) -> dict[str, int]:
    totals = await client.state["service"].store.usage("shop", datetime.now(UTC) - timedelta(days=1), ["outcome"])
    return {str(total.group[0]): total.requests for total in totals}
