"""Where the widget stands on a page and how it looks: modes, offsets, colours, and what the closed bubble shows."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from browser import WIDGET, Chat, HostPages, Provider, ProviderAnswer, Visit, add_tenant, script_tag
from processes import RunningService

pytest_plugins = ["visitor"]

REDUCED_MOTION = "no-preference"

PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="
PROACTIVE = 'data-proactive="Can I help?" data-proactive-delay=0'
LEAVE = "document.documentElement.dispatchEvent(new MouseEvent('mouseleave', { clientY: -1 }))"
TELLS_WHEN_WATCHED = """<script>
    const listen = document.documentElement.addEventListener;
    document.documentElement.addEventListener = function (type, ...rest) {
        window.isWatched ||= type === 'mouseleave';
        return listen.call(this, type, ...rest);
    };
</script>"""


def until_watched(chat: Chat) -> None:
    """A pointer that leaves earlier is not seen."""
    chat.page.wait_for_function("() => window.isWatched")


def until_run(chat: Chat, script: str) -> None:
    """What is asked for after a script that is fetched comes after it: it has run by then."""
    chat.frame.evaluate(
        """script => import(
            performance.getEntriesByType('resource').find(({ name }) => name.includes(`/${script}-`)).name
        )""",
        script,
    )


def fetch_the_window(chat: Chat) -> None:
    """Whatever the page has told the widget before has arrived by then."""
    with chat.page.expect_response("**/assets/control-*"):
        chat.bubble.hover()
    until_run(chat, "control")


def test_an_inline_chat_fills_its_target_and_never_closes(visit: Visit, provider: Provider) -> None:
    chat = visit(
        "data-mode=inline data-target=#here", body='<section id="here" style="width:500px;height:600px"></section>'
    )
    expect(chat.field).to_be_visible()
    box = chat.page.locator("#here").bounding_box()
    assert chat.iframe.bounding_box() == box
    expect(chat.bubble).to_be_hidden()
    expect(chat.field).not_to_be_focused()
    provider.answer("Here.")
    chat.ask("Where?")
    expect(chat.answers).to_have_text("Here.")
    chat.field.press("Escape")
    chat.page.evaluate("A4ChatWidget.close()")
    expect(chat.field).to_be_visible()
    assert chat.iframe.bounding_box() == box


def test_an_inline_chat_without_a_target_stands_where_its_script_does(visit: Visit) -> None:
    chat = visit("data-mode=inline", body="<p id=before>Before</p>")
    expect(chat.field).to_be_visible()
    assert chat.host.evaluate("(host) => host.previousElementSibling.tagName") == "SCRIPT"
    box, before = chat.iframe.bounding_box(), chat.page.locator("#before").bounding_box()
    assert box
    assert before
    assert (box["height"], box["width"]) == (520, before["width"])


def test_a_target_that_comes_late_and_is_replaced_gets_its_chat(visit: Visit) -> None:
    chat = visit("data-mode=inline data-target=#late")
    expect(chat.host).to_have_count(0)
    render = "() => { document.querySelector('main').innerHTML = '<div id=late style=\"height:600px\"></div>' }"
    for _ in range(2):
        chat.page.evaluate(render)
        expect(chat.field).to_be_visible()
        assert chat.host.evaluate("(host) => host.parentElement.id") == "late"


def test_an_inline_chat_without_a_target_follows_its_tag_to_the_page_that_takes_the_place_of_this_one(
    visit: Visit,
) -> None:
    """As Turbo and its like go from page to page: the next one has the same tag."""
    chat = visit("data-mode=inline")
    expect(chat.field).to_be_visible()
    chat.page.evaluate(
        """() => {
            const script = document.createElement('script');
            const { attributes } = document.querySelector('script[data-widget-id]');
            for (const { name, value } of attributes) script.setAttribute(name, value);
            const body = document.createElement('body');
            body.innerHTML = '<div id=next></div>';
            body.firstChild.append(script);
            document.body = body;
        }"""
    )
    expect(chat.field).to_be_visible()
    assert chat.host.evaluate("({ previousSibling: { tagName }, parentNode: { id } }) => [tagName, id]") == [
        "SCRIPT",
        "next",
    ]
    expect(chat.host).to_have_count(1)


def test_a_target_that_is_not_there_is_named_once(context: BrowserContext, visit: Visit) -> None:
    context.clock.install()
    chat = visit("data-mode=inline data-target=#nowhere")
    context.clock.fast_forward(10_000)
    chat.page.evaluate("document.body.append('Something else')")
    assert chat.console == ["error: A4ChatWidget: data-target is missing or wrong."]


def test_a_page_chat_is_all_of_the_page(visit: Visit) -> None:
    chat = visit("data-mode=page")
    expect(chat.field).to_be_visible()
    assert chat.iframe.bounding_box() == {"x": 0, "y": 0, "width": 1280, "height": 800}


@pytest.mark.parametrize(
    ("attributes", "closed", "opened"),
    [
        ("data-offset-x=40 data-offset-y=100", (1176, 636), (840, 60)),
        ("data-offset-x=40 data-position=bottom-left", (40, 720), (40, 144)),
        ("data-offset-x=9999 data-offset-y=-5", (816, 736), (480, 160)),
        ("data-offset-x=far", (1216, 720), (880, 144)),
    ],
)
def test_offsets_move_the_bubble_and_give_way_where_the_window_would_leave_the_screen(
    visit: Visit, attributes: str, closed: tuple[int, int], opened: tuple[int, int]
) -> None:
    chat = visit(attributes)
    expect(chat.bubble).to_be_visible()
    box = chat.host.bounding_box()
    assert box
    assert (box["x"], box["y"]) == closed
    chat.open()
    box = chat.host.bounding_box()
    assert box
    assert (box["x"], box["y"]) == opened


@pytest.mark.parametrize("position", ["bottom-right", "bottom-left"])
def test_the_window_is_dragged_to_a_size_by_its_free_corner_and_keeps_it(
    context: BrowserContext, provider: Provider, shop: RunningService, position: str
) -> None:
    """On a page of the service's own site: what drives the browser takes no pointer out of a frame of another one."""
    service = add_tenant(shop, f"drawn {position}", origin=shop.url)
    tag = script_tag(service, f"data-position={position}")
    context.route(f"{shop.url}/site", lambda route: route.fulfill(body=tag, content_type="text/html"))
    chat = Chat(context.new_page(), service.widget_id)
    chat.page.goto(f"{shop.url}/site")
    chat.open()

    def draw(across: int, up: int) -> None:
        """Pull the corner inwards of the screen and up, in two steps."""
        box = chat.host.bounding_box()
        assert box
        inward, corner = (1, box["x"] + box["width"] - 9) if position == "bottom-left" else (-1, box["x"] + 9)
        chat.page.mouse.move(corner, box["y"] + 9)
        expect(chat.inside.locator(".grip")).to_be_attached()  # it is fetched for a pointer that comes near
        chat.page.mouse.down()
        for part in (0.5, 1):
            chat.page.mouse.move(corner + inward * across * part, box["y"] + 9 - up * part)
        chat.page.mouse.up()

    def expect_size(width: int, height: int) -> None:
        expect(chat.host).to_have_css("width", f"{width}px")
        expect(chat.host).to_have_css("height", f"{height}px")
        box = chat.host.bounding_box()
        assert box
        left = 16 if position == "bottom-left" else 1264 - width
        assert (box["x"], box["y"]) == (left, 784 - height)

    expect_size(400, 640)
    draw(100, 60)
    expect_size(500, 700)
    chat.button("Expand").click()
    expect_size(640, 768)
    chat.button("Collapse").click()
    expect_size(500, 700)
    draw(300, 0)
    chat.button("Expand").click()
    expect_size(800, 768)
    chat.button("Collapse").click()
    draw(-300, 0)
    expect_size(500, 700)
    provider.answer("Hi.")
    chat.ask("Hello?")
    chat.reload()
    expect_size(500, 700)
    expect(chat.questions).to_have_text("Hello?")
    draw(-400, -500)
    expect_size(320, 400)
    draw(2000, 2000)
    expect_size(1248, 768)
    kept = f"a4w:{service.widget_id}"
    chat.frame.evaluate('(kept) => localStorage.setItem(kept, \'{"width": -1, "height": 1e999}\')', kept)
    chat.reload()
    expect_size(320, 768)


