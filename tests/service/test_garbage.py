"""What an answer leaves in memory: without reference cycles, everything of it is freed when its connections close."""

import asyncio
import gc
import json
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import pytest
from pydantic import SecretStr

from client import until
from conftest import ORIGIN
from processes import serving_here
from service.settings import Settings
from service.store.store import open_store
from service.web.listening import bind
from upstreams import local_upstream

QUESTION = json.dumps({"message": "Hi"}).encode()


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[tuple[int, bytes]]:
    """The service's own server in this process, and a request that asks a question."""
    async with open_store(settings.database_url) as store:
        _, _, key = await store.add_tenant("shop", origins=[ORIGIN], rate_per_minute=0, visitor_rate_per_minute=0)
    fields = f"Host: a\r\nX-API-Key: {key}\r\nOrigin: {ORIGIN}\r\nContent-Type: application/json"
    head = f"POST /api/v1/chat HTTP/1.1\r\n{fields}\r\nContent-Length: {len(QUESTION)}\r\n\r\n"
    (listening,) = bind("127.0.0.1", 0)
    async with serving_here(settings, listening) as server:
        await until(lambda: server.started)
        yield listening.getsockname()[1], head.encode() + QUESTION


def collect_all() -> None:
    """Collect all garbage: `gc.collect` does nothing while another thread collects."""

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    is_left = weakref.ref(Cycle())
    while is_left():
        gc.collect()


@contextmanager
def uncollected() -> Iterator[Counter[str]]:
    """Counts, by type, the objects of the service and its server that only the garbage collector would free."""
    found: Counter[str] = Counter()
    gc.disable()
    collect_all()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield found
        gc.collect()
        types = [f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.garbage]
        found.update(name for name in types if name.startswith(("service.", "uvicorn.", "httptools.", "starlette.")))
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


@pytest.mark.parametrize("behaviour", ["quick", "endless"])
async def test_a_connection_and_its_answer_are_freed_without_the_garbage_collector(
    database_url: str, behaviour: str
) -> None:
    """An answer that is read to its end, and one that its visitor leaves."""
    with local_upstream() as upstream:
        settings = Settings(
            database_url=database_url,
            openai_api_key=SecretStr("sk-upstream"),
            openai_base_url=upstream.url(behaviour),
            public_url="https://chat.test",
            resume_seconds=0,
        )
        async with serving(settings) as (port, request):

            async def ask() -> None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request)
                await reader.readuntil(b"event: message\n" if behaviour == "endless" else b"event: done\n")
                writer.close()
                await writer.wait_closed()

            await ask()
            with uncollected() as garbage:
                for _ in range(5):
                    await ask()
                assert await asyncio.to_thread(upstream.wait_until_open, 0)
    assert garbage == {}
