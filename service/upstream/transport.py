"""An httpx transport with its own connections: httptools on `asyncio.Protocol`, and a pool.

It replaces `httpx.AsyncHTTPTransport` because each token of an answer passes through it: httpcore's layers, anyio's
scopes and h11 would cost several times as much as everything else on a token's path. It behaves like httpx's transport:
timeouts, exceptions, TLS contexts, trace events, and respx's default mocker. HTTP/1.1 only, without proxies.

From the wire to httpx: `ResponseReader` parses, `Connection` does the I/O, `Pool` manages connections, and `Transport`
is the httpx transport.
"""

import asyncio
import ssl
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import nullcontext
from typing import Any

import httpcore
import httpx
from httpcore._trace import Trace

from service.upstream.connection import Connection, Origin, http11_log


class Body:
    """A response's body. Closing it before its end closes the connection.

    It is the response's extension `body`: reading it directly avoids httpx's nested iterators, which cost more than
    parsing a token, and lets the request and the response be freed.
    """

    def __init__(self, connection: Connection, timeout: float | None, release: Callable[[Connection], None]) -> None:
        self._connection = connection
        self._timeout = timeout
        self._release = release
        self.is_closed = False

    def read(self) -> Coroutine[Any, Any, bytes]:
        """The next piece, empty at the end. Raises httpx.TransportError."""
        return self._connection.read(self._timeout)

    async def aclose(self) -> None:
        if not self.is_closed:
            self.is_closed = True
            self._release(self._connection)


class Stream(httpx.AsyncByteStream):
    """A body for httpx."""

    def __init__(self, request: httpcore.Request, body: Body) -> None:
        self._request = request
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async with Trace("receive_response_body", http11_log, self._request, {"request": self._request}):
                while piece := await self._body.read():
                    yield piece
        except BaseException:
            await self.aclose()
            raise

    async def aclose(self) -> None:
        if not self._body.is_closed:
            await self._body.aclose()
            async with Trace("response_closed", http11_log, self._request):
                pass


class Pool(httpcore.AsyncConnectionInterface):
    """At most `limits.max_connections`; finds the most recently used idle connection in constant time."""

    def __init__(self, context: ssl.SSLContext, limits: httpx.Limits) -> None:
        self._context = context
        self._most = sys.maxsize if limits.max_connections is None else limits.max_connections
        self._most_idle = self._most if limits.max_keepalive_connections is None else limits.max_keepalive_connections
        self._expiry = limits.keepalive_expiry
        self._slots = asyncio.Semaphore(self._most)
        self._busy = 0
        self._connections: set[Connection] = set()
        # Both in the order of becoming idle; a dict is an ordered set.
        self._idle: dict[Connection, None] = {}
        self._idle_at: defaultdict[Origin, dict[Connection, None]] = defaultdict(dict)

    async def handle_async_request(self, request: httpcore.Request) -> httpcore.Response:
        connection = await self._take(request)
        try:
            reader = await connection.ask(request)
        except BaseException:
            self._release(connection)
            raise
        body = Body(connection, request.extensions.get("timeout", {}).get("read"), self._release)
        extensions = {"http_version": reader.version, "reason_phrase": reader.reason, "body": body}
        headers, reader.headers = reader.headers, []  # free them during a long answer
        stream = Stream(request, body)
        return httpcore.Response(reader.status, headers=headers, content=stream, extensions=extensions)

    async def _take(self, request: httpcore.Request) -> Connection:
        """An idle connection or a new one. Raises httpx.PoolTimeout, and like `Connection.connect`."""
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._slots.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout(f"all {self._most} connections are busy") from None
        self._busy += 1
        try:
            url = request.url.origin
            origin = (url.scheme, url.host, url.port)
            while idle := self._idle_at.get(origin):
                connection = next(reversed(idle))
                self._not_idle(connection)
                if not connection.has_ended():
                    return connection
                connection.abort()
            if self._idle and self._busy + len(self._idle) > self._most:
                self._close_oldest()
            connection = Connection(origin, self._not_idle)
            await connection.connect(request, self._context)
            self._connections.add(connection)
            connection.lost.add_done_callback(lambda _: self._connections.discard(connection))
            return connection
        except BaseException:
            self._busy -= 1
            self._slots.release()
            raise

    def _release(self, connection: Connection) -> None:
        self._busy -= 1
        self._slots.release()
        if not connection.is_reusable or not self._most_idle:
            connection.abort()
            return
        connection.rest(self._expiry)
        self._idle[connection] = self._idle_at[connection.origin][connection] = None
        if len(self._idle) > self._most_idle:
            self._close_oldest()

    def _not_idle(self, connection: Connection) -> None:
        if connection in self._idle:
            del self._idle[connection]
            at = self._idle_at[connection.origin]
            del at[connection]
            if not at:
                del self._idle_at[connection.origin]

    def _close_oldest(self) -> None:
        next(iter(self._idle)).abort()

    async def aclose(self) -> None:
        """Close every connection, and wait until each has closed its socket."""
        connections = list(self._connections)
        for connection in connections:
            connection.abort()
        if connections:
            await asyncio.wait([connection.lost for connection in connections])


class Entrance(httpcore.AsyncHTTPConnection):
    """Passes requests to the pool through the inherited `handle_async_request`, which respx's default mocker patches.

    Its only purpose is that tests with mocks need not know this module.
    """

    def __init__(self, pool: httpcore.AsyncConnectionInterface) -> None:
        super().__init__(httpcore.Origin(b"", b"", 0))
        self._connection = pool
        self._request_lock = nullcontext()  # type: ignore[assignment]  # it is shared by requests to any origin

    def can_handle_request(self, origin: httpcore.Origin) -> bool:
        return True


class Transport(httpx.AsyncBaseTransport):
    """The httpx transport. Raises the same exceptions as `httpx.AsyncHTTPTransport`."""

    def __init__(self, context: ssl.SSLContext, limits: httpx.Limits) -> None:
        context.set_alpn_protocols(["http/1.1"])
        self._pool = Pool(context, limits)
        self._entrance = Entrance(self._pool)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url
        if url.scheme not in ("http", "https"):
            raise httpx.UnsupportedProtocol(f"Request URL has an unsupported protocol '{url.scheme}://'.")
        response = await self._entrance.handle_async_request(
            httpcore.Request(
                request.method,
                httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        assert isinstance(response.stream, httpx.AsyncByteStream)
        return httpx.Response(
            response.status, headers=response.headers, stream=response.stream, extensions=response.extensions
        )

    async def aclose(self) -> None:
        await self._pool.aclose()
