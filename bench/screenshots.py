"""Screenshots of every state of the chat window.

    python bench/screenshots.py bench/out [STATE …]

Each state at widths of 1280, 768, 390 and 320 pixels and at a height of 200 pixels, in light and dark, left-to-right
and right-to-left, from a real service with an upstream controlled by this script. Needs Chromium and
tests/requirements.txt.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[1] / "tests/support"))

from playwright.sync_api import Browser, expect, sync_playwright

from browser import ARGUMENTS, Chat, HostPages, Provider, Providers, add_tenant, script_tag, serving
from processes import RunningService, running_service

SIZES = ((1280, 800), (768, 1024), (390, 844), (320, 568), (844, 200))
SUGGESTIONS = """data-suggestions='["Where is my order?","How do I return something?","Do you ship to Norway?"]'"""
ANSWER = """Yes, we do. Parcels to Norway leave on **Monday** and *Thursday*:

1. You order by noon.
2. We pack it the same day.
3. It arrives in four to six days.

| Size | Price |
| --- | ---: |
| Small | €6 |
| Large | €14 |

Track it with `track 4711`, or read [the terms](https://example.com/terms)."""

State = Callable[[Chat, Provider], None]
# The frame is painted in its own process, so wait until it has been painted.
TURN = """async (direction) => {
    document.documentElement.dir = direction;
    for (let frames = 0; frames < 3; frames++) await new Promise(requestAnimationFrame);
}"""
THEME = """(theme) => {
    document.documentElement.style.colorScheme = theme;
    A4ChatWidget.set({ theme });
}"""
PAGE = """<style>
    body { margin: 0; font: 16px system-ui; background: #f6f5f2 }
    :root[style*=dark] body { background: #1d1f23 }
    main { max-width: 60em; margin: auto; padding: 2em }
</style>"""


def closed(chat: Chat, provider: Provider) -> None:
    expect(chat.bubble).to_be_visible()


def empty(chat: Chat, provider: Provider) -> None:
    chat.open()


def typing(chat: Chat, provider: Provider) -> None:
    chat.open()
    provider.answer()
    chat.ask("Do you ship to Norway?")
    expect(chat.inside.locator("typing-indicator")).to_be_visible()


def streaming(chat: Chat, provider: Provider) -> None:
    chat.open()
    answer = provider.answer()
    chat.ask("Do you ship to Norway?")
    answer.say(ANSWER[:90])
    expect(chat.answers).to_contain_text("order")


def answered(chat: Chat, provider: Provider) -> None:
    chat.open()
    provider.answer("Good morning! What are you looking for?")
    chat.ask("Hello")
    expect(chat.button("Copy")).to_have_count(1)
    provider.answer(ANSWER)
    chat.ask("Do you ship to Norway?")
    expect(chat.button("Copy")).to_have_count(2)
    chat.answers.last.hover()


def rated(chat: Chat, provider: Provider) -> None:
    answered(chat, provider)
    chat.button("Not helpful").last.click()
    expect(chat.log.get_by_role("textbox")).to_be_visible()


def editing(chat: Chat, provider: Provider) -> None:
    answered(chat, provider)
    chat.button("Edit question").click()


def menu(chat: Chat, provider: Provider) -> None:
    answered(chat, provider)
    chat.button("More").click()


def history(chat: Chat, provider: Provider) -> None:
    answered(chat, provider)
    chat.choose("New conversation")
    provider.answer("It is on its way.")
    chat.ask("Where is my order 4711, which I placed last week and have not seen since?")
    expect(chat.button("Copy")).to_be_visible()
    chat.choose("Past conversations")
    expect(chat.button("Back")).to_be_focused()


def nothing_earlier(chat: Chat, provider: Provider) -> None:
    chat.open()
    chat.choose("Past conversations")
    expect(chat.inside.get_by_text("No past conversations yet")).to_be_visible()


def deleting(chat: Chat, provider: Provider) -> None:
    answered(chat, provider)
    chat.choose("Delete conversation")
    expect(chat.button("Cancel")).to_be_focused()


def stopped(chat: Chat, provider: Provider) -> None:
    streaming(chat, provider)
    chat.button("Stop").click()
    expect(chat.log).to_contain_text("Stopped")


def cut_off(chat: Chat, provider: Provider) -> None:
    chat.open()
    answer = provider.answer()
    chat.ask("Tell me everything about shipping.")
    answer.say("Shipping began when people first had more than they could carry, and")
    answer.end("length")
    expect(chat.button("Continue")).to_be_visible()


def failed(chat: Chat, provider: Provider) -> None:
    chat.open()
    provider.refuse(401)
    chat.ask("Do you ship to Norway?")
    expect(chat.button("Try again")).to_be_visible()


def limited(chat: Chat, provider: Provider) -> None:
    chat.open()
    for _ in range(2):
        provider.answer("Yes.")
        chat.ask("Do you ship to Norway?")
        expect(chat.inside.get_by_role("button", name="Stop")).to_be_hidden()
    expect(chat.button(re.compile("Try again in"))).to_be_visible()


def offline(chat: Chat, provider: Provider) -> None:
    answered(chat, provider)
    chat.page.context.set_offline(True)
    expect(chat.inside.locator(".offline")).to_be_visible()


def consent(chat: Chat, provider: Provider) -> None:
    chat.bubble.click()
    expect(chat.button("Agree and start")).to_be_focused()


def too_long(chat: Chat, provider: Provider) -> None:
    chat.open()
    chat.field.fill("This is a long story. " * 185)


def not_restored(chat: Chat, provider: Provider) -> None:
    answered(chat, provider)
    chat.page.route("**/api/v1/conversations/*", lambda route: route.abort())
    chat.button("Close chat").click()  # on a phone, an open window doesn't reopen by itself
    chat.page.reload()
    chat.open()
    expect(chat.log).to_contain_text("Couldn’t load your earlier messages")


CONSENT = 'data-consent="true" data-privacy-url="https://example.com/privacy" data-handoff="help@example.com"'
REST = """data-follow-ups='["And to Iceland?","What does it cost?"]' data-sound="true"
    data-handoff="help@example.com" data-privacy="We keep conversations for 30 days."
    data-privacy-url="https://example.com/privacy" """
STATES: dict[str, tuple[State, str]] = {
    "closed": (closed, ""),
    "empty": (empty, SUGGESTIONS + REST),
    "consent": (consent, SUGGESTIONS + CONSENT),
    "typing": (typing, ""),
    "streaming": (streaming, ""),
    "answered": (answered, REST),
    "rated": (rated, ""),
    "editing": (editing, ""),
    "menu": (menu, REST),
    "history": (history, ""),
    "nothing-earlier": (nothing_earlier, ""),
    "deleting": (deleting, ""),
    "stopped": (stopped, ""),
    "cut-off": (cut_off, ""),
    "failed": (failed, ""),
    "limited": (limited, ""),
    "offline": (offline, ""),
    "too-long": (too_long, ""),
    "not-restored": (not_restored, ""),
}


def shoot(browser: Browser, name: str, url: str, widget_id: str, provider: Provider, out: Path) -> None:
    """One state at all sizes: set up again for each, then switched to dark and right-to-left."""
    make, _ = STATES[name]
    for width, height in SIZES:
        provider.reset()
        with browser.new_context(
            locale="en-US", viewport={"width": width, "height": height}, has_touch=width < 768, reduced_motion="reduce"
        ) as context:
            chat = Chat(context.new_page(), widget_id)
            chat.page.goto(url)
            make(chat, provider)
            for theme in ("light", "dark"):
                chat.page.evaluate(THEME, theme)
                for direction in ("ltr", "rtl"):
                    chat.frame.evaluate(TURN, direction)
                    chat.page.screenshot(
                        path=out / f"{name}-{width}x{height}-{theme}-{direction}.png", animations="disabled"
                    )


def shoot_all(out: Path, names: list[str], service: RunningService, provider: Provider, pages: HostPages) -> None:
    limited_tenant = add_tenant(service, "limited", "--visitor-rate-per-minute", "1")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        for name in names:
            tenant = limited_tenant if name == "limited" else service
            url = pages.add(head=PAGE, body=script_tag(tenant, STATES[name][1]))
            shoot(browser, name, url, tenant.widget_id, provider, out)
            print(name)
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description="Take screenshots of the states of the chat window.")
    parser.add_argument("out", type=Path, metavar="OUT_DIR", help="folder for the PNG files; created if missing")
    parser.add_argument(
        "states", nargs="*", choices=[*STATES, []], metavar="STATE", help=f"default: all of {', '.join(STATES)}"
    )
    options = parser.parse_args()
    out: Path = options.out
    out.mkdir(parents=True, exist_ok=True)
    pages, providers = HostPages(), Providers()
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(pages.handler()) as page_port,
        serving(providers.handler()) as provider_port,
    ):
        pages.url = f"http://localhost:{page_port}"
        providers.url = f"http://127.0.0.1:{provider_port}"
        with providers.provider() as provider:
            settings = {"OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk"}
            with running_service(Path(folder), **settings) as service:
                shoot_all(out, options.states or list(STATES), service, provider, pages)


if __name__ == "__main__":
    main()
