"""The chat service: checks a tenant's key, asks an OpenAI-compatible endpoint and relays its answer as it comes.

    POST   /api/v1/chat                     a question; the answer as Server-Sent Events
    GET    /api/v1/conversations            the conversations of a visitor with a signed token
    GET    /api/v1/conversations/{id}       the turns of a conversation
    DELETE /api/v1/conversations/{id}       forget it
    POST   /api/v1/messages/{id}/stop       stop an answer
    POST   /api/v1/messages/{id}/feedback   rate an answer
    GET    /api/v1/health, /api/v1/ready    for whoever runs it; /metrics behind METRICS_TOKEN
    GET    /widget.js, /widget.html, /assets/*   what the browser loads; /docs and /openapi.json for developers
    GET    /widget.mjs, /widget.d.ts        the same for applications, and its types
    GET    /, /studio                       the demonstration page and the studio, without a provider's key

Its limits: one question has at most MAX_MESSAGE_CHARS characters and one body MAX_BODY_BYTES bytes; MAX_STREAMS
answers are written at a time; an answer takes at most ANSWER_TIMEOUT seconds and goes on for RESUME_SECONDS without a
reader. The way of a question is `chat`, from top to bottom: every check comes before the first byte of the answer.
"""

import asyncio
import hmac
import html
import json
import logging
import re
import sys
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import anyio
import httpx
import uvicorn
from pydantic import BaseModel, ValidationError
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

import demo
import errors
import schema
from answers import Answer, Answers
from assets import Asset, asset_of, etag_of, load_assets
from identity import Identity, system_message, verify
from ledger import Ledger
from limits import Limits, answer_cap
from logs import configure_logging
from metrics import Metrics
from openapi import openapi as openapi_document
from origins import frame_ancestors, origin_matches
from settings import Settings, explain
from store import (
    Access,
    ConversationNotFound,
    Store,
    StoreError,
    StoreUnavailable,
    Tenant,
    Turn,
    UsageRow,
    is_repeat,
    visitor_id,
)
from store import MessageIdTaken as MessageIdBelongsToAnother
from upstream import Call, Circuits, Endpoint, Finish, answer_options, endpoint, question_body

VERSION = "0.1.0"
STATIC = Path(__file__).with_name("static")
API = "/api/v1"
SWEEP_SECONDS = 3600
ABORT = "chatbot.abort"
# httpcore compares this with all its connections, busy ones too: above it none is used again. And it looks through the
# idle ones in a time that grows with their square.
KEEPALIVE_CONNECTIONS = 100

log = logging.getLogger("chatbot")


# What the lifespan holds


@dataclass(slots=True)
class Service:
    """What the endpoints share; `request.state.service`."""

    settings: Settings
    store: Store
    client: httpx.AsyncClient
    fresh_client: httpx.AsyncClient  # every request of it has a connection of its own
    circuits: Circuits
    answers: Answers
    assets: dict[str, Asset]
    metrics: Metrics
    ledger: Ledger
    shutdown: anyio.Event  # set on SIGTERM, by `Server` or by sse-starlette
    drained: anyio.Event  # no answer is under way any more, and none begins
    demonstration: demo.Demonstration | None


@asynccontextmanager
async def _serve(settings: Settings) -> AsyncIterator[Service]:
    store = Store(settings.database_url)
    mounts = {demo.ORIGIN: demo.DemonstrationTransport()} if settings.demonstration else None
    limits = httpx.Limits(max_connections=settings.max_streams, max_keepalive_connections=KEEPALIVE_CONNECTIONS)
    fresh = httpx.Limits(max_connections=settings.max_streams, max_keepalive_connections=0)
    timeout = httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout, pool=settings.connect_timeout)
    metrics = Metrics()
    answers = Answers(store, metrics, max_streams=settings.max_streams, resume_seconds=settings.resume_seconds)
    metrics.open_answers.set_function(lambda: len(answers))
    async with (
        httpx.AsyncClient(mounts=mounts, limits=limits, timeout=timeout, trust_env=False) as client,
        httpx.AsyncClient(mounts=mounts, limits=fresh, timeout=timeout, trust_env=False) as fresh_client,
        _closing(store),
    ):
        await store.migrate()
        service = Service(
            settings=settings,
            store=store,
            client=client,
            fresh_client=fresh_client,
            circuits=Circuits(),
            answers=answers,
            assets=load_assets(STATIC) | {"openapi.json": asset_of("openapi.json", _openapi(settings))},
            metrics=metrics,
            ledger=Ledger(store),
            shutdown=anyio.Event(),
            drained=anyio.Event(),
            demonstration=await demo.set_up(store, wanted=settings.demonstration),
        )
        closing = asyncio.Event()
        draining = asyncio.create_task(_drain_on_shutdown(service))
        keeping = asyncio.create_task(answers.keep(closing))
        sweeping = asyncio.create_task(_sweep(service, closing))
        booking = asyncio.create_task(service.ledger.keep(closing))
        try:
            yield service
        finally:
            draining.cancel()
            if not service.drained.is_set():
                await answers.drain(0)
            closing.set()
            await asyncio.wait([draining, keeping, sweeping, booking])


