"""A full disk or an overloaded machine is reported, with its cause."""

import asyncio
import json
import sqlite3
import threading
import time
import uuid
from contextlib import closing
from datetime import UTC, datetime

import pytest
import respx
from sqlalchemy import Connection, event
from sqlalchemy.engine import make_url

from client import Client, until
from conftest import Serve
from databases import connect_postgres
from service.access import limits
from service.store import deadlines
from service.store.records import StoreTimeout
from service.testing.chunks import answer, delta, streamed
from service.web import lag
from service.web.lag import LoopLag

FULL = """
    CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION 'could not extend file: No space left on device' USING ERRCODE = '53100'; END $$;
    CREATE TRIGGER full_disk BEFORE INSERT OR UPDATE ON probe EXECUTE FUNCTION full_disk();
"""


async def readiness(client: Client) -> tuple[int, str | None]:
    """The status and code of /ready, without its cache."""
    client.state["service"].store._pinged_at = float("-inf")
    response, body = await client.request("GET", "/api/v1/ready")
    return response.status, json.loads(body).get("code")


async def test_a_database_file_that_cannot_be_written_is_not_ready_and_the_log_says_why(
    serve: Serve, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    """Existing blocks can still be overwritten, as on a full disk."""
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with serve() as client:
        assert await readiness(client) == (200, None)
        engine = client.state["service"].store._database.engine
        most_pages = 1  # SQLite caps it at the actual number

        def limit_pages(connection: Connection) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count={most_pages}")

        event.listen(engine, "begin", limit_pages)
        while await status_of_question(client) == 200:
            pass
        caplog.set_level("INFO")
        assert await readiness(client) == (503, "database_unavailable")
        assert "full" in str([record.__dict__.get("reason") for record in caplog.records])
        most_pages = 1_000_000
        assert await readiness(client) == (200, None)


async def status_of_question(client: Client) -> int:
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi " * 1000}) as response:
        await response.body()
        return response.status


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
async def test_a_server_with_a_full_disk_is_not_ready_and_the_log_says_why(
    client: Client, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert await readiness(client) == (200, None)
    connection = await connect_postgres(make_url(database_url))
    await connection.execute(FULL)
    caplog.set_level("INFO")
    assert await readiness(client) == (503, "database_unavailable")
    assert "No space left" in str([record.__dict__.get("reason") for record in caplog.records])
    await connection.execute("DROP TRIGGER full_disk ON probe")
    await connection.close()
    assert await readiness(client) == (200, None)


@pytest.mark.each_database
@pytest.mark.parametrize("table", ["conversations", "messages", "usage", "counters"])
async def test_a_table_without_write_permission_is_not_ready(client: Client, database_url: str, table: str) -> None:
    url = make_url(database_url)
    if url.get_backend_name() == "sqlite":
        await asyncio.to_thread(rename_in_file, str(url.database), table)
    else:
        connection = await connect_postgres(url)
        await connection.execute(f"ALTER TABLE {table} RENAME TO gone")
        await connection.close()
    assert (await readiness(client))[0] >= 500


def rename_in_file(path: str, table: str) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"ALTER TABLE {table} RENAME TO gone")


@pytest.mark.each_database
async def test_readiness_checks_write_nothing_to_the_database(client: Client) -> None:
    for _ in range(5):
        assert await readiness(client) == (200, None)
    store = client.state["service"].store
    assert await store.usage("shop", datetime(1970, 1, 1, tzinfo=UTC), ()) == []


# A lagging event loop


def make_late(client: Client, *seconds: float) -> None:
    """Simulate this many late ticks of the event loop, by this many seconds."""
    measured = client.state["service"].lag = LoopLag()
    for late in seconds:
        measured._note(late)


async def test_a_loop_that_is_repeatedly_late_sheds_new_questions_first(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))

    async def touched(*_: object) -> None:
        raise AssertionError("the database was asked")

    with monkeypatch.context() as patch:
        for name in ("find_access", "find_turn", "lists_any", "begin_turn", "take"):
            if hasattr(client.state["service"].store, name):
                patch.setattr(client.state["service"].store, name, touched)
        make_late(client, 2.0, 2.0)
        status, problem, headers = await client.refused()
    assert (status, problem["code"]) == (503, "overloaded")
    assert int(headers["retry-after"]) >= 1
    make_late(client, 2.0, 0.0)
    assert (await client.ask("Hi")).text == "Hello"


