"""The chat behind a proxy that serves it under a prefix and removes the prefix."""

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urljoin

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from browser import Chat, HostPages, script_tag
from processes import RunningService, running_service
from proxies import in_turn

pytest_plugins = ["visitor"]


@pytest.fixture(scope="module")
def prefixed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    directory = tmp_path_factory.mktemp("prefix")
    with running_service(directory) as service, in_turn(directory, [service.url], "/chat/") as url:
        yield replace(service, url=url)


def test_the_widget_opens_and_answers_under_a_prefix(
    context: BrowserContext, host_pages: HostPages, prefixed: RunningService
) -> None:
    chat = Chat(context.new_page(), prefixed.widget_id)
    chat.page.goto(host_pages.add(body=script_tag(prefixed)))
    chat.open()
    chat.ask("Hello?")
    expect(chat.answers.last).not_to_be_empty()
    assert chat.console == []


def test_the_documentations_requests_use_the_prefix(context: BrowserContext, prefixed: RunningService) -> None:
    document = f"{prefixed.url}/openapi.json"
    server = httpx.get(document).json()["servers"][0]["url"]
    assert httpx.get(urljoin(document, server).rstrip("/") + "/api/v1/health").status_code == 200

    page = context.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{prefixed.url}/docs")
    health = page.get_by_role("region", name="Check whether the process is alive")
    health.get_by_text("Try it").click()
    health.get_by_role("button", name="Send").click()
    expect(health.get_by_role("region", name="Response", exact=True)).to_contain_text('"ok"')
    assert f"{prefixed.url}/api/v1/health" in asked


@pytest.mark.parametrize("path", ["", "studio", "studio/preview", "docs"])
def test_every_page_finds_its_files_under_a_prefix(
    context: BrowserContext, prefixed: RunningService, path: str
) -> None:
    page = context.new_page()
    outside: list[str] = []
    page.on(
        "response",
        lambda got: outside.append(f"{got.status} {got.url}") if got.status >= 400 or "/chat/" not in got.url else None,
    )
    page.goto(f"{prefixed.url}/{path}", wait_until="networkidle")
    assert outside == []
