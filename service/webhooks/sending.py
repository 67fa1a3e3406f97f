"""Sending to a URL that a tenant chose: to public addresses only, unless others are allowed."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

import httpcore
import httpx

CONNECT_SECONDS = 5
READ_SECONDS = 10
TOTAL_SECONDS = 20  # from the name's resolution to the response's headers
MOST_CONNECTIONS = 100
NAT64 = IPv6Network("64:ff9b::/96")


class AddressRefused(httpcore.ConnectError):
    """The name has no public address."""


class PublicBackend(httpcore.AsyncNetworkBackend):
    """Connects only to public addresses. A name is resolved once, so that the checked address is the one in use."""

    def __init__(self) -> None:
        self._backend = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        try:
            async with asyncio.timeout(timeout):
                found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except TimeoutError:
            raise httpcore.ConnectTimeout("the name was not resolved in time") from None
        except (OSError, UnicodeError):
            raise httpcore.ConnectError("the name has no address") from None
        addresses = list(dict.fromkeys(str(address[4][0]) for address in found))
        public = [address for address in addresses if is_public(address)]
        if not public:
            raise AddressRefused("the address is not a public one")
        for address in public[:-1]:
            try:
                return await self._backend.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._backend.connect_tcp(public[-1], port, timeout, local_address, socket_options)

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        raise AddressRefused("a socket of this machine")

    async def sleep(self, seconds: float) -> None:
        await self._backend.sleep(seconds)


class PublicTransport(httpx.AsyncHTTPTransport):
    """httpx's transport over a `PublicBackend`."""

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(verify=context)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=context,
            max_connections=MOST_CONNECTIONS,
            max_keepalive_connections=0,
            network_backend=PublicBackend(),
        )


def is_public(address: str) -> bool:
    """Whether an address is on the public internet; for an IPv6 address that embeds an IPv4 one, whether that is."""
    parsed: IPv4Address | IPv6Address | None = ip_address(address)
    if isinstance(parsed, IPv6Address):
        teredo = parsed.teredo
        within = IPv4Address(int(parsed) & 0xFFFF_FFFF) if parsed in NAT64 else None
        parsed = parsed.ipv4_mapped or parsed.sixtofour or (teredo and teredo[1]) or within or parsed
    return parsed is not None and parsed.is_global and not parsed.is_multicast and not parsed.is_reserved


@asynccontextmanager
async def connect_webhooks(context: ssl.SSLContext, *, allow_private: bool) -> AsyncIterator[httpx.AsyncClient]:
    """The HTTP client for all webhooks."""
    transport = (
        httpx.AsyncHTTPTransport(
            verify=context, limits=httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=0)
        )
        if allow_private
        else PublicTransport(context)
    )
    timeout = httpx.Timeout(READ_SECONDS, connect=CONNECT_SECONDS)
    async with httpx.AsyncClient(transport=transport, timeout=timeout, trust_env=False) as client:
        yield client


async def send(client: httpx.AsyncClient, request: httpx.Request) -> str | None:
    """Send a request. Returns None for a 2xx response, or else the reason, without any address or text in it.

    The response's body is not read, and redirects are not followed.
    """
    request.extensions["timeout"] = client.timeout.as_dict()
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            response = await client.send(request, stream=True, follow_redirects=False)
            await response.aclose()
    except TimeoutError:
        return "no response in time"
    except (httpx.HTTPError, httpx.InvalidURL, AddressRefused) as error:
        refused = isinstance(error, AddressRefused) or isinstance(error.__cause__, AddressRefused)
        return "the address is not a public one" if refused else type(error).__name__
    return None if response.is_success else f"HTTP {response.status_code}"
