"""The chat's position and appearance on a page."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from browser import Chat, Provider, Visit, add_tenant, script_tag
from processes import RunningService

pytest_plugins = ["visitor"]
REDUCED_MOTION = "no-preference"
PIXEL = "data:image/gif;base64,R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw=="


def test_an_inline_chat_fills_its_target_and_never_closes(visit: Visit, provider: Provider) -> None:
    chat = visit(
        "data-mode=inline data-target=#here", body='<section id="here" style="width:500px;height:600px"></section>'
    )
    chat.page.emulate_media(reduced_motion="reduce")  # nothing would stay to be seen while it closes
    expect(chat.field).to_be_visible()
    box = chat.page.locator("#here").bounding_box()
    assert chat.iframe.bounding_box() == box
    expect(chat.bubble).to_be_hidden()
    expect(chat.field).not_to_be_focused()
    chat.field.press("Escape")
    chat.page.evaluate("A4ChatWidget.close()")
    provider.answer("Here.")
    chat.ask("Where?")
    expect(chat.answers).to_have_text("Here.")
    expect(chat.field).to_be_visible()
    assert chat.iframe.bounding_box() == box


@pytest.mark.parametrize(
    "layout",
    ["display:flex", "display:flex;flex-direction:column;align-items:center", "display:grid;place-items:center"],
)
def test_an_inline_chat_fills_a_target_that_centres_its_children(visit: Visit, layout: str) -> None:
    """Without a width of its own, the chat would have none: its frame is taken out of the flow."""
    chat = visit(
        "data-mode=inline data-target=#here",
        body=f'<section id="here" style="width:500px;height:600px;{layout}"></section>',
    )
    expect(chat.field).to_be_visible()
    assert chat.iframe.bounding_box() == chat.page.locator("#here").bounding_box()


def test_an_inline_chat_without_a_target_appears_at_its_script(visit: Visit) -> None:
    chat = visit("data-mode=inline", body="<p id=before>Before</p>")
    expect(chat.field).to_be_visible()
    assert chat.host.evaluate("(host) => host.previousElementSibling.tagName") == "SCRIPT"
    box, before = chat.iframe.bounding_box(), chat.page.locator("#before").bounding_box()
    assert box
    assert before
    assert (box["height"], box["width"]) == (520, before["width"])


def test_a_late_or_replaced_target_gets_its_chat(visit: Visit) -> None:
    chat = visit("data-mode=inline data-target=#late")
    expect(chat.host).to_have_count(0)
    render = "() => { document.querySelector('main').innerHTML = '<div id=late style=\"height:600px\"></div>' }"
    for _ in range(2):
        chat.page.evaluate(render)
        expect(chat.field).to_be_visible()
        assert chat.host.evaluate("(host) => host.parentElement.id") == "late"


def test_an_inline_chat_without_a_target_follows_its_tag_when_the_page_is_replaced(
    visit: Visit,
) -> None:
    """As in Turbo's page navigation: the next page has the same tag."""
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


def test_a_missing_target_is_reported_once(context: BrowserContext, visit: Visit) -> None:
    context.clock.install()
    chat = visit("data-mode=inline data-target=#nowhere")
    context.clock.fast_forward(10_000)
    chat.page.evaluate("document.body.append('Something else')")
    assert chat.console == ["error: A4ChatWidget: data-target is missing or wrong."]


def test_a_target_that_is_no_selector_is_reported_and_leaves_the_page_its_api(visit: Visit) -> None:
    chat = visit("data-mode=inline data-target=#1-chat")
    assert "'#1-chat' is not a valid selector" in chat.console[0]
    chat.page.evaluate("A4ChatWidget.destroy()")
    assert chat.page.evaluate("typeof A4ChatWidget") == "undefined"


@pytest.mark.parametrize("mode", ["Inline", "", "window"])
def test_an_unknown_mode_is_a_bubble(visit: Visit, mode: str) -> None:
    chat = visit(f'data-mode="{mode}"')
    chat.open()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()
    chat.page.reload()
    expect(chat.bubble).to_be_visible()
    expect(chat.window).to_be_hidden()


def test_a_page_chat_fills_the_page(visit: Visit) -> None:
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
def test_offsets_move_the_bubble_but_never_push_the_window_off_screen(
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
def test_the_window_can_be_resized_at_its_free_corner_and_keeps_its_size(
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


def test_the_widget_is_not_printed_with_the_page(visit: Visit) -> None:
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


def test_an_inline_chat_is_printed_with_the_page(visit: Visit) -> None:
    chat = visit("data-mode=inline")
    chat.page.emulate_media(media="print")
    expect(chat.field).to_be_visible()


def test_the_pages_css_variables_reach_the_window(visit: Visit) -> None:
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
def test_text_on_the_main_colour_is_black_or_white_whichever_is_more_readable(
    visit: Visit, color: str, background: str, text: str
) -> None:
    """WCAG 2 finds black and white as easy at a relative luminance of 0.179: #757575 is just below it."""
    chat = visit(f'data-color="{color}"')
    expect(chat.bubble).to_have_css("background-color", background)
    expect(chat.bubble).to_have_css("color", f"color(xyz-d65 {text})")


def test_an_icon_shows_once_it_has_loaded_and_a_broken_one_never(visit: Visit) -> None:
    chat = visit(f'data-icon="{PIXEL}"')
    expect(chat.bubble.locator("img")).to_be_visible()
    chat = visit('data-icon="data:image/png;base64,broken"')
    chat.open()
    expect(chat.bubble.locator("img")).to_have_count(0)


@pytest.mark.parametrize("name", ["icon", "avatar"])
@pytest.mark.parametrize("address", ["javascript:alert(1)", "http://images.test/a.png", "data:text/html,x", "/a.png"])
def test_an_invalid_image_url_falls_back_to_the_tenants(
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
    assert chat.console == [f"warning: A4ChatWidget: {name} is too long or wrong."]


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
def test_the_window_follows_the_pages_theme_whatever_the_system_prefers(visit: Visit, css: str, colour: str) -> None:
    chat = visit(head=f"<style>{css}</style>")
    chat.page.emulate_media(color_scheme="dark")
    chat.open()
    expect(chat.window).to_have_css("color-scheme", colour)
    chat.page.evaluate("document.documentElement.style.colorScheme = 'dark'")
    expect(chat.window).to_have_css("color-scheme", "dark")
    chat.page.evaluate("A4ChatWidget.set({ theme: 'light' })")
    expect(chat.window).to_have_css("color-scheme", "light")


def test_the_theme_of_a_page_that_replaces_its_body_is_followed(visit: Visit) -> None:
    chat = visit(head="<style>body { background: white } .dark { background: black }</style>")
    chat.open()
    expect(chat.window).to_have_css("color-scheme", "light")
    chat.page.evaluate("document.body.replaceWith(document.createElement('body'))")
    chat.page.evaluate("document.body.className = 'dark'")
    expect(chat.window).to_have_css("color-scheme", "dark")
    chat.page.evaluate("document.body.className = ''")
    expect(chat.window).to_have_css("color-scheme", "light")
