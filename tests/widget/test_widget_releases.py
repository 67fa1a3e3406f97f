"""Two releases side by side, with different file names, behind a proxy that alternates between them."""

import itertools
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from browser import Chat, HostPages, script_tag
from preloaded import ROOT
from processes import RunningService, restarted, running_service
from proxies import in_turn

pytest_plugins = ["visitor"]


def make_next_release(directory: Path) -> list[str]:
    """A copy of the service with other hashed file names. Returns the command that starts it."""
    for part in ("service", "static"):
        shutil.copytree(ROOT / part, directory / part, ignore=shutil.ignore_patterns("*.br", "*.gz", "__pycache__"))
    shutil.copy(ROOT / "chatbot.py", directory)
    assets = directory / "static/assets"
    hashes = {match[1] for file in assets.iterdir() if (match := re.search(r"-([\w-]{6,8})\.\w+$", file.name))}
    assert hashes
    for file in [*assets.iterdir(), *(directory / "static").glob("*.*")]:
        text = file.read_text()
        for old_hash in hashes:
            text = text.replace(f"-{old_hash}.", f"-{old_hash[::-1]}.")
        file.write_text(text)
    for file in list(assets.iterdir()):
        for old_hash in hashes:
            if f"-{old_hash}." in file.name:
                file.rename(file.with_name(file.name.replace(f"-{old_hash}.", f"-{old_hash[::-1]}.")))
                break
    return [sys.executable, str(directory / "chatbot.py")]


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningService, str, str]]:
    """This release and the next one at one address, and the address of each."""
    directory = tmp_path_factory.mktemp("releases")
    command = make_next_release(tmp_path_factory.mktemp("next"))
    with (
        running_service(directory) as service,
        restarted(service, command=command) as next_url,
        in_turn(directory, [service.url, next_url]) as url,
    ):
        yield replace(service, url=url), service.url, next_url


def files_of(url: str, widget_id: str) -> list[str]:
    """The files that the frame's page loads."""
    return re.findall(r"assets/[\w.-]+", httpx.get(f"{url}/widget.html?id={widget_id}").text)


def test_each_release_serves_the_files_of_the_other(releases: tuple[RunningService, str, str]) -> None:
    service, *urls = releases
    pages = [files_of(url, service.widget_id) for url in urls]
    assert pages[0] and pages[1] and pages[0] != pages[1]

    for url in urls:
        for name in [*pages[0], *pages[1]]:
            response = httpx.get(f"{url}/{name}")
            assert response.status_code == 200
            assert response.headers["content-type"] == "text/javascript; charset=utf-8"
            assert "immutable" in response.headers["cache-control"]
        for name in (
            "assets/app-000000.js",
            "assets/../chatbot.py",
            "assets/app-000000.php",
            f"assets/{'a' * 5000}.js",
        ):
            assert httpx.get(f"{url}/{name}").status_code == 404


def test_windows_of_either_release_work_with_either_replica(
    context: BrowserContext, host_pages: HostPages, releases: tuple[RunningService, str, str]
) -> None:
    service, *urls = releases
    files = [set(files_of(url, service.widget_id)) for url in urls]
    loaded: set[str] = set()
    for number in itertools.count():
        if number >= 4 and all(loaded & of_release for of_release in files):
            break
        assert number < 20, "pages of both releases were seen"
        if number % 2:
            httpx.get(f"{service.url}/api/v1/health")  # so that the other one is asked for the page
        chat = Chat(context.new_page(), service.widget_id)
        chat.page.on("request", lambda request: loaded.add(urlsplit(request.url).path.removeprefix("/")))
        chat.page.goto(host_pages.add(body=f"{script_tag(service)}<p>{number}</p>"))
        chat.open()
        chat.ask("Hello?")
        expect(chat.answers.last).not_to_be_empty()
        chat.page.close()