def test_the_widget_is_not_printed_with_the_page_around_it(visit: Visit) -> None:
    chat = visit()
    expect(chat.bubble).to_be_visible()
    chat.page.emulate_media(media="print")
    expect(chat.host).to_be_hidden()
    chat.page.emulate_media(media="screen")
    chat.open()
    chat.page.emulate_media(media="print")
    expect(chat.host).to_be_hidden()
    chat.page.emulate_media(media="screen")
    expect(chat.host).to_be_visible()


def test_a_chat_that_is_a_part_of_the_page_is_printed_with_it(visit: Visit) -> None:
    chat = visit("data-mode=inline")
    chat.page.emulate_media(media="print")
    expect(chat.field).to_be_visible()


def test_the_css_variables_of_the_page_reach_the_window(visit: Visit) -> None:
    css = "html { --a4w-primary-color: rgb(0, 128, 96); --a4w-bg-color: #fef6e4; --a4w-font: Georgia }"
    chat = visit(head=f"<style>{css}</style>")
    expect(chat.bubble).to_have_css("background-color", "rgb(0, 128, 96)")
    chat.open()
    expect(chat.window).to_have_css("background-color", "rgb(254, 246, 228)")
    expect(chat.window).to_have_css("font-family", "Georgia")


@pytest.mark.parametrize(
    ("color", "background", "text"),
    [
        ("#fde047", "rgb(253, 224, 71)", "0 0 0"),
        ("oklch(0.4 0.2 270)", "oklch(0.4 0.2 270)", "1.1 1.1 1.1"),
        ("#757575", "rgb(117, 117, 117)", "1.1 1.1 1.1"),
        ("#767676", "rgb(118, 118, 118)", "0 0 0"),
        ("no colour; background: url(//evil.test)", "rgb(79, 70, 229)", "1.1 1.1 1.1"),
    ],
)
def test_the_text_on_the_main_colour_is_the_one_that_is_easier_to_read(
    visit: Visit, color: str, background: str, text: str
) -> None:
    """WCAG 2 finds black and white as easy at a relative luminance of 0.179: #757575 is just below it."""
    chat = visit(f'data-color="{color}"')
    expect(chat.bubble).to_have_css("background-color", background)
    expect(chat.bubble).to_have_css("color", f"color(xyz-d65 {text})")


