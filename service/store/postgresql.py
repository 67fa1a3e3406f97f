"""PostgreSQL: a bounded pool of asyncpg's connections, opened when they are first needed.

There may be a pooler such as PgBouncer in between, which can give each transaction a different server connection.
"""

import asyncio
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL, ExceptionContext
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from service.store import deadlines
from service.store.records import DEFAULT_POOL_SIZE
from service.store.urls import STATEMENTS_OPTION

READ_ONLY = "25006"  # the former primary after a switchover
# SQLSTATEs after which a connection is unusable: connection errors, a server shutting down, a former primary.
# https://www.postgresql.org/docs/current/errcodes-appendix.html
DISCONNECTED = ("08", "57P01", "57P02", "57P03", READ_ONLY)
# TCP keepalive: idle seconds, seconds between probes, and the number of probes.
KEEP_ALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 3, "TCP_KEEPCNT": 3}

Result = TypeVar("Result")


class ServerConnection(asyncpg.Connection):  # type: ignore[misc]
    """asyncpg's connection, which also works through a pooler: without named statements, and with settings at each
    BEGIN.
    """

    is_pooled = False
    heard_at = 0.0  # time.monotonic(), when it was last known to work

    async def prepare(self, query: str, *, name: str | None = None, **given: Any) -> Any:
        """Like asyncpg's. Without a name, a statement is parsed again in the round trip that executes it."""
        return await super().prepare(query, name="" if self.is_pooled else name, **given)

    async def execute(self, query: str, *args: Any, **given: Any) -> str:
        """Like asyncpg's, which uses it to begin transactions."""
        if self.is_pooled and query.startswith("BEGIN"):
            query += "".join(f"SET LOCAL {name} = '{value}';" for name, value in _settings().items())
        return str(await super().execute(query, *args, **given))

    async def close(self, *, timeout: float | None = None) -> None:
        """Like asyncpg's, which would wait forever for a dead server."""
        with suppress(TimeoutError):  # the connection is aborted then
            await super().close(timeout=deadlines.CLOSE)


