"""What relaying costs: CPU per token and memory per stream, beside a bare relay that passes the bytes on unread.

    .venv/bin/python bench/relay.py [--streams 100] [--tokens 500] [--rounds 3]

Both run in processes of their own against the same upstream, by turns in one run; the ratio is what counts.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes import DONE, delta  # noqa: E402
from processes import RunningService, running_service  # noqa: E402
from upstreams import HEAD, chunked  # noqa: E402

TICKS = os.sysconf("SC_CLK_TCK")
BARE = """
import contextlib, os, httpx, uvicorn
from starlette.applications import Starlette
from starlette.responses import StreamingResponse
from starlette.routing import Route

async def chat(request):
    body = await request.body()
    async def relay():
        async with request.state.client.stream("POST", os.environ["UPSTREAM"], content=body) as response:
            async for data in response.aiter_raw():
                yield data
    return StreamingResponse(relay(), media_type="text/event-stream")

@contextlib.asynccontextmanager
async def lifespan(app):
    limits = httpx.Limits(max_connections=2000, max_keepalive_connections=20)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        yield {"client": client}

app = Starlette(routes=[Route("/api/v1/chat", chat, methods=["POST"])], lifespan=lifespan)
uvicorn.run(app, port=0, log_level="info", access_log=False, loop="uvloop", http="httptools")
"""


@dataclass
class Cost:
    """Of one round: CPU in microseconds per token, and kilobytes of memory per open stream."""

    cpu: float
    memory: float


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident_kilobytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if "VmRSS" in line).split()[1])


async def serve_upstream(tokens: int, gate: asyncio.Event) -> asyncio.Server:
    """Streams `tokens` tokens one by one, each in a write of its own, once the gate is open."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.partition(b":")[2]))
        writer.write(HEAD + chunked(delta("first ")))
        await gate.wait()
        for _ in range(tokens):
            writer.write(chunked(delta("word ")))
            await writer.drain()
            await asyncio.sleep(0.01)
        writer.write(chunked(delta(finish_reason="stop") + DONE) + chunked(b""))
        await writer.drain()
        writer.close()

    return await asyncio.start_server(handle, "127.0.0.1", 0, backlog=2000)


async def one_round(
    url: str, headers: dict[str, str], pid: int, streams: int, tokens: int, gate: asyncio.Event
) -> Cost:
    gate.clear()
    memory_before = resident_kilobytes(pid)
    begun = asyncio.Semaphore(0)

    async def read(client: httpx.AsyncClient) -> None:
        async with client.stream("POST", f"{url}/api/v1/chat", json={"message": "Go"}, headers=headers) as response:
            first = True
            async for _ in response.aiter_raw():
                if first:
                    begun.release()
                    first = False

    async with httpx.AsyncClient(timeout=120, limits=httpx.Limits(max_connections=None)) as client:
        readers = [asyncio.create_task(read(client)) for _ in range(streams)]
        for _ in range(streams):
            await begun.acquire()
        memory = (resident_kilobytes(pid) - memory_before) / streams
        cpu_before = cpu_seconds(pid)
        gate.set()
        await asyncio.gather(*readers)
        cpu = (cpu_seconds(pid) - cpu_before) / (streams * tokens) * 1e6
    return Cost(cpu, memory)


async def run(streams: int, tokens: int, rounds: int) -> None:
    gate = asyncio.Event()
    async with await serve_upstream(tokens, gate) as upstream:
        base = f"http://127.0.0.1:{upstream.sockets[0].getsockname()[1]}/v1"
        async with Targets(base) as (service, bare, bare_url):
            ours, theirs = [], []
            for _ in range(rounds + 1):  # the first warms up
                key = {"X-API-Key": service.api_key, "Origin": service.url}
                theirs.append(await one_round(bare_url, {}, bare.pid, streams, tokens, gate))
                ours.append(await one_round(service.url, key, service.process.pid, streams, tokens, gate))
    cpu = [statistics.median(cost.cpu for cost in costs[1:]) for costs in (ours, theirs)]
    memory = [costs[0].memory for costs in (ours, theirs)]
    figures = {
        "streams": streams,
        "tokens": tokens,
        "cpu_us_per_token": {"service": round(cpu[0], 1), "bare": round(cpu[1], 1), "ratio": round(cpu[0] / cpu[1], 2)},
        "memory_kb_per_stream": {"service": round(memory[0], 1), "bare": round(memory[1], 1)},
    }
    print(json.dumps(figures, indent=2))


class Targets:
    """The service and the bare relay, running."""

    def __init__(self, base: str) -> None:
        self._base = base

    async def __aenter__(self) -> tuple[RunningService, subprocess.Popen[str], str]:
        self._directory = tempfile.TemporaryDirectory()
        settings = {"OPENAI_BASE_URL": self._base, "MAX_STREAMS": "2000"}
        self._context = running_service(Path(self._directory.name), **settings)
        service = await asyncio.to_thread(self._context.__enter__)
        environment = os.environ | {"UPSTREAM": f"{self._base}/chat/completions"}
        command = [sys.executable, "-c", BARE]
        self._bare = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        assert self._bare.stderr
        for line in self._bare.stderr:
            if "running on" in line:
                return service, self._bare, line.split("running on ")[1].split()[0]
        raise RuntimeError("the bare relay did not start")

    async def __aexit__(self, *error: object) -> None:
        self._bare.terminate()
        self._bare.communicate()
        await asyncio.to_thread(self._context.__exit__, None, None, None)
        self._directory.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=100)
    parser.add_argument("--tokens", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    asyncio.run(run(options.streams, options.tokens, options.rounds))
