"""The rate limits of visitors and keys, their responses, and the limits of concurrent answers."""

import asyncio
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import pytest
import respx

from client import Client, until
from conftest import Serve
from processes import running_service
from service.testing.chunks import answer, delta, streamed
from upstreams import local_upstream


@pytest.fixture(autouse=True)
def _every_question_is_answered(upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))


def at(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets SQLite's clock for limits to this many seconds, and no other clock of the process."""
    return lambda seconds: monkeypatch.setattr(
        "service.store.dialects.time", SimpleNamespace(monotonic=lambda: seconds, time=time.time)
    )


async def test_retry_after_is_exact_to_the_second(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
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


async def test_every_answer_and_refusal_reports_the_limits_and_what_is_left(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = at(monkeypatch)
    policy = '"visitor";q=2;w=60, "key";q=5;w=60'
    async with serve(tenant={"visitor_rate_per_minute": 2, "rate_per_minute": 5}) as client:
        headers_seen = []
        for seconds in (1000, 1010.5, 1020):
            clock(seconds)
            async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
                await response.body()
            assert response.headers["ratelimit-policy"] == policy
            assert "RateLimit-Policy, RateLimit" in response.headers["access-control-expose-headers"]
            headers_seen.append((response.status, response.headers["ratelimit"]))
        other, _ = await client.request("GET", "/api/v1/health")
    assert headers_seen == [
        (200, '"visitor";r=1;t=60, "key";r=4;t=60'),
        (200, '"visitor";r=0;t=50, "key";r=3;t=50'),
        (429, '"visitor";r=0;t=40'),
    ]
    assert "ratelimit" not in other.headers


async def test_without_limits_no_rate_limit_headers_are_sent(client: Client) -> None:
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
        assert not [name for name in response.headers if name.startswith("ratelimit")]


@pytest.mark.each_database
async def test_one_noisy_visitor_does_not_lock_out_the_others(serve: Serve) -> None:
    """A visitor's calls beyond its own limit don't count towards the limit of all visitors."""
    async with serve(tenant={"visitor_rate_per_minute": 3, "rate_per_minute": 6}) as client:
        statuses = [await client.status("198.51.100.7") for _ in range(30)]
        assert [await client.status("203.0.113.9") for _ in range(4)] == [200, 200, 200, 429]
    assert statuses == [200] * 3 + [429] * 27


@pytest.mark.each_database
async def test_each_key_has_its_own_window(serve: Serve) -> None:
    """A server key over its limit doesn't affect visitors of the pages."""
    async with serve(tenant={"rate_per_minute": 1}) as client:
        _, secret = await client.state["service"].store.add_key("shop", secret=True)
        await client.ask("One")
        server: dict[str, str | None] = {"X-API-Key": secret, "Origin": None}
        await client.ask("One", headers=server)
        assert (await client.refused(headers=server))[1]["code"] == "rate_limited"


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
        assert await client.status(first) == 200
        assert await client.status(second) == (429 if same else 200)


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


@pytest.mark.each_database
async def test_a_visitor_has_a_limited_number_of_concurrent_answers(serve: Serve, upstream: respx.Route) -> None:
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
