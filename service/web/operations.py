"""The endpoints for operators and developers: health, readiness, metrics and the API documentation."""

import hmac
import json

from starlette.requests import Request
from starlette.responses import Response

from service import VERSION, errors, schema
from service.web import pages
from service.web.assets import asset_of
from service.web.openapi import OPERATOR, PLAIN, openapi, operation
from service.web.pages import file_response, page_response
from service.web.requests import json_response, service_of


@operation(
    "GET",
    "health",
    "Check whether the process is alive",
    "The process is alive. No dependency was checked.",
    tag="Operation",
    content=schema.Health,
)
async def health(request: Request) -> Response:
    """The process is alive."""
    return json_response(schema.Health(status="ok"))


@operation(
    "GET",
    "ready",
    "Check whether the process can serve",
    "The database answers, and the process is not shutting down.",
    tag="Operation",
    content=schema.Ready,
    errors=(*errors.DATABASE, errors.Restarting),
)
async def ready(request: Request) -> Response:
    """The process can take questions: its database works and it is not shutting down."""
    service = service_of(request)
    is_ready = False
    try:
        if service.shutdown.is_set():
            raise errors.Restarting("draining", retry_after=1)
        await service.store.recent_ping()
        is_ready = True
    finally:
        service.metrics.ready.set(is_ready)
    return json_response(schema.Ready(status="ready"))


@operation(
    "GET",
    "metrics",
    "Read the Prometheus metrics",
    "Metrics in text format 0.0.4. Without METRICS_TOKEN in the settings, every token is refused.",
    tag="Operation",
    content=PLAIN,
    examples={"metrics": "chatbot_open_answers 3.0\n"},
    errors=(*errors.ANY_REQUEST, errors.MetricsTokenWrong),
    security=OPERATOR,
)
async def metrics(request: Request) -> Response:
    """Prometheus metrics, for clients with METRICS_TOKEN; closed if it is not set."""
    token = service_of(request).settings.metrics_token
    scheme, _, sent = request.headers.get("authorization", "").partition(" ")
    is_right = token is not None and hmac.compare_digest(sent.strip().encode(), token.get_secret_value().encode())
    if scheme.lower() != "bearer" or not is_right:
        raise errors.MetricsTokenWrong("no token, or a wrong one")
    service_of(request).gauges.update()
    return Response(service_of(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def openapi_json(request: Request) -> Response:
    """The OpenAPI document, generated on first use."""
    service = service_of(request)
    if "openapi.json" not in service.assets:
        document = openapi(
            request.app.routes,
            version=VERSION,
            max_message_chars=service.settings.max_message_chars,
            max_body_bytes=service.settings.max_body_bytes,
        )
        service.assets["openapi.json"] = asset_of("openapi.json", json.dumps(document).encode())
    return file_response(request, "openapi.json", "no-cache")


async def docs(request: Request) -> Response:
    """Interactive documentation of the API."""
    return page_response(request, service_of(request).assets["docs.html"], pages.DOCS_POLICY)
