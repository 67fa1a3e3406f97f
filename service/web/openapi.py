"""The OpenAPI 3.1 document, generated from each endpoint's `@operation` and from the models in `schema.py`, with their
examples."""

import re
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from service import errors, schema
from service.errors import ServiceError

DESCRIPTION = """\
Send a question; the answer streams back as Server-Sent Events while it is being written.

**Key.** Every request for a tenant needs its key in `X-API-Key`. A public key (`a4_pub_…`) is part of the web page and
is protected by the allowed origins, the limits and the budget. A secret key (`a4_sec_…`) is for servers; requests with
one from a browser are refused.

**Origin.** Browsers add `Origin` themselves, except to a same-origin GET, which has `Sec-Fetch-Site` instead. The
origin must be one that the tenant lists; a request without either header needs a secret key. The service's own origin,
which all widgets share, is only accepted with the `X-Widget-Proof` from the page of one of the tenant's widgets. To try
requests on this page, the tenant must therefore list the service's own origin.
`Access-Control-Allow-Origin`, `Access-Control-Expose-Headers` and `Vary` let a tenant's page read the response.
`OPTIONS` answers preflight requests: 204, or 403 for an origin that no tenant lists.

**Visitor.** `X-User-Token` can have a JWT signed by the tenant's backend (HS256 or EdDSA, with `sub`, and `exp` at most
a day ahead). Conversations then belong to its `sub`, on every device. A tenant can require a token, and an invalid one
is always refused.

**Limits.** `RateLimit-Policy` and `RateLimit` report the limits of the visitor and the key, and what is left of them.
Every 429 and 503 has an exact `Retry-After`; a 502 has one if it is known. The model and everything else that shapes
its answer are settings of the tenant: a request that contains one is refused.

**Errors.** An error before the answer begins is `application/problem+json` (RFC 9457) with a stable `code` and a
human-readable `detail`. An error after that is an `error` event. Every response has an `X-Request-ID`, which
identifies the request in the service's log. Any path may respond with 400, 413, 431 or 500 and,
while the service is overloaded or stopping, with 503; an unknown one with 404; an unsupported method with 405 and
`Allow`.

**All responses.** Every `GET` also works as `HEAD`. Every response has `X-Content-Type-Options: nosniff` and a
`Referrer-Policy`.
"""

JSON, PLAIN, STREAM = "application/json", "text/plain", "text/event-stream"

# Who may call an operation: the alternatives, each with all its credentials.
VISITOR = (("ApiKey", "UserToken"),)
ANYONE = (("ApiKey",), *VISITOR)
OPERATOR = (("MetricsToken",),)

TEXT: JsonSchemaValue = {"type": "string"}
ID: JsonSchemaValue = {"type": "string", "format": "uuid"}
POSITION: JsonSchemaValue = {"type": "string", "pattern": "^[0-9]{0,9}$"}
SECONDS: JsonSchemaValue = {"type": "integer", "minimum": 0}

# By name: location, schema, example, description.
PARAMETERS: dict[str, tuple[str, JsonSchemaValue, str, str]] = {
    "conversation_id": ("path", ID, schema.CONVERSATION_ID, "From the `start` event."),
    "message_id": ("path", ID, schema.MESSAGE_ID, "From the `start` event."),
    "Last-Event-ID": (
        "header",
        POSITION,
        "11",
        "When resuming with a known `message_id`: the `id:` of the last `message` received. The answer continues after "
        "it; if it was deleted meanwhile, the error is `message_not_found`.",
    ),
}
# By name: schema, example, description.
HEADERS: dict[str, tuple[JsonSchemaValue, str | int, str]] = {
    "X-Request-ID": (TEXT, schema.REQUEST_ID, "Identifies the request in the log. A trusted proxy can set it."),
    "Cache-Control": (TEXT, "no-cache, no-store", "How the response may be cached."),
    "X-Accel-Buffering": ({"const": "no"}, "no", "Turns off nginx's buffering, so that each event arrives at once."),
    "Retry-After": (SECONDS, 20, "Seconds to wait before trying again."),
    "RateLimit-Policy": (
        TEXT,
        '"visitor";q=1200;w=60, "key";q=6000;w=60',
        "The limits that apply to this request (draft-ietf-httpapi-ratelimit-headers): `q` per `w` seconds, in "
        "requests or in the unit `qu`. `visitor` and `key` count questions, `streams` concurrent answers, `day` "
        "tokens.",
    ),
    "RateLimit": (
        TEXT,
        '"visitor";r=1199;t=60, "key";r=5870;t=12',
        "What is left of each limit: `r` for the next `t` seconds.",
    ),
    "WWW-Authenticate": (TEXT, "ApiKey", "The missing or invalid credential."),
    "Allow": (TEXT, "GET, HEAD", "The methods that the path supports."),
}
LIMITED = ("RateLimit-Policy", "RateLimit")  # omitted if a tenant has no limits
HEADERS_OF_STATUS = {401: ["WWW-Authenticate"], 405: ["Allow"], 429: ["Retry-After", *LIMITED], 503: ["Retry-After"]}

