"""Invalid settings prevent the start and are named; common ways to write settings work."""

import uuid
from pathlib import Path

import httpx
import pytest
import respx

import chatbot
import manage
from conftest import Serve
from service.settings import Settings
from service.testing.chunks import answer, streamed

TOO_MANY = str(2**31)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOST", " "),
        ("PORT", "65536"),
        ("PORT", "-1"),
        ("FORWARDED_ALLOW_IPS", "10.0.0/8"),
        ("FORWARDED_ALLOW_IPS", "172.16.0.1/12"),
        ("FORWARDED_ALLOW_IPS", "127.0.0.1, localhost"),
        ("FORWARDED_ALLOW_IPS", "127.0.0.1, *"),
        ("LOG_FORMAT", "xml"),
        ("METRICS_TOKEN", "m3\ntrics-canary"),
        ("METRICS_TOKEN", "m3trics-canary-é"),
        ("OPENAI_API_KEY", "“sk-canary”"),
        ("OPENAI_API_KEY", "sk-\ncanary"),
        ("OPENAI_API_KEY", "sk-canary\x7f"),
        ("OPENAI_API_KEY", " \n"),
        ("OPENAI_BASE_URL", "http://canary:99999/v1"),
        ("OPENAI_BASE_URL", "http://canary:0/v1"),
        ("OPENAI_BASE_URL", "http://canary:port/v1"),
        ("OPENAI_BASE_URL", "http://[canary/v1"),
        ("OPENAI_BASE_URL", "http://canary..test/v1"),
        ("OPENAI_BASE_URL", f"http://{'canary' * 11}.test/v1"),
        ("OPENAI_BASE_URL", "http://can\nary.test/v1"),
        ("OPENAI_BASE_URL", "http://can ary.test/v1"),
        ("OPENAI_BASE_URL", "http://canary.test/v1?api-version=1"),
        ("OPENAI_BASE_URL", "http://canary.test/v1?"),
        ("OPENAI_BASE_URL", "http://canary.test/v1#/"),
        ("OPENAI_BASE_URL", "ftp://canary.test"),
        ("OPENAI_BASE_URL", "canary.test/v1"),
        ("OPENAI_BASE_URL", "https://canary.test/v1/chat/completions?api-version=1"),
        ("OPENAI_BASE_URL", "localhost:11434/v1"),
        ("OPENAI_MODEL", " "),
        ("OPENAI_HEADERS", "canary"),
        ("OPENAI_HEADERS", '["canary"]'),
        ("OPENAI_HEADERS", '{"host": "canary"}'),
        ("OPENAI_QUERY", '{"api-version": {"env": "can ary"}}'),
        ("OPENAI_BODY", '{"messages": "canary"}'),
        ("OPENAI_BODY", '{"canary": 1e999}'),
        ("OPENAI_BODY", '{"stop": ["canary \\ud800"]}'),
        ("OPENAI_BODY", '{"canary\\udfff": 1}'),
        ("OPENAI_BODY", '{"canary":' + "[" * 500 + "]" * 500 + "}"),
        ("OPENAI_QUERY", '{"canary": 1e999}'),
        ("UPSTREAM_PROXY", "socks5://canary:1080"),
        ("UPSTREAM_PROXY", "canary:3128"),
        ("UPSTREAM_CA_FILE", "/canary.pem"),
        ("UPSTREAM_CA_FILE", "/dev/null"),
        ("OPENAI_API_KEY_FILE", "/canary"),
        ("OPENAI_API_KEY_FILE", "/dev/null"),
        ("DATABASE_URL_FILE", "/"),
        ("DATABASE_URL", "postgresql+asyncpg://canary@localhost:99999/chat"),
        ("DATABASE_URL", "mysql://canary@localhost/chat"),
        ("DATABASE_URL", "postgresql+asyncpg://canary@localhost/chat?ssl=require&sslmode=require"),
        ("DATABASE_URL", "postgresql+asyncpg://canary@localhost/chat?statement_cache_size=0"),
        ("DATABASE_URL", "postgresql+asyncpg://canary@localhost/chat?prepared_statement_cache_size=abc"),
        ("DATABASE_URL", "postgresql+asyncpg://canary@localhost/chat?prepared_statement_cache_size=-1"),
        ("DATABASE_URL", "postgresql+asyncpg://canary@localhost/chat?ssl=require&ssl=canary"),
        ("DATABASE_URL", "postgresql+asyncpg://canary@/chat?host=one&host=canary"),
        ("DATABASE_URL", "postgresql+asyncpg://canary@canary..test/chat"),
        ("DATABASE_URL", "postgresql+asyncpg://localhost/canary%00"),
        ("DATABASE_URL", "sqlite+aiosqlite://canary/chatbot.db"),
        ("DATABASE_URL", "sqlite+aiosqlite://canary@/chatbot.db"),
        ("DATABASE_URL", "sqlite+aiosqlite:///canary%00.db"),
        ("DATABASE_URL", "sqlite+aiosqlite:///canary.db?timeout=abc"),
        ("DATABASE_URL", "sqlite+aiosqlite:///canary.db?mode=ro"),
        ("PUBLIC_URL", "chat.canary.example"),
        ("PUBLIC_URL", "ftp://chat.canary.example"),
        ("PUBLIC_URL", "https://*.canary.example"),
        ("PUBLIC_URL", "https://canary@chat.example"),
        ("PUBLIC_URL", "https://chat.example?canary"),
        ("PUBLIC_URL", "https://chat.example, canary"),
        ("PUBLIC_URL", "https://chat.example:70000"),
        ("RETENTION_DAYS", "36501"),
        ("RETENTION_DAYS", "-1"),
        ("MAX_MESSAGE_CHARS", "0"),
        ("MAX_MESSAGE_CHARS", TOO_MANY),
        ("MAX_HISTORY_TURNS", TOO_MANY),
        ("MAX_HISTORY_TURNS", "99999999999999999999"),
        ("MAX_HISTORY_CHARS", TOO_MANY),
        ("MAX_ANSWER_TOKENS", "1000001"),
        ("MAX_BODY_BYTES", "99"),
        ("MAX_BODY_BYTES", TOO_MANY),
        ("MAX_ANSWER_CHARS", TOO_MANY),
        ("MAX_LINE_BYTES", "999"),
        ("MAX_LINE_BYTES", TOO_MANY),
        ("MAX_JSON_DEPTH", "4"),
        ("MAX_JSON_DEPTH", TOO_MANY),
        ("MAX_STREAMS", TOO_MANY),
        ("WORKERS", "0"),
        *((field.upper(), wrong) for field in Settings.model_fields if "timeout" in field for wrong in ("0", "nan")),
        *((field.upper(), wrong) for field in Settings.model_fields if "seconds" in field for wrong in ("-1", "inf")),
    ],
)
def test_an_invalid_value_prevents_startup_with_a_line_that_names_but_does_not_show_it(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("chatbot.make_server", lambda *arguments: pytest.fail("the service starts"))
    monkeypatch.setattr("chatbot.configure_logging", lambda format: None)
    monkeypatch.setenv(name, value)
    assert chatbot.main() == 2
    line = capsys.readouterr().err
    assert line.startswith((f"chatbot: {name}: ", f"chatbot: {name.removesuffix('_FILE')}: is blank"))
    assert line.count("\n") == 1
    assert "canary" not in line


async def test_a_question_is_answered_with_the_smallest_limits(
    serve: Serve, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, least in (("MAX_BODY_BYTES", "100"), ("MAX_LINE_BYTES", "1000"), ("MAX_JSON_DEPTH", "5")):
        monkeypatch.setenv(name, least)
    upstream.mock(return_value=streamed(*answer("Hello")))
    async with serve() as client:
        assert (await client.ask("Hi", message_id=str(uuid.uuid4()))).text == "Hello"


@pytest.mark.parametrize("program", ["chatbot", "manage.py"])
def test_an_unreadable_env_file_prevents_startup_with_a_line_that_names_it(
    program: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some editors still use legacy encodings."""
    (tmp_path / ".env").write_bytes("SYSTEM_PROMPT=Grüß Gott, canary\n".encode("latin-1"))
    code = chatbot.main() if program == "chatbot" else manage.main(["tenant", "list"])
    assert code == (2 if program == "chatbot" else 1)
    line = capsys.readouterr().err
    assert line.startswith(f"{program}: .env: ")
    assert line.count("\n") == 1
    assert "canary" not in line


async def test_white_space_around_a_mounted_secret_is_removed(serve: Serve, upstream: respx.Route) -> None:
    """Secret files usually end with a line break."""
    upstream.mock(return_value=streamed(*answer("Hello")))
    settings = {"openai_api_key": "sk-mounted\n", "metrics_token": " m3trics\r\n"}
    async with serve(**settings, openai_base_url="https://upstream.test/v1/\n") as client:
        assert (await client.ask("Hi")).text == "Hello"
        response, _ = await client.request("GET", "/metrics", headers={"Authorization": "Bearer m3trics"})
    assert upstream.calls.last.request.headers["authorization"] == "Bearer sk-mounted"
    assert response.status == 200


@pytest.mark.parametrize("quote", ["'", '"'])
async def test_quotes_that_dockers_env_file_option_leaves_are_removed(
    upstream: respx.Route, serve: Serve, monkeypatch: pytest.MonkeyPatch, quote: str
) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    settings = {"openai_api_key": "sk-quoted", "openai_base_url": "https://upstream.test/v1", "openai_model": "large"}
    async with serve(**{name: f"{quote}{value}{quote}" for name, value in settings.items()}) as client:
        assert (await client.ask("Hi")).text == "Hello"
    assert upstream.calls.last.request.headers["authorization"] == "Bearer sk-quoted"
    assert b'"model":"large"' in upstream.calls.last.request.content


async def test_a_key_may_start_with_bearer(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    async with serve(openai_api_key="Bearer sk-upstream") as client:
        assert (await client.ask("Hi")).text == "Hello"
    assert upstream.calls.last.request.headers["authorization"] == "Bearer sk-upstream"


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/chat/completions/", "/v1//"])
async def test_a_base_url_may_already_include_the_path(serve: Serve, upstream: respx.Route, path: str) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    async with serve(openai_base_url=f"https://upstream.test{path}") as client:
        assert (await client.ask("Hi")).text == "Hello"


@pytest.mark.parametrize(
    ("value", "advice"),
    [("api.mistral.ai/v1", "http:// or https://"), ("https://x.test/v1?api-version=1", "OPENAI_QUERY")],
)
def test_a_refused_base_url_gets_advice(
    value: str, advice: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", value)
    assert chatbot.main() == 2
    assert advice in capsys.readouterr().err


def test_secrets_can_come_from_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "key").write_text("sk-mounted\n")
    (tmp_path / "database").write_text("postgresql+asyncpg://user@localhost/mounted\n")
    monkeypatch.setenv("OPENAI_API_KEY_FILE", str(tmp_path / "key"))
    (tmp_path / ".env").write_text(f"DATABASE_URL_FILE={tmp_path}/database\nMETRICS_TOKEN_FILE=\n")
    settings = Settings()
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-mounted"
    assert settings.database_url == "postgresql+asyncpg://user@localhost/mounted"
    assert settings.metrics_token is None


def test_a_secret_given_twice_prevents_startup(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("OPENAI_API_KEY_FILE", "/run/secrets/key")
    assert chatbot.main() == 2
    assert capsys.readouterr().err == "chatbot: OPENAI_API_KEY and OPENAI_API_KEY_FILE are both set; choose one\n"


async def test_a_tenants_key_can_come_from_a_file(
    serve: Serve, upstream: respx.Route, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    (tmp_path / "key").write_text("sk-shop\n")
    monkeypatch.setenv("SHOP_KEY_FILE", str(tmp_path / "key"))
    async with serve(tenant={"openai_key_env": "SHOP_KEY"}) as client:
        assert (await client.ask("Hi")).text == "Hello"
        assert upstream.calls.last.request.headers["authorization"] == "Bearer sk-shop"
        (tmp_path / "key").unlink()
        status, problem, _ = await client.refused()
    assert (status, problem["cause"]) == (502, "not_set_up")


@pytest.mark.parametrize("place", ["environment", ".env"])
def test_an_empty_system_prompt_counts_as_set_unlike_other_empty_variables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    assert Settings().system_prompt
    if place == ".env":
        (tmp_path / ".env").write_text("SYSTEM_PROMPT=\nOPENAI_MODEL=\n")
    else:
        monkeypatch.setenv("SYSTEM_PROMPT", "")
        monkeypatch.setenv("OPENAI_MODEL", "")
    assert (Settings().system_prompt, Settings().openai_model) == ("", "gpt-4o-mini")


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("*", "*"),
        ("127.0.0.1", "127.0.0.1"),
        ("10.0.0.0/8,192.168.0.0/16", "10.0.0.0/8,192.168.0.0/16"),
        (" 10.0.0.1 , fd00::/8, ", "10.0.0.1,fd00::/8"),
    ],
)
def test_trusted_proxies_are_addresses_networks_or_a_star(value: str, read: str) -> None:
    assert Settings(forwarded_allow_ips=value).forwarded_allow_ips == read


@pytest.mark.parametrize(
    "value",
    [
        "https://api.openai.com/v1",
        "http://localhost:11434/v1",
        "http://my_service:65535",
        "http://[::1]:8080/v1",
        "https://bücher.test/v1",
    ],
)
def test_endpoint_urls_are_accepted(value: str) -> None:
    assert httpx.URL(str(Settings(openai_base_url=value).openai_base_url)).host


@pytest.mark.parametrize(
    "value",
    [
        "sqlite+aiosqlite:////data/chat bot.db",
        "postgresql+asyncpg://user:p%40ss@[::1]:5432/chat?ssl=require&prepared_statement_cache_size=0",
        "postgresql+asyncpg://user@/chat?host=one:5432&host=two:5432&target_session_attrs=primary",
        "postgresql+asyncpg://user@/chat?host=/run/postgresql",
    ],
)
def test_database_urls_are_accepted(value: str) -> None:
    assert Settings(database_url=value).database_url == value


@pytest.mark.parametrize(
    ("value", "urls", "origins"),
    [
        ("", [], []),
        ("https://Chat.Example.com:443/", ["https://chat.example.com"], ["https://chat.example.com"]),
        ("http://bücher.example:80", ["http://xn--bcher-kva.example"], ["http://xn--bcher-kva.example"]),
        ("http://[::1]:8000", ["http://[::1]:8000"], ["http://[::1]:8000"]),
        ("https://a.example/chat/", ["https://a.example/chat"], ["https://a.example"]),
        (
            "https://a.example, http://b.intranet:8000  https://a.example",
            ["https://a.example", "http://b.intranet:8000"],
            ["https://a.example", "http://b.intranet:8000"],
        ),
    ],
)
def test_public_urls_are_normalized_as_browsers_do(value: str, urls: list[str], origins: list[str]) -> None:
    settings = Settings(public_url=value)
    assert (settings.public_urls, settings.public_origins) == (urls, origins)
