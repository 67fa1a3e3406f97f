"""The widget's effect on its host page: one element and one global, whatever the page's style and policy."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from browser import Chat, HostPages, Provider, Visit, add_tenant, answer_in_progress, script_tag
from processes import RunningService
from service.widget_settings import WidgetSettings

pytest_plugins = ["visitor"]

REDUCED_MOTION = "no-preference"

# Of all that a script could change on the page that loads it.
FACTS = """() => ({
    globals: Object.getOwnPropertyNames(window).filter((name) => name !== 'A4ChatWidget'),
    frames: window.length,
    head: document.head.outerHTML,
    body: document.body.outerHTML,
    root: [...document.documentElement.attributes].map((attribute) => attribute.name + attribute.value),
    title: document.title,
    viewports: document.querySelectorAll('meta[name=viewport]').length,
    history: [history.length, JSON.stringify(history.state), location.href],
    handlers: Object.keys(window).filter((name) => name.startsWith('on') && window[name] !== null),
    bodyHandlers: [document.body.onload, document.onkeydown].map(String),
    prototypes: ['Object', 'Array', 'String', 'Promise', 'Map', 'Node', 'Element', 'HTMLElement', 'Document', 'Event',
        'EventTarget', 'Window', 'XMLHttpRequest', 'History', 'Storage'].map((name) =>
        [name, ...Reflect.ownKeys(window[name].prototype).map((key) => {
            const { value, get } = Object.getOwnPropertyDescriptor(window[name].prototype, key);
            return String(key) + (typeof (value ?? get) === 'function' ? (value ?? get).toString() : '');
        })].join()),
    functions: ['fetch', 'setTimeout', 'postMessage', 'matchMedia'].map((name) => window[name].toString()),
    sheets: document.styleSheets.length + document.adoptedStyleSheets.length,
    cookies: document.cookie,
    scroll: [scrollX, scrollY, document.documentElement.scrollWidth, document.documentElement.scrollHeight],
    selection: String(getSelection()),
})"""
ADD = """({ src, key, id }) => new Promise((resolve) => {
    const script = document.createElement('script');
    Object.assign(script, { src, async: true, onload: () => { script.remove(); resolve() } });
    Object.assign(script.dataset, { apiKey: key, widgetId: id });
    document.head.append(script);
})"""


def _add_script(page: Page, service: RunningService) -> None:
    page.evaluate(ADD, {"src": f"{service.url}/widget.js", "key": service.api_key, "id": service.widget_id})


def test_a_page_gets_one_global_and_one_element_and_destroy_removes_them(
    context: BrowserContext, host_pages: HostPages, shop: RunningService, provider: Provider
) -> None:
    chat = Chat(context.new_page(), shop.widget_id)
    chat.page.goto(host_pages.add(head='<meta name="viewport" content="width=device-width">'))
    before = chat.page.evaluate(FACTS)
    globals_before = set(chat.page.evaluate("Object.getOwnPropertyNames(window)"))

    _add_script(chat.page, shop)
    chat.open()
    provider.answer("An answer.")
    chat.ask("A question?")
    expect(chat.answers).to_have_text("An answer.")
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()

    assert set(chat.page.evaluate("Object.getOwnPropertyNames(window)")) - globals_before == {"A4ChatWidget"}
    assert chat.page.evaluate(FACTS) == before
    assert chat.page.evaluate("[...document.documentElement.children].map((element) => element.tagName)") == [
        "HEAD",
        "BODY",
        "DIV",
    ]
    assert chat.console == []

    chat.page.evaluate("A4ChatWidget.destroy()")
    expect(chat.host).to_have_count(0)
    assert set(chat.page.evaluate("Object.getOwnPropertyNames(window)")) == globals_before
    assert chat.page.evaluate(FACTS) == before

    _add_script(chat.page, shop)
    chat.open()
    expect(chat.answers).to_have_text("An answer.")


def test_a_duplicate_widget_appears_once_and_two_widgets_both_appear(
    visit: Visit, shop: RunningService, provider: Provider
) -> None:
    other_tenant = add_tenant(shop, "other")
    chat = visit(body=script_tag(shop) + script_tag(other_tenant, "data-position=bottom-left data-title=Other"))
    other = Chat(chat.page, other_tenant.widget_id)
    expect(chat.bubble).to_be_visible()
    expect(other.bubble).to_be_visible()
    expect(chat.host).to_have_count(1)
    provider.answer("Only here.")
    chat.open()
    chat.ask("Where?")
    expect(chat.answers).to_have_text("Only here.")
    other.open()
    expect(other.window).to_have_accessible_name("Other")
    expect(other.questions).to_have_count(0)
    assert chat.console == []


NO_STORAGE_IN_FRAMES = """for (const name of window === top ? [] : ['localStorage', 'sessionStorage']) {
    const get = () => { throw new DOMException('Access is denied for this document.', 'SecurityError'); };
    Object.defineProperty(window, name, { get });
}"""


@pytest.mark.parametrize(("denied", "kept_by_the_page"), [(False, 0), (True, 1)])
def test_the_pages_storage_is_used_only_if_the_browser_denies_the_frame_its_own(
    context: BrowserContext, visit: Visit, provider: Provider, denied: bool, kept_by_the_page: int
) -> None:
    """As in browsers that block third-party storage."""
    if denied:
        context.add_init_script(NO_STORAGE_IN_FRAMES)
    chat = visit()
    chat.open()
    provider.answer("Kept.")
    chat.ask("Where?")
    expect(chat.button("Copy")).to_be_visible()
    assert chat.page.evaluate("localStorage.length") == kept_by_the_page
    chat.reload()
    expect(chat.answers).to_have_text("Kept.")
    chat.choose("New conversation")
    expect(chat.questions).to_have_count(0)
    chat.reload()
    expect(chat.log).to_contain_text("How can I help you")
    assert chat.page.evaluate("localStorage.length") == kept_by_the_page


HOSTILE = {
    "everything in the body is reset and hidden": "body, body * { all: unset !important; display: none !important }",
    "everything but the root is reset and hidden": ":not(html) { all: unset !important; display: none !important }",
    "everything is reset and hidden, and the root is shown again": (
        "* { all: unset !important; display: none !important } html { display: block !important }"
    ),
    "frames are hidden and out of reach": (
        "iframe, div { display: none !important; pointer-events: none !important; opacity: 0 !important }"
    ),
    "everything is moved, turned and made small": (
        "* { transform: rotate(9deg) scale(.2) !important; filter: blur(9px) !important; zoom: .1 !important }"
        "html { transform: none !important; filter: none !important; zoom: 1 !important }"
    ),
    "everything is animated away": (
        "@keyframes away { to { opacity: 0; translate: -9in } } :not(html) { animation: away 1ms forwards !important }"
    ),
    "the widget is meant by its id": '[id^="a4-chat"] { all: unset !important; display: none !important }',
}


@pytest.mark.parametrize("css", HOSTILE.values(), ids=HOSTILE.keys())
def test_page_styles_do_not_reach_the_widget(visit: Visit, css: str) -> None:
    chat = visit(head=f"<style>{css}</style>")
    expect(chat.bubble).to_be_in_viewport(ratio=1)
    assert chat.host.bounding_box() == {"x": 1200, "y": 720, "width": 64, "height": 64}
    chat.open()
    assert chat.host.bounding_box() == {"x": 864, "y": 144, "width": 400, "height": 640}
    assert chat.iframe.bounding_box() == chat.host.bounding_box()
    expect(chat.host).to_have_css("opacity", "1")
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()


def test_a_page_that_hides_its_root_hides_the_widget_too(visit: Visit) -> None:
    chat = visit(head="<style id=hostile>* { all: unset !important; display: none !important }</style>")
    expect(chat.host).to_have_css("display", "block")
    expect(chat.host).to_have_css("position", "fixed")
    expect(chat.iframe).to_have_css("display", "block")
    chat.page.evaluate("document.getElementById('hostile').remove()")
    chat.open()


def test_a_strict_content_security_policy_refuses_nothing(
    visit: Visit, shop: RunningService, provider: Provider
) -> None:
    policy = (
        "default-src 'none'; script-src 'nonce-abc' 'strict-dynamic'; img-src data:; "
        f"frame-src {shop.url}; base-uri 'none'; form-action 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'; report-uri /csp"
    )
    chat = visit("nonce=abc", headers={"Content-Security-Policy": policy})
    chat.open()
    provider.answer("Within the rules.")
    chat.ask("Strict?")
    expect(chat.answers).to_have_text("Within the rules.")
    assert chat.console == []


def test_the_widget_works_on_a_page_with_hostile_scripts(visit: Visit, provider: Provider) -> None:
    chat = visit(
        head="""<script>
            Array.prototype.extra = function () {};
            Object.prototype.extra = 1;
            String.prototype.trim = function () { return String(this) };
            window.onmessage = () => { throw new Error('a message for the page') };
            window.JSON.parse = () => { throw new Error('no') };
        </script>"""
    )
    chat.open()
    provider.answer("Unmoved.")
    chat.ask("Hello?")
    expect(chat.answers).to_have_text("Unmoved.")
    assert chat.console == []


def test_a_page_may_have_variables_named_like_the_browsers_own(visit: Visit, provider: Provider) -> None:
    """`navigation` and `performance` can be replaced; a script from before the former existed does so unknowingly."""
    chat = visit(head="<script>function navigation() {} var performance = { revenue: 1 };</script>")
    chat.open()
    provider.answer("Found.")
    chat.ask("Hello?")
    expect(chat.answers).to_have_text("Found.")
    chat.host.evaluate("(host) => host.remove()")
    expect(chat.answers).to_have_text("Found.")
    assert chat.console == []


def test_a_method_can_be_a_click_listener(visit: Visit) -> None:
    chat = visit(body="<button id=help>Help</button>")
    expect(chat.bubble).to_be_visible()
    chat.page.evaluate("document.getElementById('help').addEventListener('click', A4ChatWidget.open)")
    chat.page.get_by_role("button", name="Help").click()
    expect(chat.field).to_be_focused()
    expect(chat.field).to_have_value("")
    assert chat.console == []


def test_facts_in_a_reactive_object_are_sent(visit: Visit, provider: Provider) -> None:
    """A Proxy can't be passed to postMessage."""
    facts = "new Proxy({ plan: 'gold', left: undefined }, {})"
    chat = visit(head=f"<script>(window.A4ChatWidget ||= []).push(['setContext', {facts}])</script>")
    chat.open()
    provider.answer("Gold.")
    with chat.page.expect_request("**/api/v1/chat") as asking:
        chat.ask("Which plan?")
    body = asking.value.post_data_json
    assert body is not None and body["context"] == {"plan": "gold"}
    expect(chat.answers).to_have_text("Gold.")
    assert chat.console == []