async def test_a_loop_that_was_late_once_sheds_nothing(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    make_late(client, 0.0, 5.0)
    assert (await client.ask("Hi")).text == "Hello"


async def test_resuming_works_however_late_the_loop_is(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    message_id = str(uuid.uuid4())
    await client.ask("Hi", message_id=message_id)
    make_late(client, 2.0, 2.0)
    assert (await client.ask("Hi", message_id=message_id, headers={"Last-Event-ID": "2"})).text == "llo"


async def test_the_metrics_show_a_blocked_loop(serve: Serve) -> None:
    async with serve(metrics_token="token") as client:
        measured = client.state["service"].lag
        await until(lambda: measured._wakes_at < float("inf"))
        time.sleep(lag.STEP_SECONDS + 0.3)
        await until(lambda: measured.worst >= 0.3)
        headers = {"Authorization": "Bearer token"}
        _, body = await client.request("GET", "/metrics", headers=headers)
        (line,) = [line for line in body.decode().splitlines() if line.startswith("chatbot_loop_lag_seconds ")]
        assert float(line.split()[1]) >= 0.3


@pytest.mark.parametrize(("late", "code"), [(lag.SUSPECT_SECONDS + 0.1, "overloaded"), (0.0, "database_unavailable")])
async def test_a_database_timeout_is_blamed_on_the_database_only_if_the_loop_was_on_time(
    client: Client, monkeypatch: pytest.MonkeyPatch, late: float, code: str
) -> None:
    async def timed_out(*_: object, **__: object) -> None:
        raise StoreTimeout("The database did not answer in time.")

    make_late(client, late)
    for name in ("find_access", "recent_ping"):
        monkeypatch.setattr(client.state["service"].store, name, timed_out)
    status, problem, headers = await client.refused()
    assert (status, problem["code"], "retry-after" in headers) == (503, code, True)
    response, body = await client.request("GET", "/api/v1/ready")
    assert (response.status, json.loads(body)["code"]) == (503, code)


async def test_a_call_that_waits_too_long_for_its_turn_times_out(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadlines, "DEADLINE", 0.05)
    store, go_on = client.state["service"].store, threading.Event()
    answering = asyncio.Event()

    def slowly(db: Connection) -> None:
        loop.call_soon_threadsafe(answering.set)
        go_on.wait()

    loop = asyncio.get_running_loop()
    slow = asyncio.create_task(store._database.write(slowly, patient=True))
    await answering.wait()
    with pytest.raises(StoreTimeout):
        await store.ping()
    go_on.set()
    await slow


# Access with a public key


async def test_one_answer_has_a_limited_number_of_readers(serve: Serve, upstream: respx.Route) -> None:
    go = asyncio.Event()
    upstream.mock(side_effect=lambda request: streamed(delta("Half "), go, *answer("whole")))
    async with serve(tenant={"visitor_streams": 1}) as client:
        message_id = str(uuid.uuid4())
        asking = [asyncio.create_task(client.ask("Hi", message_id=message_id))]
        await until(lambda: upstream.call_count == 1)
        asking.append(asyncio.create_task(client.ask("Hi", message_id=message_id)))
        [writing] = client.state["service"].answers._writings.values()
        await until(lambda: writing.readers == 2)
        for _ in range(50):
            status, problem, headers = await client.refused(json_body={"message": "Hi", "message_id": message_id})
            assert (status, problem["code"], headers["retry-after"]) == (429, "too_many_answers", "1")
        go.set()
        assert {got.text for got in await asyncio.gather(*asking)} == {"Half whole"}


async def test_without_a_stream_limit_one_answer_has_at_most_twenty_readers(
    client: Client, upstream: respx.Route
) -> None:
    go = asyncio.Event()
    upstream.mock(side_effect=lambda request: streamed(delta("Half "), go, *answer("whole")))
    message_id = str(uuid.uuid4())
    asking = [asyncio.create_task(client.ask("Hi", message_id=message_id)) for _ in range(limits.MOST_READERS)]
    await until(lambda: any(each.readers == 20 for each in client.state["service"].answers._writings.values()))
    assert (await client.refused(json_body={"message": "Hi", "message_id": message_id}))[0] == 429
    go.set()
    assert {got.text for got in await asyncio.gather(*asking)} == {"Half whole"}


@pytest.mark.each_database
async def test_a_full_service_returns_a_stored_answer_only_for_its_own_question(
    serve: Serve, upstream: respx.Route
) -> None:
    """The same message id with another text or conversation is refused."""
    upstream.mock(side_effect=lambda _: streamed(*answer("Hello")))
    async with serve(max_streams=1) as client:
        message_id = str(uuid.uuid4())
        await client.ask("Hi", message_id=message_id)
        await client.until_idle()
        other = (await client.ask("Hi")).events[0].data["conversation_id"]
        await client.until_idle()
        upstream.mock(side_effect=lambda _: streamed(delta("Half "), asyncio.Event()))
        asked = {"message": "Hi", "message_id": message_id}
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Go on"}):
            assert (await client.refused())[1]["code"] == "overloaded"
            assert (await client.ask("Hi", message_id=message_id)).text == "Hello"
            for different in ({"message": "Other"}, {"conversation_id": other}):
                status, problem, _ = await client.refused(json_body=asked | different)
                assert (status, problem["code"]) == (409, "message_id_taken")


READS: dict[str, tuple[str, str, object]] = {
    "a conversation": ("GET", "/api/v1/conversations/{conversation}", None),
    "a deletion": ("DELETE", "/api/v1/conversations/{other}", None),
    "a stop": ("POST", "/api/v1/messages/{message}/stop", None),
    "a rating": ("POST", "/api/v1/messages/{message}/feedback", {"rating": "up"}),
    "a list": ("GET", "/api/v1/conversations", None),
    "a resume": ("POST", "/api/v1/chat", {"message": "Hi", "message_id": "{message}"}),
}


@pytest.mark.parametrize("kind", READS)
async def test_calls_that_ask_no_model_are_limited_by_the_visitors_rate(
    serve: Serve, upstream: respx.Route, kind: str
) -> None:
    """All kinds together, five per question of the rate limit, and separately for each visitor."""
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with serve(tenant={"visitor_rate_per_minute": 16}) as client:
        message_id = str(uuid.uuid4())
        start = (await client.ask("Hi", message_id=message_id)).events[0].data
        ids = {"conversation": start["conversation_id"], "other": uuid.uuid4(), "message": message_id}
        method, path, body = READS[kind]
        sent = json.loads(json.dumps(body).replace("{message}", message_id))

        async def status(address: str) -> tuple[int, dict[str, str]]:
            async with client.stream(method, path.format(**ids), json_body=sent, address=address) as response:
                await response.body()
                return response.status, response.headers

        assert 429 not in {(await status("198.51.100.7"))[0] for _ in range(80)}
        refused, headers = await status("198.51.100.7")
        assert (refused, 1 <= int(headers["retry-after"]) <= 60) == (429, True)
        assert (await status("203.0.113.9"))[0] != 429
        assert (await client.ask("Hi")).text == "Hello", "questions have a limit of their own"


async def test_without_a_visitor_rate_limit_reads_are_unlimited(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    start = (await client.ask("Hi")).events[0].data
    for _ in range(limits.LEAST_READS + 1):
        await client.get_json(f"/api/v1/conversations/{start['conversation_id']}")


async def test_a_refusal_of_many_fields_lists_only_some(client: Client) -> None:
    body = {"message": "Hi"} | {f"field{number}": 1 for number in range(4000)}
    status, problem, _ = await client.refused(json_body=body)
    assert (status, problem["code"], len(problem["errors"])) == (422, "validation_failed", 20)
    long = {"message": "Hi"} | {f"{number:02}" + "x" * 1000: 1 for number in range(60)}
    async with client.stream("POST", "/api/v1/chat", json_body=long) as response:
        assert response.status == 422
        assert len(await response.body()) < 10_000


async def test_frequent_readiness_checks_cost_no_extra_work(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred concurrent checks cost one database query."""
    database = client.state["service"].store._database
    pings = 0
    ping = database.ping

    async def counted() -> None:
        nonlocal pings
        pings += 1
        await ping()

    monkeypatch.setattr(database, "ping", counted)
    answers = await asyncio.gather(*(client.request("GET", "/api/v1/ready") for _ in range(100)))
    assert {response.status for response, _ in answers} == {200}
    assert pings <= 2
