"""The studio: changes show at once, and the copied snippet looks the same on the owner's page."""

import json
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import BrowserContext, FrameLocator, Locator, Page, expect

from browser import WIDGET, HostPages
from preloaded import ROOT
from processes import RunningService
from required import skip_unless_required

pytest_plugins = ["visitor"]

AXE = WIDGET / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
RUN_AXE = """async (runOnly) => {
    const found = await axe.run(document, { runOnly, iframes: false });
    return found.violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.html + node.failureSummary)]);
}"""
# Both kinds of quotes, markup, an ampersand that could start a character reference, and non-ASCII letters.
HARD = """Ask "Zoë" & 'Ümit' </script><b> &quot; 你好 \\"""

Open = Callable[..., Page]


@pytest.fixture
def studio(context: BrowserContext, service: RunningService) -> Iterator[Open]:
    """Opens the studio. Checks at the end that nothing was blocked and no error was thrown."""
    console: list[str] = []

    def open_page(fragment: str = "") -> Page:
        page = context.new_page()
        page.on("console", lambda message: console.append(message.text))
        page.on("pageerror", lambda error: console.append(str(error)))
        page.goto(f"{service.url}/studio{fragment}")
        return page

    yield open_page
    # Chromium's word on any sandboxed frame of the page's own origin, which only our pages have.
    assert [text for text in console if "allow-same-origin" not in text] == []


def site(page: Page) -> FrameLocator:
    return page.frame_locator("#preview")


def chat(page: Page | FrameLocator) -> FrameLocator:
    return page.frame_locator("[id^=a4-chat-widget] iframe")


def group(page: Page, name: str) -> None:
    page.locator("summary", has_text=name).click()


def view(page: Page, what: str, choice: str) -> None:
    page.get_by_role("group", name=what).get_by_role("radio", name=choice).check()


def colour(window: FrameLocator) -> str:
    script = "e => getComputedStyle(e).getPropertyValue('--a4w-primary-color')"
    return str(window.locator("ai-chat-widget").evaluate(script))


def snippet(page: Page, form: str) -> str:
    page.get_by_role("tab", name=form).click()
    return page.get_by_role("tabpanel").text_content() or ""


def test_changes_show_in_the_preview(studio: Open) -> None:
    """Colour, title, greeting and suggestions, language, theme and mode, each by its control."""
    page = studio()
    window = chat(site(page)).get_by_role("dialog")
    expect(window).to_have_accessible_name("Chat")

    page.get_by_label("Title").fill("Alder's help")
    expect(window).to_have_accessible_name("Alder's help")
    page.get_by_label("Greeting").fill("Good evening.")
    page.get_by_label("Suggestions").fill("Is it oak?\n\nIs it ash?")
    expect(chat(site(page)).get_by_text("Good evening.")).to_be_visible()
    expect(chat(site(page)).get_by_role("button", name=re.compile("^Is it"))).to_have_text(["Is it oak?", "Is it ash?"])

    page.get_by_role("button", name="Rust").click()
    expect(page.get_by_label("Colour", exact=True)).to_have_value("#c2410c")
    expect(chat(site(page)).locator("ai-chat-widget")).to_have_css("--a4w-primary-color", "rgb(194, 65, 12)")

    group(page, "Language and sound")
    page.get_by_label("Language").select_option(label="Deutsch")
    expect(chat(site(page)).get_by_role("textbox", name="Nachricht schreiben …")).to_be_visible()

    group(page, "Placement")
    page.get_by_role("radio", name="Inline").check()
    expect(site(page).locator("#chat > [id^=a4-chat-widget]")).to_have_css("position", "relative")
    page.get_by_role("radio", name="Full page").check()
    expect(site(page).locator("html > [id^=a4-chat-widget]")).to_have_css("position", "fixed")


def test_the_preview_can_be_a_desktop_or_phone_light_or_dark(studio: Open) -> None:
    page = studio()
    window = chat(site(page)).locator("chat-window")
    expect(window).to_have_css("color-scheme", "light")
    view(page, "Website", "Dark")
    expect(window).to_have_css("color-scheme", "dark")
    view(page, "Device", "Phone")
    expect(page.locator("#preview")).to_have_css("width", "390px")


