"""`manage.py upstream check` asks one tiny question, and recommends settings from its answer."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import respx

import manage
from preloaded import ROOT
from service.testing.behaviours import answers, breaks_after, cites, refuses, thinks
from upstreams import local_upstream

BASE_URL = "https://provider.test/v1"


@pytest.fixture(autouse=True)
def settings(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("OPENAI_BASE_URL", BASE_URL)
    monkeypatch.setenv("OPENAI_MODEL", "small")
    monkeypatch.setattr("service.upstream.call._backoff", lambda tries_left: 0.0)


@pytest.fixture
def provider() -> Iterator[respx.Route]:
    with respx.mock(assert_all_called=False) as router:
        yield router.post(f"{BASE_URL}/chat/completions")


def check(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> tuple[str, str]:
    """The command's output on both streams."""
    assert manage.main(["upstream", "check", *arguments]) == code
    captured = capsys.readouterr()
    assert "canary" not in captured.out + captured.err
    assert captured.err.count("\n") <= 1
    return captured.out, captured.err


def facts(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(check(capsys, *arguments, "--json", code=code)[0])
    return found


def test_a_working_provider_is_reported_with_its_settings(
    provider: respx.Route, capsys: pytest.CaptureFixture[str]
) -> None:
    provider.mock(side_effect=answers("One two three four five", pace=0.01, tokens=(20, 10)))
    found = facts(capsys)
    assert (found["works"], found["streams"], found["ended"], found["refuses"]) == (True, True, "complete", [])
    assert found["tokens"] == {"prompt": 20, "completion": 10}
    assert 0 < found["first_text_after"] < 30
    assert found["settings"] == [f"OPENAI_BASE_URL={BASE_URL}", "OPENAI_MODEL=small"]
    printed, _ = check(capsys)
    assert "yes, word by word" in printed
    assert f"\nOPENAI_BASE_URL={BASE_URL}\nOPENAI_MODEL=small\n" in printed
    assert provider.call_count == 2


@pytest.mark.parametrize(
    ("behaviour", "name", "value"),
    [
        (answers("One", "two", "three", "four", tokens=None), "streams", False),
        (answers("One", tokens=None), "tokens", None),
        (thinks(), "thinks", True),
        (answers("One"), "thinks", False),
        (cites(), "cites", True),
        (answers("One"), "cites", False),
        (answers("One", finish_reason="length"), "ended", "length"),
    ],
)
def test_the_features_of_an_answer_are_reported(
    provider: respx.Route,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Any,
    name: str,
    value: object,
) -> None:
    # However long a busy machine takes over what comes at once.
    monkeypatch.setattr("service.commands.upstream.TOGETHER_SECONDS", 60)
    provider.mock(side_effect=behaviour)
    assert facts(capsys)[name] == value


def test_refused_fields_are_reported_with_settings_that_avoid_them(
    provider: respx.Route, capsys: pytest.CaptureFixture[str]
) -> None:
    too_large = "This model's maximum context length is 2048 tokens, you requested 4118 (22 in the messages, 4096 in "

    def handle(request: httpx.Request) -> httpx.Response:
        body = json.loads(request.content)
        if "stream_options" in body:
            return refuses(422, message="stream_options: Extra inputs are not permitted")(request)
        if body["max_tokens"] > 2048:
            return refuses(400, message=too_large + "the completion).")(request)
        return answers("One two three")(request)

    provider.mock(side_effect=handle)
    found = facts(capsys)
    assert found["refuses"] == ["without stream_options", "max_tokens at most 512"]
    assert found["settings"][2:] == ["MAX_ANSWER_TOKENS=512", 'OPENAI_BODY={"stream_options": null}']


def test_log_messages_are_not_printed(tmp_path: Path) -> None:
    """As when an operator runs it."""
    with local_upstream() as upstream:
        environment = {"PATH": os.environ["PATH"], "OPENAI_BASE_URL": upstream.url("picky")}
        command = [sys.executable, str(ROOT / "manage.py"), "upstream", "check", "--json"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["refuses"] == ["without stream_options"]


def test_a_tenants_own_provider_is_asked_with_the_tenants_settings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, provider: respx.Route
) -> None:
    monkeypatch.setenv("SHOP_URL", "https://user:canary@shop.test/v1")
    monkeypatch.setenv("SHOP_KEY", "sk-canary-of-the-shop")
    options = ["--openai-base-url-env", "SHOP_URL", "--openai-key-env", "SHOP_KEY", "--model", "large"]
    assert (
        manage.main(["tenant", "add", "shop", "--origin", "https://shop.test", "--temperature", "0.3", *options]) == 0
    )
    capsys.readouterr()
    with respx.mock() as router:
        route = router.post("https://shop.test/v1/chat/completions").mock(side_effect=answers("One two three"))
        found = facts(capsys, "shop")
        assert json.loads(route.calls.last.request.content)["temperature"] == 0.3
    assert (found["provider"], found["model"], found["works"]) == ("shop.test", "large", True)
    assert found["settings"] == ["SHOP_URL=https://shop.test/v1", 'manage.py tenant set "shop" --model large']
    assert not provider.called


def test_a_base_url_without_v1_is_completed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://provider.test")
    with respx.mock() as router:
        router.post("https://provider.test/chat/completions").mock(return_value=httpx.Response(404, text="not found"))
        router.post("https://provider.test/v1/chat/completions").mock(side_effect=answers("One two three"))
        assert facts(capsys)["settings"][0] == f"OPENAI_BASE_URL={BASE_URL}"


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (refuses(401, "invalid_api_key"), "OPENAI_API_KEY"),
        (refuses(404, "model_not_found"), "OPENAI_MODEL"),
        (refuses(429, "insufficient_quota"), "no credit"),
        (refuses(404, message="page not found"), "OPENAI_BASE_URL"),
        (httpx.ConnectError("refused"), "no connection"),
        (breaks_after(1), "broke"),
        (answers(""), "without any text"),
    ],
)
def test_a_failure_is_one_line_and_an_exit_code(
    provider: respx.Route, capsys: pytest.CaptureFixture[str], behaviour: Any, expected: str
) -> None:
    provider.mock(side_effect=behaviour)
    printed, line = check(capsys, code=1)
    assert expected in line
    assert "settings" not in printed


def test_without_a_provider_there_is_nothing_to_check(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    assert "OPENAI_API_KEY" in check(capsys, code=1)[1]


def test_an_unknown_tenant_or_missing_variable_is_one_line(
    capsys: pytest.CaptureFixture[str], provider: respx.Route
) -> None:
    assert "nobody" in check(capsys, "nobody", code=1)[1]
    assert manage.main(["tenant", "add", "shop", "--origin", "https://a.test", "--openai-key-env", "NOT_SET"]) == 0
    capsys.readouterr()
    assert "NOT_SET is not set" in check(capsys, "shop", code=1)[1]
    assert not provider.called


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http://127.0.0.1:9/v1", "nothing listens there"),
        (f"http://{'.'.join(5 * [50 * 'x'])}/v1", "its name is not known"),  # longer than DNS asks for
    ],
)
def test_the_reason_for_a_failed_connection_is_reported(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, address: str, expected: str
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    assert expected in check(capsys, code=1)[1]
