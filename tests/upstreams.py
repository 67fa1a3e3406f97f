"""An upstream on a real socket, in a thread of its own, that counts its connections."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress

from fakes import answer, delta

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunked(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class LocalUpstream:
    """Answers by the path of its base URL: `quick` at once, `endless` word by word until the reader goes."""

    def __init__(self) -> None:
        self.asked = 0
        self.open = 0
        self.port = 0
        self._changed = threading.Condition()

    def url(self, manner: str) -> str:
        return f"http://127.0.0.1:{self.port}/{manner}/v1"

    def wait_until_open(self, count: int, seconds: float = 30) -> bool:
        """Wait until exactly `count` answers are being read. False when that did not come about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: self.open == count, seconds)

    def _count(self, asked: int, opened: int) -> None:
        with self._changed:
            self.asked += asked
            self.open += opened
            self._changed.notify_all()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                await reader.readexactly(int(length.partition(b":")[2]))
                self._count(asked=1, opened=1)
                try:
                    await self._answer(head.split(b"/")[1], reader, writer)
                finally:
                    self._count(asked=0, opened=-1)
        writer.close()

    async def _answer(self, manner: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD)
        if manner == b"quick":
            writer.write(chunked(b"".join(answer("Quick", " answer"))) + chunked(b""))
            return
        gone = asyncio.create_task(reader.read(1))
        while not gone.done():
            writer.write(chunked(delta("word ")))
            await writer.drain()
            await asyncio.wait([gone], timeout=0.02)
        raise ConnectionResetError


@contextmanager
def local_upstream() -> Iterator[LocalUpstream]:
    upstream = LocalUpstream()
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        stop = asyncio.Event()
        async with await asyncio.start_server(upstream.handle, "127.0.0.1", 0) as server:
            upstream.port = server.sockets[0].getsockname()[1]
            started.set_result((asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=[serve()])
    thread.start()
    loop, stop = started.result()
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
