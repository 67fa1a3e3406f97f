"""`manage.py doctor` finds each fault of an installation, and says what to change."""

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import respx

import manage
from command_line import Run
from command_line import run as run
from permissions import file_modes_count
from preloaded import MANAGE
from processes import RunningService, free_port, running_service
from required import skip_unless_required
from service.commands import browser_checks
from service.settings import Settings
from service.store.urls import shown_url
from service.testing.behaviours import answers, refuses

Doctor = Callable[..., tuple[int, dict[str, tuple[str, str]]]]
NGINX = """
daemon off; master_process off; pid {0}/nginx.pid; error_log {0}/error.log;
events {{}}
http {{
    access_log off; proxy_http_version 1.1; proxy_set_header Host $http_host;
    client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/fastcgi;
    uwsgi_temp_path {0}/uwsgi; scgi_temp_path {0}/scgi;
    {1}
}}
"""
GOOD = "proxy_buffering off;"
BUFFERS = "proxy_ignore_headers X-Accel-Buffering; gzip on; gzip_proxied any; gzip_types *; gzip_min_length 1;"
CUTS = "proxy_buffering off; proxy_read_timeout 1s;"
FRAMES = "add_header X-Frame-Options SAMEORIGIN;"
POLICY = "add_header Content-Security-Policy \"frame-ancestors 'self'\";"
CORS = "add_header Access-Control-Allow-Origin * always;"
PAGES = "proxy_intercept_errors on; error_page 401 404 503 /nginx-has-no-such-page;"


