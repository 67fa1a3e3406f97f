"""An endpoint's HTTP response: whether it is an answer or a refusal, and its body."""

import asyncio
import zlib
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from typing import Protocol

import httpx

from service.errors import Busy, InvalidAnswer, ServiceError, UpstreamFailed
from service.upstream.refusals import Refusal

BUSY_SECONDS = 5  # a visitor's wait if the upstream names none
AFTER_DONE_SECONDS = 0.2  # for the end of the body after `[DONE]`, so that the connection can be reused
MAX_ERROR_BODY_BYTES = 16_384
DECOMPRESSED_PIECE_BYTES = 65_536
GZIP = zlib.MAX_WBITS | 16  # for zlib, which also supports other formats
# Content types that may be logged. Other text from an upstream is not: it could contain anything.
COMMON_TYPES = ("application/json", "application/problem+json", "text/event-stream", "text/html", "text/plain")
ANSWER_TYPES = ("text/event-stream", "application/json", "text/plain", "application/octet-stream")
GZIP_NAMES = ("gzip", "x-gzip")
# Names of no compression: that of RFC 9110, section 8.4, and others that servers send.
UNCOMPRESSED = ("identity", "none", "utf-8", "chunked", "")
COMMON_ENCODINGS = ("identity", "gzip", "x-gzip", "br", "deflate", "zstd")


class Body(Protocol):
    """A response's body; `aclose` closes its connection."""

    async def read(self) -> bytes:
        """The next piece, empty at the end."""

    async def aclose(self) -> None: ...


async def exhaust(body: Body) -> None:
    """Read on to the end of a body that is all but over, so that its connection can be used again."""
    try:
        async with asyncio.timeout(AFTER_DONE_SECONDS):
            while await body.read():
                pass
    except (TimeoutError, httpx.HTTPError):
        return  # the connection is closed instead


def is_worth_another_try(status: int, error: ServiceError) -> bool:
    """Whether a refusal may be transient: a rate limit or a failure, but not missing credit or a wrong key."""
    return isinstance(error, Busy) or (status in (500, 502, 504) and isinstance(error, UpstreamFailed))


def is_event_stream(response: httpx.Response) -> bool:
    """Whether the content type is an event stream, maybe among others, or is missing."""
    return "text/event-stream" in _content_types(response)


def _content_types(response: httpx.Response) -> list[str]:
    """The types in all of the header's fields, without parameters."""
    value = response.headers.get("content-type") or "text/event-stream"
    return [one.partition(";")[0].strip().lower() for one in value.split(",")]


async def refusal_of(response: httpx.Response, sent: Iterable[str]) -> Refusal | InvalidAnswer | None:
    """The refusal in a response to messages with the texts `sent`; None if it may be an answer, otherwise it is closed.

    Some providers send a whole answer as JSON, or a stream with a generic type: the decoder recognizes them.
    """
    content_types = _content_types(response)
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if response.status_code in (200, 201):
        may_be_one = any(each in ANSWER_TYPES or each.endswith("+json") for each in content_types)
        if may_be_one and encoding in (*UNCOMPRESSED, *GZIP_NAMES):
            return None
        await response.aclose()
        shown = next((each for each in content_types if each in COMMON_TYPES), "another type")
        compressed = encoding if encoding in COMMON_ENCODINGS else "another encoding"
        return InvalidAnswer(f"the upstream answered {shown} in {compressed} instead of a stream of events")
    try:
        return Refusal.of(response.status_code, response.headers, await _beginning(response), sent)
    finally:
        await response.aclose()


async def _beginning(response: httpx.Response) -> bytes:
    """The first bytes of an error's body, if they arrive soon."""
    beginning = bytearray()
    try:
        async with asyncio.timeout(2), aclosing(body_of(response)) as body:
            while data := await body.read():
                beginning += data
                if len(beginning) > MAX_ERROR_BODY_BYTES:
                    break
    except (TimeoutError, httpx.HTTPError, ServiceError):
        return b""  # the status alone must be enough
    return bytes(beginning)


def body_of(response: httpx.Response) -> Body:
    """The body, decompressed in bounded pieces if the upstream compressed it without being asked."""
    compressed = response.headers.get("content-encoding", "").strip().lower() in GZIP_NAMES
    direct: Body | None = response.extensions.get("body")  # of our own transport; the rest of the response is free
    if direct is not None and not compressed:
        return direct
    return _Iterated(response, _Decompressor() if compressed else None)


class _Iterated:
    """A body from an iterator."""

    def __init__(self, response: httpx.Response, decompressor: "_Decompressor | None") -> None:
        self._response = response
        self._pieces = _pieces_of(response, decompressor)

    async def read(self) -> bytes:
        async for piece in self._pieces:
            if piece:
                return piece
        return b""

    async def aclose(self) -> None:
        await self._pieces.aclose()
        await self._response.aclose()


async def _pieces_of(response: httpx.Response, decompressor: "_Decompressor | None") -> AsyncGenerator[bytes, None]:
    if response.is_stream_consumed:  # a mocked response with content, which httpx has decompressed
        async for piece in response.aiter_bytes():
            yield piece
        return
    async for piece in response.aiter_raw():
        if decompressor is None:
            yield piece
        else:
            for decompressed in decompressor.feed(piece):
                yield decompressed
                await asyncio.sleep(0)  # a little data may expand to a lot, so let other tasks run


class _Decompressor:
    """gzip with several members (RFC 1952, section 2.2); zeros after them are ignored."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=GZIP)

    def feed(self, compressed: bytes) -> Iterator[bytes]:
        """Decompress the next piece, in bounded pieces. Raises InvalidAnswer."""
        while True:
            if self._member.eof:
                compressed = compressed.lstrip(b"\0")
                if not compressed:
                    return
                self._member = zlib.decompressobj(wbits=GZIP)
            try:
                decompressed = self._member.decompress(compressed, DECOMPRESSED_PIECE_BYTES)
            except zlib.error:
                raise InvalidAnswer("the upstream's gzip is broken") from None
            yield decompressed
            compressed = self._member.unused_data or self._member.unconsumed_tail
            if not compressed and len(decompressed) < DECOMPRESSED_PIECE_BYTES:
                return
