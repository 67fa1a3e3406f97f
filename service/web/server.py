"""uvicorn's server, which lets answers in progress finish on SIGTERM, and limits its connections."""

import asyncio
import gc
import logging
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from socket import socket
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette

from service.errors import ServiceError
from service.settings import Settings
from service.web.connections import Connection, Connections, Deadlines
from service.web.forwarded import ForwardedHeaders
from service.web.lifespan import Service
from service.web.listening import Listener, most_connections, raise_file_limit, url_of

log = logging.getLogger("chatbot")


class Server(uvicorn.Server):
    """uvicorn's server. On SIGTERM it first lets answers in progress finish, while /ready returns 503 and none can
    begin.

    It keeps listening for `shutdown_delay` seconds, for proxies that have not noticed yet, but not after Ctrl-C.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        sockets: list[socket],
        connections: Connections,
        find_service: Callable[[], Service | None],
        settings: Settings,
    ) -> None:
        super().__init__(config)
        self._sockets = sockets
        self._connections = connections
        self._listener = Listener(sockets, connections, settings.workers)
        self._find_service = find_service
        self._shutdown_delay = settings.shutdown_delay
        self._tasks: list[asyncio.Task[None]] = []

    def run(self, sockets: list[socket] | None = None) -> None:
        """Serve until SIGTERM or SIGINT."""
        gc.freeze()  # imported objects stay forever: the garbage collector need not look at them again
        gc.set_threshold(10_000, 10, 10)  # a question makes hundreds of objects, hardly any of them in a cycle
        with suppress(KeyboardInterrupt):  # uvicorn raises a Ctrl-C again after handling it
            super().run(sockets)

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Start the application, then listen."""
        await super().startup(sockets=[])
        self._listener.start(
            partial(Connection, self.config, self.server_state, self.lifespan.state, self._connections)
        )
        self._start(self._connections.sweep())
        log.info("running on %s", " ".join(url_of(bound) for bound in self._sockets))

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Stop listening, let requests in progress finish, then stop the application."""
        self._listener.close()
        await super().shutdown(sockets)
        for task in self._tasks:
            task.cancel()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        service = self._find_service()
        if service is None or service.drained.is_set():
            super().handle_exit(sig, frame)
            return
        loop = asyncio.get_running_loop()
        if service.shutdown.is_set():  # after a second signal, do not wait for answers; each still gets its last event
            loop.call_soon_threadsafe(self._start, service.answers.drain(0))
        else:
            service.shutdown.set()
            delay = 0 if sig == signal.SIGINT else self._shutdown_delay
            leave = partial(super().handle_exit, sig, frame)
            loop.call_soon_threadsafe(self._start, self._leave(service, delay, leave))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _leave(self, service: Service, delay: float, leave: Callable[[], None]) -> None:
        self._connections.are_last = True
        await asyncio.gather(service.drained.wait(), asyncio.sleep(delay))
        leave()


def make_server(app: Starlette, settings: Settings, sockets: list[socket]) -> Server:
    """A server for the application on bound sockets."""
    proxied = ForwardedHeaders(app, settings.forwarded_allow_ips)  # type: ignore[arg-type]  # uvicorn has its own types
    connections = Connections(
        Deadlines(settings.head_timeout, settings.body_timeout, settings.keep_alive_timeout, settings.send_timeout),
        most_connections(raise_file_limit(), settings.max_streams),
        proxied.trusted_hosts.__contains__,
    )
    find_service = partial(_service_of, app)
    connections.on_refused = partial(_count, find_service)
    config = uvicorn.Config(
        proxied,
        http="httptools",
        ws="none",
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # `ForwardedHeaders` reads them
        timeout_graceful_shutdown=2,
    )
    return Server(config, sockets, connections, find_service, settings)


def _service_of(app: Starlette) -> Service | None:
    """The service, while its lifespan runs."""
    return getattr(app.state, "service", None)


def _count(find_service: Callable[[], Service | None], error: ServiceError) -> None:
    """Count a refusal that the application does not see."""
    if (service := find_service()) is not None:
        service.metrics.requests.labels("none", error.status_code, error.code).inc()
