"""The scroll position while an answer grows: at its question, at its end, or where the visitor has scrolled."""

import pytest
from playwright.sync_api import expect

from browser import Chat, Provider, ProviderAnswer, Visit, answered

pytest_plugins = ["visitor"]

BELOW = "({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight"
TOP = "log => log.scrollTop"


def lines(first: int, last: int) -> str:
    return "".join(f"Line {number}.\n\n" for number in range(first, last))


def grow(chat: Chat, answer: ProviderAnswer, first: int, last: int) -> None:
    answer.say(lines(first, last))
    expect(chat.answers.last).to_contain_text(f"Line {last - 1}.")


def below_the_edge(chat: Chat) -> float:
    """The distance of the last question from the conversation's upper edge."""
    question, log = chat.questions.last.locator("..").bounding_box(), chat.log.bounding_box()
    assert question and log
    return question["y"] - log["y"]


def ask_with_long_answer(chat: Chat, provider: Provider) -> ProviderAnswer:
    """A second question, with an answer longer than the window."""
    chat.open()
    answered(chat, provider, "One?", "1")
    answer = provider.answer()
    chat.ask("Two?")
    grow(chat, answer, 0, 5)
    expect(chat.button("Jump to latest")).to_have_count(0)
    grow(chat, answer, 5, 60)
    return answer


def test_a_long_answer_stops_scrolling_once_its_question_is_at_the_top(visit: Visit, provider: Provider) -> None:
    chat = visit()
    answer = ask_with_long_answer(chat, provider)
    latest = chat.button("Jump to latest")
    expect(latest).to_be_visible()
    assert below_the_edge(chat) == pytest.approx(12, abs=1)
    top = chat.log.evaluate(TOP)
    grow(chat, answer, 60, 70)
    answer.end()
    expect(chat.button("Regenerate")).to_be_attached()
    assert chat.log.evaluate(TOP) == top
    latest.click()
    expect(chat.button("Regenerate")).to_be_in_viewport()
    expect(latest).to_have_count(0)
    expect(chat.log).to_be_focused()


def test_the_arrow_follows_the_answer_from_then_on(visit: Visit, provider: Provider) -> None:
    chat = visit()
    answer = ask_with_long_answer(chat, provider)
    chat.button("Jump to latest").click()
    expect(chat.button("Jump to latest")).to_have_count(0)
    grow(chat, answer, 60, 120)
    assert chat.log.evaluate(BELOW) <= 1
    expect(chat.button("Jump to latest")).to_have_count(0)


def test_a_visitor_who_scrolls_to_the_end_stays_there(visit: Visit, provider: Provider) -> None:
    chat = visit()
    answer = ask_with_long_answer(chat, provider)
    chat.log.evaluate("log => { log.onscrollend = () => console.log('scrolled') }")
    chat.log.hover()
    chat.page.mouse.wheel(0, 10_000)
    chat.until_logged("scrolled")
    expect(chat.button("Jump to latest")).to_have_count(0)
    grow(chat, answer, 60, 120)
    assert chat.log.evaluate(BELOW) <= 1


@pytest.mark.parametrize("way", [200, -200])
def test_a_visitor_who_scrolls_elsewhere_stays_there_until_the_next_question(
    visit: Visit, provider: Provider, way: int
) -> None:
    chat = visit()
    answer = ask_with_long_answer(chat, provider)
    before = chat.log.evaluate(TOP)
    chat.log.focus()
    chat.log.evaluate("(log, way) => log.scrollBy(0, way)", way)
    chat.frame.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    there = chat.log.evaluate(TOP)
    assert there != before
    grow(chat, answer, 60, 120)
    assert chat.log.evaluate(TOP) == there
    answer.end()
    answered(chat, provider, "Three?", "3")
    expect(chat.button("Regenerate")).to_be_in_viewport()
    expect(chat.button("Jump to latest")).to_have_count(0)


def test_the_end_of_a_long_question_is_visible_with_its_answer(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answer = provider.answer()
    chat.field.fill("A long question. " * 200)
    chat.field.press("Enter")
    grow(chat, answer, 0, 60)
    expect(chat.button("Jump to latest")).to_be_visible()
    log, text = chat.log.bounding_box(), chat.answers.bounding_box()
    assert log and text
    assert text["y"] - log["y"] == pytest.approx(log["height"] / 2, abs=40)


def test_another_answer_to_the_same_question_is_read_from_its_beginning_too(visit: Visit, provider: Provider) -> None:
    chat = visit()
    answer = ask_with_long_answer(chat, provider)
    answer.end()
    chat.button("Jump to latest").click()
    again = provider.answer()
    chat.button("Regenerate").click()
    grow(chat, again, 100, 160)
    expect(chat.button("Jump to latest")).to_be_visible()
    assert below_the_edge(chat) == pytest.approx(12, abs=1)


def test_a_restored_conversation_is_shown_from_its_end(visit: Visit, provider: Provider) -> None:
    chat = visit()
    ask_with_long_answer(chat, provider).end()
    expect(chat.button("Regenerate")).to_be_attached()
    chat.reload()
    expect(chat.button("Regenerate")).to_be_in_viewport()
    expect(chat.button("Jump to latest")).to_have_count(0)


def test_a_long_welcome_has_no_arrow(visit: Visit) -> None:
    chat = visit(f'data-greeting="{"Welcome to our shop. " * 45}"')
    chat.page.set_viewport_size({"width": 400, "height": 500})
    chat.open()
    assert chat.log.evaluate(BELOW) > 24
    expect(chat.button("Jump to latest")).to_have_count(0)
