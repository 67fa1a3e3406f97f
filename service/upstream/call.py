"""The upstream: an OpenAI-compatible `chat/completions` endpoint that streams.

`Upstream` holds the connections, `Call` asks one question, and `completion.py` decodes the response.
"""

import asyncio
import logging
import random
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Literal

import httpx

from service.alarm import Deadline
from service.errors import (
    AnswerTooLong,
    Busy,
    ServiceError,
    UpstreamFailed,
    UpstreamInterrupted,
    UpstreamTimeout,
)
from service.settings import Settings
from service.tokens import TOKENS_PER_MESSAGE, estimate_tokens
from service.upstream.charge import Size, TokenCount, charged_tokens, is_credible
from service.upstream.circuit import Circuit
from service.upstream.endpoint import Endpoint
from service.upstream.quirks import KnownQuirks, Question, Quirks, characters_that_fit
from service.upstream.refusals import Refusal
from service.upstream.responses import (
    BUSY_SECONDS,
    Body,
    body_of,
    exhaust,
    is_event_stream,
    is_worth_another_try,
    refusal_of,
)
from service.upstream.stream import Decoder, Finish, Part, Receiver

log = logging.getLogger("chatbot")

LONGEST_RETRY_AFTER = 3.0  # seconds that a visitor may wait for a retry
STALE_SECONDS = 0.5  # a connection that was closed while idle breaks at once; if it breaks later, the request was read
TRIES = 3  # of a question that no answer to can have begun
CAUSES = 6  # of an error to follow: the chain may be circular
MAX_QUIRKS = 5  # combinations to try until the endpoint accepts the question
AFTER_FINISH_SECONDS = 5.0  # for the usage and the `[DONE]` that follow a finish_reason
AFTER_UNSURE_FINISH_SECONDS = 15.0  # if more text followed an earlier one


# Both take as long as parsing ten tokens.
_parsed_url = lru_cache(maxsize=256)(httpx.URL)
_parsed_headers = lru_cache(maxsize=256)(httpx.Headers)

# waiting: for the first attempt, or for a retry after a failed connection. connecting. asked: the upstream may have
# seen the question. refused: the last attempt got no answer. answering: the response has turned out to be an answer.
Phase = Literal["waiting", "connecting", "asked", "refused", "answering"]


