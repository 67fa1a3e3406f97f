"""A mock upstream that refuses some questions and answers all others."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import respx

from service.testing.chunks import answer, streamed

Body = dict[str, Any]


def refused(message: str, status: int = 400, **error: Any) -> httpx.Response:
    return httpx.Response(status, json={"error": {"message": message, **error}})


def answer_unless_refused(upstream: respx.Route, refuse: Callable[[Body], httpx.Response | None]) -> list[Body]:
    """An endpoint that answers everything that `refuse` accepts. Returns the received requests."""
    requests: list[Body] = []

    def handle(request: httpx.Request) -> httpx.Response:
        requests.append(json.loads(request.content))
        return refuse(requests[-1]) or streamed(*answer("Hello"))

    upstream.mock(side_effect=handle)
    return requests
