"""Demonstration mode: a built-in upstream. It uses the same protocol and the same httpx client as a provider, so
everything but the answers is real."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import httpx

from service.store.records import NameTaken, Tenant, TenantNotFound
from service.store.store import Store
from service.upstream.prompt import PAGE_FACTS, QUESTION_FOLLOWS

TENANT_NAME = "demonstration"
STUDIO_NAME = "demonstration studio"
ORIGINS = ["http://localhost:*", "http://127.0.0.1:*"]
WIDGET = {
    "title": "Demonstration",
    "greeting": "Hi! This is a demonstration: no model answers here, but everything else is real. Ask me anything.",
    "suggestions": [
        *("Show me Markdown", "Show me sources", "Give me a long answer", "Show me an error", "Show me a rate limit"),
    ],
}
LOCAL_ORIGIN = re.compile(r"https?://([a-z0-9-]+\.)*(localhost|127\.0\.0\.1|\[::1\])(:([0-9]+|\*))?")
ORIGIN = "http://demonstration.invalid"
BASE_URL = f"{ORIGIN}/v1"
FIRST_WORD_SECONDS = 0.5
WORD_SECONDS = 0.03

GREETING = (
    "This is a demonstration: no model is connected, so I only have a few canned answers. Everything else is "
    "real: your question went to the service, and this answer comes back word by word.\n\n"
    "You said: “{question}”\n\n"
    "Try “Show me Markdown”, “Show me sources”, “Give me a long answer”, “Show me an error” or “Show me a rate "
    "limit”. "
    "Set OPENAI_API_KEY to connect a model."
)
MARKDOWN = """This is a demonstration of what answers can contain.

## A heading

Some *emphasis*, some **strong words**, some `code` and a [link](https://example.com/).

- A list
- with a second item
  - and a nested one

1. First
2. Second

> A quotation.

```python
def greet(name: str) -> str:
    return f"Hello, {name}!"
```

| Plan | Price |
| --- | ---: |
| Small | 9 € |
| Large | 29 € |
"""
PARAGRAPH = (
    "This is a demonstration of a long answer, paragraph {number} of 12. It comes word by word, and the window follows "
    "it only while you are at its end: scroll up and it stays where you are reading. You can stop it at any time, and "
    "you can close the window and open it again while the answer continues."
)
CITING = (
    "This is a demonstration of an answer with sources. It arrives as Server-Sent Events, a web standard [1]; errors "
    "have a standard format, too [2]."
)
SOURCES = [
    {
        "title": "HTML Standard: Server-sent events",
        "url": "https://html.spec.whatwg.org/multipage/server-sent-events.html",
    },
    {"title": "RFC 9457: Problem Details for HTTP APIs", "url": "https://www.rfc-editor.org/rfc/rfc9457"},
]
BROKEN = "This is a demonstration of an answer that breaks off, as happens when a provider fails. Everything "


@dataclass(frozen=True, slots=True)
class Embedded:
    """The key and id that a page needs to show a widget."""

    widget_id: str
    api_key: str


@dataclass(frozen=True, slots=True)
class Demonstration:
    """The widgets of the demonstration page and of the studio."""

    home: Embedded
    studio: Embedded


def is_for(origins: Sequence[str]) -> bool:
    """Whether the demonstration answers for a tenant with these origins: only if all are on this machine."""
    return bool(origins) and all(map(LOCAL_ORIGIN.fullmatch, origins))


def is_own(tenant: Tenant) -> bool:
    """Whether a tenant is one of the demonstration's own, and not an operator's with the same name."""
    return tenant.name in (TENANT_NAME, STUDIO_NAME) and set(ORIGINS) <= set(tenant.origins)


async def set_up(store: Store, owners_origins: Sequence[str] = ()) -> Demonstration:
    """Create the demonstration's tenants with fresh keys, for pages on this machine and the owner's pages.

    The studio's has no settings, so that a look is tried from where a new tenant's begins.
    """
    origins = [*ORIGINS, *owners_origins]
    return Demonstration(
        await _tenant(store, TENANT_NAME, WIDGET, origins), await _tenant(store, STUDIO_NAME, {}, origins)
    )


async def remove(store: Store) -> None:
    """Remove the demonstration's tenants."""
    for name in (TENANT_NAME, STUDIO_NAME):
        with suppress(TenantNotFound):
            if is_own(await store.get_tenant(name)):
                await store.remove_tenant(name)


async def _tenant(store: Store, name: str, settings: dict[str, Any], origins: list[str]) -> Embedded:
    try:
        _, widget, api_key = await store.add_tenant(name, settings, origins=origins)
    except NameTaken:  # by an earlier start, or by a process that starts at the same time
        tenant = await store.get_tenant(name)
        if is_own(tenant) and tenant.origins != origins:
            await store.set_tenant(name, origins=origins)
        _, api_key = await store.rotate_keys(name, grace=timedelta(days=1))
        widget = await store.get_widget(name)
    return Embedded(widget.id, api_key)


class DemonstrationTransport(httpx.AsyncBaseTransport):
    """Answers chat completions with streamed chunks at a natural pace; with a `pace` of 0, without waiting."""

    def __init__(self, pace: float = 1.0) -> None:
        self._pace = pace

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        body = json.loads(await request.aread())
        question = str(body["messages"][-1]["content"])
        if question.startswith(PAGE_FACTS):
            question = question.partition(f"\n{QUESTION_FOLLOWS}\n")[2]
        wish = question.lower()
        if "rate limit" in wish:
            error = {"error": {"code": "rate_limit_exceeded", "message": "Demonstration of a rate limit."}}
            return httpx.Response(429, headers={"Retry-After": "15"}, json=error)
        if "error" in wish:
            return self._stream(BROKEN, breaks=True)
        if "markdown" in wish:
            return self._stream(MARKDOWN)
        if "source" in wish:
            return self._stream(CITING, beside={"citations": SOURCES})
        if "long" in wish:
            return self._stream("\n\n".join(PARAGRAPH.format(number=number) for number in range(1, 13)))
        shown = question if len(question) <= 200 else question[:200] + "…"
        return self._stream(GREETING.replace("{question}", shown))

    def _stream(self, text: str, breaks: bool = False, beside: dict[str, Any] | None = None) -> httpx.Response:
        headers = {"Content-Type": "text/event-stream"}
        return httpx.Response(200, headers=headers, stream=_Words(text, breaks, self._pace, beside or {}))


class _Words(httpx.AsyncByteStream):
    def __init__(self, text: str, breaks: bool, pace: float, beside: dict[str, Any]) -> None:
        self._words = re.findall(r"\s*\S+|\s+", text)
        self._breaks = breaks
        self._pace = pace
        self._beside = beside  # the choices of the last chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        await asyncio.sleep(FIRST_WORD_SECONDS * self._pace)
        for word in self._words:
            yield _chunk({"content": word})
            await asyncio.sleep(WORD_SECONDS * self._pace)
        if self._breaks:
            yield _data({"error": {"code": "server_error", "message": "Demonstration of an error."}})
            return
        yield _chunk({}, finish_reason="stop", **self._beside)
        count = len(self._words)
        yield _data({"choices": [], "usage": {"prompt_tokens": count, "completion_tokens": count}})
        yield b"data: [DONE]\n\n"


def _chunk(delta: dict[str, str], finish_reason: str | None = None, **beside: Any) -> bytes:
    return _data({"choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}], **beside})


def _data(chunk: dict[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n".encode()
