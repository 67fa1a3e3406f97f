"""axe-core finds no problem in any state of the chat, and assistive technology gets the right announcements."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import pytest
from playwright.sync_api import Frame, expect

from browser import WIDGET, Chat, Provider, Visit, answer_in_progress
from required import skip_unless_required
from service.testing.chunks import data

pytest_plugins = ["visitor"]

AXE = WIDGET / "node_modules" / "axe-core" / "axe.min.js"
RULES = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
COLOUR_RULES = ("color-contrast", "link-in-text-block")
# The frame is one region of the host page, so rules about a page's headings and landmarks don't apply.
RUN_AXE = """async (runOnly) => {
    const found = await axe.run(document, {
        runOnly,
        rules: Object.fromEntries(
            ['region', 'page-has-heading-one', 'landmark-one-main'].map((rule) => [rule, { enabled: false }])),
    });
    return found.violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.html + node.failureSummary)]);
}"""

# In shadow trees, too.
ANIMATIONS = """(() => {
    const roots = [document];
    for (const root of roots) {
        for (const element of root.querySelectorAll('*')) if (element.shadowRoot) roots.push(element.shadowRoot);
    }
    return roots.flatMap((root) => root.getAnimations());
})()"""
# Check colours after transitions have ended.
AT_REST = f"() => {ANIMATIONS}.every((animation) => animation.effect.getTiming().iterations === Infinity)"

# Collects a screen reader's announcements in `said`.
LISTEN = """() => {
    window.said = [];
    const roots = [document];
    for (const root of roots) roots.push(...[...root.querySelectorAll('*')].flatMap((e) => e.shadowRoot ?? []));
    for (const root of roots)
        for (const region of root.querySelectorAll('[aria-live=polite]'))
            new MutationObserver(() => region.textContent && said.push(region.textContent))
                .observe(region, { childList: true, characterData: true, subtree: true });
}"""

Check = Callable[..., None]
CheckThemes = Callable[[Chat], None]


@pytest.fixture
def check() -> Iterator[Check]:
    """Assert that axe-core finds no problem in a frame."""
    if not AXE.exists():
        skip_unless_required("axe-core is not installed: npm --prefix widget ci")
    source = AXE.read_text()

    def run(frame: Frame, rules: Sequence[str] = RULES) -> None:
        if not frame.evaluate("'axe' in window"):
            frame.evaluate(source)
        frame.wait_for_function(AT_REST)
        found: list[Any] = frame.evaluate(RUN_AXE, rules)
        assert found == []

    yield run


@pytest.fixture
def check_themes(check: Check) -> CheckThemes:
    """Assert that axe-core finds no problem in the frame in the light theme, nor in the colours of the dark one."""

    def run(chat: Chat) -> None:
        check(chat.frame)
        use(chat, "dark")
        check(chat.frame, COLOUR_RULES)
        use(chat, "light")

    def use(chat: Chat, theme: str) -> None:
        chat.page.evaluate("theme => A4ChatWidget.set({ theme })", theme)
        expect(chat.inside.locator("chat-window")).to_have_css("color-scheme", theme)

    return run


def test_axe_finds_nothing_in_any_state(
    visit: Visit, provider: Provider, check: Check, check_themes: CheckThemes
) -> None:
    chat = visit("""data-theme="light" data-suggestions='["Where is it?"]' data-sound="true" data-privacy="A note." """)
    expect(chat.bubble).to_be_visible()
    check(chat.frame)
    check(chat.page.main_frame)

    chat.open()
    check_themes(chat)
    check(chat.page.main_frame)

    answer = answer_in_progress(chat, provider, "A question?", "An answer that")
    check_themes(chat)
    answer.say(" is complete.")
    answer.end()
    expect(chat.button("Copy")).to_be_visible()
    check_themes(chat)

    provider.refuse(401)
    chat.ask("Another?")
    expect(chat.button("Try again")).to_be_visible()
    check_themes(chat)

    chat.choose("Delete conversation")
    expect(chat.button("Cancel")).to_be_focused()
    check_themes(chat)
    chat.page.keyboard.press("Escape")

    chat.button("Not helpful").first.click()
    expect(chat.log.get_by_role("textbox")).to_be_visible()
    check_themes(chat)
    chat.button("Edit question").click()
    expect(chat.button("Cancel")).to_be_visible()
    check_themes(chat)
    chat.page.keyboard.press("Escape")

    chat.button("More").click()
    expect(chat.button("Sound")).to_be_visible()
    check_themes(chat)
    chat.button("Past conversations").click()
    expect(chat.button("Back")).to_be_focused()
    check_themes(chat)
    chat.button(re.compile("^Delete “")).click()
    expect(chat.inside.get_by_role("button", name="Delete", exact=True)).to_be_visible()
    check_themes(chat)
    chat.button("Back").click()

    chat.page.context.set_offline(True)
    expect(chat.inside.locator(".offline")).to_be_visible()
    check_themes(chat)
    chat.page.context.set_offline(False)


def test_axe_finds_nothing_before_consent_and_in_a_formatted_answer(
    visit: Visit, provider: Provider, check_themes: CheckThemes
) -> None:
    chat = visit(
        """data-theme="light" data-consent="true" data-privacy-url="https://shop.example/privacy"
        data-handoff="help@shop.example" data-follow-ups='["And then?"]'"""
    )
    chat.bubble.click()
    expect(chat.button("Agree and start")).to_be_focused()
    check_themes(chat)
    chat.button("Agree and start").click()
    answer = provider.answer()
    answer.say(
        "# Title\n\nText with `code`, [a link](https://example.com) and *more* [1].\n\n- one\n- two\n\n"
        "| a | b |\n| - | - |\n| 1 | 2 |\n\n```python\nprint(1)\n```\n\n> quoted\n\n- [x] done\n- [ ] open\n\n"
        f"{'| a long cell of a table ' * 5}|\n{'| - ' * 5}|\n\n```\n{'code ' * 40}\n```\n"
    )
    answer.pieces.put(data({"choices": [], "citations": [{"title": "Source", "url": "https://example.org/a"}]}))
    answer.end()
    chat.ask("Everything?")
    expect(chat.button("And then?")).to_be_visible()
    check_themes(chat)


@pytest.mark.parametrize(("width", "height"), [(390, 844), (320, 568), (844, 200)])
def test_axe_finds_nothing_on_a_small_screen(
    visit: Visit, provider: Provider, check: Check, width: int, height: int
) -> None:
    chat = visit('data-sound="true"')
    chat.page.set_viewport_size({"width": width, "height": height})
    chat.open()
    provider.answer("An answer.\n\n" * 20)
    chat.ask("A question?")
    expect(chat.button("Jump to latest")).to_be_visible()
    check(chat.frame)
    chat.button("More").click()
    expect(chat.button("Sound")).to_be_visible()
    check(chat.frame)
    chat.button("Delete conversation").click()
    expect(chat.button("Cancel")).to_be_focused()
    check(chat.frame)


def test_axe_finds_nothing_in_cut_off_answers_empty_lists_or_incomplete_conversations(
    visit: Visit, provider: Provider, check: Check
) -> None:
    chat = visit()
    chat.open()
    chat.choose("Past conversations")
    expect(chat.inside.get_by_text("No past conversations yet")).to_be_visible()
    check(chat.frame)
    chat.button("Back").click()
    answer = provider.answer()
    chat.ask("Everything?")
    expect(chat.inside.locator("typing-indicator")).to_be_visible()
    check(chat.frame)
    answer.say("It began")
    answer.end("length")
    expect(chat.button("Continue")).to_be_visible()
    check(chat.frame)
    chat.field.fill("x" * 4001)
    expect(chat.inside.get_by_text("1 character too many")).to_be_visible()
    check(chat.frame)
    chat.page.route("**/api/v1/conversations/*", lambda route: route.abort())
    chat.reload()
    expect(chat.log).to_contain_text("Couldn’t load your earlier messages")
    check(chat.frame)


def test_an_answer_is_announced_in_whole_sentences_with_its_start_and_end(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(LISTEN)
    answer = provider.answer()
    chat.ask("Hello?")
    chat.frame.wait_for_function("() => said.join(' ').includes('Answering…')")
    answer.say("A first sentence. And a sec")
    chat.frame.wait_for_function("() => said.join(' ').includes('A first sentence.')")
    assert "And a" not in " ".join(chat.frame.evaluate("said"))
    answer.say("ond one.")
    answer.end()
    chat.frame.wait_for_function("() => said.join(' ').includes('complete.')")
    assert " ".join(chat.frame.evaluate("said")) == ("Answering… A first sentence. And a second one. Answer complete.")


def test_a_formatted_answer_is_drawn_as_it_grows_and_announced_as_plain_text(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(LISTEN)
    answer = provider.answer()
    chat.ask("Hello?")
    answer.say("Parcels leave on **Mon")
    expect(chat.answers.locator("strong")).to_have_text("Mon")
    answer.say("day**. See [the terms](https://example.com/terms).\n\n- `one`\n- tw")
    expect(chat.answers.get_by_role("listitem")).to_have_text(["one", "tw"])
    answer.say("o\n")
    answer.end()
    chat.frame.wait_for_function("() => said.join(' ').includes('complete.')")
    assert " ".join(chat.frame.evaluate("said")) == (
        "Answering… Parcels leave on Monday. See the terms. one two Answer complete."
    )
    expect(chat.answers.get_by_role("link")).to_have_attribute("href", "https://example.com/terms")


@pytest.mark.parametrize("context", [{"reduced_motion": "no-preference"}], indirect=True)
def test_reduced_motion_is_respected(visit: Visit, provider: Provider) -> None:
    def moves() -> int:
        inside: int = chat.frame.evaluate(f"{ANIMATIONS}.length")
        around: int = chat.page.evaluate(f"{ANIMATIONS}.length")
        return inside + around

    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "Hello?", "Calm")
    assert moves() > 0
    chat.page.emulate_media(reduced_motion="reduce")
    assert moves() == 0
    answer.end()
    expect(chat.button("Regenerate")).to_be_visible()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()
    chat.bubble.click()
    expect(chat.field).to_be_focused()
    assert moves() == 0


@pytest.mark.parametrize(
    ("system", "colours"),
    [
        ("dark", "--a4w-bg-color: #fff8e7"),
        ("light", "--a4w-bg-color: #1b2430"),
        ("dark", "--a4w-text-color: #402000"),
        ("light", "--a4w-text-color: #ffe9c9"),
        ("dark", "--a4w-bg-color: #fff8e7; --a4w-text-color: #402000"),
        ("light", "--a4w-bg-color: #1b2430; --a4w-text-color: #ffe9c9"),
    ],
)
def test_the_owners_colours_stay_readable_in_any_system_theme(
    visit: Visit, provider: Provider, check: Check, system: Literal["light", "dark"], colours: str
) -> None:
    chat = visit('data-proactive="Can we help?" data-proactive-delay=0', head=f"<style>:root {{ {colours} }}</style>")
    chat.page.emulate_media(color_scheme=system)
    expect(chat.button("Can we help?")).to_be_visible()
    check(chat.frame)
    chat.button("Can we help?").click()
    expect(chat.field).to_be_focused()
    chat.until_still()
    provider.answer("See `code` and\n\n| A | B |\n|---|---|\n| 1 | 2 |\n\n> quoted")
    chat.ask("Can it be read?")
    expect(chat.button("Regenerate")).to_be_visible()
    check(chat.frame)


def test_the_window_is_readable_in_forced_colors(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.page.emulate_media(forced_colors="active")
    chat.open()
    provider.answer("- [ ] Seen.")
    chat.ask("Seen?")
    expect(chat.answers).to_have_text("Seen.")
    expect(chat.answers.get_by_role("checkbox")).to_have_css("border-top-style", "solid")
    bubble = chat.questions.locator("..")
    expect(bubble).to_have_css("border-top-style", "solid")
