"""A tenant's tokens per day: what an answer is charged, and refusals once the budget is spent."""

import asyncio
import math
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import respx

from client import until
from conftest import Serve
from databases import has_spent
from service.store.records import UsageRow
from service.store.store import Store
from service.testing.chunks import answer, delta, streamed
from service.tokens import estimate_tokens


@pytest.fixture(autouse=True)
def _every_question_is_answered(upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))


@pytest.mark.each_database
async def test_fifty_concurrent_questions_overspend_the_budget_by_at_most_one_answer(
    serve: Serve, upstream: respx.Route
) -> None:
    """950 of 1,000 tokens are spent, each answer may take about 120: one begins, and 49 cost nothing."""
    go = asyncio.Event()
    upstream.mock(side_effect=lambda request: streamed(go, *answer("Hello", tokens=(20, 100))))
    async with serve(tenant={"tokens_per_day": 1000, "max_answer_tokens": 100}, system_prompt="Hi") as client:
        store: Store = client.state["service"].store
        tenant = await store.get_tenant("shop")
        start = await store.begin_turn(tenant.id, uuid.uuid4(), conversation_id=None, question="Hi")
        assert start.reservation is not None
        row = UsageRow(datetime.now(UTC), tenant.id, "complete", charged=950, reservation=start.reservation)
        await store.finish_turn(start.turn.id, "Hi.", status="complete", code=None, usage_row=row)

        asking = [asyncio.create_task(client.status(f"192.0.2.{number}")) for number in range(50)]
        await until(lambda: sum(task.done() for task in asking) == 49)
        go.set()
        statuses = await asyncio.gather(*asking)

        assert sorted(statuses) == [200] + [429] * 49
        assert upstream.call_count == 1
        assert await has_spent(store, tenant, 1070)
        assert (await client.refused())[1]["code"] == "budget_exhausted"
        assert await client.usage("outcome") == {"complete": 2, "budget_reserved": 49, "budget_exhausted": 1}


@pytest.mark.each_database
async def test_a_budget_that_is_only_reserved_is_not_reported_as_exhausted(serve: Serve, upstream: respx.Route) -> None:
    """A running answer has reserved all of it; what it doesn't use becomes available again when it ends."""
    go = asyncio.Event()
    upstream.mock(side_effect=lambda request: streamed(delta("Half"), go, *answer("whole")))
    async with serve(tenant={"tokens_per_day": 1000}) as client:
        asking = asyncio.create_task(client.ask("One"))
        await until(lambda: upstream.call_count == 1)
        status, problem, headers = await client.refused()
        assert (status, problem["code"], headers["retry-after"]) == (429, "budget_reserved", "1")
        go.set()
        await asking
        await client.until_idle()
        await client.ask("Two")


@pytest.mark.each_database
async def test_an_exhausted_budget_reports_the_seconds_until_midnight_utc(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello", tokens=(60, 40))))
    async with serve(tenant={"tokens_per_day": 100}) as client:
        await client.ask("One")
        before = seconds_to_midnight()
        _, problem, headers = await client.refused()
    assert problem["code"] == "budget_exhausted"
    assert seconds_to_midnight() <= int(headers["retry-after"]) <= before
    assert headers["ratelimit"] == f'"day";r=0;t={headers["retry-after"]}'
    assert headers["ratelimit-policy"] == '"day";q=100;qu="tokens";w=86400'


def seconds_to_midnight() -> int:
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return math.ceil((midnight - now).total_seconds())


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("pieces", "charged", "provider_count"),
    [
        (answer("Hello", tokens=(20, 100)), 120, (20, 100)),
        (answer("a" * 300, tokens=None), estimate_tokens(["Be kind.", "Hi", "a" * 300]), (0, 0)),
        ([delta("a" * 300), httpx.ReadError("broken")], estimate_tokens(["Be kind.", "Hi", "a" * 300]), (0, 0)),
        ([httpx.ReadError("broken")], estimate_tokens(["Be kind.", "Hi", ""]), (0, 0)),
    ],
)
async def test_the_budget_is_charged_the_providers_count_or_an_estimate(
    serve: Serve, upstream: respx.Route, pieces: list[Any], charged: int, provider_count: tuple[int, int]
) -> None:
    """Without a count, the ledger has no usage, but the answer isn't free."""
    upstream.mock(side_effect=lambda request: streamed(*pieces))
    async with serve(system_prompt="Be kind.") as client:
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
            await response.body()
        await client.until_idle()
        store: Store = client.state["service"].store
        (total,) = await store.usage("shop", datetime.now(UTC) - timedelta(days=1))
        assert (total.charged, (total.prompt_tokens, total.completion_tokens)) == (charged, provider_count)
        assert await has_spent(store, await store.get_tenant("shop"), charged)


@pytest.mark.each_database
@pytest.mark.parametrize("answered", [httpx.Response(401), httpx.Response(400), None])
async def test_a_question_that_the_upstream_refuses_or_never_receives_costs_nothing(
    serve: Serve, upstream: respx.Route, answered: httpx.Response | None
) -> None:
    async def refuse(request: httpx.Request) -> httpx.Response:
        if answered is None:
            raise httpx.ConnectError("no")
        await request.extensions["trace"]("http11.send_request_headers.started", {})  # as httpcore tells it
        return answered

    upstream.mock(side_effect=refuse)
    async with serve(tenant={"tokens_per_day": 1000}) as client:
        assert (await client.refused())[1]["code"] == "upstream_failed"
        await client.until_idle()
        store: Store = client.state["service"].store
        assert await has_spent(store, await store.get_tenant("shop"), 0)


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("second_try", "charged"),
    [(httpx.ReadError("broken"), estimate_tokens(["Be kind.", "Hi", ""])), (httpx.ConnectError("no"), 0)],
)
async def test_only_the_refused_attempt_is_free(
    serve: Serve,
    upstream: respx.Route,
    monkeypatch: pytest.MonkeyPatch,
    second_try: httpx.TransportError,
    charged: int,
) -> None:
    """A later attempt that was sent and broke is charged like a first one; one that wasn't sent isn't."""
    tries = 0

    async def answer_second(request: httpx.Request) -> httpx.Response:
        nonlocal tries
        tries += 1
        if not isinstance(second_try, httpx.ConnectError) or tries == 1:
            await request.extensions["trace"]("http11.send_request_headers.started", {})  # as httpcore tells it
        if tries == 1:
            return httpx.Response(503)
        raise second_try

    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
    monkeypatch.setattr(
        "service.upstream.call.STALE_SECONDS", 0.0
    )  # the connection is not taken for one that was closed while idle
    upstream.mock(side_effect=answer_second)
    async with serve(system_prompt="Be kind.") as client:
        assert (await client.refused(json_body={"message": "Hi"}))[0] == 502
        await client.until_idle()
        store: Store = client.state["service"].store
        (total,) = await store.usage("shop", datetime.now(UTC) - timedelta(days=1))
        assert total.charged == charged
        assert await has_spent(store, await store.get_tenant("shop"), charged)
