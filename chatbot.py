"""The chat service: authenticates a tenant's key, asks an OpenAI-compatible endpoint and streams its answer.

    POST   /api/v1/chat                         ask a question; the answer is a stream of Server-Sent Events
    GET    /api/v1/conversations                the conversations of a visitor with a signed token
    GET    /api/v1/conversations/{id}           the turns of a conversation
    DELETE /api/v1/conversations/{id}           delete a conversation
    POST   /api/v1/conversations/{id}/handoff   send a conversation to the site's owner
    POST   /api/v1/messages/{id}/stop           stop an answer
    POST   /api/v1/messages/{id}/feedback       rate an answer
    GET    /api/v1/health, /api/v1/ready        health checks; /metrics, behind METRICS_TOKEN
    GET    /widget.js, /widget.html, /assets/*  the widget's files; /docs and /openapi.json for developers
    GET    /widget.mjs, /widget.d.ts            the widget's ES module for applications, and its types
    GET    /, /studio, /studio/...              the owner's pages, behind STUDIO_TOKEN; see service/web/owner/

Limits: a question has at most MAX_MESSAGE_CHARS characters and a request body MAX_BODY_BYTES bytes. A process writes at
most MAX_STREAMS answers at a time. An answer takes at most ANSWER_TIMEOUT seconds, and continues for RESUME_SECONDS
without a reader.

`chat` handles a question, from top to bottom. All checks finish before the first byte of the answer, and so does an
upstream's refusal if it arrives within two seconds.
"""

import asyncio
import sys
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from socket import socket
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from service import errors, schema
from service.access.keys import Caller
from service.access.limits import Limits, answer_cap, most_readers
from service.access.user_tokens import system_message
from service.answers.answer import Answer
from service.logs import configure_logging
from service.settings import Settings, load_settings
from service.store import records
from service.store.store import open_store
from service.store.turns import is_repeat
from service.upstream.caller import Ids, trace_headers
from service.upstream.endpoint import Endpoint
from service.upstream.prompt import Prompt, with_facts
from service.upstream.quirks import Question
from service.web.answer_stream import EXAMPLES, AnswerStream
from service.web.connections import DISCONNECTION
from service.web.conversations import conversation, conversations, feedback, stop
from service.web.edge import API, EdgeMiddleware, preflight
from service.web.handoff import handoff
from service.web.lifespan import run_service
from service.web.listening import bind
from service.web.openapi import ANYONE, LIMITED, STREAM, operation
from service.web.operations import docs, health, metrics, openapi_json, ready
from service.web.owner.routes import owner_routes
from service.web.pages import asset, loader, widget_html
from service.web.probe import is_probe, probe_response
from service.web.problems import exception_handlers
from service.web.requests import authenticate, exchange_of, read_body, resume_position, service_of
from service.web.server import Server, make_server
from service.web.start import report_failure
from service.web.workers import run_workers

__all__ = ["Settings", "create_app"]

REFUSAL_SECONDS = 2.0  # for an upstream to refuse a question before the stream of its answer begins


@operation(
    "POST",
    "chat",
    "Ask a question",
    "Streams the answer: `start`, any number of `message`, `sources` if there are any, then exactly one of `done` or "
    "`error`. Comment lines (`: ping`) keep the connection alive.",
    content=STREAM,
    examples=EXAMPLES,
    body=schema.ChatRequest,
    parameters=("Last-Event-ID",),
    headers=("Cache-Control", "X-Accel-Buffering", *LIMITED),
    security=ANYONE,
    errors=(
        *errors.AUTHENTICATION,
        *errors.BODY,
        *errors.LIMITS,
        *errors.UPSTREAM,
        errors.ConversationUnknown,
        errors.MessageUnknown,
        errors.MessageIdTaken,
        errors.ConversationChanged,
    ),
)
async def chat(request: Request) -> Response:
    """Answer a question with a stream of events; see `schema.py`."""
    service = service_of(request)
    if not request.headers.get("last-event-id"):  # a reader may always resume
        service.lag.check()
    caller = await authenticate(request)
    if is_probe(request, caller):
        return probe_response(request)
    question = await read_body(request, schema.ChatRequest)
    position = resume_position(request)
    after = position if question.message_id else 0  # a question without an id is always new
    answer = await _find_or_begin(request, caller, question, after)
    service.answers.join(answer, most_readers(caller.tenant))
    exchange_of(request).has_answer = True
    disconnected = _disconnection(request)
    try:
        is_connected = await _wait_until_opened(
            answer, disconnected, min(REFUSAL_SECONDS, service.settings.ping_seconds)
        )
        if not answer.accepted and isinstance(answer.ending, errors.ServiceError):
            raise answer.ending
    except BaseException:
        disconnected.cancel()
        service.answers.leave(answer)
        raise
    if not is_connected:
        service.answers.leave(answer)
        return Response(status_code=499)
    return AnswerStream(service, answer, after, disconnected)


