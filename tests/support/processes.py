"""A real service: `python chatbot.py` in its own process, or its server in this one."""

import asyncio
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import chatbot
from days import wait_for_a_long_enough_day
from preloaded import CHATBOT, MANAGE, ROOT, Program, run_program
from service.settings import Settings
from service.web.server import Server, make_server

NO_LIMITS = ["--rate-per-minute", "0", "--visitor-rate-per-minute", "0", "--tokens-per-day", "0"]
# uvicorn's own command line, which serves the application without the service's server.
UVICORN = [sys.executable, "-m", "uvicorn", "chatbot:app", "--app-dir", str(ROOT), "--port", "0"]


@dataclass
class RunningService:
    """A service at `url`, with a tenant for pages at `origin`."""

    process: Program | subprocess.Popen[bytes]
    url: str
    directory: Path
    environment: dict[str, str]
    origin: str = "http://localhost:*"
    widget_id: str = ""
    api_key: str = ""
    tenant: str = "shop"
    model: str = ""

    def log(self) -> str:
        return (self.directory / "log").read_text()

    def manage(self, *arguments: str) -> Any:
        """Run manage.py on the service's database. Returns the JSON that it prints."""
        return manage(self.directory, self.environment, *arguments)

    def kill(self) -> None:
        """Send SIGKILL, and wait for the process to end."""
        self.process.kill()
        self.process.wait(timeout=60)

    def stop(self) -> int:
        """Send SIGTERM, and wait for the process to end. Returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=60)


def manage(directory: Path, environment: dict[str, str], *arguments: str) -> Any:
    done = run_program([MANAGE, *arguments, "--json"], cwd=directory, env=environment, directory=directory)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def running_service(
    directory: Path, origin: str = "http://localhost:*", *, command: Sequence[str] = (), **settings: str
) -> Iterator[RunningService]:
    """Start a service in `directory` with these variables, add a tenant, and stop the service at the end.

    `command` starts it in another way.
    """
    wait_for_a_long_enough_day()
    directory.mkdir(exist_ok=True)
    database = f"sqlite:///{directory}/chatbot.db"
    environment = {
        "PATH": os.environ["PATH"],
        "PORT": "0",
        "DATABASE_URL": database,
        "PYTHONUNBUFFERED": "1",
        "SHUTDOWN_DELAY": "0",
        **settings,
    }
    tenant = manage(directory, environment, "tenant", "add", "shop", "--origin", origin, *NO_LIMITS)
    with _process(directory, environment, command) as (process, url):
        yield RunningService(process, url, directory, environment, origin, tenant["widget_id"], tenant["api_key"])


@contextmanager
def restarted(service: RunningService, *, command: Sequence[str] = (), **settings: str) -> Iterator[str]:
    """The URL of the same service started again with other settings, after the first process has ended or beside it."""
    with _process(service.directory, service.environment | settings, command) as (_, url):
        yield url


@contextmanager
def running_under_uvicorn(directory: Path) -> Iterator[RunningService]:
    """The service as uvicorn's own command line serves it, without a tenant."""
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": f"sqlite:///{directory}/chatbot.db"}
    with _process(directory, environment, UVICORN) as (process, url):
        yield RunningService(process, url, directory, environment)


@asynccontextmanager
async def serving_here(settings: Settings, listening: socket.socket) -> AsyncIterator[Server]:
    """The service's own server in this process, on a bound socket. It starts with the loop's next turn."""
    server = make_server(chatbot.create_app(settings), settings, [listening])
    serving = asyncio.create_task(server.serve())
    try:
        yield server
    finally:
        server.should_exit = True
        await serving


@contextmanager
def _process(
    directory: Path, environment: dict[str, str], command: Sequence[str] = ()
) -> Iterator[tuple[Program | subprocess.Popen[bytes], str]]:
    path = directory / "log"
    with open(path, "ab") as log:
        begins = log.tell()
        process: Program | subprocess.Popen[bytes]
        if command:
            process = subprocess.Popen(command, cwd=directory, env=environment, stderr=log)
        else:
            process = Program([CHATBOT], cwd=directory, env=environment, stdout=path, stderr=path)
    try:
        yield process, _wait_for_url(process, path, begins)
    finally:
        process.terminate()
        process.wait(timeout=60)


def _wait_for_url(process: Program | subprocess.Popen[bytes], log: Path, begins: int) -> str:
    """The URL in the log, from this byte on."""
    while process.poll() is None:
        written = log.read_bytes()[begins:].decode(errors="replace")
        if found := re.search(r"running on (http://[\w.:\[\]-]+)", written):
            return found[1]
        time.sleep(0.02)  # leave the CPU to the service
    raise RuntimeError(f"the service did not start:\n{log.read_text()}")


_reserving: list[socket.socket] = []  # ports, until this process ends


def free_port() -> int:
    """A free port outside the range of outgoing connections, so that a client cannot connect to itself.

    No other call returns it, in any process of the tests, though nothing may listen on it yet, or for a while: a UDP
    socket with its number reserves it.
    """
    while True:
        port = random.randint(20_000, 32_000)
        reserving = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                reserving.bind(("127.0.0.1", port))
                tried.bind(("127.0.0.1", port))
            except OSError:
                reserving.close()
                continue
        _reserving.append(reserving)
        return port