def test_an_icon_shows_as_soon_as_it_is_there_and_a_broken_one_never(visit: Visit) -> None:
    chat = visit(f'data-icon="{PIXEL}"')
    expect(chat.bubble.locator("img")).to_be_visible()
    chat = visit('data-icon="data:image/png;base64,broken"')
    chat.open()
    expect(chat.bubble.locator("img")).to_have_count(0)


@pytest.mark.parametrize("name", ["icon", "avatar"])
@pytest.mark.parametrize("address", ["javascript:alert(1)", "http://images.test/a.png", "data:text/html,x", "/a.png"])
def test_an_image_is_an_https_or_a_data_image_address_and_otherwise_the_tenants(
    visit: Visit, shop: RunningService, tmp_path: Path, name: str, address: str
) -> None:
    (tmp_path / "look.json").write_text(json.dumps({name: PIXEL}))
    tenant = add_tenant(shop, f"{name} {address}", "--look", str(tmp_path / "look.json"))
    chat = visit(f'data-{name}="{address}"', service=tenant)
    if name == "icon":
        expect(chat.bubble.locator("img")).to_have_attribute("src", PIXEL)
    else:
        chat.open()
        expect(chat.inside.locator("header img")).to_have_attribute("src", PIXEL)
    assert chat.console == [f"warning: A4ChatWidget: data-{name} is too long or wrong, and is left out."]


