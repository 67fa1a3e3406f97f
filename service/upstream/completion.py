"""Decodes a streamed chat completion: bytes in, the parts of an answer out. Pure, without sockets or clocks."""

import json
import re
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

from pydantic_core import from_json

from service.errors import EmptyAnswer, InvalidAnswer, UpstreamFailed, UpstreamInterrupted
from service.store.records import LARGEST_INTEGER, Ending
from service.upstream.charge import Size, TokenCount
from service.upstream.citations import Citations
from service.upstream.event_stream import Event, EventStreamDecoder
from service.upstream.finish_reasons import for_the_log, is_reason, meaning_of
from service.upstream.refusals import Refusal
from service.upstream.strays import HEARTBEATS, NO_CHUNK, may_be_error
from service.upstream.stream import Finish, Hidden, Part, Sources
from service.upstream.template import Template
from service.upstream.thoughts import UNOPENED, LeadingThoughts

COUNTED = ("prompt", "completion", "total")
STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
MAX_BLANK_BYTES = 1000  # before a body's type is known; with more, it is taken for an event stream
UNOPENED_BYTES = UNOPENED.encode()
SURROGATE = re.compile("[\ud800-\udfff]")
# Fields of a delta that were not written by the model.
LABELS = frozenset(
    {
        *("annotations", "channel", "citations", "context", "extra_content", "format", "id", "role", "search_results"),
        *("provider_metadata", "signature", "type"),
    }
)


