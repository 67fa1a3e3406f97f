"""What a mock upstream does with a question: `upstream.mock(side_effect=answers("Hello!"))`."""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx

from service.store.records import Source
from service.testing.chunks import DONE, Body, Piece, data
from service.testing.dialects import DIALECTS, Dialect

SOURCES: list[Source] = [
    {"title": "Opening hours", "url": "https://shop.example/hours"},
    {"title": "Prices", "url": "https://shop.example/prices"},
]
TEXT = "This is the answer."


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The mock's behaviour for one question; respx calls it with each request."""

    dialect: Dialect
    pieces: tuple[Piece, ...] = ()  # of the body
    pace: float = 0.0  # seconds before each piece
    status: int = 200
    headers: tuple[tuple[str, str], ...] = (("Content-Type", "text/event-stream"),)
    whole: bytes = b""  # the body of a response that does not stream

    def __call__(self, request: httpx.Request) -> httpx.Response:
        refused = [name for name in self.dialect.refused_fields if name in json.loads(request.content)]
        if refused:
            error = self.dialect.error(422, "extra_forbidden", f"Extra inputs are not permitted: {refused[0]}")
            return httpx.Response(422, json=error)
        if self.whole:
            return httpx.Response(self.status, headers=list(self.headers), stream=Body((self.whole,), self.pace))
        return httpx.Response(self.status, headers=list(self.headers), stream=Body(self.pieces, self.pace))


def answers(
    *texts: str,
    pace: float = 0.0,
    finish_reason: str = "stop",
    tokens: tuple[int, int] | None = (9, 4),
    dialect: str | Dialect = "openai",
) -> Behaviour:
    """An answer in these pieces; a single text is sent word by word.

    `pace`: seconds before each piece. `tokens`: the provider's counts for the question and the answer.
    """
    return _answering(_Answer(_pieces_of(texts), finish_reason=finish_reason, tokens=tokens), dialect, pace)


def thinks(
    thought: str = "Let me think.",
    *texts: str,
    pace: float = 0.0,
    finish_reason: str = "stop",
    tokens: tuple[int, int] | None = (9, 40),
    dialect: str | Dialect = "openai",
) -> Behaviour:
    """Thoughts, which are never shown, before an answer."""
    answer = _Answer(_pieces_of(texts or (TEXT,)), thought=thought, finish_reason=finish_reason, tokens=tokens)
    return _answering(answer, dialect, pace)


def cites(
    *texts: str,
    sources: Sequence[Source] = SOURCES,
    pace: float = 0.0,
    tokens: tuple[int, int] | None = (9, 4),
    dialect: str | Dialect = "openai",
) -> Behaviour:
    """An answer that cites web pages."""
    return _answering(_Answer(_pieces_of(texts or (TEXT,)), sources=tuple(sources), tokens=tokens), dialect, pace)


def refuses(
    status: int,
    code: str | None = None,
    *,
    retry_after: float | str | None = None,
    message: str = "The provider's own words, which nobody is shown.",
    dialect: str | Dialect = "openai",
) -> Behaviour:
    """An error instead of an answer. `code` is the provider's own, such as `insufficient_quota`."""
    chosen = _dialect(dialect)
    headers = [("Content-Type", "application/json")]
    if retry_after is not None:
        headers.append(("Retry-After", str(retry_after)))
    body = json.dumps(chosen.error(status, code, message)).encode()
    return Behaviour(replace(chosen, refused_fields=()), status=status, headers=tuple(headers), whole=body)


def breaks_after(pieces: int, *texts: str, pace: float = 0.0, dialect: str | Dialect = "openai") -> Behaviour:
    """An answer whose connection breaks after this many pieces of text."""
    return _cut(pieces, httpx.ReadError("the connection was reset"), texts, pace, dialect)


