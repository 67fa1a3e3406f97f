"""A visit to several pages: the window and its answer continue."""

import re

import pytest
from playwright.sync_api import BrowserContext, expect

from browser import (
    Chat,
    HostPages,
    Provider,
    Visit,
    answer_in_progress,
    answered,
    fetch_the_window,
    record_events,
    script_tag,
)
from processes import RunningService

pytest_plugins = ["visitor"]
REDUCED_MOTION = "no-preference"


def test_an_open_window_and_its_answer_continue_on_the_next_page(
    visit: Visit, host_pages: HostPages, shop: RunningService, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "Hello?", "One ")
    chat.page.goto(host_pages.add(body=script_tag(shop)))
    expect(chat.window).to_be_visible()
    expect(chat.answers).to_have_text("One")
    answer.say("two.")
    answer.end()
    expect(chat.answers).to_have_text("One two.")
    expect(chat.window).to_contain_text("Ready to help")
    expect(chat.field).not_to_be_focused()
    assert len(provider.asked) == 1


def test_on_a_phone_the_next_page_is_not_covered_and_a_badge_announces_the_answer(
    visit: Visit, host_pages: HostPages, shop: RunningService, provider: Provider
) -> None:
    chat = visit("data-open")
    chat.page.set_viewport_size({"width": 390, "height": 800})
    expect(chat.window).to_be_visible()
    answer = answer_in_progress(chat, provider, "Hello?", "One ")
    with chat.page.expect_request("**/api/v1/chat"):
        chat.page.goto(host_pages.add(body=script_tag(shop, "data-open")))
    answer.say("two.")
    answer.end()
    expect(chat.button("One two.")).to_be_visible()
    expect(chat.button(re.compile(r"^Open chat \(1 "))).to_be_visible()
    expect(chat.window).to_be_hidden()
    assert len(provider.asked) == 1


def test_an_answer_continues_behind_a_window_closed_on_the_previous_page(
    visit: Visit, host_pages: HostPages, shop: RunningService, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "Hello?", "One ")
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_focused()
    with chat.page.expect_request("**/api/v1/chat"):
        chat.page.goto(host_pages.add(body=script_tag(shop, "data-open")))
    answer.say("two.")
    answer.end()
    expect(chat.button("One two.")).to_be_visible()
    expect(chat.window).to_be_hidden()
    chat.page.goto(host_pages.add(body=script_tag(shop)))
    expect(chat.bubble).to_be_visible()
    fetch_the_window(chat)
    expect(chat.window).to_have_count(0)
    assert len(provider.asked) == 1


def test_a_window_that_was_closed_stays_closed_during_the_visit_unless_the_page_opens_it(
    visit: Visit, host_pages: HostPages, shop: RunningService
) -> None:
    chat = visit("data-open")
    expect(chat.window).to_be_visible()
    chat.until_still()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_focused()
    chat.page.goto(host_pages.add(body=script_tag(shop, "data-open")))
    expect(chat.bubble).to_be_visible()
    fetch_the_window(chat)
    expect(chat.window).to_have_count(0)
    queue = "<script>(window.A4ChatWidget ||= []).push(['open'])</script>"
    chat.page.goto(host_pages.add(head=queue, body=script_tag(shop)))
    expect(chat.window).to_be_visible()


@pytest.mark.parametrize("mode", ["bubble", "inline"])
def test_a_page_from_the_back_forward_cache_shows_what_was_said_since(
    context: BrowserContext, visit: Visit, shop: RunningService, provider: Provider, mode: str
) -> None:
    """Playwright turns that cache off, and knows no frames of pages from it: another tab stands for the next page."""
    chat = visit(f"data-mode={mode} data-open")
    expect(chat.field).to_be_visible()
    answered(chat, provider, "First?", "First.")
    next_page = Chat(context.new_page(), shop.widget_id)
    next_page.page.goto(chat.page.url)
    expect(next_page.answers).to_have_text(["First."])
    answered(next_page, provider, "Second?", "Second.")
    record_events(chat, "close")
    _come_back(chat)
    expect(chat.answers).to_have_text(["First.", "Second."])
    assert chat.page.evaluate("heard") == []


def test_a_page_from_the_back_forward_cache_shows_no_window_that_was_closed_since(visit: Visit) -> None:
    chat = visit("data-open")
    expect(chat.window).to_be_visible()
    chat.page.evaluate("sessionStorage[document.querySelector('[id^=a4-chat-widget]').id] = 'closed'")
    _come_back(chat)
    expect(chat.bubble).to_be_visible()
    fetch_the_window(chat)
    expect(chat.window).to_have_count(0)


def _come_back(chat: Chat) -> None:
    chat.frame.evaluate("() => { dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true })) }")
