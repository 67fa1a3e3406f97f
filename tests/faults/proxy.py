"""A TCP proxy between readers and the service that cuts connections at given offsets, as mobile networks do."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from faults.faulty import reset
from handlers import kept

CutBy = Literal["reset", "close"]


@dataclass(frozen=True)
class Cut:
    """Cut the connection after this many bytes of the response."""

    after_bytes: int
    by: CutBy


class CuttingProxy:
    """Relays bytes between readers and the services at `targets`, which take turns.

    `cuts` applies to connections in order; later ones aren't cut.
    """

    def __init__(self, targets: Iterator[str], cuts: Iterable[Cut]) -> None:
        self.url = ""
        self.connections = 0
        self.cuts_made = 0
        self._targets = targets
        self._cuts = iter(cuts)
        self._writers: set[asyncio.StreamWriter] = set()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        cut = next(self._cuts, None)
        target = urlsplit(next(self._targets))
        try:
            from_service, to_service = await asyncio.open_connection(target.hostname, target.port)
        except OSError:
            reset(writer)
            return
        asking = asyncio.create_task(_pass(reader, to_service))
        self._writers.add(writer)
        try:
            await self._pass_answer(from_service, writer, cut)
        except OSError:
            reset(writer)  # the service or the reader disconnected
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            reset(to_service)
            writer.close()
            self._writers.discard(writer)

    async def _pass_answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, cut: Cut | None) -> None:
        passed = 0
        while data := await reader.read(65_536):
            if cut is not None and passed + len(data) >= cut.after_bytes:
                writer.write(data[: cut.after_bytes - passed])
                await writer.drain()
                self.cuts_made += 1
                if cut.by == "reset":
                    reset(writer)
                return
            passed += len(data)
            writer.write(data)
            await writer.drain()

    async def hang_up(self) -> None:
        """Break all open connections, and wait until their handlers have ended."""
        async with asyncio.timeout(30):
            while self._writers:
                for writer in self._writers:
                    writer.transport.abort()
                await asyncio.sleep(0.01)


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Relay a reader's bytes until it disconnects, then close the service's side too."""
    try:
        while data := await reader.read(65_536):
            writer.write(data)
            await writer.drain()
    finally:
        writer.transport.abort()


@asynccontextmanager
async def cutting_proxy(targets: Iterator[str], cuts: Iterable[Cut] = ()) -> AsyncIterator[CuttingProxy]:
    proxy = CuttingProxy(targets, cuts)
    server = await asyncio.start_server(kept(proxy.handle), "127.0.0.1", 0)
    proxy.url = "http://{}:{}".format(*server.sockets[0].getsockname())
    try:
        yield proxy
    finally:
        server.close()
        await proxy.hang_up()