def test_the_window_opens_and_closes_from_outside_and_inside(studio: Open) -> None:
    page = studio()
    closed = page.get_by_role("radio", name="Closed")
    chat(site(page)).get_by_role("button", name="Close chat").click()
    expect(closed).to_be_checked()
    view(page, "Window", "Welcome")
    expect(chat(site(page)).get_by_role("dialog")).to_be_visible()


def test_the_preview_shows_a_conversation_and_an_error_in_each_theme(studio: Open) -> None:
    page = studio()
    inside = chat(site(page))
    view(page, "Window", "Conversation")
    expect(inside.get_by_role("heading", name="A heading")).to_be_visible()
    page.get_by_role("button", name="Terminal").click()
    expect(inside.locator("ai-chat-widget")).to_have_css("--a4w-primary-color", "rgb(61, 220, 132)")
    expect(inside.get_by_role("heading", name="A heading")).to_be_visible()
    view(page, "Window", "Error")
    expect(inside.get_by_role("button", name="Try again")).to_be_visible()
    expect(inside.get_by_role("heading", name="A heading")).to_have_count(0)
    view(page, "Window", "Welcome")
    expect(inside.get_by_text("How can I help")).to_be_visible()


def test_undo_reverts_one_step_at_a_time(studio: Open) -> None:
    page = studio()
    undo = page.get_by_role("button", name="Undo")
    expect(undo).to_be_disabled()
    page.get_by_role("button", name="Rust").click()
    page.get_by_role("button", name="Paper").click()
    expect(page.get_by_label("Colour", exact=True)).to_have_value("#8a4b2a")
    expect(chat(site(page)).locator("ai-chat-widget")).to_have_css("--a4w-primary-color", "rgb(138, 75, 42)")
    undo.click()
    expect(page.get_by_label("Colour", exact=True)).to_have_value("#c2410c")
    assert "--a4w-bg-color" not in snippet(page, "Script tag")
    page.get_by_role("button", name="Reset").click()
    expect(page.get_by_label("Colour", exact=True)).to_have_value("")
    undo.click()
    expect(page.get_by_label("Colour", exact=True)).to_have_value("#c2410c")


def test_a_colour_with_low_contrast_gets_a_better_suggestion(studio: Open) -> None:
    page = studio()
    page.get_by_role("button", name="Yellow").click()
    row = page.locator("#contrast li", has_text="On a light page")
    expect(row).to_contain_text("Too low: aim for 3")
    row.get_by_role("button").click()
    expect(row).to_contain_text("Good")
    expect(page.locator("#contrast li", has_text="Focus ring")).to_contain_text("Good")
    page.get_by_label("Colour", exact=True).fill("#ffffff")
    page.get_by_role("group", name="Theme").get_by_role("radio", name="Light").check()
    expect(page.locator("#contrast li", has_text="Focus ring")).to_contain_text("Too low")


def test_a_proactive_message_shows_beside_the_closed_bubble(studio: Open) -> None:
    page = studio()
    group(page, "Proactive message")
    page.get_by_label("Message beside the closed bubble").fill("Looking for a chair?")
    expect(chat(site(page)).get_by_role("button", name="Looking for a chair?")).to_be_visible()


def test_an_invalid_value_is_reported_and_not_used(studio: Open) -> None:
    page = studio("#title=Kept")
    page.get_by_label("Colour", exact=True).fill("reddish")
    expect(page.get_by_text("Not a valid CSS colour.").locator("visible=true")).to_have_count(1)
    expect(page.get_by_label("Colour", exact=True)).to_have_attribute("aria-invalid", "true")
    assert "color" not in snippet(page, "Script tag")
    page.get_by_label("Colour", exact=True).fill("rebeccapurple")
    expect(page.get_by_text("Not a valid CSS colour.").locator("visible=true")).to_have_count(0)
    assert 'data-color="rebeccapurple"' in snippet(page, "Script tag")
    assert json.loads(snippet(page, "Settings file")) == {"color": "#663399", "title": "Kept"}


