"""Questions and answers in the window: edited, regenerated, rated, and with sources."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from browser import Chat, Provider, Visit, answered, record_events, stored
from processes import running_service
from service.testing.chunks import data

pytest_plugins = ["visitor"]

WINDOW = "document.querySelector('ai-chat-widget').shadowRoot.querySelector('chat-window')"
LIST = f"{WINDOW}?.shadowRoot.querySelector('message-list')?.shadowRoot"


def editing_beside_a_draft(visit: Visit, provider: Provider) -> Chat:
    """The only question, "One?", is being edited in the field, which had a draft."""
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.field.fill("A draft")
    chat.button("Edit question").click()
    expect(chat.field).to_have_value("One?")
    return chat


@pytest.mark.parametrize("limit", [300, 6000])
def test_a_question_may_be_as_long_as_the_service_allows(visit: Visit, tmp_path: Path, limit: int) -> None:
    """A countdown shows before the limit is reached, and longer texts aren't sent."""
    with running_service(tmp_path, MAX_MESSAGE_CHARS=f"{limit}") as service:
        chat = visit(service=service)
        chat.open()
        chat.field.fill("x" * (limit + 1))
        expect(chat.inside.get_by_text("1 character too many")).to_be_visible()
        expect(chat.button("Send message")).to_be_disabled()
        chat.field.fill("x" * limit)
        chat.field.press("Enter")
        expect(chat.answers.last).to_contain_text("demonstration")


@pytest.mark.parametrize("first", ["\n\n#", "#", "**", "1.", "```"])
def test_the_typing_indicator_stays_until_part_of_the_answer_is_drawn(
    visit: Visit, provider: Provider, first: str
) -> None:
    """The first characters may be markers, which show nothing. A blank beginning is not sent before what follows it."""
    chat = visit()
    chat.open()
    dots = chat.log.locator("typing-indicator")
    answer = provider.answer()
    chat.ask("A list?")
    expect(dots).to_be_visible()
    before = dots.bounding_box()
    with chat.page.expect_event("console", lambda message: message.text == "grown"):
        chat.frame.evaluate(
            f"""() => {{
                const text = {LIST}.querySelector('.last answer-text');
                const set = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(text), 'markdown').set;
                Object.defineProperty(text, 'markdown', {{
                    set(value) {{ set.call(this, value); if (value[0]) console.log('grown'); }},
                }});
            }}"""
        )
        answer.say(first)
    expect(dots).to_be_visible()
    assert dots.bounding_box() == before
    answer.say(" Words\n")
    expect(chat.answers).to_contain_text("Words")
    expect(dots).to_be_hidden()
    answer.end()
    expect(chat.button("Regenerate")).to_be_visible()
    expect(dots).to_have_count(0)


def test_the_caret_is_on_the_last_line_of_a_list(visit: Visit, provider: Provider) -> None:
    """An item's text is a block, so a caret after it would be on the next line."""
    chat = visit()
    chat.open()
    answer = provider.answer()
    chat.ask("What do I need?")
    answer.say("You need:\n\n- One cup\n- Two spoons")
    item = chat.answers.last.get_by_role("listitem").last
    expect(item).to_have_text("Two spoons")
    assert item.evaluate(
        """(item) => {
            const text = item.querySelector('p');
            const caret = [item, text].filter((part) => getComputedStyle(part, '::after').content !== 'none');
            return caret.length === 1 && item.offsetHeight === text.offsetHeight && text.offsetHeight < 40;
        }"""
    )
    answer.end()
    expect(chat.button("Copy")).to_be_attached()
    assert item.locator("p").evaluate("(text) => getComputedStyle(text, '::after').content") == "none"


def test_a_regenerated_answer_replaces_the_last_one(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "Tell me a number", "Four.")
    provider.answer("Five.")
    chat.button("Regenerate").click()
    expect(chat.answers).to_have_text(["Five."])
    expect(chat.questions).to_have_text(["Tell me a number"])
    chat.reload()
    expect(chat.answers).to_have_text(["Five."])


