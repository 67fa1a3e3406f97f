"""The JavaScript API and the ways to load it: calls, events, the module, components, modal dialogs, memory."""

import re
import subprocess
import time

import pytest
from playwright.sync_api import BrowserContext, expect

from browser import PATIENCE, WIDGET, Chat, HostPages, Provider, Visit, add_tenant, script_tag
from held_requests import held_requests
from processes import RunningService

pytest_plugins = ["visitor"]
REDUCED_MOTION = "no-preference"


def _address(service: RunningService) -> str:
    return f"{service.url}/widget.js?key={service.api_key}&id={service.widget_id}"


def test_two_widgets_each_have_an_api_and_the_global_is_the_first(visit: Visit, shop: RunningService) -> None:
    other_tenant = add_tenant(shop, "second")
    chat = visit(body=script_tag(other_tenant, "data-position=bottom-left") * 2)
    other = Chat(chat.page, other_tenant.widget_id)
    expect(chat.bubble).to_be_visible()
    expect(other.bubble).to_be_visible()
    assert chat.page.evaluate("A4ChatWidget.widgets.size") == 2
    chat.page.evaluate(
        "(id) => A4ChatWidget.widgets.get(id).open()", other.host.evaluate("(host) => host.id.slice(15)")
    )
    expect(other.field).to_be_visible()
    expect(chat.bubble).to_be_visible()
    chat.page.evaluate("A4ChatWidget.destroy()")
    chat.page.evaluate("A4ChatWidget.destroy()")
    assert chat.page.evaluate("[typeof A4ChatWidget, document.querySelectorAll('[id^=a4]').length]") == ["undefined", 0]


def test_queued_calls_events_and_dom_events_all_arrive(visit: Visit, provider: Provider) -> None:
    provider.answer("Queued.")
    queue = """<script>
        window.seen = [];
        document.addEventListener('a4:answer', ({ detail }) => seen.push(`dom ${detail.text}`));
        (window.A4ChatWidget ||= []).push(['on', 'ready', () => seen.push('ready')], ['no such call'],
            ['on', 'message', ({ text }) => seen.push(text)], ['send', ' Hello? ']);
    </script>"""
    chat = visit(head=queue)
    expect(chat.answers).to_have_text("Queued.")
    chat.page.wait_for_function("() => seen.includes('dom Queued.')")
    assert chat.page.evaluate("seen") == ["ready", "Hello?", "dom Queued."]


@pytest.mark.parametrize("place", ["head", "late", "defer", "config", "address"])
def test_the_script_works_however_it_is_loaded(
    context: BrowserContext, host_pages: HostPages, shop: RunningService, place: str
) -> None:
    tag = script_tag(shop)
    config = f'window.A4ChatWidgetConfig = {{ apiKey: "{shop.api_key}", widgetId: "{shop.widget_id}" }}'
    inject = "document.body.append(Object.assign(document.createElement('script'), {{ src: '{0}' }}))"
    heads = {
        "head": tag.replace("async", ""),
        "defer": tag.replace("async", "defer"),
        "config": f"<script>{config}</script>",
    }
    bodies = {
        "config": f"<script>{inject.format(shop.url + '/widget.js')}</script>",
        "late": f"<script>addEventListener('load', () => {inject.format(_address(shop))})</script>",
        "address": f'<script src="{_address(shop)}"></script>',
    }
    chat = Chat(context.new_page(), shop.widget_id)
    chat.page.goto(host_pages.add(head=heads.get(place, ""), body=bodies.get(place, "")))
    chat.open()
    assert chat.console == []


