"""The upstream's transport against a scripted server, on both event loops."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from client import until
from service.upstream import http_response
from service.upstream.connection import MAX_UNREAD_BYTES
from wire import CHUNKED, HELLO, Peer, Script, connecting, serving
from wire import anyio_backend as anyio_backend  # both event loops
from wire import nothing_is_left as nothing_is_left

JSON = {"question": "Hello?"}


def responding(*pieces: bytes) -> Script:
    """A script that reads a request, sends these bytes and closes."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    return script


async def outcome(script: Script) -> httpx.Response:
    async with serving(script) as server, connecting() as client:
        return await client.post(server.url, json=JSON)


# Requests


async def test_a_request_is_sent_as_httpx_built_it() -> None:
    requests: list[bytes] = []

    async def script(peer: Peer) -> None:
        requests.append(await peer.request())
        await peer.send(HELLO)

    async with serving(script) as server, connecting() as client:
        await client.post(f"{server.url}v1/chat?q=a%20b", json=JSON, headers={b"X-Key": "k\u00e9y".encode()})
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /v1/chat?q=a%20b HTTP/1.1\r\nHost: 127.0.0.1:")
    assert b"X-Key: k\xc3\xa9y" in head
    assert body == b'{"question":"Hello?"}'


async def test_a_body_of_unknown_length_is_sent_in_chunks() -> None:
    received: list[bytes] = []

    async def script(peer: Peer) -> None:
        await peer.head()
        received.append(await peer.reader.readuntil(b"0\r\n\r\n"))
        await peer.send(HELLO)

    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        yield b""  # is no end
        yield b"second"

    async with serving(script) as server, connecting() as client:
        assert (await client.post(server.url, content=body())).text == "hello"
    assert received == [b"5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n"]


@pytest.mark.parametrize(
    "changed",
    [
        {"headers": {"X-Key": "one\r\nX-Evil: two"}},
        {"headers": {"X Key": "name"}},
        {"headers": {"X-Key": "a\0b"}},
        {"extensions": {"target": b"/ HTTP/1.1\r\nX-Evil: two"}},
        {"headers": {"Content-Length": "3"}},
        {"headers": {"Content-Length": "300"}},
    ],
    ids=["line break", "name", "nul", "target", "body too long", "body too short"],
)
async def test_a_request_that_would_be_misread_is_not_sent_completely(changed: dict[str, Any]) -> None:
    async with serving(Peer.until_gone) as server, connecting() as client:
        with pytest.raises(httpx.LocalProtocolError):
            await client.post(server.url, content=b"hello", **changed)
        await server.until_open(0)


async def test_a_large_body_waits_for_the_server_to_read_it() -> None:
    sizes: list[int] = []
    proceed = asyncio.Event()
    sent = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(500):
            yield b"x" * 65_536
            sent += 65_536

    async def script(peer: Peer) -> None:
        await proceed.wait()
        head = await peer.head()
        sizes.append(len(await peer.reader.readexactly(500 * 65_536)) if b"Content-Length" in head else 0)
        await peer.send(HELLO)

    async with serving(script) as server, connecting() as client:
        length = {"Content-Length": str(500 * 65_536)}
        asking = asyncio.create_task(client.post(server.url, content=body(), headers=length))
        await until(lambda: sent > 0)  # connected
        await many_turns()
        assert sent < 400 * 65_536  # what the two sockets hold
        proceed.set()
        assert (await asking).text == "hello"
    assert sizes == [500 * 65_536]


async def many_turns() -> None:
    """Run the event loop long enough to send all of a test's bytes if nothing blocks."""
    for _ in range(2000):
        await asyncio.sleep(0)


async def test_a_server_that_does_not_read_is_a_write_timeout() -> None:
    stop = asyncio.Event()

    async def script(peer: Peer) -> None:
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await stop.wait()

    timeout = httpx.Timeout(60, write=0.1)
    async with serving(script) as server, connecting(timeout=timeout) as client:
        with pytest.raises(httpx.WriteTimeout):
            await client.post(server.url, content=b"x" * 20_000_000)
        stop.set()