def test_a_failed_regeneration_keeps_the_old_answer(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "Tell me a number", "Four.")
    provider.refuse(401)
    chat.button("Regenerate").click()
    expect(chat.button("Try again")).to_be_visible()
    expect(chat.answers).to_have_text(["Four."])
    chat.reload()
    expect(chat.answers).to_have_text(["Four."])


def test_only_the_last_answer_can_be_regenerated_and_only_the_last_question_edited(
    visit: Visit, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    answered(chat, provider, "Two?", "2")
    expect(chat.button("Regenerate")).to_have_count(1)
    expect(chat.button("Edit question")).to_have_count(1)
    expect(chat.button("Copy")).to_have_count(2)


def test_an_edited_question_replaces_the_last_one_and_its_answer(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "What is the capital of Norway?", "Oslo.")
    answered(chat, provider, "And of Sweeden?", "Sorry?")
    chat.field.fill("A draft")
    chat.button("Edit question").click()
    expect(chat.field).to_be_focused()
    expect(chat.field).to_have_value("And of Sweeden?")
    provider.answer("Stockholm.")
    chat.field.fill("And of Sweden?")
    chat.field.press("Enter")
    expect(chat.questions).to_have_text(["What is the capital of Norway?", "And of Sweden?"])
    expect(chat.answers).to_have_text(["Oslo.", "Stockholm."])
    expect(chat.field).to_have_value("A draft")
    messages = [message["content"] for message in provider.asked[-1]["messages"][1:]]
    assert messages == ["What is the capital of Norway?", "Oslo.", "And of Sweden?"]
    chat.reload()
    expect(chat.questions).to_have_text(["What is the capital of Norway?", "And of Sweden?"])
    expect(chat.answers).to_have_text(["Oslo.", "Stockholm."])


def test_escape_cancels_editing_a_question(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.button("Edit question").click()
    chat.field.fill("Two?")
    chat.field.press("Escape")
    expect(chat.field).to_have_value("")
    expect(chat.questions).to_have_text(["One?"])
    expect(chat.window).to_be_visible()
    chat.field.press("Escape")
    expect(chat.window).to_be_hidden()


def test_opening_another_conversation_cancels_editing(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.choose("New conversation")
    answered(chat, provider, "Two?", "2")
    chat.button("Edit question").click()
    expect(chat.field).to_have_value("Two?")
    chat.choose("Past conversations")
    chat.button("One?").first.click()
    expect(chat.questions).to_have_text(["One?"])
    expect(chat.field).to_have_value("")
    answered(chat, provider, "Three?", "3")
    expect(chat.questions).to_have_text(["One?", "Three?"])


def test_deleting_a_conversation_cancels_editing(visit: Visit, provider: Provider) -> None:
    chat = editing_beside_a_draft(visit, provider)
    chat.choose("Delete conversation")
    chat.inside.get_by_role("button", name="Delete", exact=True).click()
    expect(chat.questions).to_have_count(0)
    expect(chat.field).to_have_value("A draft")
    answered(chat, provider, "Two?", "2")
    expect(chat.questions).to_have_text(["Two?"])


def test_an_edited_question_never_replaces_a_newer_one(visit: Visit, provider: Provider) -> None:
    chat = visit("""data-follow-ups='["And to Iceland?"]'""")
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.button("Edit question").click()
    provider.answer("2")
    chat.button("And to Iceland?").click()
    expect(chat.answers.last).to_have_text("2")
    expect(chat.button("Cancel")).to_have_count(0)
    chat.button("Edit question").click()
    provider.answer("3")
    chat.page.evaluate("A4ChatWidget.send('From the page')")
    expect(chat.answers.last).to_have_text("3")
    expect(chat.button("Cancel")).to_have_count(0)
    answered(chat, provider, "Four?", "4")
    expect(chat.questions).to_have_text(["One?", "And to Iceland?", "From the page", "Four?"])


def test_a_new_conversation_keeps_the_draft_but_not_the_question_being_edited(visit: Visit, provider: Provider) -> None:
    chat = editing_beside_a_draft(visit, provider)
    chat.choose("New conversation")
    expect(chat.questions).to_have_count(0)
    expect(chat.field).to_have_value("A draft")


def test_an_answer_can_be_rated_with_a_comment(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    record_events(chat, "feedback")
    answered(chat, provider, "Hello?", "What?")
    with chat.page.expect_response("**/feedback") as rated:
        chat.button("Not helpful").click()
    assert rated.value.status == 204
    expect(chat.button("Not helpful")).to_have_attribute("aria-pressed", "true")
    expect(chat.button("Helpful")).to_have_attribute("aria-pressed", "false")
    comment = chat.log.get_by_role("textbox", name="What went wrong? (optional)")
    comment.fill("Say hello back.")
    with chat.page.expect_response("**/feedback") as commented:
        comment.press("Enter")
    assert commented.value.request.post_data_json == {"rating": "down", "comment": "Say hello back."}
    expect(comment).to_have_count(0)
    expect(chat.window).to_contain_text("Thank you for your feedback.")
    chat.page.wait_for_function("() => heard.length === 2")
    assert [event["rating"] for event in chat.page.evaluate("heard")] == ["down", "down"]
    chat.reload()
    expect(chat.button("Not helpful")).to_have_attribute("aria-pressed", "true")
    assert chat.console == []


def test_a_failed_rating_is_reverted_and_reported(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "Hello?", "Hi.")
    chat.page.route("**/feedback", lambda route: route.abort())
    chat.button("Helpful").click()
    expect(chat.window).to_contain_text("Something went wrong.")
    expect(chat.button("Helpful")).to_have_attribute("aria-pressed", "false")
    expect(chat.log.get_by_role("textbox")).to_have_count(0)


def test_a_failed_comment_can_be_sent_again(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "Hello?", "Hi.")
    with chat.page.expect_response("**/feedback"):
        chat.button("Not helpful").click()
    comment = chat.log.get_by_role("textbox")
    comment.fill("Say more.")
    chat.page.route("**/feedback", lambda route: route.abort())
    comment.press("Enter")
    expect(chat.window).to_contain_text("Something went wrong.")
    expect(comment).to_have_value("Say more.")
    expect(chat.button("Not helpful")).to_have_attribute("aria-pressed", "true")
    chat.page.unroute("**/feedback")
    comment.press("Enter")
    expect(chat.window).to_contain_text("Thank you for your feedback.")
    expect(comment).to_have_count(0)


def test_escape_closes_the_comment_form_first(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "Hello?", "Hi.")
    chat.button("Not helpful").click()
    comment = chat.log.get_by_role("textbox")
    comment.press("Escape")
    expect(comment).to_have_count(0)
    expect(chat.window).to_be_visible()
    expect(chat.button("Not helpful")).to_have_attribute("aria-pressed", "true")


def test_follow_ups_appear_below_a_complete_answer_and_send_their_text(visit: Visit, provider: Provider) -> None:
    chat = visit("""data-follow-ups='["And to Iceland?"]'""")
    chat.open()
    expect(chat.button("And to Iceland?")).to_have_count(0)
    answered(chat, provider, "Do you ship to Norway?", "Yes.")
    provider.answer("There, too.")
    chat.button("And to Iceland?").click()
    expect(chat.questions.last).to_have_text("And to Iceland?")
    expect(chat.answers.last).to_have_text("There, too.")
    provider.refuse(401)
    chat.ask("Really?")
    expect(chat.button("Try again")).to_be_visible()
    expect(chat.button("And to Iceland?")).to_have_count(0)


@pytest.mark.parametrize("context", [{"timezone_id": "Europe/London"}], indirect=True)
def test_answers_show_their_time_and_days_are_separated(
    visit: Visit, context: BrowserContext, provider: Provider
) -> None:
    context.clock.install(time=datetime(2026, 3, 30, 13, 52, tzinfo=UTC))
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    expect(chat.log.get_by_text("today")).to_have_count(1)
    expect(chat.log.locator("time")).to_have_text(re.compile(r"^\d{1,2}:\d\d [AP]M$"))
    context.clock.fast_forward(86_400_000)
    answered(chat, provider, "Two?", "2")
    answered(chat, provider, "Three?", "3")
    expect(chat.log.get_by_text("yesterday")).to_have_count(1)
    expect(chat.log.get_by_text("today")).to_have_count(1)
    expect(chat.log.locator("time")).to_have_count(3)


@pytest.mark.parametrize("context", [{"locale": "en-GB", "timezone_id": "Europe/London"}], indirect=True)
def test_times_and_dates_follow_the_visitors_regional_format(
    visit: Visit, context: BrowserContext, provider: Provider, tmp_path: Path
) -> None:
    context.clock.install(time=datetime(2026, 3, 30, 13, 52, tzinfo=UTC))
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    expect(chat.log.locator("time")).to_have_text("14:52")
    with chat.page.expect_download() as downloading:
        chat.choose("Download as text")
    downloading.value.save_as(tmp_path / "chat.txt")
    assert "30/03/2026, 14:52:" in (tmp_path / "chat.txt").read_text(encoding="utf-8")
    context.clock.fast_forward(3 * 86_400_000)
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("listitem")).to_contain_text("30 March 2026")
    assert chat.frame.evaluate("document.documentElement.lang") == "en"


def test_a_new_message_does_not_redraw_a_long_conversation(visit: Visit, provider: Provider, full: bool) -> None:
    turns = 5000 if full else 500
    chat = visit()
    chat.open()
    answered(chat, provider, "Hello?", "Hi.")
    conversation = stored((f"user {turn}", f"assistant {turn}") for turn in range(turns))
    chat.page.route("**/api/v1/conversations/*", lambda route: route.fulfill(json=conversation))
    # By roles and labels so many elements take the browser's driver a minute.
    chat.page.reload()
    chat.inside.locator("textarea").focus()
    chat.frame.wait_for_function(f"() => {LIST}?.querySelectorAll('.turn').length === {turns}")
    chat.frame.evaluate(
        f"""() => {{
            window.touched = new Set();
            new MutationObserver((records) => {{
                for (const {{ target }} of records) {{
                    const turn = (target.closest ? target : target.parentElement)?.closest('.turn');
                    if (turn) touched.add(turn);
                }}
            }}).observe({LIST}, {{ subtree: true, childList: true, characterData: true, attributes: true }});
        }}"""
    )
    provider.answer("Still here.")
    chat.page.keyboard.type("And now?")
    chat.page.keyboard.press("Enter")
    chat.frame.wait_for_function(f"() => {LIST}.querySelector('.last .answer .text').textContent === 'Still here.'")
    # The new turn, and the one before it, which is not the last one any more.
    assert chat.frame.evaluate("touched.size") <= 2
    left = "({ scrollHeight, scrollTop, clientHeight }) => scrollHeight - scrollTop - clientHeight"
    assert chat.frame.evaluate(f"({left})({LIST}.querySelector('.scroll'))") < 24


def test_citations_are_linked_and_sources_listed_with_their_hosts(visit: Visit, provider: Provider) -> None:
    """They are still there after a reload."""
    chat = visit('data-locale="fr"')
    chat.button("Ouvrir le chat").click()
    answer = provider.answer()
    answer.say("Returns are free [1], on weekdays [2].")
    cited = [
        {"type": "url_citation", "url_citation": {"title": "Returns", "url": "https://help.example/returns#free"}},
        {"type": "url_citation", "url_citation": {"title": "shop.example: hours", "url": "https://hours.example/"}},
    ]
    answer.pieces.put(data({"choices": [{"index": 0, "delta": {"annotations": cited}, "finish_reason": None}]}))
    answer.end()
    chat.field.fill("Free?")
    chat.field.press("Enter")
    for _ in range(2):
        number = chat.inside.get_by_role("link", name="1", exact=True)
        expect(number).to_have_attribute("href", "https://help.example/returns#free")
        expect(number).to_have_attribute("rel", "noopener noreferrer nofollow")
        expect(number).to_have_attribute("title", "Returns (help.example)")
        items = chat.inside.get_by_role("group", name="Sources").get_by_role("listitem")
        expect(items).to_have_text(["Returns help.example", "shop.example: hours hours.example"])
        expect(items.last.get_by_role("link")).to_have_attribute("href", "https://hours.example/")
        chat.reload()
