"""The environment of the faults: service processes on one database, and their measurements."""

import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from faults.readers import fetch
from preloaded import ROOT, Program
from processes import free_port
from service.store.database import Database
from service.store.store import Store

WATCHED = Path(__file__).with_name("watched.py")
METRICS_TOKEN = "of-the-measurer"
START_SECONDS = 30
MIB = 1024 * 1024
POSTGRES_BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))[-1:]

# Deadlines short enough for a test to reach.
SHORT_DEADLINES = {
    "CONNECT_TIMEOUT": "1",
    "FIRST_TEXT_TIMEOUT": "0.8",
    "TEXT_TIMEOUT": "0.8",
    "READ_TIMEOUT": "0.8",
    "ANSWER_TIMEOUT": "5",
    "SEND_TIMEOUT": "1",
    "RESUME_SECONDS": "0.2",
}
MEASURED_DEADLINES = SHORT_DEADLINES | {
    "FIRST_TEXT_TIMEOUT": "3",
    "TEXT_TIMEOUT": "3",
    "READ_TIMEOUT": "3",
    "ANSWER_TIMEOUT": "10",
    "SEND_TIMEOUT": "5",
}
# Deadlines that no test reaches, even on a slow machine.
LONG_DEADLINES = {"ANSWER_TIMEOUT": "120", "FIRST_TEXT_TIMEOUT": "20", "TEXT_TIMEOUT": "20", "RESUME_SECONDS": "10"}


class Unmeasurable(Exception):
    """This machine lacks something that the fault needs, named in the message."""


class NotAllowed(Unmeasurable):
    """This user lacks a permission that the fault needs; installing software wouldn't help."""


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 60, every: float = 0.02) -> bool:
    """Wait until the condition holds. Returns False on a timeout."""
    ends = time.monotonic() + seconds
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return True
        if time.monotonic() > ends:
            return False
        await asyncio.sleep(every)


@dataclass(frozen=True)
class Weight:
    """A process's resources: memory in bytes, sockets to readers and upstreams, and tasks by name."""

    memory: int
    reader_sockets: int
    upstream_sockets: int
    tasks: Counter[str]


