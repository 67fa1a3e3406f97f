"""An answer as Server-Sent Events (WHATWG HTML, section 9.2)."""

import logging
from collections.abc import AsyncGenerator
from functools import partial

from pydantic import BaseModel
from sse_starlette import EventSourceResponse, ServerSentEvent
from sse_starlette.sse import SendTimeoutError
from starlette.types import Receive, Scope, Send

from service import errors, schema
from service.answers.answer import Answer
from service.upstream.stream import Finish
from service.web.connections import ABORT
from service.web.lifespan import Service
from service.web.openapi import transcript

log = logging.getLogger("chatbot")

# What the API's document shows.
_START = schema.StartEvent.model_validate(schema.examples_of(schema.StartEvent)[0])
_CHUNKS = [schema.MessageEvent.model_validate(each) for each in schema.examples_of(schema.MessageEvent)]
_SOURCES = schema.SourcesEvent.model_validate(schema.examples_of(schema.SourcesEvent)[0])
_DONE, _STOPPED = (schema.DoneEvent.model_validate(each) for each in schema.examples_of(schema.DoneEvent))
_BROKEN = schema.ErrorEvent.model_validate(schema.examples_of(schema.ErrorEvent)[0])
EXAMPLES = {
    "complete": transcript(0, _START, *_CHUNKS, _DONE),
    "cited": transcript(0, _START, schema.MessageEvent(chunk="We are open from 9 to 17 [1]."), _SOURCES, _DONE),
    "resumed": transcript(len(_CHUNKS[0].chunk), _START, _CHUNKS[1], _DONE),
    "stopped": transcript(0, _START, _CHUNKS[0], _STOPPED),
    "broken": transcript(0, _START, _CHUNKS[0], _BROKEN),
}


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
    """The events of an answer: `start`, its text as it comes, what it cites, and exactly one of `done` or `error`."""
    yield _event("start", schema.StartEvent(conversation_id=answer.conversation_id, message_id=answer.message_id))
    position = after
    while True:
        if text := answer.text(position):
            position += len(text)
            yield _event("message", schema.MessageEvent(chunk=text), id=str(position))
        elif answer.ending is not None:
            if answer.sources:
                yield _event("sources", schema.SourcesEvent(sources=schema.sources_of(answer.sources)))
            yield _last_event(answer.ending)
            return
        elif not await answer.more(ping_seconds):
            yield ServerSentEvent(comment="ping", sep="\n")


def _last_event(ending: Finish | errors.ServiceError) -> ServerSentEvent:
    if isinstance(ending, errors.ServiceError):
        error = schema.ErrorEvent(code=ending.code, error=ending.detail)
        if ending.cause is not None:
            error.cause = ending.cause
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
