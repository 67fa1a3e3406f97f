"""A server whose bytes are scripted by the tests, and a client for it on `service.upstream.transport`."""

import asyncio
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from service.upstream.transport import Transport

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HELLO = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
TIMEOUT = httpx.Timeout(60)
SECONDS = 60
BUFFER_BYTES = 2**18  # of the server's sockets, which the system would let grow to any size


@dataclass
class Peer:
    """The server's side of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """The next complete request: its head, and its body by Content-Length."""
        head = await self.head()
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head + await self.reader.readexactly(int(lengths[0].partition(b":")[2]) if lengths else 0)

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
        await self.writer.drain()

    async def answer_all(self, response: bytes = HELLO) -> None:
        while True:
            await self.request()
            await self.send(response)

    async def until_gone(self) -> None:
        """Wait until the client has closed or reset the connection."""
        with suppress(ConnectionError):
            while await self.reader.read(65_536):
                pass

    def reset(self) -> None:
        """Close with a RST."""
        connection: socket.socket = self.writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


@dataclass
class Server:
    port: int = 0
    scheme: str = "http"
    accepted: int = 0
    open: int = 0
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    @property
    def url(self) -> str:
        host = "127.0.0.1" if self.scheme == "http" else "localhost"
        return f"{self.scheme}://{host}:{self.port}/"

    async def until_open(self, count: int) -> None:
        """Wait until exactly this many connections are open."""
        async with asyncio.timeout(SECONDS), self.changed:
            await self.changed.wait_for(lambda: self.open == count)


@asynccontextmanager
async def serving(script: Script, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server that runs the script on each connection and then closes it."""
    server = Server(scheme="https" if tls else "http")

    async def count(accepted: int, opened: int) -> None:
        async with server.changed:
            server.accepted += accepted
            server.open += opened
            server.changed.notify_all()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await count(1, 1)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await script(Peer(reader, writer))
        finally:
            writer.close()
            with suppress(ConnectionError, ssl.SSLError):
                await writer.wait_closed()
            await count(0, -1)

    bound = socket.socket()
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):  # its connections inherit them
        bound.setsockopt(socket.SOL_SOCKET, buffer, BUFFER_BYTES)
    bound.bind(("127.0.0.1", 0))
    server.port = bound.getsockname()[1]
    listening = await asyncio.start_server(handle, sock=bound, ssl=tls, backlog=1024, limit=2**20)
    try:
        yield server
        await server.until_open(0)
    finally:
        listening.close()
        await listening.wait_closed()


@asynccontextmanager
async def connecting(
    context: ssl.SSLContext | None = None,
    *,
    most: int | None = None,
    idle: int | None = None,
    expiry: float | None = None,
    timeout: httpx.Timeout = TIMEOUT,
) -> AsyncIterator[httpx.AsyncClient]:
    """A client on our transport."""
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=idle, keepalive_expiry=expiry)
    transport = Transport(context or ssl.create_default_context(), limits)
    async with httpx.AsyncClient(transport=transport, timeout=timeout) as client:
        yield client


@pytest.fixture(
    scope="module",
    params=[("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture(autouse=True)
async def nothing_is_left() -> AsyncIterator[None]:
    """Check that every test ends with as many sockets and tasks as it began with."""
    before, tasks = open_sockets(), len(asyncio.all_tasks())
    yield
    async with asyncio.timeout(SECONDS):
        while open_sockets() > before or len(asyncio.all_tasks()) > tasks:
            await asyncio.sleep(0.001)


def open_sockets() -> int:
    return sum(_is_socket(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd"))


def _is_socket(path: str) -> bool:
    try:
        return os.readlink(path).startswith("socket:")
    except FileNotFoundError:  # the descriptor of the listing itself
        return False


class Authority:
    """A certificate authority for one test."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test authority")])
        self._certificate = self._sign(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0))

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = x509.CertificateBuilder().issuer_name(self._name).subject_name(subject).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def server(self, name: str) -> ssl.SSLContext:
        """A server context with a certificate for only this name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key, x509.SubjectAlternativeName([x509.DNSName(name)]))
        path = self._directory / f"{name}.pem"
        path.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            + certificate.public_bytes(Encoding.PEM)
        )
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(path)
        context.set_alpn_protocols(["h2", "http/1.1"])
        return context

    def file(self) -> Path:
        """The authority's own certificate, as PEM."""
        path = self._directory / "authority.pem"
        path.write_bytes(self._certificate.public_bytes(Encoding.PEM))
        return path

    def client(self) -> ssl.SSLContext:
        """A client context that only trusts this authority."""
        return ssl.create_default_context(cadata=self._certificate.public_bytes(Encoding.PEM).decode())
