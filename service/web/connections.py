"""The server's connections: uvicorn's protocol, with bounds on what each may hold and how long its peer may take.

What is received is parsed one request at a time. While one is answered, what follows it stays as bytes, and reading
stops: whoever sends many requests at once waits for the responses, and memory does not grow.
"""

import asyncio
import logging
import math
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from service import schema
from service.errors import BadRequest, HeadTooLarge, Overloaded, RequestTimeout, ServiceError

# Among the extensions of an ASGI scope:
ABORT = "chatbot.abort"  # call it to cut the connection
TRUSTED_PROXY = "chatbot.trusted_proxy"  # one of FORWARDED_ALLOW_IPS sent the request
OVERLOADED = "chatbot.overloaded"  # more connections are open than are served

MAX_HEAD_BYTES = 65_536
MAX_UNREAD_BYTES = 1_048_576  # of a body after its response, or of line breaks before a request
PIECE_BYTES = (
    4096  # that are parsed at once: they may be hundreds of headers or chunks, or the end of a body and requests
)
HEAD_END = b"\r\n\r\n"  # of every head that the parser accepts

SWEEP_SECONDS = 1
CLOSED_AT_ONCE = 32
GRACE_SECONDS = 2  # beyond the application's own limit for a reader, which says why in the log
PATIENCE_SECONDS = 1  # before a connection without a request gives way to a new one
RETRY_SECONDS = 2

log = logging.getLogger("chatbot")


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Seconds for a request's head, for its body, until the next request, and for a peer that stops reading."""

    head: float
    body: float
    idle: float
    send: float


class Connections:
    """The open connections. `most` of them are served; see `Listener` for those beyond."""

    def __init__(self, deadlines: Deadlines, most: int, is_trusted_proxy: Callable[[str], bool]) -> None:
        self.deadlines = deadlines
        self.most = most
        self.is_trusted_proxy = is_trusted_proxy
        self.open: set[Connection] = set()
        self.waiting: dict[Connection, float] = {}  # those without a whole request, longest first, and since when
        self.are_last = False  # each ends with its response: the service stops
        self.on_lost: Callable[[], None] = lambda: None
        self._ahead: dict[Connection, None] = {}  # those with a request that was sent ahead, longest first

    def admit(self, connection: "Connection", now: float) -> bool:
        """Count a new connection in. If there are too many, the one without a request for longest gives way.

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
        """Count a connection out that was lost."""
        self.open.discard(connection)
        self.waiting.pop(connection, None)
        self.on_lost()

    def take_turn(self, connection: "Connection") -> None:
        """Let a connection go on with what was sent ahead: one connection in each turn of the loop, one after another.

        However many send ahead, everybody else waits for one of them only.
        """
        self._ahead[connection] = None
        if len(self._ahead) == 1:
            asyncio.get_running_loop().call_soon(self._give_turn)

    def _give_turn(self) -> None:
        connection = next(iter(self._ahead))
        del self._ahead[connection]
        if self._ahead:
            asyncio.get_running_loop().call_soon(self._give_turn)
        if not connection.transport.is_closing():
            connection.go_on()

    async def sweep(self) -> None:
        """Close those whose peers take too long, until cancelled."""
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


class _Flow(FlowControl):
    """uvicorn's, which reads on only when what was received before is parsed."""

    def __init__(self, transport: asyncio.Transport, parse_held: Callable[[], None]) -> None:
        super().__init__(transport)
        self._parse_held = parse_held

    def resume_reading(self) -> None:
        if self.read_paused:
            super().resume_reading()
            self._parse_held()


