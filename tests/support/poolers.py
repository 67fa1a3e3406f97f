"""Intermediaries between the service and PostgreSQL: PgBouncer, and a network that silently drops connections."""

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from sqlalchemy.engine import make_url

from handlers import kept
from processes import free_port
from required import skip_unless_required

CONFIGURATION = """
[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/users
pool_mode = transaction
default_pool_size = 4
logfile = {directory}/log
pidfile = {directory}/pid
"""


@contextmanager
def pgbouncer(database_url: str, directory: Path) -> Iterator[str]:
    """The URL of a database through PgBouncer in its default configuration, in transaction mode."""
    program = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        skip_unless_required("pgbouncer is not installed")
    url = make_url(database_url)
    port = free_port()
    home = directory / "pgbouncer"
    home.mkdir()
    facts = {"host": url.host, "server_port": url.port or 5432, "port": port, "directory": home}
    (home / "users").write_text(f'"{url.username}" ""\n')
    (home / "ini").write_text(CONFIGURATION.format(**facts))
    command = [program, "-q", str(home / "ini")]
    if os.geteuid() == 0:  # PgBouncer refuses to run as root
        shutil.chown(home, "postgres")
        for parent in home.parents[:-2]:
            parent.chmod(parent.stat().st_mode | 0o011)
        command = ["runuser", "-u", "postgres", "--", *command]
    process = subprocess.Popen(command)
    try:
        while not (home / "pid").exists() or not (home / "pid").read_text().strip():
            assert process.poll() is None, (home / "log").read_text()
            time.sleep(0.02)
        yield url.set(host="127.0.0.1", port=port).render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait(timeout=60)


class ForgetfulNetwork:
    """Relays bytes to a server. It can drop connections without notifying either end."""

    def __init__(self, host: str, port: int) -> None:
        self._server = host, port
        self._connections: set[object] = set()

    def forget(self) -> int:
        """Silently drop all open connections. Returns how many there were."""
        forgotten = len(self._connections)
        self._connections.clear()
        return forgotten

    async def connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(*self._server)
        connection = object()
        self._connections.add(connection)
        try:
            await asyncio.gather(self._pass(reader, to_server, connection), self._pass(from_server, writer, connection))
        finally:
            to_server.close()
            writer.close()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: object) -> None:
        while data := await reader.read(65_536):
            if connection in self._connections:
                writer.write(data)
        if connection in self._connections:
            writer.close()


@asynccontextmanager
async def forgetful_network(database_url: str) -> AsyncIterator[tuple[ForgetfulNetwork, str]]:
    """A network to the server at a URL, and the URL through it."""
    url = make_url(database_url)
    network = ForgetfulNetwork(url.host or "127.0.0.1", url.port or 5432)
    server = await asyncio.start_server(kept(network.connect), "127.0.0.1", 0)
    try:
        through = url.set(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
        yield network, through.render_as_string(hide_password=False)
    finally:
        server.close()
