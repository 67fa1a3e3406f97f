"""The OpenAPI 3.1 document: every operation, header, event and error, made from the models in `schema.py`."""

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, NamedTuple
from uuid import UUID

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema
from pydantic_core import core_schema

from service import errors, schema
from service.errors import ServiceError

DESCRIPTION = """\
A question goes in; the answer comes back as it is written, as Server-Sent Events.

**Key.** What belongs to a tenant needs its key in `X-API-Key`. A public key (`a4_pub_…`) stands in the page; its guards
are the origins, the limits and the budget. A secret key (`a4_sec_…`) is for servers and refused from browsers.

**Origin.** Browsers send `Origin` by themselves, but for a GET within one origin, which has `Sec-Fetch-Site` instead.
It must be one of the tenant's; a call without either needs a secret key. The service's own, which all widgets have,
counts only with the proof in the page of a widget of the key's tenant, `X-Widget-Proof`: so that what you try out here
needs the service's origin on the tenant's list.
`Access-Control-Allow-Origin`, `Access-Control-Expose-Headers` and `Vary` let a tenant's page read the response.
`OPTIONS` answers the preflight: 204, or 403 for an origin that no tenant lists.

**Visitor.** `X-User-Token` may bear a JWT that the tenant's backend has signed (HS256 or EdDSA, `sub` and `exp` at most
a day ahead). Conversations then belong to its `sub`, on every device; a tenant can require one. A token that is sent
must be valid.

**Limits.** `RateLimit-Policy` and `RateLimit` tell what a visitor and a key may ask and what is left. Every 429 and 503
has `Retry-After`, exact to the second; a 502 has one where it is known. The model and all that shapes its answer are
the tenant's settings: a request that names one is refused.

**Errors.** What fails before the answer begins is `application/problem+json` (RFC 9457): `code` is stable, `detail` is
for people. Later the event `error` tells it. `X-Request-ID`, on every response, finds either in the service's log.
Any path may answer 400, 431 and 500; an unknown one answers 404, a method that it does not support 405 with `Allow`.

**Everywhere.** Every `GET` has a `HEAD`. Every response has `X-Content-Type-Options: nosniff` and a `Referrer-Policy`.
"""

# Examples

CONVERSATION_ID = UUID("5f0c0a3e-8f0e-4c53-9a3b-2f1f6a0b7c11")
MESSAGE_ID = UUID("c1f3b1de-6a52-4e0c-8d0f-3f6f0f5d9a27")
START = schema.StartEvent(conversation_id=CONVERSATION_ID, message_id=MESSAGE_ID)
CHUNKS = (schema.MessageEvent(chunk="We are open"), schema.MessageEvent(chunk=" from 9 to 17."))
USAGE = schema.Usage(prompt_tokens=42, completion_tokens=9)
SOURCE = schema.Source(title="Opening hours", url="https://shop.example/hours")
SOURCES = schema.SourcesEvent(sources=[SOURCE])
DONE = schema.DoneEvent(status="complete", usage=USAGE)
CANCELLED = schema.DoneEvent(status="cancelled", usage=None)
BROKEN = schema.ErrorEvent(code="upstream_interrupted", error=errors.UpstreamInterrupted.detail)
BUSY = schema.ErrorEvent(code="busy", error=errors.Busy.detail, retry_after=20)
FIELD_ERROR = schema.FieldError(field="message", message="must contain something visible")
QUESTION = schema.ConversationMessage(
    message_id=MESSAGE_ID,
    role="user",
    content="What are your opening hours?",
    created_at=datetime(2026, 11, 2, 9, 30, tzinfo=UTC),
)
ANSWER = schema.ConversationMessage(
    message_id=MESSAGE_ID,
    role="assistant",
    content="We are open from 9 to 17.",
    created_at=datetime(2026, 11, 2, 9, 30, 4, tzinfo=UTC),
    status="complete",
)
SUMMARY = schema.ConversationSummary(
    id=CONVERSATION_ID, title="What are your opening hours?", updated_at=datetime(2026, 11, 2, 9, 30, 4, tzinfo=UTC)
)
# Each stands in the schema of its own model.
EXAMPLES: tuple[BaseModel, ...] = (
    schema.ChatRequest(message="What are your opening hours?"),
    schema.ChatRequest(message="And on Sundays?", conversation_id=CONVERSATION_ID, message_id=MESSAGE_ID),
    schema.ChatRequest(message="And on Sundays?", conversation_id=CONVERSATION_ID, regenerate=True),
    schema.ChatRequest(message="And on Sundays?", conversation_id=CONVERSATION_ID, replaces=[MESSAGE_ID]),
    schema.FeedbackRequest(rating="up"),
    schema.FeedbackRequest(rating="down", comment="It did not answer my question."),
    *(START, *CHUNKS, SOURCE, SOURCES, USAGE, DONE, CANCELLED, BROKEN, BUSY),
    schema.ChatRequest(message="Is it in stock?", context={"page": "Blue shirt", "price": "29 €"}),
    *(SUMMARY, schema.ConversationList(conversations=[SUMMARY])),
    *(FIELD_ERROR, QUESTION, ANSWER, schema.Conversation(conversation_id=CONVERSATION_ID, messages=[QUESTION, ANSWER])),
    schema.Problem(title="Not Found", status=404, detail=errors.NotFound.detail, code="not_found"),
    *(schema.Health(status="ok"), schema.Ready(status="ready")),
)