class ChatDecoder:
    """Decodes one chat completion, streamed or whole; see `stream.Decoder`.

    OpenAI API reference, "The chat completion chunk object", and the variants that compatible providers send.
    """

    def __init__(
        self, max_line_bytes: int = 1_048_576, max_json_depth: int = 64, *, thinks_first: bool = False
    ) -> None:
        self.finish_reason: str | None = None
        self.usage: TokenCount | None = None
        self.refusal: Refusal | None = None
        self.done = False  # whether `[DONE]` was read
        self.steps = 0  # deltas with content
        self.has_text = False
        self.thinks_first = thinks_first
        self._index: object = 0  # of the choice that is the answer
        self._max_bytes = max_line_bytes
        self._max_json_depth = max_json_depth
        self._events = EventStreamDecoder(max_line_bytes)
        self._template = Template()
        self._beginning: bytearray | None = bytearray()  # of the body, until its type is known
        self._document: bytearray | None = None  # a body that is a single JSON document
        # Until the answer has begun.
        self._thoughts: LeadingThoughts | None = LeadingThoughts(opened=thinks_first)
        self._has_thoughts = False
        self._citations: Citations | None = None
        self._beside: list[Part] = []  # parts in the current chunk besides its text
        self._refused = False
        self._came_since = False  # whether part of the answer followed the finish_reason
        self._finished_early = False  # whether that has ever happened
        self._half = ""  # the first half of a surrogate pair that the next delta completes
        self._messages: str | None = ""  # the text so far, in case messages repeat it; see `_read_message`
        self._has_deltas = False  # with the text
        self._stray = ""  # the data of the last event that may be an unknown error, after `_stray_at` steps
        self._stray_at = -1

    def feed(self, data: bytes) -> Iterator[Part]:
        """The parts that end within `data`."""
        if self._beginning is not None:
            data = self._begin(data)
        if self._document is None:
            events = self._events.hold(data)
            return self._read_usual(events) or self._read(self._events.read(events))
        self._document += data
        if len(self._document) > self._max_bytes:
            raise InvalidAnswer(f"the upstream's JSON is longer than {self._max_bytes} bytes")
        return iter(())

    def close(self, *, whole: bool = True) -> Iterator[Part]:
        """The parts that the end of the body completes. `whole`: whether the body ended properly."""
        if whole and not self.done:
            if self._beginning:
                yield from self._read(self._events.feed(bytes(self._beginning)))
            if self._document is not None:
                yield from self._read_document(self._document.decode("utf-8", "replace"))
            yield from self._read(self._events.flush())
        if self._thoughts is not None:
            thoughts, self._thoughts = self._thoughts, None
            has_ended = self.done or (self.finish_reason is not None and (whole or self.is_certain))
            is_complete = has_ended and not self._ends_astray and self._status() == "complete"
            text, no_thoughts = thoughts.close(complete=is_complete)
            if no_thoughts:
                self.thinks_first = self.thinks_first and not is_complete
                yield Hidden(-Size.of(no_thoughts))
            if text:
                self.has_text = True
                yield text

    @property
    def ended(self) -> bool:
        """Whether there was a finish reason and no part of the answer has followed it; usage may follow."""
        return self.done or (self.finish_reason is not None and not self._came_since)

    @property
    def is_certain(self) -> bool:
        """Whether `ended` is reliable: some providers send a finish_reason with every chunk."""
        return self.done or (self.ended and not self._finished_early)

    def finish(self) -> Finish:
        """How the answer ended. Raises UpstreamInterrupted, UpstreamFailed or EmptyAnswer."""
        if self._ends_astray:
            self._end_with_error(self._stray)
        reason = self.finish_reason
        if reason is None:
            if not (self.done and self.has_text):
                raise UpstreamInterrupted("the upstream's stream ended without a finish_reason")
            return Finish("complete", self.usage)
        status = self._status()
        if status is None:
            error = UpstreamInterrupted if self.has_text else UpstreamFailed
            raise error(f"the upstream ended with the finish_reason {for_the_log(reason)}")
        if status == "complete" and not self.has_text:
            if not self._refused:
                raise EmptyAnswer("the upstream ended without any text")
            status = "filtered"
        unknown = for_the_log(reason) if meaning_of(reason) == "unknown" else None
        return Finish(status, self.usage, unknown)

    @property
    def _ends_astray(self) -> bool:
        """Whether the answer has no finish_reason, and its last event may be an error in an unknown form."""
        return self.finish_reason is None and self._stray_at == self.steps

    def _status(self) -> Ending | None:
        """The meaning of the finish_reason; None for an error."""
        meaning = meaning_of(self.finish_reason or "")
        if meaning == "error":
            return None
        return "complete" if meaning == "unknown" else meaning

    def _begin(self, data: bytes) -> bytes:
        """The part of the beginning that can be read now; empty until the body's type is known."""
        assert self._beginning is not None
        self._beginning += data
        begun = bytes(self._beginning).removeprefix(BYTE_ORDER_MARK).lstrip()
        if BYTE_ORDER_MARK.startswith(begun) and len(self._beginning) < MAX_BLANK_BYTES:
            return b""
        data, self._beginning = bytes(self._beginning), None
        if begun.startswith(b"<"):
            raise InvalidAnswer("the upstream answered a page instead of a stream of events")
        if begun.startswith((b"{", b"[")):
            self._document = bytearray()
            return begun
        return data

    def _read_usual(self, events: bytes) -> Iterator[Part] | None:
        """Fast path for events with nothing but text: their texts are one part, however many have arrived together."""
        if self.done or self._thoughts is not None or self._half or UNOPENED_BYTES in events:
            return None
        texts, rest = self._template.read(events)
        if not texts:
            return None
        self.steps += len(texts)
        self.has_text = True
        text = self._shown("".join(texts))
        return chain((text,), self._read(self._events.read(rest))) if rest else iter((text,))

    def _read(self, events: Iterable[Event]) -> Iterator[Part]:
        for event in events:
            if self.done:
                return
            data = event.data.strip()
            if data == "[DONE]":
                self.done = True
                yield from self.close()
            elif data:
                text = self._read_chunk(data, event.event)
                if self._beside:
                    yield from self._beside
                    self._beside.clear()
                if text:
                    self.has_text = True
                    yield text

    def _read_document(self, data: str) -> Iterator[Part]:
        """Read a whole completion that was sent instead of a stream."""
        text = self._read_chunk(data, "")
        if self.finish_reason is None and not text and not self._beside:
            refusal = Refusal.in_answer(data)
            if refusal.kind in ("refused", "failed"):
                raise InvalidAnswer("the upstream's JSON is not a chat completion")
            self.refusal = refusal
            raise refusal.error()
        yield from self._beside
        self._beside.clear()
        if text:
            self.has_text = True
            yield text
        self.done = True

    def _read_chunk(self, data: str, event: str) -> str:
        if _is_deeper(data, self._max_json_depth):
            raise InvalidAnswer(f"the upstream sent JSON nested deeper than {self._max_json_depth} levels")
        try:
            chunk = _parsed(data)
        except (ValueError, RecursionError) as error:
            is_no_chunk = event in HEARTBEATS or NO_CHUNK.fullmatch(data)
            if event != "error" and not is_no_chunk:
                raise InvalidAnswer(f"the upstream sent data that is not JSON ({type(error).__name__})") from None
            chunk = {} if event == "error" else data
        if not isinstance(chunk, dict):
            self._note_stray(data, chunk, event)
            return ""
        if "x_groq" in chunk:
            self._read_groq(chunk["x_groq"])
        self._read_usage(chunk.get("usage"))
        if chunk.get("error") or chunk.get("object") == "error" or event == "error":
            self._end_with_error(data)
            return ""
        if "citations" in chunk or "search_results" in chunk:
            self._note_sources(self._cited().read_lists(chunk))
        text = ""
        if not chunk.get("choices"):
            self._note_stray(data, chunk, event)
        for choice in _objects(chunk.get("choices")):
            text += self._read_choice(choice)
        if chunk.get("output_sensitive") is True:  # MiniMax, beside the finish_reason `stop`
            self._note_reason("content_filter")
        if text and event == "message":
            self._template.learn(data, chunk)
        return text

    def _read_groq(self, groq: Any) -> None:
        """Read Groq's own field of a chunk, which may have the token count, or the error that ended the answer."""
        if isinstance(groq, dict):
            self._read_usage(groq.get("usage"))
            if groq.get("error"):
                self._end_with_error(json.dumps(groq["error"]))

    def _note_stray(self, data: str, value: Any, event: str) -> None:
        """Note an event without choices: it may be an error, unless more of the answer follows."""
        if may_be_error(value, event):
            self._stray, self._stray_at = data, self.steps

    def _end_with_error(self, error: str) -> None:
        """End with an error object instead of a chunk. At the beginning, it is a refusal; later, it may be a filter's.

        Raises a ServiceError, except for a filter's.
        """
        refusal = Refusal.in_answer(error)
        if not (self.has_text or self.steps):
            self.usage = None  # a refusal is free
            self.refusal = refusal
            raise refusal.error()
        if refusal.kind != "filtered":
            raise UpstreamInterrupted("the upstream reported an error within its stream")
        self._note_reason("content_filter")

    def _read_choice(self, choice: dict[str, Any]) -> str:
        delta = choice.get("delta")
        index = choice.get("index")
        if index in (None, "0"):
            index = 0
        if index != self._index and self._begins_answer(delta):
            self._index = index
        if index not in (0, self._index):
            return ""
        if choice.get("error"):
            self._end_with_error(json.dumps(choice["error"]))
            return ""
        self._read_usage(choice.get("usage"))
        text = ""
        if index == self._index:
            text = self._read_delta(delta) if isinstance(delta, dict) else ""
            if not self._has_deltas and isinstance(message := choice.get("message"), dict):
                text += self._read_message(message)
        reason = choice.get("finish_reason")
        if reason is not None and is_reason(reason):
            self._note_reason(reason)
        return text

    def _begins_answer(self, delta: Any) -> bool:
        """Whether a delta of another choice begins the text, of which there were only thoughts so far.

        LiteLLM sends the number of Claude's content block as the index of the choice.
        """
        has_text = self._has_deltas or self._messages != ""
        may_begin = bool(self.steps) and not has_text and self.finish_reason is None
        return may_begin and isinstance(delta, dict) and bool(delta.get("content"))

    def _read_delta(self, delta: dict[str, Any]) -> str:
        content = delta.get("content")
        text = self._whole_characters(_text_of(content))
        self._has_deltas = self._has_deltas or bool(text)
        if text or any(value for name, value in delta.items() if name != "role"):
            self.steps += 1
            if len(delta) > 1 or not isinstance(content, str):
                self._read_beside(delta, content)
        return self._shown(text) if text else ""

    def _read_message(self, message: dict[str, Any]) -> str:
        """The new text of a `message`, which some send instead of a delta: whole, in pieces, or all of it so far.

        Next to deltas with text, it only repeats them.
        """
        text = _text_of(message.get("content"))
        if self._messages is not None:
            if text.startswith(self._messages):
                self._messages, text = text, text[len(self._messages) :]
            else:
                self._messages = None  # the messages are pieces
        text = self._whole_characters(text)
        self.steps += 1
        self._read_beside(message, message.get("content"))
        return self._shown(text) if text else ""

    def _shown(self, text: str) -> str:
        """The part of the text that is not a thought."""
        if self.finish_reason is not None:
            self._came_since = True
        if self._thoughts is None:
            if UNOPENED in text and not self._has_thoughts:
                self.thinks_first = True
            return text
        text, thoughts = self._thoughts.feed(text)
        if thoughts:
            self._beside.append(Hidden(Size.of(thoughts)))
        if self._thoughts.over:
            self._has_thoughts = self._thoughts.found
            self._thoughts = None
        return text

    def _read_beside(self, delta: dict[str, Any], content: Any) -> None:
        """Read the parts that come with the text. A thought that is sent under several names counts once."""
        self._refused = self._refused or bool(delta.get("refusal"))
        if "annotations" in delta or "context" in delta or "citations" in delta or "search_results" in delta:
            self._note_sources(self._cited().read_delta(delta))
        others = [value for name, value in delta.items() if name != "content" and name not in LABELS]
        hidden_parts = [part for part in _objects(content) if part.get("type") != "text"]
        for written in set(_written([others, hidden_parts])):
            if written != content:
                self._beside.append(Hidden(Size.of(written)))
                self._came_since = self._came_since or self.finish_reason is not None

    def _note_reason(self, reason: str) -> None:
        """Note a finish reason. If more text follows, the next reason counts.

        Of two without text in between, a plain `stop` does not replace the first.
        """
        self._finished_early = self._finished_early or self._came_since
        if self.finish_reason is None or self._came_since or meaning_of(reason) != "complete":
            self.finish_reason = reason
        self._came_since = False

    def _cited(self) -> Citations:
        self._citations = self._citations or Citations()
        return self._citations

    def _note_sources(self, are_new: bool) -> None:
        if are_new:
            self._beside.append(Sources(self._cited().sources))

    def _read_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            prompt, completion, total = (_count(usage.get(f"{part}_tokens")) for part in COUNTED)
            if prompt is not None and completion is not None:
                self.usage = TokenCount(prompt, completion, total)

    def _whole_characters(self, text: str) -> str:
        """The text with halves of surrogate pairs joined over deltas, and lone ones replaced (they can't be sent)."""
        if not self._half and (text.isascii() or not SURROGATE.search(text)):
            return text
        text = self._half + text
        self._half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return text.removesuffix(self._half).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _parsed(data: str) -> Any:
    """Parse JSON fast; fall back to `json` for half a surrogate pair, which is not an error here."""
    try:
        return from_json(data)
    except ValueError:
        return json.loads(data)


def _text_of(content: Any) -> str:
    """A delta's text: a string, or a list of parts, of which those of type `text` count."""
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in _objects(content) if part.get("type") == "text"]
    return "".join(part for part in parts if isinstance(part, str))


def _written(value: Any) -> Iterator[str]:
    """The texts in a delta that the model wrote."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _written(item)
    elif isinstance(value, dict):
        for name, item in value.items():
            if name not in LABELS:
                yield from _written(item)


def _count(value: Any) -> int | None:
    """A token count; None if it is invalid or too large for the database."""
    return value if type(value) is int and 0 <= value <= LARGEST_INTEGER else None


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_deeper(data: str, levels: int) -> bool:
    """Whether JSON is nested deeper. For most chunks, the number of brackets rules it out."""
    if data.count("[") + data.count("{") <= levels:
        return False
    depth = 0
    for token in STRING_OR_BRACKET.finditer(data):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > levels:
            return True
    return False
