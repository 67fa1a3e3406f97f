"""Delivering to webhooks: after failures and restarts, by several processes, and to public addresses only."""

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
import respx
from standardwebhooks import Webhook

import manage
from client import until
from conftest import ORIGIN, Serve
from databases import ask
from hooks import (
    HOOKED,
    OTHER,
    SECONDS,
    SECRET,
    URL,
    WANTED,
    Clock,
    hand_off,
    hold_conversation,
    outbox,
    outbox_when_idle,
    process_beside,
    rate,
    received,
)
from hooks import _hook as _hook
from hooks import clock as clock
from hooks import hook as hook
from processes import free_port, restarted, running_service
from service.store.outbox import Handoff, Listed
from service.store.records import Quota
from service.store.store import open_store
from service.testing.chunks import answer, streamed
from service.webhooks import delivery, sending


@pytest.mark.each_database
@pytest.mark.parametrize("failure", [httpx.ConnectError("down"), httpx.Response(503), httpx.Response(302)])
async def test_a_webhook_that_was_down_for_two_minutes_gets_the_event_once(
    serve: Serve, hook: respx.Route, clock: Clock, failure: httpx.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "chatbot")
    if isinstance(failure, httpx.Response):
        failure.headers["Location"] = "https://elsewhere.test/"
    taken: list[httpx.Request] = []

    def answer_it(request: httpx.Request) -> httpx.Response:
        if clock.ahead >= timedelta(minutes=2):
            taken.append(request)
            return httpx.Response(200, content=b"x" * 1_000_000)
        if isinstance(failure, Exception):
            raise failure
        return failure

    hook.mock(side_effect=answer_it)
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        assert (await hand_off(client, started["conversation_id"]))[0] == 204
        (waiting,) = await outbox_when_idle(client)
        assert (waiting.state, waiting.attempts) == ("pending", 1)

        for _ in range(30):  # ten minutes
            clock.ahead += timedelta(seconds=20)
            (event,) = await outbox_when_idle(client)

    assert (event.state, event.attempts) == ("delivered", len(hook.calls))
    assert len(taken) == 1
    assert 3 <= len(hook.calls) <= 5
    assert len({call.request.headers["webhook-id"] for call in hook.calls}) == 1
    log = "\n".join(str(vars(record)) for record in caplog.records)
    assert "webhook failed" in log and "webhook delivered" in log
    assert not any(word in log for word in ("ada@example.com", "By Friday", "parcel", "token=1", "hooks.test"))


async def test_delivery_gives_up_after_a_day_until_the_operator_retries(
    serve: Serve, hook: respx.Route, clock: Clock
) -> None:
    hook.mock(return_value=httpx.Response(500))
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        await hand_off(client, started["conversation_id"])
        began = clock.now()
        async with asyncio.timeout(SECONDS):
            while (event := (await outbox_when_idle(client))[0]).state == "pending":
                clock.ahead = event.due_at - datetime.now(UTC) + timedelta(seconds=1)

        assert (event.state, event.problem, event.attempts, len(hook.calls)) == ("failed", "HTTP 500", 11, 11)
        assert timedelta(hours=19) < clock.now() - began < timedelta(hours=29)

        hook.mock(return_value=httpx.Response(200))
        assert await client.state["service"].store.outbox.retry("shop", event.id, clock.now()) == 1
        assert (await outbox_when_idle(client))[0].state == "delivered"


@pytest.mark.each_database
async def test_two_processes_deliver_each_event_once(serve: Serve, hook: respx.Route) -> None:
    async with serve(tenant=HOOKED) as one, process_beside(one) as other:
        for number in range(10):
            started = await hold_conversation(one, f"{number}?")
            await asyncio.gather(
                hand_off(one, started["conversation_id"]), rate(other, started["message_id"], rating="up")
            )
        events = [*await outbox_when_idle(one), *await outbox_when_idle(other)]

        assert {each.state for each in events} == {"delivered"}
        assert len({message["id"] for message in received(hook)}) == len(hook.calls) == 20


@pytest.mark.each_database
async def test_an_unfinished_delivery_is_taken_over_by_another_process(
    serve: Serve, hook: respx.Route, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "SHUTDOWN_SECONDS", 0)
    asked = asyncio.Event()

    async def never(_: httpx.Request) -> httpx.Response:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    hook.mock(side_effect=never)
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        await hand_off(client, started["conversation_id"])
        await asked.wait()
    hook.mock(side_effect=None, return_value=httpx.Response(200))
    async with process_beside(client) as next_one:
        clock.ahead = timedelta(seconds=delivery.LEASE_SECONDS + 1)
        (event,) = await outbox_when_idle(next_one)

    assert (event.state, event.attempts) == ("delivered", 2)


