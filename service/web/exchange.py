"""A request and its response: what is known about them, for headers, the log line and the usage row."""

import logging
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from starlette.types import Send

from service.access.keys import Caller
from service.access.limits import Limits
from service.access.origins import is_origin
from service.access.visitors import visitor_id
from service.errors import ServiceError
from service.store.records import Access, UsageRow

log = logging.getLogger("chatbot")

PROOF = "X-Widget-Proof"


@dataclass(slots=True)
class Exchange:
    """One request and its response. Fields are None if they are unknown or do not apply."""

    request_id: str
    method: str
    address: str  # the visitor's; from X-Forwarded-For behind the proxies of FORWARDED_ALLOW_IPS
    origin: str | None  # of the page; for a widget's call, of the tenant's page around it
    send: Send  # the server's own, bypassing middleware, which only needs a response's head
    access: Access | None = None  # a `Caller` once the visitor is known
    allowed_origin: str | None = None  # the origin of a tenant's page, which may read the response
    proof: str | None = None  # a new one, for a widget's page
    limits: Limits | None = None
    error: ServiceError | None = None
    has_answer: bool = False  # whether there is an answer, which records its own usage
    began: float = field(default_factory=time.monotonic)

    @property
    def duration_ms(self) -> int:
        return round((time.monotonic() - self.began) * 1000)

    def headers(self) -> dict[str, str]:
        """The headers of every response, its rate limits, and its CORS headers."""
        headers = {
            "X-Request-ID": self.request_id,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "strict-origin-when-cross-origin",
        }
        if self.proof is not None:
            headers[PROOF] = self.proof
        if self.limits is not None:
            headers |= self.limits.headers()
        if self.allowed_origin is not None:
            headers["Access-Control-Allow-Origin"] = self.allowed_origin
            headers["Access-Control-Expose-Headers"] = "X-Request-ID, Retry-After, RateLimit-Policy, RateLimit"
        return headers

    def log(self, route: str, status: int) -> None:
        """Log one line per request, with its route but never its path or query, which may contain a key."""
        log.log(
            logging.ERROR if status == 500 else logging.WARNING if status > 500 else logging.INFO,
            "request",
            extra={
                "request_id": self.request_id,
                "method": self.method if self.method.isalpha() else "?",
                "route": route,
                "status": status,
                "tenant": self.access and self.access.tenant.name,
                "code": self.error and self.error.code,
                "cause": self.error and self.error.cause,
                "reason": str(self.error) if self.error else None,
                "duration_ms": self.duration_ms,
            },
        )

    def usage_row(self, outcome: str, **known: Any) -> UsageRow:
        """The usage row of a question, with everything known about its visitor, and the fields in `known`."""
        origin = self.origin if self.origin and is_origin(self.origin) else None  # anything else may have any length
        row: dict[str, Any] = {"tenant_id": None, "origin": origin, "request_id": self.request_id}
        if (access := self.access) is not None:
            row |= {
                "tenant_id": access.tenant.id,
                "key_id": access.key.id,
                "visitor": self.limits.visitor if self.limits else visitor_id(access.tenant, self.address),
                "model": access.tenant.model,
                "subject": access.subject if isinstance(access, Caller) else None,
            }
        return UsageRow(at=datetime.now(UTC), outcome=outcome, **row | known)

    def refusal(self, error: ServiceError) -> UsageRow:
        """The usage row of a refused question."""
        return self.usage_row(error.cause or error.code, duration_ms=self.duration_ms, refused=True)
