"""The fields that an operator adds to every request, for the service or a tenant."""

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

import manage
from client import Client
from conftest import Serve
from service.overlay import parse_overlay
from service.store.records import TenantSettings
from service.testing.chunks import BASE_URL as UPSTREAM
from service.testing.chunks import answer, streamed

AZURE = "https://shop.openai.azure.com/openai/deployments/small"


@pytest.fixture(autouse=True)
def answering(upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))


def asked(upstream: respx.Route) -> httpx.Request:
    request: httpx.Request = upstream.calls.last.request
    return request


async def test_the_services_overlay_is_applied_to_every_request(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_HEADERS", '{"x-gateway-config": "abc", "x-gateway-key": {"env": "GATEWAY_KEY"}}')
    monkeypatch.setenv("OPENAI_QUERY", '{"api-version": "2024-10-21"}')
    monkeypatch.setenv("OPENAI_BODY", '{"reasoning_effort": "low", "stream_options": null, "temperature": 1}')
    monkeypatch.setenv("GATEWAY_KEY", "secret-of-the-gateway\n")
    async with serve(tenant={"temperature": 0.3}) as client:
        await client.ask("Hi")
    request = asked(upstream)
    assert request.headers["x-gateway-config"] == "abc"
    assert request.headers["x-gateway-key"] == "secret-of-the-gateway"
    assert request.headers["authorization"] == "Bearer sk-upstream"
    assert request.url.params["api-version"] == "2024-10-21"
    body = json.loads(request.content)
    assert (body["reasoning_effort"], body["temperature"], "stream_options" in body) == ("low", 1, False)


async def test_a_tenants_overlay_takes_precedence(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_HEADERS", '{"X-Gateway-Config": "service", "x-other": "kept"}')
    overlay = {"headers": {"x-gateway-config": "tenant", "Authorization": None}, "body": {"top_p": 0.5}}
    async with serve(tenant={"upstream": overlay}) as client:
        await client.ask("Hi")
    headers = asked(upstream).headers
    assert headers.get_list("x-gateway-config") == ["tenant"]
    assert headers["x-other"] == "kept"
    assert "authorization" not in headers
    assert json.loads(asked(upstream).content)["top_p"] == 0.5


async def test_the_services_overlay_is_not_applied_to_a_tenants_own_endpoint(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_HEADERS", '{"x-gateway-key": "secret-of-the-service"}')
    monkeypatch.setenv("SHOP_URL", "https://other.test/v1")
    with respx.mock(base_url="https://other.test/v1") as router:
        route = router.post("/chat/completions").mock(side_effect=lambda request: streamed(*answer("Hello")))
        async with serve(tenant={"openai_base_url_env": "SHOP_URL"}) as client:
            await client.ask("Hi")
        assert "x-gateway-key" not in route.calls.last.request.headers


async def test_an_azure_deployment_is_reached_with_the_documented_settings(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AZURE_URL", f"{AZURE}/chat/completions")
    monkeypatch.setenv("AZURE_KEY", "azure-key")
    overlay = {"headers": {"api-key": {"env": "AZURE_KEY"}}, "query": {"api-version": "2024-10-21"}}
    tenant: TenantSettings = {"openai_base_url_env": "AZURE_URL", "upstream": overlay}

    def deployment(request: httpx.Request) -> httpx.Response:
        if request.headers.get("api-key") != "azure-key" or "authorization" in request.headers:
            return httpx.Response(401)
        if request.url.params.get("api-version") != "2024-10-21":
            return httpx.Response(404)
        return streamed(*answer("Hello"))

    with respx.mock(base_url=AZURE) as router:
        router.post("/chat/completions").mock(side_effect=deployment)
        async with serve(tenant=dict(tenant)) as client:
            assert (await client.ask("Hi")).text == "Hello"


async def test_a_variable_may_be_nested_in_the_body_and_come_from_a_file(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "search-key").write_text("search-secret\n")
    monkeypatch.setenv("SEARCH_KEY_FILE", str(tmp_path / "search-key"))
    source = {
        "type": "azure_search",
        "parameters": {"authentication": {"type": "api_key", "key": {"env": "SEARCH_KEY"}}},
    }
    async with serve(tenant={"upstream": {"body": {"data_sources": [source]}}}) as client:
        await client.ask("Hi")
        sent = json.loads(asked(upstream).content)["data_sources"]
        assert sent[0]["parameters"]["authentication"]["key"] == "search-secret"
        (tmp_path / "search-key").write_text("a-newer-secret\n")
        await client.ask("Hi")
        sent = json.loads(asked(upstream).content)["data_sources"]
        assert sent[0]["parameters"]["authentication"]["key"] == "a-newer-secret"


async def test_an_unset_variable_is_named_only_in_the_log(
    serve: Serve, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(tenant={"upstream": {"headers": {"api-key": {"env": "NOT_SET"}}}}) as client:
        status, problem, _ = await client.refused()
    assert (status, problem["code"], problem["cause"]) == (502, "upstream_failed", "not_set_up")
    assert not upstream.called
    assert "NOT_SET" not in str(problem)
    assert any("NOT_SET" in str(vars(record).get("reason")) for record in caplog.records)


async def test_a_variable_that_is_no_utf_8_is_named_in_the_log(
    serve: Serve, upstream: respx.Route, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOP", os.fsdecode(b"\xff"))
    async with serve(tenant={"upstream": {"body": {"stop": {"env": "STOP"}}}}) as client:
        assert (await client.refused())[1]["cause"] == "not_set_up"
    assert any("STOP is not UTF-8 text" in str(vars(record).get("reason")) for record in caplog.records)


async def test_a_refused_overlay_field_is_named_in_the_log(
    serve: Serve, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    """It is still sent: the operator's setting takes precedence."""
    upstream.mock(return_value=httpx.Response(400, json={"error": {"message": "Unknown parameter: 'Verbosity'."}}))
    async with serve(tenant={"upstream": {"body": {"top_k": 5, "verbosity": "low"}}}) as client:
        assert (await client.refused())[0] == 502
    assert upstream.call_count == 1
    assert any("refuses verbosity, which" in str(vars(record).get("reason")) for record in caplog.records)


@pytest.mark.parametrize(
    ("overlay", "problem"),
    [
        ("[]", "must be a JSON object"),
        ("{", "not valid JSON"),
        ('{"body": {"top_p": NaN}}', "not valid JSON"),
        ("[" * 100_000, "longer than"),
        ('{"body": {"top_p": 1e999}}', "has a number that is too large for JSON"),
        ('{"body": {"logit_bias": {"canary": [-1e999]}}}', "has a number that is too large for JSON"),
        ('{"headers": {"x": 1e999}}', "has a number that is too large for JSON"),
        ('{"body": {"stop": "canary \\ud800"}}', "has half a surrogate pair, such as \\ud800"),
        ('{"body": {"\\udc00": 1}}', "has half a surrogate pair, such as \\ud800"),
        ('{"body": {"x":' + "[" * 900 + "]" * 900 + "}}", "is nested deeper than 64 levels"),
        ('{"header": {}}', "'header' is none of headers, query, body"),
        ('{"headers": []}', "headers must be a JSON object"),
        ('{"headers": {"host": "x"}}', "headers.host is the service's own"),
        ('{"headers": {"Content-Type": "x"}}', "headers.Content-Type is the service's own"),
        ('{"headers": {"a b": "x"}}', "no header can have"),
        ('{"headers": {"x": "line\\nbreak"}}', "headers.x must be printable ASCII"),
        ('{"headers": {"x": ["a"]}}', "headers.x must be printable ASCII"),
        ('{"headers": {"x": {"env": "no name"}}}', "headers.x.env must be the name of an environment variable"),
        ('{"headers": {"api-key": "canary"}}', "headers.api-key looks like a secret"),
        ('{"headers": {"cf-access-client-secret": "canary"}}', "looks like a secret"),
        ('{"headers": {"x": "Bearer canary"}}', "looks like a secret"),
        ('{"query": {"key": "canary"}}', "query.key looks like a secret"),
        ('{"body": {"a": [{"api_key": "canary"}]}}', "body.a.api_key looks like a secret"),
        ('{"body": {"messages": []}}', "body.messages is the service's own"),
        ('{"body": {"model": "x"}}', "body.model is the service's own"),
        ('{"body": {"stream": false}}', "body.stream is the service's own"),
        ('{"body": {"n": 2}}', "body.n is the service's own"),
        ('{"body": {"max_tokens": null}}', "--max-answer-tokens"),
    ],
)
def test_an_invalid_overlay_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], overlay: str, problem: str
) -> None:
    (tmp_path / "overlay.json").write_text(overlay)
    command = ["tenant", "set", "shop", "--upstream", str(tmp_path / "overlay.json")]
    assert manage.main(command) == 2
    line = capsys.readouterr().err
    assert problem in line
    assert line.count("\n") == 1
    assert "canary" not in line


def test_the_services_own_overlay_may_hold_secrets() -> None:
    assert parse_overlay('{"headers": {"api-key": "secret"}}', secrets=True) == {"headers": {"api-key": "secret"}}


def test_a_tenants_overlay_is_set_shown_and_removed(
    database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    overlay: dict[str, Any] = {"headers": {"api-key": {"env": "AZURE_KEY"}}, "body": {"prompt_cache_key": "shop"}}
    (tmp_path / "overlay.json").write_text(json.dumps(overlay))

    def run(*arguments: str) -> Any:
        assert manage.main([*arguments, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    run("tenant", "add", "shop", "--origin", "https://shop.test", "--upstream", str(tmp_path / "overlay.json"))
    assert run("tenant", "show", "shop")["upstream"] == overlay
    assert run("tenant", "set", "shop", "--title", "Ask")["upstream"] == overlay
    assert run("tenant", "set", "shop", "--upstream", "")["upstream"] is None
    run("tenant", "set", "shop", "--upstream", str(tmp_path / "overlay.json"))
    assert run("tenant", "set", "shop", "--unset", "upstream")["upstream"] is None


@pytest.mark.parametrize("variable", ["OPENAI_HEADERS", "OPENAI_QUERY", "OPENAI_BODY"])
async def test_an_empty_overlay_adds_nothing(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "")
    await client.ask("Hi")
    assert str(asked(upstream).url) == f"{UPSTREAM}/chat/completions"