def test_the_module_mounts_on_an_element_and_unmounts(
    context: BrowserContext, host_pages: HostPages, shop: RunningService
) -> None:
    chat = Chat(context.new_page(), shop.widget_id)
    chat.page.goto(host_pages.add(body='<div id="app" style="height:600px"></div>'))
    mount = """async ({ url, apiKey, widgetId }) => {
        const { mount } = await import(url);
        const config = { apiKey, widgetId, mode: 'inline', target: document.getElementById('app') };
        window.chat = mount(config);
        if (mount(config) !== window.chat) throw new Error('mounted twice');
    }"""
    url = f"{shop.url}/widget.mjs"
    config = {"url": url, "apiKey": shop.api_key, "widgetId": shop.widget_id}
    for _ in range(2):
        chat.page.evaluate(mount, config)
        expect(chat.field).to_be_visible()
        chat.page.evaluate("chat.destroy()")
        expect(chat.host).to_have_count(0)
    with pytest.raises(Exception, match=re.escape("mount(): data-api-key is missing or wrong.")):
        chat.page.evaluate(mount, config | {"apiKey": ""})
    chat.page.evaluate("document.getElementById('app').remove()")
    with pytest.raises(Exception, match=re.escape("mount(): data-target is missing or wrong.")):
        chat.page.evaluate(mount, config)


@pytest.mark.parametrize("framework", ["react", "vue"])
def test_the_documented_component_mounts_and_unmounts_the_widget(
    context: BrowserContext, host_pages: HostPages, provider: Provider, shop: RunningService, framework: str
) -> None:
    """In React's strict mode, which mounts everything twice."""
    command = ["node", "test/example.mjs", framework]
    application = subprocess.run(command, cwd=WIDGET, stdout=subprocess.PIPE, check=True, text=True).stdout
    chat = Chat(context.new_page(), shop.widget_id)
    chat.page.goto(host_pages.add())
    chat.page.add_script_tag(content=application)
    config = {"apiUrl": shop.url, "apiKey": shop.api_key, "widgetId": shop.widget_id, "title": framework}
    for _ in range(2):
        chat.page.evaluate("(config) => { window.end = App.start(config) }", config)
        chat.open()
        expect(chat.window).to_have_accessible_name(framework)
        expect(chat.host).to_have_count(1)
        chat.button("Close chat").click()
        expect(chat.bubble).to_be_focused()
        chat.page.evaluate("end()")
        expect(chat.host).to_have_count(0)
    chat.page.evaluate("(config) => { App.start(config)() }", config)
    chat.page.evaluate("(config) => import(`${config.apiUrl}/widget.mjs`)", config)
    expect(chat.host).to_have_count(0)
    assert [line for line in chat.console if not line.startswith("info")] == []


def test_a_page_that_opens_the_window_on_click_focuses_it(visit: Visit) -> None:
    chat = visit(body='<button onclick="A4ChatWidget.open()">Ask us</button>')
    expect(chat.bubble).to_be_visible()
    chat.page.get_by_role("button", name="Ask us").click()
    expect(chat.field).to_be_focused()


def test_the_parts_of_the_window_are_elements_with_fixed_names(visit: Visit, provider: Provider) -> None:
    """Tools outside of this repository find them by these names."""
    chat = visit()
    chat.open()
    provider.answer()
    chat.ask("Hello?")
    for name in ("ai-chat-widget", "chat-bubble", "chat-window", "message-list", "input-area", "typing-indicator"):
        expect(chat.inside.locator(name)).to_be_attached()
        assert chat.frame.evaluate("(name) => customElements.get(name) !== undefined", name), name


@pytest.mark.parametrize("loaded", [False, True], ids=["before the window is there", "once it is"])
def test_calls_are_performed_in_order(visit: Visit, provider: Provider, loaded: bool) -> None:
    chat = visit()
    expect(chat.bubble).to_be_visible()
    if loaded:
        chat.open()
        chat.button("Close chat").click()
        expect(chat.window).to_be_hidden()
    else:  # but the page's watch is: without it, a window that has closed meanwhile has not been open
        with chat.page.expect_response("**/assets/page-*") as response:
            chat.bubble.dispatch_event("pointerenter")
        chat.page.evaluate("(script) => import(script)", response.value.url)
    chat.page.evaluate(
        """() => {
            window.heard = [];
            for (const name of ['open', 'close']) A4ChatWidget.on(name, () => heard.push(name));
        }"""
    )
    chat.page.evaluate("A4ChatWidget.open(); A4ChatWidget.close()")
    chat.page.wait_for_function("() => heard.join() === 'open,close'")
    expect(chat.window).to_be_hidden()
    chat.page.evaluate("A4ChatWidget.toggle(); A4ChatWidget.toggle(); A4ChatWidget.toggle()")
    chat.page.wait_for_function("() => heard.length === 3")
    chat.page.evaluate("A4ChatWidget.toggle(); A4ChatWidget.toggle(); A4ChatWidget.close(); A4ChatWidget.open()")
    provider.answer("Here.")
    chat.ask("Where?")
    expect(chat.answers).to_have_text("Here.")
    expect(chat.window).to_be_visible()
    assert chat.page.evaluate("heard") == ["open", "close", "open"]


