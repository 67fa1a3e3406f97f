"""Visitors on raw sockets, which ask, read events, disconnect, reconnect, and detect gaps and repeats."""

import asyncio
import json
import socket
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from client import ReceivedEvent
from faults.faulty import reset
from service.upstream.event_stream import EventStreamDecoder

PAGE = "http://localhost:3000"  # an allowed origin of every tenant here
COMES_BACK_SECONDS = 0.05  # the delay before a disconnected reader reconnects


@dataclass
class Reply:
    """The response to one request, as its visitor received it."""

    status: int = 0  # 0: no status line was received
    headers: dict[str, str] = field(default_factory=dict)
    events: list[ReceivedEvent] = field(default_factory=list)
    problem: Any = None
    whole: bool = False  # the response is complete by HTTP's framing
    seconds: float = 0.0

    @property
    def text(self) -> str:
        return "".join(event.data["chunk"] for event in self.events if event.name == "message")

    @property
    def finals(self) -> int:
        return sum(event.name in ("done", "error") for event in self.events)

    @property
    def message_id(self) -> str:
        return str(self.events[0].data["message_id"])

    @property
    def ending(self) -> str:
        """The final status such as `complete`, an error's code, or `cut off`."""
        if self.status == 0:
            return "cut off"
        if self.status != 200:
            return str(self.problem["code"]) if self.problem else f"status {self.status}"
        last = self.events[-1] if self.events else None
        if last is not None and last.name == "done":
            return str(last.data["status"])
        if last is not None and last.name == "error":
            return str(last.data["code"])
        return "cut off"

    @property
    def is_clean_error(self) -> bool:
        """Whether there is exactly one error: problem+json, or an `error` event at the end of the stream."""
        if self.status == 200:
            return self.whole and self.finals == 1 and self.events[-1].name == "error"
        return self.whole and self.status >= 500 and self.headers.get("content-type") == "application/problem+json"

    @property
    def everything_said(self) -> str:
        """Everything that is visible to the visitor."""
        return json.dumps([self.problem, [event.data for event in self.events], self.headers])


async def ask(
    url: str,
    key: str,
    question: str,
    *,
    message_id: str | None = None,
    after: str = "",
    leave_after: int | None = None,
    seconds: float = 150,
    on_text: Callable[[str], None] | None = None,
    headers: dict[str, str] | None = None,
) -> Reply:
    """Ask, and read to the end or disconnect with a RST after some pieces of text. A hang raises TimeoutError."""
    reply = Reply()
    started = time.monotonic()
    sent = {"X-API-Key": key, "Origin": PAGE, "Content-Type": "application/json", **(headers or {})}
    if after:
        sent["Last-Event-ID"] = after
    async with asyncio.timeout(seconds):
        try:
            reader, writer = await send(url, "POST", "/api/v1/chat", sent, _question(question, message_id))
        except OSError:
            return reply
        pieces = 0
        try:
            await _read_head(reader, reply)
            if reply.status != 200:
                reply.problem = json.loads(b"".join([part async for part in _body(reader, reply)]) or b"null")
                return reply
            async with aclosing(_events(reader, reply)) as events:
                async for event in events:
                    reply.events.append(event)
                    if event.name == "message":
                        pieces += 1
                        if on_text is not None:
                            on_text(event.data["chunk"])
                    if pieces == leave_after:
                        reset(writer)
                        return reply
        except (OSError, asyncio.IncompleteReadError):
            pass  # `whole` stays False
        finally:
            reply.seconds = time.monotonic() - started
            writer.close()
    return reply