async def test_an_early_response_is_read_and_its_connection_closed() -> None:
    refusal = b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nno."

    async def script(peer: Peer) -> None:
        await peer.head()
        peer.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await peer.send(refusal)
        peer.writer.transport.resume_reading()  # type: ignore[attr-defined]
        await peer.until_gone()

    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 65_536
            await asyncio.sleep(0)

    async with serving(script) as server, connecting() as client:
        response = await client.post(server.url, content=body())
        assert (response.status_code, response.text) == (413, "no.")
        await server.until_open(0)


# Responses


@pytest.mark.parametrize(
    "pieces",
    [
        [HELLO],
        [b"HTTP/1.1 200 OK\r\nContent-", b"Length: 5\r\n\r", b"\nhel", b"lo"],
        [CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"],
        [CHUNKED, b"2\r\nhe\r\n3;ext=1\r\n", b"llo\r\n0\r\nX-Trailer: t\r\n\r\n"],
        [b"HTTP/1.1 200 OK\r\n\r\nhel", b"lo"],
        [b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nhello"],
        [b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello"],
        [b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello"],
        [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"],
        [b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + HELLO],
    ],
    ids="length|in pieces|chunks|extension and trailer|until close|1.0|no reason|line feeds|both lengths|1xx".split(
        "|"
    ),
)
@pytest.mark.parametrize("cut", ["as given", "byte by byte"])
async def test_a_body_is_read_with_every_framing(pieces: list[bytes], cut: str) -> None:
    sent = pieces if cut == "as given" else [bytes([byte]) for byte in b"".join(pieces)]

    async def script(peer: Peer) -> None:
        await peer.request()
        for piece in sent:
            await peer.send(piece)
            await asyncio.sleep(0)

    response = await outcome(script)
    assert (response.status_code, response.text) == (200, "hello")
    assert "x-trailer" not in response.headers and "link" not in response.headers


async def test_the_head_is_returned_as_received() -> None:
    response = await outcome(
        responding(b"HTTP/1.1 418 I'm a teapot\r\nX-A: 1\r\nx-a: \xe9\r\nContent-Length: 0\r\n\r\n")
    )
    assert response.reason_phrase == "I'm a teapot"
    assert response.http_version == "HTTP/1.1"
    assert response.headers.raw == [(b"X-A", b"1"), (b"x-a", b"\xe9"), (b"Content-Length", b"0")]


async def test_a_response_without_a_body_ends_after_its_head() -> None:
    async def script(peer: Peer) -> None:
        await peer.head()
        await peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        await peer.until_gone()

    async with serving(script) as server, connecting() as client:
        assert (await client.head(server.url)).headers["content-length"] == "5"


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([], ""),
        ([b"HTTP/1.1 200 OK\r\nContent-Le"], ""),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"], "hello"),
        ([CHUNKED + b"5\r\nhello\r\n"], "hello"),
        ([CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer"], "hello"),
        ([CHUNKED + b"9\r\nhello"], "hello"),
        ([CHUNKED + b"5\r\nhello\r\nnonsense\r\n"], "hello"),
        ([b"220 mail.test ESMTP\r\n"], ""),
        ([b"\x16\x03\x01\x02\x00\x01"], ""),
        ([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"], ""),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello"], ""),
        ([b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello"], ""),
    ],
    ids="nothing|half a head|length|chunks|trailer|half a chunk|garbled|smtp|tls|switched|two lengths|negative".split(
        "|"
    ),
)
async def test_an_incomplete_response_is_an_error_after_the_received_text(pieces: list[bytes], text: str) -> None:
    received = b""
    async with serving(responding(*pieces)) as server, connecting() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            async with client.stream("POST", server.url, json=JSON) as response:
                async for piece in response.aiter_raw():
                    received += piece
        assert received == text.encode()
        await server.until_open(0)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, CHUNKED + b"5\r\nhello\r\n"])
async def test_a_reset_is_an_error_after_the_received_text(sent: bytes) -> None:
    received = b""
    arrived = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        if sent.startswith(CHUNKED):
            await arrived.wait()
        peer.reset()

    async with serving(script) as server, connecting() as client:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            async with client.stream("POST", server.url, json=JSON) as response:
                if sent == CHUNKED:
                    arrived.set()
                async for piece in response.aiter_raw():
                    received += piece
                    arrived.set()
    assert received == (b"hello" if b"hello" in sent else b"")


@pytest.mark.parametrize("place", ["head", "1xx", "one header", "trailers", "chunk extension"])
async def test_endless_headers_are_an_error(place: str) -> None:
    begin, again = {
        "head": (b"HTTP/1.1 200 OK\r\n", b"X-Long: " + b"x" * 1000 + b"\r\n"),
        "1xx": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </" + b"x" * 1000 + b">\r\n\r\n"),
        "one header": (b"HTTP/1.1 200 OK\r\nX-Long: ", b"x" * 1000),
        "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-Long: " + b"x" * 1000 + b"\r\n"),
        "chunk extension": (CHUNKED + b"5;x=", b"x" * 1000),
    }[place]
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(begin)
        while not peer.reader.at_eof():
            await peer.send(again)
            sent += len(again)

    with pytest.raises(httpx.RemoteProtocolError):
        await outcome(script)
    assert sent > http_response.MAX_HEAD_BYTES / 2


async def test_a_fast_server_is_slowed_down_by_backpressure() -> None:
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(500):
            await peer.send(b"10000\r\n" + b"x" * 65_536 + b"\r\n")
            sent += 65_536
        await peer.send(b"0\r\n\r\n")

    async with serving(script) as server, connecting() as client:
        async with client.stream("POST", server.url, json=JSON) as response:
            await until(lambda: sent > 0)
            await many_turns()
            assert sent < 400 * 65_536
            sizes = [len(piece) async for piece in response.aiter_raw()]
    assert sum(sizes) == 500 * 65_536
    assert max(sizes) <= MAX_UNREAD_BYTES


async def test_other_tasks_run_between_the_pieces_of_a_large_read() -> None:
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with serving(responding(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1_000_000)) as server:
        async with connecting() as client, client.stream("POST", server.url, json=JSON) as response:
            others = asyncio.create_task(take_turns())
            seen = [turns async for _ in response.aiter_raw()]
            others.cancel()
    assert len(seen) == len(set(seen)) >= 1_000_000 / http_response.MAX_PIECE_BYTES


# Timeouts


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\n", CHUNKED, CHUNKED + b"5\r\nhello\r\n"])
async def test_a_silent_server_is_a_read_timeout(sent: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(sent)
        await peer.until_gone()

    async with serving(script) as server, connecting(timeout=httpx.Timeout(60, read=0.1)) as client:
        with pytest.raises(httpx.ReadTimeout):
            await client.post(server.url, json=JSON)
        await server.until_open(0)


async def test_the_read_timeout_restarts_with_each_piece() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(11):
            await asyncio.sleep(0.3)
            await peer.send(b"1\r\n.\r\n")
        await peer.send(b"0\r\n\r\n")

    async with serving(script) as server, connecting(timeout=httpx.Timeout(60, read=3)) as client:
        assert (await client.post(server.url, json=JSON)).text == 11 * "."


async def test_a_slow_reader_is_not_a_timeout() -> None:
    more = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED, b"1\r\n.\r\n")
        await more.wait()
        await peer.send(b"1\r\n.\r\n0\r\n\r\n")

    text = b""
    async with serving(script) as server, connecting(timeout=httpx.Timeout(60, read=1)) as client:
        async with client.stream("POST", server.url, json=JSON) as response:
            async for piece in response.aiter_raw():
                text += piece
                await asyncio.sleep(1.1)
                more.set()
    assert text == b".."