def transcript(position: int, *events: BaseModel) -> str:
    """A whole stream, from a position of its answer on."""
    names: dict[type[BaseModel], str] = {model: name for name, model in schema.EVENTS.items()}
    text = ""
    for event in events:
        if isinstance(event, schema.MessageEvent):
            position += len(event.chunk)
            text += f"id: {position}\n"
        text += f"event: {names[type(event)]}\ndata: {schema.to_json(event)}\n\n"
    return text


STREAMS = {
    "complete": transcript(0, START, *CHUNKS, DONE),
    "cited": transcript(0, START, schema.MessageEvent(chunk="We are open from 9 to 17 [1]."), SOURCES, DONE),
    "resumed": transcript(11, START, CHUNKS[1], DONE),
    "stopped": transcript(0, START, CHUNKS[0], CANCELLED),
    "broken": transcript(0, START, CHUNKS[0], BROKEN),
}

# Media types: schema and examples

TEXT: JsonSchemaValue = {"type": "string"}
# OpenAPI 3.1 cannot tell a stream from its events: some tools read this schema as the text's, others as each event's.
STREAM_OR_EVENT: JsonSchemaValue = {"anyOf": [TEXT, {"$ref": "#/components/schemas/StreamEvent"}]}
JSON, HTML, STREAM = "application/json", "text/html", "text/event-stream"

MEDIA_TYPES: dict[str, tuple[JsonSchemaValue, dict[str, Any]]] = {
    STREAM: (STREAM_OR_EVENT, STREAMS),
    HTML: (TEXT, {"page": "<!doctype html>"}),
    JSON: ({"type": "object"}, {"document": {"openapi": "3.1.0"}}),
    "text/javascript": (TEXT, {"script": "(()=>{})();"}),
    "text/plain": (TEXT, {"metrics": "chatbot_open_answers 3.0\n"}),
    "*/*": ({}, {"script": "export{};"}),
}

# Parameters and headers, by name: where, schema, example, description

NAME: JsonSchemaValue = {"type": "string", "minLength": 1}
ID: JsonSchemaValue = {"type": "string", "format": "uuid"}
POSITION: JsonSchemaValue = {"type": "string", "pattern": "^[0-9]{0,9}$"}
SECONDS: JsonSchemaValue = {"type": "integer", "minimum": 0}

