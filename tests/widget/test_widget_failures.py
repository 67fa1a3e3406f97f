"""What a visitor sees when something fails, and how to continue."""

import re
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import BrowserContext, expect

from browser import Chat, Provider, Visit, add_tenant, answer_in_progress
from held_requests import held_requests
from line import Line
from processes import RunningService, free_port, restarted, running_service

pytest_plugins = ["visitor"]


def test_a_provider_refusal_is_reported_in_plain_words_and_can_be_retried(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.refuse(401)
    chat.ask("Hello?")
    expect(chat.log).to_contain_text("The assistant isn’t available right now.")
    expect(chat.log).not_to_contain_text("secret of the provider")
    provider.answer("Hello again.")
    chat.button("Try again").click()
    expect(chat.answers).to_have_text("Hello again.")
    expect(chat.questions).to_have_text(["Hello?"])
    expect(chat.button("Try again")).to_have_count(0)


def test_an_interrupted_answer_keeps_its_text_until_it_is_retried(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "Hello?", "Half an ans")
    answer.fail()
    expect(chat.log).to_contain_text("The answer was interrupted.")
    expect(chat.answers).to_have_text("Half an ans")
    expect(chat.log).not_to_contain_text("secret of the provider")
    provider.answer("A whole answer.")
    chat.button("Try again").click()
    expect(chat.answers).to_have_text("A whole answer.")
    chat.reload()
    expect(chat.answers).to_have_text(["A whole answer."])


def test_an_empty_answer_says_so(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.answer().end()
    chat.ask("Hello?")
    expect(chat.log).to_contain_text("No answer was received.")
    expect(chat.button("Try again")).to_be_enabled()


def test_an_answer_cut_at_its_maximum_length_can_be_continued(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answer = provider.answer()
    chat.ask("Hello?")
    answer.say("So long")
    answer.end("length")
    expect(chat.log).to_contain_text("reached its maximum length")
    provider.answer(" and thanks.")
    chat.button("Continue").click()
    expect(chat.questions).to_have_text(["Hello?", "Please continue."])
    expect(chat.answers).to_have_text(["So long", "and thanks."])


@pytest.mark.parametrize(
    ("text", "note"), [("", "blocked this answer."), ("The first half", "blocked the rest of this answer.")]
)
def test_a_filtered_answer_says_how_much_of_it_was_blocked(
    visit: Visit, provider: Provider, text: str, note: str
) -> None:
    chat = visit()
    chat.open()
    answer = provider.answer()
    chat.ask("Hello?")
    if text:
        answer.say(text)
    answer.end("content_filter")
    expect(chat.log).to_contain_text(f"A content filter {note}")
    expect(chat.log).to_contain_text(text)


def test_a_rate_limit_counts_down_to_when_trying_again_makes_sense(
    context: BrowserContext, shop: RunningService, visit: Visit, provider: Provider
) -> None:
    context.clock.install()
    chat = visit(service=add_tenant(shop, "limited", "--visitor-rate-per-minute", "1"))
    chat.open()
    provider.answer("Once.")
    chat.ask("Once?")
    expect(chat.answers).to_have_text("Once.")
    chat.ask("Twice?")
    expect(chat.log).to_contain_text("Please wait a moment.")
    expect(chat.button(re.compile(r"^Try again in \d:\d\d$"))).to_be_disabled()
    context.clock.fast_forward("01:01")
    expect(chat.button("Try again")).to_be_enabled()


def test_a_dropped_connection_resumes_without_a_gap_or_a_repeat(visit: Visit, line: Line, provider: Provider) -> None:
    chat = visit(url=line.url)
    chat.open()
    answer = answer_in_progress(chat, provider, "Hello?", "One ")
    line.cut()
    expect(chat.window).to_contain_text("Reconnecting…")
    answer.say("two ")
    line.mend()
    expect(chat.answers).to_have_text("One two")
    answer.say("three.")
    answer.end()
    expect(chat.answers).to_have_text("One two three.")
    expect(chat.window).to_contain_text("Ready to help")
    assert len(provider.asked) == 1


def test_a_connection_on_which_nothing_arrives_is_given_up(
    context: BrowserContext, visit: Visit, provider: Provider
) -> None:
    """A network that drops packets fails nothing: without a deadline, the browser waits for minutes."""
    context.clock.install()
    chat = visit()
    chat.open()
    with held_requests(chat.page, "**/api/v1/chat", times=1):
        with chat.page.expect_request("**/api/v1/chat"):
            chat.ask("Hello?")
        provider.answer("Hello.")
        with chat.page.expect_request("**/api/v1/chat"):
            context.clock.fast_forward(45_000)
            context.clock.fast_forward(1_000)
        expect(chat.answers).to_have_text("Hello.")


def test_a_network_outage_loses_nothing(context: BrowserContext, visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "Hello?", "One ")
    context.set_offline(True)
    expect(chat.window).to_contain_text("Reconnecting…")
    answer.say("two ")
    context.set_offline(False)
    expect(chat.answers).to_have_text("One two")
    answer.say("three.")
    answer.end()
    expect(chat.answers).to_have_text("One two three.")
    assert len(provider.asked) == 1


def test_stop_works_while_the_connection_is_down(visit: Visit, line: Line, provider: Provider) -> None:
    chat = visit(url=line.url)
    chat.open()
    answer_in_progress(chat, provider, "Hello?", "One ")
    line.cut()
    expect(chat.window).to_contain_text("Reconnecting…")
    chat.button("Stop").click()
    expect(chat.log).to_contain_text("Stopped")


WINDOW = "**/assets/control-*"


def tells_errors(chat: Chat) -> None:
    chat.page.evaluate("() => { window.errors = []; A4ChatWidget.on('error', ({ code }) => errors.push(code)) }")


def test_a_window_whose_file_a_deployment_removed_still_opens(visit: Visit, context: BrowserContext) -> None:
    """The frame's old page names a file that no longer exists; the new page names one that does."""
    pages: list[str] = []
    context.route(WINDOW, lambda route: route.continue_() if pages else route.fulfill(status=404))
    chat = visit()
    expect(chat.bubble).to_be_visible()
    tells_errors(chat)
    chat.page.on("request", lambda request: pages.append(request.url) if "/widget.html" in request.url else None)
    chat.open()
    assert chat.page.evaluate("errors") == []
    chat.button("Close chat").click()
    expect(chat.bubble).to_be_focused()


def test_a_missing_window_file_reloads_the_frame_only_once(visit: Visit, context: BrowserContext) -> None:
    pages: list[str] = []
    context.on("request", lambda request: pages.append(request.url) if request.is_navigation_request() else None)
    context.route(WINDOW, lambda route: route.fulfill(status=404))
    chat = visit()
    expect(chat.bubble).to_be_visible()
    tells_errors(chat)
    for presses in (1, 2, 3):
        expect(chat.bubble).to_be_visible()
        chat.bubble.click()
        chat.page.wait_for_function("(presses) => errors.length === presses", arg=presses)
        chat.until_logged("error: A4ChatWidget:", presses)
    assert chat.page.evaluate("errors") == ["unavailable"] * 3
    assert len([line for line in chat.console if line.startswith("error: A4ChatWidget:")]) == 3
    assert len([url for url in pages if "/widget.html" in url]) == 2


def test_a_bubble_pressed_during_an_outage_opens_once_the_service_is_back(visit: Visit, line: Line) -> None:
    chat = visit(url=line.url)
    expect(chat.bubble).to_be_visible()
    tells_errors(chat)
    line.cut()
    chat.bubble.click()
    chat.page.wait_for_function("() => errors.join() === 'unavailable'")
    expect(chat.bubble).to_be_visible()
    line.mend()
    chat.open()


def test_a_badge_that_fails_to_load_does_not_affect_the_next_one(
    visit: Visit, context: BrowserContext, provider: Provider
) -> None:
    away = "**/assets/card-*"
    context.route(away, lambda route: route.fulfill(status=404))
    chat = visit()
    for number in (1, 2):
        chat.open()
        answer = provider.answer()
        chat.ask("Hello?")
        chat.button("Close chat").click()
        expect(chat.bubble).to_be_focused()
        if number == 1:
            with chat.page.expect_event("pageerror", lambda error: "imported module" in error.message):
                answer.say("One.")
                answer.end()
            context.unroute(away)
        else:
            answer.say("Two.")
            answer.end()
            expect(chat.button("Two.")).to_be_visible()
    (uncaught,) = [line for line in chat.console if line.startswith("uncaught")]
    assert "card-" in uncaught


def test_an_answer_behind_a_closed_window_is_counted_even_without_words_for_it(
    visit: Visit, context: BrowserContext, provider: Provider
) -> None:
    context.route("**/assets/history-*", lambda route: route.abort())
    chat = visit()
    chat.open()
    answer = provider.answer()
    chat.ask("Hello?")
    expect(chat.button("Stop")).to_be_visible()
    chat.button("Close chat").click()
    expect(chat.window).to_be_hidden()
    answer.say("Hi.")
    answer.end()
    expect(chat.button("Hi.")).to_be_visible()
    expect(chat.bubble).to_have_accessible_name("Open chat (1)")


def test_loading_earlier_messages_can_be_retried(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.answer("Hi.")
    chat.ask("Hello?")
    expect(chat.answers).to_have_text("Hi.")
    broken = "**/api/v1/conversations/*"
    chat.page.route(broken, lambda route: route.abort())
    chat.reload()
    expect(chat.log).to_contain_text("Couldn’t load your earlier messages")
    chat.page.unroute(broken)
    chat.button("Try again").click()
    expect(chat.answers).to_have_text("Hi.")


def test_a_conversation_that_the_service_has_deleted_starts_over(
    visit: Visit, shop: RunningService, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    provider.answer("Hi.")
    chat.ask("Hello?")
    expect(chat.answers).to_have_text("Hi.")
    with chat.page.expect_request("**/api/v1/conversations/*") as restoring:
        chat.reload()
    expect(chat.answers).to_have_text("Hi.")
    assert (
        httpx.delete(restoring.value.url, headers={"X-API-Key": shop.api_key, "Origin": "http://localhost"}).status_code
        == 204
    )
    provider.answer("Hi again.")
    chat.ask("Hello again?")
    expect(chat.answers.last).to_have_text("Hi again.")
    chat.reload()
    expect(chat.answers).to_have_text(["Hi again."])


def test_a_service_that_restarts_lets_an_answer_finish_and_continues(
    visit: Visit, provider: Provider, tmp_path: Path
) -> None:
    settings = {"PORT": str(free_port()), "OPENAI_BASE_URL": provider.url, "OPENAI_API_KEY": "sk"}
    with running_service(tmp_path, **settings) as service:
        chat = visit(service=service)
        chat.open()
        answer = provider.answer()
        chat.ask("Tell me all of it")
        answer.say("The first half ")
        expect(chat.answers.last).to_contain_text("The first half")
        service.process.terminate()
        answer.say("and the second half.")
        answer.end()
        expect(chat.answers.last).to_contain_text("The first half and the second half.")
        service.process.wait(timeout=60)
        with restarted(service):
            provider.answer("Still here.")
            chat.ask("Are you still there?")
            expect(chat.answers.last).to_contain_text("Still here.")
            chat.reload()
            expect(chat.answers.first).to_contain_text("The first half and the second half.")
