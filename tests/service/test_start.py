"""The log at the start, and clear signs of demonstration mode."""

import logging
from typing import Any

import pytest
import respx
from pydantic import SecretStr

from conftest import Serve
from service.settings import Settings
from service.testing.chunks import answer, streamed
from service.web.start import log_start

NO_PROVIDER = {"openai_api_key": None, "openai_base_url": None}
LOCAL = "http://localhost:5500"


@pytest.fixture(autouse=True)
def everything_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="chatbot")


def start_line(caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    (line,) = (vars(record) for record in caplog.records if hasattr(record, "schema"))
    return line


@pytest.mark.each_database
async def test_startup_logs_one_line_about_the_process(
    serve: Serve, caplog: pytest.LogCaptureFixture, database_url: str
) -> None:
    async with serve(openai_base_url="https://user:canary@api.mistral.ai/v1", openai_model="mistral-small-latest"):
        line = start_line(caplog)
    assert (line["mode"], line["provider"], line["model"]) == ("provider", "api.mistral.ai", "mistral-small-latest")
    assert line["database"].startswith("sqlite /" if database_url.startswith("sqlite") else "postgresql 127.0.0.1:")
    assert line["schema"] >= 7
    assert line["version"] == "0.1.0"
    assert line["levelno"] == logging.INFO
    assert "canary" not in str(line)


def test_the_startup_line_has_no_database_password(caplog: pytest.LogCaptureFixture) -> None:
    url = "postgresql+asyncpg://canary:canary@db.internal:5433/chat?ssl=require&passfile=canary"
    log_start(Settings(database_url=url, openai_api_key=SecretStr("sk-canary")), "1")
    line = start_line(caplog)
    assert line["database"] == "postgresql db.internal:5433/chat"
    assert "canary" not in str(line)


async def test_an_unset_overlay_variable_gets_a_warning(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(openai_headers={"api-key": {"env": "NOT_SET"}}):
        assert "NOT_SET" in caplog.text


async def test_demonstration_mode_logs_a_warning(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    async with serve(**NO_PROVIDER):
        line = start_line(caplog)
    assert (line["mode"], line["levelno"]) == ("demonstration", logging.WARNING)
    assert "demonstration" in line["message"]
    assert "OPENAI_API_KEY" in line["message"]


@pytest.mark.parametrize(
    "origins",
    [
        ["https://shop.test"],
        [LOCAL, "https://shop.test"],
        ["*"],
        ["https://*.shop.test"],
        ["https://localhost.shop.test"],
        ["capacitor://localhost"],
    ],
)
async def test_a_real_tenant_never_gets_a_canned_answer(
    serve: Serve, caplog: pytest.LogCaptureFixture, origins: list[str]
) -> None:
    async with serve(tenant={"origins": origins}, **NO_PROVIDER) as client:
        key = await client.state["service"].store.add_key("shop", secret=True)
        status, problem, _ = await client.refused(headers={"X-API-Key": key[1], "Origin": None})
    assert (status, problem["code"], problem["cause"]) == (502, "upstream_failed", "not_set_up")
    assert any("OPENAI_API_KEY" in str(vars(record).get("reason")) for record in caplog.records)


@pytest.mark.parametrize("origin", [LOCAL, "http://127.0.0.1:8080", "http://[::1]:8080", "https://shop.localhost"])
async def test_a_localhost_tenant_gets_canned_answers(serve: Serve, origin: str) -> None:
    async with serve(tenant={"origins": [origin]}, **NO_PROVIDER) as client:
        body = {"message": "Hi"}
        async with client.stream("POST", "/api/v1/chat", json_body=body, headers={"Origin": origin}) as response:
            assert response.status == 200


@pytest.mark.parametrize(
    ("name", "likely"),
    [
        ("OPENAI_KEY", "OPENAI_API_KEY"),
        ("OPENAI_APIKEY", "OPENAI_API_KEY"),
        ("OPEN_AI_API_KEY", "OPENAI_API_KEY"),
        ("OPENAI_API_BASE", "OPENAI_BASE_URL"),
        ("OPENAI_BASEURL", "OPENAI_BASE_URL"),
        ("OPENAI_MODELS", "OPENAI_MODEL"),
        ("OPENAI_API_VERSION", "OPENAI_QUERY"),
        ("OPENAI_ORGANIZATION", "OPENAI_HEADERS"),
    ],
)
async def test_a_misspelt_name_gets_a_warning_with_the_likely_one(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, name: str, likely: str
) -> None:
    monkeypatch.setenv(name, "sk-canary")
    async with serve():
        pass
    (told,) = [record.getMessage() for record in caplog.records if name in record.getMessage()]
    assert likely in told
    assert "canary" not in caplog.text


async def test_settings_and_tenants_variables_get_no_warning(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    tenant = {
        "openai_key_env": "OPENAI_KEY_OF_SHOP",
        "webhook_url_env": "OPENAI_HOOK_OF_SHOP",
        "webhook_secret_env": "OPENAI_HOOK_SECRET_OF_SHOP",
        "upstream": {"body": {"data": [{"key": {"env": "OPENAI_KEY_OF_SEARCH"}}]}},
    }
    variables = ("OPENAI_KEY_OF_SHOP", "OPENAI_KEY_OF_SEARCH", "OPENAI_HOOK_OF_SHOP", "OPENAI_HOOK_SECRET_OF_SHOP")
    for name in ("OPENAI_MODEL", *variables, "OPENER"):
        monkeypatch.setenv(name, "value")
    async with serve(tenant=tenant):
        pass
    caplog.clear()
    async with serve(name="other"):  # a start with the tenant in the database
        pass
    assert [record for record in caplog.records if "not a setting" in record.message] == []
