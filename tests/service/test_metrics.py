"""The metrics of questions, answers, the provider, the database and the process."""

import asyncio
import errno
import re
import sqlite3
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import httpx
import pytest
import respx
from prometheus_client.parser import text_string_to_metric_families

from client import Client, until
from conftest import Serve
from databases import used
from preloaded import ROOT
from service import VERSION
from service.answers import pace
from service.metrics import Metrics
from service.store.records import StoreUnavailable
from service.testing.chunks import answer, delta, streamed

TOKEN = "m3trics"
KEY_INVALID = "a4_pub_" + "A" * 32


@pytest.fixture
async def metered(serve: Serve) -> AsyncIterator[Client]:
    """A client of an application whose metrics can be read."""
    async with serve(metrics_token=TOKEN) as client:
        yield client


async def samples(client: Client) -> dict[str, float]:
    """The samples by name and labels, such as `chatbot_tokens_total kind=prompt`."""
    _, body = await client.request("GET", "/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    return {
        " ".join([sample.name, *(f"{name}={value}" for name, value in sorted(sample.labels.items()))]): sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }


def test_every_metric_is_documented() -> None:
    families = text_string_to_metric_families(Metrics().text().decode())
    names = [f"{each.name}_total" if each.type == "counter" else each.name for each in families]
    documented = re.findall(
        r"^\| `((?:chatbot|process)_\w+)` \|", (ROOT / "docs/operating.md").read_text(), re.MULTILINE
    )
    assert sorted(documented) == sorted(names)


async def test_an_answer_is_counted_with_its_outcome_status_and_duration(
    metered: Client, upstream: respx.Route
) -> None:
    """The second question is refused once before it is answered; its model thinks first."""
    upstream.mock(
        side_effect=[
            streamed(*answer("Hello", tokens=(9, 4))),
            httpx.Response(503, headers={"Retry-After": "0"}),
            streamed(*answer("<think>Let me see</think>Yes", tokens=(20, 10))),
        ]
    )
    await metered.ask("Hi")
    await metered.ask("Is it?")
    await metered.until_idle()

    values = await samples(metered)
    assert values["chatbot_answers_total outcome=complete upstream_status=200"] == 2
    assert values["chatbot_upstream_retries_total reason=refused"] == 1
    assert values["chatbot_requests_total code= route=/api/v1/chat status=200"] == 2
    assert values["chatbot_tokens_total kind=prompt"] == 29
    assert values["chatbot_tokens_total kind=completion"] == 14
    assert values["chatbot_charged_tokens_total"] == 43
    assert values["chatbot_thought_tokens_total"] > 3
    assert values["chatbot_first_text_seconds_count"] == values["chatbot_answer_seconds_count"] == 2
    assert values["chatbot_answer_seconds_sum"] >= values["chatbot_first_text_seconds_sum"] > 0
    assert values["chatbot_open_answers"] == values["chatbot_readers"] == values["chatbot_unstored_answers"] == 0


