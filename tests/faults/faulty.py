"""An upstream on a real socket that misbehaves as its base URL's path says, and counts requests and connections.

`http://127.0.0.1:PORT/rst-mid-stream/v1` breaks every answer; with `/any/v1`, the question's first word does.
"""

import asyncio
import gzip
import json
import socket
import ssl
import struct
import time
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache

from service.testing.chunks import DONE, answer, counted, delta

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
FIVE = [delta(f"part{number} ") for number in range(5)]
FIVE_TEXT = "part0 part1 part2 part3 part4 "
LAST_CHUNK = b"0\r\n\r\n"
HUGE_LINE_BYTES = 100_000_000
BOMB_BYTES = 200_000_000
TINY_EVENTS = 1_000_000

# The state of a connection after an exchange.
KEEP, CLOSE = True, False


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


def words(count: int) -> str:
    """The text of a `words` answer. All words differ, so that gaps and repeats are noticed."""
    return "".join(f"w{number}é " for number in range(count))


@dataclass
class Exchange:
    """One request, and the means to answer it wrongly."""

    upstream: "FaultyUpstream"
    question: str
    number_on_connection: int
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def arguments(self) -> list[str]:
        return self.question.split()[1:]

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until_gone(self) -> None:
        """Stay silent until the other side closes."""
        while await self.reader.read(65_536):
            pass

    def reset(self) -> None:
        """Close with a TCP RST."""
        reset(self.writer)


def reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection with a TCP RST instead of a FIN."""
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


Behaviour = Callable[[Exchange], Awaitable[bool]]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(name: str) -> Callable[[Behaviour], Behaviour]:
    def add(function: Behaviour) -> Behaviour:
        BEHAVIOURS[name] = function
        return function

    return add


class FaultyUpstream:
    """Counts requests by question, and open connections."""

    def __init__(self) -> None:
        self.port = 0
        self.scheme = "http"
        self.asked: Counter[str] = Counter()
        self.connections = 0  # currently open
        self.accepted = 0
        self.answering = 0  # requests in progress
        self.ended: dict[str, float] = {}  # when each question's exchange ended, in time.monotonic()
        self.keys: Counter[str] = Counter()
        self.gates: dict[str, asyncio.Event] = {}
        self._writers: set[asyncio.StreamWriter] = set()

    def url(self, behaviour: str = "any") -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/{behaviour}/v1"

    @property
    def calls(self) -> int:
        return sum(self.asked.values())

    def gate(self, question: str) -> asyncio.Event:
        return self.gates.setdefault(question, asyncio.Event())

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.accepted += 1
        self._writers.add(writer)
        number = 0
        try:
            while await self._exchange(reader, writer, number):
                number += 1
        except (OSError, asyncio.IncompleteReadError):
            pass  # the other side disconnected, as it does after most faults
        finally:
            self.connections -= 1
            self._writers.discard(writer)
            writer.close()

    async def hang_up(self) -> None:
        """Break all open connections, and wait until their handlers have ended."""
        for gate in self.gates.values():
            gate.set()
        async with asyncio.timeout(30):
            while self._writers:
                for writer in self._writers:
                    writer.transport.abort()
                await asyncio.sleep(0.01)

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> bool:
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = json.loads(await reader.readexactly(int(fields["content-length"])))
        question: str = body["messages"][-1]["content"]
        behaviour = first.split("/")[1]
        if behaviour == "any":
            behaviour = question.split()[0]
        self.asked[question] += 1
        self.keys[fields.get("authorization", "")] += 1
        self.answering += 1
        try:
            return await BEHAVIOURS[behaviour](Exchange(self, question, number, reader, writer))
        finally:
            self.answering -= 1
            self.ended[question] = time.monotonic()


@asynccontextmanager
async def faulty_upstream(
    tls: ssl.SSLContext | None = None, sock: socket.socket | None = None
) -> AsyncIterator[FaultyUpstream]:
    """Serve on a free loopback port, or on `sock`, which is already bound."""
    upstream = FaultyUpstream()
    if sock is None:
        sock = socket.create_server(("127.0.0.1", 0), backlog=4096)
    server = await asyncio.start_server(upstream.handle, sock=sock, ssl=tls, backlog=4096)
    upstream.port = sock.getsockname()[1]
    upstream.scheme = "https" if tls else "http"
    try:
        yield upstream
    finally:
        server.close()
        await upstream.hang_up()


# Well behaved


@behaviour("quick")
async def _quick(x: Exchange) -> bool:
    await x.send(CHUNKED + chunk(b"".join(answer("Quick", " answer"))) + LAST_CHUNK)
    return KEEP


@behaviour("words")
async def _words(x: Exchange) -> bool:
    """`words COUNT SECONDS`: this many words, at this interval."""
    await x.send(CHUNKED)
    return await _send_words(x, 0)


@behaviour("held")
async def _held(x: Exchange) -> bool:
    """`held COUNT SECONDS`: the first word at once, the others at this interval after the gate `held` opens."""
    await x.send(CHUNKED + chunk(delta(words(1))))
    await x.upstream.gate("held").wait()
    return await _send_words(x, 1)


async def _send_words(x: Exchange, first: int) -> bool:
    count, pause = int(x.arguments[0]), float(x.arguments[1])
    for number in range(first, count):
        await x.send(chunk(delta(f"w{number}é ")))
        await asyncio.sleep(pause)
        if x.reader.at_eof():
            return CLOSE
    await x.send(chunk(delta(finish_reason="stop") + counted(9, count) + DONE) + LAST_CHUNK)
    return KEEP


@behaviour("endless")
async def _endless(x: Exchange) -> bool:
    """`endless SECONDS`: words at this interval, without end."""
    await x.send(CHUNKED)
    while not x.reader.at_eof():
        await x.send(chunk(delta("word ")))
        await asyncio.sleep(float(x.arguments[0]))
    return CLOSE


@behaviour("gated")
async def _gated(x: Exchange) -> bool:
    """The first half at once, the second when the question's gate opens."""
    await x.send(CHUNKED + chunk(delta("First ")))
    await x.upstream.gate(x.question).wait()
    await x.send(chunk(b"".join(answer("second"))) + LAST_CHUNK)
    return KEEP


