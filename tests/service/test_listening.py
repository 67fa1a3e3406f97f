"""Where the service listens, for how long, and how many connections it accepts at once."""

import asyncio
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from preloaded import ROOT
from processes import running_service, serving_here
from service.settings import Settings
from service.web.listening import ACCEPTED_AT_ONCE, bind
from wire import open_sockets

HEALTH = "/api/v1/health"


def test_one_setting_listens_on_all_addresses_of_both_families(tmp_path: Path) -> None:
    with running_service(tmp_path, HOST="::") as service:
        port = urlsplit(service.url).port
        for host in ("127.0.0.1", "[::1]"):
            assert httpx.get(f"http://{host}:{port}{HEALTH}", timeout=60).status_code == 200


def test_an_address_in_use_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {"PORT": str(taken.getsockname()[1]), "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/a.db"}
        command = [sys.executable, str(ROOT / "chatbot.py")]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    made_its_tables, *failure = done.stderr.splitlines()
    assert "migrated" in made_its_tables
    [line] = failure
    assert re.fullmatch(r"chatbot: HOST, PORT: cannot listen on 127.0.0.1, port \d+: Address already in use", line)


def test_the_port_stays_open_after_sigterm_but_not_after_ctrl_c(tmp_path: Path) -> None:
    with running_service(tmp_path / "1", SHUTDOWN_DELAY="300") as service:
        service.process.send_signal(signal.SIGTERM)
        while httpx.get(f"{service.url}/api/v1/ready", timeout=60).status_code != 503:
            assert service.process.poll() is None
        health = httpx.get(service.url + HEALTH, timeout=60)
        assert health.status_code == 200
        assert health.headers["connection"] == "close"  # so that a proxy takes another one for what comes next
        service.process.send_signal(signal.SIGTERM)  # the second signal
        service.process.wait(60)
    with running_service(tmp_path / "2", SHUTDOWN_DELAY="300") as service:
        service.process.send_signal(signal.SIGINT)
        service.process.wait(60)


@pytest.mark.parametrize(("workers", "at_once"), [(1, ACCEPTED_AT_ONCE), (2, 1)])
async def test_one_of_several_workers_leaves_new_connections_to_the_others(
    database_url: str, workers: int, at_once: int
) -> None:
    """In each turn of its loop, it accepts one of those that wait. A process without others accepts several."""
    waiting = 3 * ACCEPTED_AT_ONCE
    settings = Settings(database_url=database_url, public_url="https://chat.test", workers=workers)
    (listening,) = bind("127.0.0.1", 0)
    listening.listen(waiting)
    with ExitStack() as stack:
        for _ in range(waiting):
            stack.enter_context(socket.create_connection(listening.getsockname()))
        async with serving_here(settings, listening), asyncio.timeout(30):
            counts = [open_sockets()]
            while counts[-1] < counts[0] + waiting:
                await asyncio.sleep(0)  # one turn
                counts.append(open_sockets())
    assert max(after - before for before, after in zip(counts, counts[1:], strict=False)) == at_once
