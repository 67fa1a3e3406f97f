"""The handlers of the tests' own proxies."""

import asyncio
import gc
from collections.abc import Iterator
from itertools import cycle
from urllib.parse import urlsplit

import pytest

from faults.proxy import cutting_proxy


@pytest.fixture(autouse=True)
def _only_new_garbage() -> Iterator[None]:
    """Otherwise each collection would look at everything that is imported."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("ends", ["reader", "proxy"])
async def test_a_connection_through_a_proxy_ends_however_often_garbage_is_collected(ends: str) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())
        await reader.read()
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, cutting_proxy(cycle(["http://{}:{}".format(*server.sockets[0].getsockname())])) as proxy:
        url = urlsplit(proxy.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(b"Hello\n")
        assert await reader.readline() == b"Hello\n"
        ending = asyncio.create_task(proxy.hang_up())
        if ends == "reader":
            writer.close()
        while not ending.done():
            gc.collect()
            await asyncio.sleep(0)
        await ending
        writer.close()
