"""Readers are no longer counted once their question is refused or cut off, or they stop reading."""

import asyncio
import uuid

import httpx
import pytest
import respx
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from client import Client, until
from conftest import Serve
from service.testing.chunks import Body, answer, delta, streamed
from service.web.connections import ABORT, AFTERWARDS, DISCONNECTION

CLOGGED_SECONDS = 5  # if the service waited for as long


async def readers(client: Client) -> float:
    """The number of readers in /metrics."""
    _, body = await client.request("GET", "/metrics", headers={"Authorization": "Bearer token"})
    (line,) = [line for line in body.decode().splitlines() if line.startswith("chatbot_readers ")]
    return float(line.split()[1])


async def questions(client: Client) -> int:
    """How many requests with questions have ended, by /metrics."""
    _, body = await client.request("GET", "/metrics", headers={"Authorization": "Bearer token"})
    counts = [
        line for line in body.decode().splitlines() if line.startswith("chatbot_requests_total{") and "/chat" in line
    ]
    return sum(int(float(line.split()[-1])) for line in counts)


async def test_a_question_the_provider_refuses_leaves_no_reader(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(return_value=httpx.Response(401))
    async with serve(metrics_token="token") as client:
        for _ in range(3):
            assert (await client.refused())[0] == 502
        assert await readers(client) == 0


async def test_the_middleware_returns_while_an_answer_is_sent(serve: Serve, upstream: respx.Route) -> None:
    """Our server runs the rest of the response then, so an open stream needs none of the middleware's memory."""
    more, returned = asyncio.Event(), asyncio.Event()

    def serving(app: ASGIApp) -> ASGIApp:
        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            scope["state"][AFTERWARDS] = None
            await app(scope, receive, send)
            if (stream := scope["state"][AFTERWARDS]) is not None:
                returned.set()
                await stream(send)

        return run

    upstream.mock(return_value=streamed(delta("Hello"), more, *answer(" there")))
    async with serve(metrics_token="token") as client:
        asking = asyncio.create_task(client.through(serving).ask("Hi"))
        await returned.wait()
        assert (await readers(client), await questions(client)) == (1, 0)
        more.set()
        assert (await asking).text == "Hello there"
        assert (await readers(client), await questions(client)) == (0, 1)


async def test_a_server_may_tell_by_a_future_that_the_visitor_has_left(serve: Serve, upstream: respx.Route) -> None:
    """It then needs no task that waits for the disconnect."""
    left: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def serving(app: ASGIApp) -> ASGIApp:
        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            scope["extensions"] = {DISCONNECTION: lambda: left}
            await app(scope, receive, send)

        return run

    asked = asyncio.Event()

    def never_ends(_: httpx.Request) -> httpx.Response:
        asked.set()
        return streamed(delta("Hello"), asyncio.Event())

    upstream.mock(side_effect=never_ends)
    async with serve(resume_seconds=0, metrics_token="token") as client:
        asking = asyncio.create_task(client.through(serving).ask("Hi"))
        await asked.wait()
        assert await readers(client) == 1
        left.set_result(None)
        assert "done" not in (await asking).names
        assert await readers(client) == 0
        await client.until_idle()


async def test_a_reader_who_cannot_get_the_responses_head_leaves_nothing_open(
    serve: Serve, upstream: respx.Route
) -> None:
    body = Body([delta("Hello"), asyncio.Event()])
    upstream.mock(return_value=httpx.Response(200, stream=body))

    def cut(app: ASGIApp) -> ASGIApp:
        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            async def fail(_: Message) -> None:
                raise OSError

            with pytest.raises(OSError):
                await app(scope, receive, fail)
            await PlainTextResponse("cut off")(scope, receive, send)

        return run

    async with serve(resume_seconds=0, metrics_token="token") as client:
        _, received = await client.through(cut).request("POST", "/api/v1/chat", json_body={"message": "Hi"})
        assert received == b"cut off"
        assert await readers(client) == 0
        await client.until_idle()
        assert body.closed.is_set()


async def test_a_reader_who_leaves_a_silent_answer_is_gone_at_once(serve: Serve, upstream: respx.Route) -> None:
    """Neither at the next ping nor with the next text, which here only comes afterwards."""
    more = asyncio.Event()
    upstream.mock(return_value=streamed(delta("Hello"), more, *answer(" there")))
    async with serve(ping_seconds=300, text_timeout=10) as client:
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
            assert (await anext(response.events())).name == "start"
            await response.leave()
        more.set()
        await client.until_idle()
        assert await client.usage("outcome") == {"complete": 1}


async def test_an_answer_goes_on_once_its_reader_has_returned(serve: Serve, upstream: respx.Route) -> None:
    """Longer than it goes on without one: until another answer, which lost its reader later, has been stopped."""
    more = asyncio.Event()
    upstream.mock(
        side_effect=[streamed(delta("Hello"), more, *answer(" there")), streamed(delta("Bye"), asyncio.Event())]
    )
    question = {"message": "Hi", "message_id": str(uuid.uuid4())}
    async with serve(resume_seconds=2) as client:
        async with client.stream("POST", "/api/v1/chat", json_body=question) as response:
            assert (await anext(response.events())).name == "start"
        async with client.stream("POST", "/api/v1/chat", json_body=question) as response:
            await client.ask_and_leave()
            await until(lambda: len(client.state["service"].answers) < 2)
            more.set()
            received = await response.answer()
    assert (received.text, received.last.data["status"]) == ("Hello there", "complete")


@pytest.mark.each_database
async def test_a_request_cut_off_before_its_answer_begins_frees_the_visitors_slot(
    serve: Serve, upstream: respx.Route
) -> None:
    """Nobody reads the answer, so it ends, and the visitor may ask again."""
    reached = asyncio.Event()
    requests: list[asyncio.Task[object]] = []

    def noting(app: ASGIApp) -> ASGIApp:
        async def note(scope: Scope, receive: Receive, send: Send) -> None:
            task = asyncio.current_task()
            assert task is not None
            requests.append(task)
            await app(scope, receive, send)

        return note

    async def never(_: httpx.Request) -> httpx.Response:
        reached.set()
        await asyncio.Event().wait()
        raise AssertionError

    upstream.mock(side_effect=never)
    async with serve(resume_seconds=0, metrics_token="token", tenant={"visitor_streams": 1}) as client:
        asking = asyncio.create_task(client.through(noting).refused())
        await reached.wait()
        assert await readers(client) == 1
        requests[0].cancel()  # as the server does when it stops
        assert (await asking)[1]["code"] == "restarting"
        await client.until_idle()
        assert await readers(client) == 0
        upstream.mock(side_effect=lambda _: streamed(*answer("Hello")))
        assert (await client.ask("Hi")).text == "Hello"


@pytest.mark.parametrize("at_the_end", [False, True])
async def test_a_reader_that_stops_reading_is_cut_off_and_the_answer_ends(
    serve: Serve, upstream: respx.Route, caplog: pytest.LogCaptureFixture, at_the_end: bool
) -> None:
    """During an answer, or at the last frame, which has all of an answer that was stored."""
    caplog.set_level("INFO", "chatbot")
    half = Body([delta("Much "), asyncio.Event()])
    aborted = asyncio.Event()

    def clogging(app: ASGIApp) -> ASGIApp:
        async def clog(scope: Scope, receive: Receive, send: Send) -> None:
            async def take_the_head(message: Message) -> None:
                if message.get("body"):
                    await asyncio.sleep(CLOGGED_SECONDS)
                await send(message)

            await app({**scope, "extensions": {ABORT: aborted.set}}, receive, take_the_head)

        return clog

    question = {"message": "Hi", "message_id": str(uuid.uuid4())}
    async with serve(
        resume_seconds=0, send_timeout=0.05, text_timeout=CLOGGED_SECONDS, metrics_token="token"
    ) as client:
        if at_the_end:
            upstream.mock(return_value=streamed(*answer("Much ")))
            await client.ask("Hi", message_id=question["message_id"])
            await client.until_idle()
        else:
            upstream.mock(return_value=httpx.Response(200, stream=half))
        async with client.through(clogging).stream("POST", "/api/v1/chat", json_body=question) as response:
            assert response.status == 200
            assert await response.body() == b""
        assert aborted.is_set()
        await client.until_idle()
        assert half.closed.is_set() or at_the_end
        assert await readers(client) == 0
    assert "a reader was too slow" in [record.getMessage() for record in caplog.records]