@dataclass
class Replica:
    """One service process."""

    directory: Path
    environment: dict[str, str]
    name: str
    url: str = ""
    _process: Program | None = None
    _starts: int = 0

    @property
    def process(self) -> Program:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def log_path(self) -> Path:
        return self.directory / f"{self.name}.{self._starts}.log"

    def log(self) -> str:
        return self.log_path.read_text()

    async def start(self) -> None:
        """Start or restart the process, and wait until it answers."""
        self._starts += 1
        report = self.directory / f"{self.name}.report"
        environment = self.environment | {"FAULTS_REPORT": str(report)}
        self._process = Program(
            [str(WATCHED)], cwd=self.directory, env=environment, stdout=self.log_path, stderr=self.log_path
        )
        if not await until(self._is_up, START_SECONDS):
            raise RuntimeError(f"{self.name} did not start:\n{self.log()}")

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(f"{self.name} did not start:\n{self.log()}")
        found = re.search(r"running on (http://\S+)", self.log())
        if found is None:
            return False
        self.url = found[1]
        return True

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    async def ended(self, seconds: float = 60) -> bool:
        return await until(lambda: self.process.poll() is not None, seconds)

    async def stop(self) -> None:
        """Send SIGTERM, then SIGKILL if the process doesn't react, which is an error."""
        if self._process is None or self._process.poll() is not None:
            return
        self.send_signal(signal.SIGTERM)
        self.send_signal(signal.SIGTERM)  # the second SIGTERM skips the wait for open answers
        if not await self.ended(20):
            self._process.kill()
            self._process.wait()
            raise RuntimeError(f"{self.name} did not end on SIGTERM:\n{self.log()[-2000:]}")

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def memory(self) -> int:
        """Current resident memory in bytes."""
        return self._status("VmRSS")

    def peak_memory(self) -> int:
        """Peak resident memory in bytes, since the start or `forget_peak`."""
        return self._status("VmHWM")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def cpu_seconds(self) -> float:
        """CPU time since the start (proc(5), schedstat)."""
        return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[0]) / 1e9

    def _status(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        found = re.search(rf"{name}:\s+(\d+) kB", status)
        if found is None:
            raise RuntimeError(f"/proc/{self.pid}/status has no {name}")
        return int(found[1]) * 1024

    def sockets(self) -> Counter[str]:
        """The number of TCP sockets to `reader`s, and to other ports by port number."""
        return Counter("reader" if own == self.port else str(other) for own, other, _ in self._connections())

    def connecting(self, port: int) -> set[int]:
        """The local ports of connections to `port` that are being established."""
        return {own for own, other, state in self._connections() if other == port and state == SYN_SENT}

    def _connections(self) -> Iterator[tuple[int, int, str]]:
        """The local port, remote port and state of each TCP socket that isn't listening."""
        inodes = set()
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except FileNotFoundError:
                continue  # closed while sockets were listed
            inodes.add(target.removeprefix("socket:[").removesuffix("]"))
        for line in Path(f"/proc/{self.pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[9] in inodes and fields[3] != LISTEN:
                yield int(fields[1][-4:], 16), int(fields[2][-4:], 16), fields[3]

    async def is_idle(self) -> bool:
        """Whether it says that it writes no answer."""
        return await self.metric("chatbot_open_answers") == 0

    async def metric(self, name: str) -> float | None:
        """A value from /metrics, by its full name with labels."""
        status, body = await fetch(self.url, "/metrics", {"Authorization": f"Bearer {METRICS_TOKEN}"})
        found = re.search(rf"^{re.escape(name)} (\S+)$", body.decode(), re.MULTILINE) if status == 200 else None
        return float(found[1]) if found else None

    async def weigh(self, upstream_port: int) -> Weight:
        """The process's resources after a garbage collection."""
        report = self.directory / f"{self.name}.report"
        report.unlink(missing_ok=True)
        self.send_signal(signal.SIGUSR1)
        if not await until(report.exists):
            raise RuntimeError(f"{self.name} does not report")
        sockets = self.sockets()
        tasks = Counter(report.read_text().splitlines())
        return Weight(self.memory(), sockets["reader"], sockets[str(upstream_port)], tasks)

    async def weigh_until(self, upstream_port: int, holds: Callable[[Weight], bool]) -> Weight:
        """The process's resources once they are low enough, or after thirty seconds."""
        ends = time.monotonic() + 30
        while not holds(weight := await self.weigh(upstream_port)) and time.monotonic() < ends:
            await asyncio.sleep(0.2)
        return weight


LISTEN = "0A"
SYN_SENT = "02"


@dataclass
class Deployment:
    """Service processes on one database, with one tenant."""

    database_url: str
    replicas: list[Replica]
    key: str = ""
    tenant_id: int = 0
    _store: Store | None = None
    _database: Database = field(init=False)

    @property
    def first(self) -> Replica:
        return self.replicas[0]

    @property
    def url(self) -> str:
        return self.first.url

    @property
    def store(self) -> Store:
        if self._store is None:
            raise RuntimeError("the deployment is not started")
        return self._store

    def urls(self) -> list[str]:
        return [replica.url for replica in self.replicas]

    async def add_tenant(self, name: str, **limits: Any) -> str:
        """Add a tenant, with no limits by default. Returns its key."""
        none: dict[str, Any] = {"rate_per_minute": 0, "visitor_rate_per_minute": 0, "tokens_per_day": 0}
        settings: Any = none | limits
        tenant, _, key = await self.store.add_tenant(name, origins=["http://localhost:*"], **settings)
        self.tenant_id = self.tenant_id or tenant.id
        return key

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The rows of a query, bypassing the service."""
        return await self._database.read(lambda db: [tuple(row) for row in db.execute(text(query))])

    async def turns(self) -> dict[str, int]:
        """The number of turns by status, or by error code for failed ones."""
        found = await self.rows("SELECT status, code, count(*) FROM messages GROUP BY status, code")
        return {code or status: number for status, code, number in found}

    async def audited(self) -> dict[str, int]:
        """The number of usage rows of accepted questions, by outcome."""
        found = await self.rows("SELECT outcome, count(*) FROM usage WHERE NOT refused GROUP BY outcome")
        return {str(outcome): int(number) for outcome, number in found}

    async def running(self) -> int:
        return (await self.turns()).get("running", 0)

    async def until_idle(self, seconds: float = 60) -> bool:
        """Wait until no process is writing an answer. Returns False on a timeout."""

        async def idle() -> bool:
            alive = [replica for replica in self.replicas if replica.process.poll() is None]
            return all([await replica.is_idle() for replica in alive])

        return await until(idle, seconds, every=0.1)


@asynccontextmanager
async def deploy(
    directory: Path, upstream_url: str, settings: Mapping[str, str], *, replicas: int = 1, database_url: str = ""
) -> AsyncIterator[Deployment]:
    """Start `replicas` processes with these variables, by default on a new SQLite file."""
    database_url = database_url or f"sqlite:///{directory}/chatbot.db"
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database_url,
        "OPENAI_API_KEY": "sk-of-the-upstream",
        "OPENAI_BASE_URL": upstream_url,
        "METRICS_TOKEN": METRICS_TOKEN,
        "PYTHONUNBUFFERED": "1",
        "SHUTDOWN_DELAY": "0",
        "PYTHONPATH": str(ROOT),
        **settings,
    }
    processes = [
        Replica(directory, environment | {"PORT": str(free_port())}, f"replica{number}") for number in range(replicas)
    ]
    open_house = Deployment(database_url, processes)
    open_house._store = Store(database_url)
    open_house._database = Database(database_url)
    try:
        await open_house.store.migrate()
        open_house.key = await open_house.add_tenant("shop")
        await asyncio.gather(*(replica.start() for replica in open_house.replicas))
        yield open_house
    finally:
        await asyncio.gather(*(replica.stop() for replica in open_house.replicas))
        await open_house.store.close()
        await open_house._database.close()


@contextmanager
def silent_address() -> Iterator[socket.socket]:
    """A listening socket with a full backlog: clients get no response, as behind a firewall."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=0)
    fillers: list[socket.socket] = []
    try:
        while True:
            filler = socket.socket()
            fillers.append(filler)
            filler.settimeout(0.3)
            try:
                filler.connect(listening.getsockname())
            except TimeoutError:
                break
        yield listening
    finally:
        listening.close()
        for filler in fillers:
            filler.close()


class Postgres:
    """A PostgreSQL server on loopback that can be stopped and started."""

    def __init__(self, directory: Path) -> None:
        if not POSTGRES_BIN:
            raise Unmeasurable("PostgreSQL is not installed")
        self._bin = POSTGRES_BIN[0]
        self.directory = directory
        self.port = free_port()

    def url(self, database: str = "postgres") -> str:
        return f"postgresql+asyncpg://postgres@127.0.0.1:{self.port}/{database}"

    def create(self) -> None:
        if os.getuid() == 0:
            shutil.chown(self.directory, "postgres")
        self._run("initdb", "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8", "--locale=C.UTF-8")
        self.start()

    def start(self) -> None:
        options = f"-p {self.port} -k {self.directory} -c listen_addresses=127.0.0.1 -c fsync=off"
        self._run("pg_ctl", "-w", "-l", str(self.directory / "log"), "-o", options, "start")

    def stop(self) -> None:
        self._run("pg_ctl", "-m", "immediate", "stop")

    def new_database(self, name: str) -> str:
        """The URL of a new, empty database."""
        self._run("createdb", "-h", str(self.directory), "-p", str(self.port), "-U", "postgres", name, data=False)
        return self.url(name)

    def _run(self, program: str, *arguments: str, data: bool = True) -> None:
        command = [str(self._bin / program), *(["-D", str(self.directory)] if data else []), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(command, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stderr.decode()}")


@contextmanager
def postgres() -> Iterator[Postgres]:
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as directory:
        server = Postgres(Path(directory))
        server.create()
        try:
            yield server
        finally:
            server.stop()
