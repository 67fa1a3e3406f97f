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
import logging
import re
import sys
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import demonstration, errors, schema
from service.access.keys import (
    Caller,
    Sender,
    check_preflight,
    check_sender,
    find_access,
    identify,
    page_origin,
    renew_proof,
)
from service.access.limits import Limits, answer_cap, most_readers
from service.access.proofs import make_proof
from service.access.user_tokens import system_message
from service.answers.register import Answer
from service.logs import configure_logging
from service.settings import Settings, load_settings
from service.store import records
from service.store.store import open_store
from service.store.turns import is_repeat
from service.upstream.completion import Finish
from service.upstream.endpoint import Endpoint, answer_options
from service.upstream.prompt import question_body
from service.web import pages
from service.web.assets import Asset
from service.web.connections import ABORT, OVERLOADED, RETRY_SECONDS, TRUSTED_PROXY
from service.web.exchange import PROOF, Exchange
from service.web.lifespan import Service, run_service
from service.web.listening import bind
from service.web.server import run_server

__all__ = ["Settings", "create_app"]

API = "/api/v1"

log = logging.getLogger("chatbot")


# The chat


async def chat(request: Request) -> Response:
    """Answer a question as a stream of events; `schema.py` describes them."""
    service = _service(request)
    if not request.headers.get("last-event-id"):  # the rest of an answer is owed
        service.lag.check()
    caller = await _authenticate(request)
    question = await _read_body(request, schema.ChatRequest)
    position = _resume_position(request)
    after = position if question.message_id else 0  # a question without an id was never asked before
    answer = await _find_or_begin(request, caller, question, after)
    service.answers.join(answer, most_readers(caller.tenant))
    _exchange(request).taken_up = True
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


def _service(request: Request) -> Service:
    service: Service = request.state.service
    return service


def _exchange(request: Request) -> Exchange:
    exchange: Exchange = request.state.exchange
    return exchange


