"""How much a visitor, a key and a tenant may ask: who is refused, what it is told, and what the books say of it."""

import asyncio
import json
import math
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

from client import Client, until
from conftest import Serve
from databases import has_spent
from processes import running_service
from service.access import refusals
from service.store.records import StoreUnavailable, UsageGroup, UsageRow
from service.store.store import Store
from service.testing.chunks import BASE_URL as UPSTREAM
from service.testing.chunks import answer, delta, streamed
from service.tokens import estimate_tokens
from upstreams import local_upstream


@pytest.fixture(autouse=True)
def _every_question_is_answered(upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))


async def usage_of(client: Client, *by: UsageGroup) -> dict[Any, int]:
    """The requests in the books, refused ones too."""
    await client.state["service"].ledger.flush()
    totals = await client.state["service"].store.usage("shop", datetime.now(UTC) - timedelta(days=1), by)
    return {total.group if len(by) > 1 else total.group[0]: total.requests for total in totals}


def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock that limits are counted on, of SQLite, to so many seconds."""
    return lambda seconds: monkeypatch.setattr("service.store.database.time.monotonic", lambda: seconds)


# Rates


async def test_who_waits_as_long_as_retry_after_says_is_accepted_and_not_a_second_sooner(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five at once, of two a minute: the window began with the first, at 1000.4 s."""
    clock = at(monkeypatch)
    async with serve(tenant={"visitor_rate_per_minute": 2}) as client:
        clock(1000.4)
        await client.ask("One")
        clock(1020.9)
        await client.ask("Two")
        status, problem, headers = await client.refused()
        assert (status, problem["code"], headers["retry-after"]) == (429, "visitor_rate_limited", "40")
        clock(1020.9 + 39)
        assert (await client.refused())[2]["retry-after"] == "1"
        clock(1020.9 + 40)
        await client.ask("Three")


async def test_every_answer_and_refusal_tells_the_limits_and_what_is_left(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = at(monkeypatch)
    policy = '"visitor";q=2;w=60, "key";q=5;w=60'
    async with serve(tenant={"visitor_rate_per_minute": 2, "rate_per_minute": 5}) as client:
        told = []
        for seconds in (1000, 1010.5, 1020):
            clock(seconds)
            async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
                await response.body()
            assert response.headers["ratelimit-policy"] == policy
            assert "RateLimit-Policy, RateLimit" in response.headers["access-control-expose-headers"]
            told.append((response.status, response.headers["ratelimit"]))
        other, _ = await client.request("GET", "/api/v1/health")
    assert told == [
        (200, '"visitor";r=1;t=60, "key";r=4;t=60'),
        (200, '"visitor";r=0;t=50, "key";r=3;t=50'),
        (429, '"visitor";r=0;t=40'),
    ]
    assert "ratelimit" not in other.headers


async def test_where_nothing_is_limited_no_limit_is_told(client: Client) -> None:
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
        assert not [name for name in response.headers if name.startswith("ratelimit")]


@pytest.mark.each_database
async def test_one_loud_visitor_does_not_lock_out_the_others(serve: Serve) -> None:
    """A visitor's calls beyond its own limit use up nothing of what all visitors have."""
    async with serve(tenant={"visitor_rate_per_minute": 3, "rate_per_minute": 6}) as client:
        statuses = [await status_of(client, "198.51.100.7") for _ in range(30)]
        assert [await status_of(client, "203.0.113.9") for _ in range(4)] == [200, 200, 200, 429]
    assert statuses == [200] * 3 + [429] * 27


@pytest.mark.each_database
async def test_each_key_has_a_window_of_its_own(serve: Serve) -> None:
    """A server's key that asks too much stops no visitor of the pages."""
    async with serve(tenant={"rate_per_minute": 1}) as client:
        _, secret = await client.state["service"].store.add_key("shop", secret=True)
        await client.ask("One")
        server: dict[str, str | None] = {"X-API-Key": secret, "Origin": None}
        await client.ask("One", headers=server)
        assert (await client.refused(headers=server))[1]["code"] == "rate_limited"


async def status_of(client: Client, address: str, **body: Any) -> int:
    """Ask as a visitor of this address."""
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"} | body, address=address) as response:
        await response.body()
        return response.status


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::2", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("::ffff:192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
    ],
)
async def test_a_visitor_is_an_ipv4_address_or_an_ipv6_network(
    serve: Serve, first: str, second: str, same: bool
) -> None:
    async with serve(tenant={"visitor_rate_per_minute": 1}) as client:
        assert await status_of(client, first) == 200
        assert await status_of(client, second) == (429 if same else 200)