@asynccontextmanager
async def _closing(store: Store) -> AsyncIterator[Store]:
    try:
        yield store
    finally:
        await store.close()


async def _drain_on_shutdown(service: Service) -> None:
    await service.shutdown.wait()
    log.info("draining", extra={"answers": len(service.answers)})
    await service.answers.drain(service.settings.drain_seconds)
    service.drained.set()


async def _sweep(service: Service, closing: asyncio.Event) -> None:
    """Forget the conversations that RETENTION_DAYS have passed over, and keep but sums of the usage; 0 keeps all."""
    days = service.settings.retention_days
    while days and not closing.is_set():
        try:
            before = datetime.now(UTC) - timedelta(days=days)
            while not closing.is_set() and (conversations := await service.store.purge_some(before)):
                log.info("purged", extra={"conversations": conversations})
            while not closing.is_set() and (rows := await service.store.sum_up_usage(before)):
                log.info("usage summed up", extra={"rows": rows})
            await service.store.purge_counters()
        except StoreError as error:
            log.warning("the purge failed", extra={"reason": str(error)})
        with suppress(TimeoutError):
            await asyncio.wait_for(closing.wait(), SWEEP_SECONDS)


def _service(request: Request) -> Service:
    service: Service = request.state.service
    return service


@dataclass(frozen=True, slots=True)
class Caller(Access):
    """What the key opens, and who asks if the tenant's backend says so."""

    identity: Identity | None

    @property
    def subject(self) -> str | None:
        return self.identity.subject if self.identity else None


# The chat


async def chat(request: Request) -> Response:
    """Answer a question as a stream of events; `schema.py` describes them."""
    service = _service(request)
    access = await _authenticate(request)
    question = await _read_body(request, schema.ChatRequest)
    after = _resume_position(request)
    answer = await _find_or_begin(request, access, question)
    request.state.taken_up = True
    service.answers.join(answer)
    try:
        visitor_is_there = await _opened(request, answer)
        if not answer.accepted and isinstance(answer.ending, errors.ServiceError):
            raise answer.ending
    except BaseException:
        service.answers.leave(answer)
        raise
    if not visitor_is_there:
        service.answers.leave(answer)
        return Response(status_code=499)
    return AnswerStream(service, answer, after)


async def _authenticate(request: Request) -> Caller:
    """Who asks, and whether from where they may.

    Raises KeyMissing, KeyInvalid, OriginNotAllowed, or UserTokenMissing and its kind.
    """
    given = request.headers.getlist("x-api-key")
    if not given:
        raise errors.KeyMissing("no key")
    if len(given) > 1:
        raise errors.BadRequest("X-API-Key was sent twice")
    access = await _service(request).store.find_access(given[0])
    if access is None:
        raise errors.KeyInvalid("the key is not valid")
    request.state.access = access
    _check_origin(request, access)
    caller = request.state.access = Caller(access.tenant, access.key, await _identify(request, access.tenant))
    return caller


def _check_origin(request: Request, access: Access) -> None:
    """A browser's page must be the service's own, as the widget's is, or one of the tenant's origins.

    Servers send no Origin; the secret key is for them, and never for a browser. Only browsers send Sec-Fetch-Site
    (W3C Fetch Metadata), which no page can set; a GET within one origin bears that and no Origin.
    """
    origins = request.headers.getlist("origin")
    site = request.headers.get("sec-fetch-site")
    if access.key.kind == "secret":
        if origins or site is not None:
            raise errors.SecretKeyInBrowser("a secret key came from a browser")
        return
    if not origins and site is None:
        raise errors.SecretKeyRequired("a public key without an Origin")
    if not origins:
        if site != "same-origin" or request.method not in ("GET", "HEAD"):
            raise errors.OriginNotAllowed("a browser's request without the Origin that it needs")
        return
    if origins == [_own_origin(request)]:
        return
    if len(origins) > 1 or not origin_matches(origins[0], access.tenant.origins):
        raise errors.OriginNotAllowed(f"the origin is not listed, and the service's own is {_own_origin(request)}")
    request.state.allowed_origin = origins[0]