@dataclass(slots=True)
class Call:
    """One question to the upstream, sent and read by the task that calls `run`.

    `stop` ends it: at once or, while connecting, once connected, because cancelling a connect would leak the pool's
    slot (httpcore issue 1093). `run` then raises CancelledError.
    """

    transport: httpx.AsyncBaseTransport
    fresh_transport: httpx.AsyncBaseTransport  # for a retry, when all idle connections may have been closed
    timeouts: Mapping[str, float | None]  # as in an httpx request
    endpoint: Endpoint
    question: Question
    headers: Mapping[str, str]  # in addition to the endpoint's, which take precedence
    settings: Settings
    circuit: Circuit
    known: KnownQuirks
    new_decoder: Callable[[], Decoder]
    receiver: Receiver
    decoder: Decoder = field(init=False)  # of the last attempt
    phase: Phase = field(default="waiting", init=False)
    stopped: bool = field(default=False, init=False)  # the answer is no longer wanted
    status: int | None = field(default=None, init=False)  # the HTTP status of the upstream's last response
    retries: Counter[str] = field(default_factory=Counter, init=False)  # number of retries by reason
    body: dict[str, Any] = field(init=False)  # of the last attempt
    _quirks: Quirks = field(init=False)
    _tried: set[Quirks] = field(default_factory=set, init=False)
    _tries_left: int = field(default=TRIES - 1, init=False)  # after the current one
    _times_shortened: int = field(default=0, init=False)
    _characters: int = field(default=0, init=False)  # of the text so far
    _is_outage: bool = field(default=True, init=False)  # unless the upstream responded in any way
    _reused: bool = field(default=False, init=False)  # whether the request used an idle connection
    _sent_at: float = field(default=0.0, init=False)
    _last_moment: float = field(default=0.0, init=False)  # the deadline of the whole answer, by the loop's clock
    _task: asyncio.Task[Any] | None = field(default=None, init=False)
    _loop: asyncio.AbstractEventLoop = field(init=False)

    def __post_init__(self) -> None:
        self.decoder = self.new_decoder()
        self._ask_with(self.known.of(self.endpoint, self.question.model))

    def stop(self) -> None:
        """End the call. Safe at any time, more than once, from another task."""
        if not self.stopped:
            self.stopped = True
            if self._task is not None and self.phase != "connecting":
                self._task.cancel()

    def stop_at_once(self) -> None:
        """End the call even while connecting. The pool may lose the slot, so this is for the end of the process."""
        self.stop()
        if self._task is not None and self.phase == "connecting":
            self._task.cancel()

    def resume(self) -> bool:
        """Undo a `stop`, for a reader who returns. Returns whether it was in time, while still connecting."""
        if self.phase != "connecting":
            return False
        self.stopped = False
        return True

    @property
    def sent(self) -> bool:
        """Whether the upstream may have seen the question."""
        return self.phase in ("asked", "refused", "answering")

    @property
    def usage(self) -> TokenCount | None:
        """The provider's token count so far."""
        return self.decoder.usage

    def charged_tokens(self, text: Size, hidden: Size) -> int:
        """The charge for the question and the received part of the answer.

        What turned out to be no answer is free, unless its usage is credible: an empty answer may have been paid for.
        """
        if not self.sent:
            return 0
        count, received = self.usage, text + hidden
        prompt = self._texts
        asked = sum(map(Size.of, prompt), Size())
        cap = self.body.get(self._quirks.cap_name) or 0
        if self.phase == "refused" and (count is None or not is_credible(count, asked, received, cap)):
            return 0
        estimate = estimate_tokens(prompt) + TOKENS_PER_MESSAGE + text.tokens + hidden.tokens
        return charged_tokens(count, asked, received, cap, estimate)

    async def run(self) -> Finish:
        """Ask, relay the text, and return how the answer ended. Raises a ServiceError if it failed."""
        if self.stopped:
            raise asyncio.CancelledError
        self._task = asyncio.current_task()
        self._loop = asyncio.get_running_loop()
        self.circuit.enter()
        try:
            return await self._run()
        except ServiceError as error:
            if self.stopped and not self.sent:
                raise asyncio.CancelledError from None
            if isinstance(error, Busy):
                error.retry_after = error.retry_after or BUSY_SECONDS
            raise
        finally:
            self._task = None  # nothing left to stop
            with suppress(ServiceError):  # its text is too long; how the call ended is known already
                self._receive(self.decoder.close(whole=False))
            if not self.stopped:
                self.circuit.count(outage=self._is_outage)

    async def _run(self) -> Finish:
        self._last_moment = self._loop.time() + self.settings.answer_timeout
        try:
            async with Deadline(
                self._loop.time() + self._connect_seconds + self.settings.first_text_timeout
            ) as deadline:
                while (wait := await self._ask(deadline)) is not None:
                    await self._wait(wait, deadline)
        except (TimeoutError, httpx.TimeoutException) as error:
            is_over = self.decoder.is_certain or (self.decoder.ended and self._within(0) < self._last_moment)
            if not is_over:
                raise UpstreamTimeout(f"the upstream sent nothing in time ({type(error).__name__})") from None
        except asyncio.CancelledError:
            if not (self.stopped and self.decoder.is_certain):
                raise  # otherwise the answer had ended before it was stopped
        except (httpx.TransportError, httpx.StreamError, OSError) as error:
            if self.stopped and not self.decoder.is_certain:
                raise asyncio.CancelledError from None
            if not self.decoder.is_certain:
                raise UpstreamInterrupted(f"the connection to the upstream broke ({type(error).__name__})") from None
        return self._finish()

    async def _ask(self, deadline: Deadline) -> float | None:
        """Send the question and relay the answer. If the response has an error in place of an answer, and a retry may
        help, returns the seconds until that.
        """
        body = await self._open(deadline)
        deadline.reschedule(min(self._last_moment, deadline.when()))
        self._is_outage = False
        try:
            await self._read(body, self.decoder, deadline)
            if not self.decoder.steps:
                self.decoder.finish()  # raises if the response is an error in the provider's own form
        except ServiceError:
            self._refuse_unless_accepted()
            if self.decoder.refusal is None:
                raise
            refusal = self.decoder.refusal.without(self._texts)
            wait = self._retry_after_refusal(refusal.status, refusal)
            self.decoder = self.new_decoder()
            return wait
        finally:
            if self.decoder.steps:
                self.known.keep(self.endpoint, self.question.model, self._quirks)
            await body.aclose()
        return None

    @property
    def _texts(self) -> list[str]:
        """The texts of all messages that were sent."""
        return [message["content"] for message in self.body["messages"]]

    @property
    def _connect_seconds(self) -> float:
        """The timeout for a slot, TCP and TLS, which httpx limits one by one; a cut-off connect would leak the slot."""
        return 4 * self.settings.connect_timeout

    def _within(self, seconds: float) -> float:
        """The time in this many seconds, or the answer's deadline if that is sooner."""
        return min(self._last_moment, self._loop.time() + seconds)

    async def _open(self, deadline: Deadline) -> Body:
        """Send the question and return the body of the response. Retries only if no answer can have begun."""
        transport = self.transport
        while True:
            self._reused = False
            try:
                response = await transport.handle_async_request(self._request(deadline))
            except httpx.ConnectError as error:
                if self.stopped or not self._tries_left:
                    raise UpstreamFailed(f"no connection to the upstream: {_why(error)}") from None
                wait = self._retry("no_connection")
            except httpx.ProxyError:
                raise UpstreamFailed("the proxy does not connect to the upstream; check UPSTREAM_PROXY") from None
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                stale = self._reused and time.monotonic() - self._sent_at < STALE_SECONDS
                if self.stopped or self._tries_left < TRIES - 1 or not stale:
                    raise
                wait = self._retry("stale_connection", 0.0)  # the upstream had closed the idle connection
                transport = self.fresh_transport
            else:
                self.status = response.status_code
                self.phase = "refused"  # even if reading the reason fails
                refusal = await refusal_of(response, self._texts)
                if refusal is None:
                    self.phase = "asked"
                    if is_event_stream(response):
                        self._accept()
                    return body_of(response)
                self._is_outage = response.status_code >= 500
                wait = self._retry_after_refusal(response.status_code, refusal)
            finally:
                if self.phase == "connecting":
                    self.phase = "waiting"
            await self._wait(wait, deadline)

    async def _wait(self, seconds: float, deadline: Deadline) -> None:
        """Wait until a retry, and give that its time to connect."""
        if seconds:
            deadline.reschedule(self._last_moment)
            await asyncio.sleep(seconds)
        deadline.reschedule(self._loop.time() + self._connect_seconds)

    def _retry(self, reason: str, wait: float | None = None) -> float:
        """Count a retry. Returns the seconds until it."""
        wait = _backoff(self._tries_left) if wait is None else wait
        self._tries_left -= 1
        self.retries[reason] += 1
        return wait

    def _retry_after_refusal(self, status: int, refusal: Refusal | ServiceError) -> float:
        """Count a retry, of the adapted question if that may help. Returns the seconds until it.

        Raises the refusal's error if there is none.
        """
        if isinstance(refusal, Refusal) and self._adapt(refusal):
            self.retries["adapted"] += 1
            return 0.0
        error = refusal.error(self.endpoint.body) if isinstance(refusal, Refusal) else refusal
        wait = error.retry_after
        if self._tries_left and (wait or 0) <= LONGEST_RETRY_AFTER and is_worth_another_try(status, error):
            return self._retry("refused", wait)
        raise error

    def _adapt(self, refusal: Refusal) -> bool:
        """Change the question so that the endpoint may accept it: its fields or, if it is too long, its history."""
        quirks = self._quirks.after(refusal, self.body, self.endpoint.body)
        if quirks not in self._tried and len(self._tried) < MAX_QUIRKS:
            self._ask_with(quirks)
            return True
        if refusal.kind != "too_long":
            return False
        self._is_outage = False
        prompt = self.question.prompt
        if not prompt.history:
            return False
        self._times_shortened += 1
        most = characters_that_fit(refusal, prompt, self.question.cap)
        shorter = prompt.without_older_half(most) if self._times_shortened == 1 else prompt.alone()
        log.warning(
            "the prompt was too long for the model: less of the conversation is sent; lower MAX_HISTORY_CHARS",
            extra={"model": self.question.model, "turns": len(shorter.history), "of": len(prompt.history)},
        )
        self.question = replace(self.question, prompt=shorter)
        self._ask_with(self._quirks)
        return True

    def _ask_with(self, quirks: Quirks) -> None:
        self._quirks = quirks
        self._tried.add(quirks)
        self.body = quirks.body(self.question, self.endpoint.body)

    def _request(self, deadline: Deadline) -> httpx.Request:
        """The request for a transport, without a client, whose cookies, redirects and defaults would only cost time."""
        url = _parsed_url(self.endpoint.url)
        headers = _parsed_headers(self.endpoint.headers)
        if self.headers:
            headers = httpx.Headers(self.headers)
            headers.update(self.endpoint.headers)
        extensions = {"timeout": self.timeouts, "trace": partial(self._trace, deadline)}
        request = httpx.Request("POST", url, headers=headers, json=self.body, extensions=extensions)
        if url.userinfo:
            return next(httpx.BasicAuth(url.username, url.password).sync_auth_flow(request))
        return request

    async def _trace(self, deadline: Deadline, event: str, info: Mapping[str, Any]) -> None:
        """Handle httpcore's trace events (httpx, "Extensions", trace)."""
        if event in ("connection.connect_tcp.started", "connection.connect_unix_socket.started"):
            self.phase = "connecting"
        elif event == "http11.send_request_headers.started" and not _is_for_proxy(info):
            self._reused, self._sent_at = self.phase != "connecting", time.monotonic()
            self.phase = "waiting"
            if self.stopped:
                raise asyncio.CancelledError
            self.phase = "asked"
            deadline.reschedule(self._within(self.settings.first_text_timeout))

    async def _read(self, body: Body, decoder: Decoder, deadline: Deadline) -> None:
        """Relay the answer as it arrives.

        Text and thoughts extend the deadline; comments do not. A finish reason followed by silence ends the answer
        soon, but not before its text has begun.
        """
        ended = False
        while data := await body.read():
            before = decoder.steps
            self._receive(decoder.feed(data))
            if decoder.done:
                await exhaust(body)
                break
            if decoder.ended and decoder.has_text:
                if decoder.steps > before or not ended:
                    certain = decoder.is_certain
                    deadline.reschedule(self._within(AFTER_FINISH_SECONDS if certain else AFTER_UNSURE_FINISH_SECONDS))
                ended = True
            elif decoder.steps > before:
                deadline.reschedule(self._within(self.settings.text_timeout))
                ended = False
        self._receive(decoder.close(whole=True))

    def _finish(self) -> Finish:
        self._receive(self.decoder.close(whole=False))
        try:
            finish = self.decoder.finish()
        except ServiceError:
            self._refuse_unless_accepted()
            raise
        self._accept()
        complete = finish.status == "complete"
        self.known.keep_thinks_first(self.endpoint, self.question.model, self.decoder.thinks_first, complete=complete)
        return finish

    def _accept(self) -> None:
        if self.phase != "answering":
            self.phase = "answering"
            self.receiver.accept()

    def _refuse_unless_accepted(self) -> None:
        if self.phase != "answering" or self.decoder.refusal is not None:
            self.phase = "refused"  # it was not an answer

    def _receive(self, parts: Iterator[Part]) -> None:
        for part in parts:
            if type(part) is str:
                self._characters += len(part)
                if (excess := self._characters - self.settings.max_answer_chars) > 0:
                    if len(part) > excess:
                        self._accept()
                        self.receiver.receive(part[:-excess])
                    raise AnswerTooLong(f"the answer is longer than {self.settings.max_answer_chars} characters")
                self._accept()
            self.receiver.receive(part)


def _why(error: BaseException) -> str:
    """Why there is no connection, and what to check."""
    cause: BaseException | None = error
    for _ in range(CAUSES):
        match cause:
            case ssl.SSLCertVerificationError():
                return "its certificate is not trusted; for your own authority, set UPSTREAM_CA_FILE"
            case ssl.SSLError():
                return "it does not speak TLS; check the address and its port"
            case socket.gaierror():
                return "its name is not known; check OPENAI_BASE_URL"
            case ConnectionRefusedError():
                return "nothing listens there; check the address and its port"
        cause = cause and (cause.__cause__ or cause.__context__)
    return type(error).__name__


def _is_for_proxy(info: Mapping[str, Any]) -> bool:
    return "request" in info and info["request"].method == b"CONNECT"


def _backoff(tries_left: int) -> float:
    return random.uniform(0.1, 0.4) * (TRIES - tries_left)
