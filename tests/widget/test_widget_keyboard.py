"""The chat with only a keyboard, with an input method, and on a phone."""

from typing import Literal

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from browser import Chat, Provider, Visit, answered

pytest_plugins = ["visitor"]

REDUCED_MOTION = "no-preference"

TALL = '<div style="height: 5000px"></div>'
PHONE = {"has_touch": True, "viewport": {"width": 390, "height": 844}}
LYING_PHONE = {"has_touch": True, "viewport": {"width": 844, "height": 390}}
TABLET = {"has_touch": True, "viewport": {"width": 820, "height": 1180}}


def test_everything_works_by_keyboard_and_escape_returns_the_focus(visit: Visit, provider: Provider) -> None:
    chat = visit(body='<a href="#next">A link of the page</a>')
    chat.bubble.wait_for()
    chat.page.keyboard.press("Tab")
    expect(chat.page.get_by_role("link")).to_be_focused()
    chat.page.keyboard.press("Tab")
    expect(chat.bubble).to_be_focused()
    chat.page.keyboard.press("Enter")
    expect(chat.field).to_be_focused()

    provider.answer("By keys.")
    chat.page.keyboard.type("No mouse?")
    chat.page.keyboard.press("Enter")
    expect(chat.answers).to_have_text("By keys.")
    expect(chat.field).to_be_focused()

    chat.page.keyboard.press("Escape")
    expect(chat.window).to_be_hidden()
    expect(chat.bubble).to_be_focused()
    chat.page.keyboard.press("Space")
    expect(chat.field).to_be_focused()


def test_every_focused_control_shows_it(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "A question?", "An answer.")
    seen = set()
    for _ in range(14):
        chat.page.keyboard.press("Tab")
        focused = _focused(chat)
        if focused is None:
            break
        assert focused["shown"], f"{focused['name']} does not show that it has the focus"
        seen.add(focused["name"])
    chat.field.focus()
    for _ in range(14):
        chat.page.keyboard.press("Shift+Tab")
        focused = _focused(chat)
        if focused is None:
            break
        assert focused["shown"], f"{focused['name']} does not show that it has the focus"
        seen.add(focused["name"])
    assert seen >= {
        "Close chat",
        "Expand",
        "More",
        "Conversation",
        "Edit question",
        "Copy",
        "Regenerate",
        "Helpful",
    }


def _focused(chat: Chat) -> dict[str, str] | None:
    """The focused element's name, and whether an outline or shadow marks it."""
    found: dict[str, str] | None = chat.frame.evaluate(
        """() => {
            let element = document.hasFocus() ? document.activeElement : null;
            while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
            if (!element || element === document.body) return null;
            const marked = (node) => {
                const style = getComputedStyle(node);
                return style.outlineStyle !== 'none' || style.boxShadow !== 'none';
            };
            const name = element.ariaLabel ?? element.textContent.trim();
            return { name, shown: marked(element) || marked(element.closest('form') ?? element) };
        }"""
    )
    return found