def test_a_page_that_replaces_its_body_keeps_the_window_and_its_answer(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "Hello?", "Before")
    chat.page.evaluate("document.body = document.createElement('body')")
    answer.say(" and after.")
    answer.end()
    expect(chat.answers).to_have_text("Before and after.")


CORNER_BUTTON = '<button style="position:fixed;right:16px;bottom:16px;width:64px;height:64px">Cart</button>'


def _leaves_no_trace(chat: Chat) -> None:
    expect(chat.host).to_have_count(1)
    expect(chat.host).to_have_css("display", "none")
    chat.page.get_by_role("button", name="Cart").click()
    chat.page.get_by_role("button", name="Cart").press("Tab")
    assert chat.page.evaluate("document.activeElement.tagName") in ("BODY", "BUTTON")


def test_an_unlisted_page_shows_nothing_and_stays_usable(visit: Visit, shop: RunningService) -> None:
    elsewhere = add_tenant(shop, "elsewhere", origin="https://elsewhere.test")
    chat = visit("data-open", service=elsewhere, body=CORNER_BUTTON)
    chat.page.wait_for_function(
        "() => performance.getEntriesByType('resource').some((entry) => /widget.html/.test(entry.name))"
    )
    _leaves_no_trace(chat)
    expect(chat.inside.get_by_role("button")).to_have_count(0)


