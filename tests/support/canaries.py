"""Send canaries through every code path, including failures, and search everything that was written for them.

python tests/support/canaries.py [--requests 10000]

A canary is a word, key, token, fact or address that must not leak. The search covers both log formats, the metrics,
every error response, and every database column that isn't meant for text. Exits with 1 if one is found.
"""

import argparse
import asyncio
import json
import re
import sqlite3
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import jwt

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/support")]

from processes import NO_LIMITS, RunningService, running_service  # noqa: E402
from service.testing.chunks import answer, data, delta  # noqa: E402
from upstreams import HEAD, chunked  # noqa: E402

CANARY = "c4n4ry"
ADDRESS = "203.0.113.77"
ORIGIN = "http://localhost:5173"
METRICS_TOKEN = f"{CANARY}-metrics"
AT_ONCE = 40
# Columns that may hold canaries: questions and answers, the page's address, and the identity of a signed-in visitor.
PLACES = {("messages", "question"), ("messages", "answer"), ("messages", "comment"), ("usage", "origin")}
PLACES |= {("conversations", "subject"), ("usage", "subject"), ("usage", "claims")}
SECRET = f"{CANARY}-secret-{'x' * 32}"
CLAIMS = {"sub": f"{CANARY}-user", "exp": int(time.time()) + 3600, "plan": f"{CANARY} plan"}
TOKEN = jwt.encode(CLAIMS, SECRET, algorithm="HS256")
SETTINGS = {
    "IDENTITY_SECRET": SECRET,
    "OPENAI_API_KEY": f"sk-{CANARY}-key",
    "METRICS_TOKEN": METRICS_TOKEN,
    "CONNECT_TIMEOUT": "1",
    "FIRST_TEXT_TIMEOUT": "2",
    "TEXT_TIMEOUT": "2",
    "READ_TIMEOUT": "2",
    "RESUME_SECONDS": "0",
    "MAX_LINE_BYTES": "20000",
}
TELLING = {"error": {"message": f"{CANARY} said by the provider", "code": f"{CANARY} code", "type": CANARY}}


@dataclass
class Visit:
    """One service, and the errors it returned."""

    service: RunningService
    http: httpx.AsyncClient
    failing_key: str  # of a tenant with its own provider
    failing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(3))
    heard: list[str] = field(default_factory=list)  # errors, before and within streams
    endings: Counter[str] = field(default_factory=Counter)

    async def send(self, method: str, path: str, name: str, **options: Any) -> httpx.Response:
        """Send a request with canaries in its headers. The full head and body of an error are recorded."""
        headers = {
            "X-API-Key": self.service.api_key,
            "Origin": ORIGIN,
            "X-User-Token": TOKEN,
            "X-Forwarded-For": ADDRESS,
            "User-Agent": CANARY,
            "Cookie": f"{CANARY}=1",
            "Referer": f"http://localhost/?{CANARY}",
        } | options.pop("headers", {})
        try:
            response = await self.http.request(method, self.service.url + path, headers=headers, **options)
        except httpx.TransportError:  # the service closes connections that send too much
            response = httpx.Response(599)
        self.endings[f"{name} {response.status_code}"] += 1
        written_parts = [str(response.headers)]
        if response.status_code >= 400:
            written_parts.append(response.text)
        if response.headers.get("content-type", "").startswith("text/event-stream"):
            written_parts += re.findall("^event: error\n.*$", response.text, re.M)
        self.heard += written_parts
        return response

    async def ask(self, behaviour: str, **options: Any) -> httpx.Response:
        message = f"{behaviour} {CANARY} words"
        return await self.send("POST", "/api/v1/chat", behaviour, json={"message": message}, **options)


async def use_every_operation(visit: Visit) -> None:
    """An answer, then every operation on it."""
    response = await visit.ask("quick")
    if response.status_code != 200:
        return
    start = json.loads(response.text.partition("data: ")[2].partition("\n")[0])
    conversation, message = (f"/api/v1/{kind}" for kind in ("conversations", "messages"))
    comment = {"rating": "down", "comment": f"{CANARY} comment"}
    await visit.send("POST", f"{message}/{start['message_id']}/feedback", "feedback", json=comment)
    await visit.send("POST", f"{message}/{start['message_id']}/stop", "stop")
    await visit.send("GET", f"{conversation}/{start['conversation_id']}", "read")
    await visit.send("DELETE", f"{conversation}/{start['conversation_id']}", "delete")
    await visit.send("GET", f"{conversation}/{start['conversation_id']}", "deleted")


