"""Proactive messages: when they appear, and when they don't."""

import pytest
from playwright.sync_api import BrowserContext, expect

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
    """Wait for the listener: a pointer that leaves earlier isn't noticed."""
    chat.page.wait_for_function("() => window.isWatched")


def test_a_proactive_message_opens_the_window_with_it_and_appears_once_per_visit(visit: Visit) -> None:
    chat = visit(PROACTIVE)
    card = chat.button("Can I help?")
    expect(card).to_be_visible()
    expect(chat.button("Open chat (1)")).to_be_visible()
    expect(chat.host).to_have_css("width", "350px")
    chat.until_still()
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


def visit_and_propose(context: BrowserContext, visit: Visit, attributes: str) -> Chat:
    """A page that shows its message from now on, as soon as it may."""
    with context.expect_event("response", lambda response: "/assets/card-" in response.url) as response:
        chat = visit(attributes)
    until_run(chat, response.value.url)
    return chat


def proposing(context: BrowserContext, visit: Visit, delay: str) -> Chat:
    """A page that waits with its message, on a clock that can be moved."""
    context.clock.install()
    return visit_and_propose(context, visit, f'data-proactive="Can I help?" data-proactive-delay="{delay}"')


def test_a_delay_with_a_unit_is_its_number(context: BrowserContext, visit: Visit) -> None:
    chat = proposing(context, visit, "1000s")
    context.clock.fast_forward(800_000)
    expect(chat.button("Can I help?")).to_have_count(0)
    context.clock.fast_forward(200_000)
    expect(chat.button("Can I help?")).to_be_visible()


@pytest.mark.parametrize("delay", ["soon", "", "-1"])
def test_a_delay_that_is_no_number_is_the_default(context: BrowserContext, visit: Visit, delay: str) -> None:
    chat = proposing(context, visit, delay)
    context.clock.fast_forward(5_000)
    expect(chat.button("Can I help?")).to_be_visible()


def test_without_a_bubble_there_is_no_proactive_message(context: BrowserContext, visit: Visit) -> None:
    chat = visit_and_propose(context, visit, f"{PROACTIVE} data-launcher=none data-greeting=Welcome")
    chat.frame.evaluate("new Promise((after) => setTimeout(after))")  # as long as the message would wait
    chat.page.evaluate("A4ChatWidget.open()")
    expect(chat.log).to_contain_text("Welcome")
    expect(chat.host).to_have_css("width", "400px")
    chat.page.wait_for_function("(id) => sessionStorage.getItem(id) === 'open'", arg=chat.host.get_attribute("id"))


@pytest.mark.parametrize("position", ["bottom-right", "bottom-left"])
def test_a_proactive_message_fits_a_narrow_screen(visit: Visit, position: str) -> None:
    chat = visit(f"{PROACTIVE} data-position={position}")
    chat.page.set_viewport_size({"width": 320, "height": 640})
    expect(chat.button("Can I help?")).to_be_visible()
    expect(chat.host).to_have_css("width", "288px")
    box = chat.host.bounding_box()
    assert box
    assert (box["x"], box["width"]) == (16, 288)  # as far from the edges as the bubble alone
    expect(chat.inside.locator(".card")).to_be_in_viewport(ratio=1)
    expect(chat.bubble).to_be_in_viewport(ratio=1)


def test_a_proactive_message_after_hovering_the_bubble_still_opens_the_window(visit: Visit) -> None:
    chat = visit('data-proactive="Can I help?" data-proactive-exit', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    fetch_the_window(chat)
    chat.page.evaluate(LEAVE)
    expect(chat.button("Can I help?")).to_be_visible()
    chat.until_still()
    chat.button("Can I help?").click()
    expect(chat.field).to_be_focused()
    expect(chat.log).to_contain_text("Can I help?")
    expect(chat.log).not_to_contain_text("How can I help you")


def test_dismissing_a_proactive_message_keeps_the_badge_and_focuses_the_bubble(visit: Visit) -> None:
    chat = visit(PROACTIVE)
    expect(chat.host).to_have_css("width", "350px")
    chat.until_still()
    chat.button("Dismiss").click()
    expect(chat.button("Can I help?")).to_have_count(0)
    expect(chat.button("Open chat (1)")).to_be_focused()
    expect(chat.host).to_have_css("width", "64px")


def test_a_proactive_message_waits_for_its_path_and_exit_intent(visit: Visit) -> None:
    chat = visit('data-proactive="Wait!" data-proactive-exit data-proactive-path="/shop/*"', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    chat.page.evaluate(LEAVE)
    chat.page.evaluate("history.pushState({}, '', '/shop/shoes')")
    fetch_the_window(chat)
    expect(chat.button("Wait!")).to_have_count(0)
    chat.page.evaluate(LEAVE)
    expect(chat.button("Wait!")).to_be_visible()


def test_a_proactive_message_appears_after_client_side_navigation_to_its_path(visit: Visit) -> None:
    chat = visit(f'{PROACTIVE} data-proactive-path="/shop/*"', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    fetch_the_window(chat)
    expect(chat.button("Can I help?")).to_have_count(0)
    chat.page.evaluate("history.pushState({}, '', '/shop/shoes')")
    expect(chat.button("Can I help?")).to_be_visible()


def test_a_proactive_message_never_appears_over_an_open_window(visit: Visit) -> None:
    chat = visit(f"data-open {PROACTIVE}")
    expect(chat.field).to_be_visible()
    chat.until_still()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_visible()
    expect(chat.button("Can I help?")).to_have_count(0)


def test_a_proactive_message_does_not_reappear_on_the_next_page_once_the_chat_was_opened(
    visit: Visit, host_pages: HostPages, shop: RunningService
) -> None:
    chat = visit('data-proactive="Can I help?" data-proactive-exit', head=TELLS_WHEN_WATCHED)
    until_watched(chat)
    chat.open()
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_focused()
    with chat.page.expect_response("**/assets/card-*") as response:
        chat.page.goto(host_pages.add(body=script_tag(shop, PROACTIVE)))
    until_run(chat, response.value.url)
    chat.open()
    expect(chat.log).to_contain_text("How can I help you")
