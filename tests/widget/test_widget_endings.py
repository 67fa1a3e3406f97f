"""Answers that end early: incomplete markup is cleaned up, and the visitor can continue."""

import pytest
from playwright.sync_api import BrowserContext, expect

from browser import Provider, Visit

pytest_plugins = ["visitor"]

HALF_WRITTEN = {
    "Some **bold and": "Some bold and",
    "See [the ter": "See the ter",
    "See [the terms](https://exam": "See the terms",
    "Run `npm ins": "Run npm ins",
    "Items:\n\n- one\n- tw": "Items:\none\ntw",
    "Plans:\n\n| a | b |\n| - | - |\n| 1 |": "Plans:\na\tb\n1",
    "Text\n\n- ": "Text",
    "Text\n\n##": "Text",
    "Tasks:\n\n- [ ] Pack\n- [": "Tasks:\nPack",
    "Text\n\n``": "Text",
}


@pytest.mark.parametrize("ending", ["stopped", "length", "content_filter", "failed"])
def test_unfinished_markdown_is_tidied_when_an_answer_ends_early(visit: Visit, provider: Provider, ending: str) -> None:
    chat = visit()
    chat.open()
    for number, (markdown, text) in enumerate(HALF_WRITTEN.items()):
        answer = provider.answer()
        chat.ask(f"Question {number}?")
        answer.say(markdown)
        expect(chat.answers.last).to_contain_text(text[:4])
        if ending == "stopped":
            chat.button("Stop").click()
        elif ending == "failed":
            answer.fail()
        else:
            answer.end(ending)
        expect(chat.button("Copy")).to_have_count(number + 1)
        expect(chat.answers.last).to_have_text(text, use_inner_text=True)


def test_an_error_is_readable_and_can_be_retried_when_nothing_more_can_be_fetched(
    context: BrowserContext, visit: Visit, provider: Provider
) -> None:
    """Rarely needed texts are in a separate file."""
    context.route("**/assets/history-*", lambda route: route.abort())
    chat = visit()
    chat.open()
    provider.refuse(401)
    chat.ask("Well?")
    expect(chat.log).to_contain_text("Something went wrong. Please try again.")
    provider.answer("Well.")
    chat.button("Try again").click()
    expect(chat.answers).to_have_text("Well.")
    chat.button("Helpful").click()
    expect(chat.inside.locator("footer")).to_have_text("Something went wrong. Please try again.")
