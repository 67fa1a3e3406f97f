"""The database cost of a question: statements, transactions and, on a server, round trips."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path

import httpx
import pytest
import respx
from sqlalchemy import event
from sqlalchemy.engine import make_url

from client import Client
from conftest import Serve
from databases import on_each_statement
from handlers import kept
from poolers import pgbouncer
from service.testing.chunks import answer, streamed

VALUE = r"'(''|[^'])*'|NULL|\b[0-9]+(\.[0-9]+)?\b"
LIMITED = {"rate_per_minute": 6000, "visitor_rate_per_minute": 1200, "tokens_per_day": 10_000_000}


@pytest.fixture(autouse=True)
def _quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the question uses the database: background tasks run once, at the start."""
    monkeypatch.setattr("service.answers.pace.TICK_SECONDS", 3600)
    monkeypatch.setattr("service.store.deadlines.SILENCE", 3600)


class Wire:
    """Passes bytes between clients and a server, and counts how often a client has to wait for the server."""

    def __init__(self, host: str, port: int) -> None:
        self.round_trips = 0
        self._server = host, port
        self._asks = False

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        await asyncio.gather(self._pass(reader, to_server, asks=True), self._pass(from_server, writer, asks=False))

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, asks: bool) -> None:
        while data := await reader.read(65_536):
            self.round_trips += asks and not self._asks
            self._asks = asks
            writer.write(data)
        writer.close()


@asynccontextmanager
async def wire_to(database_url: str) -> AsyncIterator[tuple[Wire, str]]:
    url = make_url(database_url)
    wire = Wire(url.host or "127.0.0.1", url.port or 5432)
    server = await asyncio.start_server(kept(wire.connect), "127.0.0.1", 0)
    try:
        passing = url.set(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        yield wire, passing.render_as_string(hide_password=False)
    finally:
        server.close()
        await server.wait_closed()


async def ask(client: Client, conversation_id: str | None = None) -> str:
    """A question as the widget asks it. Returns its conversation."""
    body = {"message": "Hi", "message_id": str(uuid.uuid4()), "conversation_id": conversation_id}
    async with client.stream("POST", "/api/v1/chat", json_body=body) as response:
        got = await response.answer()
    assert got.last.data["status"] == "complete", json.dumps(got.last.data)
    await client.until_idle()
    return str(got.events[0].data["conversation_id"])


@pytest.fixture(params=["direct", "pgbouncer"])
def server_url(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[str]:
    """A database by its server's own address, or through PgBouncer."""
    with pgbouncer(database_url, tmp_path) if request.param == "pgbouncer" else nullcontext(database_url) as url:
        yield url


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_question_costs_four_round_trips_to_postgresql_before_the_upstream_and_four_after(
    serve: Serve, server_url: str, upstream: respx.Route
) -> None:
    """One for the key; the transaction's beginning, its only statement and its end; two statements after the answer.

    The next question of a conversation finds the conversation and its history, too. The least of three counts: what the
    service's tasks ask at its start may come between.
    """
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with (
        wire_to(server_url) as (wire, url),
        serve(database_url=url, tenant=LIMITED, retention_days=0) as client,
    ):
        await ask(client, await ask(client))  # the statements are prepared once

        first, following = [], []
        for _ in range(3):
            wire.round_trips = 0
            conversation_id = await ask(client)
            first.append(wire.round_trips)
            wire.round_trips = 0
            await ask(client, conversation_id)
            following.append(wire.round_trips)

        assert (min(first), min(following)) == (8, 10)


async def test_a_question_is_one_transaction_before_the_upstream_and_one_after(
    serve: Serve, upstream: respx.Route
) -> None:
    """With only a few statements, each prepared once."""
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with serve(tenant=LIMITED, retention_days=0) as client:
        conversation_id = await ask(client)
        store = client.state["service"].store
        statements: list[str] = []
        commits: list[object] = []
        await on_each_statement(store, lambda text: statements.append(re.sub(VALUE, "?", text)))
        event.listen(store._database.engine, "commit", commits.append)

        await ask(client, conversation_id)
        first, statements[:] = list(statements), []
        await ask(client, conversation_id)

        assert first == statements
        assert len(commits) == 4
        assert len(statements) <= 14, "\n".join(statements)


@pytest.mark.each_database
async def test_another_attempt_costs_the_same_however_many_have_failed(serve: Serve, upstream: respx.Route) -> None:
    """Each replaces the one before, and none has an answer to give way to."""
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with serve(retention_days=0) as client:
        again = {"message": "Again?", "conversation_id": await ask(client)}
        upstream.mock(side_effect=lambda request: httpx.Response(401))
        await client.refused(json_body=again)
        statements: list[str] = []
        await on_each_statement(client.state["service"].store, statements.append)

        counts = []
        for _ in range(12):
            statements.clear()
            await client.refused(json_body=again | {"regenerate": True})
            await client.until_idle()
            counts.append(len(statements))

        assert counts[-1] == counts[2]


@pytest.mark.each_database
async def test_the_search_for_a_history_ends_after_many_questions_without_an_answer(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many a visitor asks, the next one costs the same. Any number of turns may be wanted."""
    monkeypatch.setattr("service.store.turns.MOST_PASSED_OVER", 3)
    histories = []
    async with serve(max_history_turns=2) as client:
        upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
        conversation = {"conversation_id": (await client.ask("First?")).events[0].data["conversation_id"]}
        upstream.mock(side_effect=lambda request: httpx.Response(401))
        for _ in range(7):
            await client.refused(json_body={"message": "Refused?"} | conversation)
            histories.append(len(json.loads(upstream.calls.last.request.content)["messages"]))
    assert histories == [4, 4, 4, 4, 4, 2, 2]


@pytest.mark.each_database
async def test_the_search_for_the_turn_to_replace_ends_after_many_failed_attempts(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next attempt is then a question of its own."""
    monkeypatch.setattr("service.store.turns.MOST_PASSED_OVER", 3)
    shown = []
    async with serve() as client:
        upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
        again = {"conversation_id": (await client.ask("First?")).events[0].data["conversation_id"], "regenerate": True}
        upstream.mock(side_effect=lambda request: httpx.Response(401))
        for _ in range(6):
            await client.refused(json_body={"message": "Again?"} | again)
            await client.until_idle()
            path = f"/api/v1/conversations/{again['conversation_id']}"
            shown.append(len((await client.get_json(path))["messages"]) // 2)
    assert shown == [1, 1, 1, 2, 2, 2]


@pytest.mark.each_database
async def test_any_number_of_turns_may_be_sent_as_history(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with serve(max_history_turns=2**31 - 1) as client:
        conversation_id = (await client.ask("First?")).events[0].data["conversation_id"]
        assert (await client.ask("Again?", conversation_id=conversation_id, regenerate=True)).text == "Hello"
