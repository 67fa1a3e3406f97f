"""The window's languages: selected by the page, the tag or the browser, and laid out as readers expect."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

import pytest
from playwright.sync_api import Browser, Page, Route, TimeoutError, expect

from browser import PATIENCE, VISITOR, WIDGET, Chat, HostPages, Provider, ask_and_wait, script_tag
from processes import RunningService

pytest_plugins = ["visitor"]

Visit = Callable[..., Chat]

STRINGS = WIDGET / "src" / "strings"
FROM_RIGHT = ("ar", "fa", "he")
HELPERS = ("bubble", "duration", "en-rare", "fill", "index", "locale")
LOCALES = sorted(path.stem for path in STRINGS.glob("*.ts") if path.stem not in HELPERS)
CHUNK = re.compile(r"/assets/(\w\w(?:-\w\w)?)-[\w-]+\.js$")

# All visible elements that overflow or are outside the window.
CRAMPED = """() => {
    const found = [];
    const walk = (root) => {
        for (const element of root.querySelectorAll('*')) {
            if (element.shadowRoot) walk(element.shadowRoot);
            const box = element.getBoundingClientRect();
            if (!box.width || element.closest('svg, .hidden')) continue;
            const style = getComputedStyle(element);
            const mayBeCut = style.display === 'inline' || style.textOverflow === 'ellipsis';
            const isCut = element.scrollWidth > element.clientWidth + 1 && !mayBeCut;
            const isOutside = box.left < -1 || box.right > document.documentElement.clientWidth + 1;
            if (isCut || isOutside) found.push(`${element.localName}.${element.className}: ${element.textContent}`);
        }
    };
    walk(document);
    return found;
}"""


@cache
def words(locale: str) -> dict[str, str]:
    """The texts in a language's file."""
    source = (STRINGS / f"{locale}.ts").read_text()
    if locale == "en":
        source += (STRINGS / "en-rare.ts").read_text()
    return {
        key: text.replace("\\u00a0", "\u00a0")
        for key, text in re.findall(r"^ {2}(\w+):\s+'(.*)',$", source, re.MULTILINE)
    }


@cache
def bubble_label(locale: str) -> str:
    if locale == "en":
        return "Open chat"
    found = re.search(rf"^ {{2}}'?{locale}'?: \['(.+?)'", (STRINGS / "locale.ts").read_text(), re.MULTILINE)
    assert found
    return found[1]


@pytest.fixture(scope="module")
def _tab(browser: Browser) -> Iterator[Page]:
    with browser.new_context(**VISITOR, reduced_motion="reduce") as context:
        context.set_default_timeout(PATIENCE)
        yield context.new_page()


@pytest.fixture
def tab(_tab: Page, provider: Provider) -> Iterator[Page]:
    """One page for all languages: each tenant is new to its visitor, and a page takes longer to make than to fill."""
    yield _tab
    _tab.unroute_all()
    _tab.context.set_offline(False)
    _tab.set_viewport_size(VISITOR["viewport"])
    _tab.goto("about:blank")  # so that nothing more is asked of the provider


@pytest.fixture
def visit(tab: Page, host_pages: HostPages, shop: RunningService) -> Visit:
    """Goes to a host page with the widget on it: `chat = visit('data-locale="de"')`."""

    def go(attributes: str = "", *, head: str = "") -> Chat:
        chat = Chat(tab, shop.widget_id)
        tab.goto(host_pages.add(head=head, body=script_tag(shop, attributes)))
        return chat

    return go


def open_in(chat: Chat, locale: str) -> dict[str, str]:
    """Open the window by its name in that language. Returns the language's texts."""
    says = words(locale)
    chat.button(bubble_label(locale)).click()
    chat.field = chat.inside.get_by_role("textbox", name=says["placeholder"])
    expect(chat.field).to_be_focused()
    chat.log = chat.inside.get_by_role("log", name=says["conversation"])
    chat.questions = chat.log.locator(".question .text")
    chat.answers = chat.log.locator(".answer .text")
    return says


def chunks_asked_for(page: Page) -> list[str]:
    requested: list[str] = []
    page.on("request", lambda request: requested.extend(CHUNK.findall(request.url)))
    return requested


def nothing_is_cramped(chat: Chat) -> None:
    """Also waits until the frame has its size, which may come after the window."""
    with suppress(TimeoutError):
        chat.frame.wait_for_function(f"() => ({CRAMPED})().length === 0")
    assert chat.frame.evaluate(CRAMPED) == []


def left_of(chat: Chat, name: str) -> float:
    box = chat.button(name).bounding_box()
    assert box
    return box["x"]


