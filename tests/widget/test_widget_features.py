"""What visitors expect of a chat, feature by feature, as they meet it in the window."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from playwright.sync_api import BrowserContext, expect

from browser import WIDGET, Chat, Line, Provider, Visit, add_tenant, stored
from processes import RunningService, running_service
from service.errors import every_error
from service.testing.chunks import data

pytest_plugins = ["visitor"]

WINDOW = "document.querySelector('ai-chat-widget').shadowRoot.querySelector('chat-window')"
LIST = f"{WINDOW}?.shadowRoot.querySelector('message-list')?.shadowRoot"


def answered(chat: Chat, provider: Provider, question: str, answer: str) -> None:
    """Asks, and waits for the whole answer."""
    provider.answer(answer)
    chat.ask(question)
    expect(chat.answers.last).to_have_text(answer)
    expect(chat.button("Send message")).to_be_attached()


def editing_beside_a_draft(visit: Visit, provider: Provider) -> Chat:
    """The only question, "One?", is in the field to be written anew, where a draft was."""
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.field.fill("A draft")
    chat.button("Edit question").click()
    expect(chat.field).to_have_value("One?")
    return chat


def heard(chat: Chat, *names: str) -> None:
    """Has the page collect the details of events in `heard`."""
    chat.page.evaluate(
        """(names) => {
            window.heard = [];
            for (const name of names) A4ChatWidget.on(name, (detail) => heard.push({ name, ...detail }));
        }""",
        list(names),
    )


# Questions


@pytest.mark.parametrize("limit", [300, 6000])
def test_a_question_may_be_as_long_as_the_service_takes(visit: Visit, tmp_path: Path, limit: int) -> None:
    """The limit is counted down to before it is reached, and nothing longer is sent."""
    with running_service(tmp_path, MAX_MESSAGE_CHARS=f"{limit}") as service:
        chat = visit(service=service)
        chat.open()
        chat.field.fill("x" * (limit + 1))
        expect(chat.inside.get_by_text("1 character too many")).to_be_visible()
        expect(chat.button("Send message")).to_be_disabled()
        chat.field.fill("x" * limit)
        chat.field.press("Enter")
        expect(chat.answers.last).to_contain_text("demonstration")


# Answers


@pytest.mark.parametrize("first", ["\n\n#", "#", "**", "1.", "```"])
def test_the_dots_stay_until_something_of_the_answer_is_drawn(visit: Visit, provider: Provider, first: str) -> None:
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


def test_the_caret_stands_on_the_line_of_the_last_words_in_a_list(visit: Visit, provider: Provider) -> None:
    """An item's text is a block of its own: a caret behind it would stand on the next line."""
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


def test_a_new_answer_takes_the_place_of_the_last_one(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "Tell me a number", "Four.")
    provider.answer("Five.")
    chat.button("Regenerate").click()
    expect(chat.answers).to_have_text(["Five."])
    expect(chat.questions).to_have_text(["Tell me a number"])
    chat.reload()
    expect(chat.answers).to_have_text(["Five."])


def test_a_new_answer_that_fails_leaves_the_old_one(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "Tell me a number", "Four.")
    provider.refuse(401)
    chat.button("Regenerate").click()
    expect(chat.button("Try again")).to_be_visible()
    expect(chat.answers).to_have_text(["Four."])
    chat.reload()
    expect(chat.answers).to_have_text(["Four."])


