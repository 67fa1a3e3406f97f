"""Stand-ins for the upstream: bodies of chat completions that stream."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx

UPSTREAM = "https://upstream.test/v1"
COMPLETIONS = f"{UPSTREAM}/chat/completions"
EVENT_STREAM = {"Content-Type": "text/event-stream"}


def data(chunk: object) -> bytes:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()


def delta(text: str | None = None, finish_reason: str | None = None) -> bytes:
    """One chunk of an answer."""
    content: dict[str, Any] = {} if text is None else {"content": text}
    return data({"choices": [{"index": 0, "delta": content, "finish_reason": finish_reason}]})


def counted(prompt: int, completion: int) -> bytes:
    return data({"choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion}})


DONE = b"data: [DONE]\n\n"


def answer(*texts: str, finish_reason: str = "stop", tokens: tuple[int, int] | None = (9, 4)) -> list[bytes]:
    """The chunks of a whole answer."""
    usage = [counted(*tokens)] if tokens else []
    return [*(delta(text) for text in texts), delta(finish_reason=finish_reason), *usage, DONE]


class Body(httpx.AsyncByteStream):
    """A body that comes in the given pieces. An Exception among them is raised there; an Event is waited for."""

    def __init__(self, pieces: Iterable[bytes | Exception | asyncio.Event]) -> None:
        self._pieces = list(pieces)
        self.closed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, Exception):
                raise piece
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            else:
                yield piece

    async def aclose(self) -> None:
        self.closed.set()


def streamed(*pieces: bytes | Exception | asyncio.Event, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.Response(200, headers=EVENT_STREAM | (headers or {}), stream=Body(pieces))