def test_a_visitor_cannot_choose_an_address_behind_a_proxy_or_without_one(tmp_path: Path) -> None:
    """What a trusted proxy adds at the end of X-Forwarded-For counts; without one, the header does not."""

    def asked(url: str, key: str, forwarded: str) -> int:
        headers = {"X-API-Key": key, "X-Forwarded-For": forwarded, "Origin": "http://localhost:5"}
        connection = HTTPConnection(url.removeprefix("http://"), timeout=30)
        connection.request("POST", "/api/v1/chat", b'{"message": "Hi"}', headers | {"Content-Type": "application/json"})
        status = connection.getresponse().status
        connection.close()
        return status

    limits = ("--origin", "http://localhost:*", "--visitor-rate-per-minute", "2")
    with local_upstream() as upstream:
        for trusted, expected in (("127.0.0.1", [200, 200, 429, 200]), ("10.0.0.1", [200, 200, 429, 429])):
            directory = tmp_path / trusted
            directory.mkdir()
            settings = {"FORWARDED_ALLOW_IPS": trusted, "OPENAI_BASE_URL": upstream.url("quick")}
            with running_service(directory, **settings) as service:
                key = service.manage("tenant", "add", "limited", *limits)["api_key"]
                spoofed = [f"203.0.113.{n}, 198.51.100.1" for n in range(3)]
                assert [asked(service.url, key, each) for each in [*spoofed, "198.51.100.2"]] == expected


# Answers at a time


@pytest.mark.each_database
async def test_a_visitor_reads_so_many_answers_at_a_time(serve: Serve, upstream: respx.Route) -> None:
    go = asyncio.Event()
    upstream.mock(side_effect=lambda request: streamed(delta("Half"), go, *answer("whole")))
    async with serve(tenant={"visitor_streams": 2}) as client:
        asking = [asyncio.create_task(client.ask(f"{number}")) for number in range(2)]
        await until(lambda: upstream.call_count == 2)

        status, problem, headers = await client.refused()

        assert (status, problem["code"], headers["retry-after"]) == (429, "too_many_answers", "1")
        assert headers["ratelimit-policy"] == '"streams";q=2;qu="concurrent-requests"'
        assert headers["ratelimit"] == '"streams";r=0'
        assert (await client.state["service"].store.heartbeats()).keys() == {
            writing.answer.message_id for writing in client.state["service"].answers._writings.values()
        }
        go.set()
        await asyncio.gather(*asking)
        await client.until_idle()
        await client.ask("Again")


# The budget


@pytest.mark.each_database
async def test_fifty_at_once_at_the_edge_of_the_budget_overspend_it_by_one_at_most(
    serve: Serve, upstream: respx.Route
) -> None:
    """950 of 1,000 tokens are spent, each answer may take about 120: one begins, and 49 cost nothing."""
    go = asyncio.Event()
    upstream.mock(side_effect=lambda request: streamed(go, *answer("Hello", tokens=(20, 100))))
    async with serve(tenant={"tokens_per_day": 1000, "max_answer_tokens": 100}, system_prompt="Hi") as client:
        store: Store = client.state["service"].store
        tenant = await store.get_tenant("shop")
        begun = await store.begin_turn(tenant.id, uuid.uuid4(), conversation_id=None, question="Hi")
        assert begun.reservation is not None
        row = UsageRow(datetime.now(UTC), tenant.id, "complete", charged=950, reservation=begun.reservation)
        await store.finish_turn(begun.turn.id, "Hi.", status="complete", code=None, usage_row=row)

        asking = [asyncio.create_task(status_of(client, f"192.0.2.{number}")) for number in range(50)]
        await until(lambda: sum(task.done() for task in asking) == 49)
        go.set()
        statuses = await asyncio.gather(*asking)

        assert sorted(statuses) == [200] + [429] * 49
        assert upstream.call_count == 1
        assert await has_spent(store, tenant, 1070)
        assert (await client.refused())[1]["code"] == "budget_exhausted"
        assert await usage_of(client, "outcome") == {"complete": 2, "budget_reserved": 49, "budget_exhausted": 1}


