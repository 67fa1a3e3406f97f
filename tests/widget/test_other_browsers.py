"""The main paths through the chat in Firefox and WebKit; all other tests of the widget use Chromium."""

import time
from collections.abc import Callable, Iterator

import pytest

from browser import PATIENCE, HostPages, Provider, script_tag
from other_browsers import Browser, Visitor, firefox, webkit
from processes import RunningService

pytest_plugins = ["visitor"]

Arrive = Callable[..., Visitor]


@pytest.fixture(scope="module", params=[firefox, webkit], ids=["firefox", "webkit"])
def other_browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    with request.param() as browser:
        yield browser


@pytest.fixture
def arrive(other_browser: Browser, host_pages: HostPages, shop: RunningService) -> Iterator[Arrive]:
    """Brings a visitor to a host page with the widget: `visitor = arrive('data-theme="dark"')`."""
    with other_browser() as driver:

        def come(attributes: str = "", **page: str | dict[str, str]) -> Visitor:
            page["body"] = f"{page.get('body', '')}{script_tag(shop, attributes)}"
            driver.visit(host_pages.add(**page), shop.widget_id)  # type: ignore[arg-type]
            return Visitor(driver)

        yield come


def test_by_keyboard_the_chat_opens_answers_and_returns_the_focus(arrive: Arrive, provider: Provider) -> None:
    visitor = arrive(body="<button>Of the page</button>")
    visitor.sees_button("Open chat")
    visitor.driver.page("document.querySelector('button').focus()")
    visitor.driver.press("Tab")
    visitor.sees(open=False, focus="button")
    visitor.driver.press("Enter")
    visitor.sees(open=True, focus="textarea")

    answer = provider.answer()
    visitor.asks("Do you ship to Norway?")
    visitor.sees(questions=["Do you ship to Norway?"])
    answer.say("**Yes:**\n\n- by `ship")
    visitor.sees(marked=["strong: Yes:", "li: by ship", "code: ship"])
    answer.say("`\n- by train\n")
    answer.end()
    visitor.sees(marked=["strong: Yes:", "li: by ship", "code: ship", "li: by train"])
    visitor.sees_button("Copy")

    visitor.driver.press("Escape")
    visitor.sees(open=False, focus="button")
    visitor.driver.press("Enter")
    visitor.sees(open=True, focus="textarea")


def test_by_pointer_the_chat_opens_stops_closes_and_survives_a_reload(arrive: Arrive, provider: Provider) -> None:
    visitor = arrive()
    visitor.opens()
    answer = provider.answer()
    visitor.asks("How long does it take?")
    answer.say("About a")
    visitor.sees(answers=["About a"])
    visitor.driver.click("Stop")
    visitor.sees_in_log("Stopped")
    visitor.sees_button("Helpful")  # nothing moves any more

    provider.answer("Two weeks.")
    visitor.driver.click("Close chat")
    visitor.sees(open=False)
    visitor.opens()
    visitor.asks("Again, please?")
    visitor.sees(answers=["About a", "Two weeks."])

    visitor.driver.reload()
    visitor.sees(questions=["How long does it take?", "Again, please?"], answers=["About a", "Two weeks."])
    visitor.sees_in_log("Stopped")


def test_on_a_phone_the_chat_fills_the_screen(arrive: Arrive) -> None:
    visitor = arrive()
    visitor.driver.resize(390, 700)
    visitor.opens()
    visitor.fills_the_page()


def test_the_dark_theme_applies_and_text_on_a_light_colour_is_black(arrive: Arrive) -> None:
    visitor = arrive('data-theme="dark" data-color="#ffe100"')
    visitor.sees_button("Open chat")
    seen = visitor.sees(open=False)
    assert seen["icon"] in ("rgb(0, 0, 0)", "color(xyz-d65 0 0 0)"), seen["icon"]
    visitor.opens()
    visitor.sees(background="rgb(21, 23, 27)")


def test_the_window_is_mirrored_from_right_to_left(arrive: Arrive, provider: Provider) -> None:
    visitor = arrive('data-locale="ar"')
    visitor.opens("فتح الدردشة")
    provider.answer("نعم.")
    visitor.asks("هل أنت هنا؟")
    visitor.sees(direction="rtl", questions=["هل أنت هنا؟"], answers=["نعم."])


def test_the_strictest_content_security_policy_refuses_nothing(arrive: Arrive, shop: RunningService) -> None:
    policy = f"default-src 'none'; script-src {shop.url}; frame-src {shop.url}; require-trusted-types-for 'script'"
    visitor = arrive(headers={"Content-Security-Policy": f"{policy}; trusted-types 'none'; img-src data:"})
    visitor.opens()
    visitor.sees(width=400)


@pytest.mark.parametrize(
    "script",
    [
        "document.open(); document.write(source); document.close();",
        "document.documentElement.replaceWith(new DOMParser().parseFromString(source, 'text/html').documentElement);",
        "document.documentElement.lastElementChild.remove();",
    ],
    ids=["writes itself anew", "replaces its root", "removes the chat"],
)
def test_the_window_and_its_answer_come_back_on_a_page_that(arrive: Arrive, provider: Provider, script: str) -> None:
    visitor = arrive()
    visitor.opens()
    answer = provider.answer()
    visitor.asks("Hello?")
    answer.say("Before")
    visitor.sees(answers=["Before"])
    visitor.driver.page("const source = `<!doctype html>${document.documentElement.outerHTML}`;" + script)
    visitor.sees(open=True, answers=["Before"])
    answer.say(" and after.")
    answer.end()
    visitor.sees(answers=["Before and after."])
    assert visitor.driver.page("return document.querySelectorAll('[id^=a4-chat-widget]').length") == 1


def test_a_page_that_always_removes_the_chat_does_not_hang(arrive: Arrive) -> None:
    guard = """<script>
        window.removed = 0;
        new MutationObserver(() => {
            const host = document.querySelector('[id^=a4-chat-widget]');
            if (host) { removed += 1; host.remove() }
        }).observe(document.documentElement, { childList: true, subtree: true });
    </script>"""
    visitor = arrive(head=guard)
    deadline = time.monotonic() + PATIENCE / 1000
    while visitor.driver.page("return window.removed") < 3:
        assert time.monotonic() < deadline
    assert visitor.driver.page("return window.removed") < 12


def test_the_chat_works_on_a_cross_origin_isolated_page(arrive: Arrive, provider: Provider) -> None:
    isolated = {"Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Opener-Policy": "same-origin"}
    visitor = arrive(headers=isolated)
    visitor.opens()
    provider.answer("Isolated.")
    visitor.asks("Hello?")
    visitor.sees(answers=["Isolated."])