# Silence and slowness


@behaviour("accept-then-silence")
async def _accept_then_silence(x: Exchange) -> bool:
    await x.until_gone()
    return CLOSE


@behaviour("headers-then-silence")
async def _headers_then_silence(x: Exchange) -> bool:
    await x.send(CHUNKED)
    await x.until_gone()
    return CLOSE


@behaviour("silence-after-n-chunks")
async def _silence_after_n_chunks(x: Exchange) -> bool:
    await x.send(CHUNKED + b"".join(chunk(part) for part in FIVE))
    await x.until_gone()
    return CLOSE


@behaviour("comments-for-ever")
async def _comments_for_ever(x: Exchange) -> bool:
    """`comments-for-ever before|after`: before any text, or after five pieces of it."""
    await x.send(CHUNKED)
    if x.arguments[0] == "after":
        await x.send(b"".join(chunk(part) for part in FIVE))
    while not x.reader.at_eof():
        await x.send(chunk(b": keep-alive\n\n") + chunk(delta("")))
        await asyncio.sleep(0.3)
    return CLOSE


@behaviour("one-token-per-20s")
async def _one_token_per_20s(x: Exchange) -> bool:
    """`one-token-per-20s SECONDS`: a token every tenth of the deadline, as 20 s are by default."""
    await x.send(CHUNKED)
    while not x.reader.at_eof():
        await x.send(chunk(delta("slow ")))
        await asyncio.sleep(float(x.arguments[0]))
    return CLOSE


# Too much


@behaviour("endless-text")
async def _endless_text(x: Exchange) -> bool:
    """A thousand pieces of a hundred characters per second."""
    await x.send(CHUNKED)
    pieces = chunk(b"".join([delta("x" * 100)] * 10))
    while not x.reader.at_eof():
        await x.send(pieces)
        await asyncio.sleep(0.01)
    return CLOSE


@behaviour("flood")
async def _flood(x: Exchange) -> bool:
    """`flood CHARACTERS SECONDS PIECES`: pieces of this size at this interval, then word by word."""
    piece, pause = chunk(delta("x" * int(x.arguments[0]))), float(x.arguments[1])
    await x.send(CHUNKED)
    sent = 0
    while not x.reader.at_eof():
        await x.send(piece if sent < int(x.arguments[2]) else chunk(delta("word ")))
        sent += 1
        await asyncio.sleep(pause)
    return CLOSE


