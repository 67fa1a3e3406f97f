"""Errors before the stream, as problem+json (RFC 9457)."""

import logging

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from service import errors, schema
from service.store import records
from service.web.requests import exchange_of, service_of

log = logging.getLogger("chatbot")


def problem(request: Request, error: errors.ServiceError) -> Response:
    """An error as problem+json (RFC 9457)."""
    exchange_of(request).error = error
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    problem = schema.to_json(schema.problem_of(error, exchange_of(request).request_id))
    return Response(problem, error.status_code, headers, "application/problem+json")


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ServiceError)
    return problem(request, error)


async def _on_store_error(request: Request, error: Exception) -> Response:
    if isinstance(error, records.StoreTimeout) and service_of(request).lag.was_late:
        return problem(request, errors.Overloaded(f"the event loop was late: {error}", retry_after=2))
    if isinstance(error, records.StoreUnavailable):
        return problem(request, errors.DatabaseUnavailable(str(error), retry_after=2))
    return on_unexpected(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """Handle Starlette's own refusals: an unknown path, a wrong method, a body over the limit."""
    assert isinstance(error, HTTPException)
    if error.status_code == 413:
        return problem(request, errors.BodyTooLarge("the body exceeds MAX_BODY_BYTES"))
    if error.status_code == 405:
        response = problem(request, errors.MethodNotAllowed("no such method here"))
        response.headers["Allow"] = _methods_of(request)
        return response
    return problem(request, errors.NotFound("no such path"))


def _methods_of(request: Request) -> str:
    """All methods of the path; Starlette reports only those of one route."""
    path = request.scope["route"].path
    return ", ".join(
        sorted(method for route in request.app.routes if route.path == path for method in route.methods or ())
    )


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


def on_unexpected(request: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error, extra={"request_id": exchange_of(request).request_id})
    return problem(request, errors.ServiceError(type(error).__name__))


exception_handlers = {
    errors.ServiceError: _on_service_error,
    records.StoreError: _on_store_error,
    HTTPException: _on_http_exception,
    ClientDisconnect: _on_disconnect,
}
