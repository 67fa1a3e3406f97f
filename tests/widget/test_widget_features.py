"""Features around the conversation: consent, drafts, errors, signed visitors, and the window on its page."""

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest
from playwright.sync_api import BrowserContext, expect

from browser import WIDGET, Provider, Visit, add_tenant, answer_in_progress, answered, record_events
from line import Line
from processes import RunningService, running_service
from service.errors import every_error

pytest_plugins = ["visitor"]

WINDOW = "document.querySelector('ai-chat-widget').shadowRoot.querySelector('chat-window')"


def test_nothing_is_sent_before_consent_which_is_asked_for_once(visit: Visit, provider: Provider) -> None:
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


def test_a_privacy_note_without_consent_is_in_the_welcome(visit: Visit) -> None:
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
def test_tenant_texts_keep_their_own_writing_direction(
    visit: Visit, consent: str, locale: str, title: str, text: str, theirs: str
) -> None:
    chat = visit(
        f'data-open data-locale={locale} data-title="{title}" data-privacy="{text}" {consent}'
        " data-privacy-url=https://shop.example/privacy"
    )
    for words in (chat.inside.get_by_role("heading", name=title), chat.inside.get_by_text(text)):
        expect(words).to_have_css("direction", theirs)
    # It begins at the start of the window, and is truncated at its own end.
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


def test_an_image_does_not_change_the_direction_of_the_text_after_it(visit: Visit, provider: Provider) -> None:
    chat = visit("data-open data-locale=ar")
    provider.answer("![A map](https://maps.test/m.png) shows the way.")
    chat.page.evaluate("A4ChatWidget.send('Where?')")
    answer = chat.inside.locator("answer-text")
    expect(answer.get_by_role("paragraph")).to_have_css("direction", "ltr")
    expect(answer.get_by_role("link")).to_have_css("direction", "rtl")


def test_the_handoff_is_always_a_safe_link(visit: Visit) -> None:
    for given, href in {
        "help@shop.example": "mailto:help@shop.example",
        "https://shop.example/contact": "https://shop.example/contact",
    }.items():
        chat = visit(f'data-handoff="{given}"')
        chat.open()
        chat.button("More").click()
        expect(chat.inside.get_by_role("link", name="Talk to a person")).to_have_attribute("href", href)


@pytest.mark.parametrize("given", ["javascript:alert(1)", "javascript:alert(1)@shop.example", "//evil.test"])
def test_an_invalid_handoff_is_ignored_and_the_console_says_so(visit: Visit, given: str) -> None:
    chat = visit(f'data-handoff="{given}"')
    chat.open()
    chat.button("More").click()
    expect(chat.button("Past conversations")).to_be_visible()
    expect(chat.inside.get_by_role("link")).to_have_count(0)
    assert chat.console == ["warning: A4ChatWidget: handoff is too long or wrong."]


def test_a_draft_survives_a_reload_until_it_is_sent(visit: Visit, provider: Provider) -> None:
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


