"""The server's connections: uvicorn's protocol, with limits on buffered data and on how long a peer may take.

Received data is parsed one request at a time. While a request is being answered, the data after it stays unparsed, and
reading stops: a client that pipelines many requests waits for the responses, and memory does not grow.
"""

import asyncio
import logging
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service import schema
from service.errors import BadRequest, HeadTooLarge, Overloaded, RequestTimeout, ServiceError
from service.web.flow_control import Flow, Pipeline

# Extensions of an ASGI scope:
ABORT = "chatbot.abort"  # call it to cut the connection
DISCONNECTION = "chatbot.disconnection"  # call it for a future that is done once the connection is lost
TRUSTED_PROXY = "chatbot.trusted_proxy"  # the request came from one of FORWARDED_ALLOW_IPS
OVERLOADED = "chatbot.overloaded"  # more connections are open than are served
# In its state, which only this request has: set it to a function of `send`, to be run once the application has returned
AFTERWARDS = "afterwards"

MAX_HEAD_BYTES = 65_536
MAX_UNREAD_BYTES = 1_048_576  # of a body after its response, or of line breaks before a request
PIECE_BYTES = (
    4096  # that are parsed at once: they may be hundreds of headers or chunks, or the end of a body and requests
)
HEAD_END = b"\r\n\r\n"  # at the end of every head that the parser accepts

SWEEP_SECONDS = 1
CLOSED_AT_ONCE = 32
GRACE_SECONDS = 2  # beyond the application's own limit for a slow reader, which logs the reason
PATIENCE_SECONDS = 1  # before a connection without a request gives way to a new one
RETRY_SECONDS = 2

log = logging.getLogger("chatbot")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Timeouts in seconds: for a request's head, for its body, until the next request, and for a peer that stops
    reading.
    """

    head: float
    body: float
    idle: float
    send: float


class Connections:
    """The open connections. At most `most` are served; see `Listener` for the others."""

    def __init__(self, deadlines: Deadlines, most: int, is_trusted_proxy: Callable[[str], bool]) -> None:
        self.deadlines = deadlines
        self.most = most
        self.is_trusted_proxy = is_trusted_proxy
        self.open: set[Connection] = set()
        self.waiting: dict[Connection, float] = {}  # those without a complete request, longest first, and since when
        self.are_last = False  # whether each closes after its response, because the service is stopping
        self.on_lost: Callable[[], None] = lambda: None
        self.on_refused: Callable[[ServiceError], None] = lambda error: None
        self._ahead: dict[Connection, None] = {}  # those with a pipelined request, longest first

    def admit(self, connection: "Connection", now: float) -> bool:
        """Add a new connection. If there are too many, the one that has been idle for longest makes room.

        Returns False if none does.
        """
        self.open.add(connection)
        if len(self.open) <= self.most:
            return True
        longest = next(iter(self.waiting), None)
        if longest is None or now - self.waiting[longest] < PATIENCE_SECONDS:
            return False
        del self.waiting[longest]
        longest.give_way()
        return True

    def drop(self, connection: "Connection") -> None:
        """Remove a lost connection."""
        self.open.discard(connection)
        self.waiting.pop(connection, None)
        self.on_lost()

    def take_turn(self, connection: "Connection") -> None:
        """Let a connection process its pipelined request: one connection per turn of the loop.

        However many clients pipeline, all others wait for only one of them.
        """
        if not self._ahead:
            asyncio.get_running_loop().call_soon(self._give_turn)
        self._ahead[connection] = None

    def _give_turn(self) -> None:
        connection = next(iter(self._ahead))
        del self._ahead[connection]
        if self._ahead:
            asyncio.get_running_loop().call_soon(self._give_turn)
        if not connection.transport.is_closing():
            connection.go_on()

    async def sweep(self) -> None:
        """Close connections whose peers take too long, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            now, closed = loop.time(), 0
            for connection in list(self.open):
                if connection in self.open and connection.check(now):
                    closed += 1
                    if closed % CLOSED_AT_ONCE == 0:
                        await asyncio.sleep(0)
            if closed:
                log.info("connections timed out", extra={"connections": closed})


