"""Handlers of connections that pass bytes on to another one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def kept(handle: Handler) -> Handler:
    """The handler, each of whose tasks runs to its end.

    The event loop has only weak references to tasks (asyncio, "Creating Tasks"). Once its own connection has ended, one
    that waits for the other connection could be garbage.
    """
    tasks: set[asyncio.Task[Any] | None] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        tasks.add(task)
        try:
            await handle(reader, writer)
        finally:
            tasks.discard(task)

    return run