@pytest.mark.parametrize("form", ["Script tag", "Object", "ES module"])
def test_the_snippet_reproduces_the_look_on_an_empty_page(studio: Open, host_pages: HostPages, form: str) -> None:
    page = studio()
    page.get_by_role("button", name="Teal").click()
    group(page, "Font, corners and backgrounds")
    page.get_by_label("Font").fill("'A </style> font', Georgia, serif")
    group(page, "Placement")
    page.get_by_text("Open on page load").click()
    page.get_by_label("Title").fill(HARD)
    page.get_by_label("Greeting").fill(f"First line\n{HARD}")
    page.get_by_label("Suggestions").fill(f"{HARD}\nAnother")  # the last change, which is waited for
    shown = chat(site(page))
    expect(shown.get_by_role("button", name=HARD)).to_be_visible()

    copied = snippet(page, form)
    body = f'<script type="module">{copied}</script>' if form == "ES module" else copied
    own = page.context.new_page()
    own.goto(host_pages.add(body=body))
    window = chat(own)
    for looked_at in (shown, window):
        expect(looked_at.get_by_role("dialog")).to_have_accessible_name(HARD)
        expect(looked_at.get_by_text("First line")).to_contain_text(HARD)
        for suggestion in (HARD, "Another"):
            expect(looked_at.get_by_role("button", name=suggestion, exact=True)).to_be_visible()
        assert colour(looked_at) == "rgb(15, 118, 110)"
    if form != "ES module":  # whose page has the variables in its own stylesheet
        fonts = [
            looked_at.locator("chat-window").evaluate("e => getComputedStyle(e).fontFamily")
            for looked_at in (shown, window)
        ]
        assert fonts[0] == fonts[1]
        assert "Georgia" in fonts[0]


def test_the_snippet_has_only_what_differs_from_the_defaults(studio: Open) -> None:
    page = studio()
    beginning = snippet(page, "Script tag")
    assert re.findall(r"data-[\w-]+", beginning) == ["data-api-key", "data-widget-id"]
    assert json.loads(snippet(page, "Settings file")) == {}
    page.get_by_label("Title").fill("Help")
    page.get_by_role("group", name="Theme").get_by_role("radio", name="Dark").check()
    page.get_by_label("Title").fill("")
    assert re.findall(r"data-[\w-]+", snippet(page, "Script tag"))[2:] == ["data-theme"]
    page.get_by_role("button", name="Reset").click()
    assert snippet(page, "Script tag") == beginning
    assert "#" not in page.url


def test_the_snippet_can_use_the_owners_own_widget(studio: Open) -> None:
    page = studio()
    page.get_by_label("Your widget id").fill("wgt_mine")
    page.get_by_label("Your public key").fill("a4_pub_mine")
    tag = snippet(page, "Script tag")
    assert 'data-api-key="a4_pub_mine" data-widget-id="wgt_mine"' in tag


def test_the_copy_buttons_work(context: BrowserContext, studio: Open) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = studio("#title=Shop")
    page.get_by_role("button", name="Copy", exact=True).click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == page.get_by_role("tabpanel").text_content()
    page.get_by_role("button", name="Copy link").click()
    page.wait_for_function("async () => (await navigator.clipboard.readText()) === location.href")


def test_a_link_restores_the_look(studio: Open) -> None:
    page = studio()
    page.get_by_label("Title").fill(HARD)
    page.get_by_label("Suggestions").fill("One?\nTwo?")
    page.get_by_role("button", name="Green").click()
    group(page, "Placement")
    page.get_by_role("radio", name="Left").check()
    again = studio(page.url[page.url.index("#") :])
    assert snippet(again, "Script tag") == snippet(page, "Script tag")
    expect(again.get_by_label("Title")).to_have_value(HARD)
    expect(chat(site(again)).get_by_role("dialog")).to_have_accessible_name(HARD)


def test_a_link_can_set_only_what_the_form_can(studio: Open) -> None:
    page = studio(f"#title={'x' * 200}&color=url(x)&mode=weird&icon=javascript:1&apiKey=theirs&apiUrl=//evil.test")
    expect(page.get_by_label("Title")).to_have_value("x" * 100)
    expect(chat(site(page)).get_by_role("dialog")).to_have_accessible_name("x" * 100)
    assert re.findall(r"data-[\w-]+", snippet(page, "Script tag"))[2:] == ["data-title"]


