"""The sockets that the service listens on, and the number of connections that the open file limit allows."""

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Callable
from typing import Any

from service.web.connections import Connection, Connections

BACKLOG = 2048
# Of a connection, held by the system: as much may be received at once, and wait here. The default is up to 6 MiB.
RECEIVE_BUFFER_BYTES = 65_536
ACCEPTED_AT_ONCE = 8  # before open connections get their turn; 1 for each of several workers, which share them
PAUSE_SECONDS = 0.5

MOST_FILES = 1_048_576
MOST_FILES_MACOS = 10_240  # the most it accepts, whatever its hard limit is
RESERVED_FILES = 64  # the database's, the log, the loop's own
REFUSALS = 32  # connections beyond the limit, each of which gets an error

log = logging.getLogger("chatbot")


def raise_file_limit() -> int:
    """Raise the soft limit of open files to the hard one. Returns the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (MOST_FILES, MOST_FILES_MACOS):
        wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        if soft == resource.RLIM_INFINITY or wanted <= soft:
            break
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (ValueError, OSError):
            continue
        return wanted
    return MOST_FILES if soft == resource.RLIM_INFINITY else soft


def most_connections(files: int, max_streams: int) -> int:
    """The number of connections that can be served with this open file limit.

    An answer takes two, the visitor's and the upstream's. Warns if `max_streams` answers do not fit.
    """
    reserved = min(RESERVED_FILES + REFUSALS, files // 2)
    if files < reserved + 2 * max_streams:
        log.warning(
            "too few open files for MAX_STREAMS: raise their limit (ulimit -n, LimitNOFILE) or lower MAX_STREAMS",
            extra={"limit": files, "needed": reserved + 2 * max_streams, "max_streams": max_streams},
        )
    return max(1, files - reserved - min(max_streams, (files - reserved) // 2))


def bind(host: str, port: int) -> list[socket.socket]:
    """Sockets for all addresses of a host. `::` means all IPv6 and IPv4 addresses, or only IPv4 without IPv6.

    Raises OSError.
    """
    hosts = ["::", "0.0.0.0"] if host == "::" else [host]
    sockets: list[socket.socket] = []
    failure: OSError | None = None
    try:
        for name in hosts:
            for family, kind, protocol, _, address in socket.getaddrinfo(
                name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            ):
                try:
                    sockets.append(_bind(family, kind, protocol, address, sockets))
                except OSError as error:
                    if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                        raise
                    failure = error  # the machine lacks this address family
    except OSError:
        for bound in sockets:
            bound.close()
        raise
    if not sockets:
        raise failure or OSError(errno.EADDRNOTAVAIL, "no address")
    return sockets


def _bind(
    family: int, kind: int, protocol: int, address: tuple[Any, ...], sockets: list[socket.socket]
) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.setblocking(False)
        port = sockets[0].getsockname()[1] if sockets else address[1]
        bound.bind((address[0], port, *address[2:]))
    except OSError:
        bound.close()
        raise
    return bound


def url_of(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


class Listener:
    """Accepts connections, including a few beyond the limit; the rest wait in the system's queue."""

    def __init__(self, sockets: list[socket.socket], connections: Connections, workers: int) -> None:
        self._sockets = sockets
        self._connections = connections
        self._accepted_at_once = ACCEPTED_AT_ONCE if workers == 1 else 1
        self._opening: set[asyncio.Task[None]] = set()
        self._is_accepting = False
        self._is_closed = False

    def start(self, connect: Callable[[], Connection]) -> None:
        """Start to accept connections; `connect` creates the protocol of each."""
        self._connect = connect
        self._connections.on_lost = self._go_on
        for listening in self._sockets:
            listening.listen(BACKLOG)
        self._go_on()

    def close(self) -> None:
        """Stop accepting connections. Open ones stay open."""
        self._pause()
        self._is_closed = True
        for listening in self._sockets:
            listening.close()

    def _go_on(self) -> None:
        if self._is_accepting or self._is_closed:
            return
        self._is_accepting = True
        for listening in self._sockets:
            asyncio.get_running_loop().add_reader(listening, self._accept, listening)

    def _pause(self) -> None:
        if not self._is_accepting:
            return
        self._is_accepting = False
        for listening in self._sockets:
            asyncio.get_running_loop().remove_reader(listening)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(self._accepted_at_once):
            if len(self._connections.open) + len(self._opening) >= self._connections.most + REFUSALS:
                self._pause()
                return
            try:
                accepted, _ = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:  # out of file descriptors or memory: connections keep waiting
                log.warning("no connection can be accepted", extra={"reason": error.strerror})
                self._pause()
                asyncio.get_running_loop().call_later(PAUSE_SECONDS, self._go_on)
                return
            task = asyncio.create_task(self._open(accepted))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)

    async def _open(self, accepted: socket.socket) -> None:
        try:
            accepted.setblocking(False)
            await asyncio.get_running_loop().connect_accepted_socket(self._connect, accepted)
        except OSError:  # the peer has disconnected
            accepted.close()