def test_an_unreachable_service_leaves_the_page_unchanged(visit: Visit) -> None:
    chat = visit('data-open data-api-url="http://127.0.0.1:1"', body=CORNER_BUTTON)
    _leaves_no_trace(chat)
    chat.page.evaluate("A4ChatWidget.open(); A4ChatWidget.send('Hello?'); A4ChatWidget.close()")
    _leaves_no_trace(chat)


def test_a_script_tag_without_a_key_warns_once_and_does_nothing(visit: Visit, shop: RunningService) -> None:
    loaded = "<script>addEventListener('load', () => { document.title = 'loaded' })</script>"
    chat = visit(service=replace(shop, api_key=""), head=loaded)
    expect(chat.page).to_have_title("loaded")
    expect(chat.host).to_have_count(0)
    assert chat.console == ["error: A4ChatWidget: data-api-key is missing or wrong."]


def test_an_attribute_overrides_the_tenants_settings(
    visit: Visit, shop: RunningService, context: BrowserContext
) -> None:
    settings = ["--title", "Shop help", "--greeting", "Welcome in!", "--suggestion", "Where is it?"]
    styled = add_tenant(shop, "styled")
    shop.manage("tenant", "set", styled.tenant, *settings, "--color", "#008060", "--position", "bottom-left")

    chat = visit(service=styled)
    chat.open()
    expect(chat.window).to_have_accessible_name("Shop help")
    expect(chat.iframe).to_have_attribute("title", "Shop help")
    expect(chat.log).to_contain_text("Welcome in!")
    expect(chat.button("Where is it?")).to_be_visible()
    expect(chat.inside.locator(".mark")).to_have_css("background-color", "rgb(0, 128, 96)")
    assert _left(chat) == 16

    chat = visit(
        """data-title="Ask us" data-color="#b00020" data-position="bottom-right" data-greeting="Moin!
Ask away."
        data-placeholder="Your question" data-suggestions='["Why?"]' data-theme="dark" """,
        service=styled,
    )
    chat.open()
    expect(chat.window).to_have_accessible_name("Ask us")
    expect(chat.log).to_contain_text("Moin!\nAsk away.", use_inner_text=True)
    expect(chat.button("Where is it?")).to_have_count(0)
    expect(chat.button("Why?")).to_be_visible()
    expect(chat.field).to_have_attribute("placeholder", "Your question")
    expect(chat.inside.locator(".mark")).to_have_css("background-color", "rgb(176, 0, 32)")
    expect(chat.window).to_have_css("color-scheme", "dark")
    assert _left(chat) == 1280 - 16 - 400


