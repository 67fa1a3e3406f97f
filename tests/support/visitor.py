"""The fixtures of the widget's tests: Chromium, a host site, and a service with a mock upstream.

Each test has its own tenant and its own provider.
The browser lives as long as a test module: Playwright's synchronous API keeps an event loop running, in which the
asynchronous tests of other modules could not start theirs.
"""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import Browser, BrowserContext, sync_playwright

from browser import (
    ARGUMENTS,
    BROWSERS,
    PATIENCE,
    VISITOR,
    Chat,
    HostPages,
    Provider,
    Providers,
    Visit,
    script_tag,
    serving,
)
from line import Line
from processes import RunningService, running_service
from required import skip_unless_required
from service.store.records import Tenant, Widget
from service.store.store import Store


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
def context(browser: Browser, provider: Provider, request: pytest.FixtureRequest) -> Iterator[BrowserContext]:
    """A new visitor's browser context; a test's parameter changes its options.

    Its pages close before the provider does, so that they send no more questions.
    """
    motion = getattr(request.module, "REDUCED_MOTION", "reduce")  # animations would only delay most tests
    theirs = {**VISITOR, "reduced_motion": motion, **getattr(request, "param", {})}
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
def providers() -> Iterator[Providers]:
    providers = Providers()
    with serving(providers.handler()) as port:
        providers.url = f"http://127.0.0.1:{port}"
        yield providers


@pytest.fixture
def provider(providers: Providers) -> Iterator[Provider]:
    """The upstream of `shop`."""
    with providers.provider() as provider:
        yield provider


@pytest.fixture(scope="session")
def shops(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[RunningService]:
    """The real service that the tests of this process share."""
    settings = {"OPENAI_BASE_URL": f"{providers.url}/v1", "OPENAI_API_KEY": "sk-upstream"}
    with running_service(tmp_path_factory.mktemp("shops"), **settings) as running:
        yield running


@pytest.fixture(scope="session")
def _add_tenant(shops: RunningService) -> Iterator[Callable[..., tuple[Tenant, Widget, str]]]:
    """Adds a tenant from within this process, which is quicker than manage.py."""
    with start_blocking_portal() as portal:
        store = Store(shops.environment["DATABASE_URL"])
        yield lambda name, **settings: portal.call(partial(store.add_tenant, name, **settings))
        portal.call(store.close)


@pytest.fixture
def shop(
    shops: RunningService, provider: Provider, _add_tenant: Callable[..., tuple[Tenant, Widget, str]]
) -> RunningService:
    """A real service, with a tenant for pages on localhost."""
    tenant, widget, api_key = _add_tenant(
        provider.model,
        model=provider.model,
        origins=[shops.origin],
        rate_per_minute=0,
        visitor_rate_per_minute=0,
        tokens_per_day=0,
    )
    return replace(shops, tenant=tenant.name, model=provider.model, widget_id=widget.id, api_key=api_key)


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