def test_an_answer_that_ends_just_as_the_bubble_is_pressed_does_not_stop_the_window_from_opening(
    visit: Visit, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    answer = provider.answer()
    chat.ask("Hello?")
    chat.button("Close chat").click()
    expect(chat.window).to_be_hidden()
    answer.say("One.")
    answer.end()
    expect(chat.button("One.")).to_be_visible()
    # Both in one task: the page around has not shown the window yet.
    chat.frame.evaluate(
        """() => {
            const widget = document.querySelector('ai-chat-widget');
            widget.bubble.button.click();
            const unread = { detail: { count: 2, preview: 'Two.', label: '2' } };
            widget.shadowRoot.querySelector('chat-window').dispatchEvent(new CustomEvent('window-unread', unread));
        }"""
    )
    expect(chat.window).to_be_visible()
    chat.until_still()
    expect(chat.field).to_be_focused()


def test_destroyed_widgets_leak_no_memory(visit: Visit, shop: RunningService, full: bool) -> None:
    chat = visit()
    chat.open()
    chat.page.evaluate("A4ChatWidget.destroy()")
    cdp = chat.page.context.new_cdp_session(chat.page)
    cdp.send("Performance.enable")
    cdp.send("HeapProfiler.enable")

    def counts() -> dict[str, float]:
        cdp.send("HeapProfiler.collectGarbage")
        metrics = {metric["name"]: metric["value"] for metric in cdp.send("Performance.getMetrics")["metrics"]}
        return {name: metrics[name] for name in ("Nodes", "JSEventListeners", "Documents", "Frames")}

    mount = """async ({ url, apiKey, widgetId, times }) => {
        const { mount } = await import(url);
        for (let time = 0; time < times; time += 1) {
            const chat = mount({ apiKey, widgetId });
            await new Promise((resolve) => chat.on('ready', resolve));
            if (time < 5) {  // the page is watched while the window is open
                chat.open();
                await new Promise((resolve) => chat.on('open', resolve));
            }
            chat.destroy();
        }
    }"""
    config = {"url": f"{shop.url}/widget.mjs", "apiKey": shop.api_key, "widgetId": shop.widget_id}
    chat.page.evaluate(mount, config | {"times": 3})
    before = counts()
    chat.page.evaluate(mount, config | {"times": 100 if full else 20})
    deadline = time.monotonic() + PATIENCE / 1000
    while grown := {name: count - before[name] for name, count in counts().items() if count > before[name]}:
        assert time.monotonic() < deadline, grown
        chat.page.evaluate("new Promise(requestAnimationFrame)")  # a frame that has gone is let go of a little later


def test_a_page_button_opens_the_window_with_a_draft_and_gets_the_focus_back(visit: Visit) -> None:
    button = """<button onclick="A4ChatWidget.open({ draft: 'Which size?' })">Ask us</button>"""
    chat = visit("data-launcher=none", body=button)
    ask = chat.page.get_by_role("button", name="Ask us")
    chat.page.wait_for_function("() => new Promise((resolve) => A4ChatWidget.on('ready', () => resolve(true)))")
    expect(chat.host).to_be_hidden()
    ask.press("Enter")
    expect(chat.field).to_have_value("Which size?")
    expect(chat.field).to_be_focused()
    chat.field.press("Escape")
    expect(chat.host).to_be_hidden()
    expect(ask).to_be_focused()


@pytest.mark.parametrize("gone", ["remove()", "disabled = true", "style.display = 'none'"])
def test_the_bubble_gets_the_focus_if_the_button_that_opened_the_window_cannot(visit: Visit, gone: str) -> None:
    chat = visit(body="""<button onclick="A4ChatWidget.open({ draft: undefined })">Ask us</button>""")
    expect(chat.bubble).to_be_visible()
    chat.page.get_by_role("button", name="Ask us").press("Enter")
    expect(chat.field).to_be_focused()
    expect(chat.field).to_have_value("")
    chat.page.evaluate(f"document.querySelector('button').{gone}")
    chat.field.press("Escape")
    expect(chat.bubble).to_be_focused()


def test_a_button_that_once_opened_the_window_does_not_get_the_focus_after_the_bubble_did(visit: Visit) -> None:
    chat = visit(body='<button onclick="A4ChatWidget.open()">Ask us</button>')
    ask = chat.page.get_by_role("button", name="Ask us")
    expect(chat.bubble).to_be_visible()
    ask.press("Enter")
    expect(chat.field).to_be_focused()
    chat.page.evaluate("A4ChatWidget.close()")
    expect(chat.bubble).to_be_visible()
    chat.bubble.press("Enter")
    expect(chat.field).to_be_focused()
    chat.field.press("Escape")
    expect(chat.bubble).to_be_focused()


def test_a_chat_opened_from_a_modal_dialog_is_usable_and_outlives_it(visit: Visit) -> None:
    chat = visit(body="<dialog id=d><button onclick='A4ChatWidget.open()'>Ask us</button></dialog>")
    expect(chat.bubble).to_be_visible()
    chat.page.evaluate("document.getElementById('d').showModal()")
    chat.page.get_by_role("button", name="Ask us").click()
    expect(chat.field).to_be_visible()
    chat.until_still()
    chat.field.press_sequentially("Hello?")  # not inert
    chat.page.evaluate("document.getElementById('d').close()")
    expect(chat.window).to_be_visible()
    expect(chat.field).to_have_value("Hello?")


def test_a_chat_in_a_modal_dialog_that_the_page_removes_comes_back(context: BrowserContext, visit: Visit) -> None:
    """As a component does that shows a dialog for as long as it exists. No event tells."""
    dialogs = "<dialog id=d>First <dialog id=e><button onclick='A4ChatWidget.open()'>Ask us</button></dialog></dialog>"
    context.clock.install()
    chat = visit(body=f"<div id=app>{dialogs}</div>")
    expect(chat.bubble).to_be_visible()
    context.clock.fast_forward(10_000)  # nothing waits for the chat's target any more
    chat.page.evaluate("for (const dialog of document.querySelectorAll('dialog')) dialog.showModal()")
    chat.page.get_by_role("button", name="Ask us").click()
    expect(chat.field).to_be_visible()
    chat.until_still()
    chat.field.press_sequentially("Hello?")  # not inert
    chat.page.evaluate("document.getElementById('app').replaceChildren()")
    expect(chat.window).to_be_visible()
    expect(chat.field).to_have_value("Hello?")
    chat.page.evaluate("A4ChatWidget.destroy()")
    expect(chat.host).to_have_count(0)


def test_a_widget_destroyed_before_it_watches_the_page_observes_nothing(context: BrowserContext, visit: Visit) -> None:
    count = """
        window.observed = new Set();
        const { observe, disconnect } = MutationObserver.prototype;
        MutationObserver.prototype.observe = function (...rest) {
            if (/widget\\.js|assets/.test(new Error().stack)) observed.add(this);  // and not the browser's driver
            observe.apply(this, rest);
        };
        MutationObserver.prototype.disconnect = function () { observed.delete(this); disconnect.call(this) };
    """
    with held_requests(context, "**/assets/page-*") as held:
        chat = visit(head=f"<script>{count}</script>")
        expect(chat.bubble).to_be_visible()
        with chat.page.expect_request("**/assets/page-*"):
            chat.bubble.click()
        assert chat.page.evaluate("observed.size") == 1
        chat.page.evaluate("A4ChatWidget.destroy()")
        held[0].continue_()
        # This import comes after the widget's, which has then begun to watch.
        chat.page.evaluate("(address) => import(address)", held[0].request.url)
    assert chat.page.evaluate("observed.size") == 0
