"""The findings of `doctor`'s checks."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

MOST_SECONDS_APART = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """`text` says what was found and, if `state` is `fix`, what to change."""

    name: str
    state: Literal["ok", "fix", "skip"]
    text: str


def ok(name: str, text: str) -> Finding:
    return Finding(name, "ok", text)


def fix(name: str, text: str) -> Finding:
    return Finding(name, "fix", text)


def skip(name: str, text: str) -> Finding:
    return Finding(name, "skip", text)


def clock(owner: str, time: datetime) -> Finding:
    """Compare another clock with this machine's: signed tokens and daily budgets depend on it."""
    apart = abs((datetime.now(UTC) - time).total_seconds())
    if apart > MOST_SECONDS_APART:
        return fix("clock", f"{apart:.0f} s off from {owner}'s clock: synchronize both with NTP")
    return ok("clock", f"agrees with {owner}'s clock")
