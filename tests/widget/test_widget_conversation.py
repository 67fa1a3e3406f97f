"""A visitor's conversation, from the closed bubble to a new conversation."""

import re

from playwright.sync_api import BrowserContext, expect

from browser import Chat, Provider, Visit, add_tenant, answer_in_progress
from held_requests import held_requests
from processes import RunningService

pytest_plugins = ["visitor"]


def test_a_visitor_asks_stops_closes_reloads_and_finds_the_conversation(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()

    answer = answer_in_progress(chat, provider, "Do you ship to Norway?", "Yes,")
    answer.say(" we")
    expect(chat.answers).to_have_text("Yes, we")
    answer.say(" do.")
    answer.end()
    expect(chat.answers).to_have_text("Yes, we do.")
    expect(chat.button("Copy")).to_be_visible()

    answer = provider.answer()
    chat.ask("How long does it take?")
    answer.say("About a")
    expect(chat.answers.last).to_have_text("About a")
    chat.button("Stop").click()
    expect(chat.log).to_contain_text("Stopped")
    expect(chat.answers.last).to_have_text("About a")

    provider.answer("Two weeks.")
    chat.ask("Again, please?")
    expect(chat.answers.last).to_have_text("Two weeks.")

    def has_everything() -> None:
        expect(chat.questions).to_have_text(["Do you ship to Norway?", "How long does it take?", "Again, please?"])
        expect(chat.answers).to_have_text(["Yes, we do.", "About a", "Two weeks."])

    chat.button("Close chat").click()
    expect(chat.window).to_be_hidden()
    chat.open()
    has_everything()
    chat.reload()
    has_everything()
    expect(chat.log).to_contain_text("Stopped")

    chat.choose("New conversation")
    expect(chat.questions).to_have_count(0)
    expect(chat.log).to_contain_text("How can I help you")
    chat.reload()
    expect(chat.log).to_contain_text("How can I help you")
    assert chat.console == []


def test_the_second_question_is_sent_with_the_first(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.answer("It is Oslo.")
    chat.ask("What is the capital of Norway?")
    expect(chat.button("Copy")).to_have_count(1)
    provider.answer("About 700,000 do.")
    chat.ask("How many people live there?")
    expect(chat.button("Copy")).to_have_count(2)
    assert [(message["role"], message["content"]) for message in provider.asked[1]["messages"][1:]] == [
        ("user", "What is the capital of Norway?"),
        ("assistant", "It is Oslo."),
        ("user", "How many people live there?"),
    ]


def test_a_question_typed_during_an_answer_stays_a_draft_until_it_ends(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "First?", "One")
    chat.field.fill("Second?")
    chat.field.press("Enter")
    expect(chat.field).to_have_value("Second?")
    expect(chat.questions).to_have_count(1)
    answer.end()
    expect(chat.button("Send message")).to_be_enabled()
    provider.answer("Two")
    chat.field.press("Enter")
    expect(chat.answers).to_have_text(["One", "Two"])
    expect(chat.field).to_have_value("")


def test_a_double_click_sends_or_stops_once(visit: Visit, provider: Provider) -> None:
    """Send and Stop are in the same place."""
    chat = visit()
    chat.open()
    answer = provider.answer()
    chat.field.fill("First?")
    chat.button("Send message").dblclick()
    answer.say("One")
    expect(chat.answers).to_have_text("One")
    chat.field.fill("Half a dra")
    chat.button("Stop").dblclick()
    expect(chat.log).to_contain_text("Stopped")
    expect(chat.field).to_have_value("Half a dra")
    expect(chat.questions).to_have_count(1)
    provider.answer("Two")
    chat.button("Send message").click()
    expect(chat.answers.last).to_have_text("Two")


def test_a_queued_question_is_visible_at_the_end(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    first = answer_in_progress(chat, provider, "First?", "One")
    chat.page.evaluate("A4ChatWidget.send('Second?'); A4ChatWidget.send('Third?')")
    expect(chat.questions).to_have_text(["First?", "Second?", "Third?"])
    expect(chat.questions.last).to_be_in_viewport()
    expect(chat.answers).to_have_text(["One"])
    second = provider.answer()
    first.end()
    second.say("Two")
    expect(chat.answers).to_have_text(["One", "Two"])
    expect(chat.questions).to_have_text(["First?", "Second?", "Third?"])
    provider.answer("Three")
    second.end()
    expect(chat.answers).to_have_text(["One", "Two", "Three"])
    expect(chat.questions).to_have_text(["First?", "Second?", "Third?"])


def test_a_question_is_visible_while_the_conversation_loads(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.answer("One")
    chat.ask("First?")
    expect(chat.button("Copy")).to_be_visible()
    with held_requests(chat.page, "**/api/v1/conversations/*") as loading:
        chat.reload()
        expect(chat.inside.get_by_text("Loading")).to_be_visible()
        chat.field.fill("Second?")
        chat.field.press("Enter")
        expect(chat.questions).to_have_text(["Second?"])
        provider.answer("Two")
        loading[0].continue_()
    expect(chat.answers).to_have_text(["One", "Two"])
    expect(chat.questions).to_have_text(["First?", "Second?"])


def test_closing_and_opening_keeps_the_answer_going_and_the_draft(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "Hello?", "Hi")
    chat.field.fill("A draft")
    chat.button("Close chat").click()
    expect(chat.window).to_be_hidden()
    answer.say(" there.")
    answer.end()
    chat.open()
    expect(chat.answers).to_have_text("Hi there.")
    expect(chat.field).to_have_value("A draft")


def test_a_page_reloaded_during_an_answer_ends_with_the_whole_of_it(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "Tell me everything", "The beginning")
    chat.page.reload()
    answer.say(", the middle")
    expect(chat.answers).to_have_text("The beginning, the middle")
    answer.say(" and the end.")
    answer.end()
    expect(chat.answers).to_have_text("The beginning, the middle and the end.")
    expect(chat.questions).to_have_text(["Tell me everything"])
    assert len(provider.asked) == 1


def test_deleting_a_conversation_deletes_it_from_the_service(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.answer("Forget me.")
    chat.ask("Hello?")
    expect(chat.answers).to_have_text("Forget me.")
    with chat.page.expect_response(lambda response: response.request.method == "DELETE") as deleted:
        chat.choose("Delete conversation")
        chat.inside.get_by_role("button", name="Delete", exact=True).click()
    assert deleted.value.status == 204
    expect(chat.questions).to_have_count(0)
    chat.reload()
    expect(chat.log).to_contain_text("How can I help you")


def test_two_tabs_each_keep_their_conversation_and_list_both(
    context: BrowserContext, visit: Visit, provider: Provider, shop: RunningService
) -> None:
    """On a same-site page, where the browser lets the frame use its own storage."""
    tenant = add_tenant(shop, "tabs", origin="http://127.0.0.1:*")
    first = visit(service=tenant)
    first.page.goto(first.page.url.replace("localhost", "127.0.0.1"))
    first.open()
    second = Chat(context.new_page(), tenant.widget_id)
    second.page.goto(first.page.url)
    second.open()

    provider.answer("1")
    first.ask("In the first?")
    expect(first.button("Copy")).to_be_visible()
    second.field.fill("A draft")
    first.reload()
    expect(first.questions).to_have_text(["In the first?"])

    provider.answer("2")
    second.ask("In the second?")
    expect(second.questions).to_have_text(["In the second?"])
    expect(second.button("Copy")).to_be_visible()
    for chat in (first, second):
        chat.choose("Past conversations")
        expect(chat.inside.get_by_role("listitem")).to_have_text(
            [re.compile("In the second"), re.compile("In the first")]
        )
        chat.button("Back").click()

    provider.answer("3")
    first.ask("And then?")
    expect(first.questions).to_have_text(["In the first?", "And then?"])
    expect(first.button("Copy")).to_have_count(2)
    first.reload()
    expect(first.questions).to_have_text(["In the first?", "And then?"])
    expect(second.questions).to_have_text(["In the second?"])


def test_a_stale_tab_never_removes_another_tabs_question(
    context: BrowserContext, visit: Visit, provider: Provider, shop: RunningService
) -> None:
    tenant = add_tenant(shop, "stale", origin="http://127.0.0.1:*")
    stale = visit(service=tenant)
    stale.page.goto(stale.page.url.replace("localhost", "127.0.0.1"))
    stale.open()
    provider.answer("One.")
    stale.ask("First?")
    expect(stale.button("Regenerate")).to_be_visible()
    other = Chat(context.new_page(), tenant.widget_id)
    other.page.goto(stale.page.url)
    other.open()
    expect(other.answers).to_have_text(["One."])
    provider.answer("Two.")
    other.ask("Second?")
    expect(other.answers).to_have_text(["One.", "Two."])

    provider.answer("One anew.")
    stale.button("Regenerate").click()

    expect(stale.answers).to_have_text(["One.", "Two.", "One anew."])
    other.reload()
    expect(other.answers).to_have_text(["One.", "Two.", "One anew."])


def test_a_failed_question_that_was_retried_appears_once(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.answer("One.")
    chat.ask("First?")
    expect(chat.button("Regenerate")).to_be_visible()
    provider.refuse(400)
    chat.ask("Second?")
    provider.answer("Two.")
    chat.button("Try again").click()
    expect(chat.answers).to_have_text(["One.", "Two."])
    expect(chat.button("Regenerate")).to_be_visible()
    chat.reload()
    expect(chat.questions).to_have_text(["First?", "Second?"])
    expect(chat.answers).to_have_text(["One.", "Two."])


def test_an_interrupted_regeneration_keeps_the_previous_answer(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    provider.answer("Good.")
    chat.ask("Well?")
    again = provider.answer()
    chat.button("Regenerate").click()
    again.say("Ba")
    expect(chat.answers).to_have_text("Ba")
    again.fail()
    expect(chat.button("Try again")).to_be_visible()
    expect(chat.answers).to_have_text("Good.")
    chat.reload()
    expect(chat.answers).to_have_text("Good.")


def test_a_refused_question_can_be_retried_after_a_reload(
    visit: Visit, provider: Provider, shop: RunningService
) -> None:
    chat = visit(service=add_tenant(shop, "strict", "--visitor-rate-per-minute", "1"))
    chat.open()
    provider.answer("Once.")
    chat.ask("Once?")
    expect(chat.button("Regenerate")).to_be_visible()
    chat.ask("Twice?")
    expect(chat.button(re.compile("Try again in"))).to_be_visible()
    chat.reload()
    expect(chat.questions).to_have_text(["Once?", "Twice?"])
    expect(chat.button(re.compile("Try again in"))).to_be_visible()


def test_a_suggestion_sends_its_text(visit: Visit, provider: Provider) -> None:
    chat = visit("""data-suggestions='["Where is my order?", "Can I return it?"]'""")
    chat.open()
    provider.answer("On its way.")
    chat.button("Where is my order?").click()
    expect(chat.questions).to_have_text(["Where is my order?"])
    expect(chat.answers).to_have_text(["On its way."])


def test_the_page_controls_the_widget_and_receives_its_events(visit: Visit, provider: Provider) -> None:
    early = "<script>(window.A4ChatWidget ||= []).push(['on', 'ready', () => { document.title = 'ready' }])</script>"
    chat = visit(head=early)
    expect(chat.page).to_have_title("ready")
    chat.page.evaluate(
        """() => {
            window.heard = [];
            for (const name of ['open', 'close', 'message', 'answer', 'error'])
                A4ChatWidget.on(name, (detail) => heard.push([name, detail.text ?? detail.code ?? '']));
        }"""
    )
    provider.answer("From the page.")
    chat.page.evaluate("A4ChatWidget.send('By the page')")
    expect(chat.answers).to_have_text("From the page.")
    chat.page.evaluate("A4ChatWidget.toggle()")
    expect(chat.window).to_be_hidden()
    chat.page.wait_for_function("() => heard.length >= 4")
    assert sorted(chat.page.evaluate("heard")) == [
        ["answer", "From the page."],
        ["close", ""],
        ["message", "By the page"],
        ["open", ""],
    ]
    chat.page.evaluate("A4ChatWidget.newConversation(); A4ChatWidget.open()")
    expect(chat.window).to_be_visible()
    expect(chat.questions).to_have_count(0)
    chat.page.evaluate("A4ChatWidget.close()")
    expect(chat.bubble).to_be_visible()