async def _find_or_begin(request: Request, caller: Caller, question: schema.ChatRequest, after: int) -> Answer:
    """The answer to a question: a new one, or the existing one for a known message_id.

    A reader that resumes after `after` characters never gets the rest of a different answer, even if the original one
    has been deleted.
    """
    service = service_of(request)
    with ExitStack() as stack:
        try:
            if after:
                raise errors.MessageUnknown("the answer to resume was deleted")
            stack.enter_context(service.answers.reserved_slot())
            endpoint = service.endpoint_of(caller.tenant)
            service.upstream.circuits.of(endpoint).check()
        except errors.ServiceError:
            existing = await _find(request, caller, question)  # an existing answer can be resumed all the same
            if existing is None:
                raise
            return existing
        return await _begin(request, caller, question, endpoint)


async def _find(request: Request, caller: Caller, question: schema.ChatRequest) -> Answer | None:
    """The existing answer for a message_id."""
    service = service_of(request)
    if not question.message_id:
        return None
    existing = await service.store.find_turn(caller.tenant.id, question.message_id, caller.subject)
    if existing is None or await service.answers.was_withdrawn(existing.id):
        return None
    if not is_repeat(existing, question.conversation_id, question.message):
        raise errors.MessageIdTaken("the message_id belongs to another question")
    service.reads.count(caller.tenant, exchange_of(request).address)
    return service.answers.answer_of(existing)


async def _begin(request: Request, caller: Caller, question: schema.ChatRequest, endpoint: Endpoint) -> Answer:
    """Begin the turn and ask the upstream, unless an identical request has already begun it."""
    limits = exchange_of(request).limits = Limits(caller, exchange_of(request).address)
    service, settings, tenant = service_of(request), service_of(request).settings, caller.tenant
    message_id = question.message_id or uuid.uuid4()
    model = tenant.model or settings.openai_model
    system_prompt = system_message(tenant.system_prompt or settings.system_prompt, caller.identity)
    prompt = Prompt(system_prompt, with_facts(question.message, question.context))
    writer = service.store.new_writer()
    try:
        with limits.refusals():
            start = await service.store.begin_turn(
                tenant.id,
                message_id,
                conversation_id=question.conversation_id,
                question=question.message,
                regenerate=question.regenerate or question.replaces is not None,
                replaces=question.replaces,
                model=model,
                writer=writer,
                subject=caller.subject,
                limits=limits.turn_limits(settings, prompt.messages()),
                quotas=limits.quotas,
            )
    except records.ConversationNotFound:
        raise errors.ConversationUnknown("no such conversation") from None
    except records.ConversationChanged:
        raise errors.ConversationChanged("the last turn is not the one to replace") from None
    except records.MessageIdTaken:
        raise errors.MessageIdTaken("the message_id belongs to another question") from None
    limits.note(start.quota_states)
    if not start.is_new:
        if await service.answers.was_withdrawn(message_id):
            return await _begin(request, caller, question, endpoint)
        exchange_of(request).limits = None
        service.reads.count(tenant, exchange_of(request).address)
        return service.answers.answer_of(start.turn)
    answer = Answer(start.turn.conversation_id, message_id)
    prompt = replace(prompt, history=tuple((turn.question, turn.answer) for turn in start.history))
    upstream_question = Question(model, prompt, tenant.temperature, answer_cap(settings, tenant.max_answer_tokens))
    headers = trace_headers(request.headers.getlist("traceparent"))
    if tenant.tell_upstream:
        headers |= Ids(answer.conversation_id, message_id, exchange_of(request).request_id, caller.subject).headers()
    call = service.upstream.call(endpoint, upstream_question, answer, headers)
    usage = exchange_of(request).usage_row(
        "running",
        conversation_id=answer.conversation_id,
        message_id=message_id,
        model=model,
        claims=caller.identity.claims if caller.identity else None,
        reservation=start.reservation,
    )
    service.answers.start(answer, call, start.turn.number, writer, usage, tenant.name, exchange_of(request).began)
    return answer


