"""Wrong origins, each on a page: no frame loads, no upstream call, nothing spent."""

import uuid
from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, Frame, Page, Route, expect

from browser import Chat, HostPages, Provider, Providers, add_tenant, script_tag
from processes import RunningService, running_service
from service.access.origins import origin_matches
from wrong_origins import ALLOWED, OF_PAGES, WRONG_ORIGINS

pytest_plugins = ["visitor"]

SERVICE = "https://chat.example"


def test_there_are_as_many_wrong_origins_as_promised() -> None:
    assert len(set(WRONG_ORIGINS)) >= 36
    assert not any(origin_matches(origin, [ALLOWED]) for origin in WRONG_ORIGINS)


class Sites:
    """Serves websites at any address, and a service at https://chat.example."""

    def __init__(self, context: BrowserContext, service: RunningService) -> None:
        self._context = context
        self._service = service
        context.route(f"{SERVICE}/**", self._forward)

    def _forward(self, route: Route) -> None:
        path = route.request.url.removeprefix(SERVICE)
        headers = {**route.request.all_headers(), "host": urlsplit(SERVICE).netloc, "x-forwarded-proto": "https"}
        route.fulfill(response=route.fetch(url=f"{self._service.url}{path}", headers=headers))

    def open(self, origin: str, body: str) -> Page:
        """Open a page at that origin with this body."""
        page = self._context.new_page()
        html = f"<!doctype html><title>A site</title><link rel=icon href=data:,><body>{body}</body>"
        page.route(f"{origin}/", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto(f"{origin}/")
        return page


@pytest.fixture(scope="module")
def public_service(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[RunningService]:
    """A service with the public URL https://chat.example."""
    settings = {"OPENAI_BASE_URL": f"{providers.url}/v1", "OPENAI_API_KEY": "sk-upstream", "PUBLIC_URL": SERVICE}
    with running_service(tmp_path_factory.mktemp("public"), **settings) as running:
        yield running


@pytest.fixture
def shop(public_service: RunningService, provider: Provider) -> RunningService:
    return replace(public_service, model=provider.model)


@pytest.fixture
def exact(shop: RunningService) -> RunningService:
    """The tenant whose key and widget id are copied: only pages at https://allowed.example may use them."""
    return add_tenant(shop, "exact", origin=ALLOWED)


@pytest.fixture
def sites(context: BrowserContext, shop: RunningService) -> Sites:
    return Sites(context, shop)


def test_the_widget_works_on_an_allowed_origin(sites: Sites, exact: RunningService, provider: Provider) -> None:
    """Without this, the refusals below would prove nothing."""
    page = sites.open(ALLOWED, script_tag(exact, url=SERVICE))
    chat = Chat(page, exact.widget_id)
    chat.open()
    provider.answer("At your service.")
    chat.ask("Hello?")
    expect(chat.answers).to_have_text("At your service.")


def test_a_copied_key_and_widget_id_show_nothing_and_spend_nothing_on_another_site(
    sites: Sites, exact: RunningService, provider: Provider
) -> None:
    before = spent(exact)
    for origin in OF_PAGES:
        page = sites.open(origin, script_tag(exact, url=SERVICE))
        chat = Chat(page, exact.widget_id)
        chat.frame.wait_for_function(REFUSED)
        expect(chat.iframe).to_be_hidden()
        assert page.evaluate(ASK_DIRECTLY, [SERVICE, exact.api_key]) == 403, origin
        page.close()
    assert provider.asked == []
    assert spent(exact) == before


def test_a_copied_key_on_another_site_gets_no_answer_past_the_browser(
    context: BrowserContext, host_pages: HostPages, exact: RunningService, provider: Provider
) -> None:
    """Enforced by the browser's CORS check; the interception that simulates other sites would bypass it."""
    page = context.new_page()
    page.goto(host_pages.add())
    assert page.evaluate(ASK_DIRECTLY, [exact.url, exact.api_key]) == "TypeError"
    assert provider.asked == []


def test_a_page_without_an_origin_cannot_frame_the_widget(sites: Sites, exact: RunningService) -> None:
    frame = f'<iframe src="{SERVICE}/widget.html?id={exact.widget_id}"></iframe>'
    page = sites.open(ALLOWED, f"<iframe src='data:text/html,{frame}'></iframe>")
    frame_in(frame_in(page)).wait_for_function(REFUSED)


def test_a_sandbox_on_the_allowed_site_cannot_frame_the_widget(sites: Sites, exact: RunningService) -> None:
    """Sites put third-party content into a sandbox, whose origin is null."""
    frame = f'<iframe src="{SERVICE}/widget.html?id={exact.widget_id}"></iframe>'
    page = sites.open(ALLOWED, f"<iframe sandbox=allow-scripts srcdoc='{frame}'></iframe>")
    sandbox = frame_in(page)
    assert sandbox.evaluate("origin") == "null"
    frame_in(sandbox).wait_for_function(REFUSED)


def test_the_page_in_the_frame_starts_for_no_wrong_origin(sites: Sites, exact: RunningService) -> None:
    """For wildcards, the browser's own check is wider than the list, so the page checks, too."""
    page = sites.open(ALLOWED, f'<iframe src="{SERVICE}/widget.html?id={exact.widget_id}"></iframe>')
    bare = frame_in(page)
    bare.wait_for_function(LOADED)
    for origin in WRONG_ORIGINS:
        bare.evaluate(HEAR, [INIT, origin])
        assert bare.evaluate(BEGUN) is False, origin
    bare.evaluate(HEAR, [INIT, ALLOWED])
    assert bare.evaluate(BEGUN) is True


@pytest.mark.parametrize("deeper", ["https://a.b.allowed.example", "https://allowed.example"])
def test_a_wildcard_covers_one_level_although_the_browsers_covers_more(
    sites: Sites, shop: RunningService, provider: Provider, deeper: str
) -> None:
    service = add_tenant(shop, "one-level", origin="https://*.allowed.example")
    right = Chat(sites.open("https://www.allowed.example", script_tag(service, url=SERVICE)), service.widget_id)
    expect(right.bubble).to_be_visible()
    wrong = Chat(sites.open(deeper, script_tag(service, url=SERVICE)), service.widget_id)
    wrong.page.wait_for_load_state("networkidle")
    expect(wrong.iframe).to_be_hidden()
    assert wrong.page.evaluate(ASK_DIRECTLY, [SERVICE, service.api_key]) == 403
    assert provider.asked == []


def test_a_tenant_with_any_origin_is_shown_anywhere(sites: Sites, shop: RunningService, provider: Provider) -> None:
    added = shop.manage("tenant", "add", f"any-{uuid.uuid4()}", "--any-origin", "--model", shop.model)
    service = replace(shop, widget_id=added["widget_id"], api_key=added["api_key"])
    chat = Chat(sites.open("https://anywhere.example", script_tag(service, url=SERVICE)), service.widget_id)
    chat.open()
    provider.answer("Hello.")
    chat.ask("Hello?")
    expect(chat.answers).to_have_text("Hello.")


ASK_DIRECTLY = """([service, key]) => fetch(`${service}/api/v1/chat`, {
    method: 'POST', headers: { 'Content-Type': 'application/json', 'X-API-Key': key }, body: '{"message": "Hi"}',
}).then((response) => response.status, (error) => error.name)"""
INIT = {
    "type": "a4:init",
    "apiKey": "a4_pub_x",
    "widgetId": "wgt_x",
    "settings": {},
    "view": {},
    "lang": "en",
    "kept": "",
    "userToken": "",
    "context": {},
    "vars": {},
    "path": "/",
}
HEAR = """([data, origin]) => {
    const ports = [new MessageChannel().port2];
    dispatchEvent(new MessageEvent('message', { data, origin, source: parent, ports }));
}"""
REFUSED = "() => location.href === 'chrome-error://chromewebdata/'"
LOADED = "() => location.protocol === 'https:' && document.readyState === 'complete'"
BEGUN = "document.querySelector('ai-chat-widget') !== null"


def frame_in(outer: Page | Frame) -> Frame:
    """The only frame in a page or frame."""
    frame = outer.locator("iframe").element_handle().content_frame()
    assert frame
    return frame


def spent(service: RunningService) -> int:
    """The tokens used by the tenant of `exact`."""
    total = service.manage("usage", service.tenant)["total"]
    return int(total["prompt_tokens"] + total["completion_tokens"])