Endpoint = Callable[[Request], Awaitable[Response]]


class Operation(NamedTuple):
    """An operation of an endpoint. `content` is a model, for JSON, or a media type; without it, the response is 204."""

    name: str
    summary: str
    answer: str
    tag: str
    content: type[BaseModel] | str | None
    examples: dict[str, str]
    errors: tuple[type[ServiceError], ...]
    body: type[BaseModel] | None
    parameters: tuple[str, ...]
    headers: tuple[str, ...]
    security: tuple[tuple[str, ...], ...]


def operation(
    method: str,
    name: str,
    summary: str,
    answer: str,
    *,
    tag: str = "Chat",
    content: type[BaseModel] | str | None = None,
    examples: dict[str, str] | None = None,
    errors: Iterable[type[ServiceError]] = errors.ANY_REQUEST,
    body: type[BaseModel] | None = None,
    parameters: tuple[str, ...] = (),
    headers: tuple[str, ...] = (),
    security: tuple[tuple[str, ...], ...] = (),
) -> Callable[[Endpoint], Endpoint]:
    """Declare an endpoint's operation for a method. `answer` describes the successful response, `errors` are those it
    may raise. Path parameters are added automatically.
    """
    declared = Operation(
        name, summary, answer, tag, content, examples or {}, tuple(errors), body, parameters, headers, security
    )

    def declare(endpoint: Endpoint) -> Endpoint:
        _declared.setdefault(endpoint, {})[method] = declared
        return endpoint

    return declare


_declared: dict[Endpoint, dict[str, Operation]] = {}


def openapi(
    routes: Iterable[BaseRoute], *, version: str, max_message_chars: int, max_body_bytes: int
) -> dict[str, Any]:
    """The document for all routes whose endpoints declare an operation, with these limits."""
    paths: dict[str, dict[str, Any]] = {}
    models: list[type[BaseModel]] = [*schema.EVENTS.values(), schema.Problem]
    for route in routes:
        if isinstance(route, Route):
            for method, declared in _declared.get(route.endpoint, {}).items():
                paths.setdefault(route.path, {})[method.lower()] = _operation(route.path, declared, max_body_bytes)
                models += [model for model in (declared.body, declared.content) if isinstance(model, type)]
    return {
        "openapi": "3.1.0",
        "info": {"title": "AI chat", "version": version, "description": DESCRIPTION},
        "servers": [{"url": "."}],  # relative to this document, whatever prefix a proxy serves it under
        "paths": paths,
        "components": {
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "UserToken": {
                    "type": "apiKey",
                    "in": "header",
                    "name": "X-User-Token",
                    "description": "A JWT that the tenant's backend has signed.",
                },
                "MetricsToken": {"type": "http", "scheme": "bearer", "description": "METRICS_TOKEN of the settings."},
            },
            "schemas": _schemas(models, max_message_chars),
            "parameters": {name: _parameter(name, *PARAMETERS[name]) for name in PARAMETERS},
            "headers": {name: _header(*HEADERS[name], required=name not in LIMITED) for name in HEADERS},
            "responses": {
                "NotFound": _problems([errors.NotFound]),
                "MethodNotAllowed": _problems([errors.MethodNotAllowed]),
            },
        },
    }


def transcript(position: int, *events: BaseModel) -> str:
    """A whole stream, from a position of the answer on."""
    names: dict[type[BaseModel], str] = {model: name for name, model in schema.EVENTS.items()}
    text = ""
    for event in events:
        if isinstance(event, schema.MessageEvent):
            position += len(event.chunk)
            text += f"id: {position}\n"
        text += f"event: {names[type(event)]}\ndata: {schema.to_json(event)}\n\n"
    return text


