"""Runs the decoder of chat completions on a body."""

from collections.abc import Iterable

from service.errors import ServiceError
from service.store.records import Source
from service.upstream.charge import Size
from service.upstream.completion import ChatDecoder
from service.upstream.stream import Finish, Hidden, Part, Sources


def parts_of(pieces: Iterable[bytes], *, whole: bool = True) -> tuple[list[Part], Finish | ServiceError]:
    """The parts of a body in pieces, and how it ended. `whole`: the body ended as it should."""
    decoder = ChatDecoder()
    parts: list[Part] = []
    try:
        for piece in pieces:
            for part in decoder.feed(piece):
                parts.append(part)
        for part in decoder.close(whole=whole):
            parts.append(part)
        return parts, decoder.finish()
    except ServiceError as error:
        return parts, error


def decode(pieces: Iterable[bytes]) -> tuple[str, Finish | ServiceError]:
    """The text of a body in pieces, and how it ended."""
    parts, ending = parts_of(pieces)
    return text_of(parts), ending


def text_of(parts: Iterable[Part]) -> str:
    return "".join(part for part in parts if isinstance(part, str))


def hidden_of(parts: Iterable[Part]) -> Size:
    """The size of the hidden parts of a body."""
    return sum((part.size for part in parts if isinstance(part, Hidden)), Size())


def sources_of(parts: Iterable[Part]) -> list[Source]:
    return next((part.sources for part in reversed(list(parts)) if isinstance(part, Sources)), [])


def every_byte(body: bytes) -> list[bytes]:
    return [body[place : place + 1] for place in range(len(body))]