def _own_origin(request: Request) -> str:
    """The address that the visitor's browser has for the service: no page can make it send another's as Host."""
    scheme = request.url.scheme
    default_port = {"http": ":80", "https": ":443"}.get(scheme, "")
    return f"{scheme}://{request.headers.get('host', '').lower().removesuffix(default_port)}"


async def _identify(request: Request, tenant: Tenant) -> Identity | None:
    """The visitor whom the tenant's backend has signed for. None without a token, where the tenant requires none."""
    tokens = request.headers.getlist("x-user-token")
    if not tokens:
        if tenant.require_identity:
            raise errors.UserTokenMissing("no user token")
        return None
    if len(tokens) > 1:
        raise errors.UserTokenInvalid("X-User-Token was sent twice")
    return verify(tokens[0], tenant, {tenant.name, *await _service(request).store.widget_ids(tenant.id)})


Body = TypeVar("Body", bound=schema.Incoming)


async def _read_body(request: Request, model: type[Body]) -> Body:
    """The body as a model. Raises UnsupportedMediaType, MalformedJSON or ValidationFailed."""
    content_types = request.headers.getlist("content-type")
    essence = content_types[0].partition(";")[0].strip().lower() if len(content_types) == 1 else None
    if essence != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
        raise errors.UnsupportedMediaType("not plain application/json")
    body = await request.body()
    try:
        limits = {"max_message_chars": _service(request).settings.max_message_chars}
        return model.model_validate_json(body, context=limits)
    except ValidationError as error:
        found = error.errors(include_url=False, include_context=False, include_input=False)
    if any(item["type"] == "json_invalid" for item in found):
        raise errors.MalformedJSON("not JSON")
    raise errors.ValidationFailed(
        [(".".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, ")) for item in found]
    )


def _resume_position(request: Request) -> int:
    """How many characters of the answer the reader has already (WHATWG HTML, section 9.2.4, Last-Event-ID)."""
    value = request.headers.get("last-event-id", "")
    if not re.fullmatch("[0-9]{0,9}", value):
        raise errors.BadRequest("a Last-Event-ID that is not ours", detail="Last-Event-ID must be the id of an event.")
    return int(value or 0)


async def _find_or_begin(request: Request, access: Caller, question: schema.ChatRequest) -> Answer:
    """The answer to a question: a new one, or for a message_id that is known already, the one that there is."""
    service = _service(request)
    message_id = question.message_id or uuid.uuid4()
    known = None
    if question.message_id:
        known = await service.store.find_turn(access.tenant.id, message_id, access.subject)
    if known is not None:
        if not is_repeat(known, question.conversation_id, question.message):
            raise errors.MessageIdTaken("the message_id belongs to another question")
        return service.answers.answer_of(known)
    with service.answers.room():
        target = _endpoint(service.settings, access.tenant)
        service.circuits.of(target).check()
        request.state.limits = Limits(service.store, access, _address(request))
        await request.state.limits.check()
        return await _begin(request, access, question, message_id, target)


def _endpoint(settings: Settings, tenant: Tenant) -> Endpoint:
    if settings.demonstration and not (tenant.openai_key_env or tenant.openai_base_url_env):
        return Endpoint(demo.BASE_URL, None)
    return endpoint(settings, tenant.openai_key_env, tenant.openai_base_url_env)


def _address(request: Request) -> str:
    """The visitor's; behind the proxies of FORWARDED_ALLOW_IPS, uvicorn has put the one that they tell here."""
    return request.client.host if request.client else ""


async def _begin(
    request: Request, access: Caller, question: schema.ChatRequest, message_id: uuid.UUID, target: Endpoint
) -> Answer:
    """Begin the turn and ask the upstream, unless somebody who sent the same request did so before."""
    service, tenant = _service(request), access.tenant
    limits: Limits = request.state.limits
    model = tenant.model or service.settings.openai_model
    system_prompt = system_message(tenant.system_prompt or service.settings.system_prompt, access.identity)
    ask = partial(question_body, model, system_prompt, question=question.message, page_facts=question.context)
    writer = uuid.uuid4().hex
    try:
        with limits.refusals():
            begun = await service.store.begin_turn(
                tenant.id,
                message_id,
                question.conversation_id,
                question.message,
                question.regenerate,
                model,
                writer,
                subject=access.subject,
                terms=limits.terms(service.settings, ask(history=[])["messages"]),
            )
    except ConversationNotFound:
        raise errors.ConversationUnknown("no such conversation") from None
    except MessageIdBelongsToAnother:
        raise errors.MessageIdTaken("the message_id belongs to another question") from None
    if not begun.begun:
        return service.answers.answer_of(begun.turn)
    answer = Answer(begun.turn.conversation_id, message_id)
    call = Call(
        client=service.client,
        fresh_client=service.fresh_client,
        url=target.url,
        headers=target.headers,
        body=ask(history=[(turn.question, turn.answer) for turn in begun.history])
        | answer_options(target, tenant.temperature, answer_cap(service.settings, tenant.max_answer_tokens)),
        settings=service.settings,
        circuit=service.circuits.of(target),
        opened=answer.accept,
        relay=answer.append,
    )
    usage = UsageRow(
        at=datetime.now(UTC),
        tenant_id=tenant.id,
        outcome="running",
        key_id=access.key.id,
        visitor=limits.visitor,
        conversation_id=answer.conversation_id,
        message_id=message_id,
        origin=request.headers.get("origin"),
        model=model,
        request_id=request.state.request_id,
        subject=access.subject,
        claims=access.identity.claims if access.identity else None,
        reservation=begun.reservation,
    )
    service.answers.start(answer, call, writer, usage)
    return answer


async def _opened(request: Request, answer: Answer) -> bool:
    """Wait until the upstream has accepted or refused the question. False when the visitor left before."""
    if not answer.opened.is_set():
        opened = asyncio.create_task(answer.opened.wait())
        gone = asyncio.create_task(_disconnected(request))
        try:
            await asyncio.wait([opened, gone], return_when=asyncio.FIRST_COMPLETED)
        finally:
            opened.cancel()
            gone.cancel()
    return answer.opened.is_set()


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


class AnswerStream(EventSourceResponse):
    """An answer as events, from a position on. Whatever ends it, the reader is counted out."""

    def __init__(self, service: Service, answer: Answer, after: int) -> None:
        self._events = _events(answer, after, service.settings.ping_seconds)
        self._leave = partial(service.answers.leave, answer)
        super().__init__(
            self._events,
            headers={"Cache-Control": "no-cache, no-store"},
            sep="\n",
            ping=0,  # `_events` pings, and only while nothing else is sent
            send_timeout=service.settings.send_timeout,
            shutdown_event=service.shutdown,
            shutdown_grace_period=service.settings.drain_seconds + 1,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        except SendTimeoutError:
            log.info("a reader was too slow", extra={"request_id": scope["state"]["request_id"]})
            abort = scope.get("extensions", {}).get(ABORT)
            if abort is not None:
                abort()  # closing would wait until the reader has read what is buffered for it
        finally:
            self._leave()
            await self._events.aclose()


async def _events(answer: Answer, after: int, ping_seconds: float) -> AsyncGenerator[ServerSentEvent, None]:
    """The events of an answer: `start`, its text as it comes, then exactly one of `done` or `error`."""
    yield _event("start", schema.StartEvent(conversation_id=answer.conversation_id, message_id=answer.message_id))
    position = after
    while True:
        if text := answer.text(position):
            position += len(text)
            yield _event("message", schema.MessageEvent(chunk=text), id=str(position))
        elif answer.ending is not None:
            yield _last_event(answer.ending)
            return
        elif not await answer.more(ping_seconds):
            yield ServerSentEvent(comment="ping", sep="\n")


def _last_event(ending: Finish | errors.ServiceError) -> ServerSentEvent:
    if isinstance(ending, errors.ServiceError):
        error = schema.ErrorEvent(code=ending.code, error=ending.detail)
        if ending.retry_after is not None:
            error.retry_after = ending.retry_after
        return _event("error", error)
    usage = schema.Usage(**asdict(ending.usage)) if ending.usage else None
    return _event("done", schema.DoneEvent(status=ending.status, usage=usage))


def _event(name: str, data: BaseModel, id: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(schema.to_json(data), event=name, id=id, sep="\n")


# The other endpoints of the API


async def conversations(request: Request) -> Response:
    """The conversations of a visitor with a signed token, wherever they were held."""
    access = await _authenticate(request)
    if access.subject is None:
        raise errors.UserTokenMissing("a list of conversations without a user token")
    found = await _service(request).store.conversations(access.tenant.id, access.subject, schema.MAX_LISTED)
    listed = [
        schema.ConversationSummary(id=one.id, title=_title(one.question), updated_at=one.updated_at) for one in found
    ]
    return _json(schema.ConversationList(conversations=listed))


def _title(question: str) -> str:
    title = " ".join(question.split())
    return title if len(title) <= schema.MAX_TITLE_CHARS else f"{title[: schema.MAX_TITLE_CHARS - 1]}…"


async def conversation(request: Request) -> Response:
    """The turns of a conversation, or, by DELETE, their end."""
    access = await _authenticate(request)
    store, tenant_id = _service(request).store, access.tenant.id
    conversation_id = _path_id(request, errors.ConversationUnknown)
    if request.method == "DELETE":
        if not await store.delete_conversation(tenant_id, conversation_id, access.subject):
            raise errors.ConversationUnknown("no such conversation")
        await _service(request).answers.forget(conversation_id)
        return Response(status_code=204)
    turns = await store.conversation(tenant_id, conversation_id, subject=access.subject)
    if turns is None:
        raise errors.ConversationUnknown("no such conversation")
    messages = [message for turn in turns for message in _messages_of(_service(request), turn)]
    return _json(schema.Conversation(conversation_id=conversation_id, messages=messages))


def _messages_of(service: Service, turn: Turn) -> list[schema.ConversationMessage]:
    under_way = service.answers.find(turn.id)
    question = schema.ConversationMessage(
        message_id=turn.id, role="user", content=turn.question, created_at=turn.created_at
    )
    answer = schema.ConversationMessage(
        message_id=turn.id,
        role="assistant",
        content=under_way.text() if under_way else turn.answer,
        created_at=turn.finished_at or turn.created_at,
        status=turn.status,
        code=turn.code,
    )
    return [question, answer]


async def stop(request: Request) -> Response:
    """Stop an answer. One that has ended already stays as it is."""
    access = await _authenticate(request)
    message_id = _path_id(request, errors.MessageUnknown)
    if await _service(request).store.find_turn(access.tenant.id, message_id, access.subject) is None:
        raise errors.MessageUnknown("no such message")
    await _service(request).answers.stop(message_id)
    return Response(status_code=204)


async def feedback(request: Request) -> Response:
    """Keep what a visitor thinks of an answer."""
    access = await _authenticate(request)
    message_id = _path_id(request, errors.MessageUnknown)
    given = await _read_body(request, schema.FeedbackRequest)
    if not await _service(request).store.rate_turn(
        access.tenant.id, message_id, given.rating, given.comment, access.subject
    ):
        raise errors.MessageUnknown("no such message")
    return Response(status_code=204)


def _path_id(request: Request, unknown: type[errors.NotFound]) -> uuid.UUID:
    text = request.path_params["id"]
    if not re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise unknown("not a UUID")
    return uuid.UUID(text)


async def health(request: Request) -> Response:
    """The process is alive."""
    return _json(schema.Health(status="ok"))


async def ready(request: Request) -> Response:
    """The process can take questions: its database works and it is not shutting down."""
    service = _service(request)
    if service.shutdown.is_set():
        raise errors.Restarting("draining", retry_after=1)
    await service.store.recent_ping()
    return _json(schema.Ready(status="ready"))


async def metrics(request: Request) -> Response:
    """Prometheus metrics, for whoever has METRICS_TOKEN; without one there are none."""
    token = _service(request).settings.metrics_token
    given = request.headers.get("authorization", "").removeprefix("Bearer ")
    if token is None or not hmac.compare_digest(given.encode(), token.get_secret_value().encode()):
        raise errors.MetricsTokenWrong("no token, or a wrong one")
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def preflight(request: Request) -> Response:
    """A CORS preflight (WHATWG Fetch). It bears no key, so any tenant's origin may ask; the request itself decides."""
    origins = request.headers.getlist("origin")
    if len(origins) != 1 or not origin_matches(origins[0], await _service(request).store.listed_origins()):
        raise errors.OriginNotAllowed("a preflight from an origin that no tenant lists")
    request.state.allowed_origin = origins[0]
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": "Content-Type, Last-Event-ID, X-API-Key, X-User-Token",
            "Access-Control-Max-Age": "600",
        },
    )


# What the browser loads

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'"
)
TRUSTED_TYPES = "require-trusted-types-for 'script'; trusted-types lit-html"
SHORT_CACHE = "public, max-age=300, stale-while-revalidate=86400"
ENDLESS_CACHE = "public, max-age=31536000, immutable"


async def loader(request: Request) -> Response:
    """The loader, which any page may load: as a script, as a module, and its types."""
    return _asset(request, request.url.path.removeprefix("/"), SHORT_CACHE)


async def asset(request: Request) -> Response:
    """A file whose name holds the hash of what is in it."""
    return _asset(request, f"assets/{request.path_params['path']}", ENDLESS_CACHE)


def _asset(request: Request, name: str, cache_control: str) -> Response:
    asset = _service(request).assets.get(name)
    if asset is None:
        raise errors.NotFound("no such file")
    headers = {
        "Cache-Control": cache_control,
        "ETag": asset.etag,
        "Vary": "Accept-Encoding",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }
    if _is_cached(request, asset.etag):
        return Response(status_code=304, headers=headers)
    body, coding = asset.encoded_for(request.headers.get("accept-encoding", ""))
    if coding:
        headers["Content-Encoding"] = coding
    return Response(body, media_type=asset.media_type, headers=headers)


async def widget_html(request: Request) -> Response:
    """The iframe's page, which only the tenant's own pages may frame."""
    found = await _service(request).store.find_widget(request.query_params.get("id", ""))
    if found is None:
        text = "There is no such widget. Check data-widget-id in the script tag."
        policy = "default-src 'none'; frame-ancestors 'none'"
        headers = {"Content-Security-Policy": policy, "X-Frame-Options": "DENY", "Cache-Control": "no-store"}
        return Response(text, 404, media_type="text/plain; charset=utf-8", headers=headers)
    widget, tenant = found
    facts = {"id": widget.id, "origins": tenant.origins, "settings": widget.settings}
    return _page(
        request,
        "widget.html",
        f"{_with_images(PAGE_POLICY, widget.settings)}; {TRUSTED_TYPES}; "
        f"frame-ancestors {frame_ancestors(tenant.origins)}",
        {"__A4_WIDGET__": json.dumps(facts, ensure_ascii=False)},
    )


def _with_images(policy: str, settings: dict[str, Any]) -> str:
    """The policy, with the tenant's own images allowed: these two addresses, not their hosts."""
    sources = [schema.image_source(settings.get(name)) for name in ("avatar", "icon")]
    images = " ".join(["img-src 'self' data:", *dict.fromkeys(source for source in sources if source)])
    return policy.replace("img-src 'self' data:", images)


async def home(request: Request) -> Response:
    """The demonstration page, in demonstration mode only."""
    policy = f"{PAGE_POLICY}; frame-ancestors 'none'"
    return _embedding_page(request, "demo.html", policy, _demonstration(request).home)


async def studio(request: Request) -> Response:
    """Where an owner tries how a widget could look, in demonstration mode only."""
    policy = f"{PAGE_POLICY}; require-trusted-types-for 'script'; trusted-types 'none'; frame-ancestors 'none'"
    return _embedding_page(request, "studio.html", policy, _demonstration(request).studio)


async def studio_preview(request: Request) -> Response:
    """The website in the studio's frame, with the widget on it."""
    policy = f"{PAGE_POLICY}; require-trusted-types-for 'script'; trusted-types a4-preview; frame-ancestors 'self'"
    return _embedding_page(request, "preview.html", policy, _demonstration(request).studio)


def _demonstration(request: Request) -> demo.Demonstration:
    demonstration = _service(request).demonstration
    if demonstration is None:
        raise errors.NotFound("a provider is set: there is no demonstration")
    return demonstration


def _embedding_page(request: Request, name: str, policy: str, embedded: demo.Embedded) -> Response:
    tokens = {"__A4_WIDGET_ID__": embedded.widget_id, "__A4_API_KEY__": embedded.api_key}
    return _page(request, name, policy, tokens)


async def docs(request: Request) -> Response:
    """Interactive documentation of the API."""
    return _page(request, "docs.html", f"{PAGE_POLICY}; frame-ancestors 'none'", {})


async def openapi_json(request: Request) -> Response:
    """The OpenAPI document."""
    return _asset(request, "openapi.json", "no-cache")


def _openapi(settings: Settings) -> bytes:
    document = openapi_document(
        version=VERSION, max_message_chars=settings.max_message_chars, max_body_bytes=settings.max_body_bytes
    )
    return json.dumps(document).encode()


def _page(request: Request, name: str, policy: str, tokens: dict[str, str]) -> Response:
    """A built page with its tokens filled in, escaped, and its policy."""
    page = _service(request).assets[name].body.decode()
    for token, value in tokens.items():
        page = page.replace(token, html.escape(value))
    body = page.encode()
    headers = {"Content-Security-Policy": policy, "Cache-Control": "no-cache", "ETag": etag_of(body)}
    if _is_cached(request, headers["ETag"]):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="text/html; charset=utf-8", headers=headers)