@pytest.mark.each_database
async def test_a_budget_that_is_only_reserved_is_not_told_to_be_spent(serve: Serve, upstream: respx.Route) -> None:
    """One answer under way has reserved it all; when it has ended, what it did not take is there again."""
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
async def test_a_spent_budget_tells_the_seconds_to_midnight_utc(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello", tokens=(60, 40))))
    async with serve(tenant={"tokens_per_day": 100}) as client:
        await client.ask("One")
        before = seconds_to_midnight()
        _, problem, headers = await client.refused()
    assert problem["code"] == "budget_exhausted"
    assert int(headers["retry-after"]) in (before, before - 1, before - 2)
    assert headers["ratelimit"] == f'"day";r=0;t={headers["retry-after"]}'
    assert headers["ratelimit-policy"] == '"day";q=100;qu="tokens";w=86400'


def seconds_to_midnight() -> int:
    now = datetime.now(UTC)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return math.ceil((midnight - now).total_seconds())


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("pieces", "charged", "told"),
    [
        (answer("Hello", tokens=(20, 100)), 120, (20, 100)),
        (answer("a" * 300, tokens=None), estimate_tokens(["Be kind.", "Hi", "a" * 300]), (0, 0)),
        ([delta("a" * 300), httpx.ReadError("broken")], estimate_tokens(["Be kind.", "Hi", "a" * 300]), (0, 0)),
        ([httpx.ReadError("broken")], estimate_tokens(["Be kind.", "Hi", ""]), (0, 0)),
    ],
)
async def test_the_budget_is_charged_the_providers_count_or_else_an_estimate(
    serve: Serve, upstream: respx.Route, pieces: list[Any], charged: int, told: tuple[int, int]
) -> None:
    """What the provider did not count stays unknown in the books, but is not free."""
    upstream.mock(side_effect=lambda request: streamed(*pieces))
    async with serve(system_prompt="Be kind.") as client:
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
            await response.body()
        await client.until_idle()
        store: Store = client.state["service"].store
        (total,) = await store.usage("shop", datetime.now(UTC) - timedelta(days=1))
        assert (total.charged, (total.prompt_tokens, total.completion_tokens)) == (charged, told)
        assert await has_spent(store, await store.get_tenant("shop"), charged)


