"""A connection to an HTTP/1.1 server: one request at a time, on `asyncio.Protocol`."""

import asyncio
import logging
import re
import select
import ssl
from collections.abc import AsyncIterable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import httpcore
import httpx
from httpcore._trace import Trace

from service.alarm import Alarm
from service.upstream.http_response import ResponseReader
from service.upstream.sockets import open_socket

MAX_UNREAD_BYTES = 65_536  # above this the connection stops reading, for backpressure
REQUEST_LINE = re.compile(rb"[!-~]+ [!-~]+ HTTP/1\.1")
FIELD_LINE = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [^\0\r\n]*")  # RFC 9110, section 5.5

Origin = tuple[bytes, bytes, int]  # scheme, host, port

connection_log = logging.getLogger("httpcore.connection")  # Trace takes the prefix of its events from these names
http11_log = logging.getLogger("httpcore.http11")


def encode_head(request: httpcore.Request) -> bytes:
    """The request line and headers. Raises httpx.LocalProtocolError if they could be misread."""
    request_line = b"%b %b HTTP/1.1" % (request.method, request.url.target)
    fields = [b"%b: %b" % field for field in request.headers]
    if not REQUEST_LINE.fullmatch(request_line) or not all(map(FIELD_LINE.fullmatch, fields)):
        raise httpx.LocalProtocolError("the request's method, target or a header field has characters it cannot have")
    return b"\r\n".join([request_line, *fields, b"", b""])