def stalls_after(pieces: int, *texts: str, pace: float = 0.0, dialect: str | Dialect = "openai") -> Behaviour:
    """An answer that stalls after this many pieces of text."""
    return _cut(pieces, None, texts, pace, dialect)


def in_turn(*behaviours: Behaviour | Exception) -> Callable[[httpx.Request], httpx.Response]:
    """One behaviour per question, in this order. An exception is raised instead of answering."""
    left = iter(behaviours)

    def next_one(request: httpx.Request) -> httpx.Response:
        behaviour = next(left, None)
        assert behaviour is not None, f"the upstream was asked more than {len(behaviours)} times"
        if isinstance(behaviour, Exception):
            raise behaviour
        return behaviour(request)

    return next_one


@dataclass(frozen=True, slots=True)
class _Answer:
    texts: tuple[str, ...]
    thought: str = ""
    sources: tuple[Source, ...] = ()
    finish_reason: str = "stop"
    tokens: tuple[int, int] | None = None


def _pieces_of(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(re.findall(r"\s*\S+|\s+", texts[0])) if len(texts) == 1 else texts


def _dialect(dialect: str | Dialect) -> Dialect:
    return DIALECTS[dialect] if isinstance(dialect, str) else dialect


def _answering(answer: _Answer, dialect: str | Dialect, pace: float) -> Behaviour:
    chosen = _dialect(dialect)
    if not chosen.streams:
        headers = (("Content-Type", "application/json"),)
        return Behaviour(chosen, whole=_completion(answer, chosen), headers=headers, pace=pace)
    return Behaviour(chosen, pieces=tuple(_events(answer, chosen)), pace=pace)


def _cut(pieces: int, end: Exception | None, texts: tuple[str, ...], pace: float, dialect: str | Dialect) -> Behaviour:
    chosen = _dialect(dialect)
    first = _pieces_of(texts or (TEXT,))[:pieces]
    return Behaviour(chosen, pieces=(*(_chunk(chosen.delta(text)) for text in first), end), pace=pace)


def _events(answer: _Answer, dialect: Dialect) -> list[bytes]:
    reason = dialect.reasons.get(answer.finish_reason, answer.finish_reason)
    usage = _usage(answer.tokens)
    in_all = usage if dialect.usage == "every chunk" else {}
    in_last = usage if dialect.usage in ("every chunk", "last chunk") else {}
    deltas: list[tuple[dict[str, Any], dict[str, Any]]] = []
    if answer.thought:
        deltas += [(delta, {}) for delta in dialect.thought(answer.thought)]
    if answer.sources and dialect.sources == "context":
        deltas.append(dialect.cited(answer.sources))
    deltas += [(dialect.delta(text), {}) for text in answer.texts]
    if answer.sources and dialect.sources != "context":
        deltas.append(dialect.cited(answer.sources))
    events = [piece for piece in (dialect.heartbeat, dialect.first) if piece]
    events += [_chunk(delta, **beside, **in_all) for delta, beside in deltas]
    events.append(_chunk({}, reason, **in_last))
    if usage and dialect.usage == "own chunk":
        events.append(data({"choices": [], **usage}))
    return [*events, DONE]


def _completion(answer: _Answer, dialect: Dialect) -> bytes:
    delta, beside = dialect.cited(answer.sources) if answer.sources else ({}, {})
    message = {**delta, "role": "assistant", "content": "".join(answer.texts)}
    if answer.thought:
        message["reasoning_content"] = answer.thought
    choice = {"index": 0, "message": message, "finish_reason": answer.finish_reason}
    return json.dumps({"object": "chat.completion", "choices": [choice], **beside, **_usage(answer.tokens)}).encode()


def _usage(tokens: tuple[int, int] | None) -> dict[str, Any]:
    if tokens is None:
        return {}
    prompt, completion = tokens
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"usage": counts}


def _chunk(delta: dict[str, Any], finish_reason: str | None = None, **beside: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return data({"object": "chat.completion.chunk", "choices": [choice], **beside})