def test_an_uploaded_image_is_embedded_in_the_snippet(studio: Open) -> None:
    page = studio()
    expect(chat(site(page)).get_by_role("dialog")).to_be_visible()
    page.get_by_label("Upload an icon").set_input_files(ROOT / "docs/demonstration.png")
    view(page, "Window", "Closed")
    expect(chat(site(page)).get_by_role("button", name="Open chat").locator("img")).to_be_visible()
    found = re.search(r'data-icon="(data:image/[^"]+)"', snippet(page, "Script tag"))
    assert found
    assert len(found[1]) < 20_000


def test_the_snippets_tabs_work_by_keyboard(studio: Open) -> None:
    page = studio()
    page.get_by_role("tab", name="Script tag").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Object")).to_be_focused()
    expect(page.get_by_role("tabpanel", name="Object")).to_contain_text("A4ChatWidgetConfig")
    page.keyboard.press("End")
    expect(page.get_by_role("tab", name="Settings file")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("tab", name="Script tag")).to_have_attribute("aria-selected", "true")


@pytest.mark.parametrize("path", ["/", "/studio"])
def test_axe_finds_nothing_on_our_pages(context: BrowserContext, service: RunningService, path: str) -> None:
    """On a dark page, only the colours differ."""
    if not AXE.exists():
        skip_unless_required("axe-core is not installed: npm --prefix widget ci")
    page = context.new_page()
    page.goto(service.url + path)
    frames = [page.main_frame]
    if path == "/studio":
        expect(chat(site(page)).get_by_role("dialog")).to_be_visible()
        page.evaluate("document.querySelectorAll('details').forEach((group) => { group.open = true })")
        page.get_by_label("Colour", exact=True).fill("reddish")
        expect(page.get_by_text("Not a valid CSS colour.").first).to_be_visible()
        preview = page.frame(url=re.compile("/studio/preview$"))
        assert preview is not None
        frames.append(preview)
    else:
        expect(page.locator("[id^=a4-chat-widget]")).to_be_visible()
    for frame in frames:
        # `evaluate` runs in the page's world by eval, which is under its policy; a debugger's word is not.
        frame.evaluate(AXE.read_text())
        assert frame.evaluate(RUN_AXE, RULES) == []
    page.emulate_media(color_scheme="dark")
    if path == "/studio":
        view(page, "Website", "Dark")
        expect(chat(site(page)).locator("chat-window")).to_have_css("color-scheme", "dark")
    for frame in frames:
        assert frame.evaluate(RUN_AXE, COLOUR_RULES) == [], "dark"


@pytest.mark.parametrize("width", [320, 390, 768, 1920])
@pytest.mark.parametrize("path", ["/", "/studio"])
def test_no_page_is_wider_than_its_screen(
    context: BrowserContext, service: RunningService, path: str, width: int
) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(service.url + path)
    page.evaluate("document.querySelectorAll('details').forEach((group) => { group.open = true })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_first_screen_shows_the_open_chat_beside_the_headline_and_three_figures(
    context: BrowserContext, service: RunningService
) -> None:
    page = context.new_page()
    page.set_viewport_size({"width": 1280, "height": 800})
    page.goto(service.url)
    expect(chat(page).get_by_role("dialog")).to_be_visible()
    for figure in ("4.4 KB", "0", "19"):
        expect(page.get_by_role("definition").get_by_text(figure, exact=True)).to_be_in_viewport()
    boxes = [page.locator(of).bounding_box() for of in ("h1", "main", "[id^=a4-chat-widget] iframe")]
    (headline, main, window) = (box for box in boxes if box)
    assert headline["y"] < window["y"] + window["height"]
    assert main["x"] + main["width"] <= window["x"]
    chat(page).get_by_role("button", name="Close chat").click()
    expect(chat(page).get_by_role("button", name="Open chat")).to_be_visible()


def test_the_bubble_has_no_white_box_on_a_dark_page(context: BrowserContext, service: RunningService) -> None:
    """A frame of another colour scheme than its document's gets an opaque backdrop (CSS Color Adjust, section 2.4)."""
    page = context.new_page()
    page.emulate_media(color_scheme="dark")
    page.set_viewport_size({"width": 1000, "height": 800})  # on wider ones the chat is open
    page.goto(service.url)
    expect(chat(page).get_by_role("button", name="Open chat")).to_be_visible()
    frame: Locator = page.locator("[id^=a4-chat-widget] iframe")
    expect(frame).to_have_css("color-scheme", "light")
    expect(chat(page).locator("html")).to_have_css("color-scheme", "normal")