def test_shift_enter_inserts_a_line_break(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    chat.page.keyboard.type("One")
    chat.page.keyboard.press("Shift+Enter")
    chat.page.keyboard.type("Two")
    expect(chat.field).to_have_value("One\nTwo")
    provider.answer("Both.")
    chat.page.keyboard.press("Enter")
    expect(chat.answers).to_have_text("Both.")
    assert provider.asked[0]["messages"][-1]["content"] == "One\nTwo"


@pytest.mark.parametrize(
    ("composing", "ended_before"),
    [(True, False), (False, True)],
    ids=["composition ends after the key", "composition ends before the key, as in Safari"],
)
def test_enter_during_ime_composition_sends_nothing(
    visit: Visit, provider: Provider, composing: bool, ended_before: bool
) -> None:
    chat = visit()
    chat.open()
    field = chat.field
    field.dispatch_event("compositionstart")
    field.fill("東京")
    if ended_before:
        field.dispatch_event("compositionend", {"data": "東京"})
    field.dispatch_event("keydown", {"key": "Enter", "keyCode": 229, "isComposing": composing})
    if not ended_before:
        field.dispatch_event("compositionend", {"data": "東京"})
    expect(field).to_have_value("東京")
    expect(chat.questions).to_have_count(0)
    provider.answer("はい。")
    field.press("Enter")
    expect(chat.questions).to_have_text(["東京"])
    expect(chat.answers).to_have_text("はい。")


@pytest.mark.parametrize("composing", [True, False], ids=["during it", "right after it, as in Safari"])
def test_escape_in_ime_composition_does_not_close_the_window(visit: Visit, provider: Provider, composing: bool) -> None:
    chat = visit()
    chat.page.emulate_media(reduced_motion="reduce")  # nothing stays to be seen while it closes
    chat.open()
    chat.field.dispatch_event("keydown", {"key": "Escape", "keyCode": 229, "isComposing": composing})
    provider.answer("はい。")
    chat.ask("東京")
    expect(chat.answers).to_have_text("はい。")
    expect(chat.window).to_be_visible()


def test_a_control_that_disappears_when_pressed_leaves_the_focus_in_the_conversation(
    visit: Visit, provider: Provider
) -> None:
    chat = visit("""data-suggestions='["Where is it?"]'""")
    chat.open()

    def press(name: str) -> None:
        chat.button(name).focus()
        chat.page.keyboard.press("Enter")

    provider.answer("Here.")
    press("Where is it?")
    expect(chat.answers).to_have_text("Here.")
    expect(chat.log).to_be_focused()

    provider.refuse(401)
    press("Regenerate")
    expect(chat.button("Try again")).to_be_visible()
    expect(chat.log).to_be_focused()

    provider.answer("\n\n".join(f"Line {number}" for number in range(80)))
    press("Try again")
    expect(chat.answers).to_contain_text("Line 79")
    expect(chat.log).to_be_focused()

    press("Not helpful")
    comment = chat.log.get_by_role("textbox")
    comment.fill("Thanks.")
    comment.press("Enter")
    expect(comment).to_have_count(0)
    expect(chat.log).to_be_focused()

    chat.page.keyboard.press("Home")
    press("Jump to latest")
    expect(chat.log).to_be_focused()
    chat.page.keyboard.press("Escape")
    expect(chat.bubble).to_be_focused()


def test_escape_closes_the_window_after_a_click_on_something_unfocusable(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.inside.get_by_role("heading", name="Chat").click()
    expect(chat.field).not_to_be_focused()
    chat.page.keyboard.press("Escape")
    expect(chat.bubble).to_be_focused()
    chat.bubble.press("Escape")
    chat.bubble.press("Enter")
    expect(chat.field).to_be_focused()


def test_blank_and_overlong_messages_are_not_sent(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.field.fill("  \n ")
    expect(chat.button("Send message")).to_be_disabled()
    chat.field.press("Enter")
    expect(chat.questions).to_have_count(0)
    chat.field.fill("x" * 3990)
    expect(chat.inside.get_by_text("10 characters left")).to_be_visible()
    chat.field.fill("x" * 4001)
    expect(chat.inside.get_by_text("1 character too many")).to_be_visible()
    chat.field.press("Enter")
    expect(chat.questions).to_have_count(0)


def test_a_window_opened_by_the_page_does_not_steal_the_focus(visit: Visit) -> None:
    chat = visit("data-open", body="<input autofocus aria-label='Search'>")
    expect(chat.window).to_be_visible()
    expect(chat.page.get_by_label("Search")).to_be_focused()


def test_on_a_phone_the_window_fills_the_screen_until_it_is_closed(
    visit: Visit, context: BrowserContext, provider: Provider
) -> None:
    chat = visit()
    chat.page.set_viewport_size({"width": 390, "height": 844})
    chat.open()
    expect(chat.iframe).to_have_css("border-radius", "0px")
    assert _box(chat.host) == (0, 0, 390, 844)
    for name in ("Close chat", "Send message"):
        _, _, width, height = _box(chat.button(name))
        assert min(width, height) >= 44, f"{name} is too small for a finger"
    expect(chat.window).to_have_attribute("aria-modal", "true")
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()
    left, top, width, height = _box(chat.host)
    assert (left + width, top + height) == (374, 828)
    assert max(width, height) <= 64


@pytest.mark.parametrize("context", [LYING_PHONE], indirect=True)
def test_on_a_short_screen_the_keyboard_opens_only_when_the_field_is_pressed(visit: Visit) -> None:
    chat = visit()
    chat.bubble.click()
    expect(chat.button("More")).to_be_focused()
    expect(chat.field).to_be_visible()


@pytest.mark.parametrize("context", [PHONE], indirect=True)
def test_on_a_high_screen_the_field_has_the_focus_though_the_frame_is_still_as_small_as_the_bubble(
    visit: Visit, context: BrowserContext
) -> None:
    """The focus may come before the frame has its size."""
    context.add_init_script(
        """if (parent !== window) {
            const { matchMedia } = window;
            window.matchMedia = (query) => matchMedia(query.replace(/\\(max-height:[^)]*\\)/, '(min-height:0px)'));
        }"""
    )
    chat = visit()
    chat.bubble.click()
    expect(chat.field).to_be_focused()


@pytest.mark.parametrize(
    ("context", "attributes"),
    [(TABLET, ""), (PHONE, "data-mode=inline"), (TABLET, "data-mode=inline")],
    indirect=["context"],
)
def test_touch_targets_are_large_enough(visit: Visit, provider: Provider, attributes: str) -> None:
    """Also, Safari zooms in, and stays zoomed, for a field with text smaller than 16 px."""
    chat = visit(f"""{attributes} data-handoff=help@shop.example data-follow-ups='["And then?"]'""")
    if not attributes:
        chat.open()
    expect(chat.field).to_have_css("font-size", "16px")
    provider.answer("An answer.")
    chat.ask("A question?")
    expect(chat.button("And then?")).to_be_visible()
    for button in chat.inside.get_by_role("button").all():
        _, _, width, height = _box(button)
        assert min(width, height) >= 44, f"{button.get_attribute('title')} is too small for a finger"
    chat.button("More").click()
    assert _box(chat.inside.get_by_role("link", name="Talk to a person"))[3] >= 44
    chat.button("More").click()
    chat.button("Not helpful").click()
    expect(chat.log.get_by_role("textbox")).to_have_css("font-size", "16px")


@pytest.mark.parametrize("context", [PHONE], indirect=True)
def test_an_inline_conversation_lets_the_page_scroll(visit: Visit) -> None:
    """Both when it has nothing to scroll, and at its end."""
    chat = visit("data-mode=inline data-target=main", body=TALL)
    chat.page.locator("main").evaluate("main => { main.style.height = '600px' }")
    expect(chat.field).to_be_visible()
    _swipe_up(chat, chat.log)
    chat.page.wait_for_function("() => scrollY > 50")
    chat.log.hover()
    before = chat.page.evaluate("scrollY")
    chat.page.mouse.wheel(0, 100)
    chat.page.wait_for_function("before => scrollY > before", arg=before)


@pytest.mark.parametrize("place", ["heading", "log", "textbox"])
@pytest.mark.parametrize("context", [PHONE], indirect=True)
def test_a_window_that_covers_the_page_stops_it_from_scrolling(
    visit: Visit, place: Literal["heading", "log", "textbox"]
) -> None:
    chat = visit(body=TALL)
    chat.open()
    _swipe_up(chat, chat.inside.get_by_role(place))
    assert chat.page.evaluate("scrollY") == 0


def test_tab_does_not_leave_a_window_that_covers_the_page(visit: Visit) -> None:
    chat = visit(body="<a href='#covered'>Covered</a>")
    chat.page.set_viewport_size({"width": 390, "height": 844})
    chat.open()
    more = chat.button("More")
    last = chat.button("Send message")
    chat.field.fill("Something")
    for _ in range(2):
        last.focus()
        chat.page.keyboard.press("Tab")
        expect(more).to_be_focused()
    chat.page.keyboard.press("Shift+Tab")
    expect(chat.field).to_be_focused()


def test_a_text_size_of_300_percent_fits_the_window(visit: Visit) -> None:
    chat = visit()
    chat.page.set_viewport_size({"width": 427, "height": 267})
    chat.open()
    left, top, width, height = _box(chat.host)
    assert left >= 0 and top >= 0 and left + width <= 427 and top + height <= 267
    expect(chat.field).to_be_in_viewport()


def test_a_long_note_scrolls_at_400_percent_zoom(visit: Visit) -> None:
    note = "We keep what you write. " * 20
    chat = visit(f'data-consent=true data-privacy="{note}"')
    chat.page.set_viewport_size({"width": 320, "height": 256})
    chat.bubble.click()
    expect(chat.button("Agree and start")).to_be_focused()
    expect(chat.button("Close chat")).to_be_in_viewport(ratio=1)
    expect(chat.button("Agree and start")).to_be_in_viewport(ratio=1)
    chat.until_still()
    chat.inside.get_by_text("We keep").hover()
    chat.page.mouse.wheel(0, -2000)
    chat.frame.wait_for_function(
        "() => document.querySelector('ai-chat-widget').shadowRoot.querySelector('chat-window')"
        ".shadowRoot.querySelector('.consent').scrollTop === 0"
    )
    consent = chat.inside.locator(".consent")
    _, top, _, height = _box(consent)
    _, note_top, _, _ = _box(chat.inside.get_by_text("We keep"))
    assert top <= note_top <= top + height
    expect(consent).to_be_in_viewport(ratio=1)
    # Nothing of the conversation, for which there is no room, covers it.
    assert consent.evaluate(
        """(consent) => {
            const { left, right, top } = consent.getBoundingClientRect();
            return consent.getRootNode().elementFromPoint((left + right) / 2, top + 4) === consent;
        }"""
    )
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()


def _swipe_up(chat: Chat, what: Locator) -> None:
    """Drags a finger from something upwards; returns when the page has had the time to follow it."""
    touches = chat.page.context.new_cdp_session(chat.page)
    left, top, width, height = _box(what)
    at = {"x": left + width / 2, "y": top + height / 2}

    def touch(kind: str, *points: dict[str, float]) -> None:
        touches.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

    touch("touchStart", at)
    for distance in range(10, 150, 10):
        touch("touchMove", {**at, "y": at["y"] - distance})
    touch("touchCancel")  # unlike the end of a touch, it lets nothing go on moving
    chat.page.evaluate("new Promise((frame) => requestAnimationFrame(() => requestAnimationFrame(frame)))")


def _box(locator: Locator) -> tuple[float, float, float, float]:
    box = locator.bounding_box()
    assert box is not None
    return box["x"], box["y"], box["width"], box["height"]
