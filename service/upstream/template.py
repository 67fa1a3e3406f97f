"""Chunks that differ from the one before in nothing but their text: nearly all of a stream."""

from typing import Any

from pydantic_core import from_json

CHANCES = 8  # to learn another template without any use of it: some providers put something new into each chunk
PROBE = "probe"


class Template:
    """What stands before and after the text in a chunk of JSON. Finding what is between costs a sixth of parsing it."""

    def __init__(self) -> None:
        self._head = self._tail = ""
        self._chances = CHANCES

    def text_of(self, data: str) -> str | None:
        """The text of a chunk that is otherwise the same as the one that was learned; None for any other."""
        head, tail = self._head, self._tail
        if not head or not data.startswith(head) or not data.endswith(tail) or len(data) <= len(head) + len(tail):
            return None
        text = data[len(head) : -len(tail)]
        if '"' in text or "\\" in text or not text.isprintable():  # the string ends before, or is not written as it is
            return None
        self._chances = CHANCES
        return text

    def learn(self, data: str, chunk: dict[str, Any]) -> None:
        """Remember a chunk, if it has a text and nothing else that counts."""
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
        if is_text and probe == chunk:  # it was this string, and no other of the same letters
            self._head, self._tail = head, tail


def _only_text(chunk: dict[str, Any]) -> str:
    """The text of a chunk that says nothing besides, otherwise an empty one."""
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
