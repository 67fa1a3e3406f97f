"""A tenant's webhook, and the messages it received."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx
from standardwebhooks import Webhook

import chatbot
from client import ADDRESS, Client
from service.store.outbox import Listed
from service.testing.chunks import answer, streamed
from service.webhooks import delivery

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
    """The tenant's webhook, which accepts everything; the upstream answers every question with "Hello!"."""
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


async def rate(client: Client, message_id: str, *, address: str = ADDRESS, **rating: str) -> int:
    path = f"/api/v1/messages/{message_id}/feedback"
    response, _ = await client.request("POST", path, json_body=rating, address=address)
    return response.status


async def outbox(client: Client) -> list[Listed]:
    listed: list[Listed] = await client.state["service"].store.outbox.listed(None, everything=True, most=1000)
    return listed


async def outbox_when_idle(client: Client) -> list[Listed]:
    """The outbox, once nothing is due and no attempt is in progress."""
    delivering = client.state["service"].webhooks
    async with asyncio.timeout(SECONDS):
        while True:
            delivering.wake()
            events = await outbox(client)
            waiting = [each for each in events if each.state == "pending"]
            if not delivering._attempts and all(each.problem and each.due_at > delivery.utc_now() for each in waiting):
                return events
            await asyncio.sleep(0.01)


def received(hook: respx.Route) -> list[dict[str, Any]]:
    """The messages that the webhook received, each verified as a receiver would."""
    return [Webhook(SECRET).verify(call.request.content, dict(call.request.headers)) for call in hook.calls]
