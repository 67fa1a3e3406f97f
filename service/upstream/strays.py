"""Events that are not chunks: heartbeats, metadata, and errors in forms that this version does not know."""

import re
from typing import Any

from service.upstream.finish_reasons import meaning_of

# Events that only keep the connection alive, and data that cannot be part of a chunk: `ping`, `[HEARTBEAT]`.
HEARTBEATS = frozenset({"ping", "heartbeat", "keepalive", "keep-alive"})
NO_CHUNK = re.compile(r'(?!\[DONE)[^{}"]{1,100}')
MAX_HEARTBEAT_CHARS = 100
# Text of heartbeats: these words alone, and whatever has no word, such as a number or a time.
_HARMLESS_TEXT = re.compile(
    r"(ping|pong|heart.?beat|keep.?alive|(openrouter )?processing|queued|waiting|start|end|eos|null|[tz\W\d_])*",
    re.IGNORECASE,
)
# What providers send besides an answer, with an empty list of choices or without.
_HARMLESS_FIELDS = frozenset(
    {
        *("citations", "metadata", "obfuscation", "prompt_annotations", "prompt_filter_results"),
        *("references", "search_results", "sources", "timings", "usage", "x_groq"),
    }
)
_REPORTING_FIELD = re.compile("err(or|_|code|msg)|exception|fail|detail|message|msg|status|code", re.IGNORECASE)
_FINE = frozenset({"200", "true", "ok"})


def may_be_error(value: Any, event: str) -> bool:
    """Whether an event that is not a chunk may be an error: it says so, or nothing about it is known to be harmless.

    `value` is its data: a JSON value, or text that is not JSON.
    """
    if meaning_of(event) == "error":
        return True
    if event in HEARTBEATS:
        return False
    if isinstance(value, str):
        return len(value) > MAX_HEARTBEAT_CHARS or not _HARMLESS_TEXT.fullmatch(value)
    if not isinstance(value, dict):
        return isinstance(value, list) and bool(value)
    if value.get("type") in tuple(HEARTBEATS):
        return False
    base = value.get("base_resp")  # MiniMax
    fields = {**value, **base} if isinstance(base, dict) else value
    given = {name for name, each in fields.items() if each and name != "base_resp"}
    reports_error = any(_REPORTING_FIELD.search(name) and not _is_fine(fields[name]) for name in given)
    if reports_error or fields.get("success") is False:
        return True
    return bool(given) and not isinstance(value.get("choices"), list) and given.isdisjoint(_HARMLESS_FIELDS)


def _is_fine(value: Any) -> bool:
    """Whether the value of a status, a code or a message says that all is well."""
    word = str(value).lower()
    return not isinstance(value, dict | list) and (word in _FINE or meaning_of(word) == "complete")