class Connection(HttpToolsProtocol):
    """One connection, whose requests are answered one after another."""

    # With these beside uvicorn's, its attributes would be too many for Python to share their names' table: 1.3 kB each.
    __slots__ = (
        *("_answering", "_connections", "_deadline", "_deadlines", "_disconnection", "_extensions", "_head_bytes"),
        *("_in_body", "_in_request", "_is_overloaded", "_unparsed", "_unread_bytes", "_unsent", "_unsent_since"),
    )

    transport: asyncio.Transport
    flow: Flow

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], connections: Connections
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.parser = _parser(self)
        self.pipeline = Pipeline()  # type: ignore[assignment]
        self._connections = connections
        self._deadlines = connections.deadlines
        self._deadline = math.inf
        self._extensions: dict[str, Any] = {}
        self._is_overloaded = False
        self._answering: RequestResponseCycle | None = None  # the last request whose response has begun
        self._disconnection: asyncio.Future[None] | None = None  # for that request
        self._unparsed = b""  # received but not parsed yet
        self._head_bytes = 0  # parsed since the last complete head, piece of a body, or request
        self._in_request = False  # whether the parser has received a part of a request, but not its end
        self._in_body = False
        self._unread_bytes = 0
        self._unsent: float = math.inf  # bytes, at the last check of a slow peer
        self._unsent_since = 0.0

    # Called by the transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport, self._parse_received)
        self._extensions[ABORT] = transport.abort
        self._extensions[DISCONNECTION] = self._watch
        if self.client and self._connections.is_trusted_proxy(self.client[0]):
            self._extensions[TRUSTED_PROXY] = True
        self._wait(self._deadlines.head)
        if not self._connections.admit(self, self.loop.time()):
            self._is_overloaded = True
            self._extensions[OVERLOADED] = True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._unparsed = b""
        self._connections.drop(self)
        if self._disconnection is not None and not self._disconnection.done():
            self._disconnection.set_result(None)
        if (cycle := self._answering) is not None and not cycle.response_complete:
            cycle.disconnected = True  # uvicorn tells only the newest request
            cycle.message_event.set()
        # Without reference cycles, the connection and its requests are freed at once.
        self.flow.close()
        self.pipeline.clear()
        self._extensions.clear()

    def data_received(self, data: bytes) -> None:
        self._unparsed = self._unparsed + data if self._unparsed else data
        self._parse_received()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unparsed:
            self.flow.resume_reading()

    # Parsing

    def _parse_received(self) -> None:
        """Parse buffered data as far as allowed, at most one piece per turn of the loop, so that others can run."""
        unparsed, start = self._unparsed, 0
        while start < min(len(unparsed), PIECE_BYTES) and not self._must_wait():
            if not self._in_request:
                begin = len(unparsed) - len(unparsed[start:].lstrip(b"\r\n"))  # RFC 9112, section 2.2
                self._read_away(begin - start)
                start = begin
                if start == len(unparsed):
                    break
            end = self._piece_end(unparsed, start)
            self._parse(unparsed[start:end])
            start = end
        self._unparsed = b"" if self.transport.is_closing() else unparsed[start:]
        if self._unparsed:
            if not self._must_wait():
                self._connections.take_turn(self)
            self.flow.pause_reading()

    def go_on(self) -> None:
        """Answer the next request, or parse buffered data."""
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.flow.resume_reading()

    def _must_wait(self) -> bool:
        """Whether parsing must wait: a complete request is being answered, or its response has not been read."""
        if self.transport.is_closing() or self.flow.read_paused or self.flow.write_paused or self.pipeline:
            return True
        cycle = self._answering
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _piece_end(self, unparsed: bytes, start: int) -> int:
        """Where to stop parsing, so that at most one head completes at once."""
        most = min(start + PIECE_BYTES, len(unparsed))
        if self._in_body:
            return most
        head_end = unparsed.find(HEAD_END, start, most)
        return most if head_end < 0 else head_end + len(HEAD_END)

    def _parse(self, piece: bytes) -> None:
        self._head_bytes += len(piece)
        is_unread = self._in_body and self._is_answered()
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(piece[offer.args[0] :])
        except httptools.HttpParserError:
            log.info("a request was malformed")
            self._refuse(BadRequest("malformed"))
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            log.info("a request's head is too large")
            self._refuse(HeadTooLarge("more than MAX_HEAD_BYTES"))
        if is_unread:
            self._read_away(len(piece))

    def _read_away(self, count: int) -> None:
        """Count discarded bytes, which are limited."""
        self._unread_bytes += count
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self.transport.close()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its Upgrade offer, which may be ignored (RFC 9110, section 7.8).

        Otherwise the parser takes everything after the head for the other protocol.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            self._refuse(BadRequest("CONNECT"))
            return
        headers = [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self.parser = _parser(self)
        self._head_bytes = 0
        self._parse(b"\r\n".join([b"%b %b HTTP/%b" % (method, self.url, version), *headers, b"", b""]))
        self._parse(rest)

    # Called by the parser

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_request = True
        self.scope["extensions"] = self._extensions
        self._wait(self._deadlines.head)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_body:  # otherwise it is a trailer, which is ignored (RFC 9110, section 6.5.1)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return  # see _decline_upgrade
        self._head_bytes = 0
        super().on_headers_complete()
        self._in_body = True
        self._unread_bytes = 0
        self._deadline = self.loop.time() + self._deadlines.body
        if self._is_overloaded or self._connections.are_last:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        self._head_bytes = 0
        self._in_request = self._in_body = False
        super().on_message_complete()
        if self._is_answered():
            self._wait(self._deadlines.idle)
        else:
            self._deadline = math.inf
            self._connections.waiting.pop(self, None)

    # Called by the application

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, partial(_run, app))

    def on_response_complete(self) -> None:
        """Like uvicorn's, but without a timer per response."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline or self._unparsed:
            self._connections.take_turn(self)
        else:
            self.flow.resume_reading()
        if not self.pipeline and not self._in_body:
            self._wait(self._deadlines.idle)

    def _watch(self) -> asyncio.Future[None]:
        self._disconnection = self.loop.create_future()
        return self._disconnection

    # Deadlines

    def _wait(self, seconds: float) -> None:
        """Set the peer's deadline."""
        now = self.loop.time()
        self._deadline = now + seconds
        self._connections.waiting.pop(self, None)
        self._connections.waiting[self] = now

    def check(self, now: float) -> bool:
        """Close the connection if the peer has exceeded its deadline. Returns whether it was closed."""
        if self.transport.is_closing() or self.flow.write_paused:
            return self._check_reader(now)
        self._unsent = math.inf
        if self.flow.read_paused:
            self._deadline += SWEEP_SECONDS  # the delay is not the peer's
        if now < self._deadline:
            return False
        if self._in_body:
            self._refuse(RequestTimeout("the body did not come in time"))
        else:
            self.transport.close()
        return True

    def _check_reader(self, now: float) -> bool:
        """Cut off a reader that has taken nothing for too long; a slow one takes at least some data."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since > self._deadlines.send + GRACE_SECONDS:
            self.transport.abort()
            return True
        return False

    def give_way(self) -> None:
        """Close a connection without a complete request. A new one gets an error response."""
        if self._answering is None or self._in_body:
            self._refuse(Overloaded("gave way to a new connection", retry_after=RETRY_SECONDS))
        else:
            self.transport.close()

    def _is_answered(self) -> bool:
        return self._answering is not None and self._answering.response_complete

    def _refuse(self, error: ServiceError) -> None:
        """Send an error for the request being received, unless its response has begun, and close the connection."""
        cycle = self._answering
        if cycle is None or not cycle.response_started or (cycle.response_complete and not self._in_body):
            self.transport.write(_response(error))
            self._connections.on_refused(error)
        self.transport.close()


async def _run(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Run the application and what it has left for afterwards.

    An open stream then needs no frames of the middleware around it, which would be a quarter of its memory.
    """
    state = scope["state"]
    state[AFTERWARDS] = None
    try:
        await app(scope, receive, send)
        if (afterwards := state.pop(AFTERWARDS)) is not None:
            await afterwards(send)
    finally:
        state.clear()  # it refers back to the request, which would stay until the garbage collector runs


def _parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # like uvicorn
    return parser


def _response(error: ServiceError) -> bytes:
    """An error as a complete response, without the application."""
    request_id = uuid.uuid4().hex
    log.info(
        "refused",
        extra={"request_id": request_id, "status": error.status_code, "code": error.code, "reason": str(error)},
    )
    problem = schema.to_json(schema.problem_of(error, request_id)).encode()
    head = [
        f"HTTP/1.1 {error.status_code} {HTTPStatus(error.status_code).phrase}",
        "Content-Type: application/problem+json",
        f"Content-Length: {len(problem)}",
        f"X-Request-ID: {request_id}",
        "X-Content-Type-Options: nosniff",
        "Referrer-Policy: strict-origin-when-cross-origin",
        "Cache-Control: no-store",
        "Connection: close",
    ]
    if error.retry_after is not None:
        head.append(f"Retry-After: {error.retry_after}")
    return "\r\n".join([*head, "", ""]).encode() + problem