class Connection(asyncio.Protocol):
    """A connection to one origin, with one request at a time. `closed` is called when it can no longer be used."""

    def __init__(self, origin: Origin, closed: Callable[["Connection"], None]) -> None:
        self.origin = origin
        self._loop = asyncio.get_running_loop()
        self.lost = self._loop.create_future()  # done when the socket is closed
        self._closed = closed
        self._transport: asyncio.Transport
        self._reader: ResponseReader | None = None  # None while it is idle
        self._sent = False  # whether the request is sent in full
        self._error: httpx.TransportError | None = None  # why nothing more will come
        self._alarm = Alarm(self._on_alarm)
        self._timeout_error: type[httpx.TimeoutException] = httpx.ReadTimeout
        self._waiter: asyncio.Future[None] | None = None
        self._writable = True
        self._is_reading = True
        self._takes_turns = False  # whether more of the body had arrived than the last piece

    async def connect(self, request: httpcore.Request, context: ssl.SSLContext) -> None:
        """Raises httpx.ConnectError, httpx.ConnectTimeout."""
        scheme, name, port = self.origin
        host = name.decode("ascii")
        timeout: float | None = request.extensions.get("timeout", {}).get("connect")
        info: dict[str, Any] = {"host": host, "port": port, "timeout": timeout}
        async with Trace("connect_tcp", connection_log, request, info):
            with _connect_errors():
                async with asyncio.timeout(timeout):
                    connected = await open_socket(host, port)
        loop = asyncio.get_running_loop()
        if scheme != b"https":
            await loop.create_connection(lambda: self, sock=connected)
            return
        server_name = request.extensions.get("sni_hostname") or host
        info = {"ssl_context": context, "server_hostname": server_name, "timeout": timeout}
        async with Trace("start_tls", connection_log, request, info):
            with _connect_errors():
                async with asyncio.timeout(timeout):
                    await loop.create_connection(lambda: self, sock=connected, ssl=context, server_hostname=server_name)

    async def ask(self, request: httpcore.Request) -> ResponseReader:
        """Send the request and read the response's head. Raises httpx.TransportError."""
        timeouts = request.extensions.get("timeout", {})
        head = encode_head(request)
        self._reader = reader = ResponseReader(request.method)
        self._sent = False
        info: dict[str, Any] = {"request": request}
        async with Trace("send_request_headers", http11_log, request, info):
            self._transport.write(head)
        async with Trace("send_request_body", http11_log, request, info):
            await self._send_body(request, reader, timeouts.get("write"))
        async with Trace("receive_response_headers", http11_log, request, info) as trace:
            while reader.phase == "head":
                await self._wait(timeouts.get("read"), httpx.ReadTimeout)
            trace.return_value = (reader.version, reader.status, reader.reason, reader.headers)
        return reader

    async def _send_body(self, request: httpcore.Request, reader: ResponseReader, timeout: float | None) -> None:
        """Send the body, until the server responds or closes the connection: there may be an early response."""
        fields = {name.lower(): value for name, value in request.headers}
        is_chunked = b"transfer-encoding" in fields
        left = int(fields.get(b"content-length", 0))
        assert isinstance(request.stream, AsyncIterable)
        async for piece in request.stream:
            if reader.phase != "head" or self._error is not None:
                return
            left -= len(piece)
            if is_chunked:
                self._transport.write(b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b"")
            else:
                self._transport.write(piece)
            while not self._writable and reader.phase == "head" and self._error is None:
                await self._wait(timeout, httpx.WriteTimeout)
        if is_chunked:
            self._transport.write(b"0\r\n\r\n")
        elif left:
            raise httpx.LocalProtocolError("the request's body is not as long as its Content-Length says")
        self._sent = True

    async def read(self, timeout: float | None) -> bytes:
        """The next piece of the response's body, empty at its end. Raises httpx.TransportError."""
        reader = self._reader
        assert reader is not None
        if self._takes_turns:
            await asyncio.sleep(0)
        while not reader.unread_bytes:
            if reader.phase == "ended":
                return b""
            await self._wait(timeout, httpx.ReadTimeout)
        piece = reader.take()
        self._takes_turns = reader.unread_bytes > 0
        if not self._is_reading and not self._takes_turns:
            self._resume_reading()
        return piece

    async def _wait(self, timeout: float | None, error: type[httpx.TimeoutException]) -> None:
        """Wait until data arrives, can be sent, or the connection breaks. Raises `error` after `timeout` seconds."""
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        self._timeout_error = error
        self._alarm.set(timeout)  # it does nothing if nothing is waiting
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    @property
    def is_reusable(self) -> bool:
        """Whether the request and the response are complete and the connection can be reused."""
        reader = self._reader
        return (
            reader is not None
            and reader.persistent
            and reader.phase == "ended"
            and self._sent
            and self._error is None
            and not self._transport.is_closing()
            and not self._transport.get_write_buffer_size()
        )

    def has_ended(self) -> bool:
        """Whether the server has closed an idle connection: any data on it means that."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return bool(poll.poll(0))

    def rest(self, seconds: float | None) -> None:
        """Become idle, for at most this many seconds."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._takes_turns = False
        self._alarm.set(seconds)
        if not self._is_reading:
            self._resume_reading()

    def abort(self) -> None:
        """Close at once, discarding unsent and unread data. Safe at any time."""
        self._fail(httpx.ReadError("the connection was closed"))
        self._transport.abort()

    def _fail(self, error: httpx.TransportError) -> None:
        self._error = self._error or error
        self._alarm.stop()
        self._wake()
        self._closed(self)

    def _on_alarm(self) -> None:
        if self._reader is None:
            self.abort()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._timeout_error("the server took too long"))

    def _resume_reading(self) -> None:
        self._is_reading = True
        if not self._transport.is_closing():
            self._transport.resume_reading()

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports do not inherit from it

    def data_received(self, data: bytes) -> None:
        reader = self._reader
        if reader is None:  # there is no request
            self.abort()
            return
        try:
            reader.feed(data)
        except httpx.RemoteProtocolError as error:
            self._fail(error)
            self._transport.abort()
            return
        if reader.unread_bytes > MAX_UNREAD_BYTES and self._is_reading:
            self._is_reading = False
            self._transport.pause_reading()
        self._wake()

    def pause_writing(self) -> None:
        self._writable = False

    def resume_writing(self) -> None:
        self._writable = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        failure: httpx.TransportError = httpx.ReadError(str(error) or "the connection is closed")
        if error is None and self._reader is not None:
            try:
                self._reader.feed_eof()
            except httpx.RemoteProtocolError as incomplete:
                failure = incomplete.with_traceback(None)
        self._fail(failure)
        self.lost.set_result(None)
        # Without reference cycles, such as a traceback's, the connection is freed at once.
        self._alarm.close()
        if self._reader is not None:
            self._reader.close()


@contextmanager
def _connect_errors() -> Iterator[None]:
    try:
        yield
    except TimeoutError as error:
        raise httpx.ConnectTimeout(str(error)) from error
    except (OSError, UnicodeError) as error:  # a name that cannot be encoded is unknown, too
        raise httpx.ConnectError(str(error)) from error
