"""Upstream settings that a tenant can change, and a request can't."""

import json

import httpx
import pytest
import respx

from client import Client
from conftest import Serve
from databases import has_spent
from service.store.store import Store
from service.testing.chunks import BASE_URL as UPSTREAM
from service.testing.chunks import answer, streamed


@pytest.fixture(autouse=True)
def _every_question_is_answered(upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))


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
async def test_a_request_cannot_set_them(client: Client, upstream: respx.Route, field: str) -> None:
    status, problem, _ = await client.refused(json_body={"message": "Hi", field: "x"})
    assert (status, problem["errors"][0]["field"], upstream.call_count) == (422, field, 0)


async def test_a_tenants_own_upstream_gets_its_own_key_and_never_the_services(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The variables are read for each question; a base URL without a key variable gets no key."""
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
async def test_a_tenants_invalid_variable_is_named_in_the_log_and_costs_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, wrong: str
) -> None:
    """It is read for each question; the visitor only sees that the assistant isn't available."""
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


async def test_one_tenants_failing_upstream_does_not_affect_others(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, upstream: respx.Route
) -> None:
    """It has its own circuit breaker, so other tenants still get answers."""
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


async def test_a_tenant_with_its_own_key_gets_real_answers_in_demonstration_mode(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_URL", UPSTREAM)
    async with serve(tenant={"openai_base_url_env": "SHOP_URL"}, openai_api_key=None, openai_base_url=None) as client:
        assert (await client.ask("Hi")).text == "Hello"
        local = "http://localhost:5500"
        await client.state["service"].store.set_tenant("shop", openai_base_url_env=None, origins=[local])
        assert "demonstration" in (await client.ask("Hi", headers={"Origin": local})).text


async def test_a_user_and_a_password_in_a_tenants_base_url_are_sent_as_basic_authentication(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 7617, for servers behind a proxy of their own."""
    monkeypatch.setenv("SHOP_URL", "https://user:p%40ss@other.test/v1")
    async with serve(tenant={"openai_base_url_env": "SHOP_URL"}) as client:
        with respx.mock(base_url="https://other.test/v1") as router:
            route = router.post("/chat/completions").mock(side_effect=lambda request: streamed(*answer("Hi")))
            await client.ask("Hi")
            assert route.calls.last.request.headers["authorization"] == "Basic dXNlcjpwQHNz"
