"""PostgreSQL: a bounded pool of asyncpg's connections, opened when they are first needed."""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy import Connection, Engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.ext.asyncio import create_async_engine

from service.store import deadlines

POOL_SIZE = 8

Result = TypeVar("Result")


class PostgresServer:
    """The connections to a server. No more than one statement is sent that a call did not ask for: its BEGIN."""

    def __init__(self, url: URL) -> None:
        self._engine = create_async_engine(
            url,
            pool_size=POOL_SIZE,
            max_overflow=0,
            pool_timeout=deadlines.DEADLINE,
            hide_parameters=True,
            connect_args={
                "async_creator_fn": _connect_undisturbed,
                "timeout": deadlines.CONNECT,
                "server_settings": {
                    "application_name": "chatbot",
                    "timezone": "UTC",
                    "statement_timeout": f"{deadlines.STATEMENT}s",
                    "idle_in_transaction_session_timeout": f"{deadlines.DEADLINE}s",
                },
            },
        )
        self._reader = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        event.listen(self.engine, "checkout", _require_open)

    @property
    def engine(self) -> Engine:
        return self._engine.sync_engine

    async def read(self, function: Callable[[Connection], Result], *, patient: bool) -> Result:
        """Each query sees what is committed when it starts."""
        if patient:
            return await self.write(function, patient=True)  # a transaction: what it sets is gone with it
        async with asyncio.timeout(deadlines.DEADLINE):
            try:
                return await self._read(function)
            except DBAPIError as error:
                if not error.connection_invalidated:
                    raise
            return await self._read(function)

    async def _read(self, function: Callable[[Connection], Result]) -> Result:
        async with self._reader.connect() as db:
            return await db.run_sync(function)

    async def write(self, function: Callable[[Connection], Result], *, patient: bool) -> Result:
        """A transaction. It is made once more if the connection breaks before anything can have been committed."""
        async with asyncio.timeout(None if patient else deadlines.DEADLINE) as timeout:
            for may_break in (True, False):
                async with self._engine.connect() as db:
                    try:
                        if patient:
                            await db.execute(text("SET LOCAL statement_timeout = 0"))
                        result = await db.run_sync(function)
                    except DBAPIError as error:
                        if may_break and error.connection_invalidated:
                            continue
                        raise
                    # Only its end tells whether a commit was made: one that has begun is given time of its own.
                    if not patient:
                        timeout.reschedule(asyncio.get_running_loop().time() + deadlines.COMMIT)
                    await db.commit()
                return result
        raise AssertionError("the second try returns or raises")

    async def close(self) -> None:
        await self._engine.dispose()


def _require_open(connection: DBAPIConnection, *_: Any) -> None:
    """Give up a connection that the server has closed meanwhile; the pool makes another one."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError("The server has closed the connection.")


async def _connect_undisturbed(**given: Any) -> asyncpg.Connection:
    """Connect without being cancelled half way: asyncpg then leaves an error behind that is logged with a traceback."""
    connecting = asyncio.create_task(asyncpg.connect(**given))
    try:
        return await asyncio.shield(connecting)
    except asyncio.CancelledError:
        connecting.add_done_callback(_discard)
        raise


def _discard(connecting: asyncio.Task[asyncpg.Connection]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().terminate()