async def test_the_first_text_is_timed_from_the_questions_arrival(
    metered: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database's time before the upstream request is part of the visitor's wait."""
    store = metered.state["service"].store
    begin_turn = store.begin_turn

    async def begin_later(*given: object, **options: object) -> object:
        await asyncio.sleep(0.5)
        return await begin_turn(*given, **options)

    monkeypatch.setattr(store, "begin_turn", begin_later)
    upstream.mock(return_value=streamed(*answer("Hello")))
    await metered.ask("Hi")
    await metered.until_idle()
    assert (await samples(metered))["chatbot_first_text_seconds_sum"] >= 0.5


async def test_open_answers_readers_and_resumes_are_counted(metered: Client, upstream: respx.Route) -> None:
    resume = asyncio.Event()
    upstream.mock(return_value=streamed(delta("Half "), resume, *answer("whole")))
    asked = {"message": "A story", "message_id": str(uuid.uuid4())}
    async with metered.stream("POST", "/api/v1/chat", json_body=asked) as response:
        async with metered.stream("POST", "/api/v1/chat", json_body=asked) as second:
            values = await samples(metered)
            assert (values["chatbot_open_answers"], values["chatbot_readers"]) == (1, 2)
            resume.set()
            await second.body()
        await response.body()
    await metered.until_idle()
    await metered.ask(asked["message"], message_id=asked["message_id"])

    values = await samples(metered)
    assert values["chatbot_resumes_total place=here"] == values["chatbot_resumes_total place=stored"] == 1
    assert (values["chatbot_open_answers"], values["chatbot_readers"]) == (0, 0)
    assert values["chatbot_first_text_seconds_count"] == 1


async def test_refusals_are_counted_by_reason_and_requests_by_code(metered: Client) -> None:
    await metered.refused(json_body={"message": ""})
    await metered.refused(headers={"X-API-Key": KEY_INVALID})
    await metered.refused(headers={"X-API-Key": KEY_INVALID})
    await metered.request("GET", "/nowhere")

    values = await samples(metered)
    assert values["chatbot_refusals_total reason=validation_failed"] == 1
    assert values["chatbot_refusals_total reason=key_invalid"] == 2
    assert values["chatbot_requests_total code=key_invalid route=/api/v1/chat status=401"] == 2
    assert values["chatbot_requests_total code=not_found route=none status=404"] == 1


async def test_a_provider_outage_shows_in_retries_and_open_circuits(
    metered: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.upstream.call._backoff", lambda _: 0.0)
    upstream.mock(return_value=httpx.Response(500))
    for _ in range(10):
        await metered.refused()
    values = await samples(metered)
    assert values["chatbot_open_circuits"] == 1
    assert values["chatbot_answers_total outcome=upstream_failed upstream_status=500"] == 10
    assert values["chatbot_upstream_retries_total reason=refused"] == 20

    await metered.refused()
    assert (await samples(metered))["chatbot_refusals_total reason=upstream_failed"] == 1


async def test_answers_without_readers_are_counted_as_abandoned(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(delta("Half "), None))
    async with serve(metrics_token=TOKEN, resume_seconds=0) as client:
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}):
            pass
        await client.until_idle()
        values = await samples(client)
    assert values["chatbot_abandoned_answers_total"] == 1
    assert values["chatbot_answers_total outcome=cancelled upstream_status=200"] == 1


async def test_answers_of_a_dead_process_are_counted_by_the_process_that_closes_them(
    metered: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TICK", "HEARTBEAT", "LOST"):
        monkeypatch.setattr(pace, f"{name}_SECONDS", 0.02)
    store = metered.state["service"].store
    tenant = await store.get_tenant("shop")
    await store.begin_turn(tenant.id, uuid.uuid4(), conversation_id=None, question="Hi", writer="another:1")
    async with asyncio.timeout(30):
        while (await samples(metered))["chatbot_interrupted_answers_total"] != 1:
            await asyncio.sleep(0.05)


async def test_answers_count_as_unstored_until_the_database_accepts_them(
    metered: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pace, "STORING_SECONDS", 0.01)
    monkeypatch.setattr(pace, "STORE_RETRY_SECONDS", 0.01)
    store, works = metered.state["service"].store, asyncio.Event()
    finish_turn = store.finish_turn

    async def finish_if_it_works(*given: object, **options: object) -> object:
        if not works.is_set():
            raise StoreUnavailable("full")
        return await finish_turn(*given, **options)

    monkeypatch.setattr(store, "finish_turn", finish_if_it_works)
    upstream.mock(return_value=streamed(*answer("Hello")))
    assert (await metered.ask("Hi")).text == "Hello"
    assert (await samples(metered))["chatbot_unstored_answers"] == 1
    works.set()
    await metered.until_idle()
    assert (await samples(metered))["chatbot_unstored_answers"] == 0


async def test_database_calls_are_timed_and_grouped(metered: Client) -> None:
    store = metered.state["service"].store
    tenant = await store.get_tenant("shop")
    before = await samples(metered)
    rows = [used(tenant, at=datetime.now(UTC)) for _ in range(20)]
    await asyncio.gather(*(store.record([row]) for row in rows))

    after = await samples(metered)
    grown = {name: after[name] - before.get(name, 0) for name in after}
    assert grown["chatbot_database_seconds_count kind=write"] >= 20
    assert grown["chatbot_database_wait_seconds_count kind=write"] >= 20
    assert grown["chatbot_database_seconds_sum kind=write"] > 0
    assert 1 <= grown["chatbot_database_group_calls_count"] < 20
    assert grown["chatbot_database_group_calls_sum"] >= 20
    assert after["chatbot_database_seconds_count kind=read"] > 0


async def test_the_metrics_report_release_files_memory_disk_and_readiness(
    metered: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = metered.state["service"].metrics
    await until(lambda: metrics.disk_free.collect()[0].samples != [])
    values = await samples(metered)
    assert 0 < values["process_open_fds"] < values["process_max_fds"]
    assert values["process_resident_memory_bytes"] > 10_000_000
    assert 0 < values["chatbot_disk_free_bytes volume=database"] <= values["chatbot_disk_size_bytes volume=database"]
    [build] = [name for name in values if name.startswith("chatbot_build_info")]
    assert re.fullmatch(rf"chatbot_build_info schema=\d+ version={re.escape(VERSION)}", build)
    assert values["chatbot_ready"] == 1

    async def fail() -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(metered.state["service"].store, "recent_ping", fail)
    assert (await metered.request("GET", "/api/v1/ready"))[0].status == 503
    assert (await samples(metered))["chatbot_ready"] == 0


async def test_readiness_follows_the_database_though_nobody_requests_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without health checks by a proxy, the alert must neither miss an outage nor outlast it."""
    monkeypatch.setattr("service.web.gauges.SECONDS", 0.02)
    async with serve(metrics_token=TOKEN) as client:
        server = client.state["service"].store._database._server

        async def gone(*_: object, **__: object) -> None:
            raise sqlite3.OperationalError("disk I/O error")

        async def until_ready_is(expected: int) -> None:
            async with asyncio.timeout(60):
                while (await samples(client))["chatbot_ready"] != expected:
                    await asyncio.sleep(0.05)

        with monkeypatch.context() as outage:
            for call in ("read", "write"):
                outage.setattr(server, call, gone)
            assert (await client.refused())[1]["code"] == "database_unavailable"
            await until_ready_is(0)
        await until_ready_is(1)


async def test_metrics_go_on_after_the_disk_could_not_be_measured(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A volume may be away for a moment, or all file descriptors in use."""
    monkeypatch.setattr("service.web.gauges.SECONDS", 0.02)
    asked: list[object] = []

    def gone(path: object) -> None:
        asked.append(path)
        raise OSError(errno.ESTALE, "Stale file handle")

    async with serve(metrics_token=TOKEN) as client:
        with monkeypatch.context() as outage:
            outage.setattr("service.web.gauges.os.statvfs", gone)
            await until(lambda: bool(asked))
        client.state["service"].metrics.disk_free.labels("database").set(0)
        async with asyncio.timeout(30):
            while not (await samples(client)).get("chatbot_disk_free_bytes volume=database"):
                await asyncio.sleep(0.05)
