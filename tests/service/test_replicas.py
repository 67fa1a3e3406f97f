"""Two processes on one database: an answer that one writes can be read, resumed and stopped at the other."""

import asyncio
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
import respx
from sqlalchemy import func, select

import chatbot
from client import Answer, Client, ReceivedEvent, Response, until
from conftest import Serve
from service.answers import pace
from service.store.records import Piece, StoreUnavailable
from service.store.tables import pieces
from service.testing.chunks import answer, delta, streamed
from upstreams import local_upstream

pytestmark = pytest.mark.each_database


@pytest.fixture(autouse=True)
def _faster(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the intervals."""
    for name, seconds in {"TICK": 0.02, "HEARTBEAT": 0.05, "LOST": 2, "FOLLOWED": 60}.items():
        monkeypatch.setattr(f"service.answers.pace.{name}_SECONDS", seconds)


@pytest.fixture
async def two(serve: Serve) -> AsyncIterator[tuple[Client, Client]]:
    """Clients of two applications that share a database and nothing else."""
    async with serve(resume_seconds=60) as one, process_beside(one) as other:
        yield one, other


@asynccontextmanager
async def process_beside(one: Client) -> AsyncIterator[Client]:
    """A client of another application with the same settings."""
    app = chatbot.create_app(one.state["service"].settings)
    async with app.router.lifespan_context(app) as state:
        assert state is not None
        yield Client(app, dict(state), one.headers)


def question() -> dict[str, str]:
    return {"message": "A story", "message_id": str(uuid.uuid4())}


@asynccontextmanager
async def half_answered(
    client: Client, upstream: respx.Route
) -> AsyncIterator[tuple[dict[str, str], Response, AsyncIterator[ReceivedEvent], asyncio.Event]]:
    """A question whose answer is half written: the request, the response, its events after `start`, and the event that
    releases the other half."""
    resume = asyncio.Event()
    upstream.mock(return_value=streamed(delta("Half "), resume, *answer("whole")))
    body = question()
    async with client.stream("POST", "/api/v1/chat", json_body=body) as response:
        events = response.events()
        assert (await anext(events)).name == "start"
        yield body, response, events, resume


async def follow(body: dict[str, str], one: Client, other: Client) -> asyncio.Task[Answer]:
    """A reader at the other process, which the writing process knows about."""
    following = asyncio.create_task(other.ask(body["message"], message_id=body["message_id"]))
    writing = one.state["service"].answers._writings[uuid.UUID(body["message_id"])]
    await until(lambda: writing.followed > 0)
    return following


async def test_a_reader_resumes_at_another_process(two: tuple[Client, Client], upstream: respx.Route) -> None:
    one, other = two
    more, resume = asyncio.Event(), asyncio.Event()
    upstream.mock(return_value=streamed(delta("Once "), more, delta("upon "), resume, *answer("a time")))
    body = question()
    async with one.stream("POST", "/api/v1/chat", json_body=body) as response:
        events = response.events()
        assert (await anext(events)).name == "start"
        seen = await anext(events)
        await response.leave()
    async with other.stream("POST", "/api/v1/chat", json_body=body, headers={"Last-Event-ID": seen.id}) as response:
        events = response.events()
        assert (await anext(events)).name == "start"
        more.set()
        assert (await anext(events)).data["chunk"] == "upon "
        resume.set()
        assert (await anext(events)).data["chunk"] == "a time"
        assert (await anext(events)).data["status"] == "complete"
    assert upstream.call_count == 1


async def test_a_revoked_key_is_refused_at_once_by_every_process(
    two: tuple[Client, Client], upstream: respx.Route
) -> None:
    one, other = two
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    await asyncio.gather(*(client.ask("Hi") for client in two * 3))
    [key] = await one.state["service"].store.list_keys("shop")
    await one.state["service"].store.revoke_key("shop", key.id)
    refusals = [await client.refused() for client in (other, one)]
    assert [(status, problem["code"]) for status, problem, _ in refusals] == [(401, "key_invalid")] * 2
    assert upstream.call_count == 6


async def test_a_rotated_key_works_for_exactly_its_grace_period_at_every_process(
    two: tuple[Client, Client], upstream: respx.Route
) -> None:
    one, other = two
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    store = one.state["service"].store
    _, newer = await store.rotate_keys("shop", grace=timedelta(minutes=5))
    for client in two:
        assert (await client.ask("Hi")).text == "Hello"
        assert (await client.ask("Hi", headers={"X-API-Key": newer})).text == "Hello"
    await store.rotate_keys("shop", grace=timedelta())
    for client in two:
        assert (await client.refused())[1]["code"] == "key_invalid"
        assert (await client.refused(headers={"X-API-Key": newer}))[1]["code"] == "key_invalid"


async def test_the_same_question_at_two_processes_is_one_upstream_call(
    two: tuple[Client, Client], upstream: respx.Route
) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Only once")))
    body = question()
    answers = await asyncio.gather(*(client.ask("A story", message_id=body["message_id"]) for client in two * 5))
    assert {got.text for got in answers} == {"Only once"}
    assert {got.names[-1] for got in answers} == {"done"}
    assert upstream.call_count == 1


async def test_an_answer_with_a_reader_at_another_process_keeps_running(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.answers.pace.FOLLOWED_SECONDS", 4)  # longer than anything may hang
    async with serve(resume_seconds=0) as one, process_beside(one) as other:
        async with half_answered(one, upstream) as (body, response, _, resume):
            following = await follow(body, one, other)
            await response.leave()
        writing = one.state["service"].answers._writings[uuid.UUID(body["message_id"])]
        deadline = writing.deadline
        await until(
            lambda: writing.deadline is not deadline or writing.phase == "abandoned"
        )  # what one look is good for is over
        assert writing.phase == "open"
        resume.set()
        assert (await following).text == "Half whole"


async def test_an_answer_can_be_stopped_at_another_process(two: tuple[Client, Client], upstream: respx.Route) -> None:
    one, other = two
    async with half_answered(one, upstream) as (body, _, events, _):
        stopped, _ = await other.request("POST", f"/api/v1/messages/{body['message_id']}/stop")
        assert stopped.status == 204
        last = [event async for event in events][-1]
    assert (last.name, last.data["status"]) == ("done", "cancelled")


async def test_the_turn_of_a_dead_process_ends_as_interrupted_for_its_readers(
    two: tuple[Client, Client], upstream: respx.Route
) -> None:
    _, other = two
    store = other.state["service"].store
    tenant = await store.get_tenant("shop")
    body = question()
    start = await store.begin_turn(
        tenant.id,
        uuid.UUID(body["message_id"]),
        conversation_id=None,
        question="A story",
        writer="a process that died",
    )
    await store.checkpoint([start.turn.id], [Piece(start.turn.number, 0, "Half", 2)])
    got = await asyncio.wait_for(other.ask("A story", message_id=body["message_id"]), 30)
    assert (got.text, got.names[-1], got.last.data["code"]) == ("Half", "error", "interrupted")
    totals = await store.usage("shop", datetime.now(UTC) - timedelta(days=1), ["outcome"])
    assert [(total.group[0], total.requests) for total in totals] == [("interrupted", 1)]
    assert not upstream.called


async def test_an_answer_survives_a_long_database_outage(
    two: tuple[Client, Client], upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No heartbeats were possible during the outage, so the first process to recover must not count others as dead."""
    monkeypatch.setattr("service.answers.pace.LOST_SECONDS", 1)
    one, other = two
    away: set[Client] = set()
    missed: Counter[Client] = Counter()

    def may_be_away(client: Client, name: str) -> None:
        store = client.state["service"].store
        call = getattr(store, name)

        async def unless_away(*arguments: object) -> object:
            if client in away:
                missed[client] += name == "heartbeats"
                raise StoreUnavailable("away")
            return await call(*arguments)

        monkeypatch.setattr(store, name, unless_away)

    async with half_answered(one, upstream) as (body, _, events, resume):
        message_id, known = uuid.UUID(body["message_id"]), other.state["service"].answers
        await until(lambda: message_id in known._elsewhere._heartbeats)
        for client in two:
            for name in ("checkpoint", "heartbeats"):
                may_be_away(client, name)
        away.update(two)
        most = pace.LOST_SECONDS / pace.HEARTBEAT_SECONDS
        await until(lambda: missed[other] > most)  # heartbeats: more than a process may miss
        away.remove(other)
        seen = known._elsewhere._heartbeats[message_id].seen
        await until(lambda: known._elsewhere._heartbeats[message_id].seen > seen + 2)
        store = other.state["service"].store
        assert (await store.find_turn((await store.get_tenant("shop")).id, message_id)).status == "running"
        away.clear()
        resume.set()
        assert [event async for event in events][-1].data["status"] == "complete"


async def test_turns_of_a_dead_process_are_closed_even_without_readers(serve: Serve) -> None:
    async with serve() as client:
        store = client.state["service"].store
        tenant = await store.get_tenant("shop")
        start = await store.begin_turn(
            tenant.id, uuid.uuid4(), conversation_id=None, question="A story", writer="a process that died"
        )
        async with asyncio.timeout(30):
            while (turn := await store.find_turn(tenant.id, start.turn.id)).status == "running":
                await asyncio.sleep(0.01)
    assert (turn.status, turn.code) == ("error", "interrupted")


async def test_a_turn_that_was_left_running_for_a_month_is_closed_and_so_are_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a restored backup, or a clock that was wrong: more milliseconds than an integer column holds."""
    async with serve(retention_days=0) as client:
        store = client.state["service"].store
        tenant = await store.get_tenant("shop")

        async def begin(at: datetime) -> uuid.UUID:
            with monkeypatch.context() as patch:
                patch.setattr("service.store.store._now", lambda: at)
                start = await store.begin_turn(
                    tenant.id, uuid.uuid4(), conversation_id=None, question="A story", writer="a process that died"
                )
            return uuid.UUID(str(start.turn.id))

        now = datetime.now(UTC)
        left = [await begin(at) for at in (now - timedelta(days=60), now)]
        async with asyncio.timeout(30):
            while await store.heartbeats():
                await asyncio.sleep(0.01)
        turns = [await store.find_turn(tenant.id, message_id) for message_id in left]
    assert [turn and turn.code for turn in turns] == ["interrupted", "interrupted"]


async def test_a_busy_providers_refusal_still_has_a_wait_at_another_process(
    two: tuple[Client, Client], upstream: respx.Route
) -> None:
    """A proxy passes a question that was refused with 503 on to the next replica."""
    one, other = two
    upstream.mock(return_value=httpx.Response(429, headers={"Retry-After": "20"}))
    body = question()

    status, problem, headers = await one.refused(json_body=body)
    last = (await other.ask(body["message"], message_id=body["message_id"])).last

    assert (status, problem["code"], headers["retry-after"]) == (503, "busy", "20")
    assert (last.name, last.data["code"]) == ("error", "busy")
    assert last.data["retry_after"] > 0
    assert upstream.call_count == 1


async def test_a_withdrawn_question_can_be_asked_again(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The visitor left while the upstream was being connected; the same request starts over."""
    with local_upstream() as local:
        async with serve(openai_base_url=local.url("quick")) as client:
            connected, message_id = await client.leave_while_connecting(monkeypatch)
            connected.set()
            await client.until_idle()
            assert (await client.ask("Hi", message_id=message_id)).text == "Quick answer"
            assert local.asked == 1


async def test_a_visitor_who_leaves_during_the_connect_and_returns_at_another_process_gets_an_answer(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    with local_upstream() as local:
        async with serve(openai_base_url=local.url("quick")) as one, process_beside(one) as other:
            connected, message_id = await one.leave_while_connecting(monkeypatch)
            writing = one.state["service"].answers._writings[uuid.UUID(message_id)]
            await until(lambda: writing.phase == "abandoned")
            following = await follow({"message": "Hi", "message_id": message_id}, one, other)
            await until(lambda: writing.phase == "open")
            connected.set()
            assert (await following).text == "Quick answer"
            assert local.asked == 1


async def test_readers_of_a_deleted_answer_get_message_not_found(
    two: tuple[Client, Client], upstream: respx.Route
) -> None:
    one, other = two
    async with half_answered(one, upstream) as (body, _, _, _):
        following = await follow(body, one, other)
        store = other.state["service"].store
        turn = await store.find_turn((await store.get_tenant("shop")).id, uuid.UUID(body["message_id"]))
        await one.request("DELETE", f"/api/v1/conversations/{turn.conversation_id}")
        assert (await following).last.data["code"] == "message_not_found"


async def test_a_reader_of_an_answer_of_another_process_learns_of_a_shutdown(
    two: tuple[Client, Client], upstream: respx.Route
) -> None:
    one, other = two
    async with half_answered(one, upstream) as (body, _, _, _):
        following = await follow(body, one, other)
        await other.state["service"].answers.drain(0)
        assert (await following).last.data["code"] == "restarting"


async def test_a_reader_of_an_answer_of_another_process_is_refused_after_a_shutdown(
    two: tuple[Client, Client], upstream: respx.Route
) -> None:
    """The process still accepts requests for a while, but a stream that began now would get no last event."""
    one, other = two
    async with half_answered(one, upstream) as (body, _, events, resume):
        await other.state["service"].answers.drain(0)
        status, problem, headers = await asyncio.wait_for(other.refused(json_body=body), 30)
        assert (status, problem["code"], headers["retry-after"]) == (503, "restarting", "1")
        resume.set()
        assert [event async for event in events][-1].data["status"] == "complete"
    assert (await other.ask(body["message"], message_id=body["message_id"])).text == "Half whole"


async def test_an_answer_that_was_wrongly_taken_for_lost_is_still_stored(
    two: tuple[Client, Client], upstream: respx.Route
) -> None:
    one, other = two
    store = other.state["service"].store
    async with half_answered(one, upstream) as (body, _, events, resume):
        message_id = uuid.UUID(body["message_id"])
        async with asyncio.timeout(30):
            while not await store.abandon(message_id, (await store.heartbeats())[message_id].beat):
                continue  # it has shown life meanwhile
        resume.set()
        assert [event async for event in events][-1].data["status"] == "complete"
    turn = await store.find_turn((await store.get_tenant("shop")).id, message_id)
    assert (turn.answer, turn.status) == ("Half whole", "complete")
    totals = await store.usage("shop", datetime.now(UTC) - timedelta(days=1), ["outcome"])
    assert [(total.group[0], total.requests, total.completion_tokens) for total in totals] == [("complete", 1, 4)]


async def test_an_answer_of_another_process_that_cannot_be_read_ends_with_an_error(
    two: tuple[Client, Client], upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = two

    async def broken(*arguments: object) -> None:
        raise RuntimeError("a fault of our own")

    async with half_answered(one, upstream) as (body, _, _, _):
        monkeypatch.setattr(other.state["service"].store, "follow_turn", broken)
        assert (await other.ask(body["message"], message_id=body["message_id"])).last.data["code"] == "interrupted"


async def test_closing_a_turn_waits_for_its_checkpoint_and_leaves_no_pieces(
    two: tuple[Client, Client], upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, _ = two
    store = one.state["service"].store
    checkpoint, keeping, go_on = store.checkpoint, asyncio.Event(), asyncio.Event()

    async def slowly(alive: Sequence[uuid.UUID], kept: Sequence[Piece]) -> None:
        if kept:
            keeping.set()
            await go_on.wait()
        await checkpoint(alive, kept)

    monkeypatch.setattr("service.answers.pace.CHECKPOINT_SECONDS", 0)
    monkeypatch.setattr("service.answers.pace.STORING_SECONDS", 0.1)
    monkeypatch.setattr(store, "checkpoint", slowly)
    async with half_answered(one, upstream) as (body, _, events, resume):
        try:
            assert (await anext(events)).data == {"chunk": "Half "}
            await keeping.wait()
            resume.set()
            assert [event async for event in events][-1].data["status"] == "complete"
            turn = uuid.UUID(body["message_id"])
            tenant = await store.get_tenant("shop")
            assert (await store.find_turn(tenant.id, turn)).status == "running"
        finally:
            go_on.set()
    await one.until_idle()
    stored = await store.find_turn(tenant.id, turn)
    assert (stored.answer, stored.status) == ("Half whole", "complete")
    assert await store._database.read(lambda db: db.scalar(select(func.count()).select_from(pieces))) == 0
