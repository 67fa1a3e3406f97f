"""Connecting to a host with any number of addresses (RFC 8305, "Happy Eyeballs"), which uvloop does not do itself."""

import asyncio
import socket
from itertools import zip_longest
from typing import Any

NEXT_ADDRESS_SECONDS = 0.25  # section 5: Connection Attempt Delay

AddressInfo = tuple[int, int, int, str, Any]


async def open_socket(host: str, port: int) -> socket.socket:
    """A connected socket. Tries the next address when one fails or takes too long (RFC 8305). Raises OSError."""
    loop = asyncio.get_running_loop()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    if len(found) == 1:
        return await _connected(found[0])
    preferred = [address for address in found if address[0] == found[0][0]]
    others = [address for address in found if address[0] != found[0][0]]
    addresses = [address for pair in zip_longest(preferred, others) for address in pair if address is not None]
    tries: set[asyncio.Task[None]] = set()
    sockets: list[socket.socket] = []
    errors: list[OSError] = []
    chosen = None

    async def attempt(address: AddressInfo) -> None:
        try:
            sockets.append(await _connected(address))
        except OSError as error:
            errors.append(error)

    try:
        while not sockets and (addresses or tries):
            if addresses:
                tries.add(asyncio.create_task(attempt(addresses.pop(0))))
            patience = NEXT_ADDRESS_SECONDS if addresses else None
            _, tries = await asyncio.wait(tries, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        chosen = sockets[0] if sockets else None
    finally:
        for task in tries:
            task.cancel()
        for spare in sockets:
            if spare is not chosen:
                spare.close()
    if chosen is None:
        raise errors[0]
    return chosen


async def _connected(address: AddressInfo) -> socket.socket:
    family, kind, protocol, _, target = address
    connecting = socket.socket(family, kind, protocol)
    try:
        connecting.setblocking(False)
        connecting.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.get_running_loop().sock_connect(connecting, target)
    except BaseException:
        connecting.close()
        raise
    return connecting
