"""The chat with a screen reader, a keyboard, touch or reduced contrast vision."""

import re

import pytest
from playwright.sync_api import BrowserContext, Locator, expect

from browser import Chat, Provider, Visit, answered, ask_and_wait

pytest_plugins = ["visitor"]

FINGERS = {"has_touch": True, "viewport": {"width": 820, "height": 1180}}

# The names and texts of the live regions.
LIVE_TEXT = """() => {
    const roots = [document];
    for (const root of roots) roots.push(...[...root.querySelectorAll('*')].flatMap((e) => e.shadowRoot ?? []));
    return roots.flatMap((root) => [...root.querySelectorAll('[aria-live=polite]')]).map((e) => e.textContent).join('');
}"""

# The WCAG contrast of two colours; the browser parses every notation.
CONTRAST = """([one, other]) => {
    const context = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true });
    const luminance = (colour) => {
        context.fillStyle = colour;
        context.fillRect(0, 0, 1, 1);
        const [r, g, b] = [...context.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => value / 255)
            .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const [light, dark] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
}"""


def says(chat: Chat, text: str) -> None:
    chat.frame.wait_for_function(f"text => ({LIVE_TEXT})().includes(text)", arg=text)


def css(locator: Locator, name: str) -> str:
    value: str = locator.evaluate("(element, name) => getComputedStyle(element)[name]", name)
    return value


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("color", ["#ffffff", "#000000", "#ffe600", "#4f46e5", "#d0d7de", "#808080"])
def test_the_focus_is_visible_in_any_colour_that_the_owner_chooses(visit: Visit, theme: str, color: str) -> None:
    chat = visit(f"data-theme={theme} data-color={color}")
    chat.open()
    background = css(chat.window, "backgroundColor")
    form = chat.field.locator("..")
    rings = [css(form, "borderTopColor")]
    chat.page.keyboard.press("Shift+Tab")
    rings.append(css(chat.log, "outlineColor"))
    rings.append(css(form, "borderTopColor"))
    chat.until_still()
    assert all(chat.frame.evaluate(CONTRAST, [ring, background]) >= 3 for ring in rings), rings


def test_copying_and_its_failure_are_announced(visit: Visit, context: BrowserContext, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.answer("Text.\n\n```\ncode\n```")
    chat.ask("Code?")
    chat.button("Copy code").click()
    says(chat, "Copied")
    chat.frame.evaluate(
        """() => {
            navigator.clipboard.writeText = () => Promise.reject(new Error('denied'));
            document.execCommand = () => false;
        }"""
    )
    chat.button("Copy code").click()
    says(chat, "Couldn’t copy")
    expect(chat.inside.get_by_text("Couldn’t copy").first).to_be_visible()


def test_deleting_and_its_failure_are_announced(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    delete = chat.inside.get_by_role("button", name="Delete", exact=True)
    chat.page.route("**/api/v1/conversations/*", lambda route: route.abort())
    chat.choose("Delete conversation")
    delete.click()
    says(chat, "Couldn’t delete this conversation.")
    chat.page.unroute("**/api/v1/conversations/*")
    chat.choose("Delete conversation")
    delete.click()
    says(chat, "Conversation deleted")


def test_announcements_are_cleared_after_a_while(visit: Visit, context: BrowserContext, provider: Provider) -> None:
    context.clock.install()
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "An answer.")
    says(chat, "Answer complete.")
    context.clock.fast_forward(11_000)
    chat.frame.wait_for_function(f"() => ({LIVE_TEXT})() === ''")
    expect(chat.answers).to_have_text("An answer.")


def test_questions_and_answers_have_headings_and_a_models_are_below_them(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    markdown = "# Shipping\n\nText.\n\n## To Norway\n\nText.\n\n###### Small\n\nUnderlined\n===\n\nText."
    ask_and_wait(chat, provider, "Well?", markdown)
    heading = chat.inside.get_by_role("heading")
    expect(heading).to_have_text(["Chat", "You said:", "Answer:", "Shipping", "To Norway", "Small", "Underlined"])
    for level, name in [(1, "Chat"), (2, "You said:"), (2, "Answer:"), (3, "Shipping"), (4, "To Norway"), (6, "Small")]:
        expect(chat.inside.get_by_role("heading", level=level, name=name)).to_have_count(1)
    # They are announced but not visible.
    assert css(chat.inside.get_by_role("heading", name="You said:"), "clipPath") == "inset(50%)"


def test_only_scrollable_parts_are_focusable_and_named(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    row = "|" + " a cell of a table |" * 4
    rule = "|" + " --- |" * 4
    ask_and_wait(
        chat,
        provider,
        "Tables and code?",
        f"| a | b |\n| - | - |\n| 1 | 2 |\n\nText.\n\n{row}\n{rule}\n{row}\n\n```\nx\n```\n\n```\n{'x' * 60}\n```",
    )
    small, large = chat.answers.locator(".table").all()
    short, long = chat.answers.locator("pre").all()
    for part, name in ((large, "Table"), (long, "Code")):
        expect(part).to_have_attribute("tabindex", "0")
        expect(part).to_have_role("group")
        expect(part).to_have_accessible_name(name)
    for part in (small, short):
        assert part.evaluate("element => element.getAttributeNames()") in (["class"], ["class", "dir"], [])
    long.focus()
    expect(long).to_be_focused()
    chat.button("Expand").click()
    expect(chat.answers.get_by_role("group", name="Table")).to_have_count(0)
    expect(large).not_to_have_attribute("tabindex", "0")


def test_tasks_say_whether_they_are_done(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    ask_and_wait(chat, provider, "What is done?", "- [x] Packed\n- [ ] Sent\n\n1. [X] Paid")
    items = chat.answers.get_by_role("listitem")
    expect(items).to_have_text(["Packed", "Sent", "Paid"])
    states = [
        item.get_by_role("checkbox", name="Task", checked=done)
        for item, done in zip(items.all(), (True, False, True), strict=True)
    ]
    for state in states:
        expect(state).to_have_count(1)
        expect(state).to_be_disabled()


def test_controls_of_an_answer_are_a_group_and_edit_follows_its_question(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    actions = chat.log.get_by_role("group", name="Answer actions")
    for name in ("Copy", "Regenerate", "Helpful", "Not helpful"):
        expect(actions.get_by_role("button", name=name, exact=True)).to_have_count(1)
    edit = chat.button("Edit question")
    assert chat.questions.evaluate(
        "(question, edit) => question.compareDocumentPosition(edit) === Node.DOCUMENT_POSITION_FOLLOWING",
        edit.element_handle(),
    )
    question, pen = chat.questions.bounding_box(), edit.bounding_box()
    assert question and pen and pen["x"] < question["x"]


@pytest.mark.parametrize("context", [FINGERS], indirect=True)
def test_the_copy_code_button_is_large_enough_for_fingers(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    ask_and_wait(chat, provider, "Code?", "```\ncode\n```")
    box = chat.button("Copy code").bounding_box()
    assert box and box["height"] >= 44 and box["width"] >= 44


@pytest.mark.parametrize("context", [{"timezone_id": "Europe/London"}], indirect=True)
def test_the_list_of_past_conversations_is_named_by_its_heading(
    visit: Visit, context: BrowserContext, provider: Provider
) -> None:
    context.clock.install(time="2026-03-30T13:52:00Z")  # the day does not end meanwhile
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("heading", level=2, name="Past conversations")).to_be_visible()
    expect(chat.inside.get_by_role("heading", level=3)).to_have_text("today")
    expect(chat.inside.get_by_role("button", name=re.compile("^One\\? today"))).to_have_attribute(
        "aria-current", "true"
    )