def _is_cached(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in (item.strip() for item in known.split(","))


def _json(model: BaseModel, status_code: int = 200) -> Response:
    headers = {"Cache-Control": "no-store"}
    return Response(schema.to_json(model), status_code, media_type="application/json", headers=headers)


# Errors


def _problem(request: Request, error: errors.ServiceError) -> Response:
    """An error as problem+json (RFC 9457)."""
    request.state.error = error
    problem = schema.Problem(
        type="about:blank",
        title=HTTPStatus(error.status_code).phrase,
        status=error.status_code,
        detail=error.detail,
        code=error.code,
    )
    if isinstance(error, errors.ValidationFailed):
        problem.errors = [schema.FieldError(field=field, message=message) for field, message in error.errors]
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.status_code == 401:
        headers["WWW-Authenticate"] = _challenge(error)
    return Response(schema.to_json(problem), error.status_code, headers, "application/problem+json")


def _challenge(error: errors.ServiceError) -> str:
    if isinstance(error, errors.MetricsTokenWrong):
        return "Bearer"
    return "UserToken" if isinstance(error, errors.UserTokenMissing) else "ApiKey"


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ServiceError)
    return _problem(request, error)


async def _on_store_error(request: Request, error: Exception) -> Response:
    if isinstance(error, StoreUnavailable):
        return _problem(request, errors.DatabaseUnavailable(str(error), retry_after=2))
    return _on_unexpected(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, a wrong method, a body over the limit."""
    assert isinstance(error, HTTPException)
    if error.status_code == 413:
        return _problem(request, errors.BodyTooLarge("the body was longer than it may be"))
    if error.status_code == 405:
        refusal = errors.MethodNotAllowed("no such method here")
        response = _problem(request, refusal)
        response.headers.update(error.headers or {})
        return response
    return _problem(request, errors.NotFound("no such path"))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


def _on_unexpected(request: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error, extra={"request_id": request.state.request_id})
    return _problem(request, errors.ServiceError(type(error).__name__))


class Edge:
    """What every request passes first and last: its id, its Host, its size, CORS, the log line and the counters."""

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        started = time.monotonic()
        request.state.request_id = _request_id(request.headers)
        status, has_begun = 500, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                _add_headers(request, MutableHeaders(scope=message))
            await send(message)

        try:
            refusal = self._refusal(request)
            app = _problem(request, refusal) if refusal else self._app
            await app(scope, receive, send_with_headers)
        except Exception as error:
            if has_begun:
                raise
            await _on_unexpected(request, error)(scope, receive, send_with_headers)
        finally:
            seconds = time.monotonic() - started
            _log_request(request, status, seconds)
            _record_refusal(request, seconds)

    def _refusal(self, request: Request) -> errors.ServiceError | None:
        hosts = request.headers.getlist("host")
        if len(hosts) > 1 or (not hosts and request.scope["http_version"] != "1.0"):
            return errors.BadRequest("no Host, or several")
        if hosts and not re.fullmatch(r"[A-Za-z0-9._\-\[\]:]+", hosts[0]):
            return errors.BadRequest("a malformed Host")
        length = request.headers.get("content-length", "")
        if re.fullmatch("[0-9]+", length) and int(length) > self._max_body_bytes:
            return errors.BodyTooLarge("the Content-Length is larger than it may be")
        return None


def _request_id(headers: Headers) -> str:
    """The proxy's id for the request, if it gave a sane one, or a new one."""
    given = headers.get("x-request-id", "")
    return given if re.fullmatch("[A-Za-z0-9_-]{8,64}", given) else uuid.uuid4().hex


def _add_headers(request: Request, headers: MutableHeaders) -> None:
    headers["X-Request-ID"] = request.state.request_id
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
    if request.url.path.startswith(API):
        headers.add_vary_header("Origin")
    limits: Limits | None = getattr(request.state, "limits", None)
    if limits is not None:
        headers.update(limits.headers())
    origin = getattr(request.state, "allowed_origin", None)
    if origin is not None:
        headers["Access-Control-Allow-Origin"] = origin
        headers["Access-Control-Expose-Headers"] = "X-Request-ID, Retry-After, RateLimit-Policy, RateLimit"


def _log_request(request: Request, status: int, seconds: float) -> None:
    """One line a request: its route, never its path or query, which may hold a key."""
    route = request.scope["route"].path if "route" in request.scope else "none"
    error: errors.ServiceError | None = getattr(request.state, "error", None)
    access = _access(request)
    service: Service | None = getattr(request.state, "service", None)
    if service is not None:
        service.metrics.requests.labels(route, status).inc()
    log.log(
        logging.ERROR if status == 500 else logging.WARNING if status > 500 else logging.INFO,
        "request",
        extra={
            "request_id": request.state.request_id,
            "method": request.method if request.method.isalpha() else "?",
            "route": route,
            "status": status,
            "tenant": access and access.tenant.name,
            "code": error and error.code,
            "reason": str(error) if error else None,
            "duration_ms": round(seconds * 1000),
        },
    )


def _record_refusal(request: Request, seconds: float) -> None:
    """A question that was not taken up stands in the books too."""
    error: errors.ServiceError | None = getattr(request.state, "error", None)
    is_question = request.method == "POST" and request.url.path == f"{API}/chat"
    if error is None or not is_question or hasattr(request.state, "taken_up"):
        return
    row = UsageRow(
        at=datetime.now(UTC),
        tenant_id=None,
        outcome=error.code,
        origin=request.headers.get("origin"),
        duration_ms=round(seconds * 1000),
        request_id=request.state.request_id,
        refused=True,
    )
    if (access := _access(request)) is not None:
        visitor = visitor_id(access.tenant, _address(request))
        row = replace(row, tenant_id=access.tenant.id, key_id=access.key.id, visitor=visitor, model=access.tenant.model)
    if isinstance(access, Caller):
        row = replace(row, subject=access.subject)
    _service(request).ledger.note(row)


def _access(request: Request) -> Access | None:
    """Who asks, as far as that is known."""
    access: Access | None = getattr(request.state, "access", None)
    return access


# The app

api_routes = [
    Route(f"{API}/chat", chat, methods=["POST"]),
    Route(f"{API}/conversations", conversations, methods=["GET"]),
    Route(f"{API}/conversations/{{id}}", conversation, methods=["GET", "DELETE"]),
    Route(f"{API}/messages/{{id}}/stop", stop, methods=["POST"]),
    Route(f"{API}/messages/{{id}}/feedback", feedback, methods=["POST"]),
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
    Route("/", home),
    Route("/studio", studio),
    Route("/studio/preview", studio_preview),
]


def create_app(settings: Settings | None = None) -> Starlette:
    """The ASGI app; without settings, those of the environment. Raises pydantic's ValidationError for wrong ones."""
    chosen = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
        async with _serve(chosen) as service:
            app.state.service = service
            yield {"service": service}

    app = Starlette(
        routes=routes,
        middleware=[
            Middleware(Edge, max_body_bytes=chosen.max_body_bytes),
            Middleware(RequestBodyLimitMiddleware, max_body_size=chosen.max_body_bytes),
        ],
        exception_handlers={
            errors.ServiceError: _on_service_error,
            StoreError: _on_store_error,
            HTTPException: _on_http_exception,
            ClientDisconnect: _on_disconnect,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def __getattr__(name: str) -> Starlette:
    """`app`, for `uvicorn chatbot:app`: made when it is asked for, so that importing this reads no environment."""
    if name == "app":
        return create_app()
    raise AttributeError(name)


class Protocol(HttpToolsProtocol):
    """uvicorn's, with a way for the application to break a connection off: `scope["extensions"][ABORT]()`."""

    def on_message_begin(self) -> None:
        super().on_message_begin()
        extensions: dict[str, Any] = {ABORT: self.transport.abort}
        self.scope["extensions"] = extensions


class Server(uvicorn.Server):
    """uvicorn, which on SIGTERM first lets the answers under way end, while /ready says 503 and none begins."""

    def __init__(self, config: uvicorn.Config, app: Starlette) -> None:
        super().__init__(config)
        self._app = app
        self._tasks: list[asyncio.Task[None]] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        service: Service | None = getattr(self._app.state, "service", None)
        if service is None or service.drained.is_set():
            super().handle_exit(sig, frame)
            return
        loop = asyncio.get_running_loop()
        if service.shutdown.is_set():  # whoever insists waits for no answer; each still gets its last event
            loop.call_soon_threadsafe(self._start, service.answers.drain(0))
        else:
            service.shutdown.set()
            loop.call_soon_threadsafe(self._start, self._leave(service, partial(super().handle_exit, sig, frame)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work))

    async def _leave(self, service: Service, leave: Callable[[], None]) -> None:
        await service.drained.wait()
        leave()


async def _prepare(settings: Settings) -> None:
    """Make the tables before anything else, so that a database that is not there is one clear line."""
    async with _closing(Store(settings.database_url)) as store:
        await store.migrate()


def main() -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code: 2 for a wrong setting, 1 without a usable database."""
    try:
        settings = Settings()
    except ValidationError as error:
        print(f"chatbot: {explain(error)}", file=sys.stderr)
        return 2
    configure_logging(settings.log_format)
    try:
        asyncio.run(_prepare(settings))
    except StoreError as error:
        print(f"chatbot: DATABASE_URL: {error}", file=sys.stderr)
        return 1
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=Protocol,
        loop="uvloop",
        log_config=None,
        access_log=False,
        server_header=False,
        forwarded_allow_ips=settings.forwarded_allow_ips,
        timeout_graceful_shutdown=2,
    )
    Server(config, app).run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