PARAMETERS: dict[str, tuple[str, JsonSchemaValue, str, str]] = {
    "conversation_id": ("path", ID, str(CONVERSATION_ID), "As the event `start` told it."),
    "message_id": ("path", ID, str(MESSAGE_ID), "As the event `start` told it."),
    "path": ("path", NAME, "app-oIUNLEkh.js", "The file's path below `/assets/`."),
    "id": ("query", NAME, "wgt_3kZ9vQ2mB7xT1cYd", "The widget's id, from the snippet."),
    "Last-Event-ID": (
        "header",
        POSITION,
        "11",
        "With a `message_id` that was sent before: the `id:` of the last `message` that arrived. The answer goes on "
        "after it; one that was deleted meanwhile is `message_not_found`.",
    ),
    "If-None-Match": ("header", TEXT, 'W/"5f0c0a3e8f0e4c539a3b"', "The `ETag` of the version that the client has."),
}
HEADERS: dict[str, tuple[JsonSchemaValue, str | int, str]] = {
    "X-Request-ID": (TEXT, "8f14e45fceea4a6b8d0f3f6f0f5d9a27", "Names the request in the log; a proxy's is kept."),
    "Cache-Control": (TEXT, "no-cache, no-store", "Who may keep the response, and for how long."),
    "X-Accel-Buffering": ({"const": "no"}, "no", "Has nginx pass on each event at once."),
    "Retry-After": (SECONDS, 20, "Seconds after which trying again makes sense."),
    "RateLimit-Policy": (
        TEXT,
        '"visitor";q=1200;w=60, "key";q=6000;w=60',
        "The limits of the tenant that count here (draft-ietf-httpapi-ratelimit-headers): `q` in `w` seconds, of "
        "requests or of the unit `qu`. `visitor` and `key` count questions, `streams` answers at a time, `day` tokens.",
    ),
    "RateLimit": (TEXT, '"visitor";r=1199;t=60, "key";r=5870;t=12', "What is left of each: `r` for `t` seconds."),
    "WWW-Authenticate": (TEXT, "ApiKey", "What is missing."),
    "Allow": (TEXT, "GET, HEAD", "The methods that the path has."),
    "X-Widget-Proof": (TEXT, "wgt_3kZ9vQ2mB7xT1cYd.1793612460.8kq…", "Lets this page call the API for some minutes."),
    "ETag": (TEXT, 'W/"5f0c0a3e8f0e4c539a3b"', "Names this version."),
    "Content-Security-Policy": (TEXT, "frame-ancestors https://shop.example", "What it loads, and who frames it."),
    "Cross-Origin-Embedder-Policy": (TEXT, "require-corp", "Lets cross-origin isolated pages frame it."),
    "Cross-Origin-Resource-Policy": (TEXT, "cross-origin", "Lets pages with an embedder policy load it."),
}
CACHED = ("Cache-Control", "ETag")
LIMITED = ("RateLimit-Policy", "RateLimit")
OPTIONAL = LIMITED  # a tenant may have no limits
HEADERS_OF_STATUS = {401: ["WWW-Authenticate"], 405: ["Allow"], 429: ["Retry-After", *LIMITED], 503: ["Retry-After"]}

# Errors, by what has them

EVERYTHING = (ServiceError, errors.BadRequest, errors.HeadTooLarge)
DATABASE = (*EVERYTHING, errors.DatabaseUnavailable)
ORIGIN = (errors.OriginNotAllowed, errors.ProofInvalid, errors.SecretKeyRequired, errors.SecretKeyInBrowser)
USER = (errors.UserTokenMissing, errors.UserTokenInvalid, errors.UserTokenExpired)
KEY = (*DATABASE, errors.KeyMissing, errors.KeyInvalid, *ORIGIN, *USER)
BODY = (
    *KEY,
    errors.RequestTimeout,
    errors.MalformedJSON,
    errors.BodyTooLarge,
    errors.UnsupportedMediaType,
    errors.ValidationFailed,
)
LIMITS = (
    errors.RateLimited,
    errors.VisitorRateLimited,
    errors.TooManyAnswers,
    errors.BudgetReserved,
    errors.BudgetExhausted,
    errors.Overloaded,
    errors.Restarting,
)
UPSTREAM = (
    errors.UpstreamFailed,
    errors.UpstreamInterrupted,
    errors.UpstreamTimeout,
    errors.InvalidAnswer,
    errors.Busy,
    errors.ProviderOverloaded,
    errors.QuestionTooLong,
    errors.QuestionFiltered,
)
IN_STREAM = (
    *UPSTREAM,
    errors.EmptyAnswer,
    errors.AnswerTooLong,
    errors.MessageUnknown,
    errors.Restarting,
    errors.Interrupted,
    ServiceError,
)

