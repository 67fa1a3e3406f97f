"""The window's layout: header, past conversations, widths, font sizes, and opening."""

import re

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from browser import Provider, Visit, answered, ask_and_wait

pytest_plugins = ["visitor"]

PHONE = {"has_touch": True, "viewport": {"width": 390, "height": 844}}
MOVING = {"reduced_motion": "no-preference"}


def box(locator: Locator) -> tuple[float, float, float, float]:
    """Left, top, right and bottom."""
    found = locator.bounding_box()
    assert found
    return found["x"], found["y"], found["x"] + found["width"], found["y"] + found["height"]


def test_a_pencil_begins_a_new_conversation_once_there_is_one(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    controls = chat.inside.get_by_role("group", name="Chat controls")
    pencil = controls.get_by_role("button", name="New conversation")
    expect(controls.get_by_role("button", name="More")).to_be_visible()
    expect(pencil).to_have_count(0)
    answered(chat, provider, "One?", "1")
    chat.button("More").click()
    expect(chat.button("Past conversations")).to_be_visible()
    expect(chat.button("New conversation")).to_have_count(1)
    pencil.click()
    expect(chat.questions).to_have_count(0)
    expect(chat.button("Past conversations")).to_have_count(0)
    expect(pencil).to_have_count(0)
    expect(chat.field).to_be_focused()


def test_the_pencil_leaves_the_list_of_past_conversations(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.choose("Past conversations")
    expect(chat.button("Back")).to_be_focused()
    chat.button("New conversation").click()
    expect(chat.inside.get_by_text("How can I help you today?")).to_be_visible()
    expect(chat.field).to_be_focused()


@pytest.mark.parametrize("context", [{"timezone_id": "Europe/London", "locale": "en-GB"}], indirect=True)
def test_past_conversations_are_grouped_by_day_and_the_current_one_is_marked(
    visit: Visit, context: BrowserContext, provider: Provider
) -> None:
    context.clock.install(time="2026-03-30T13:52:00Z")
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.button("New conversation").click()
    context.clock.fast_forward(3 * 86_400_000)
    answered(chat, provider, "Two?", "2")
    chat.button("New conversation").click()
    context.clock.fast_forward(60_000)
    answered(chat, provider, "Three?", "3")
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("heading", level=3)).to_have_text(["today", "30 March 2026"])
    listed = chat.inside.get_by_role("list")
    expect(listed.first.get_by_role("listitem")).to_have_text([re.compile("Three?.*14:53"), re.compile("Two?.*14:52")])
    expect(listed.last.get_by_role("listitem")).to_have_text([re.compile("One?.*14:52")])
    current = chat.inside.locator("[aria-current]")
    expect(current).to_have_count(1)
    expect(current).to_contain_text("Three?")
    expect(current).to_have_attribute("aria-current", "true")


def test_in_page_mode_no_line_is_too_wide_to_read(visit: Visit, provider: Provider) -> None:
    chat = visit(
        """data-mode=page data-follow-ups='["And then?"]' data-suggestions='["Where is it?"]' data-handoff="form" """
    )
    expect(chat.field).to_be_visible()
    left, _, right, _ = box(chat.button("Where is it?"))
    assert right - left == 720
    answered(chat, provider, "One?", "1")
    edges = {
        "the chips": box(chat.button("And then?").locator(".."))[::2],
        "the field": box(chat.field.locator(".."))[::2],
    }
    chat.choose("Delete conversation")
    edges["the card"] = box(chat.inside.get_by_role("alertdialog"))[::2]
    chat.button("Cancel").click()
    chat.choose("Past conversations")
    edges["a row"] = box(chat.inside.get_by_role("listitem"))[::2]
    assert edges == dict.fromkeys(edges, (280, 1000))


@pytest.mark.parametrize("position", ["bottom-right", "bottom-left"])
@pytest.mark.parametrize("context", [MOVING], indirect=True)
def test_the_window_grows_out_of_the_bubbles_corner(visit: Visit, position: str) -> None:
    chat = visit(f"data-position={position}")
    chat.open()
    expect(chat.iframe).to_have_css("animation-duration", "0.24s")
    expect(chat.iframe).to_have_css("animation-timing-function", "cubic-bezier(0.2, 0.8, 0.2, 1)")
    expect(chat.iframe).to_have_css("transform-origin", "400px 640px" if position == "bottom-right" else "0px 640px")


def test_an_answer_is_twelve_pixels_below_its_question(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    question = box(chat.questions.locator(".."))
    assert box(chat.answers.locator(".."))[1] - question[3] == 12
    expect(chat.inside.get_by_text("AI can make mistakes.")).to_have_css("font-size", "12px")


@pytest.mark.parametrize("context", [{}, PHONE], indirect=True, ids=["mouse", "fingers"])
def test_icons_below_an_answer_are_aligned_with_its_text(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    assert box(chat.button("Copy").locator("svg"))[0] == box(chat.answers)[0]


def test_text_grows_with_the_browsers_font_size(visit: Visit, provider: Provider) -> None:
    """As with the browser's own setting, which a test can't change."""
    chat = visit("data-suggestions='[\"Where is it?\"]'")
    chat.open()
    chip = chat.button("Where is it?")
    heading = chat.inside.get_by_role("heading", name="Chat", exact=True)
    note = chat.inside.get_by_text("AI can make mistakes.")

    def sizes() -> list[float]:
        return [
            what.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
            for what in (chip, heading, note, chat.field)
        ]

    before = sizes()
    chat.frame.evaluate("document.documentElement.style.fontSize = '24px'")
    assert sizes() == [size * 1.5 for size in before]
    answered(chat, provider, "One?", "1")
    expect(chat.answers).to_have_css("font-size", "22.5px")


def test_long_code_fades_at_the_edge_until_scrolled_to_its_end(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    ask_and_wait(chat, provider, "Code?", f"```\nshort\n```\n\n```\n{'long ' * 12}\n```")
    short, long = chat.answers.locator("pre").all()
    expect(short).to_have_css("mask-image", "none")
    expect(long).to_have_css("mask-image", re.compile("^linear-gradient"))
    long.evaluate("pre => { pre.scrollLeft = pre.scrollWidth }")
    expect(long).to_have_css("mask-image", "none")
    long.evaluate("pre => { pre.scrollLeft = 0 }")
    expect(long).to_have_css("mask-image", re.compile("^linear-gradient"))
    # A larger window has room for it.
    chat.button("Expand").click()
    expect(long).to_have_css("mask-image", "none")


def test_a_failure_is_shown_even_on_screens_too_low_for_the_footer(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.page.set_viewport_size({"width": 844, "height": 390})
    chat.bubble.click()
    answered(chat, provider, "One?", "1")
    expect(chat.inside.get_by_text("AI can make mistakes.")).to_be_hidden()
    chat.page.route("**/api/v1/messages/*/feedback", lambda route: route.abort())
    chat.button("Helpful").click()
    expect(chat.inside.locator("footer")).to_have_text("Something went wrong. Please try again.")
    expect(chat.inside.locator("footer")).to_be_visible()


def test_everything_is_reachable_on_a_screen_200_pixels_high(visit: Visit, provider: Provider) -> None:
    chat = visit('data-sound="true" data-handoff="help@shop.example"')
    chat.page.set_viewport_size({"width": 844, "height": 200})
    chat.bubble.click()
    answered(chat, provider, "One?", "1")
    chat.choose("Delete conversation")
    for name in ("Delete", "Cancel"):
        expect(chat.inside.get_by_role("button", name=name, exact=True)).to_be_in_viewport(ratio=1)
    chat.button("Cancel").click()
    chat.field.fill("This is a long story. " * 100)
    expect(chat.button("Send message")).to_be_in_viewport(ratio=1)
    expect(chat.button("Close chat")).to_be_in_viewport(ratio=1)


def test_the_header_shows_its_state_in_one_line_on_a_narrow_screen(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.page.set_viewport_size({"width": 320, "height": 568})
    chat.open()
    answered(chat, provider, "One?", "1")
    state = chat.inside.get_by_text("Ready to help")
    expect(chat.button("New conversation")).to_be_visible()
    _, top, _, bottom = box(state)
    assert bottom - top < 24
    assert state.evaluate("element => element.scrollWidth === element.clientWidth")
