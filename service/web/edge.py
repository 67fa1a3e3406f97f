"""The outermost middleware: request id, Host, size, CORS, the log line and the counters; and the CORS preflight."""

import asyncio
import logging
import re
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import errors
from service.access.keys import check_preflight
from service.store import records
from service.web.connections import AFTERWARDS, OVERLOADED, RETRY_SECONDS, TRUSTED_PROXY
from service.web.exchange import Exchange
from service.web.lifespan import Service
from service.web.problems import on_unexpected, problem
from service.web.requests import exchange_of, service_of

API = "/api/v1"

log = logging.getLogger("chatbot")


class EdgeMiddleware:
    """What every request passes first and last: its id, its Host, its size, CORS, the log line and the counters."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        exchange = request.state.exchange = Exchange(
            request_id=_request_id(request),
            method=request.method,
            address=request.client.host if request.client else "",
            origin=request.headers.get("origin"),
            send=send,
        )
        status, has_begun = 500, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    await _expose_refusal_to_listed_page(request)
                status, has_begun = message["status"], True
                headers = MutableHeaders(scope=message)
                headers.update(exchange.headers())
                if _is_api(request):
                    headers.add_vary_header("Origin")
            await send(message)

        try:
            refusal = self._refusal(request)
            app = problem(request, refusal) if refusal else self._app
            await app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the process is stopping before the request or its response has completed
            if has_begun:
                raise
            error = errors.Restarting("cut off by the shutdown", retry_after=1)
            await problem(request, error)(scope, receive, send_with_headers)
        except Exception as error:
            if has_begun:
                raise
            await on_unexpected(request, error)(scope, receive, send_with_headers)
        finally:
            state = scope["state"]
            if (afterwards := state.get(AFTERWARDS)) is None:
                _record(request, status)
            else:
                state[AFTERWARDS] = partial(_record_after, afterwards, request, status)

    def _refusal(self, request: Request) -> errors.ServiceError | None:
        if OVERLOADED in request.scope.get("extensions", {}) and _path(request) != f"{API}/health":
            return errors.Overloaded("too many connections are open", retry_after=RETRY_SECONDS)
        hosts = request.headers.getlist("host")
        if len(hosts) > 1 or (not hosts and request.scope["http_version"] != "1.0"):
            return errors.BadRequest("no Host, or several")
        if hosts and not re.fullmatch(r"[A-Za-z0-9._\-\[\]:]+", hosts[0]):
            return errors.BadRequest("a malformed Host")
        length = request.headers.get("content-length", "").lstrip("0")  # Python converts at most 4300 digits
        if re.fullmatch("[0-9]+", length) and int(length) > self._max_body_bytes:
            return errors.BodyTooLarge("the Content-Length exceeds MAX_BODY_BYTES")
        return None


def _is_api(request: Request) -> bool:
    return _path(request).startswith(API)


def _path(request: Request) -> str:
    """The path, without building a URL object, as it is needed several times."""
    path: str = request.scope["path"]
    return path


async def _expose_refusal_to_listed_page(request: Request) -> None:
    """Let a page read a refusal before its tenant is known, if any tenant lists its origin, as with a preflight."""
    exchange = exchange_of(request)
    service: Service | None = getattr(request.state, "service", None)
    is_settled = isinstance(exchange.error, errors.OriginNotAllowed | errors.DatabaseUnavailable | errors.Overloaded)
    if not _is_api(request) or exchange.access is not None or is_settled or service is None:
        return
    with suppress(errors.OriginNotAllowed, records.StoreError):  # then the refusal is sent without CORS headers
        exchange.allowed_origin = await check_preflight(service.store, request.headers.getlist("origin"))


def _request_id(request: Request) -> str:
    """The request id of a trusted proxy, if it is valid, or a new one."""
    given = request.headers.get("x-request-id", "")
    is_known = TRUSTED_PROXY in request.scope.get("extensions", {}) and re.fullmatch("[A-Za-z0-9_-]{8,64}", given)
    return given if is_known else uuid.uuid4().hex


async def _record_after(
    afterwards: Callable[[Send], Awaitable[None]], request: Request, status: int, send: Send
) -> None:
    try:
        await afterwards(send)
    finally:
        _record(request, status)


def _record(request: Request, status: int) -> None:
    """Update the counters, write the log line and, for a refused question, note it in the ledger."""
    exchange = exchange_of(request)
    service: Service | None = getattr(request.state, "service", None)
    route = request.scope["route"].path if "route" in request.scope else "none"
    exchange.log(route, status)
    if service is None:  # the lifespan is not running
        return
    service.metrics.requests.labels(route, status, exchange.error.code if exchange.error else "").inc()
    is_question = request.method == "POST" and _path(request) == f"{API}/chat"
    if exchange.error is not None and is_question and not exchange.has_answer:
        service.metrics.refusals.labels(exchange.error.cause or exchange.error.code).inc()
        service.ledger.note(exchange.refusal(exchange.error))


async def preflight(request: Request) -> Response:
    """A CORS preflight (WHATWG Fetch)."""
    origins = request.headers.getlist("origin")
    exchange_of(request).allowed_origin = await check_preflight(service_of(request).store, origins)
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": "Content-Type, Last-Event-ID, Traceparent, X-API-Key, X-User-Token",
            "Access-Control-Max-Age": "600",
        },
    )