@pytest.mark.each_database
@pytest.mark.parametrize("answered", [httpx.Response(401), httpx.Response(400), None])
async def test_what_the_upstream_refuses_or_never_heard_costs_nothing(
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
async def test_only_the_try_that_was_refused_is_free(
    serve: Serve,
    upstream: respx.Route,
    monkeypatch: pytest.MonkeyPatch,
    second_try: httpx.TransportError,
    charged: int,
) -> None:
    """One that was sent after it and broke is charged, as if it had been the first; one that was not sent is not."""
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


# The books


@pytest.mark.each_database
async def test_every_refused_question_stands_in_the_books(serve: Serve) -> None:
    """With its key, visitor, origin and reason; those of nobody known are counted."""
    async with serve(tenant={"visitor_rate_per_minute": 1, "model": "small"}) as client:
        await client.ask("One")
        await client.refused()
        await client.refused(body=b"{")
        await client.refused(json_body={"message": " "})
        await client.refused(json_body={"message": "Hi", "model": "large"})
        await client.refused(headers={"Origin": "https://evil.test"})
        await client.refused(headers={"X-API-Key": "a4_pub_unknown"})
        await client.refused(headers={"X-API-Key": None})
        await client.refused(body=b"{}", headers={"Content-Length": "99999999"})
        assert await usage_of(client, "outcome", "model") == {
            ("complete", "small"): 1,
            ("visitor_rate_limited", "small"): 1,
            ("malformed_json", "small"): 1,
            ("validation_failed", "small"): 2,
            ("origin_not_allowed", "small"): 1,
        }
        assert await usage_of(client, "origin") == {"https://shop.test": 5, "https://evil.test": 1}
        assert len(await usage_of(client, "visitor", "key")) == 1
        (total,) = await client.state["service"].store.usage("shop", datetime.now(UTC) - timedelta(days=1))
        assert (total.requests, total.refused) == (6, 5)


@pytest.mark.each_database
async def test_a_flood_of_refusals_is_counted_in_few_rows(serve: Serve) -> None:
    """Three hundred refusals in a second: fifty rows, and one with the count of the others."""
    async with serve() as client:
        books, tenant = client.state["service"].ledger, await client.state["service"].store.get_tenant("shop")
        row = UsageRow(datetime.now(UTC), tenant.id, "rate_limited", visitor="f" * 32, refused=True)
        for _ in range(300):
            books.note(row)
        assert len(books._rows) == refusals.ROWS_PER_FLUSH
        assert await usage_of(client, "outcome") == {"rate_limited": 300}
        assert await usage_of(client, "visitor") == {None: 250, "f" * 32: 50}


@pytest.mark.each_database
async def test_a_long_flood_of_refusals_is_counted_in_few_rows_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten in rows of their own in an hour; the next hour has ten more."""
    monkeypatch.setattr("service.access.refusals.ROWS_PER_HOUR", 10)
    async with serve() as client:
        books, tenant = client.state["service"].ledger, await client.state["service"].store.get_tenant("shop")
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        for at in (hour - timedelta(hours=1), hour):
            for _ in range(12):
                books.note(UsageRow(at, tenant.id, "rate_limited", visitor="f" * 32, refused=True))
        assert await usage_of(client, "visitor") == {None: 4, "f" * 32: 20}


@pytest.mark.parametrize("origin", ["null", "https://shop.test/" + "x" * 3000, "my name is Ann", "https://*.test"])
async def test_an_origin_that_no_browser_writes_is_not_kept(client: Client, origin: str) -> None:
    await client.refused(headers={"Origin": origin})
    assert await usage_of(client, "origin") == {None: 1}


@pytest.mark.each_database
async def test_refusals_wait_for_a_database_that_cannot_be_used(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and nothing is written twice."""
    books = client.state["service"].ledger
    await client.refused(body=b"{")

    async def unavailable(rows: object) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(client.state["service"].store, "record", unavailable)
        with pytest.raises(StoreUnavailable):
            await books.flush()
    await books.flush()
    assert await usage_of(client, "outcome") == {"malformed_json": 1}


@pytest.mark.each_database
async def test_books_that_are_written_twice_at_once_hold_each_refusal_once(client: Client) -> None:
    books = client.state["service"].ledger
    await client.refused(body=b"{")
    await asyncio.gather(books.flush(), books.flush())
    assert await usage_of(client, "outcome") == {"malformed_json": 1}


@pytest.mark.each_database
async def test_what_the_books_hold_is_written_when_the_service_stops(serve: Serve) -> None:
    async with serve() as client:
        await client.refused(body=b"{")
        url = client.state["service"].settings.database_url
    store = Store(url)
    assert [total.refused for total in await store.usage("shop", datetime.now(UTC) - timedelta(days=1))] == [1]
    await store.close()


# What a tenant can set, and a request cannot


async def test_a_tenants_temperature_and_cap_reach_the_upstream(serve: Serve, upstream: respx.Route) -> None:
    async with serve(tenant={"temperature": 0.0, "max_answer_tokens": 77}) as client:
        await client.ask("Hi")
        body = json.loads(upstream.calls.last.request.content)
        assert (body["temperature"], body["max_tokens"]) == (0.0, 77)
        await client.state["service"].store.set_tenant("shop", temperature=None, max_answer_tokens=0)
        await client.ask("Hi")
        body = json.loads(upstream.calls.last.request.content)
        assert not {"temperature", "max_tokens", "max_completion_tokens"} & body.keys()


@pytest.mark.parametrize(
    "field", ["model", "temperature", "max_tokens", "system_prompt", "messages", "tools", "openai_base_url"]
)
async def test_a_request_can_set_none_of_it(client: Client, upstream: respx.Route, field: str) -> None:
    status, problem, _ = await client.refused(json_body={"message": "Hi", field: "x"})
    assert (status, problem["errors"][0]["field"], upstream.call_count) == (422, field, 0)


async def test_a_tenants_own_upstream_gets_its_own_key_and_never_the_services(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables are read when a question is asked; a base URL without a key variable goes without a key."""
    monkeypatch.setenv("SHOP_URL", "https://other.test/v1/")
    monkeypatch.setenv("SHOP_KEY", "sk-shop")
    async with serve(tenant={"openai_base_url_env": "SHOP_URL"}) as client:
        with respx.mock(base_url="https://other.test/v1") as router:
            route = router.post("/chat/completions").mock(side_effect=lambda request: streamed(*answer("Hi")))
            await client.ask("Hi")
            assert "authorization" not in route.calls.last.request.headers
            await client.state["service"].store.set_tenant("shop", openai_key_env="SHOP_KEY")
            await client.ask("Hi")
            assert route.calls.last.request.headers["authorization"] == "Bearer sk-shop"


@pytest.mark.parametrize(
    ("variable", "wrong"),
    [
        ("SHOP_URL", ""),
        ("SHOP_URL", "canary"),
        ("SHOP_URL", "ftp://canary.test"),
        ("SHOP_URL", "http://canary.test:99999/v1"),
        ("SHOP_URL", "http://canary..test/v1"),
        ("SHOP_KEY", " \n"),
        ("SHOP_KEY", "“sk-canary”"),
        ("SHOP_KEY", "sk-\ncanary"),
    ],
)
async def test_a_tenants_variable_that_cannot_work_is_named_in_the_log_and_costs_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, wrong: str
) -> None:
    """It is read with each question; the visitor is told no more than that the assistant is not available."""
    own = {"openai_base_url_env": "SHOP_URL", "openai_key_env": "SHOP_KEY"}
    monkeypatch.setenv("SHOP_URL", f"{UPSTREAM}\n")
    monkeypatch.setenv("SHOP_KEY", "sk-shop\n")
    async with serve(tenant={"tokens_per_day": 100_000} | own) as client:
        assert (await client.ask("Hi")).text == "Hello"
        await client.until_idle()
        monkeypatch.setenv(variable, wrong)
        status, problem, _ = await client.refused()
        store: Store = client.state["service"].store
        assert await has_spent(store, await store.get_tenant("shop"), 13)  # what the first one cost
    assert (status, problem["code"]) == (502, "upstream_failed")
    (told,) = [record for record in caplog.records if getattr(record, "code", None) == "upstream_failed"]
    assert variable in str(vars(told))
    assert "canary" not in caplog.text + str(vars(told)) + str(problem)


async def test_one_tenants_failing_upstream_stops_no_other_tenant(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, upstream: respx.Route
) -> None:
    """Its circuit is its own: the others' provider answers."""
    monkeypatch.setenv("SHOP_URL", "https://other.test/v1")
    async with serve(tenant={"openai_base_url_env": "SHOP_URL"}) as client:
        with respx.mock(base_url="https://other.test/v1") as router:
            route = router.post("/chat/completions").mock(side_effect=lambda request: httpx.Response(500))
            monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)
            for _ in range(12):
                await client.refused()
            assert route.call_count == 30  # ten questions, three tries each; then nobody waits for it
        store: Store = client.state["service"].store
        _, _, key = await store.add_tenant("bakery", origins=["https://shop.test"])
        assert (await client.ask("Hi", headers={"X-API-Key": key})).text == "Hello"


async def test_a_tenant_with_its_own_key_is_answered_for_real_beside_the_demonstration(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", UPSTREAM)
    async with serve(tenant={"openai_base_url_env": "SHOP_URL"}, openai_api_key=None, openai_base_url=None) as client:
        assert (await client.ask("Hi")).text == "Hello"
        local = "http://localhost:5500"
        await client.state["service"].store.set_tenant("shop", openai_base_url_env=None, origins=[local])
        assert "demonstration" in (await client.ask("Hi", headers={"Origin": local})).text


# Readiness


async def test_asking_often_whether_it_is_ready_makes_no_work(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred questions at once are one look at the database."""
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