@behaviour("huge-line")
async def _huge_line(x: Exchange) -> bool:
    await x.send(CHUNKED + chunk(b'data: {"choices":[{"index":0,"delta":{"content":"'))
    piece = chunk(b"y" * 65_536)
    for _ in range(HUGE_LINE_BYTES // 65_536):
        await x.send(piece)
    await x.until_gone()
    return CLOSE


@behaviour("many-tiny-events")
async def _many_tiny_events(x: Exchange) -> bool:
    """`many-tiny-events lines|events COUNT`: empty `data:` lines in one event, or one event each."""
    line = b"data:\n" if x.arguments[0] == "lines" else b"data:\n\n"
    count = int(x.arguments[1])
    await x.send(CHUNKED)
    for sent in range(0, count, 5000):
        await x.send(chunk(line * min(5000, count - sent)))
    await x.until_gone()
    return CLOSE


@behaviour("gzip-bomb")
async def _gzip_bomb(x: Exchange) -> bool:
    """`gzip-bomb line|comments|deltas BYTES`: this much of a single line, comments or empty deltas."""
    await x.send(HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    await x.send(chunk(bomb(x.arguments[0], int(x.arguments[1]))) + LAST_CHUNK)
    await x.until_gone()
    return CLOSE


@cache
def bomb(kind: str, size: int) -> bytes:
    """The compressed bytes. Compression takes a while, so it comes before any measurement."""
    piece = {"line": b" " * 1000, "comments": b": keep-alive\n\n" * 70, "deltas": delta("") * 10}[kind] * 1000
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    compressed = [packer.compress(piece) for _ in range(size // len(piece))]
    return b"".join(compressed) + packer.flush()


# Broken transport


@behaviour("rst-mid-stream")
async def _rst_mid_stream(x: Exchange) -> bool:
    await x.send(CHUNKED + b"".join(chunk(part) for part in FIVE))
    await x.upstream.gate(x.question).wait()
    x.reset()
    return CLOSE


@behaviour("eof-without-chunk-end")
async def _eof_without_chunk_end(x: Exchange) -> bool:
    await x.send(CHUNKED + b"".join(chunk(part) for part in FIVE))
    return CLOSE


@behaviour("content-length-short")
async def _content_length_short(x: Exchange) -> bool:
    body = b"".join(FIVE)
    await x.send(HEAD + b"Content-Length: %d\r\n\r\n" % (len(body) + 1000) + body)
    return CLOSE


@behaviour("close-delimited-http10")
async def _close_delimited_http10(x: Exchange) -> bool:
    """`close-delimited-http10 with|without`: with or without a finish_reason."""
    end = delta(finish_reason="stop") if x.arguments[0] == "with" else b""
    await x.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"".join(FIVE) + end)
    return CLOSE


@behaviour("gzip-stream")
async def _gzip_stream(x: Exchange) -> bool:
    """The first event, flushed; the rest only after the reader has received it."""
    packer = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    await x.send(HEAD + b"Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n")
    await x.send(chunk(packer.compress(delta("First ")) + packer.flush(zlib.Z_SYNC_FLUSH)))
    await x.upstream.gate(x.question).wait()
    for piece in answer("second"):
        await x.send(chunk(packer.compress(piece) + packer.flush(zlib.Z_SYNC_FLUSH)))
    await x.send(chunk(packer.flush()) + LAST_CHUNK)
    return KEEP


@behaviour("br-zstd")
async def _br_zstd(x: Exchange) -> bool:
    """`br-zstd CODING`: bytes in a content coding that the client didn't accept."""
    coding = x.arguments[0]
    body = b"".join(answer("garbage")) if coding != "deflate" else zlib.compress(b"".join(answer("garbage")))
    if coding == "gzip, br":
        body = gzip.compress(body)
    await x.send(HEAD + b"Content-Encoding: %s\r\nContent-Length: %d\r\n\r\n" % (coding.encode(), len(body)) + body)
    return CLOSE


@behaviour("1xx-flood")
async def _1xx_flood(x: Exchange) -> bool:
    await x.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" * 100)
    return await _quick(x)


@behaviour("huge-headers")
async def _huge_headers(x: Exchange) -> bool:
    filler = b"".join(b"X-Filler-%d: %s\r\n" % (number, b"f" * 1000) for number in range(1000))
    await x.send(HEAD + filler + b"Transfer-Encoding: chunked\r\n\r\n")
    await x.send(chunk(b"".join(answer("Quick"))) + LAST_CHUNK)
    return CLOSE


@behaviour("duplicate-headers")
async def _duplicate_headers(x: Exchange) -> bool:
    """`duplicate-headers type|encoding|both`."""
    twice_type = b"Content-Type: application/json\r\n" if x.arguments[0] != "encoding" else b""
    twice_encoding = b"Transfer-Encoding: chunked\r\n" if x.arguments[0] != "type" else b""
    await x.send(HEAD + twice_type + twice_encoding + b"Transfer-Encoding: chunked\r\n\r\n")
    await x.send(chunk(b"".join(answer("Quick", " answer"))) + LAST_CHUNK)
    return CLOSE


@behaviour("keepalive-race")
async def _keepalive_race(x: Exchange) -> bool:
    """`keepalive-race GROUP`: answers each connection's first request once the group's gate is open, then closes the
    connection on the second."""
    if x.number_on_connection == 0:
        await x.upstream.gate(f"keepalive-race {x.arguments[0]}").wait()
        return await _quick(x)
    x.reset()
    return CLOSE


@behaviour("failing")
async def _failing(x: Exchange) -> bool:
    await x.send(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n")
    return KEEP