def test_a_draft_that_is_too_long_to_send_survives_a_reload(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.field.fill("😀" * 4100)
    expect(chat.inside.get_by_text("100 characters too many")).to_be_visible()
    chat.reload()
    expect(chat.field).to_have_value("😀" * 4100)


def test_a_question_asked_offline_waits_visibly_and_is_sent_automatically(
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


def test_a_rate_limit_is_reported_to_the_page(shop: RunningService, visit: Visit, provider: Provider) -> None:
    chat = visit(service=add_tenant(shop, "limits", "--visitor-rate-per-minute", "1"))
    chat.open()
    record_events(chat, "limit")
    answered(chat, provider, "Once?", "Once.")
    chat.ask("Twice?")
    expect(chat.button(re.compile(r"^Try again in \d:\d\d$"))).to_be_disabled()
    chat.page.wait_for_function("() => heard.length === 1")
    assert chat.page.evaluate("heard[0].code") == "visitor_rate_limited"


def test_the_window_has_its_own_text_for_every_error_a_visitor_can_meet() -> None:
    lists = re.findall(r"^ +\[?'([\w ]+)',", (WIDGET / "src/window/conversation/problems.ts").read_text(), re.MULTILINE)
    covered = set(" ".join(lists).split())
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
    assert every_error().keys() - covered == by_a_program | before_it_is_read | elsewhere


def test_a_refused_edited_question_still_replaces_the_old_one(visit: Visit, line: Line, provider: Provider) -> None:
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


def test_an_expired_token_is_shown_and_reported_to_the_page(visit: Visit) -> None:
    chat = visit()
    chat.open()
    record_events(chat, "error")
    problem = (
        '{"type":"about:blank","title":"Unauthorized","status":401,"detail":"Expired.","code":"user_token_expired"}'
    )
    chat.page.route("**/api/v1/chat", lambda route: route.fulfill(status=401, body=problem))
    chat.ask("Who am I?")
    expect(chat.log).to_contain_text("Your session has expired.")
    chat.page.wait_for_function("() => heard.length === 1")
    assert chat.page.evaluate("heard[0].code") == "user_token_expired"


def test_an_answer_behind_a_closed_window_is_counted_and_previewed(visit: Visit, provider: Provider) -> None:
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


def test_a_failed_answer_behind_a_closed_window_is_counted_too(visit: Visit, provider: Provider) -> None:
    chat = visit()
    chat.open()
    answer = answer_in_progress(chat, provider, "When do you ship?", "We")
    chat.button("Close chat").click()
    expect(chat.window).to_be_hidden()
    answer.fail()
    expect(chat.bubble).to_have_accessible_name("Open chat (1 new message)")


def test_an_inline_chat_is_a_region_without_close_and_expand(visit: Visit) -> None:
    chat = visit()
    chat.open()
    expect(chat.button("Expand")).to_be_visible()
    chat.frame.evaluate(f"{WINDOW}.place({{ mode: 'inline', open: true, expanded: false, full: false, dark: false }})")
    expect(chat.inside.get_by_role("region", name="Chat")).to_be_visible()
    expect(chat.window).to_have_count(0)
    expect(chat.button("Close chat")).to_have_count(0)
    expect(chat.button("Expand")).to_have_count(0)
    chat.frame.evaluate(f"{WINDOW}.addEventListener('window-close', () => {{ window.closes = true }})")
    chat.field.press("Escape")
    assert not chat.frame.evaluate("window.closes")


def test_the_window_can_be_expanded_and_collapsed(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(f"{WINDOW}.addEventListener('window-expand', () => {{ window.asked = true }})")
    chat.button("Expand").click()
    assert chat.frame.evaluate("asked")
    chat.frame.evaluate(f"{WINDOW}.place({{ mode: 'bubble', open: true, expanded: true, full: false, dark: false }})")
    expect(chat.button("Collapse")).to_be_visible()


def test_the_pages_facts_and_the_visitors_token_are_sent_with_each_question(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(f"{WINDOW}.identify('header.body.signature'); {WINDOW}.setContext({{ plan: 'gold' }})")
    chat.page.route("**/api/v1/chat", lambda route: route.fulfill(status=403, body="{}"))
    with chat.page.expect_request("**/api/v1/chat") as asking:
        chat.ask("Hello?")
    assert asking.value.headers["x-user-token"] == "header.body.signature"
    body = asking.value.post_data_json
    assert body is not None and body["context"] == {"plan": "gold"}


def test_an_identified_visitor_sees_the_services_list_of_conversations(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(f"{WINDOW}.identify('header.body.signature')")
    listed = [
        {"id": "6f1b1f0e-5a52-4a63-9f0a-000000000001", "title": "From my phone", "updated_at": "2026-01-02T12:00:00Z"}
    ]
    chat.page.route("**/api/v1/conversations", lambda route: route.fulfill(json={"conversations": listed}))
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("listitem")).to_contain_text(re.compile("From my phone.*January 2, 2026", re.DOTALL))


def test_signing_out_leaves_no_conversation_title_or_draft_behind(visit: Visit, tmp_path: Path) -> None:
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


def test_a_list_of_conversations_that_fails_to_load_says_so(visit: Visit) -> None:
    chat = visit()
    chat.open()
    chat.frame.evaluate(f"{WINDOW}.identify('header.body.signature')")
    chat.page.route("**/api/v1/conversations", lambda route: route.abort())
    chat.choose("Past conversations")
    expect(chat.inside.get_by_role("status")).to_have_text("Couldn’t load your earlier messages.")
