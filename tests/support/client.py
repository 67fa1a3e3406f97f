"""An ASGI client that receives a response as it is sent, and can disconnect in the middle of it."""

import asyncio
import json
import socket
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from starlette.types import ASGIApp, Message

from service.store.records import UsageGroup
from service.upstream.event_stream import EventStreamDecoder
from service.upstream.sockets import open_socket

ADDRESS = "198.51.100.7"  # of the visitor


async def until(condition: Callable[[], bool]) -> None:
    """Run the loop until the condition holds."""
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


@dataclass
class ReceivedEvent:
    """One event: its name, its data as JSON, its id."""

    name: str
    data: Any
    id: str


@dataclass
class Answer:
    """A whole answer, as a reader receives it."""

    events: list[ReceivedEvent]

    @property
    def text(self) -> str:
        return "".join(event.data["chunk"] for event in self.events if event.name == "message")

    @property
    def last(self) -> ReceivedEvent:
        return self.events[-1]

    @property
    def names(self) -> list[str]:
        """The events' names, with consecutive `message` events counted once."""
        names = [event.name for event in self.events]
        return [name for place, name in enumerate(names) if name != "message" or names[place - 1] != "message"]


@dataclass
class Response:
    """A response in progress: its head has arrived, its body is still coming."""

    status: int
    headers: dict[str, str]
    _chunks: asyncio.Queue[bytes | None]
    _leaving: asyncio.Event
    _task: asyncio.Task[None]
    _decoder: EventStreamDecoder = field(default_factory=EventStreamDecoder)

    async def chunks(self) -> AsyncIterator[bytes]:
        while (chunk := await self._chunks.get()) is not None:
            yield chunk

    async def body(self) -> bytes:
        return b"".join([chunk async for chunk in self.chunks()])

    async def json(self) -> Any:
        return json.loads(await self.body())

    async def events(self) -> AsyncIterator[ReceivedEvent]:
        async for chunk in self.chunks():
            for event in self._decoder.feed(chunk):
                yield ReceivedEvent(event.event, json.loads(event.data), event.id)

    async def answer(self) -> Answer:
        """Read the answer to its end."""
        return Answer([event async for event in self.events()])

    async def leave(self) -> None:
        """Disconnect, as a browser does when its page is closed, and wait until the application has noticed."""
        self._leaving.set()
        await asyncio.wait([self._task])