@pytest.mark.each_database
async def test_the_result_of_an_attempt_whose_lease_has_expired_is_ignored(
    serve: Serve, hook: respx.Route, clock: Clock
) -> None:
    """Another process has taken the event in the meantime."""
    attempts: list[asyncio.Future[httpx.Response]] = []

    async def answer_later(_: httpx.Request) -> httpx.Response:
        attempts.append(asyncio.get_running_loop().create_future())
        return await attempts[-1]

    hook.mock(side_effect=answer_later)
    async with serve(tenant=HOOKED) as one, process_beside(one) as other:
        started = await hold_conversation(one)
        await hand_off(one, started["conversation_id"])
        await until(lambda: len(attempts) == 1)
        first, second = (one, other) if one.state["service"].webhooks._attempts else (other, one)
        clock.ahead = timedelta(seconds=delivery.LEASE_SECONDS + 1)
        second.state["service"].webhooks.wake()
        await until(lambda: len(attempts) == 2)
        taken = await outbox(one)

        attempts[0].set_result(httpx.Response(500))
        await until(lambda: not first.state["service"].webhooks._attempts)
        assert await outbox(one) == taken

        attempts[1].set_result(httpx.Response(204))
        (event,) = await outbox_when_idle(second)
    assert (event.state, event.attempts, len(attempts)) == ("delivered", 2, 2)


