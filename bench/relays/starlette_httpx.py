"""A minimal relay: Starlette, httpx and sse-starlette. No keys, limits, history or database."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.routing import Route


async def chat(request: Request) -> EventSourceResponse:
    question = await request.json()
    body = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "user", "content": question["message"]}],
        "stream": True,
    }

    async def events() -> AsyncIterator[dict[str, str]]:
        url = f"{os.environ['UPSTREAM']}/chat/completions"
        async with request.state.client.stream("POST", url, json=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: ") and line != "data: [DONE]":
                    choices = json.loads(line[6:])["choices"]
                    if choices and (text := choices[0]["delta"].get("content")):
                        yield {"event": "message", "data": json.dumps({"chunk": text})}
        yield {"event": "done", "data": "{}"}

    return EventSourceResponse(events())


@asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:
    limits = httpx.Limits(max_connections=5000, max_keepalive_connections=20)
    async with httpx.AsyncClient(timeout=60, limits=limits) as client:
        yield {"client": client}


app = Starlette(routes=[Route("/chat", chat, methods=["POST"])], lifespan=lifespan)