def test_the_longest_texts_that_a_tenant_may_set_are_shown(visit: Visit, shop: RunningService, tmp_path: Path) -> None:
    longest = {
        name: "x" * next(kind["maxLength"] for kind in schema["anyOf"] if "maxLength" in kind)
        for name, schema in WidgetSettings.model_json_schema()["properties"].items()
        if name in ("title", "greeting", "placeholder", "privacy")
    }
    address = f"https://shop.test/{'x' * 1982}"
    (tmp_path / "look.json").write_text(json.dumps({**longest, "handoff": address}))
    wordy = add_tenant(shop, "wordy", "--look", str(tmp_path / "look.json"))

    chat = visit(service=wordy)
    chat.open()
    expect(chat.window).to_have_accessible_name(longest["title"])
    expect(chat.field).to_have_attribute("placeholder", longest["placeholder"])
    expect(chat.log).to_contain_text(longest["greeting"])
    expect(chat.log).to_contain_text(longest["privacy"])
    chat.button("More").click()
    expect(chat.inside.get_by_role("link", name="Talk to a person")).to_have_attribute("href", address)


def _left(chat: Chat) -> Any:
    return chat.page.evaluate("(host) => host.getBoundingClientRect().left", chat.host.element_handle())


def test_the_widget_uses_the_pages_language(visit: Visit) -> None:
    chat = visit(head="<script>document.documentElement.lang = 'de-AT'</script>")
    chat.button("Chat öffnen").click()
    expect(chat.inside.get_by_role("textbox", name="Nachricht schreiben …")).to_be_focused()


def test_the_demonstration_page_shows_the_demonstrations_own_settings(
    context: BrowserContext, service: RunningService
) -> None:
    page = context.new_page()
    console: list[str] = []
    page.on("console", lambda message: console.append(message.text))
    page.goto(service.url)
    chat = Chat(page, page.locator("[id^=a4-chat-widget]").get_attribute("id").removeprefix("a4-chat-widget-"))  # type: ignore[union-attr]
    page.get_by_role("button", name="Show me an error").click()
    expect(chat.window).to_have_accessible_name("Demonstration")
    expect(chat.answers).to_contain_text("This is a demonstration of an answer that breaks off")
    expect(chat.button("Try again")).to_be_visible()
    # Chromium's word on any sandboxed frame of the page's own origin, which only this page has.
    assert [text for text in console if "allow-same-origin" not in text] == []