def test_a_message_that_begins_by_itself_opens_the_window_with_it_and_comes_once_per_visit(visit: Visit) -> None:
    chat = visit(PROACTIVE)
    card = chat.button("Can I help?")
    expect(card).to_be_visible()
    expect(chat.button("Open chat (1)")).to_be_visible()
    expect(chat.host).to_have_css("width", "350px")
    card.click()
    expect(chat.log).to_contain_text("Can I help?")
    chat.until_still()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()
    expect(card).to_have_count(0)
    assert chat.host.bounding_box() == {"x": 1200, "y": 720, "width": 64, "height": 64}
    chat.page.reload()
    chat.open()
    expect(card).to_have_count(0)


@pytest.mark.parametrize("position", ["bottom-right", "bottom-left"])
def test_a_message_fits_a_screen_that_is_narrower_than_its_card(visit: Visit, position: str) -> None:
    chat = visit(f"{PROACTIVE} data-position={position}")
    chat.page.set_viewport_size({"width": 320, "height": 640})
    expect(chat.button("Can I help?")).to_be_visible()
    box = chat.host.bounding_box()
    assert box
    assert (box["x"], box["width"]) == (16, 288)  # as far from the edges as the bubble alone
    expect(chat.inside.locator(".card")).to_be_in_viewport(ratio=1)
    expect(chat.bubble).to_be_in_viewport(ratio=1)


