"""What the upstream is told of who asks, in headers: for a server behind the service that keeps knowledge or a memory
of its own. Only the trace goes on without a tenant's wish."""

import re
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

TRACEPARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# All that a header can hold but white space and the sign of the encoding itself.
VISIBLE_ASCII = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class Ids:
    """What names a question, and who asked it: the `sub` that the tenant's own server signed."""

    conversation: UUID
    message: UUID
    request: str
    subject: str | None

    def headers(self) -> dict[str, str]:
        headers = {
            "X-Conversation-ID": str(self.conversation),
            "X-Message-ID": str(self.message),
            "X-Request-ID": self.request,
        }
        if self.subject is not None:
            headers["X-User-ID"] = quote(self.subject, safe=VISIBLE_ASCII, errors="replace")
        return headers


def trace_headers(traceparents: list[str]) -> dict[str, str]:
    """The trace that a question belongs to (W3C Trace Context, section 3.2), if the request named one."""
    if len(traceparents) != 1 or not TRACEPARENT.fullmatch(traceparents[0]):
        return {}
    return {"traceparent": traceparents[0]}
