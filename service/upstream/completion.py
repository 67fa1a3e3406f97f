"""What a streamed chat completion says: bytes in, text out. Pure, without sockets or clocks."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from service.errors import EmptyAnswer, InvalidAnswer, UpstreamFailed, UpstreamInterrupted
from service.store.records import LARGEST_INTEGER, Ending
from service.upstream.charge import Size, TokenCount
from service.upstream.event_stream import Event, EventStreamDecoder

COUNTED = ("prompt", "completion", "total")
STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]', re.DOTALL)
SURROGATE = re.compile("[\ud800-\udfff]")
# Of a delta: what is sent beside the text but was not written by the model.
LABELS = frozenset({"annotations", "channel", "extra_content", "format", "id", "role", "signature", "type"})
STATUS_OF_FINISH: dict[str, Ending] = {
    "stop": "complete",
    "eos": "complete",
    "eos_token": "complete",
    "stop_sequence": "complete",
    "end_turn": "complete",
    "tool_calls": "complete",
    "function_call": "complete",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",
    "content_filter": "filtered",
    "safety": "filtered",
}


@dataclass(frozen=True, slots=True)
class Finish:
    """How an answer ended: `complete`, `length`, `filtered` or `cancelled`, and the provider's count if it gave one."""

    status: Ending
    usage: TokenCount | None = None


class ChatDecoder:
    """Decodes the chunks of one streamed chat completion: bytes in, text out.

    OpenAI API reference, "The chat completion chunk object"; and what compatible providers really send. Raises a
    ServiceError when the provider reports an error or sends what is not a chunk; the text before it was given out.
    """

    def __init__(self, max_line_bytes: int = 1_048_576, max_json_depth: int = 64) -> None:
        self._max_json_depth = max_json_depth
        self.finish_reason: str | None = None
        self.usage: TokenCount | None = None
        self.done = False  # `[DONE]` was read: nothing after it counts
        self.steps = 0  # deltas that brought something: text, or what is not shown, such as a model's thoughts
        self.unseen = Size()  # what was received and is not shown: thoughts, refusals, calls of tools
        self._events = EventStreamDecoder(max_line_bytes)
        self._refused = False
        self._has_text = False
        self._half = ""  # the first half of a surrogate pair, whose second half comes in the next delta

    def feed(self, data: bytes) -> Iterator[str]:
        """The pieces of text that end within `data`."""
        return self._read(self._events.feed(data))

    def close(self) -> Iterator[str]:
        """What the end of the body completes."""
        return self._read(self._events.flush())

    @property
    def ended(self) -> bool:
        """Whether the provider has said that the answer is over; its usage may still follow."""
        return self.done or self.finish_reason is not None

    def finish(self) -> Finish:
        """How the answer ended, once the body has. Raises UpstreamInterrupted, UpstreamFailed or EmptyAnswer."""
        reason = self.finish_reason
        if reason is None and not (self.done and self._has_text):
            raise UpstreamInterrupted("the upstream's stream ended without a finish_reason")
        status = STATUS_OF_FINISH.get(reason.lower() if reason else "stop")
        if status is None:
            raise UpstreamFailed("the upstream ended with a finish_reason that is not a success")
        if status == "complete" and not self._has_text:
            if self._refused:
                status = "filtered"
            else:
                raise EmptyAnswer("the upstream ended without any text")
        return Finish(status, self.usage)

    def _read(self, events: Iterator[Event]) -> Iterator[str]:
        for event in events:
            if self.done:
                return
            data = event.data.strip()
            if data == "[DONE]":
                self.done = True
            elif data:
                text = self._read_chunk(data, event.event)
                if text:
                    self._has_text = True
                    yield text

    def _read_chunk(self, data: str, event: str) -> str:
        if _is_deeper(data, self._max_json_depth):
            raise InvalidAnswer(f"the upstream sent JSON nested deeper than {self._max_json_depth} levels")
        try:
            chunk = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidAnswer(f"the upstream sent data that is not JSON ({type(error).__name__})") from None
        if not isinstance(chunk, dict):
            return ""
        self._read_usage(chunk.get("usage"))
        if chunk.get("error") or chunk.get("object") == "error" or event == "error":
            raise UpstreamInterrupted("the upstream reported an error within its stream")
        return "".join(self._read_choice(choice) for choice in _objects(chunk.get("choices")))

    def _read_choice(self, choice: dict[str, Any]) -> str:
        if choice.get("index") not in (None, 0):
            return ""
        if choice.get("error"):
            raise UpstreamInterrupted("the upstream reported an error within its stream")
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            self.finish_reason = reason
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            return ""
        self._refused = self._refused or bool(delta.get("refusal"))
        content = delta.get("content")
        text = self._whole_characters(_text_of(content))
        if text or any(value for name, value in delta.items() if name != "role"):
            self.steps += 1
            if len(delta) > 1 or not isinstance(content, str):
                self._count_unseen(delta, content)
        return text

    def _count_unseen(self, delta: dict[str, Any], content: Any) -> None:
        """Some providers send the same thought under several names: it counts once."""
        others = [value for name, value in delta.items() if name != "content" and name not in LABELS]
        hidden_parts = [part for part in _objects(content) if part.get("type") != "text"]
        for written in set(_written([others, hidden_parts])):
            if written != content:
                self.unseen += Size.of(written)

    def _read_usage(self, usage: Any) -> None:
        if isinstance(usage, dict):
            prompt, completion, total = (_count(usage.get(f"{part}_tokens")) for part in COUNTED)
            if prompt is not None and completion is not None:
                self.usage = TokenCount(prompt, completion, total)

    def _whole_characters(self, text: str) -> str:
        """The text with halves of surrogate pairs joined over deltas, and lone ones replaced (they can't be sent)."""
        if not self._half and not SURROGATE.search(text):
            return text
        text = self._half + text
        self._half = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return text.removesuffix(self._half).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def _text_of(content: Any) -> str:
    """A delta's text: a string, or a list of parts of which those of type text count."""
    if isinstance(content, str):
        return content
    parts = [part.get("text") for part in _objects(content) if part.get("type") == "text"]
    return "".join(part for part in parts if isinstance(part, str))


def _written(value: Any) -> Iterator[str]:
    """The texts within a delta that a model wrote."""
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
    """A count of tokens; None for what is none, or is larger than a column holds."""
    return value if type(value) is int and 0 <= value <= LARGEST_INTEGER else None


def _objects(value: Any) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_deeper(data: str, levels: int) -> bool:
    """Whether JSON is nested deeper. Most chunks are known to be flat by the number of their brackets."""
    if data.count("[") + data.count("{") <= levels:
        return False
    depth = 0
    for token in STRING_OR_BRACKET.finditer(data):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth > levels:
            return True
    return False