async def send(
    url: str, method: str, path: str, headers: dict[str, str], body: bytes = b""
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection and send one request."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    writer.write(_request(url, method, path, headers, body))
    return reader, writer


def _request(url: str, method: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    fields = {"Host": urlsplit(url).netloc, "Content-Length": str(len(body)), **headers}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def _question(question: str, message_id: str | None = None) -> bytes:
    return json.dumps({"message": question, "message_id": message_id}).encode()


async def _connect(url: str) -> socket.socket:
    """A connection with small buffers, like a real network: on loopback, the kernel buffers megabytes."""
    address = urlsplit(url)
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    try:
        await asyncio.get_running_loop().sock_connect(sock, (address.hostname, address.port))
    except BaseException:
        sock.close()
        raise
    return sock


async def fetch(url: str, path: str, headers: dict[str, str] | None = None, seconds: float = 30) -> tuple[int, bytes]:
    """Send a GET request. Returns the status and the body; status 0 if there is no response."""
    reply = Reply()
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await send(url, "GET", path, {**(headers or {}), "Connection": "close"})
            try:
                await _read_head(reader, reply)
                return reply.status, b"".join([part async for part in _body(reader, reply)])
            finally:
                writer.close()
    except (OSError, asyncio.IncompleteReadError):
        return 0, b""


class Pulse:
    """Polls `/api/v1/health` on one connection, and records the latency of each response."""

    def __init__(self, url: str) -> None:
        self.seconds: list[float] = []
        self._url = url

    async def run(self) -> None:
        reader, writer = await send(self._url, "GET", "/api/v1/health", {})
        request = f"GET /api/v1/health HTTP/1.1\r\nHost: {urlsplit(self._url).netloc}\r\n\r\n".encode()
        try:
            while True:
                started = time.monotonic()
                reply = Reply()
                await _read_head(reader, reply)
                await reader.readexactly(int(reply.headers["content-length"]))
                self.seconds.append(time.monotonic() - started)
                await asyncio.sleep(0.005)
                writer.write(request)
        finally:
            writer.close()

    async def another(self) -> None:
        """Wait for one more response: the slowest may still be pending."""
        known = len(self.seconds)
        async with asyncio.timeout(30):
            while len(self.seconds) == known:
                await asyncio.sleep(0.005)

    def worst(self, percent: float) -> float:
        """A percentile of the latencies."""
        ordered = sorted(self.seconds)
        return ordered[min(int(len(ordered) * percent / 100), len(ordered) - 1)]


async def _read_head(reader: asyncio.StreamReader, reply: Reply) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    reply.status = int(first.split()[1])
    reply.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines) if name}


async def _body(reader: asyncio.StreamReader, reply: Reply) -> AsyncIterator[bytes]:
    """The body's bytes, including those of an incomplete chunk."""
    if "content-length" in reply.headers:
        yield await reader.readexactly(int(reply.headers["content-length"]))
        reply.whole = True
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        try:
            data = await reader.readexactly(size + 2)
        except asyncio.IncompleteReadError as error:
            yield error.partial[:size]
            raise
        yield data[:size]
    await reader.readexactly(2)
    reply.whole = True


async def _events(reader: asyncio.StreamReader, reply: Reply) -> AsyncGenerator[ReceivedEvent, None]:
    decoder = EventStreamDecoder()
    async for data in _body(reader, reply):
        for event in decoder.feed(data):
            yield ReceivedEvent(event.event, json.loads(event.data), event.id)


@dataclass
class Followed:
    """The final state of a visitor who reconnects."""

    text: str = ""
    ending: str = "never began"
    requests: int = 0
    gaps: int = 0
    repeats: int = 0
    refused: list[str] = field(default_factory=list)  # error codes of responses that weren't streams


async def follow(
    targets: Iterator[str],
    key: str,
    question: str,
    *,
    seconds: float = 60,
    message_id: str | None = None,
) -> Followed:
    """Ask, and reconnect with the same `message_id` after the last event received, until the answer ends.

    After `seconds`, the visitor gives up with the last ending received.
    """
    followed = Followed()
    message_id = message_id or str(uuid.uuid4())
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        followed.requests += 1
        after = str(len(followed.text)) if followed.text else ""
        reply = await ask(next(targets), key, question, message_id=message_id, after=after)
        for event in reply.events:
            if event.name == "message":
                _put_together(followed, event)
        followed.ending = reply.ending
        if reply.whole and reply.status == 200 and reply.ending != "restarting":
            return followed
        if reply.status not in (0, 200):
            followed.refused.append(reply.ending)
            if reply.status not in (429, 503):
                return followed
        await asyncio.sleep(COMES_BACK_SECONDS)
    return followed


def _put_together(followed: Followed, event: ReceivedEvent) -> None:
    chunk: str = event.data["chunk"]
    begins = int(event.id) - len(chunk)
    followed.gaps += begins > len(followed.text)
    followed.repeats += begins < len(followed.text)
    followed.text += chunk


async def read_slowly(url: str, key: str, question: str) -> None:
    """Read one byte per second, until the service resets the connection."""
    headers = {"X-API-Key": key, "Origin": PAGE, "Content-Type": "application/json"}
    sock = await _connect(url)
    loop = asyncio.get_running_loop()
    try:
        await loop.sock_sendall(sock, _request(url, "POST", "/api/v1/chat", headers, _question(question)))
        while await loop.sock_recv(sock, 1):
            await asyncio.sleep(1)
    except ConnectionError:
        return
    finally:
        sock.close()
