"""A fast path for events whose chunks differ from the previous one only in their text, as nearly all do."""

from typing import Any

from pydantic_core import from_json

CHANCES = 8  # to learn another template without using it: some providers put something new into each chunk
PROBE = "probe"


class Template:
    """The bytes before and after the text of an event.

    Splitting many events at what is between two texts costs no more than parsing one.
    """

    def __init__(self) -> None:
        self._head = self._tail = self._between = b""
        self._chances = CHANCES

    def read(self, events: bytes) -> tuple[list[str], bytes]:
        """The texts of the first events, as far as they equal the learned one otherwise; and the other events."""
        head, tail = self._head, self._tail
        if not head or not events.startswith(head):
            return [], events
        rest = b""
        if not events.endswith(tail):
            end = events.rfind(self._between) + len(tail)
            events, rest = events[:end], events[end:]
        if len(events) <= len(head) + len(tail):
            return [], events + rest
        try:
            # Each is a JSON string, so nothing of it is part of the JSON around it.
            texts = [from_json(b'"%b"' % text) for text in events[len(head) : -len(tail)].split(self._between)]
        except ValueError:
            return [], events + rest
        if not all(texts):
            return [], events + rest
        self._chances = CHANCES
        return texts, rest

    def learn(self, data: str, chunk: dict[str, Any]) -> None:
        """Learn a chunk, if it has only text."""
        if not self._chances or not (text := _only_text(chunk)) or data.count(f'"{text}"') != 1:
            return
        self._chances -= 1
        head, _, tail = data.partition(f'"{text}"')
        head, tail = f'{head}"', f'"{tail}'
        try:
            probe = from_json(head + PROBE + tail)
            delta = probe["choices"][0]["delta"]
            is_text = delta["content"] == PROBE
            delta["content"] = text
        except (ValueError, LookupError, TypeError):
            return
        if is_text and probe == chunk:  # it was this string, and not an equal one elsewhere
            self._head, self._tail = f"data: {head}".encode(), f"{tail}\n\n".encode()
            self._between = self._tail + self._head


def _only_text(chunk: dict[str, Any]) -> str:
    """The text of a chunk that has nothing else, otherwise an empty text."""
    match chunk:
        case {"choices": [{"delta": {"content": str(text), **beside}, **choice}], **others}:
            if (
                not any(value for name, value in beside.items() if name != "role")
                and choice.get("index") in (None, 0)
                and not any(choice.get(name) for name in ("message", "error", "finish_reason"))
                and not any(others.get(name) for name in ("usage", "error", "citations", "search_results"))
                and others.get("object") != "error"
            ):
                return text
    return ""
