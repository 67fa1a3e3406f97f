"""The overlay: an operator's additions to every request, for a provider or gateway that needs more than a key.

    {"headers": {"api-key": {"env": "AZURE_KEY"}, "Authorization": null},
     "query": {"api-version": "2024-10-21"},
     "body": {"reasoning_effort": "low"}}

`{"env": "NAME"}` is replaced with an environment variable; null removes a field that the service would send.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from service.variables import read_variable

MAX_OVERLAY_CHARS = 16_384
MAX_OVERLAY_DEPTH = 64
PARTS = ("headers", "query", "body")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
HEADER_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,100}")  # RFC 9110, section 5.6.2
RESERVED = {
    "headers": {
        *("host", "content-length", "content-type", "transfer-encoding", "connection", "keep-alive", "upgrade"),
        *("accept-encoding", "expect", "te", "trailer", "proxy-authorization"),
    },
    "query": set[str](),
    "body": {"messages", "model", "stream", "n"},
}
CAPS = {"max_tokens", "max_completion_tokens"}
# Names of secrets, whose values belong in environment variables, never in the database.
SECRET_HEADER = re.compile(r"(.*[-_])?(api[-_]?key|key|secret|password|authorization|cookie|token)", re.IGNORECASE)
SECRET_FIELD = re.compile(
    r"(api[-_]?|access[-_]?)?key|secret|password|authorization|(access[-_]?)?token|connection[-_]?string", re.IGNORECASE
)

Overlay = dict[str, dict[str, Any]]


def parse_overlay(text: str, *, secrets: bool) -> Overlay:
    """Parse an overlay. Raises ValueError, whose message omits all values. `secrets`: whether it may contain any."""
    overlay = _parse_object(text)
    for name in overlay:
        if name not in PARTS:
            raise ValueError(f"{name!r} is none of {', '.join(PARTS)}")
    return {name: _checked(name, part, secrets=secrets) for name, part in overlay.items()}


def parse_part(name: str, text: str) -> dict[str, Any]:
    """Parse one part of an overlay. Raises ValueError, whose message omits all values."""
    return _checked(name, _parse_object(text), secrets=True)


def resolve(value: Any) -> Any:
    """A value with its variables replaced. Raises ValueError, which names a variable that is unset."""
    if is_variable(value):
        return read_variable(value["env"]).strip()
    if isinstance(value, Mapping):
        return {name: resolve(item) for name, item in value.items()}
    return [resolve(item) for item in value] if isinstance(value, list) else value


def is_variable(value: Any) -> bool:
    return isinstance(value, Mapping) and value.keys() == {"env"} and isinstance(value["env"], str)


def _parse_object(text: str) -> dict[str, Any]:
    if len(text) > MAX_OVERLAY_CHARS:
        raise ValueError(f"is longer than {MAX_OVERLAY_CHARS} characters")
    try:
        parsed = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ValueError("is not valid JSON") from None
    if not isinstance(parsed, dict):
        raise ValueError("must be a JSON object")
    _check_sendable(parsed)
    return parsed


def _check_sendable(value: Any) -> None:
    """Check that requests can hold a value: Python's JSON allows for more than the standard (RFC 8259)."""
    if _is_deeper(value, MAX_OVERLAY_DEPTH):
        raise ValueError(f"is nested deeper than {MAX_OVERLAY_DEPTH} levels")
    try:
        json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
    except UnicodeEncodeError:
        raise ValueError(r"has half a surrogate pair, such as \ud800, which UTF-8 cannot hold") from None
    except ValueError:
        raise ValueError("has a number that is too large for JSON, such as 1e999") from None


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels < 0 or any(_is_deeper(item, levels - 1) for item in inner)


def _no_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity, which JSON does not have


def _checked(part: str, items: Any, *, secrets: bool) -> dict[str, Any]:
    if not isinstance(items, dict):
        raise ValueError(f"{part} must be a JSON object")
    for name, value in items.items():
        place = f"{part}.{name}"
        if name.lower() in RESERVED[part]:
            raise ValueError(f"{place} is the service's own")
        if part == "body" and name in CAPS:
            raise ValueError(f"{place} is set by MAX_ANSWER_TOKENS or --max-answer-tokens")
        if part == "headers" and not HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers has a name that no header can have: {name!r}")
        if part != "body":
            _check_text(place, value)
        _check_variables(place, value)
        if not secrets:
            _check_secrets(place, name, value, SECRET_FIELD if part == "body" else SECRET_HEADER)
    return items


def _check_text(place: str, value: Any) -> None:
    """Check the value of a header or a parameter."""
    if value is None or is_variable(value) or type(value) in (int, float):
        return
    if not (isinstance(value, str) and value.strip() and value.isascii() and value.isprintable()):
        raise ValueError(f'{place} must be printable ASCII text, a number, null or {{"env": "NAME"}}')


def _check_variables(place: str, value: Any) -> None:
    if is_variable(value):
        if not VARIABLE_NAME.fullmatch(value["env"]):
            raise ValueError(f"{place}.env must be the name of an environment variable, not the value itself")
    elif isinstance(value, dict):
        for name, item in value.items():
            _check_variables(f"{place}.{name}", item)
    elif isinstance(value, list):
        for item in value:
            _check_variables(place, item)


def _check_secrets(place: str, name: str, value: Any, secret: re.Pattern[str]) -> None:
    if isinstance(value, str) and (secret.fullmatch(name) or value.lower().startswith(("bearer ", "sk-"))):
        raise ValueError(f'{place} looks like a secret: put it in an environment variable and write {{"env": "NAME"}}')
    if isinstance(value, dict) and not is_variable(value):
        for inner, item in value.items():
            _check_secrets(f"{place}.{inner}", inner, item, SECRET_FIELD)
    elif isinstance(value, list):
        for item in value:
            _check_secrets(place, name, item, secret)
