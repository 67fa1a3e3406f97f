"""What a tenant's webhook is told: hand-offs and ratings, signed, once, after a failure and after a restart."""

import asyncio
import base64
import json
import socket
import threading
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpcore
import httpx
import pytest
import respx
from standardwebhooks import Webhook, WebhookVerificationError

import chatbot
import manage
from client import Client
from conftest import ORIGIN, Serve
from databases import ask
from processes import free_port, restarted, running_service
from service.store.outbox import MOST_CHARS, Handoff, Listed
from service.store.records import Quota
from service.store.store import open_store
from service.testing.chunks import answer, streamed
from service.webhooks import delivery, sending

URL = "https://hooks.test/in?token=1"
SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
HOOKED = {"webhook_url_env": "SHOP_HOOK", "webhook_secret_env": "SHOP_HOOK_SECRET"}
WANTED = {"email": "ada@example.com", "note": "By Friday, please.", "consent": True}
OTHER = base64.b64encode(b"another secret of 24 byte").decode()
SECONDS = 60


@pytest.fixture(autouse=True)
def _hook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_HOOK", URL)
    monkeypatch.setenv("SHOP_HOOK_SECRET", SECRET)


@pytest.fixture
def hook(upstream: respx.Route) -> Iterator[respx.Route]:
    """The tenant's webhook, which takes all; the upstream answers every question with "Hello!"."""
    upstream.mock(side_effect=lambda _: streamed(*answer("Hello!")))
    with respx.mock(assert_all_called=False) as router:
        yield router.post(URL).mock(return_value=httpx.Response(204))


