"""Helpers of the endpoints: the service, the caller, the body, and JSON responses."""

import re
import uuid

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service import errors, schema
from service.access.keys import Caller, Sender, check_sender, find_access, identify, page_origin, renew_proof
from service.web.exchange import Exchange
from service.web.lifespan import Service


def service_of(request: Request) -> Service:
    service: Service = request.state.service
    return service


def exchange_of(request: Request) -> Exchange:
    exchange: Exchange = request.state.exchange
    return exchange


async def authenticate(request: Request) -> Caller:
    """Authenticate the caller and check the origin.

    Raises KeyMissing, KeyInvalid, OriginNotAllowed, UserTokenMissing, or a subclass.
    """
    headers, service, exchange = request.headers, service_of(request), exchange_of(request)
    access = exchange.access = await find_access(service.store, headers.getlist("x-api-key"))
    sender = Sender(
        method=request.method,
        scheme=request.scope["scheme"],
        host=headers.get("host", ""),
        origins=headers.getlist("origin"),
        site=headers.get("sec-fetch-site"),
        proofs=headers.getlist("x-widget-proof"),
    )
    exchange.allowed_origin, proof = check_sender(access, sender, service.own_origins)
    if proof is not None:
        exchange.origin = page_origin(access.tenant, headers.getlist("x-page-origin")) or exchange.origin
        exchange.proof = await renew_proof(service.store, access.tenant, proof)
    identity = await identify(service.store, access.tenant, headers.getlist("x-user-token"))
    caller = exchange.access = Caller(access.tenant, access.key, identity)
    return caller


async def authenticate_reader(request: Request) -> Caller:
    """Like `authenticate`, for calls that don't ask the model. They are limited: also raises VisitorRateLimited."""
    caller = await authenticate(request)
    service_of(request).reads.count(caller.tenant, exchange_of(request).address)
    return caller


async def read_body(request: Request, model: type[schema.Body]) -> schema.Body:
    """The body as a model. Raises UnsupportedMediaType, MalformedJSON or ValidationFailed."""
    content_types = request.headers.getlist("content-type")
    essence = content_types[0].partition(";")[0].strip().lower() if len(content_types) == 1 else None
    if essence != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
        raise errors.UnsupportedMediaType("not plain application/json")
    body = await request.body()
    return schema.from_json(model, body, service_of(request).settings.max_message_chars)


def resume_position(request: Request) -> int:
    """The number of characters that the reader already has (WHATWG HTML, section 9.2.4, Last-Event-ID)."""
    value = request.headers.get("last-event-id", "")
    if not re.fullmatch("[0-9]{0,9}", value):
        raise errors.BadRequest("a Last-Event-ID that is not ours", detail="Last-Event-ID must be the id of an event.")
    return int(value or 0)


def path_id(request: Request, name: str, unknown: type[errors.NotFound]) -> uuid.UUID:
    """A UUID in the path. Raises `unknown` if it is invalid."""
    text = request.path_params[name]
    if not re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise unknown("not a UUID")
    return uuid.UUID(text)


def json_response(model: BaseModel) -> Response:
    return Response(schema.to_json(model), media_type="application/json", headers={"Cache-Control": "no-store"})