async def leave_during_an_answer(visit: Visit) -> None:
    """A visitor closes the page during an answer."""
    headers = {"X-API-Key": visit.service.api_key, "Origin": ORIGIN}
    message = {"message": f"endless {CANARY}"}
    url = f"{visit.service.url}/api/v1/chat"
    try:
        async with visit.http.stream("POST", url, json=message, headers=headers) as response:
            async for _ in response.aiter_raw():
                visit.endings["left"] += 1
                return
    except httpx.TransportError:
        visit.endings["left 599"] += 1


async def cause_client_errors(visit: Visit) -> None:
    """Every client error."""
    chat = ("POST", "/api/v1/chat")
    bodies = (
        f'{{"message": "{CANARY}',
        json.dumps({"message": " ", "colour": CANARY}),
        json.dumps({"message": f"{CANARY} " * 4000}),
        json.dumps({"message": CANARY, "conversation_id": CANARY}),
        json.dumps({"message": CANARY, "context": {"fact": [CANARY]}}),
        json.dumps({"message": CANARY, "context": {"fact": CANARY}, "rating": CANARY}),
        json.dumps([CANARY]),
    )
    for body in bodies:
        await visit.send(*chat, "body", content=body, headers={"Content-Type": "application/json"})
    await visit.send(*chat, "type", content=CANARY, headers={"Content-Type": f"text/{CANARY}"})
    await visit.send(*chat, "size", content=CANARY * 20_000, headers={"Content-Type": "application/json"})
    await visit.ask("key", headers={"X-API-Key": f"a4_pub_{CANARY}{'x' * 26}"})
    await visit.ask("origin", headers={"Origin": f"https://{CANARY}.test"})
    for token in (f"eyJ.{CANARY}.x", TOKEN[:-1], jwt.encode(CLAIMS | {"exp": 1}, SECRET, algorithm="HS256")):
        await visit.ask("token", headers={"X-User-Token": token})
    await visit.ask("position", headers={"Last-Event-ID": CANARY})
    unknown = {"message": CANARY, "conversation_id": str(uuid.uuid4())}
    await visit.send(*chat, "conversation", json=unknown)
    paths = ("conversations", "messages", CANARY, f"conversations/{uuid.uuid4()}?{CANARY}", f"messages/{CANARY}/stop")
    for path in paths:
        await visit.send("POST" if "stop" in path else "GET", f"/api/v1/{path}", "path")
    for path in (f"/widget.html?id={CANARY}", f"/widget.js?key={CANARY}", f"/assets/{CANARY}", f"/{CANARY}"):
        await visit.send("GET", path, "page")
    await visit.send("OPTIONS", "/api/v1/chat", "preflight", headers={"Origin": f"https://{CANARY}.test"})
    await visit.send("GET", "/metrics", "metrics", headers={"Authorization": f"Bearer {CANARY}-wrong"})


async def cause_provider_errors(visit: Visit) -> None:
    """Every provider error. Answers in between keep the circuit breaker closed."""
    headers = {"X-API-Key": visit.failing_key}
    async with visit.failing:
        for fault in ("401", "429", "500", "html", "broken", "nonsense", "error", "finish", "huge", "reset", "silent"):
            await visit.ask("quick", headers=headers)
            await visit.ask(fault, headers=headers)


PATHS: tuple[Callable[[Visit], Awaitable[None]], ...] = (
    use_every_operation,
    leave_during_an_answer,
    cause_client_errors,
    cause_provider_errors,
)