VISITOR = (("ApiKey", "UserToken"),)
ANYONE = (("ApiKey",), *VISITOR)
OPERATOR = (("MetricsToken",),)
USER_TOKEN = "A JWT that the tenant's backend has signed."


class Operation(NamedTuple):
    """`content` is a model, for JSON, or another media type; without it the answer is 204."""

    route: str
    name: str
    tag: str
    summary: str
    answer: str
    content: type[BaseModel] | str | None = None
    errors: tuple[type[ServiceError], ...] = EVERYTHING
    body: type[BaseModel] | None = None
    parameters: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    security: tuple[tuple[str, ...], ...] = ()  # the ways to be let in, each with all that it needs
    also: dict[str, str] = {}  # responses beside these, by status


OPERATIONS = (
    Operation(
        "POST /api/v1/chat",
        "chat",
        "Chat",
        "Ask a question",
        "The answer, as it is written: `start`, any number of `message`, `sources` if it cites any, then exactly "
        "one of `done` or `error`. "
        "Comment lines (`: ping`) keep the connection alive.",
        content=STREAM,
        errors=(
            *(*BODY, *LIMITS, *UPSTREAM),
            *(errors.ConversationUnknown, errors.MessageUnknown, errors.MessageIdTaken, errors.ConversationChanged),
        ),
        body=schema.ChatRequest,
        parameters=("Last-Event-ID",),
        headers=("Cache-Control", "X-Accel-Buffering", *LIMITED),
        security=ANYONE,
    ),
    Operation(
        "GET /api/v1/conversations",
        "listConversations",
        "Chat",
        "List a visitor's conversations",
        "Those of the visitor whom `X-User-Token` names, the last used first.",
        content=schema.ConversationList,
        errors=KEY,
        headers=("Cache-Control",),
        security=VISITOR,
    ),
    Operation(
        "GET /api/v1/conversations/{conversation_id}",
        "readConversation",
        "Chat",
        "Read a conversation",
        "Its turns, for restoring a window after a reload.",
        content=schema.Conversation,
        errors=(*KEY, errors.ConversationUnknown),
        parameters=("conversation_id",),
        headers=("Cache-Control",),
        security=ANYONE,
    ),
    Operation(
        "DELETE /api/v1/conversations/{conversation_id}",
        "forgetConversation",
        "Chat",
        "Forget a conversation",
        "It is deleted, with all that was said in it.",
        errors=(*KEY, errors.ConversationUnknown),
        parameters=("conversation_id",),
        security=ANYONE,
    ),
    Operation(
        "POST /api/v1/messages/{message_id}/stop",
        "stopAnswer",
        "Chat",
        "Stop an answer",
        "It is stopped, or had ended already.",
        errors=(*KEY, errors.MessageUnknown),
        parameters=("message_id",),
        security=ANYONE,
    ),
    Operation(
        "POST /api/v1/messages/{message_id}/feedback",
        "rateAnswer",
        "Chat",
        "Rate an answer",
        "The rating is kept, in place of an earlier one.",
        errors=(*BODY, errors.MessageUnknown),
        body=schema.FeedbackRequest,
        parameters=("message_id",),
        security=ANYONE,
    ),
    Operation(
        "GET /api/v1/health",
        "health",
        "Operation",
        "Is the process alive?",
        "It is. No dependency was checked.",
        content=schema.Health,
    ),
    Operation(
        "GET /api/v1/ready",
        "ready",
        "Operation",
        "Can it serve?",
        "Its database answers and it is not shutting down.",
        content=schema.Ready,
        errors=(*DATABASE, errors.Restarting),
    ),
    Operation(
        "GET /metrics",
        "metrics",
        "Operation",
        "Metrics for Prometheus",
        "Text format 0.0.4. While METRICS_TOKEN is not set, no token is right.",
        content="text/plain",
        errors=(*EVERYTHING, errors.MetricsTokenWrong),
        security=OPERATOR,
    ),
    Operation(
        "GET /docs",
        "docs",
        "Operation",
        "This document, to try out",
        "A page that loads nothing from another host.",
        content=HTML,
        parameters=("If-None-Match",),
        headers=(*CACHED, "Content-Security-Policy"),
        also={"304": "NotModified"},
    ),
    Operation(
        "GET /openapi.json",
        "document",
        "Operation",
        "This document",
        "OpenAPI 3.1, made for the settings in force.",
        content=JSON,
        parameters=("If-None-Match",),
        headers=CACHED,
        also={"304": "NotModified"},
    ),
    Operation(
        "GET /widget.js",
        "loader",
        "Widget",
        "What the script tag loads",
        "One classic script.",
        content="text/javascript",
        parameters=("If-None-Match",),
        headers=CACHED,
        also={"304": "NotModified"},
    ),
    Operation(
        "GET /widget.mjs",
        "module",
        "Widget",
        "The loader for applications",
        "An ES module with `mount(config)`, which does what the script tag does.",
        content="text/javascript",
        parameters=("If-None-Match",),
        headers=CACHED,
        also={"304": "NotModified"},
    ),
    Operation(
        "GET /widget.d.ts",
        "types",
        "Widget",
        "The types of the widget",
        "TypeScript declarations of `window.A4ChatWidget`, its configuration and its events.",
        content="text/plain",
        parameters=("If-None-Match",),
        headers=CACHED,
        also={"304": "NotModified"},
    ),
    Operation(
        "GET /widget.html",
        "frame",
        "Widget",
        "The page in the iframe",
        "A page that only the tenant's own pages may frame.",
        content=HTML,
        errors=DATABASE,
        parameters=("id", "If-None-Match"),
        headers=(
            *CACHED,
            "Content-Security-Policy",
            "Cross-Origin-Embedder-Policy",
            "Cross-Origin-Resource-Policy",
            "X-Widget-Proof",
        ),
        also={"304": "NotModified", "404": "UnknownWidget"},
    ),
    Operation(
        "GET /assets/{path}",
        "asset",
        "Widget",
        "What the pages load",
        "A file that never changes under this name, packed (br, gzip) where `Accept-Encoding` has it.",
        content="*/*",
        errors=(*EVERYTHING, errors.NotFound),
        parameters=("path", "If-None-Match"),
        headers=CACHED,
        also={"304": "NotModified"},
    ),
    *(
        Operation(
            f"GET {path}",
            name,
            "Widget",
            summary,
            f"{answer}, while no provider is set.",
            content=HTML,
            errors=(*EVERYTHING, errors.NotFound),
            parameters=("If-None-Match",),
            headers=(*CACHED, "Content-Security-Policy"),
            also={"304": "NotModified"},
        )
        for path, name, summary, answer in (
            ("/", "demonstration", "The demonstration page", "A page with the widget on it"),
            ("/studio", "studio", "The studio", "A page to try how a widget could look, and to copy its snippet"),
            ("/studio/preview", "preview", "The studio's preview", "The website in the studio's frame"),
        )
    ),
)