@pytest.fixture(autouse=True)
def _room(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of 100 GB, half of it free, whatever this machine has."""
    volume = SimpleNamespace(f_bavail=50_000_000, f_blocks=100_000_000, f_frsize=1000)
    monkeypatch.setattr(os, "statvfs", lambda _: volume)


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs the command. Returns its exit code and each check's result."""
    monkeypatch.setattr(browser_checks, "LEAST_MOMENTS", 2)  # a busy machine may take long over several words

    def doctor(*arguments: str) -> tuple[int, dict[str, tuple[str, str]]]:
        code = manage.main(["doctor", "--no-provider", "--json", *arguments])
        output = json.loads(capsys.readouterr().out)
        assert output["ok"] is (code == 0)
        return code, {each["name"]: (each["state"], each["text"]) for each in output["checks"]}

    return doctor


@pytest.mark.each_database
def test_the_doctor_finds_nothing_wrong_with_a_fresh_installation(run: Run, doctor: Doctor, database_kind: str) -> None:
    run("tenant", "add", "shop", "--origin", "https://shop.test")
    code, found = doctor()
    assert code == 0, found
    assert shown_url(os.environ["DATABASE_URL"]) in found["database"][1]
    assert {name for name, (state, _) in found.items() if state == "ok"} == {
        *("settings", "database", "schema", "files"),
        "disk" if database_kind == "sqlite" else "clock",
    }


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_an_empty_database_needs_a_migration_and_is_reported_once(
    empty_database_url: str, doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    code, found = doctor()
    state, text = found["schema"]
    assert (code, state, text.count("migrate")) == (1, "fix", 1)


def test_the_reason_and_the_advice_are_two_sentences(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://chat@127.0.0.1:1/chat")
    state, text = doctor()[1]["database"]
    assert (state, text.count(". Check DATABASE_URL")) == ("fix", 1)


def test_a_database_in_a_directory_that_may_not_be_read_is_a_finding(
    doctor: Doctor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'private/chatbot.db'}")
    (tmp_path / "private").mkdir(mode=0)
    try:
        with file_modes_count():
            state, text = doctor()[1]["database"]
    finally:
        (tmp_path / "private").chmod(0o700)
    assert (state, "Permission denied" in text, "the files' owner" in text) == ("fix", True, True), text


@pytest.mark.parametrize("options", [[], ["--json"]], ids=["lines", "json"])
def test_an_output_error_is_reported_in_one_line(run: Run, tmp_path: Path, options: list[str]) -> None:
    """As on a full disk."""
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    command = [sys.executable, MANAGE, "doctor", "--no-provider", *options]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, encoding="utf-8", timeout=60
        )
    assert done.returncode == 1
    assert done.stderr == "manage.py: The output cannot be written: No space left on device.\n"


def test_the_doctor_ends_quietly_when_its_pipe_closes(run: Run, tmp_path: Path) -> None:
    """As `head` has after a line."""
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as closed:
        done = subprocess.run(
            [sys.executable, MANAGE, "doctor", "--no-provider"],
            env=environment,
            cwd=tmp_path,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, b"")


def test_each_finding_is_a_line_and_the_number_of_faults_another(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    """Demonstration mode has no provider to check."""
    assert manage.main(["doctor"]) == 1
    output = capsys.readouterr()
    assert "ok    schema       version " in output.out
    assert "fix   provider     not set, so only the demonstration answers" in output.out
    assert output.err == "manage.py: 1 of 8 checks failed: see `fix` above.\n"


def _shrink(monkeypatch: pytest.MonkeyPatch) -> None:
    volume = SimpleNamespace(f_bavail=5_000_000, f_blocks=100_000_000, f_frsize=1000)
    monkeypatch.setattr(os, "statvfs", lambda _: volume)


def _forbid_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 1024))


def _misspell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAX_STREAMS", "many")


def _move(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/chatbot.db")


@pytest.mark.parametrize(
    ("break_it", "name", "remedy"),
    [
        (_shrink, "disk", "enlarge it"),
        (_forbid_files, "files", "LimitNOFILE"),
        (_misspell, "settings", "MAX_STREAMS"),
        (_move, "database", "check DATABASE_URL"),
    ],
)
def test_each_fault_of_this_machine_is_found_separately(
    run: Run,
    doctor: Doctor,
    monkeypatch: pytest.MonkeyPatch,
    break_it: Callable[[pytest.MonkeyPatch], None],
    name: str,
    remedy: str,
) -> None:
    break_it(monkeypatch)
    code, found = doctor()
    assert code == 1
    assert [each for each, (state, _) in found.items() if state == "fix"] == [name]
    assert remedy in found[name][1]


def test_a_database_that_needs_an_upgrade_is_found(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, doctor: Doctor
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)
    code, found = doctor()
    assert (code, found["schema"][0]) == (1, "fix")


@pytest.mark.parametrize(
    ("behaviour", "state", "text"),
    [
        (answers("One", "two", "three", "four", "five", pace=0.01), "ok", "provider.test answers, first text after "),
        (answers("One", "two"), "fix", "sends the whole answer at once"),
        (refuses(401), "fix", "run `manage.py upstream check` for details"),
    ],
    ids=["works", "at once", "refuses"],
)
def test_the_provider_is_asked_only_once(
    run: Run,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Any,
    state: str,
    text: str,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    monkeypatch.setenv("OPENAI_BASE_URL", "https://provider.test/v1")
    with respx.mock() as router:
        asked = router.post("https://provider.test/v1/chat/completions").mock(side_effect=behaviour)
        assert manage.main(["doctor", "--json"]) == (state == "fix")
        assert asked.call_count == 1
    output = capsys.readouterr()
    found = {each["name"]: each for each in json.loads(output.out)["checks"]}["provider"]
    assert found["state"] == state
    assert text in found["text"]
    assert "canary" not in output.out + output.err


# As a browser sees it


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with running_service(tmp_path_factory.mktemp("doctor"), PING_SECONDS="2") as service:
        yield service


@pytest.fixture
def here(service: RunningService, monkeypatch: pytest.MonkeyPatch) -> RunningService:
    """A service with the same settings as the command."""
    for name in Settings.model_fields:
        if value := service.environment.get(name.upper()):
            monkeypatch.setenv(name.upper(), value)
    return service


@contextmanager
def proxied(service: RunningService, directory: Path, way: str) -> Iterator[str]:
    """The URL of an nginx in front of the service."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if nginx is None:
        skip_unless_required("nginx is not installed")
    port = free_port()
    site = f"server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass {service.url}; {way} }} }}"
    (directory / "nginx.conf").write_text(NGINX.format(directory, site))
    process = subprocess.Popen([nginx, "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"])
    try:
        while not _listens(port):
            assert process.poll() is None, (directory / "error.log").read_text()
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(timeout=60)


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize(
    ("way", "faults"),
    [
        (GOOD, {}),
        (BUFFERS, {"stream": "proxy_buffering off"}),
        (CUTS, {"timeouts": "proxy_read_timeout"}),
        (GOOD + FRAMES, {"framing": "X-Frame-Options: SAMEORIGIN"}),
        (GOOD + POLICY + CORS, {"framing": "Content-Security-Policy", "cors": "http://localhost:8080 and *"}),
        (GOOD + PAGES, {"cors": "Access-Control-Allow-Origin: nothing"}),
    ],
    ids=["good", "buffers", "cuts", "frames", "headers", "pages"],
)
def test_faults_of_a_proxy_are_found(
    here: RunningService, doctor: Doctor, tmp_path: Path, way: str, faults: dict[str, str]
) -> None:
    with proxied(here, tmp_path, way) as url:
        _, found = doctor("--url", url)
    output = {name: text for name, (state, text) in found.items() if state == "fix"}
    assert output.keys() == faults.keys(), output
    assert all(faults[name] in text for name, text in output.items())
    assert {"address", "ready", "public url", "framing", "cors", "stream", "timeouts"} <= found.keys()


def test_the_text_of_a_proxy_does_not_control_the_terminal(
    here: RunningService, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    with proxied(here, tmp_path, 'if ($http_x_probe) { return 403 "\x1b[31m\nok    stream"; }') as url:
        manage.main(["doctor", "--no-provider", "--url", url])
    output = capsys.readouterr().out
    assert "the probe was refused with 403: \N{REPLACEMENT CHARACTER}[31m" in output
    assert "\x1b" not in output
    assert "\nok    stream" not in output


def test_the_probes_key_is_revoked_afterwards(here: RunningService, doctor: Doctor, tmp_path: Path) -> None:
    known = here.manage("key", "list", "shop")
    doctor("--url", here.url)
    (added,) = [key for key in here.manage("key", "list", "shop") if key not in known]
    assert (added["kind"], added["revoked_at"] is not None) == ("secret", True)


@pytest.mark.parametrize(
    ("url", "name", "remedy"),
    [
        ("http://127.0.0.1:1", "address", "check its DNS record"),
        ("http://chat.invalid", "address", "check its DNS record"),
    ],
)
def test_an_address_without_a_service_is_found(
    here: RunningService, doctor: Doctor, url: str, name: str, remedy: str
) -> None:
    _, found = doctor("--url", url)
    assert found[name][0] == "fix"
    assert remedy in found[name][1]


def test_a_probe_needs_a_secret_key_and_is_limited(here: RunningService) -> None:
    """With a public key, the request is a normal question, whatever its headers."""
    page = {"X-API-Key": here.api_key, "Origin": "http://localhost:1", "X-Probe": "1"}
    asked = httpx.post(f"{here.url}/api/v1/chat", json={}, headers=page, timeout=60)
    assert (asked.status_code, asked.json()["code"]) == (422, "validation_failed")
    secret = here.manage("key", "add", "shop", "--secret")["api_key"]
    for seconds in ("121", "-1", "soon"):
        headers = {"X-API-Key": secret, "X-Probe": seconds}
        asked = httpx.post(f"{here.url}/api/v1/chat", json={}, headers=headers, timeout=60)
        assert asked.json()["code"] == "bad_request"
