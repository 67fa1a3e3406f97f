"""Headers that tell the upstream who is asking, for servers with their own memory or permissions. Without the tenant's
consent, only the trace is passed on."""

import re
from dataclasses import dataclass
from urllib.parse import quote
from uuid import UUID

TRACEPARENT = re.compile("(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# All characters that a header can hold, except white space and the percent sign of the encoding.
VISIBLE_ASCII = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) != "%")


@dataclass(frozen=True, slots=True)
class Ids:
    """The ids of a question, and its visitor: the `sub` that the tenant's server signed."""

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
    """The trace of a question (W3C Trace Context, section 3.2), if the request has one."""
    if len(traceparents) != 1 or not TRACEPARENT.fullmatch(traceparents[0]):
        return {}
    return {"traceparent": traceparents[0]}