def openapi(*, version: str, max_message_chars: int, max_body_bytes: int) -> dict[str, Any]:
    """The document, with these limits in it."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        method, path = operation.route.split()
        paths.setdefault(path, {})[method.lower()] = _operation(operation, max_body_bytes)
    return {
        "openapi": "3.1.0",
        "info": {"title": "AI chat", "version": version, "description": DESCRIPTION},
        "paths": paths,
        "components": {
            "securitySchemes": {
                "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
                "UserToken": {"type": "apiKey", "in": "header", "name": "X-User-Token", "description": USER_TOKEN},
                "MetricsToken": {"type": "http", "scheme": "bearer", "description": "METRICS_TOKEN of the settings."},
            },
            "schemas": _schemas(max_message_chars),
            "parameters": {name: _parameter(name, *PARAMETERS[name]) for name in PARAMETERS},
            "headers": {name: _header(*HEADERS[name], required=name not in OPTIONAL) for name in HEADERS},
            "responses": {
                "MethodNotAllowed": _problems([errors.MethodNotAllowed]),
                "NotModified": {"description": "The client has this version already.", "headers": _headers("ETag")},
                "UnknownWidget": {
                    "description": "A line for whoever set the page up.",
                    "headers": _headers("Content-Security-Policy"),
                    "content": {"text/plain": {"schema": TEXT, "example": "There is no such widget."}},
                },
            },
        },
    }


def _operation(operation: Operation, max_body_bytes: int) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary,
        "parameters": [_ref("parameters", name) for name in operation.parameters],
        "responses": _responses(operation),
    }
    if operation.body:
        document["requestBody"] = {
            "required": True,
            "description": f"At most {max_body_bytes} bytes.",
            "content": {JSON: {"schema": _ref("schemas", operation.body.__name__)}},
        }
    if operation.security:
        document["security"] = [{name: [] for name in way} for way in operation.security]
    return document


def _responses(operation: Operation) -> dict[str, Any]:
    success = {"description": operation.answer, "headers": _headers(*operation.headers)}
    by_status: dict[int, list[type[ServiceError]]] = {}
    for error in sorted(operation.errors, key=lambda error: error.status_code):
        by_status.setdefault(error.status_code, []).append(error)
    return {
        "200" if operation.content else "204": success | _content(operation.content),
        **{str(status): _problems(of_status) for status, of_status in by_status.items()},
        **{status: _ref("responses", name) for status, name in operation.also.items()},
    }


def _content(content: type[BaseModel] | str | None) -> dict[str, Any]:
    if content is None:
        return {}
    if isinstance(content, str):
        shape, examples = MEDIA_TYPES[content]
        return {"content": {content: {"schema": shape, "examples": _examples(examples)}}}
    return {"content": {JSON: {"schema": _ref("schemas", content.__name__)}}}


def _problems(of_status: list[type[ServiceError]]) -> dict[str, Any]:
    """The response for errors that share a status."""
    status = HTTPStatus(of_status[0].status_code)
    examples = _examples({error.code: _plain(schema.problem_of(_raised(error))) for error in of_status})
    return {
        "description": status.phrase,
        "headers": _headers(*HEADERS_OF_STATUS.get(status, ())),
        "content": {"application/problem+json": {"schema": _ref("schemas", "Problem"), "examples": examples}},
    }


def _raised(error: type[ServiceError]) -> ServiceError:
    if error is errors.ValidationFailed:
        return errors.ValidationFailed([(FIELD_ERROR.field, FIELD_ERROR.message)])
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
    """Without the titles that repeat the fields' names, and without null as a default for what is left out."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        made = super().default_schema(schema)
        return made if made.get("default") is not None else {key: made[key] for key in made if key != "default"}


def _schemas(max_message_chars: int) -> dict[str, Any]:
    models = dict.fromkeys(type(example) for example in EXAMPLES)
    _, made = models_json_schema(
        [(model, "validation" if issubclass(model, schema.Incoming) else "serialization") for model in models],
        ref_template="#/components/schemas/{model}",
        schema_generator=_Schemas,
    )
    schemas: dict[str, Any] = made["$defs"]
    for example in EXAMPLES:
        schemas[type(example).__name__].setdefault("examples", []).append(_plain(example))
    schemas["ChatRequest"]["properties"]["message"]["maxLength"] = max_message_chars
    schemas["ErrorEvent"]["properties"]["code"]["examples"] = [error.code for error in IN_STREAM]
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


def _plain(model: BaseModel) -> Any:
    """As it goes over the wire; of a request only what is worth sending."""
    return model.model_dump(mode="json", exclude_unset=isinstance(model, schema.Incoming))