@pytest.mark.parametrize("locale", LOCALES)
def test_the_window_uses_the_tags_language_and_direction(visit: Visit, provider: Provider, locale: str) -> None:
    chat = visit(f'data-locale="{locale}"')
    says = open_in(chat, locale)
    assert chat.frame.evaluate("[document.documentElement.lang, getComputedStyle(document.body).direction]") == [
        locale,
        "rtl" if locale in FROM_RIGHT else "ltr",
    ]
    expect(chat.window).to_have_accessible_name(says["title"])
    expect(chat.log).to_contain_text(says["greeting"])
    provider.answer("42")
    now = "(locale) => new Date().toLocaleTimeString(locale, { timeStyle: 'short' })"
    times = [chat.frame.evaluate(now, locale)]
    chat.ask("6 × 7?")
    expect(chat.button(says["copy"])).to_be_visible()
    times.append(chat.frame.evaluate(now, locale))  # noon may have passed
    digits = re.compile(r"\d+")
    shown = chat.log.locator("time").inner_text()
    assert digits.sub("0", shown) in [digits.sub("0", time) for time in times]
    assert chat.console == []


@pytest.mark.parametrize("locale", LOCALES)
def test_nothing_is_cut_off_on_the_narrowest_screen_in_any_language(
    visit: Visit, provider: Provider, locale: str
) -> None:
    chat = visit(
        f'data-locale="{locale}" data-sound="true" data-handoff="help@shop.test" '
        'data-privacy-url="https://shop.test/privacy"'
    )
    chat.page.set_viewport_size({"width": 320, "height": 640})
    says = open_in(chat, locale)
    nothing_is_cramped(chat)

    answer = provider.answer()
    chat.ask("A question?")
    answer.say("An answer.")
    expect(chat.button(says["stop"])).to_be_visible()
    nothing_is_cramped(chat)
    answer.end()
    chat.button(says["bad"]).click()
    expect(chat.button(says["commentSend"])).to_be_visible()
    nothing_is_cramped(chat)

    provider.refuse(401)
    chat.ask("Another?")
    expect(chat.button(says["retry"])).to_be_visible()
    chat.field.fill("x" * 4500)
    nothing_is_cramped(chat)
    chat.button(says["edit"]).click()
    expect(chat.button(says["cancel"])).to_be_visible()
    nothing_is_cramped(chat)
    chat.button(says["cancel"]).click()
    chat.button(says["more"]).click()
    expect(chat.button(says["export"])).to_be_visible()
    nothing_is_cramped(chat)
    chat.button(says["forget"]).click()
    expect(chat.button(says["forgetNo"])).to_be_visible()
    nothing_is_cramped(chat)
    chat.button(says["forgetNo"]).click()
    chat.button(says["more"]).click()
    chat.button(says["history"]).click()
    expect(chat.button(says["back"])).to_be_visible()
    chat.page.context.set_offline(True)
    expect(chat.inside.get_by_text(says["offlineNote"]).first).to_be_visible()
    nothing_is_cramped(chat)


def test_tenant_texts_fit_the_narrowest_screen(visit: Visit, provider: Provider) -> None:
    """Long compounds and bare addresses break, and the consent button keeps its words in sight."""
    word = "Donaudampfschifffahrtsgesellschaft" * 2
    texts = f"""data-greeting="{word}" data-suggestions='["{word}"]' data-follow-ups='["{word}"]' """
    chat = visit(f'data-consent="true" data-privacy="https://shop.test/{word}" {texts}')
    chat.page.set_viewport_size({"width": 320, "height": 640})
    chat.bubble.click()
    agree = chat.button("Agree and start")
    expect(agree).to_be_focused()
    nothing_is_cramped(chat)

    agree.click()
    ask_and_wait(chat, provider, word, word)
    nothing_is_cramped(chat)


@pytest.mark.parametrize("locale", [*FROM_RIGHT, "de"])
def test_right_to_left_languages_mirror_the_window(visit: Visit, provider: Provider, locale: str) -> None:
    chat = visit(f'data-locale="{locale}"')
    says = open_in(chat, locale)
    provider.answer("12")
    chat.ask("34")
    expect(chat.button(says["copy"])).to_be_visible()

    window = chat.window.bounding_box()
    field = chat.field.bounding_box()
    question = chat.questions.bounding_box()
    title = chat.inside.get_by_role("heading", level=1).bounding_box()
    assert window and field and question and title
    middle = window["x"] + window["width"] / 2
    is_left = {
        "close": left_of(chat, says["close"]) < middle,
        "send": left_of(chat, says["send"]) < field["x"],
        "question": question["x"] + question["width"] / 2 < middle,
        "order of the header": left_of(chat, says["close"]) < left_of(chat, says["more"]) < title["x"],
        "order of the actions": left_of(chat, says["good"]) < left_of(chat, says["copy"]),
    }
    assert is_left == dict.fromkeys(is_left, locale in FROM_RIGHT)


