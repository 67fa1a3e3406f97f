"""The fixtures of the widget's tests: Chromium, a site, and a service whose upstream says what it is told.

The browser lives as long as a test module: Playwright's synchronous API keeps an event loop running, in which the
asynchronous tests of other modules could not start theirs.
"""

import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from browser import PATIENCE, Chat, HostPages, Line, Provider, Visit, script_tag, serving
from processes import RunningService, running_service
from required import skip_unless_required

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        skip_unless_required(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=executable, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def context(browser: Browser, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A visitor who was never here; a test's parameter says what their browser has instead."""
    theirs = {"locale": "en-US", "viewport": {"width": 1280, "height": 800}, **getattr(request, "param", {})}
    with browser.new_context(**theirs) as context:
        context.set_default_timeout(PATIENCE)
        yield context


@pytest.fixture(scope="session")
def host_pages() -> Iterator[HostPages]:
    pages = HostPages()
    with serving(pages.handler()) as port:
        pages.url = f"http://localhost:{port}"
        yield pages


@pytest.fixture(scope="session")
def _provider() -> Iterator[Provider]:
    provider = Provider()
    with serving(provider.handler()) as port:
        provider.url = f"http://127.0.0.1:{port}/v1"
        yield provider
        provider.reset()


@pytest.fixture
def provider(_provider: Provider) -> Iterator[Provider]:
    """The upstream of `shop`."""
    yield _provider
    _provider.reset()


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory, _provider: Provider) -> Iterator[RunningService]:
    """A real service, with a tenant for pages on localhost."""
    settings = {"OPENAI_BASE_URL": _provider.url, "OPENAI_API_KEY": "sk-upstream"}
    with running_service(tmp_path_factory.mktemp("shop"), **settings) as running:
        yield running


@pytest.fixture
def visit(context: BrowserContext, host_pages: HostPages, shop: RunningService) -> Visit:
    """Opens a host page with the widget on it: `chat = visit('data-title="Shop"')`."""

    def open_page(
        attributes: str = "",
        *,
        service: RunningService | None = None,
        url: str = "",
        head: str = "",
        body: str = "",
        headers: dict[str, str] | None = None,
    ) -> Chat:
        service = service or shop
        tag = script_tag(service, attributes, url=url)
        chat = Chat(context.new_page(), service.widget_id)
        chat.page.goto(host_pages.add(head=head, body=body + tag, headers=headers))
        return chat

    return open_page


@pytest.fixture
def line(shop: RunningService) -> Iterator[Line]:
    line = Line(shop.url)
    yield line
    line.close()
