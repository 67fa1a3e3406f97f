"""The service's owner: anyone with STUDIO_TOKEN, or with a session from signing in with it.

A session is `expires.mac`, where `mac` is an HMAC-SHA256 (RFC 2104) with a key derived from the token. Nothing is
stored, every process can verify it, and changing STUDIO_TOKEN ends it.
"""

import base64
import hmac
import re
import time
from collections import Counter
from math import ceil

from service.access.visitors import visitor_network
from service.errors import VisitorRateLimited

SESSION_SECONDS = 12 * 3600
SESSION = re.compile(r"([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{43})")
WRONG_TOKENS = 10  # per address in a window
WINDOW_SECONDS = 60
MAX_ADDRESSES = 10_000  # counted separately; any further ones in a window share one count


def make_session(token: str) -> str:
    """A session that starts now."""
    expires = int(time.time()) + SESSION_SECONDS
    return f"{expires}.{_mac(token, expires)}"


def is_session(token: str, value: str) -> bool:
    """Whether a session belongs to this token and has not expired."""
    found = SESSION.fullmatch(value)
    if found is None or not hmac.compare_digest(found[2], _mac(token, int(found[1]))):
        return False
    return int(found[1]) > time.time()


def _mac(token: str, expires: int) -> str:
    key = hmac.digest(token.encode(), b"a4 studio session", "sha256")
    return base64.urlsafe_b64encode(hmac.digest(key, str(expires).encode(), "sha256")).rstrip(b"=").decode()


class Attempts:
    """Counts each address's wrong tokens. In memory, per process."""

    def __init__(self) -> None:
        self._wrong: Counter[str] = Counter()
        self._ends = float("-inf")  # time.monotonic()

    def is_right(self, token: str, guess: str, address: str) -> bool:
        """Whether `guess` is the token. After too many wrong ones, raises VisitorRateLimited even if it is."""
        now = time.monotonic()
        if now >= self._ends:
            self._wrong.clear()
            self._ends = now + WINDOW_SECONDS
        who = visitor_network(address)
        if who not in self._wrong and len(self._wrong) >= MAX_ADDRESSES:
            who = ""
        if self._wrong[who] >= WRONG_TOKENS:
            raise VisitorRateLimited(
                "too many wrong studio tokens",
                detail="Too many wrong tokens. Please wait a moment.",
                retry_after=ceil(self._ends - now),
            )
        # Digests have equal lengths, whatever was given, so the comparison takes constant time.
        is_right = hmac.compare_digest(_digest(guess), _digest(token))
        if not is_right:
            self._wrong[who] += 1
        return is_right


def _digest(text: str) -> bytes:
    return hmac.digest(b"a4 studio token", text.encode("utf-8", "surrogatepass"), "sha256")