class Client:
    """A client of an application whose lifespan is running; `headers` are sent with each request."""

    def __init__(self, app: ASGIApp, state: dict[str, Any], headers: Mapping[str, str]) -> None:
        self.app = app
        self.state = state
        self.headers = dict(headers)
        self.widget_id = ""

    def through(self, wrap: Callable[[ASGIApp], ASGIApp]) -> "Client":
        """A client of the same application, through a middleware."""
        return Client(wrap(self.app), self.state, self.headers)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        body: bytes = b"",
        json_body: object = None,
        headers: Mapping[str, str | None] | None = None,
        raw_headers: list[tuple[str, str]] | None = None,
        address: str = ADDRESS,
    ) -> AsyncIterator[Response]:
        """Send a request and yield its response once the head has arrived. A header of None is omitted."""
        path, _, query = path.partition("?")
        if json_body is not None:
            body = json.dumps(json_body).encode()
        sent = {"Host": "chat.test", "Content-Type": "application/json", **self.headers, **(headers or {})}
        pairs = [(name, value) for name, value in sent.items() if value is not None] + (raw_headers or [])
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in pairs],
            "client": (address, 50000),
            "server": ("chat.test", 443),
            "state": dict(self.state),
        }
        chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        leaving = asyncio.Event()
        head: asyncio.Future[tuple[int, dict[str, str]]] = asyncio.get_running_loop().create_future()
        parts = iter([body])

        async def receive() -> Message:
            for part in parts:
                return {"type": "http.request", "body": part, "more_body": False}
            await leaving.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            if leaving.is_set():
                return  # like uvicorn
            if message["type"] == "http.response.start":
                received = {name.decode(): value.decode() for name, value in message["headers"]}
                head.set_result((message["status"], received))
            elif message["type"] == "http.response.body":
                if message.get("body"):
                    chunks.put_nowait(message["body"])
                if not message.get("more_body"):
                    chunks.put_nowait(None)

        async def run() -> None:
            try:
                await self.app(scope, receive, send)
            finally:
                chunks.put_nowait(None)

        task = asyncio.create_task(run())
        try:
            waited: list[asyncio.Future[Any]] = [task, head]
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            if not head.done():
                await task
            yield Response(*head.result(), chunks, leaving, task)
        finally:
            leaving.set()
            await asyncio.wait([task])
            task.exception()

    async def request(self, method: str, path: str, **options: Any) -> tuple[Response, bytes]:
        async with self.stream(method, path, **options) as response:
            return response, await response.body()

    async def get_json(self, path: str, **options: Any) -> Any:
        response, body = await self.request("GET", path, **options)
        assert response.status == 200, body
        return json.loads(body)

    async def ask(self, message: str, headers: Mapping[str, str | None] | None = None, **fields: object) -> Answer:
        """Ask a question and read the whole answer."""
        async with self.stream("POST", "/api/v1/chat", json_body={"message": message, **fields}, headers=headers) as r:
            assert r.status == 200, await r.body()
            return await r.answer()

    async def status(self, address: str, **fields: object) -> int:
        """The status of asking "Hi" as a visitor at this address."""
        response, _ = await self.request("POST", "/api/v1/chat", json_body={"message": "Hi", **fields}, address=address)
        return response.status

    async def charged(self) -> int:
        """The tokens charged to the tenant so far."""
        (total,) = await self.state["service"].store.usage("shop", datetime.now(UTC) - timedelta(days=1), ())
        return int(total.charged)

    async def usage(self, *by: UsageGroup) -> dict[Any, int]:
        """The usage rows, including refused questions."""
        service = self.state["service"]
        await service.ledger.flush()
        totals = await service.store.usage("shop", datetime.now(UTC) - timedelta(days=1), by)
        return {total.group if len(by) > 1 else total.group[0]: total.requests for total in totals}

    async def until_idle(self) -> None:
        """Wait until no answer is in progress."""
        await until(lambda: len(self.state["service"].answers) == 0)

    def hold_connections(self, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
        """Hold all connections to the upstream until the event is set."""
        gate = asyncio.Event()

        async def open_later(host: str, port: int) -> socket.socket:
            await gate.wait()
            return await open_socket(host, port)

        monkeypatch.setattr("service.upstream.connection.open_socket", open_later)
        return gate

    async def ask_and_leave(self, **fields: object) -> None:
        """Ask, and disconnect once this is cancelled or the answer has begun."""
        async with self.stream("POST", "/api/v1/chat", json_body={"message": "Hi", **fields}):
            return

    async def leave_while_connecting(self, monkeypatch: pytest.MonkeyPatch) -> tuple[asyncio.Event, str]:
        """Ask "Hi", and disconnect. Returns the event that lets the upstream connect, and the message's id."""
        connected, message_id = self.hold_connections(monkeypatch), str(uuid.uuid4())
        leaving = asyncio.create_task(self.ask_and_leave(message_id=message_id))
        await until(
            lambda: any(
                writing.call.phase == "connecting" for writing in self.state["service"].answers._writings.values()
            )
        )
        leaving.cancel()
        await asyncio.wait([leaving])
        return connected, message_id

    async def refused(self, **options: Any) -> tuple[int, dict[str, Any], dict[str, str]]:
        """Send a question that is refused. Returns the status, the problem and the headers."""
        if "body" not in options:
            options = {"json_body": {"message": "Hello?"}} | options
        async with self.stream("POST", "/api/v1/chat", **options) as response:
            problem = await response.json()
        assert response.headers["content-type"] == "application/problem+json", response.headers
        assert problem["status"] == response.status
        return response.status, problem, response.headers
