"""An answer as Server-Sent Events (WHATWG HTML, section 9.2)."""

import asyncio
import logging
from functools import partial

from pydantic import BaseModel
from pydantic_core import to_json
from sse_starlette import EventSourceResponse
from starlette.types import Receive, Scope, Send

from service import errors, schema
from service.alarm import Alarm
from service.answers.answer import Answer
from service.upstream.stream import Finish
from service.web.connections import ABORT, AFTERWARDS
from service.web.exchange import Exchange
from service.web.lifespan import Service
from service.web.openapi import transcript

PING = b": ping\n\n"

log = logging.getLogger("chatbot")

# Examples for the OpenAPI document.
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
    """An answer as events, from a position on. However it ends, the reader is removed from the answer.

    sse-starlette sets the headers, but events are sent here: a token costs a fraction of what an event object, a cancel
    scope and every middleware's `send` would cost, and an open stream needs no task group. Our own server sends them
    after the middleware has returned: an open stream needs no frames of it, and a token resumes none. `disconnected` is
    done when the visitor has left, and is cancelled at the end.
    """

    def __init__(self, service: Service, answer: Answer, after: int, disconnected: asyncio.Future[None]) -> None:
        self._answer = answer
        self._after = after
        self._gone = disconnected
        self._ping_seconds = service.settings.ping_seconds
        self._waiter: asyncio.Future[bool] | None = None
        self._leave = partial(service.answers.leave, answer)
        super().__init__(
            iter(()),  # see _send_events
            headers={"Cache-Control": "no-cache, no-store"},
            send_timeout=service.settings.send_timeout,
        )
        del self._send_lock  # of sse-starlette's own sending: 0.8 kB

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        state = scope["state"]
        self._exchange: Exchange = state["exchange"]
        self._abort = scope.get("extensions", {}).get(ABORT)
        self._gone.add_done_callback(self._on_gone)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        except BaseException:
            self._end()
            raise
        self.raw_headers = []  # free them during a long answer
        if AFTERWARDS in state:
            state[AFTERWARDS] = self._stream
        else:
            await self._stream(self._exchange.send)

    async def _stream(self, send: Send) -> None:
        """Send the events of the answer, each frame with all available text, and pings in between."""
        try:
            async with asyncio.timeout(None) as sending:
                alarm = Alarm(partial(self._on_alarm, sending))  # one timer per stream, for pings and for slow readers
                try:
                    await self._send_events(send, alarm)
                finally:
                    alarm.stop()
        except TimeoutError:
            log.info("a reader was too slow", extra={"request_id": self._exchange.request_id})
            if self._abort is not None:
                self._abort()  # closing would wait until the reader has read all buffered data
        finally:
            self._end()

    def _end(self) -> None:
        self._gone.cancel()
        self._leave()

    async def _send_events(self, send: Send, alarm: Alarm) -> None:
        answer, position = self._answer, self._after
        frame = _event("start", schema.StartEvent(conversation_id=answer.conversation_id, message_id=answer.message_id))
        while not self._gone.done():
            if text := answer.text(position):
                position += len(text)
                frame += _message(text, position)
            if answer.ending is not None:
                alarm.set(self.send_timeout)
                last = _last_events(answer, self._exchange.request_id)
                await send({"type": "http.response.body", "body": frame + last, "more_body": False})
                return
            if frame:
                alarm.set(self.send_timeout)
                await send({"type": "http.response.body", "body": frame, "more_body": True})
                frame = b""
            else:
                alarm.set(self._ping_seconds)
                self._waiter = answer.waiter()
                if not await self._waiter:
                    frame = PING
                self._waiter = None

    def _on_alarm(self, sending: asyncio.Timeout) -> None:
        if self._waiter is None:
            sending.reschedule(0)
        else:
            self._wake()

    def _on_gone(self, _: asyncio.Future[None]) -> None:
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(False)


def _message(text: str, position: int) -> bytes:
    """A `message` event, made without a model because there is one per token."""
    return b'id: %d\nevent: message\ndata: {"chunk":%b}\n\n' % (position, to_json(text))


def _last_events(answer: Answer, request_id: str) -> bytes:
    """The sources, if any, and exactly one of `done` or `error`."""
    assert answer.ending is not None
    sources = schema.SourcesEvent(sources=schema.sources_of(answer.sources)) if answer.sources else None
    return (_event("sources", sources) if sources else b"") + _last_event(answer.ending, request_id)


def _last_event(ending: Finish | errors.ServiceError, request_id: str) -> bytes:
    if isinstance(ending, errors.ServiceError):
        error = schema.ErrorEvent(code=ending.code, error=ending.detail, request_id=request_id)
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


def _event(name: str, data: BaseModel) -> bytes:
    return f"event: {name}\ndata: {schema.to_json(data)}\n\n".encode()