async def _authenticate(request: Request) -> Caller:
    """Who asks, and whether from where they may.

    Raises KeyMissing, KeyInvalid, OriginNotAllowed, or UserTokenMissing and its kind.
    """
    headers, service, exchange = request.headers, _service(request), _exchange(request)
    access = exchange.access = await find_access(service.store, headers.getlist("x-api-key"))
    sender = Sender(
        method=request.method,
        scheme=request.url.scheme,
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


async def _authenticate_reader(request: Request) -> Caller:
    """As `_authenticate`, for calls that ask no model: a visitor may make so many. Raises VisitorRateLimited, too."""
    caller = await _authenticate(request)
    _service(request).reads.count(caller.tenant, _exchange(request).address)
    return caller


async def _read_body(request: Request, model: type[schema.Body]) -> schema.Body:
    """The body as a model. Raises UnsupportedMediaType, MalformedJSON or ValidationFailed."""
    content_types = request.headers.getlist("content-type")
    essence = content_types[0].partition(";")[0].strip().lower() if len(content_types) == 1 else None
    if essence != "application/json" or request.headers.get("content-encoding", "identity") != "identity":
        raise errors.UnsupportedMediaType("not plain application/json")
    body = await request.body()
    return schema.from_json(model, body, _service(request).settings.max_message_chars)


def _resume_position(request: Request) -> int:
    """How many characters of the answer the reader has already (WHATWG HTML, section 9.2.4, Last-Event-ID)."""
    value = request.headers.get("last-event-id", "")
    if not re.fullmatch("[0-9]{0,9}", value):
        raise errors.BadRequest("a Last-Event-ID that is not ours", detail="Last-Event-ID must be the id of an event.")
    return int(value or 0)


async def _find_or_begin(request: Request, caller: Caller, question: schema.ChatRequest, after: int) -> Answer:
    """The answer to a question: a new one, or for a message_id that is known already, the one that there is.

    Who has read `after` characters of an answer that was deleted meanwhile is not given the rest of another one.
    """
    service, tenant = _service(request), caller.tenant
    if question.message_id:
        known = await service.store.find_turn(tenant.id, question.message_id, caller.subject)
        if known is not None and not await service.answers.wait_if_dropped(known.id):
            service.reads.count(tenant, _exchange(request).address)
            if not is_repeat(known, question.conversation_id, question.message):
                raise errors.MessageIdTaken("the message_id belongs to another question")
            return service.answers.answer_of(known)
    if after:
        raise errors.MessageUnknown("the answer to go on with was deleted")
    with service.answers.room():
        endpoint = service.endpoint_of(tenant)
        service.upstream.circuits.of(endpoint).check()
        limits = _exchange(request).limits = Limits(service.store, caller, _exchange(request).address)
        await limits.check()
        return await _begin(request, caller, question, endpoint, limits)


async def _begin(
    request: Request, caller: Caller, question: schema.ChatRequest, endpoint: Endpoint, limits: Limits
) -> Answer:
    """Begin the turn and ask the upstream, unless somebody who sent the same request did so before."""
    service, settings, tenant = _service(request), _service(request).settings, caller.tenant
    message_id = question.message_id or uuid.uuid4()
    model = tenant.model or settings.openai_model
    system_prompt = system_message(tenant.system_prompt or settings.system_prompt, caller.identity)
    ask = partial(question_body, model, system_prompt, question=question.message, page_facts=question.context)
    writer = service.store.new_writer()
    try:
        with limits.refusals():
            begun = await service.store.begin_turn(
                tenant.id,
                message_id,
                conversation_id=question.conversation_id,
                question=question.message,
                regenerate=question.regenerate or question.replaces is not None,
                replaces=question.replaces,
                model=model,
                writer=writer,
                subject=caller.subject,
                terms=limits.terms(settings, ask(history=[])["messages"]),
            )
    except records.ConversationNotFound:
        raise errors.ConversationUnknown("no such conversation") from None
    except records.ConversationChanged:
        raise errors.ConversationChanged("the last turn is not the one to replace") from None
    except records.MessageIdTaken:
        raise errors.MessageIdTaken("the message_id belongs to another question") from None
    if not begun.is_new:
        return service.answers.answer_of(begun.turn)
    answer = Answer(begun.turn.conversation_id, message_id)
    body = ask(history=[(turn.question, turn.answer) for turn in begun.history])
    options = answer_options(endpoint, tenant.temperature, answer_cap(settings, tenant.max_answer_tokens))
    call = service.upstream.call(endpoint, body | options, opened=answer.accept, relay=answer.append)
    usage = replace(
        _exchange(request).usage_row("running"),
        conversation_id=answer.conversation_id,
        message_id=message_id,
        model=model,
        claims=caller.identity.claims if caller.identity else None,
        reservation=begun.reservation,
    )
    service.answers.start(answer, call, begun.turn.number, writer, usage)
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
            log.info("a reader was too slow", extra={"request_id": scope["state"]["exchange"].request_id})
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
    count = ending.usage
    usage = (
        schema.Usage(prompt_tokens=count.prompt_tokens, completion_tokens=count.completion_tokens) if count else None
    )
    return _event("done", schema.DoneEvent(status=ending.status, usage=usage))


def _event(name: str, data: BaseModel, id: str | None = None) -> ServerSentEvent:
    return ServerSentEvent(schema.to_json(data), event=name, id=id, sep="\n")


# The other endpoints of the API


async def conversations(request: Request) -> Response:
    """The conversations of a visitor with a signed token, wherever they were held."""
    caller = await _authenticate_reader(request)
    if caller.subject is None:
        raise errors.UserTokenMissing("a list of conversations without a user token")
    found = await _service(request).store.conversations(caller.tenant.id, caller.subject, schema.MAX_LISTED)
    return _json(schema.ConversationList(conversations=[schema.summary_of(each) for each in found]))


async def conversation(request: Request) -> Response:
    """The turns of a conversation, or, by DELETE, their end."""
    caller = await _authenticate_reader(request)
    service, tenant_id = _service(request), caller.tenant.id
    conversation_id = _path_id(request, errors.ConversationUnknown)
    if request.method == "DELETE":
        if not await service.store.delete_conversation(tenant_id, conversation_id, caller.subject):
            raise errors.ConversationUnknown("no such conversation")
        await service.answers.forget(conversation_id)
        return Response(status_code=204)
    turns = await service.store.conversation(tenant_id, conversation_id, subject=caller.subject)
    if turns is None:
        raise errors.ConversationUnknown("no such conversation")
    messages = [message for turn in turns for message in schema.messages_of(turn, service.answers.find_text(turn.id))]
    return _json(schema.Conversation(conversation_id=conversation_id, messages=messages))


async def stop(request: Request) -> Response:
    """Stop an answer. One that has ended already stays as it is."""
    caller = await _authenticate_reader(request)
    message_id = _path_id(request, errors.MessageUnknown)
    if await _service(request).store.find_turn(caller.tenant.id, message_id, caller.subject) is None:
        raise errors.MessageUnknown("no such message")
    await _service(request).answers.stop(message_id)
    return Response(status_code=204)


async def feedback(request: Request) -> Response:
    """Keep what a visitor thinks of an answer."""
    caller = await _authenticate_reader(request)
    message_id = _path_id(request, errors.MessageUnknown)
    given = await _read_body(request, schema.FeedbackRequest)
    if not await _service(request).store.rate_turn(
        caller.tenant.id, message_id, rating=given.rating, comment=given.comment, subject=caller.subject
    ):
        raise errors.MessageUnknown("no such message")
    return Response(status_code=204)


def _path_id(request: Request, unknown: type[errors.NotFound]) -> uuid.UUID:
    text = request.path_params["id"]
    if not re.fullmatch("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text):
        raise unknown("not a UUID")
    return uuid.UUID(text)


def _json(model: BaseModel) -> Response:
    return Response(schema.to_json(model), media_type="application/json", headers={"Cache-Control": "no-store"})


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
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    is_right = token is not None and hmac.compare_digest(given.strip().encode(), token.get_secret_value().encode())
    if scheme.lower() != "bearer" or not is_right:
        raise errors.MetricsTokenWrong("no token, or a wrong one")
    return Response(_service(request).metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


async def preflight(request: Request) -> Response:
    """A CORS preflight (WHATWG Fetch)."""
    origins = request.headers.getlist("origin")
    _exchange(request).allowed_origin = await check_preflight(_service(request).store, origins)
    return Response(
        status_code=204,
        headers={
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": "Content-Type, Last-Event-ID, X-API-Key, X-User-Token",
            "Access-Control-Max-Age": "600",
        },
    )


# What the browser loads


async def loader(request: Request) -> Response:
    """The loader, which any page may load: as a script, as a module, and its types."""
    return _file(request, request.url.path.removeprefix("/"), pages.SHORT_CACHE)


async def asset(request: Request) -> Response:
    """A file whose name holds the hash of what is in it."""
    return _file(request, f"assets/{request.path_params['path']}", pages.ENDLESS_CACHE)


async def openapi_json(request: Request) -> Response:
    """The OpenAPI document."""
    return _file(request, "openapi.json", "no-cache")


async def docs(request: Request) -> Response:
    """Interactive documentation of the API."""
    return _page(request, _service(request).assets["docs.html"], pages.DOCS_POLICY)


async def widget_html(request: Request) -> Response:
    """The iframe's page, which only the tenant's own pages may frame."""
    service = _service(request)
    found = await service.store.find_widget(request.query_params.get("id", ""))
    if found is None:
        text = "There is no such widget. Check data-widget-id in the script tag."
        headers = pages.page_headers(pages.NO_WIDGET_POLICY) | {"X-Frame-Options": "DENY", "Cache-Control": "no-store"}
        return Response(text, 404, headers, "text/plain; charset=utf-8")
    proof = make_proof(found[1], found[0].id)
    page = pages.widget_page(service.assets["widget.html"], *found, proof, service.settings.max_message_chars)
    headers = pages.page_headers(pages.widget_policy(*found)) | pages.FRAMED_ANYWHERE | {PROOF: proof}
    return _unless_known(request, page, headers)


async def home(request: Request) -> Response:
    """The demonstration page, in demonstration mode only."""
    return _embedding_page(request, "demo.html", pages.DEMONSTRATION_POLICY, _demonstration(request).home)


async def studio(request: Request) -> Response:
    """Where an owner tries how a widget could look, in demonstration mode only."""
    return _embedding_page(request, "studio.html", pages.STUDIO_POLICY, _demonstration(request).studio)


async def studio_preview(request: Request) -> Response:
    """The website in the studio's frame, with the widget on it."""
    return _embedding_page(request, "preview.html", pages.PREVIEW_POLICY, _demonstration(request).studio)


def _demonstration(request: Request) -> demonstration.Demonstration:
    demonstration = _service(request).demonstration
    if demonstration is None:
        raise errors.NotFound("a provider is set: there is no demonstration")
    return demonstration


def _embedding_page(request: Request, name: str, policy: str, widget: demonstration.Embedded) -> Response:
    return _page(request, pages.embed(_service(request).assets[name], widget), policy)


def _page(request: Request, page: Asset, policy: str) -> Response:
    return _unless_known(request, page, pages.page_headers(policy))


def _file(request: Request, name: str, cache_control: str) -> Response:
    file = _service(request).assets.get(name)
    if file is None:
        raise errors.NotFound("no such file")
    return _unless_known(request, file, pages.file_headers(cache_control))


def _unless_known(request: Request, asset: Asset, headers: dict[str, str]) -> Response:
    """The asset, packed if the browser takes that, or 304 where it has this version already."""
    headers["ETag"] = asset.etag
    if asset.is_named_in(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    body, coding = asset.encoded_for(request.headers.get("accept-encoding", ""))
    if coding:
        headers["Content-Encoding"] = coding
    return Response(body, media_type=asset.media_type, headers=headers)


# Errors


def _problem(request: Request, error: errors.ServiceError) -> Response:
    """An error as problem+json (RFC 9457)."""
    _exchange(request).error = error
    headers = {"Cache-Control": "no-store"}
    if error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    if error.challenge is not None:
        headers["WWW-Authenticate"] = error.challenge
    problem = schema.to_json(schema.problem_of(error))
    return Response(problem, error.status_code, headers, "application/problem+json")


async def _on_service_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, errors.ServiceError)
    return _problem(request, error)


async def _on_store_error(request: Request, error: Exception) -> Response:
    if isinstance(error, records.StoreTimeout) and _service(request).lag.was_late:
        return _problem(request, errors.Overloaded(f"the event loop was late: {error}", retry_after=2))
    if isinstance(error, records.StoreUnavailable):
        return _problem(request, errors.DatabaseUnavailable(str(error), retry_after=2))
    return _on_unexpected(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """What Starlette itself refuses: an unknown path, a wrong method, a body over the limit."""
    assert isinstance(error, HTTPException)
    if error.status_code == 413:
        return _problem(request, errors.BodyTooLarge("the body was longer than it may be"))
    if error.status_code == 405:
        response = _problem(request, errors.MethodNotAllowed("no such method here"))
        response.headers["Allow"] = _methods_of(request.scope["route"].path)
        return response
    return _problem(request, errors.NotFound("no such path"))


def _methods_of(path: str) -> str:
    """All that the path has; Starlette tells those of one of its routes."""
    return ", ".join(sorted(method for route in routes if route.path == path for method in route.methods or ()))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    return Response(status_code=499)


def _on_unexpected(request: Request, error: Exception) -> Response:
    log.error("a request failed", exc_info=error, extra={"request_id": _exchange(request).request_id})
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
        exchange = request.state.exchange = Exchange(
            request_id=_request_id(request),
            method=request.method,
            address=request.client.host if request.client else "",
            origin=request.headers.get("origin"),
        )
        status, has_begun = 500, False

        async def send_with_headers(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                if message["status"] >= 400:
                    await _let_page_read(request)
                status, has_begun = message["status"], True
                headers = MutableHeaders(scope=message)
                headers.update(exchange.headers())
                if _is_api(request):
                    headers.add_vary_header("Origin")
            await send(message)

        try:
            refusal = self._refusal(request)
            app = _problem(request, refusal) if refusal else self._app
            await app(scope, receive, send_with_headers)
        except asyncio.CancelledError:  # the process leaves, and the request is not whole or its answer not begun
            if has_begun:
                raise
            error = errors.Restarting("cut off by the shutdown", retry_after=1)
            await _problem(request, error)(scope, receive, send_with_headers)
        except Exception as error:
            if has_begun:
                raise
            await _on_unexpected(request, error)(scope, receive, send_with_headers)
        finally:
            _record(request, status)

    def _refusal(self, request: Request) -> errors.ServiceError | None:
        if OVERLOADED in request.scope.get("extensions", {}) and request.url.path != f"{API}/health":
            return errors.Overloaded("too many connections are open", retry_after=RETRY_SECONDS)
        hosts = request.headers.getlist("host")
        if len(hosts) > 1 or (not hosts and request.scope["http_version"] != "1.0"):
            return errors.BadRequest("no Host, or several")
        if hosts and not re.fullmatch(r"[A-Za-z0-9._\-\[\]:]+", hosts[0]):
            return errors.BadRequest("a malformed Host")
        length = request.headers.get("content-length", "")
        if re.fullmatch("[0-9]+", length) and int(length) > self._max_body_bytes:
            return errors.BodyTooLarge("the Content-Length is larger than it may be")
        return None


def _is_api(request: Request) -> bool:
    return request.url.path.startswith(API)


async def _let_page_read(request: Request) -> None:
    """Let a page read why it is refused before the tenant is known: that of any tenant may, as with a preflight."""
    exchange = _exchange(request)
    service: Service | None = getattr(request.state, "service", None)
    is_settled = isinstance(exchange.error, errors.OriginNotAllowed | errors.DatabaseUnavailable | errors.Overloaded)
    if not _is_api(request) or exchange.access is not None or is_settled or service is None:
        return
    with suppress(errors.OriginNotAllowed, records.StoreError):  # the refusal itself counts, and goes out without this
        exchange.allowed_origin = await check_preflight(service.store, request.headers.getlist("origin"))


def _request_id(request: Request) -> str:
    """A trusted proxy's id for the request, if it gave a sane one, or a new one."""
    given = request.headers.get("x-request-id", "")
    is_known = TRUSTED_PROXY in request.scope.get("extensions", {}) and re.fullmatch("[A-Za-z0-9_-]{8,64}", given)
    return given if is_known else uuid.uuid4().hex


def _record(request: Request, status: int) -> None:
    """The counters, the log line and, of a question that was not taken up, the row in the books."""
    exchange = _exchange(request)
    service: Service | None = getattr(request.state, "service", None)
    route = request.scope["route"].path if "route" in request.scope else "none"
    exchange.log(route, status)
    if service is None:  # the lifespan was not run
        return
    service.metrics.requests.labels(route, status).inc()
    is_question = request.method == "POST" and request.url.path == f"{API}/chat"
    if exchange.error is not None and is_question and not exchange.taken_up:
        service.ledger.note(exchange.refusal(exchange.error))


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
        async with run_service(chosen) as service:
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
            records.StoreError: _on_store_error,
            HTTPException: _on_http_exception,
            ClientDisconnect: _on_disconnect,
        },
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def __getattr__(name: str) -> Starlette:
    """`app`, for `uvicorn chatbot:app`: made when first asked for, so that importing this reads no environment."""
    if name != "app":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    app = globals()["app"] = create_app()
    return app


def main() -> int:
    """Serve until SIGTERM or SIGINT. Returns 2 for a wrong setting, 1 without a database or an address."""
    try:
        settings = load_settings()
    except ValueError as error:
        print(f"chatbot: {error}", file=sys.stderr)
        return 2
    configure_logging(settings.log_format)
    try:
        asyncio.run(_make_tables(settings))
    except records.StoreError as error:
        print(f"chatbot: DATABASE_URL: {error}", file=sys.stderr)
        return 1
    try:
        sockets = bind(settings.host, settings.port)
    except OSError as error:
        place = f"{settings.host}, port {settings.port}"
        print(f"chatbot: HOST, PORT: cannot listen on {place}: {error.strerror}", file=sys.stderr)
        return 1
    app = create_app(settings)
    run_server(app, settings, sockets, lambda: getattr(app.state, "service", None))
    return 0


async def _make_tables(settings: Settings) -> None:
    """Before anything else, so that a database that is not there is one clear line."""
    async with open_store(settings.database_url):
        pass


if __name__ == "__main__":
    sys.exit(main())