async def lock_the_database(visit: Visit) -> None:
    """The database is locked for a while."""
    with closing(sqlite3.connect(visit.service.directory / "chatbot.db", timeout=60, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        await asyncio.gather(*(visit.ask("quick") for _ in range(20)))
        database.execute("ROLLBACK")


async def play(visits: list[Visit], requests: int) -> None:
    """Take the paths in turn until enough requests were sent."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(path: Callable[[Visit], Awaitable[None]], visit: Visit) -> None:
        async with places:
            await path(visit)

    await asyncio.gather(*(lock_the_database(visit) for visit in visits))
    turns = cycle([(path, visit) for path in PATHS for visit in visits])
    while sum(visit.endings.total() for visit in visits) < requests:
        await asyncio.gather(*(one(*next(turns)) for _ in range(AT_ONCE)))


def everything_written(visit: Visit) -> dict[str, str]:
    """Everything that the service has written, by location."""
    found = {"errors and headers": "\n".join(visit.heard), "log": visit.service.log()}
    with closing(sqlite3.connect(visit.service.directory / "chatbot.db")) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for table in tables:
            cursor = database.execute(f"SELECT * FROM {table}")
            columns = [column[0] for column in cursor.description]
            for row in cursor:
                for column, value in zip(columns, row, strict=True):
                    if (table, column) not in PLACES and value is not None:
                        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
                        found[f"{table}.{column}"] = found.get(f"{table}.{column}", "") + "\n" + text
    return found


def canaries(visit: Visit) -> list[str]:
    """The strings that must not appear: the needle, the visitor's address, the key and the upstream's address."""
    upstream = visit.service.environment["OPENAI_BASE_URL"]
    return [
        CANARY,
        ADDRESS,
        TOKEN,
        TOKEN.rpartition(".")[0],
        visit.service.api_key,
        visit.failing_key,
        upstream.partition("://")[2].partition("/")[0],
    ]


async def run(directory: Path, requests: int) -> tuple[Counter[str], list[str]]:
    """The outcomes of the requests, and the places where canaries were found."""
    async with upstream() as url:
        with ExitStack() as stack:
            visits = []
            async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=200)) as http:
                for form in ("text", "json"):
                    (directory / form).mkdir()
                    settings = SETTINGS | {"OPENAI_BASE_URL": f"{url}/{CANARY}/v1", "LOG_FORMAT": form}
                    settings |= {"FAILING_URL": f"{url}/{CANARY}/failing", "FAILING_KEY": f"sk-{CANARY}-failing"}
                    service = stack.enter_context(running_service(directory / form, "http://localhost:*", **settings))
                    signed = ("--identity-secret-env", "IDENTITY_SECRET", "--identity-claim", "plan")
                    service.manage("tenant", "set", "shop", *signed)
                    own = (
                        *signed,
                        "--openai-base-url-env",
                        "FAILING_URL",
                        "--openai-key-env",
                        "FAILING_KEY",
                        *NO_LIMITS,
                    )
                    tenant = service.manage("tenant", "add", "failing", "--origin", "http://localhost:*", *own)
                    visits.append(Visit(service, http, tenant["api_key"]))
                await play(visits, requests)
                for visit in visits:
                    token = {"Authorization": f"Bearer {METRICS_TOKEN}"}
                    metrics = (await http.get(f"{visit.service.url}/metrics", headers=token)).text
                    assert "chatbot_requests_total" in metrics
                    visit.heard.append(metrics)
        found = [
            f"{canary!r} in {place} ({visit.service.environment['LOG_FORMAT']}): …{around(text, canary)}…"
            for visit in visits
            for place, text in everything_written(visit).items()
            for canary in canaries(visit)
            if canary in text
        ]
    endings: Counter[str] = sum((visit.endings for visit in visits), Counter())
    return endings, found


def around(text: str, canary: str) -> str:
    place = text.index(canary)
    return text[max(place - 60, 0) : place + len(canary) + 60]


# A provider that repeats its input wherever it can


@asynccontextmanager
async def upstream() -> AsyncIterator[str]:
    async with await asyncio.start_server(_serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        body = json.loads(await reader.readexactly(int(length.partition(b":")[2])))
        await _answer(str(body["messages"][-1]["content"]).split()[0], reader, writer)
    except (OSError, asyncio.IncompleteReadError):
        return  # the reader has disconnected
    finally:
        writer.close()


async def _answer(behaviour: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    half = HEAD + chunked(delta(f"{CANARY} half "))
    whole = {
        "quick": HEAD + chunked(b"".join(answer(f"{CANARY} answer"))) + chunked(b""),
        "401": _plain(401, json.dumps(TELLING)),
        "429": _plain(429, json.dumps(TELLING), f"Retry-After: 60\r\nX-{CANARY}: {CANARY}\r\n"),
        "500": _plain(500, CANARY),
        "html": _plain(200, f"<p>{CANARY}", f"Content-Type: text/{CANARY}\r\n"),
        "broken": half + chunked(b'data: {"' + CANARY.encode() + b"\n\n"),
        "nonsense": f"{CANARY} 200 {CANARY}\r\n\r\n".encode(),
        "error": half + chunked(data(TELLING)),
        "finish": half + chunked(delta(finish_reason=CANARY)) + chunked(b""),
        "huge": half + chunked(b"data: " + CANARY.encode() * 10_000),
        "reset": half,
    }
    if behaviour in whole:
        writer.write(whole[behaviour])
        await writer.drain()
        return
    if behaviour == "endless":
        writer.write(half)
    await reader.read(1)  # silence, until the service gives up


def _plain(status: int, body: str, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} {CANARY}\r\nContent-Length: {len(body)}\r\n{headers}\r\n{body}".encode()


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    requests = parser.parse_args().requests
    with tempfile.TemporaryDirectory(prefix="canaries-") as directory:
        endings, found = asyncio.run(run(Path(directory), requests))
    print(", ".join(f"{ending}: {count}" for ending, count in sorted(endings.items())))
    print(f"{endings.total()} requests, {len(found)} canaries found", *found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
