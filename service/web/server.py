"""uvicorn, which on SIGTERM lets the answers under way end, and whose connections the application can break off."""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.settings import Settings
from service.web.lifespan import Service

log = logging.getLogger("chatbot")

ABORT = "chatbot.abort"  # among the extensions of an ASGI scope: call it to break the connection off
MAX_HEAD_BYTES = 65_536
HEAD_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\n"
    b"Content-Type: application/problem+json\r\nConnection: close\r\n\r\n"
    b'{"type":"about:blank","title":"Request Header Fields Too Large","status":431,'
    b'"detail":"The head of the request is larger than the service takes.","code":"head_too_large"}'
)


class Protocol(HttpToolsProtocol):
    """uvicorn's, with ABORT, and with a bound to a request's head and trailers (RFC 6585, section 5), of which its
    parser would hold any amount."""

    _held_bytes = 0  # received since the last head, piece of a body or request was complete

    def data_received(self, data: bytes) -> None:
        self._held_bytes += len(data)
        super().data_received(data)
        if self._held_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            log.info("a request's head is too large")
            if self.cycle is None or self.cycle.response_complete:  # otherwise it would stand in another's response
                self.transport.write(HEAD_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {ABORT: self.transport.abort}
        self.scope["extensions"] = extensions

    def on_headers_complete(self) -> None:
        self._held_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._held_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._held_bytes = 0
        super().on_message_complete()


class Server(uvicorn.Server):
    """uvicorn's, which on SIGTERM first lets the answers under way end, while /ready says 503 and none begins."""

    def __init__(self, config: uvicorn.Config, find_service: Callable[[], Service | None]) -> None:
        super().__init__(config)
        self._find_service = find_service
        self._tasks: list[asyncio.Task[None]] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        service = self._find_service()
        if service is None or service.drained.is_set():
            super().handle_exit(sig, frame)
            return
        loop = asyncio.get_running_loop()
        if service.shutdown.is_set():  # whoever insists waits for no answer; each still gets its last event
            loop.call_soon_threadsafe(self._start, service.answers.drain(0))
        else:
            service.shutdown.set()
            loop.call_soon_threadsafe(self._start, self._leave(service, partial(super().handle_exit, sig, frame)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _leave(self, service: Service, leave: Callable[[], None]) -> None:
        await service.drained.wait()
        leave()


def run_server(app: Callable[..., Any], settings: Settings, find_service: Callable[[], Service | None]) -> None:
    """Serve an ASGI app until SIGTERM or SIGINT. `find_service` gives what its lifespan has started, if it has."""
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_graceful_shutdown=2,
    )
    with suppress(KeyboardInterrupt):  # uvicorn raises a Ctrl-C once more when it has done what it asks for
        Server(config, find_service).run()
