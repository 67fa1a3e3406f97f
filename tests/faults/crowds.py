"""Faults caused by clients without a key: many pipelined requests on one connection, connections with incomplete
requests, and refused requests, with many tenants."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from faults.machine import MIB, Replica, deploy, until
from faults.play import Play, fault, many
from faults.readers import Pulse, fetch

NOWHERE = "http://127.0.0.1:9/v1"  # the upstream is never used
SENT_BYTES = 29 * MIB  # whose responses, of 10 MiB or more, are more than the sockets' buffers may hold
RECEIVE_BUFFER_BYTES = 65_536
GROWN_BYTES = 50 * MIB
HEALTH_SECONDS = 0.1
AHEAD = {
    "GET": b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
    "chunks": b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * 200 + b"0\r\n\r\n",
    "line breaks": b"\r\n" * 1000,
}
HALF_OPEN = {
    "nothing": b"",
    "part of a head": b"GET /api/v1/health HTTP/1.1\r\nHost: a\r\nX-",
    "part of a body": b"POST /api/v1/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n{",
}


@contextmanager
def beating(url: str) -> Iterator[Pulse]:
    """A pulse in a thread with its own event loop, so that the crowd in this process doesn't slow it down."""
    pulse, loop = Pulse(url), asyncio.new_event_loop()
    task = loop.create_task(pulse.run())
    thread = threading.Thread(target=loop.run_until_complete, args=[asyncio.wait([task])])
    thread.start()
    try:
        yield pulse
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
        loop.close()


@asynccontextmanager
async def others_served(play: Play, replica: Replica, what: str) -> AsyncIterator[None]:
    """Check the effect on others: the latency of the health endpoint and the memory used."""
    start = replica.memory()
    replica.forget_peak()
    with beating(replica.url) as pulse:
        yield
        await pulse.another()
    grown, slow = replica.peak_memory() - start, pulse.worst(99)
    play.measure(
        f"{what}: {grown / MIB:+.1f} MiB at most, {(replica.memory() - start) / MIB:+.1f} after, "
        f"health in {slow * 1000:.0f} ms at p99"
    )
    play.require(grown < GROWN_BYTES, f"{what}: memory grew by {grown / MIB:.1f} MiB")
    play.require_in_time(slow, HEALTH_SECONDS, f"{what}: health at p99")


@fault(
    "pipelined-requests", "30 connections that send 29 MB ahead and never read: within 50 MiB, health < 100 ms at p99"
)
async def pipelined_requests(play: Play) -> None:
    count = play.count(30, 1)
    async with deploy(play.directory, NOWHERE, play.deadlines) as here:
        await fetch(here.url, "/api/v1/health", {})
        for name, request in AHEAD.items():
            async with others_served(play, here.first, f"{count} send {name} ahead"):
                taken = await asyncio.gather(*(_send_ahead(here.first, request) for _ in range(count)))
                play.require(max(taken) < SENT_BYTES, f"{name}: the service read all of {SENT_BYTES} bytes")
            play.require(
                await until(lambda: here.first.sockets()["reader"] == 0), f"{name}: sockets are left in the service"
            )


async def _send_ahead(replica: Replica, request: bytes) -> int:
    """Send requests without reading until the service accepts no more for two seconds. Returns the bytes accepted."""
    reader, writer = await asyncio.open_connection("127.0.0.1", replica.port, limit=1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    piece, taken = request * max(1, 65_536 // len(request)), 0
    with suppress(OSError, TimeoutError):
        while taken < SENT_BYTES:
            writer.write(piece)
            async with asyncio.timeout(2):
                await writer.drain()
            taken += len(piece)
    writer.transport.abort()
    return taken


@fault("half-open-connections", "3,000 half-open: all closed after the deadline, within 50 MiB, health < 100 ms at p99")
async def half_open_connections(play: Play) -> None:
    count = play.count(3000, 100)
    seconds = 2 if play.short else 5
    settings = play.deadlines | {"HEAD_TIMEOUT": str(seconds), "BODY_TIMEOUT": str(seconds)}
    async with deploy(play.directory, NOWHERE, settings) as here:
        for name, sent in HALF_OPEN.items():
            async with others_served(play, here.first, f"{count} send {name}"):
                began = time.monotonic()
                await asyncio.gather(*(_until_closed(here.first, sent) for _ in range(count)))
                play.measure(f"all closed after {time.monotonic() - began:.1f} s, deadline {seconds} s")


async def _until_closed(replica: Replica, sent: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", replica.port)
    try:
        writer.write(sent)
        with suppress(ConnectionError):
            await reader.read()
    finally:
        writer.close()


@fault("junk-with-many-tenants", "5,000 tenants, 1,000 junk requests: as cheap as with one tenant, within 50 MiB")
async def junk_with_many_tenants(play: Play) -> None:
    tenants, requests = play.count(5000, 50), play.count(1000, 40)
    async with deploy(play.directory, NOWHERE, play.deadlines) as here:
        origin = {"Origin": "https://nobody.test"}
        junk = [
            ("/api/v1/conversations", origin | {"X-API-Key": "a4_pub_" + "x" * 32}),
            ("/api/v1/nothing", origin),
            ("/api/v1/conversations", origin),
        ]

        async def ask(number: int) -> int:
            path, headers = junk[number % len(junk)]
            return (await fetch(here.url, path, headers))[0]

        async def cost() -> float:
            """Seconds of CPU per request."""
            before = here.first.cpu_seconds()
            statuses = await many(requests, 4, ask)
            play.require(set(statuses) == {401, 404}, f"statuses {set(statuses)}")
            return (here.first.cpu_seconds() - before) / requests

        await cost()
        with_one = await cost()
        for number in range(tenants):
            await here.add_tenant(f"tenant {number}")
        async with others_served(play, here.first, f"{requests} junk requests with {tenants} tenants"):
            with_many = await cost()
        play.measure(f"CPU per request: {with_one * 1000:.2f} ms with one tenant, {with_many * 1000:.2f} with all")
        play.require_in_time(with_many, 2 * with_one, "CPU seconds per request")