def test_only_the_last_answer_can_be_made_anew_and_only_the_last_question_edited(
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
    asked = [message["content"] for message in provider.asked[-1]["messages"][1:]]
    assert asked == ["What is the capital of Norway?", "Oslo.", "And of Sweden?"]
    chat.reload()
    expect(chat.questions).to_have_text(["What is the capital of Norway?", "And of Sweden?"])
    expect(chat.answers).to_have_text(["Oslo.", "Stockholm."])


def test_escape_leaves_the_edited_question_as_it_was(visit: Visit, provider: Provider) -> None:
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


def test_a_question_that_is_being_edited_stays_behind_when_another_conversation_is_opened(
    visit: Visit, provider: Provider
) -> None:
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


def test_a_deleted_conversation_takes_the_question_that_is_being_edited_with_it(
    visit: Visit, provider: Provider
) -> None:
    chat = editing_beside_a_draft(visit, provider)
    chat.choose("Delete conversation")
    chat.inside.get_by_role("button", name="Delete", exact=True).click()
    expect(chat.questions).to_have_count(0)
    expect(chat.field).to_have_value("A draft")
    answered(chat, provider, "Two?", "2")
    expect(chat.questions).to_have_text(["Two?"])


def test_an_edited_question_never_takes_the_place_of_one_that_was_asked_since(visit: Visit, provider: Provider) -> None:
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


def test_a_new_conversation_begins_with_the_draft_and_not_with_the_question_that_was_being_edited(
    visit: Visit, provider: Provider
) -> None:
    chat = editing_beside_a_draft(visit, provider)
    chat.choose("New conversation")
    expect(chat.questions).to_have_count(0)
    expect(chat.field).to_have_value("A draft")


def test_an_answer_is_rated_with_a_comment(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    heard(chat, "feedback")
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


def test_a_rating_that_does_not_arrive_is_taken_back_and_said(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "Hello?", "Hi.")
    chat.page.route("**/feedback", lambda route: route.abort())
    chat.button("Helpful").click()
    expect(chat.window).to_contain_text("Something went wrong.")
    expect(chat.button("Helpful")).to_have_attribute("aria-pressed", "false")
    expect(chat.log.get_by_role("textbox")).to_have_count(0)


def test_a_comment_that_does_not_arrive_stays_to_be_sent_again(visit: Visit, provider: Provider) -> None:
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


def test_escape_closes_the_comment_first(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "Hello?", "Hi.")
    chat.button("Not helpful").click()
    comment = chat.log.get_by_role("textbox")
    comment.press("Escape")
    expect(comment).to_have_count(0)
    expect(chat.window).to_be_visible()
    expect(chat.button("Not helpful")).to_have_attribute("aria-pressed", "true")


def test_follow_ups_stand_under_a_complete_answer_and_ask_their_text(visit: Visit, provider: Provider) -> None:
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


def test_answers_have_their_time_and_days_are_parted(visit: Visit, context: BrowserContext, provider: Provider) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    context.clock.install(time=yesterday)
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
def test_times_and_dates_are_written_as_the_visitor_writes_the_language(
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


def test_a_long_conversation_is_drawn_once_and_the_next_message_costs_no_more(
    visit: Visit, provider: Provider, full: bool
) -> None:
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


# The menu and what it leads to


def test_the_menu_works_by_keyboard_and_escape_closes_it_first(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    more = chat.button("More")
    expect(more).to_have_attribute("aria-expanded", "false")
    more.focus()
    chat.page.keyboard.press("Enter")
    expect(more).to_have_attribute("aria-expanded", "true")
    chat.page.keyboard.press("Tab")
    expect(chat.button("Past conversations")).to_be_focused()
    chat.page.keyboard.press("Escape")
    expect(chat.button("Past conversations")).to_have_count(0)
    expect(more).to_be_focused()
    chat.page.keyboard.press("Enter")
    expect(more).to_have_attribute("aria-expanded", "true")
    chat.page.keyboard.press("Tab")
    chat.page.keyboard.press("Tab")
    expect(chat.button("Past conversations")).to_have_count(0)
    more.click()
    chat.log.click()
    expect(chat.button("Past conversations")).to_have_count(0)
    chat.page.keyboard.press("Escape")
    expect(chat.window).to_be_hidden()


def test_an_earlier_conversation_is_opened_and_goes_on(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "What is the capital of Norway?", "Oslo.")
    chat.choose("New conversation")
    answered(chat, provider, "Where is my order?", "On its way.")
    chat.reload()
    chat.choose("Past conversations")
    listed = chat.inside.get_by_role("listitem")
    expect(listed).to_have_count(2)
    expect(listed.first).to_contain_text("Where is my order?")
    expect(listed.first.get_by_role("button").first).to_have_attribute("aria-current", "true")
    listed.last.get_by_role("button", name="What is the capital").first.click()
    expect(chat.questions).to_have_text(["What is the capital of Norway?"])
    expect(chat.answers).to_have_text(["Oslo."])
    answered(chat, provider, "And its river?", "Akerselva.")
    assert provider.asked[-1]["messages"][1]["content"] == "What is the capital of Norway?"
    chat.reload()
    expect(chat.answers).to_have_text(["Oslo.", "Akerselva."])


def test_a_question_of_the_page_is_seen_also_where_the_list_of_earlier_conversations_was(
    visit: Visit, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.choose("Past conversations")
    expect(chat.button("Back")).to_be_focused()
    provider.answer("2")
    chat.page.evaluate("A4ChatWidget.send('Two?')")
    expect(chat.questions).to_have_text(["One?", "Two?"])
    expect(chat.answers.last).to_be_visible()
    expect(chat.button("Back")).to_have_count(0)


def test_another_conversation_is_shown_from_its_end_wherever_the_visitor_was_in_the_one_before(
    visit: Visit, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    latest = chat.button("Jump to latest")
    for question in ("One?", "Two?"):
        provider.answer("\n\n".join(["A line."] * 60))
        chat.ask(question)
        expect(chat.button("Regenerate")).to_be_visible()
        chat.log.evaluate("log => log.scrollTop = 0")
        expect(latest).to_be_visible()
        chat.choose("New conversation")
        expect(chat.inside.get_by_text("How can I help you today?")).to_be_visible()
        expect(latest).to_have_count(0)
    chat.choose("Past conversations")
    chat.button("Two?").first.click()
    expect(chat.button("Regenerate")).to_be_visible()
    chat.log.evaluate("log => log.scrollTop = 0")
    expect(latest).to_be_visible()
    chat.choose("Past conversations")
    chat.button("One?").first.click()
    expect(chat.questions).to_have_text("One?")
    expect(chat.button("Regenerate")).to_be_in_viewport()
    expect(latest).to_have_count(0)


@pytest.mark.parametrize("way", ["the list", "back", "another choice"])
def test_the_question_whether_to_delete_a_conversation_is_over_with_any_other_choice(
    visit: Visit, provider: Provider, way: str
) -> None:
    """Otherwise its "Delete" would be for the conversation that was opened since."""
    chat = visit('data-sound="true"')
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.choose("New conversation")
    answered(chat, provider, "Two?", "2")
    delete = chat.inside.get_by_role("button", name="Delete", exact=True)
    if way == "back":
        chat.choose("Past conversations")
    chat.choose("Delete conversation")
    expect(delete).to_be_visible()
    if way == "the list":
        chat.choose("Past conversations")
        expect(delete).to_have_count(0)
        chat.button("One?").first.click()
    elif way == "back":
        chat.button("Back").click()
    else:
        chat.choose("Sound")
    expect(chat.questions).to_have_text("One?" if way == "the list" else "Two?")
    expect(delete).to_have_count(0)


def test_an_earlier_conversation_is_deleted_after_a_second_press(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.choose("New conversation")
    answered(chat, provider, "Two?", "2")
    chat.choose("Past conversations")
    chat.button("Delete “One?”").click()
    with chat.page.expect_response(lambda response: response.request.method == "DELETE") as deleted:
        chat.inside.get_by_role("button", name="Delete", exact=True).click()
    assert deleted.value.status == 204
    expect(chat.inside.get_by_role("listitem")).to_have_count(1)
    chat.button("Back").click()
    expect(chat.field).to_be_focused()
    expect(chat.answers).to_have_text(["2"])


def test_the_list_of_earlier_conversations_says_when_there_are_none_and_escape_leaves_it(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("status")).to_have_text("No past conversations yet")
    expect(chat.button("Back")).to_be_focused()
    chat.page.keyboard.press("Escape")
    expect(chat.field).to_be_focused()
    expect(chat.window).to_be_visible()


def test_a_conversation_is_downloaded_as_text(visit: Visit, provider: Provider, tmp_path: Path) -> None:
    chat = visit('data-title="The shop"')
    chat.open()
    answered(chat, provider, "What is <b>bold</b>?", "A weight of type.")
    with chat.page.expect_download() as downloading:
        chat.choose("Download as text")
    download = downloading.value
    assert re.fullmatch(r"chat-\d{4}-\d\d-\d\d\.txt", download.suggested_filename)
    download.save_as(tmp_path / "chat.txt")
    text = (tmp_path / "chat.txt").read_text(encoding="utf-8")
    assert text.startswith("The shop\n\n")
    assert "You said:\nWhat is <b>bold</b>?\n\nAnswer:\nA weight of type.\n" in text
    assert chat.console == []


def test_the_sound_can_be_turned_off_and_stays_so(visit: Visit, context: BrowserContext, provider: Provider) -> None:
    context.add_init_script(
        """window.tones = 0;
        const start = OscillatorNode.prototype.start;
        OscillatorNode.prototype.start = function (...when) { window.tones += 1; return start.apply(this, when); };"""
    )
    chat = visit('data-sound="true"')
    chat.open()
    answered(chat, provider, "One?", "1")
    chat.frame.wait_for_function("() => tones === 1")
    chat.button("More").click()
    sound = chat.button("Sound")
    expect(sound).to_have_attribute("aria-pressed", "true")
    sound.click()
    chat.reload()
    answered(chat, provider, "Two?", "2")
    chat.button("More").click()
    expect(chat.button("Sound")).to_have_attribute("aria-pressed", "false")
    assert chat.frame.evaluate("tones") == 0


def test_a_browser_without_sound_shows_its_answers(visit: Visit, context: BrowserContext, provider: Provider) -> None:
    context.add_init_script("delete window.AudioContext")
    chat = visit('data-sound="true"')
    chat.open()
    answered(chat, provider, "One?", "1")
    answered(chat, provider, "Two?", "2")
    expect(chat.answers).to_have_text(["1", "2"])
    assert len(provider.asked) == 2
    assert chat.console == []


# Before the first message, and around it


def test_nothing_is_sent_before_the_visitor_agreed_and_that_is_asked_once(visit: Visit, provider: Provider) -> None:
    chat = visit(
        'data-consent="true" data-privacy="We keep it for 30 days." data-privacy-url="https://shop.example/privacy" '
        """data-suggestions='["Where is my order?"]'"""
    )
    chat.bubble.click()
    agree = chat.button("Agree and start")
    expect(agree).to_be_focused()
    expect(chat.field).to_have_count(0)
    expect(chat.window).to_contain_text("We keep it for 30 days.")
    link = chat.inside.get_by_role("link", name="Privacy notice")
    expect(link).to_have_attribute("href", "https://shop.example/privacy")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    chat.button("Where is my order?").click()
    chat.page.evaluate("A4ChatWidget.send('Where is my order?')")
    expect(chat.questions).to_have_count(0)
    provider.answer("On its way.")
    agree.click()
    expect(chat.answers).to_have_text("On its way.")
    expect(chat.field).to_be_focused()
    assert len(provider.asked) == 1
    chat.reload()
    expect(agree).to_have_count(0)


def test_a_privacy_note_without_consent_stands_in_the_welcome(visit: Visit) -> None:
    chat = visit('data-privacy="We keep it for 30 days."')
    chat.open()
    expect(chat.log).to_contain_text("We keep it for 30 days.")


@pytest.mark.parametrize("consent", ["", "data-consent=true"])
@pytest.mark.parametrize(
    ("locale", "title", "text", "theirs"),
    [
        ("ar", "A shop with a rather long name that goes on and on and on, Inc.", "We keep it.", "ltr"),
        ("en", "متجر", "نحتفظ بها.", "rtl"),
    ],
)
def test_words_of_the_tenant_in_another_direction_than_the_windows_keep_their_own(
    visit: Visit, consent: str, locale: str, title: str, text: str, theirs: str
) -> None:
    chat = visit(
        f'data-open data-locale={locale} data-title="{title}" data-privacy="{text}" {consent}'
        " data-privacy-url=https://shop.example/privacy"
    )
    for words in (chat.inside.get_by_role("heading", name=title), chat.inside.get_by_text(text)):
        expect(words).to_have_css("direction", theirs)
    # It stands where the window begins, and is cut off where it itself ends.
    assert chat.inside.get_by_role("heading", name=title).evaluate(
        """(heading) => {
            const text = document.createRange();
            text.selectNodeContents(heading);
            const side = document.documentElement.dir === 'rtl' ? 'right' : 'left';
            const parts = [heading, heading.nextElementSibling];
            const [at, status] = parts.map((part) => part.getBoundingClientRect()[side]);
            const begin = getComputedStyle(heading).direction === 'rtl' ? 'right' : 'left';
            const begins = text.getBoundingClientRect()[begin] - heading.getBoundingClientRect()[begin];
            const end = heading.getBoundingClientRect()[side === 'left' ? 'right' : 'left'];
            const room = heading.parentElement.getBoundingClientRect();
            const isWithin = end > room.left - 1 && end < room.right + 1;
            return [at - status, begins].every((gap) => Math.abs(gap) < 1) && isWithin;
        }"""
    )


def test_an_image_does_not_turn_the_words_behind_it_to_the_direction_of_the_window(
    visit: Visit, provider: Provider
) -> None:
    chat = visit("data-open data-locale=ar")
    provider.answer("![A map](https://maps.test/m.png) shows the way.")
    chat.page.evaluate("A4ChatWidget.send('Where?')")
    answer = chat.inside.locator("answer-text")
    expect(answer.get_by_role("paragraph")).to_have_css("direction", "ltr")
    expect(answer.get_by_role("link")).to_have_css("direction", "rtl")


def test_the_way_to_a_person_is_a_link_that_can_be_nothing_else(visit: Visit) -> None:
    for given, href in {
        "help@shop.example": "mailto:help@shop.example",
        "https://shop.example/contact": "https://shop.example/contact",
    }.items():
        chat = visit(f'data-handoff="{given}"')
        chat.open()
        chat.button("More").click()
        expect(chat.inside.get_by_role("link", name="Talk to a person")).to_have_attribute("href", href)


@pytest.mark.parametrize("given", ["javascript:alert(1)", "javascript:alert(1)@shop.example", "//evil.test"])
def test_what_is_no_way_to_a_person_is_left_out_and_the_console_says_so(visit: Visit, given: str) -> None:
    chat = visit(f'data-handoff="{given}"')
    chat.open()
    expect(chat.inside.get_by_role("link")).to_have_count(0)
    assert chat.console == ["warning: A4ChatWidget: data-handoff is too long or wrong, and is left out."]


def test_a_draft_is_there_after_a_reload_and_gone_once_it_is_sent(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    chat.field.fill("A first line\nand a second")
    chat.reload()
    expect(chat.field).to_have_value("A first line\nand a second")
    box = chat.field.bounding_box()
    assert box is not None and box["height"] > 60
    provider.answer("Yes.")
    chat.field.press("Enter")
    expect(chat.answers).to_have_text("Yes.")
    chat.reload()
    expect(chat.field).to_have_value("")


def test_a_draft_that_is_too_long_to_send_is_there_after_a_reload(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.field.fill("😀" * 4100)
    expect(chat.inside.get_by_text("100 characters too many")).to_be_visible()
    chat.reload()
    expect(chat.field).to_have_value("😀" * 4100)


def test_a_question_asked_offline_is_said_to_wait_and_goes_on_by_itself(
    visit: Visit, context: BrowserContext, provider: Provider
) -> None:
    context.clock.install()
    chat = visit()
    chat.open()
    context.set_offline(True)
    notice = chat.inside.locator(".offline")
    expect(notice).to_contain_text("You’re offline.")
    chat.ask("Hello?")
    context.clock.run_for(60_000)
    expect(chat.button("Stop")).to_be_visible()
    expect(chat.button("Try again")).to_have_count(0)
    provider.answer("Back again.")
    context.set_offline(False)
    expect(chat.answers).to_have_text("Back again.")
    expect(notice).to_have_count(0)
    assert len(provider.asked) == 1


def test_a_rate_limit_is_told_to_the_page(shop: RunningService, visit: Visit, provider: Provider) -> None:
    chat = visit(service=add_tenant(shop, "limits", "--visitor-rate-per-minute", "1"))
    chat.open()
    heard(chat, "limit")
    answered(chat, provider, "Once?", "Once.")
    chat.ask("Twice?")
    expect(chat.button(re.compile(r"^Try again in \d:\d\d$"))).to_be_disabled()
    chat.page.wait_for_function("() => heard.length === 1")
    assert chat.page.evaluate("heard[0].code") == "visitor_rate_limited"


def test_the_window_has_words_of_its_own_for_every_error_but_those_that_only_a_program_makes() -> None:
    lists = re.findall(r"^ +\[?'([\w ]+)',", (WIDGET / "src/window/conversation/problems.ts").read_text(), re.MULTILINE)
    told = set(" ".join(lists).split())
    by_a_program = {"bad_request", "malformed_json", "method_not_allowed", "unsupported_media_type", "message_id_taken"}
    before_it_is_read = {"request_timeout", "head_too_large"}
    elsewhere = {
        "metrics_token_wrong",
        "studio_token_wrong",
        "conversation_not_found",
        "conversation_changed",
        "handoff_not_set_up",
        "not_found",
    }
    assert every_error().keys() - told == by_a_program | before_it_is_read | elsewhere


def test_an_edited_question_that_was_refused_still_replaces_the_old_one(
    visit: Visit, line: Line, provider: Provider
) -> None:
    chat = visit(url=line.url)
    chat.open()
    answered(chat, provider, "One?", "1")
    refused = "**/api/v1/chat"
    chat.page.route(refused, lambda route: route.fulfill(status=429, headers={"Retry-After": "1"}, body="{}"))
    chat.button("Edit question").click()
    chat.field.fill("Two?")
    chat.field.press("Enter")
    expect(chat.questions).to_have_text(["Two?"])
    expect(chat.button("Try again")).to_be_enabled()
    chat.page.unroute(refused)
    provider.answer("2")
    chat.button("Try again").click()
    expect(chat.answers).to_have_text(["2"])
    chat.reload()
    expect(chat.questions).to_have_text(["Two?"])
    expect(chat.answers).to_have_text(["2"])


def test_a_token_that_expired_is_said_and_told_to_the_page(visit: Visit) -> None:
    chat = visit()
    chat.open()
    heard(chat, "error")
    problem = (
        '{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Expired.","code":"user_token_expired"}'
    )
    chat.page.route("**/api/v1/chat", lambda route: route.fulfill(status=401, body=problem))
    chat.ask("Who am I?")
    expect(chat.log).to_contain_text("Your session has expired.")
    chat.page.wait_for_function("() => heard.length === 1")
    assert chat.page.evaluate("heard[0].code") == "user_token_expired"


# How it stands on the page


def test_an_answer_that_comes_while_the_window_is_closed_is_counted_and_previewed(
    visit: Visit, provider: Provider
) -> None:
    chat = visit()
    chat.open()
    for answer, preview in [("Yes, on **Monday**.", "Yes, on Monday."), ("And on Thursday.", "And on Thursday.")]:
        answering = provider.answer()
        chat.ask("When do you ship?")
        expect(chat.button("Stop")).to_be_visible()
        chat.button("Close chat").click()
        expect(chat.window).to_be_hidden()
        answering.say(answer)
        answering.end()
        expect(chat.button(preview)).to_be_visible()
        expect(chat.bubble).to_have_accessible_name("Open chat (1 new message)")
        chat.bubble.click()
        expect(chat.window).to_be_visible()
        chat.until_still()
        expect(chat.answers.last).to_have_text(preview)
        expect(chat.button(preview)).to_be_hidden()
    chat.button("Close chat").click()
    expect(chat.bubble).to_have_accessible_name("Open chat")


def test_an_answer_that_fails_while_the_window_is_closed_is_counted_too(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answering = provider.answer()
    chat.ask("When do you ship?")
    expect(chat.button("Stop")).to_be_visible()
    chat.button("Close chat").click()
    expect(chat.window).to_be_hidden()
    answering.fail()
    expect(chat.bubble).to_have_accessible_name("Open chat (1 new message)")


def test_in_the_flow_of_a_page_it_is_a_region_that_neither_closes_nor_grows(visit: Visit) -> None:
    chat = visit()
    chat.open()
    expect(chat.button("Expand")).to_be_visible()
    chat.frame.evaluate(f"{WINDOW}.place({{ mode: 'inline', open: true, expanded: false, full: false, dark: false }})")
    expect(chat.inside.get_by_role("region", name="Chat")).to_be_visible()
    expect(chat.window).to_have_count(0)
    expect(chat.button("Close chat")).to_have_count(0)
    expect(chat.button("Expand")).to_have_count(0)
    chat.field.press("Escape")
    expect(chat.field).to_be_visible()


def test_a_larger_window_is_asked_for_and_can_be_made_smaller_again(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(f"{WINDOW}.addEventListener('window-expand', () => {{ window.asked = true }})")
    chat.button("Expand").click()
    assert chat.frame.evaluate("asked")
    chat.frame.evaluate(f"{WINDOW}.place({{ mode: 'bubble', open: true, expanded: true, full: false, dark: false }})")
    expect(chat.button("Collapse")).to_be_visible()


def test_the_facts_of_a_page_and_the_visitors_token_go_with_each_question(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(f"{WINDOW}.identify('header.body.signature'); {WINDOW}.setContext({{ plan: 'gold' }})")
    chat.page.route("**/api/v1/chat", lambda route: route.fulfill(status=403, body="{}"))
    with chat.page.expect_request("**/api/v1/chat") as asking:
        chat.ask("Hello?")
    assert asking.value.headers["x-user-token"] == "header.body.signature"
    body = asking.value.post_data_json
    assert body is not None and body["context"] == {"plan": "gold"}


def test_a_visitor_whom_the_service_knows_sees_its_list_of_conversations(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(f"{WINDOW}.identify('header.body.signature')")
    listed = [
        {"id": "6f1b1f0e-5a52-4a63-9f0a-000000000001", "title": "From my phone", "updated_at": "2026-01-02T12:00:00Z"}
    ]
    chat.page.route("**/api/v1/conversations", lambda route: route.fulfill(json={"conversations": listed}))
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("listitem")).to_contain_text(re.compile("From my phone.*January 2, 2026", re.DOTALL))


def test_a_visitor_who_signs_out_leaves_neither_a_conversation_nor_its_title_nor_a_draft_behind(
    visit: Visit, tmp_path: Path
) -> None:
    secret = "a secret that only the service and the shop know"
    with running_service(tmp_path, SHOP_SECRET=secret) as service:
        service.manage("tenant", "set", "shop", "--identity-secret-env", "SHOP_SECRET")
        chat = visit(service=service)
        chat.open()
        now = datetime.now(UTC)
        claims = {"sub": "alice", "iat": now, "exp": now + timedelta(hours=1)}
        chat.page.evaluate("token => A4ChatWidget.identify(token)", jwt.encode(claims, secret, algorithm="HS256"))
        chat.ask("Where is my parcel?")
        expect(chat.button("Regenerate")).to_be_visible()
        chat.field.fill("My address is")
        chat.page.evaluate("A4ChatWidget.identify('')")
        expect(chat.inside.get_by_text("How can I help you today?")).to_be_visible()
        expect(chat.field).to_have_value("")
        chat.choose("Past conversations")
        expect(chat.inside.get_by_role("status")).to_have_text("No past conversations yet")


def test_a_list_of_conversations_that_does_not_come_says_so(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(f"{WINDOW}.identify('header.body.signature')")
    chat.page.route("**/api/v1/conversations", lambda route: route.abort())
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("status")).to_have_text("Couldn’t load your earlier messages.")


# Sources


def test_sources_of_an_answer_are_linked_by_their_numbers_and_listed_with_their_hosts(
    visit: Visit, provider: Provider
) -> None:
    """They are there again after a reload."""
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