async def test_a_webhook_that_does_not_answer_in_time_is_tried_again(
    serve: Serve, hook: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An attempt ends before its lease does, so that no other process takes the event meanwhile."""
    assert sending.TOTAL_SECONDS < delivery.LEASE_SECONDS
    monkeypatch.setattr(sending, "TOTAL_SECONDS", 0.05)

    async def too_late(_: httpx.Request) -> httpx.Response:
        await asyncio.sleep(5)
        return httpx.Response(204)

    hook.mock(side_effect=too_late)
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        await hand_off(client, started["conversation_id"])
        (event,) = await outbox_when_idle(client)
    assert (event.state, event.problem) == ("pending", "no response in time")


class Receiver:
    """A receiver on a real socket, and the ids that it received."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.connections = 0
        self.changed = threading.Condition()

    def wait_for(self, count: int) -> bool:
        with self.changed:
            return self.changed.wait_for(lambda: len(self.ids) >= count, SECONDS)


@contextmanager
def listening(port: int) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def setup(self) -> None:
            receiver.connections += 1
            super().setup()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            message = Webhook(SECRET).verify(body, dict(self.headers))
            self.send_response(204)
            self.end_headers()
            with receiver.changed:
                receiver.ids.append(message["id"])
                receiver.changed.notify_all()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0", "127.1"])
async def test_private_addresses_are_refused_unless_allowed(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    upstream.mock(side_effect=lambda _: streamed(*answer("Hello!")))
    port = free_port()
    monkeypatch.setenv("SHOP_HOOK", f"http://{host}:{port}/")
    with listening(port) as receiver, respx.mock(assert_all_called=False) as router:
        router.route(port=port).pass_through()
        async with serve(tenant=HOOKED) as client:
            started = await hold_conversation(client)
            await hand_off(client, started["conversation_id"])
            (event,) = await outbox_when_idle(client)

        assert (event.state, event.problem) == ("pending", "the address is not a public one")
        assert receiver.connections == 0


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.215.14", True),
        ("2606:2800:21f:cb07:6820:80da:af6b:8b2c", True),
        ("10.0.0.1", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),
        ("224.0.0.251", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fd00:ec2::254", False),
        ("ff02::1", False),
        ("::ffff:10.0.0.1", False),
        ("2002:7f00:1::", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::5db8:d70e", True),
        ("::127.0.0.1", False),
    ],
)
def test_public_addresses_are_recognized(address: str, public: bool) -> None:
    assert sending.is_public(address) is public


async def test_the_checked_address_is_the_one_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So a name that resolves to another address the second time, as in DNS rebinding, gains nothing."""
    answers = iter([["10.0.0.1", "93.184.215.14"], ["127.0.0.1"]])
    connected: list[str] = []

    async def getaddrinfo(*_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in next(answers)]

    async def connect_tcp(_: object, host: str, *__: object, **___: object) -> httpcore.AsyncNetworkStream:
        connected.append(host)
        raise httpcore.ConnectError("far away")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    monkeypatch.setattr(httpcore.AnyIOBackend, "connect_tcp", connect_tcp)
    async with sending.connect_webhooks(httpx.create_ssl_context(), allow_private=False) as client:
        assert await sending.send(client, httpx.Request("POST", URL)) == "ConnectError"
        assert await sending.send(client, httpx.Request("POST", URL)) == "the address is not a public one"

    assert connected == ["93.184.215.14"]


def test_a_killed_service_delivers_after_its_restart(tmp_path: Path) -> None:
    port = free_port()
    settings = {
        "SHOP_HOOK": f"http://127.0.0.1:{port}/",
        "SHOP_HOOK_SECRET": SECRET,
        "WEBHOOK_ALLOW_PRIVATE": "true",
    }
    with running_service(tmp_path / "service", **settings) as service:
        named = ("--webhook-url-env", "SHOP_HOOK", "--webhook-secret-env", "SHOP_HOOK_SECRET")
        service.manage("tenant", "set", "shop", *named)
        headers = {"X-API-Key": service.api_key, "Origin": "http://localhost:1"}
        with httpx.Client(base_url=f"{service.url}/api/v1", headers=headers, timeout=SECONDS) as client:
            start = client.post("/chat", json={"message": "Hello?"}).text
            conversation_id = json.loads(start.split("data: ")[1].split("\n")[0])["conversation_id"]
            assert client.post(f"/conversations/{conversation_id}/handoff", json=WANTED).status_code == 204
        service.kill()
        (waiting,) = service.manage("webhook", "list")
        assert (waiting["event"], waiting["state"]) == ("handoff", "pending")

        with listening(port) as receiver, restarted(service):
            assert receiver.wait_for(1)
        assert receiver.ids == [waiting["id"]]


@pytest.mark.parametrize(
    "secret", [SECRET, SECRET.removeprefix("whsec_"), SECRET.rstrip("="), f"whsec_{OTHER} {SECRET}", f"'{SECRET}'"]
)
async def test_a_secret_may_be_written_in_several_ways_and_rotated(
    serve: Serve, hook: respx.Route, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("SHOP_HOOK_SECRET", secret)
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        await hand_off(client, started["conversation_id"])
        await outbox_when_idle(client)

    assert received(hook)


@pytest.mark.parametrize(
    ("url", "secret", "problem"),
    [
        (None, SECRET, "SHOP_HOOK is not set"),
        ("ftp://hooks.test/", SECRET, "SHOP_HOOK must be an http or https URL, without a fragment"),
        ("https://", SECRET, "SHOP_HOOK must be an http or https URL, without a fragment"),
        (URL, "short", "SHOP_HOOK_SECRET must be whsec_ followed by 24 to 64 bytes in base64"),
        (URL, "  ", "SHOP_HOOK_SECRET must be whsec_ followed by 24 to 64 bytes in base64"),
    ],
)
async def test_the_operator_sees_what_is_wrong_with_a_webhook(
    serve: Serve, hook: respx.Route, monkeypatch: pytest.MonkeyPatch, url: str | None, secret: str, problem: str
) -> None:
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        monkeypatch.setenv("SHOP_HOOK_SECRET", secret)
        monkeypatch.setenv("SHOP_HOOK", url) if url else monkeypatch.delenv("SHOP_HOOK")

        assert await rate(client, started["message_id"], rating="up") == 204

        assert [(event.state, event.problem) for event in await outbox_when_idle(client)] == [("pending", problem)]


def test_the_operator_can_list_retry_and_test(
    database_url: str, hook: respx.Route, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        assert manage.main(arguments) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    def doctor() -> str:
        manage.main(["doctor", "--no-provider", "--json"])
        checks = json.loads(capsys.readouterr().out)["checks"]
        (text,) = (check["text"] for check in checks if check["name"] == "webhook")
        return str(text)

    monkeypatch.setenv("DATABASE_URL", database_url)
    named = ("--webhook-url-env", "SHOP_HOOK", "--webhook-secret-env", "SHOP_HOOK_SECRET")
    assert "go together" in run("tenant", "add", "shop", "--origin", ORIGIN, *named[:2], code=1)
    run("tenant", "add", "shop", "--origin", ORIGIN, *named)
    assert "go together" in run("tenant", "set", "shop", "--unset", "webhook-url-env", code=1)

    async def hand_two_off() -> list[Listed]:
        async with open_store(database_url) as store:
            tenant = await store.get_tenant("shop")
            for _ in range(2):
                start = await ask(store, tenant)
                handoff = Handoff("ada@example.com", "Words.", Quota("handoff", 10))
                assert await store.outbox.hand_off(tenant.id, start.turn.conversation_id, handoff)
            event = await store.outbox.take_due([], datetime.now(UTC), datetime.now(UTC))
            assert event is not None
            await store.outbox.failed(event, "HTTP 500", datetime.now(UTC), again=False)
            return await store.outbox.listed("shop", everything=False, most=10)

    events = {event.state: event for event in asyncio.run(hand_two_off())}

    listed = json.loads(run("webhook", "list", "--json"))
    assert {each["state"]: (each["attempts"], each["problem"]) for each in listed} == {
        "pending": (0, None),
        "failed": (1, "HTTP 500"),
    }
    assert not any(word in run("webhook", "list", "shop") for word in ("ada@", "Words"))
    assert "deliveries that failed for good: 1, the latest with: HTTP 500" in doctor()
    assert "due now: 1." in run("webhook", "retry", "shop", "--id", f"msg_{events['failed'].id.hex}")
    assert "due now: 2." in run("webhook", "retry", "shop", "--all")
    assert [each["state"] for each in json.loads(run("webhook", "list", "--json"))] == ["pending", "pending"]
    assert "no tenant" in run("webhook", "list", "other", code=1)

    assert "set up, with no failed deliveries" in doctor()
    with monkeypatch.context() as unset:
        unset.delenv("SHOP_HOOK")
        assert "SHOP_HOOK is not set" in doctor()

    assert "accepted it" in run("webhook", "test", "shop")
    assert received(hook)[0]["type"] == "test"
    hook.mock(return_value=httpx.Response(410))
    assert "HTTP 410" in run("webhook", "test", "shop", code=1)
