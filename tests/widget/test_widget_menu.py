"""The menu and what it leads to: past conversations, deleting, downloading, the sound."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from browser import Provider, Visit, answered

pytest_plugins = ["visitor"]


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
    expect(more).to_have_attribute("aria-expanded", "true")
    chat.log.click()
    expect(chat.button("Past conversations")).to_have_count(0)
    chat.page.keyboard.press("Escape")
    expect(chat.window).to_be_hidden()


def test_a_past_conversation_can_be_opened_and_continued(visit: Visit, provider: Provider) -> None:
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


def test_a_question_sent_by_the_page_closes_the_list_of_past_conversations(visit: Visit, provider: Provider) -> None:
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


def test_another_conversation_opens_scrolled_to_its_end(visit: Visit, provider: Provider) -> None:
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
def test_any_other_action_dismisses_the_delete_confirmation(visit: Visit, provider: Provider, way: str) -> None:
    """Otherwise its "Delete" button would apply to the conversation opened since."""
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


def test_a_past_conversation_is_deleted_after_confirmation(visit: Visit, provider: Provider) -> None:
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


def test_an_empty_list_of_past_conversations_says_so_and_escape_closes_it(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("status")).to_have_text("No past conversations yet")
    expect(chat.button("Back")).to_be_focused()
    chat.page.keyboard.press("Escape")
    expect(chat.field).to_be_focused()
    expect(chat.window).to_be_visible()


def test_a_conversation_can_be_downloaded_as_text(visit: Visit, provider: Provider, tmp_path: Path) -> None:
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


def test_a_browser_without_audio_still_shows_answers(visit: Visit, context: BrowserContext, provider: Provider) -> None:
    context.add_init_script("delete window.AudioContext")
    chat = visit('data-sound="true"')
    chat.open()
    answered(chat, provider, "One?", "1")
    answered(chat, provider, "Two?", "2")
    expect(chat.answers).to_have_text(["1", "2"])
    assert len(provider.asked) == 2
    assert chat.console == []