def test_a_message_that_comes_after_the_pointer_was_on_the_bubble_still_opens_the_window(visit: Visit) -> None:
    chat = visit('data-proactive="Can I help?" data-proactive-exit', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    fetch_the_window(chat)
    chat.page.evaluate(LEAVE)
    chat.button("Can I help?").click()
    expect(chat.field).to_be_focused()
    expect(chat.log).to_contain_text("Can I help?")
    expect(chat.log).not_to_contain_text("How can I help you")


def test_a_message_that_is_dismissed_leaves_the_badge_and_gives_the_focus_to_the_bubble(visit: Visit) -> None:
    chat = visit(PROACTIVE)
    chat.button("Dismiss").click()
    expect(chat.button("Can I help?")).to_have_count(0)
    expect(chat.button("Open chat (1)")).to_be_focused()
    expect(chat.host).to_have_css("width", "64px")


def test_a_message_waits_for_its_path_and_for_the_pointer_that_leaves(visit: Visit) -> None:
    chat = visit('data-proactive="Wait!" data-proactive-exit data-proactive-path="/shop/*"', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    chat.page.evaluate(LEAVE)
    chat.page.evaluate("history.pushState({}, '', '/shop/shoes')")
    fetch_the_window(chat)
    expect(chat.button("Wait!")).to_have_count(0)
    chat.page.evaluate(LEAVE)
    expect(chat.button("Wait!")).to_be_visible()


def test_a_message_comes_when_the_visitor_goes_to_its_path_within_the_page(visit: Visit) -> None:
    chat = visit(f'{PROACTIVE} data-proactive-path="/shop/*"', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    fetch_the_window(chat)
    expect(chat.button("Can I help?")).to_have_count(0)
    chat.page.evaluate("history.pushState({}, '', '/shop/shoes')")
    expect(chat.button("Can I help?")).to_be_visible()


def test_a_message_never_comes_over_an_open_window(visit: Visit) -> None:
    chat = visit(f"data-open {PROACTIVE}")
    expect(chat.field).to_be_visible()
    chat.until_still()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()
    expect(chat.button("Can I help?")).to_have_count(0)


def test_a_message_does_not_follow_a_visitor_who_has_opened_the_chat_to_the_next_page(
    visit: Visit, host_pages: HostPages, shop: RunningService
) -> None:
    chat = visit('data-proactive="Can I help?" data-proactive-exit', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    chat.open()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_focused()
    with chat.page.expect_response("**/assets/card-*"):
        chat.page.goto(host_pages.add(body=script_tag(shop, PROACTIVE)))
    until_run(chat, "card")
    chat.open()
    expect(chat.log).to_contain_text("How can I help you")


def ask_and_begin_to_answer(chat: Chat, provider: Provider) -> ProviderAnswer:
    answer = provider.answer()
    chat.ask("Hello?")
    answer.say("One ")
    expect(chat.answers).to_have_text("One")
    return answer


def test_an_open_window_and_its_answer_go_on_on_the_next_page(
    visit: Visit, host_pages: HostPages, shop: RunningService, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    answer = ask_and_begin_to_answer(chat, provider)
    chat.page.goto(host_pages.add(body=script_tag(shop)))
    expect(chat.window).to_be_visible()
    expect(chat.answers).to_have_text("One")
    answer.say("two.")
    answer.end()
    expect(chat.answers).to_have_text("One two.")
    expect(chat.window).to_contain_text("Ready to help")
    expect(chat.field).not_to_be_focused()
    assert len(provider.asked) == 1


def test_on_a_phone_the_next_page_is_not_covered_and_a_badge_says_that_the_answer_is_there(
    visit: Visit, host_pages: HostPages, shop: RunningService, provider: Provider
) -> None:
    chat = visit("data-open")
    chat.page.set_viewport_size({"width": 390, "height": 800})
    expect(chat.window).to_be_visible()
    answer = ask_and_begin_to_answer(chat, provider)
    with chat.page.expect_request("**/api/v1/chat"):
        chat.page.goto(host_pages.add(body=script_tag(shop, "data-open")))
    answer.say("two.")
    answer.end()
    expect(chat.button("One two.")).to_be_visible()
    expect(chat.button(re.compile(r"^Open chat \(1 "))).to_be_visible()
    expect(chat.window).to_be_hidden()
    assert len(provider.asked) == 1


def test_an_answer_goes_on_behind_a_window_that_was_closed_on_the_page_before(
    visit: Visit, host_pages: HostPages, shop: RunningService, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    answer = ask_and_begin_to_answer(chat, provider)
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_focused()
    with chat.page.expect_request("**/api/v1/chat"):
        chat.page.goto(host_pages.add(body=script_tag(shop, "data-open")))
    answer.say("two.")
    answer.end()
    expect(chat.button("One two.")).to_be_visible()
    expect(chat.window).to_be_hidden()
    chat.page.goto(host_pages.add(body=script_tag(shop)))
    expect(chat.bubble).to_be_visible()
    fetch_the_window(chat)
    expect(chat.window).to_have_count(0)
    assert len(provider.asked) == 1


def test_a_window_that_was_closed_stays_closed_during_the_visit_unless_the_page_opens_it(
    visit: Visit, host_pages: HostPages, shop: RunningService
) -> None:
    chat = visit("data-open")
    expect(chat.window).to_be_visible()
    chat.until_still()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_focused()
    chat.page.goto(host_pages.add(body=script_tag(shop, "data-open")))
    expect(chat.bubble).to_be_visible()
    fetch_the_window(chat)
    expect(chat.window).to_have_count(0)
    queue = "<script>(window.A4ChatWidget ||= []).push(['open'])</script>"
    chat.page.goto(host_pages.add(head=queue, body=script_tag(shop)))
    expect(chat.window).to_be_visible()


def test_two_widgets_have_an_api_each_and_the_global_is_the_first(visit: Visit, shop: RunningService) -> None:
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


def test_calls_before_the_script_events_and_dom_events_all_arrive(visit: Visit, provider: Provider) -> None:
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
def test_the_script_works_wherever_and_however_it_comes(
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


def _address(service: RunningService) -> str:
    return f"{service.url}/widget.js?key={service.api_key}&id={service.widget_id}"


def test_the_module_mounts_on_an_element_and_takes_it_away(
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
def test_the_readmes_component_puts_the_widget_on_a_page_and_takes_it_away(
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


def test_a_page_that_opens_the_window_at_a_click_gives_it_the_keyboard(visit: Visit) -> None:
    chat = visit(body='<button onclick="A4ChatWidget.open()">Ask us</button>')
    expect(chat.bubble).to_be_visible()
    chat.page.get_by_role("button", name="Ask us").click()
    expect(chat.field).to_be_focused()


@pytest.mark.parametrize("loaded", [False, True], ids=["before the window is there", "once it is"])
def test_calls_one_after_the_other_are_performed_as_they_were_made(
    visit: Visit, provider: Provider, loaded: bool
) -> None:
    chat = visit()
    expect(chat.bubble).to_be_visible()
    if loaded:
        chat.open()
        chat.button("Close chat").click()
        expect(chat.window).to_be_hidden()
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


def test_an_answer_that_ends_just_as_the_bubble_is_pressed_does_not_keep_the_window_closed(
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


def test_widgets_that_were_destroyed_leave_nothing_in_memory(visit: Visit, shop: RunningService, full: bool) -> None:
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
            chat.destroy();
        }
    }"""
    config = {"url": f"{shop.url}/widget.mjs", "apiKey": shop.api_key, "widgetId": shop.widget_id}
    chat.page.evaluate(mount, config | {"times": 3})
    before = counts()
    chat.page.evaluate(mount, config | {"times": 100 if full else 20})
    grown: dict[str, float] = {}
    for _ in range(20):  # a frame that has gone is let go of a little later
        grown = {name: count - before[name] for name, count in counts().items() if count > before[name]}
        if not grown:
            return
        chat.page.evaluate("new Promise(requestAnimationFrame)")
    assert grown == {}


@pytest.mark.parametrize(
    ("css", "colour"),
    [
        ("", "light"),
        ("html { background: #fff } body { background: oklch(0.2 0 0) }", "dark"),
        ("html { color-scheme: dark }", "dark"),
        ("html { color-scheme: light dark }", "dark"),
        ("html { color-scheme: light dark } body { background: white }", "light"),
    ],
)
def test_the_window_is_dark_where_the_page_is_whatever_the_system_says(visit: Visit, css: str, colour: str) -> None:
    chat = visit(head=f"<style>{css}</style>")
    chat.page.emulate_media(color_scheme="dark")
    chat.open()
    expect(chat.window).to_have_css("color-scheme", colour)
    chat.page.evaluate("document.documentElement.style.colorScheme = 'dark'")
    expect(chat.window).to_have_css("color-scheme", "dark")
    chat.page.evaluate("A4ChatWidget.set({ theme: 'light' })")
    expect(chat.window).to_have_css("color-scheme", "light")


def test_a_button_of_the_page_opens_the_window_with_a_draft_and_has_the_focus_again(visit: Visit) -> None:
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


def test_a_chat_that_is_opened_from_a_modal_dialog_can_be_used_and_outlives_it(visit: Visit) -> None:
    chat = visit(body="<dialog id=d><button onclick='A4ChatWidget.open()'>Ask us</button></dialog>")
    expect(chat.bubble).to_be_visible()
    chat.page.evaluate("document.getElementById('d').showModal()")
    chat.page.get_by_role("button", name="Ask us").click()
    chat.field.fill("Hello?")
    chat.page.evaluate("document.getElementById('d').close()")
    expect(chat.window).to_be_visible()
    expect(chat.field).to_have_value("Hello?")