class Connection(HttpToolsProtocol):
    """One connection, over which requests are answered one after another."""

    # With these beside uvicorn's, its attributes would be too many for Python to share their names' table: 1.3 kB each.
    __slots__ = (
        *("_answering", "_connections", "_deadline", "_deadlines", "_extensions", "_head_bytes", "_held", "_in_body"),
        *("_is_overloaded", "_unread_bytes", "_unsent", "_unsent_since"),
    )

    transport: asyncio.Transport

    def __init__(
        self, config: uvicorn.Config, server_state: ServerState, app_state: dict[str, Any], connections: Connections
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.parser = _parser(self)
        self._connections = connections
        self._deadlines = connections.deadlines
        self._deadline = math.inf
        self._extensions: dict[str, Any] = {}
        self._is_overloaded = False
        self._answering: RequestResponseCycle | None = None  # the last request whose answer has begun
        self._held = b""  # received, but not parsed yet
        self._head_bytes = 0  # parsed since the last head, piece of a body or request was complete
        self._in_body = False
        self._unread_bytes = 0
        self._unsent: float = math.inf  # bytes, at the last check of a peer that does not read
        self._unsent_since = 0.0

    # The transport's calls

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = _Flow(transport, self._parse_held)
        self._extensions[ABORT] = transport.abort
        if self.client and self._connections.is_trusted_proxy(self.client[0]):
            self._extensions[TRUSTED_PROXY] = True
        self._wait(self._deadlines.head)
        if not self._connections.admit(self, self.loop.time()):
            self._is_overloaded = True
            self._extensions[OVERLOADED] = True

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._held = b""
        self.pipeline.clear()
        self.flow = FlowControl(self.transport)  # nothing refers back to the connection: it is freed at once
        self._extensions.clear()
        self._connections.drop(self)
        if (cycle := self._answering) is not None and not cycle.response_complete:
            cycle.disconnected = True  # uvicorn tells only the newest request
            cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        self._held = self._held + data if self._held else data
        self._parse_held()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._held:
            self.flow.resume_reading()

    # Parsing

    def _parse_held(self) -> None:
        """Parse what is held as far as may be, at most a piece in one turn of the loop: others have theirs."""
        held, start = self._held, 0
        while start < min(len(held), PIECE_BYTES) and not self._must_wait():
            if not self._in_body and not self._head_bytes:
                begin = len(held) - len(held[start:].lstrip(b"\r\n"))  # RFC 9112, section 2.2
                self._read_away(begin - start)
                start = begin
                if start == len(held):
                    break
            end = self._piece_end(held, start)
            self._parse(held[start:end])
            start = end
        self._held = b"" if self.transport.is_closing() else held[start:]
        if self._held:
            if not self._must_wait():
                self._connections.take_turn(self)
            self.flow.pause_reading()

    def go_on(self) -> None:
        """Answer the next request, or parse what is held."""
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self.flow.resume_reading()

    def _must_wait(self) -> bool:
        """Whether nothing more may be parsed: a whole request is being answered, or its response is not read."""
        if self.transport.is_closing() or self.flow.read_paused or self.flow.write_paused or self.pipeline:
            return True
        cycle = self._answering
        return cycle is not None and not cycle.response_complete and not cycle.more_body

    def _piece_end(self, held: bytes, start: int) -> int:
        """Where to stop parsing, so that little is complete at once: of heads, one."""
        most = min(start + PIECE_BYTES, len(held))
        if self._in_body:
            return most
        head_end = held.find(HEAD_END, start, most)
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
        """Count bytes that belong to no request: they are not endless."""
        self._unread_bytes += count
        if self._unread_bytes > MAX_UNREAD_BYTES:
            self.transport.close()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its offer of another protocol, which may be ignored (RFC 9110, section 7.8).

        The parser takes all that follows the head of such a request for the other protocol.
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

    # The parser's calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = self._extensions
        self._wait(self._deadlines.head)

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
        self._in_body = False
        super().on_message_complete()
        if self._is_answered():
            self._wait(self._deadlines.idle)
        else:
            self._deadline = math.inf
            self._connections.waiting.pop(self, None)

    # The application's calls

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        """As uvicorn's, without a timer per response."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline or self._held:
            self._connections.take_turn(self)
        else:
            self.flow.resume_reading()
        if not self.pipeline and not self._in_body:
            self._wait(self._deadlines.idle)

    # Deadlines

    def _wait(self, seconds: float) -> None:
        """Give the peer until then."""
        now = self.loop.time()
        self._deadline = now + seconds
        self._connections.waiting.pop(self, None)
        self._connections.waiting[self] = now

    def check(self, now: float) -> bool:
        """Close the connection if the peer takes too long. Returns whether it was closed for that."""
        if self.transport.is_closing() or self.flow.write_paused:
            return self._check_reader(now)
        self._unsent = math.inf
        if self.flow.read_paused:
            self._deadline += SWEEP_SECONDS  # it is not the peer that is waited for
        if now < self._deadline:
            return False
        if self._in_body:
            self._refuse(RequestTimeout("the body did not come in time"))
        else:
            self.transport.close()
        return True

    def _check_reader(self, now: float) -> bool:
        """A slow reader takes some of what is to be sent; one that takes nothing for too long is cut off."""
        unsent = self.transport.get_write_buffer_size()
        if unsent < self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since > self._deadlines.send + GRACE_SECONDS:
            self.transport.abort()
            return True
        return False

    def give_way(self) -> None:
        """End a connection without a whole request. One that may be about to send its first learns why."""
        if self._answering is None or self._in_body:
            self._refuse(Overloaded("gave way to a new connection", retry_after=RETRY_SECONDS))
        else:
            self.transport.close()

    def _is_answered(self) -> bool:
        return self._answering is not None and self._answering.response_complete

    def _refuse(self, error: ServiceError) -> None:
        """Answer the request that is being received, unless a response to it has begun, and close the connection."""
        cycle = self._answering
        if cycle is None or not cycle.response_started or (cycle.response_complete and not self._in_body):
            self.transport.write(_response(error))
        self.transport.close()


def _parser(protocol: HttpToolsProtocol) -> httptools.HttpRequestParser:
    parser = httptools.HttpRequestParser(protocol)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
    return parser


def _response(error: ServiceError) -> bytes:
    """An error as a whole response, where no application answers."""
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
        "Connection: close",
    ]
    if error.retry_after is not None:
        head.append(f"Retry-After: {error.retry_after}")
    return "\r\n".join([*head, "", ""]).encode() + problem
