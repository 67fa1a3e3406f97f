"""Demonstration mode uses the normal client and decoder, and shows the window's features."""

import asyncio
from contextlib import AsyncExitStack

import httpx
import pytest

from client import Client
from conftest import Serve
from databases import store as store
from service.demonstration import (
    BASE_URL,
    BROKEN,
    SOURCES,
    STUDIO_NAME,
    TENANT_NAME,
    DemonstrationTransport,
    set_up,
)
from service.store.store import Store, open_store

LOCAL = "http://localhost:5500"


@pytest.fixture
async def demonstration(serve: Serve, monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.setattr("service.demonstration.WORD_SECONDS", 0)
    monkeypatch.setattr("service.demonstration.FIRST_WORD_SECONDS", 0)
    async with serve(tenant={"origins": [LOCAL]}, openai_api_key=None, openai_base_url=None) as client:
        client.headers["Origin"] = LOCAL
        yield client


async def test_the_demonstration_identifies_itself_and_repeats_the_question(demonstration: Client) -> None:
    got = await demonstration.ask("What is <this>?")
    assert "This is a demonstration" in got.text
    assert "What is <this>?" in got.text
    assert got.last.data["status"] == "complete"


async def test_the_demonstration_shows_markdown_and_a_long_answer(demonstration: Client) -> None:
    markdown = (await demonstration.ask("Show me Markdown")).text
    assert all(mark in markdown for mark in ("## ", "- ", "```python", "| --- |", "> "))
    assert len((await demonstration.ask("Give me a long answer")).text) > 3000


async def test_the_demonstration_shows_sources(demonstration: Client) -> None:
    got = await demonstration.ask("Show me sources")
    assert got.names == ["start", "message", "sources", "done"]
    assert "[1]" in got.text and "[2]" in got.text
    assert got.events[-2].data == {"sources": SOURCES}


async def test_the_demonstration_shows_an_error_in_the_middle_of_an_answer(demonstration: Client) -> None:
    got = await demonstration.ask("Show me an error")
    assert got.names == ["start", "message", "error"]
    assert got.text == BROKEN


async def test_the_demonstration_shows_a_rate_limit(demonstration: Client) -> None:
    status, problem, headers = await demonstration.refused(json_body={"message": "Show me a rate limit"})
    assert (status, problem["code"], headers["retry-after"]) == (503, "busy", "15")


async def test_the_demonstrations_answers_stream_like_a_providers() -> None:
    async with httpx.AsyncClient(transport=DemonstrationTransport(pace=0)) as client:
        response = await client.post(
            f"{BASE_URL}/chat/completions", json={"messages": [{"role": "user", "content": "Hi"}]}
        )
    assert response.headers["content-type"] == "text/event-stream"
    assert response.text.endswith("data: [DONE]\n\n")


@pytest.mark.each_database
async def test_processes_that_start_together_share_the_demonstrations_tenants(database_url: str, store: Store) -> None:
    """On a new database, each has a key that works, and none keeps the others from starting."""
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(open_store(database_url, migrate=False)) for _ in range(4)]
        shown = await asyncio.gather(*map(set_up, processes))
    assert len({each.home.widget_id for each in shown}) == len({each.studio.widget_id for each in shown}) == 1
    for each in shown:
        for embedded, name in ((each.home, TENANT_NAME), (each.studio, STUDIO_NAME)):
            access = await store.find_access(embedded.api_key)
            assert access is not None and access.tenant.name == name
            found = await store.find_widget(embedded.widget_id)
            assert found is not None and found[1].name == name