def _operation(path: str, declared: Operation, max_body_bytes: int) -> dict[str, Any]:
    parameters = (*re.findall(r"{(\w+)}", path), *declared.parameters)
    document: dict[str, Any] = {
        "operationId": declared.name,
        "tags": [declared.tag],
        "summary": declared.summary,
        "parameters": [_ref("parameters", name) for name in parameters],
        "responses": _responses(declared),
    }
    if declared.body:
        document["requestBody"] = {
            "required": True,
            "description": f"At most {max_body_bytes} bytes.",
            "content": {JSON: {"schema": _ref("schemas", declared.body.__name__)}},
        }
    if declared.security:
        document["security"] = [{name: [] for name in way} for way in declared.security]
    return document


def _responses(declared: Operation) -> dict[str, Any]:
    success = {"description": declared.answer, "headers": _headers(*declared.headers)}
    by_status: dict[int, list[type[ServiceError]]] = {}
    for error in sorted(declared.errors, key=lambda error: error.status_code):
        by_status.setdefault(error.status_code, []).append(error)
    return {
        "200" if declared.content else "204": success | _content(declared),
        **{str(status): _problems(of_status) for status, of_status in by_status.items()},
    }


def _content(declared: Operation) -> dict[str, Any]:
    content = declared.content
    if content is None:
        return {}
    if isinstance(content, str):
        # OpenAPI 3.1 cannot tell a stream from its events: some tools read this as the text's schema, others as each
        # event's.
        stream = {"anyOf": [TEXT, _ref("schemas", "StreamEvent")]}
        shape = stream if content == STREAM else {"type": "object"} if content == JSON else TEXT
        return {"content": {content: {"schema": shape, "examples": _examples(declared.examples)}}}
    return {"content": {JSON: {"schema": _ref("schemas", content.__name__)}}}


def _problems(of_status: list[type[ServiceError]]) -> dict[str, Any]:
    """The response for all errors with the same status."""
    status = HTTPStatus(of_status[0].status_code)
    examples = _examples({error.code: schema.problem_of(_raised(error)).model_dump(mode="json") for error in of_status})
    return {
        "description": status.phrase,
        "headers": _headers(*HEADERS_OF_STATUS.get(status, ())),
        "content": {"application/problem+json": {"schema": _ref("schemas", "Problem"), "examples": examples}},
    }


def _raised(error: type[ServiceError]) -> ServiceError:
    if error is errors.ValidationFailed:
        return errors.ValidationFailed([("message", "must contain something visible")])
    return error()


def _examples(values: dict[str, Any]) -> dict[str, Any]:
    return {name: {"value": value} for name, value in values.items()}


def _parameter(name: str, where: str, shape: JsonSchemaValue, example: str, description: str) -> dict[str, Any]:
    described = {"schema": shape, "example": example, "description": description}
    return {"name": name, "in": where, "required": where != "header"} | described


def _header(shape: JsonSchemaValue, example: str | int, description: str, *, required: bool) -> dict[str, Any]:
    return {"required": required, "schema": shape, "example": example, "description": description}


def _headers(*names: str) -> dict[str, Any]:
    return {name: _ref("headers", name) for name in ("X-Request-ID", *names)}


def _ref(kind: str, name: str) -> dict[str, str]:
    return {"$ref": f"#/components/{kind}/{name}"}


class _Schemas(GenerateJsonSchema):
    """Schemas without titles that repeat the fields' names, and without null as a default for omitted fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        generated = super().default_schema(schema)
        return (
            generated
            if generated.get("default") is not None
            else {key: generated[key] for key in generated if key != "default"}
        )


def _schemas(models: list[type[BaseModel]], max_message_chars: int) -> dict[str, Any]:
    _, generated = models_json_schema(
        [
            (model, "validation" if issubclass(model, schema.Incoming) else "serialization")
            for model in dict.fromkeys(models)
        ],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    schemas: dict[str, Any] = generated["$defs"]
    schemas["ChatRequest"]["properties"]["message"]["maxLength"] = max_message_chars
    schemas["ErrorEvent"]["properties"]["code"]["examples"] = [error.code for error in errors.IN_STREAM]
    schemas["StreamEvent"] = {
        "description": "One event of an answer.",
        "oneOf": [_event(name, model.__name__) for name, model in schema.EVENTS.items()],
    }
    return schemas


def _event(name: str, model: str) -> dict[str, Any]:
    data = {"type": "string", "contentMediaType": JSON, "contentSchema": _ref("schemas", model)}
    return {
        "type": "object",
        "title": name,
        "properties": {"event": {"const": name}, "data": data, "id": TEXT},
        "required": ["event", "data", "id"] if model == "MessageEvent" else ["event", "data"],
    }
