"""Parsers for command-line values. Each takes one argument's text and raises ValueError if it is invalid."""

import ipaddress
import json
import re
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service import demonstration
from service.access.origins import parse_origin
from service.access.signatures import parse_public_key
from service.overlay import Overlay, parse_overlay
from service.settings import MAX_ANSWER_TOKENS
from service.store.records import LARGEST_INTEGER
from service.widget_settings import WidgetSettings

GRACE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def origin(text: str) -> str:
    return parse_origin(text)


def one_of(*choices: str) -> Callable[[str], str]:
    def choice(text: str) -> str:
        if text not in choices:
            raise ValueError(f"invalid choice: {text!r} (choose from {', '.join(map(repr, choices))})")
        return text

    return choice


def tenant_name(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not 1 <= len(text) <= 100:
        raise ValueError("must be 1 to 100 printable characters, without leading or trailing spaces")
    if text in (demonstration.TENANT_NAME, demonstration.STUDIO_NAME):
        raise ValueError(f"{text!r} is reserved for the demonstration; choose another name")
    return text


def variable(text: str) -> str:
    """The name of an environment variable, or an empty text."""
    # The message does not repeat the value: it may be the key itself, given by mistake.
    if text and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise ValueError("must be the name of an environment variable, not the key itself")
    return text


def text(text: str) -> str:
    if re.search("[\0\ud800-\udfff]", text):
        raise ValueError(f"{text!r} is not valid text")
    return text.strip()


def file(path: str) -> str:
    """The text of a file."""
    try:
        return text(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path!r} is not UTF-8 text") from None


def public_key(path: str) -> str:
    """The Ed25519 public key in a PEM file; an empty path means no key."""
    if not path:
        return ""
    content = file(path)
    try:
        return parse_public_key(content)
    except ValueError as error:
        raise ValueError(f"{path!r} {error}") from None


def claim(text: str) -> str:
    return _matching(text, r"[A-Za-z0-9_.:/-]{0,64}", "the name of a claim, such as plan")


def widget_text(name: str) -> Callable[[str], str]:
    """A setting of the widget; an empty text removes it."""

    def setting(text: str) -> str:
        try:
            check_look({name: text or None})
        except ValueError as error:
            raise ValueError(f"{text!r} {str(error).removeprefix(f'{name}: ')}") from None
        return text

    return setting


def look(path: str) -> dict[str, Any]:
    """The widget's settings from a JSON file."""
    content = file(path)
    try:
        settings = json.loads(content)
        if not isinstance(settings, dict):
            raise ValueError("must be a JSON object")
        check_look(settings)
    except ValueError as error:
        raise ValueError(f"{path!r}: {error}") from None
    except RecursionError:
        raise ValueError(f"{path!r}: is nested too deeply") from None
    return settings


def upstream(path: str) -> Overlay:
    """Additions to each request to the provider, from a JSON file; an empty path means none."""
    if not path:
        return {}
    content = file(path)
    try:
        return parse_overlay(content, secrets=False)
    except ValueError as error:
        raise ValueError(f"{path!r}: {error}") from None


def check_look(settings: Mapping[str, Any]) -> None:
    """Raises ValueError for invalid settings of the widget."""
    try:
        WidgetSettings.model_validate(settings)
    except ValidationError as error:
        raise ValueError("; ".join(_problem(item) for item in error.errors())) from None


def _problem(item: ErrorDetails) -> str:
    """One problem, with the name of the setting."""
    place = ".".join(map(str, item["loc"]))
    return f"{place}: {item['msg'].removeprefix('Value error, ')}" if place else item["msg"]


def number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > LARGEST_INTEGER:
        raise ValueError(f"{text!r} is not a number from 0 to {LARGEST_INTEGER}")
    return int(text)


def answer_tokens(text: str) -> int:
    tokens = number(text)
    if tokens > MAX_ANSWER_TOKENS:
        raise ValueError(f"{text!r} is more than {MAX_ANSWER_TOKENS}")
    return tokens


def temperature(text: str) -> float:
    return _real(text, 2)


def price(text: str) -> float:
    return _real(text, 1_000_000)


def _real(text: str, most: float) -> float:
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,9})?", text) or float(text) > most:
        raise ValueError(f"{text!r} is not a number from 0 to {most}")
    return float(text)


def outcome(text: str) -> str:
    return _matching(text, "[a-z_]{1,64}", "an outcome such as complete, error or upstream_timeout")


def conversation_id(text: str) -> uuid.UUID:
    return _uuid(text, "a conversation's id")


def event_id(text: str) -> uuid.UUID:
    """An event's id, with or without the `msg_` of webhook messages."""
    return _uuid(text.removeprefix("msg_"), "an event's id")


def _uuid(text: str, expected: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise ValueError(f"{text!r} is not {expected}") from None


def visitor(text: str) -> str:
    return _matching(text, "[0-9a-f]{32}", "a visitor's hash")


def address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None


def duration(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,5})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a time such as 30m, 24h or 7d")
    return timedelta(**{GRACE_UNITS[match[2]]: int(match[1])})


def moment(text: str) -> datetime:
    """A date (midnight UTC) or a date and time (UTC unless it has a time zone), in UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise ValueError(f"{text!r} is not a date such as 2026-12-31") from None


def future(text: str) -> datetime:
    at = moment(text)
    if at <= datetime.now(UTC):
        raise ValueError(f"{text!r} is in the past")
    return at


def service_url(text: str) -> str:
    """The service's public address, which may have a path."""
    parts = urlsplit(text)
    parse_origin(f"{parts.scheme}://{parts.netloc}")
    if "?" in text or "#" in text:
        raise ValueError(f"{text!r} must be an address such as https://chat.example.com")
    return text.rstrip("/")


def _matching(text: str, pattern: str, expected: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError(f"{text!r} is not {expected}")
    return text
