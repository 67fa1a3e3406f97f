"""Proactive messages: when they come, and when they do not."""

import pytest
from playwright.sync_api import expect

from browser import Chat, HostPages, Visit, fetch_the_window, script_tag, until_run
from processes import RunningService

pytest_plugins = ["visitor"]
REDUCED_MOTION = "no-preference"
PROACTIVE = 'data-proactive="Can I help?" data-proactive-delay=0'
LEAVE = "document.documentElement.dispatchEvent(new MouseEvent('mouseleave', { clientY: -1 }))"
TELLS_WHEN_WATCHED = """<script>
    const listen = document.documentElement.addEventListener;
    document.documentElement.addEventListener = function (type, ...rest) {
        window.isWatched ||= type === 'mouseleave';
        return listen.call(this, type, ...rest);
    };
</script>"""


def until_watched(chat: Chat) -> None:
    """A pointer that leaves earlier is not seen."""
    chat.page.wait_for_function("() => window.isWatched")


def test_a_message_that_begins_by_itself_opens_the_window_with_it_and_comes_once_per_visit(visit: Visit) -> None:
    chat = visit(PROACTIVE)
    card = chat.button("Can I help?")
    expect(card).to_be_visible()
    expect(chat.button("Open chat (1)")).to_be_visible()
    expect(chat.host).to_have_css("width", "350px")
    card.click()
    expect(chat.log).to_contain_text("Can I help?")
    chat.until_still()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()
    expect(card).to_have_count(0)
    assert chat.host.bounding_box() == {"x": 1200, "y": 720, "width": 64, "height": 64}
    chat.page.reload()
    chat.open()
    expect(card).to_have_count(0)


@pytest.mark.parametrize("position", ["bottom-right", "bottom-left"])
def test_a_message_fits_a_screen_that_is_narrower_than_its_card(visit: Visit, position: str) -> None:
    chat = visit(f"{PROACTIVE} data-position={position}")
    chat.page.set_viewport_size({"width": 320, "height": 640})
    expect(chat.button("Can I help?")).to_be_visible()
    box = chat.host.bounding_box()
    assert box
    assert (box["x"], box["width"]) == (16, 288)  # as far from the edges as the bubble alone
    expect(chat.inside.locator(".card")).to_be_in_viewport(ratio=1)
    expect(chat.bubble).to_be_in_viewport(ratio=1)


def test_a_message_that_comes_after_the_pointer_was_on_the_bubble_still_opens_the_window(visit: Visit) -> None:
    chat = visit('data-proactive="Can I help?" data-proactive-exit', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    fetch_the_window(chat)
    chat.page.evaluate(LEAVE)
    chat.button("Can I help?").click()
    expect(chat.field).to_be_focused()
    expect(chat.log).to_contain_text("Can I help?")
    expect(chat.log).not_to_contain_text("How can I help you")


def test_a_message_that_is_dismissed_leaves_the_badge_and_gives_the_focus_to_the_bubble(visit: Visit) -> None:
    chat = visit(PROACTIVE)
    chat.button("Dismiss").click()
    expect(chat.button("Can I help?")).to_have_count(0)
    expect(chat.button("Open chat (1)")).to_be_focused()
    expect(chat.host).to_have_css("width", "64px")


def test_a_message_waits_for_its_path_and_for_the_pointer_that_leaves(visit: Visit) -> None:
    chat = visit('data-proactive="Wait!" data-proactive-exit data-proactive-path="/shop/*"', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    chat.page.evaluate(LEAVE)
    chat.page.evaluate("history.pushState({}, '', '/shop/shoes')")
    fetch_the_window(chat)
    expect(chat.button("Wait!")).to_have_count(0)
    chat.page.evaluate(LEAVE)
    expect(chat.button("Wait!")).to_be_visible()


def test_a_message_comes_when_the_visitor_goes_to_its_path_within_the_page(visit: Visit) -> None:
    chat = visit(f'{PROACTIVE} data-proactive-path="/shop/*"', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    fetch_the_window(chat)
    expect(chat.button("Can I help?")).to_have_count(0)
    chat.page.evaluate("history.pushState({}, '', '/shop/shoes')")
    expect(chat.button("Can I help?")).to_be_visible()


def test_a_message_never_comes_over_an_open_window(visit: Visit) -> None:
    chat = visit(f"data-open {PROACTIVE}")
    expect(chat.field).to_be_visible()
    chat.until_still()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()
    expect(chat.button("Can I help?")).to_have_count(0)


def test_a_message_does_not_follow_a_visitor_who_has_opened_the_chat_to_the_next_page(
    visit: Visit, host_pages: HostPages, shop: RunningService
) -> None:
    chat = visit('data-proactive="Can I help?" data-proactive-exit', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    chat.open()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_focused()
    with chat.page.expect_response("**/assets/card-*"):
        chat.page.goto(host_pages.add(body=script_tag(shop, PROACTIVE)))
    until_run(chat, "card")
    chat.open()
    expect(chat.log).to_contain_text("How can I help you")