@pytest.mark.parametrize(("locale", "theirs", "text"), [("en", "rtl", "مرحبًا 123"), ("ar", "ltr", "Hello 123")])
def test_text_in_another_direction_keeps_it(
    visit: Visit, provider: Provider, locale: str, theirs: str, text: str
) -> None:
    chat = visit(f'data-locale="{locale}"')
    says = open_in(chat, locale)
    direction = "(element) => getComputedStyle(element).direction"
    ours = "rtl" if theirs == "ltr" else "ltr"
    assert chat.field.evaluate(direction) == ours
    chat.field.fill(text)
    assert chat.field.evaluate(direction) == theirs
    provider.answer(text)
    chat.ask(text)
    expect(chat.button(says["copy"])).to_be_visible()
    # The words themselves: whatever block holds them.
    assert chat.log.get_by_text(text).evaluate_all(f"(all) => all.map({direction})") == [theirs, theirs]


def test_code_in_right_to_left_text_reads_left_to_right(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.answer("استخدم الأمر `--force` الآن.")
    chat.ask("How?")
    first_and_last = chat.log.get_by_text("--force").evaluate(
        """({ firstChild: text }) => [0, text.length - 1].map((index) => {
            const range = document.createRange();
            range.setStart(text, index);
            range.setEnd(text, index + 1);
            return range.getBoundingClientRect().left;
        })"""
    )
    assert first_and_last == sorted(first_and_last)


@pytest.mark.parametrize(
    ("locale", "number", "text"),
    [
        ("ar", 3, "تبقّت 3 أحرف"),
        ("de", 1234, "1.234 Zeichen zu viel"),
        ("fa", 12, "۱۲ نویسه بیش از حد مجاز"),
        ("pl", 2, "2 znaki za dużo"),
        ("ru", 21, "21 лишний символ"),
        ("zh-TW", 5, "超出 5 個字元"),
    ],
)
def test_numbers_and_plurals_follow_the_language(visit: Visit, locale: str, number: int, text: str) -> None:
    chat = visit(f'data-locale="{locale}"')
    open_in(chat, locale)
    chat.field.fill("x" * (4000 - number if locale == "ar" else 4000 + number))
    expect(chat.inside.get_by_text(text, exact=True)).to_be_visible()


@pytest.mark.parametrize(
    ("wish", "locale"), [("fr-CA", "fr"), ("pt", "pt-BR"), ("zh-HK", "zh-TW"), ("zh-Hans", "zh-CN"), ("tlh", "en")]
)
def test_the_pages_language_takes_precedence_over_the_browsers(visit: Visit, wish: str, locale: str) -> None:
    chat = visit(head=f"<script>document.documentElement.lang = '{wish}'</script>")
    requested = chunks_asked_for(chat.page)
    open_in(chat, locale)
    assert requested == ([] if locale == "en" else [locale])


def test_a_page_without_a_language_gets_the_browsers(
    browser: Browser, host_pages: HostPages, shop: RunningService
) -> None:
    forget = "<script>document.documentElement.removeAttribute('lang')</script>"
    with browser.new_context(locale="uk-UA") as context:
        chat = Chat(context.new_page(), shop.widget_id)
        chat.page.goto(host_pages.add(head=forget, body=script_tag(shop)))
        open_in(chat, "uk")


def test_a_language_that_cannot_be_loaded_falls_back_to_english(visit: Visit, tab: Page) -> None:
    def refuse(route: Route) -> None:
        route.abort()

    tab.route(CHUNK, refuse)
    chat = visit('data-locale="ar"')
    chat.button(bubble_label("ar")).click()
    expect(chat.inside.get_by_role("textbox", name=words("en")["placeholder"])).to_be_focused()
    assert chat.frame.evaluate("[document.documentElement.lang, document.documentElement.dir]") == ["en", "ltr"]


def test_a_bubble_whose_language_cannot_be_loaded_is_in_english(visit: Visit, tab: Page) -> None:
    tab.route("**/assets/language-*", lambda route: route.abort())
    chat = visit('data-locale="ar"')
    expect(chat.button(bubble_label("en"))).to_be_visible()
    chat.button(bubble_label("en")).click()
    expect(chat.inside.get_by_role("textbox", name=words("en")["placeholder"])).to_be_focused()
