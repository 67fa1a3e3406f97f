"""A conversation belongs to one visitor: `identify` with another visitor's token hides it."""

import time
from collections.abc import Iterator
from dataclasses import replace

import jwt
import pytest
from playwright.sync_api import expect

from browser import Chat, Provider, Providers, Visit, add_tenant, answer_in_progress, markup
from processes import NO_LIMITS, RunningService, running_service

pytest_plugins = ["visitor"]

SECRET = "a secret that only the service and the shop know"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, providers: Providers) -> Iterator[RunningService]:
    settings = {"OPENAI_BASE_URL": f"{providers.url}/v1", "OPENAI_API_KEY": "sk-upstream", "SHOP_SECRET": SECRET}
    with running_service(tmp_path_factory.mktemp("known"), **settings) as running:
        yield running


@pytest.fixture
def signed_shop(service: RunningService, provider: Provider) -> RunningService:
    """A tenant with signed visitors."""
    service = replace(service, model=provider.model)
    return add_tenant(service, "known", *NO_LIMITS, "--identity-secret-env", "SHOP_SECRET")


def token(sub: str, name: str = "") -> str:
    now = int(time.time())
    return jwt.encode({"sub": sub, "name": name, "iat": now, "exp": now + 3600}, SECRET, algorithm="HS256")


def identify(chat: Chat, *tokens: str) -> None:
    chat.page.evaluate("(tokens) => { for (const token of tokens) A4ChatWidget.identify(token) }", tokens)


def ask_until_complete(chat: Chat, provider: Provider, question: str, answer: str) -> None:
    provider.answer(answer)
    chat.ask(question)
    expect(chat.answers.last).to_have_text(answer)
    expect(chat.button("Regenerate")).to_be_visible()


def expect_no_content(chat: Chat) -> None:
    """Assert that the window has no visitor's content."""
    expect(chat.questions).to_have_count(0)
    expect(chat.answers).to_have_count(0)
    expect(chat.field).to_have_value("")
    assert "Alice" not in markup(chat.frame)


def test_another_visitor_starts_a_new_conversation_and_cannot_see_the_old_one(
    visit: Visit, signed_shop: RunningService, provider: Provider
) -> None:
    chat = visit(service=signed_shop)
    chat.open()
    identify(chat, token("alice"))
    ask_until_complete(chat, provider, "Where is Alice's parcel?", "In Alice's garage.")
    chat.field.fill("And Alice's letter")
    assert "Alice" in markup(chat.frame)
    identify(chat, token("alice"), token("bob"))
    expect_no_content(chat)
    ask_until_complete(chat, provider, "Where is mine?", "Here.")
    assert [message["content"] for message in provider.asked[-1]["messages"][1:]] == ["Where is mine?"]
    expect(chat.questions).to_have_count(1)
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("listitem")).to_have_count(1)
    expect(chat.inside.get_by_role("listitem")).to_contain_text("Where is mine?")


def test_the_list_of_conversations_closes_when_the_visitor_changes(
    visit: Visit, signed_shop: RunningService, provider: Provider
) -> None:
    chat = visit(service=signed_shop)
    chat.open()
    identify(chat, token("alice of the list"))
    ask_until_complete(chat, provider, "Where is Alice's parcel?", "In Alice's garage.")
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("listitem")).to_have_count(1)
    identify(chat, token("bob of the list"))
    expect(chat.inside.get_by_role("listitem")).to_have_count(0)
    expect_no_content(chat)


def test_an_answer_in_progress_ends_when_the_visitor_changes(
    visit: Visit, signed_shop: RunningService, provider: Provider
) -> None:
    chat = visit(service=signed_shop)
    chat.open()
    identify(chat, token("alice"))
    answer = answer_in_progress(chat, provider, "Where is Alice's parcel?", "In Alice's ")
    identify(chat, token("bob"))
    expect_no_content(chat)
    ask_until_complete(chat, provider, "Where is mine?", "Here.")
    answer.say("garage.")
    answer.end()
    expect(chat.questions).to_have_count(1)
    assert "Alice" not in markup(chat.frame)


def test_a_fresh_token_of_the_same_visitor_keeps_the_window_as_it_is(
    visit: Visit, signed_shop: RunningService, provider: Provider
) -> None:
    chat = visit(service=signed_shop)
    chat.open()
    identify(chat, token("alice"))
    answer = answer_in_progress(chat, provider, "Where is my parcel?", "In your ")
    chat.page.evaluate("window.before = A4ChatWidget")
    identify(chat, token("alice", name="Alice"))
    answer.say("garage.")
    answer.end()
    expect(chat.answers).to_have_text("In your garage.")
    ask_until_complete(chat, provider, "And the letter?", "There, too.")
    expect(chat.questions).to_have_count(2)


@pytest.mark.parametrize("next_visitor", ["bob", ""])
def test_a_pending_question_does_not_reappear_for_another_visitor(
    visit: Visit, signed_shop: RunningService, provider: Provider, next_visitor: str
) -> None:
    theirs = visit(f'data-user-token="{token("alice")}"', service=signed_shop)
    theirs.open()
    answer_in_progress(theirs, provider, "Where is Alice's parcel?", "In Alice's ")
    theirs.field.fill("And Alice's letter")
    theirs.page.close()

    chat = visit(f'data-user-token="{token(next_visitor)}"' if next_visitor else "", service=signed_shop)
    chat.open()
    expect_no_content(chat)
    ask_until_complete(chat, provider, "Where is mine?", "Here.")
    expect(chat.questions).to_have_count(1)
    assert len(provider.asked) == 2


def test_calls_before_the_window_has_loaded_take_effect_in_order(
    visit: Visit, signed_shop: RunningService, provider: Provider
) -> None:
    """As on pages whose sign-in first reports no user, and then one."""
    early = "<script>window.A4ChatWidget = [['identify', ''], ['identify', '%s']]</script>"
    chat = visit(service=signed_shop, body=early % token("alice"))
    chat.open()
    ask_until_complete(chat, provider, "Where is my parcel?", "In your garage.")
    again = visit(service=signed_shop, body=early % token("alice", name="Alice"))
    again.open()
    expect(again.questions).to_have_text("Where is my parcel?")
    other = visit(service=signed_shop, body=early % token("bob"))
    other.open()
    expect_no_content(other)
    expect(other.questions).to_have_count(0)
    back = visit(service=signed_shop, body=early.replace("''", f"'{token('carol')}'") % token("alice"))
    back.open()
    expect_no_content(back)
