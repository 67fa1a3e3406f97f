"""WORKERS: several equivalent processes behind one port, started and stopped together."""

import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import chatbot
from preloaded import CHATBOT
from processes import RunningService, running_service
from upstreams import local_upstream

TOKEN = "metrics-0123456789abcdef0123456789"
ASKED = 'chatbot_requests_total{code="",route="/api/v1/chat",status="200"}'


@contextmanager
def two_workers(directory: Path, upstream: str, **settings: str) -> Iterator[RunningService]:
    chosen = {"WORKERS": "2", "METRICS_TOKEN": TOKEN, "OPENAI_API_KEY": "sk", "OPENAI_BASE_URL": upstream, **settings}
    with running_service(directory, command=[sys.executable, CHATBOT], **chosen) as running:
        until(lambda: running.log().count("running on ") == 2)
        yield running


def until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def metrics(service: RunningService) -> str:
    return httpx.get(f"{service.url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60).text


def pids(service: RunningService) -> set[int]:
    return {int(pid) for pid in re.findall(r'process_open_fds{pid="(\d+)"}', metrics(service))}


def headers(service: RunningService) -> dict[str, str]:
    return {"X-API-Key": service.api_key, "Origin": "http://localhost"}


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.each_database
def test_workers_share_metrics_and_a_killed_one_is_replaced(tmp_path: Path, database_url: str) -> None:
    with local_upstream() as local, two_workers(tmp_path, local.url("quick"), DATABASE_URL=database_url) as service:

        def ask() -> None:
            url = f"{service.url}/api/v1/chat"
            answer = httpx.post(url, json={"message": "Hi"}, headers=headers(service), timeout=60)
            assert "Quick answer" in answer.text

        until(lambda: len(pids(service)) == 2)
        workers = pids(service)
        for busy in workers:
            with stopped(busy):
                ask()
        until(lambda: f"{ASKED} 2.0" in metrics(service))  # a request is counted after its last byte
        killed = workers.pop()
        os.kill(killed, signal.SIGKILL)
        until(lambda: len(pids(service) - {killed}) == 2)
        ask()
        until(lambda: f"{ASKED} 3.0" in metrics(service))  # what the killed one had counted, too
        assert killed not in pids(service)
        assert service.stop() == 0


def test_sigterm_lets_the_answers_of_all_workers_finish(tmp_path: Path) -> None:
    with (
        local_upstream() as local,
        two_workers(tmp_path, local.url("endless"), DRAIN_SECONDS="2") as service,
        httpx.stream(
            "POST", f"{service.url}/api/v1/chat", json={"message": "Hi"}, headers=headers(service), timeout=60
        ) as response,
    ):
        lines = response.iter_lines()
        assert next(lines) == "event: start"
        service.process.send_signal(signal.SIGTERM)
        until(lambda: service.log().count(" draining ") == 2)
        rest = list(lines)
        assert rest.count("event: message") > 1  # it went on
        assert '"code":"restarting"' in "".join(rest[-5:])
        assert service.process.wait(timeout=60) == 0
        assert "Traceback" not in service.log()


def test_workers_exit_when_their_supervisor_is_killed(tmp_path: Path) -> None:
    with local_upstream() as local, two_workers(tmp_path, local.url("quick")) as service:
        until(lambda: len(pids(service)) == 2)
        workers = pids(service)
        service.kill()
        until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in workers))


def test_workers_without_a_directory_for_temporary_files_are_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As in a container with a read-only root."""
    monkeypatch.setattr("chatbot.configure_logging", lambda format: None)  # the log outlives this test
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    for name, value in {"WORKERS": "2", "PORT": "0", "DATABASE_URL": f"sqlite:///{tmp_path}/chatbot.db"}.items():
        monkeypatch.setenv(name, value)
    assert chatbot.main() == 1
    reported = capsys.readouterr().err.splitlines()[-1]
    assert reported == (
        "chatbot: WORKERS: their metrics need a directory for temporary files (TMPDIR): No such file or directory"
    )