async def _wait_until_opened(answer: Answer, disconnected: asyncio.Future[None], seconds: float) -> bool:
    """Wait briefly for the upstream to accept or refuse the question. Returns False if the visitor left before.

    After that the stream begins anyway, so that a proxy receives pings; a refusal is then its last event.
    """
    if not answer.opened.done():
        await asyncio.wait([answer.opened, disconnected], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return answer.opened.done() or not disconnected.done()


def _disconnection(request: Request) -> asyncio.Future[None]:
    """A future that is done once the visitor has left. Our own server has one, which costs less than a task."""
    watch: Callable[[], asyncio.Future[None]] | None = request.scope.get("extensions", {}).get(DISCONNECTION)
    return watch() if watch else asyncio.create_task(_wait_for_disconnect(request))


async def _wait_for_disconnect(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


# The app

api_routes = [
    Route(f"{API}/chat", chat, methods=["POST"]),
    Route(f"{API}/conversations", conversations, methods=["GET"]),
    Route(f"{API}/conversations/{{conversation_id}}", conversation, methods=["GET", "DELETE"]),
    Route(f"{API}/conversations/{{conversation_id}}/handoff", handoff, methods=["POST"]),
    Route(f"{API}/messages/{{message_id}}/stop", stop, methods=["POST"]),
    Route(f"{API}/messages/{{message_id}}/feedback", feedback, methods=["POST"]),
]
routes = [
    *api_routes,
    *(Route(route.path, preflight, methods=["OPTIONS"]) for route in api_routes),
    Route(f"{API}/health", health),
    Route(f"{API}/ready", ready),
    Route("/metrics", metrics),
    *(Route(f"/widget.{ending}", loader) for ending in ("js", "mjs", "d.ts")),
    Route("/widget.html", widget_html),
    Route("/assets/{path:path}", asset),
    Route("/docs", docs),
    Route("/openapi.json", openapi_json),
    *owner_routes,
]


def create_app(settings: Settings | None = None) -> Starlette:
    """The ASGI app, by default with the settings from the environment. Raises pydantic's ValidationError."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with run_service(chosen) as service:
            app.state.service = service
            yield {"service": service}

    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(EdgeMiddleware, max_body_bytes=chosen.max_body_bytes),
            Middleware(RequestBodyLimitMiddleware, max_body_size=chosen.max_body_bytes),
        ],
        exception_handlers=exception_handlers,
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def __getattr__(name: str) -> Starlette:
    """`app`, for `uvicorn chatbot:app`: created on first use, so that importing this module reads no environment."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = globals()["app"] = create_app()
    return app


def main() -> int:
    """Serve until SIGTERM or SIGINT. Returns 2 for an invalid setting, 1 if what it needs cannot be used."""
    try:
        settings = load_settings()
    except ValueError as error:
        report_failure(str(error))
        return 2
    configure_logging(settings.log_format)
    try:
        asyncio.run(_make_tables(settings))
    except records.StoreError as error:
        report_failure(f"DATABASE_URL: {error}")
        return 1
    try:
        sockets = bind(settings.host, settings.port)
    except OSError as error:
        place = f"{settings.host}, port {settings.port}"
        report_failure(f"HOST, PORT: cannot listen on {place}: {error.strerror}")
        return 1
    if settings.workers == 1:
        _server(settings, sockets).run()
        return 0
    try:
        directory = tempfile.TemporaryDirectory(prefix="chatbot-metrics-")
    except OSError as error:
        for listening in sockets:
            listening.close()
        report_failure(f"WORKERS: their metrics need a directory for temporary files (TMPDIR): {error.strerror}")
        return 1
    with directory as metrics:
        return 0 if run_workers(settings.workers, partial(_server, settings), sockets, metrics) else 1


def _server(settings: Settings, sockets: list[socket]) -> Server:
    configure_logging(settings.log_format)  # again, because a worker is a new process
    return make_server(create_app(settings), settings, sockets)


async def _make_tables(settings: Settings) -> None:
    """Create the tables before anything else, so that an unusable database is reported in one clear line."""
    async with open_store(settings.database_url) as store:
        await store.ping()


if __name__ == "__main__":
    sys.exit(main())