class Clock:
    """The clock of deliveries, ahead of the machine's."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(delivery, "utc_now", clock.now)
    return clock


@asynccontextmanager
async def process_beside(one: Client) -> AsyncIterator[Client]:
    """A client of another application with the same settings."""
    app = chatbot.create_app(one.state["service"].settings)
    async with app.router.lifespan_context(app) as state:
        assert state is not None
        yield Client(app, dict(state), one.headers)


async def hold_conversation(client: Client, question: str = "Where is my parcel?") -> dict[str, str]:
    """The event `start` of a conversation of one turn."""
    started: dict[str, str] = (await client.ask(question)).events[0].data
    await client.until_idle()
    return started


async def hand_off(client: Client, conversation_id: str, wanted: object = WANTED, **options: Any) -> tuple[int, Any]:
    path = f"/api/v1/conversations/{conversation_id}/handoff"
    response, body = await client.request("POST", path, json_body=wanted, **options)
    return response.status, json.loads(body) if body else None


async def rate(client: Client, message_id: str, **given: str) -> int:
    response, _ = await client.request("POST", f"/api/v1/messages/{message_id}/feedback", json_body=given)
    return response.status


async def outbox(client: Client) -> list[Listed]:
    listed: list[Listed] = await client.state["service"].store.outbox.listed(None, everything=True, most=1000)
    return listed


async def settled(client: Client) -> list[Listed]:
    """The outbox as soon as nothing is due and no attempt is under way."""
    delivering = client.state["service"].webhooks
    async with asyncio.timeout(SECONDS):
        while True:
            delivering.wake()
            events = await outbox(client)
            waiting = [each for each in events if each.state == "pending"]
            if not delivering._attempts and all(each.problem and each.due_at > delivery.utc_now() for each in waiting):
                return events
            await asyncio.sleep(0.01)


def told(hook: respx.Route) -> list[dict[str, Any]]:
    """What the webhook was told, each verified as a receiver does it."""
    return [Webhook(SECRET).verify(call.request.content, dict(call.request.headers)) for call in hook.calls]


@pytest.mark.each_database
async def test_a_hand_off_reaches_the_webhook_once_and_signed(serve: Serve, hook: respx.Route) -> None:
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        await client.ask("And now?", conversation_id=started["conversation_id"])
        await client.until_idle()

        assert await hand_off(client, started["conversation_id"]) == (204, None)
        assert await hand_off(client, started["conversation_id"]) == (204, None)
        (event,) = await settled(client)
        assert await hand_off(client, started["conversation_id"]) == (204, None)
        assert await settled(client) == [event]

        (message,) = told(hook)
        request = hook.calls[0].request
        assert message["id"] == request.headers["webhook-id"] == f"msg_{event.id.hex}"
        assert (message["type"], message["tenant"], event.state, event.attempts) == ("handoff", "shop", "delivered", 1)
        assert datetime.fromisoformat(message["created"]) == event.created_at
        data = message["data"]
        assert (data["conversation_id"], data["email"], data["note"], data["consent"], data["truncated"]) == (
            *(started["conversation_id"], WANTED["email"], WANTED["note"], True, False),
        )
        assert [(turn["question"], turn["answer"], turn["status"]) for turn in data["turns"]] == [
            ("Where is my parcel?", "Hello!", "complete"),
            ("And now?", "Hello!", "complete"),
        ]
        with pytest.raises(WebhookVerificationError):
            Webhook(SECRET).verify(request.content + b" ", dict(request.headers))

        await client.ask("Still?", conversation_id=started["conversation_id"])
        assert await hand_off(client, started["conversation_id"]) == (204, None)  # it went on: another event
        await settled(client)
        assert len(told(hook)[1]["data"]["turns"]) == 3


async def test_what_may_not_be_handed_off_is_refused_and_nothing_is_told(serve: Serve, hook: respx.Route) -> None:
    async with serve(tenant=HOOKED) as client:
        conversation_id = (await hold_conversation(client))["conversation_id"]
        store = client.state["service"].store
        _, _, other_key = await store.add_tenant("other", origins=[ORIGIN], **HOOKED)
        somebodys = (await ask(store, await store.get_tenant("shop"), subject="user-1")).turn.conversation_id

        refused: list[tuple[tuple[int, Any], tuple[int, str]]] = [
            (await hand_off(client, str(uuid.uuid4())), (404, "conversation_not_found")),
            (await hand_off(client, "1"), (404, "conversation_not_found")),
            (await hand_off(client, str(somebodys)), (404, "conversation_not_found")),
            (
                await hand_off(client, conversation_id, headers={"X-API-Key": other_key}),
                (404, "conversation_not_found"),
            ),
            (await hand_off(client, conversation_id, headers={"X-API-Key": None}), (401, "key_missing")),
            (
                await hand_off(client, conversation_id, headers={"Origin": "https://evil.test"}),
                (403, "origin_not_allowed"),
            ),
            (
                await hand_off(client, conversation_id, headers={"Content-Type": "text/plain"}),
                (415, "unsupported_media_type"),
            ),
        ]
        for (status, problem), expected in refused:
            assert (status, problem["code"]) == expected
        assert await outbox(client) == []
    assert not hook.called


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "ada"}, "email"),
        ({"email": "ada@example.com\r\nBcc: all@example.com"}, "email"),
        ({"email": "ada@example.com, all@example.com"}, "email"),
        ({"email": "a" * 250 + "@b.cd"}, "email"),
        ({"email": None}, "email"),
        ({"note": "x" * 2001}, "note"),
        ({"note": "a\0b"}, "note"),
        ({"consent": False}, "consent"),
        ({"consent": 1}, "consent"),
        ({"copy": "me"}, "copy"),
    ],
)
async def test_fields_that_are_not_valid_are_named(
    serve: Serve, hook: respx.Route, change: dict[str, Any], field: str
) -> None:
    async with serve(tenant=HOOKED) as client:
        conversation_id = (await hold_conversation(client))["conversation_id"]

        status, problem = await hand_off(client, conversation_id, WANTED | change)

        assert (status, [error["field"] for error in problem["errors"]]) == (422, [field])
        assert await outbox(client) == []


async def test_a_tenant_without_a_usable_webhook_says_so(
    serve: Serve, hook: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve() as client:
        started = await hold_conversation(client)
        for named in ({}, HOOKED):
            monkeypatch.setenv("SHOP_HOOK_SECRET", "short")
            await client.state["service"].store.set_tenant("shop", **named)

            status, problem = await hand_off(client, started["conversation_id"])

            assert (status, problem["code"]) == (409, "handoff_not_set_up")
        assert await outbox(client) == []


async def test_a_visitor_may_hand_off_so_often_and_no_more(serve: Serve, hook: respx.Route) -> None:
    """The same once more is no more, so it is not refused."""
    async with serve(tenant=HOOKED) as client:
        conversation_id = (await hold_conversation(client))["conversation_id"]
        for number in range(10):
            assert (await hand_off(client, conversation_id, WANTED | {"note": f"{number}"}))[0] == 204

        path = f"/api/v1/conversations/{conversation_id}/handoff"
        refused, _ = await client.request("POST", path, json_body=WANTED)
        assert (refused.status, 0 < int(refused.headers["retry-after"]) <= 3601) == (429, True)
        assert (await hand_off(client, conversation_id, WANTED | {"note": "3"}))[0] == 204
        assert (await hand_off(client, conversation_id, address="203.0.113.5"))[0] == 204
        assert len(await settled(client)) == 11


async def test_a_long_conversation_is_told_from_its_end(serve: Serve, hook: respx.Route, upstream: respx.Route) -> None:
    async with serve(tenant=HOOKED) as client:
        upstream.mock(side_effect=lambda _: streamed(*answer("x" * 45_000)))
        started = await hold_conversation(client, "First?")
        for number in range(5):
            await client.ask(f"{number}?", conversation_id=started["conversation_id"])
        await client.until_idle()

        await hand_off(client, started["conversation_id"])
        await settled(client)

        data = told(hook)[0]["data"]
        assert [turn["question"] for turn in data["turns"]] == ["1?", "2?", "3?", "4?"]
        assert data["truncated"] is True
        assert sum(len(turn["answer"]) for turn in data["turns"]) <= MOST_CHARS


@pytest.mark.each_database
async def test_feedback_is_told_when_it_changes(serve: Serve, hook: respx.Route, clock: Clock) -> None:
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        message_id = started["message_id"]

        assert await rate(client, message_id, rating="down") == 204
        await settled(client)
        assert await rate(client, message_id, rating="down") == 204
        assert len(await settled(client)) == 1
        hook.mock(return_value=httpx.Response(500))
        for comment in ("No.", "It is late."):
            assert await rate(client, message_id, rating="down", comment=comment) == 204
            await settled(client)
        hook.mock(return_value=httpx.Response(200))
        clock.ahead = timedelta(seconds=10)

        assert [event.state for event in await settled(client)] == ["delivered", "delivered"]
        first, _, _, last = told(hook)
        assert (first["type"], first["data"]["rating"], first["data"]["comment"]) == ("feedback", "down", None)
        assert last["data"] == {
            "conversation_id": started["conversation_id"],
            "message_id": message_id,
            "rating": "down",
            "comment": "It is late.",
            "subject": None,
            "question": "Where is my parcel?",
            "answer": "Hello!",
        }


async def test_feedback_of_a_tenant_without_a_webhook_stays_here(serve: Serve, hook: respx.Route) -> None:
    async with serve() as client:
        started = await hold_conversation(client)

        assert await rate(client, started["message_id"], rating="up") == 204

        assert await outbox(client) == []


@pytest.mark.each_database
@pytest.mark.parametrize("failure", [httpx.ConnectError("down"), httpx.Response(503), httpx.Response(302)])
async def test_a_webhook_that_was_down_for_two_minutes_is_told_once(
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
        (waiting,) = await settled(client)
        assert (waiting.state, waiting.attempts) == ("pending", 1)

        for _ in range(30):  # ten minutes
            clock.ahead += timedelta(seconds=20)
            (event,) = await settled(client)

    assert (event.state, event.attempts) == ("delivered", len(hook.calls))
    assert len(taken) == 1
    assert 3 <= len(hook.calls) <= 5
    assert len({call.request.headers["webhook-id"] for call in hook.calls}) == 1
    log = "\n".join(str(vars(record)) for record in caplog.records)
    assert "webhook failed" in log and "webhook delivered" in log
    assert not any(word in log for word in ("ada@example.com", "By Friday", "parcel", "token=1", "hooks.test"))


async def test_a_webhook_that_stays_down_is_given_up_after_a_day_and_told_when_the_operator_says_so(
    serve: Serve, hook: respx.Route, clock: Clock
) -> None:
    hook.mock(return_value=httpx.Response(500))
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        await hand_off(client, started["conversation_id"])
        began = clock.now()
        async with asyncio.timeout(SECONDS):
            while (event := (await settled(client))[0]).state == "pending":
                clock.ahead = event.due_at - datetime.now(UTC) + timedelta(seconds=1)

        assert (event.state, event.problem, event.attempts, len(hook.calls)) == ("failed", "HTTP 500", 11, 11)
        assert timedelta(hours=19) < clock.now() - began < timedelta(hours=29)

        hook.mock(return_value=httpx.Response(200))
        assert await client.state["service"].store.outbox.retry("shop", event.id, clock.now()) == 1
        assert (await settled(client))[0].state == "delivered"


@pytest.mark.each_database
async def test_two_processes_deliver_each_event_once(serve: Serve, hook: respx.Route) -> None:
    async with serve(tenant=HOOKED) as one, process_beside(one) as other:
        for number in range(10):
            started = await hold_conversation(one, f"{number}?")
            await asyncio.gather(
                hand_off(one, started["conversation_id"]), rate(other, started["message_id"], rating="up")
            )
        events = [*await settled(one), *await settled(other)]

        assert {each.state for each in events} == {"delivered"}
        assert len({message["id"] for message in told(hook)}) == len(hook.calls) == 20


@pytest.mark.each_database
async def test_a_process_that_leaves_during_a_delivery_leaves_it_to_the_next(
    serve: Serve, hook: respx.Route, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "PARTING_SECONDS", 0)
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
        (event,) = await settled(next_one)

    assert (event.state, event.attempts) == ("delivered", 2)


async def test_what_is_deleted_is_not_told(serve: Serve, hook: respx.Route, clock: Clock) -> None:
    hook.mock(return_value=httpx.Response(500))
    async with serve(tenant=HOOKED) as client:
        kept, deleted = await hold_conversation(client), await hold_conversation(client)
        for started in (kept, deleted):
            await hand_off(client, started["conversation_id"])
        assert len(await settled(client)) == 2

        await client.request("DELETE", f"/api/v1/conversations/{deleted['conversation_id']}")
        assert len(await outbox(client)) == 1
        await client.state["service"].store.purge(clock.now() + timedelta(seconds=1))
        assert await outbox(client) == []


async def test_the_window_has_a_form_where_the_webhook_can_be_used(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with serve(tenant=HOOKED) as client:
        for secret, handoff in ((SECRET, b'"handoff":"form"'), ("short", b'"handoff":"help@shop.test"')):
            monkeypatch.setenv("SHOP_HOOK_SECRET", secret)
            await client.state["service"].store.set_widget("shop", {"handoff": "help@shop.test"})

            _, page = await client.request("GET", f"/widget.html?id={client.widget_id}")

            assert handoff in page and page.count(b'"handoff"') == 1


class Receiver:
    """A receiver on a real socket, and the ids that it was told."""

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
async def test_a_private_address_is_not_connected_to_unless_that_is_allowed(
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
            (event,) = await settled(client)

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
def test_which_addresses_are_public(address: str, public: bool) -> None:
    assert sending.is_public(address) is public


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name that means another address when it is asked for again, as in DNS rebinding, gains nothing."""
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