class PostgresServer:
    """The connections to a server. A call adds only one statement: BEGIN.

    A connection that was idle for a while is tested before use. If one is dead, all that have not worked since are
    dropped.
    """

    def __init__(self, url: URL, pool_size: int = DEFAULT_POOL_SIZE) -> None:
        self._lost_at = float("-inf")  # time.monotonic(), when a connection was last found dead
        self._is_pooled = url.query.get(STATEMENTS_OPTION) == "0"
        self._engine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=0,
            pool_use_lifo=True,  # prefer the connection with prepared statements
            pool_timeout=deadlines.DEADLINE,
            hide_parameters=True,
            connect_args={
                "async_creator_fn": self._connect_undisturbed,
                "timeout": deadlines.CONNECT,
                "connection_class": ServerConnection,
                "statement_cache_size": 0,  # SQLAlchemy caches the statements
                "server_settings": {"application_name": "chatbot", "timezone": "UTC"},  # which PgBouncer accepts
            },
        )
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        event.listen(self.engine, "checkout", self._require_working)
        event.listen(self.engine, "checkin", _note_use)
        event.listen(self.engine, "handle_error", self._close_dead_connections)

    @property
    def engine(self) -> Engine:
        return self._engine.sync_engine

    async def read(self, function: Callable[[Connection], Result], *, patient: bool) -> Result:
        """Each query sees what is committed when it starts."""
        if patient:
            return await self.write(function, patient=True)  # a transaction: what it sets is gone with it
        try:
            async with asyncio.timeout(deadlines.DEADLINE):
                for may_break in (True, False):
                    async with self._reader.connect() as db:
                        try:
                            return await db.run_sync(function)
                        except (DBAPIError, OSError) as error:
                            if not (may_break and _is_of_connection(error)):
                                raise
        except TimeoutError:
            self._lost_at = time.monotonic()
            raise
        raise AssertionError("the second try returns or raises")

    async def write(self, function: Callable[[Connection], Result], *, patient: bool) -> Result:
        """Run a transaction. It is retried once if the connection breaks before anything can have been committed."""
        try:
            async with asyncio.timeout(None if patient else deadlines.DEADLINE) as timeout:
                for may_break in (True, False):
                    async with self._engine.connect() as db:
                        try:
                            if patient:
                                await db.execute(text("SET LOCAL statement_timeout = 0"))
                            result = await db.run_sync(function)
                        except (DBAPIError, OSError) as error:
                            if may_break and _is_of_connection(error):
                                continue
                            raise
                        # Only the end of a commit shows its outcome: one that has begun gets extra time.
                        if not patient:
                            timeout.reschedule(asyncio.get_running_loop().time() + deadlines.COMMIT)
                        await db.commit()
                    return result
        except TimeoutError:
            self._lost_at = time.monotonic()
            raise
        raise AssertionError("the second try returns or raises")

    async def close(self) -> None:
        await self._engine.dispose()

    async def _connect_undisturbed(self, **given: Any) -> ServerConnection:
        """Connect without being cancelled halfway: asyncpg would then log an error with a traceback."""
        connecting = asyncio.create_task(self._connect(**given))
        try:
            return await asyncio.shield(connecting)
        except asyncio.CancelledError:
            connecting.add_done_callback(_discard)
            raise

    async def _connect(self, **given: Any) -> ServerConnection:
        connection: ServerConnection = await asyncpg.connect(**given)
        try:
            async with asyncio.timeout(deadlines.CONNECT):
                connection.is_pooled = self._is_pooled or not await _set_up(connection)
        except BaseException:
            connection.terminate()
            raise
        connection.heard_at = time.monotonic()
        return connection

    def _require_working(self, adapted: DBAPIConnection, *_: Any) -> None:
        """Drop a connection that is closed or dead; the pool opens another one."""
        connection: ServerConnection = adapted.driver_connection
        if not connection.is_closed() and connection.heard_at > self._lost_at:
            if time.monotonic() - connection.heard_at < deadlines.SILENCE:
                return
            if adapted.run_async(_answers):
                return
            self._lost_at = time.monotonic()
        connection.terminate()
        raise DisconnectionError("The server has closed the connection.")

    def _close_dead_connections(self, context: ExceptionContext) -> None:
        """Make SQLAlchemy drop a connection after an error that it does not recognize as a connection error."""
        if str(getattr(context.original_exception, "sqlstate", "")).startswith(DISCONNECTED):
            context.is_disconnect = True
        if context.is_disconnect:
            self._lost_at = time.monotonic()


async def _set_up(connection: ServerConnection) -> bool:
    """Set up a connection; returns whether it is a direct one to the server.

    A pooler shares server connections and reports a process number that is not the server's; settings then end with the
    statement.
    """
    if found := connection._transport.get_extra_info("socket"):
        keep_alive(found)
    direct = f"pg_backend_pid() = {int(connection.get_server_pid())}"
    settings = "".join(f", set_config('{name}', '{value}', NOT {direct})" for name, value in _settings().items())
    return bool(await connection.fetchval(f"SELECT {direct}{settings}"))


def keep_alive(connected: socket.socket) -> None:
    """Let the kernel detect a dead peer, as behind a firewall that drops connections, within about 20 seconds."""
    if connected.family not in (socket.AF_INET, socket.AF_INET6):
        return
    connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):
            connected.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # for unacknowledged data; in milliseconds
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(deadlines.CONNECT * 1000))


def _settings() -> dict[str, str]:
    """The settings of each connection, so that nothing left behind by a dead process holds a lock for long."""
    return {
        "statement_timeout": f"{deadlines.STATEMENT}s",
        "idle_in_transaction_session_timeout": f"{deadlines.DEADLINE}s",
    }


def _is_of_connection(error: DBAPIError | OSError) -> bool:
    """Whether an error may not occur on another connection."""
    return isinstance(error, OSError) or error.connection_invalidated


async def _answers(connection: ServerConnection) -> bool:
    """Whether the server responds."""
    try:
        async with asyncio.timeout(deadlines.PING):
            await connection.execute("SELECT 1")
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


def _note_use(adapted: DBAPIConnection | None, _: ConnectionPoolEntry) -> None:
    if adapted is not None:
        adapted.driver_connection.heard_at = time.monotonic()


def _discard(connecting: asyncio.Task[ServerConnection]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()