def test_a_service_that_is_killed_delivers_after_its_restart(tmp_path: Path) -> None:
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
async def test_a_secret_may_be_written_in_several_ways_and_another_one_stand_beside_it(
    serve: Serve, hook: respx.Route, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    monkeypatch.setenv("SHOP_HOOK_SECRET", secret)
    async with serve(tenant=HOOKED) as client:
        started = await hold_conversation(client)
        await hand_off(client, started["conversation_id"])
        await settled(client)

    assert told(hook)


@pytest.mark.parametrize(
    ("url", "secret", "problem"),
    [
        (None, SECRET, "SHOP_HOOK is not set"),
        ("ftp://hooks.test/", SECRET, "SHOP_HOOK must be an http or https URL, without a fragment"),
        ("https://", SECRET, "SHOP_HOOK must be an http or https URL, without a fragment"),
        (URL, "short", "SHOP_HOOK_SECRET must be whsec_ and 24 to 64 bytes in base64"),
        (URL, "  ", "SHOP_HOOK_SECRET must be whsec_ and 24 to 64 bytes in base64"),
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

        assert [(event.state, event.problem) for event in await settled(client)] == [("pending", problem)]


def test_the_operator_lists_retries_and_tests(
    database_url: str, hook: respx.Route, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: str, code: int = 0) -> str:
        assert manage.main(arguments) == code
        captured = capsys.readouterr()
        return captured.err if code else captured.out

    def doctor() -> str:
        manage.main(["doctor", "--no-provider", "--json"])
        checks = json.loads(capsys.readouterr().out)["checks"]
        (told,) = (check["text"] for check in checks if check["name"] == "webhook")
        return str(told)

    monkeypatch.setenv("DATABASE_URL", database_url)
    named = ("--webhook-url-env", "SHOP_HOOK", "--webhook-secret-env", "SHOP_HOOK_SECRET")
    assert "go together" in run("tenant", "add", "shop", "--origin", ORIGIN, *named[:2], code=1)
    run("tenant", "add", "shop", "--origin", ORIGIN, *named)
    assert "go together" in run("tenant", "set", "shop", "--unset", "webhook-url-env", code=1)

    async def hand_two_off() -> list[Listed]:
        async with open_store(database_url) as store:
            tenant = await store.get_tenant("shop")
            for _ in range(2):
                begun = await ask(store, tenant)
                handoff = Handoff("ada@example.com", "Words.", Quota("handoff", 10))
                assert await store.outbox.hand_off(tenant.id, begun.turn.conversation_id, handoff)
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
    assert "1 events were given up, the newest: HTTP 500" in doctor()
    assert "1 events" in run("webhook", "retry", "shop", "--id", f"msg_{events['failed'].id.hex}")
    assert "2 events" in run("webhook", "retry", "shop", "--all")
    assert [each["state"] for each in json.loads(run("webhook", "list", "--json"))] == ["pending", "pending"]
    assert "no tenant" in run("webhook", "list", "other", code=1)

    assert "set up, and nothing was given up" in doctor()
    with monkeypatch.context() as unset:
        unset.delenv("SHOP_HOOK")
        assert "SHOP_HOOK is not set" in doctor()

    assert "took it" in run("webhook", "test", "shop")
    assert told(hook)[0]["type"] == "test"
    hook.mock(return_value=httpx.Response(410))
    assert "HTTP 410" in run("webhook", "test", "shop", code=1)
