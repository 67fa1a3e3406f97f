"""The form that sends a conversation to the site's owner: keyboard use, field errors, the webhook."""

import base64
import queue
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from playwright.sync_api import Route, expect
from standardwebhooks import Webhook
from test_widget_accessibility import Check
from test_widget_accessibility import check as check

from browser import PATIENCE, Visit, serving
from processes import RunningService, running_service

pytest_plugins = ["visitor"]

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
PERSON = "Talk to a person"


@pytest.fixture(scope="module")
def received() -> queue.Queue[dict[str, Any]]:
    """The messages that the webhook received."""
    return queue.Queue()


@pytest.fixture(scope="module")
def hooked(received: queue.Queue[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service in demonstration mode whose tenant has a local webhook."""

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.put(Webhook(SECRET).verify(body, dict(self.headers)))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with serving(Hook) as port:
        settings = {"HOOK": f"http://127.0.0.1:{port}/", "HOOK_SECRET": SECRET, "WEBHOOK_ALLOW_PRIVATE": "true"}
        with running_service(tmp_path_factory.mktemp("hooked"), **settings) as service:
            service.manage("tenant", "set", "shop", "--webhook-url-env", "HOOK", "--webhook-secret-env", "HOOK_SECRET")
            yield service


def test_a_conversation_can_be_handed_off(
    visit: Visit, hooked: RunningService, received: queue.Queue[dict[str, Any]], check: Check
) -> None:
    chat = visit("data-theme=dark data-privacy-url=https://shop.example/privacy", service=hooked)
    chat.open()
    chat.button("More").click()
    expect(chat.button("Past conversations")).to_be_visible()
    expect(chat.button(PERSON)).to_have_count(0)  # there is nothing to hand over yet
    chat.field.click()
    chat.ask("Where is my parcel?")
    expect(chat.button("Copy").last).to_be_attached()
    form = chat.inside.get_by_role("dialog", name=PERSON)
    email, consent = form.get_by_role("textbox", name="Your email address"), form.get_by_role("checkbox")
    send = form.get_by_role("button", name="Send message")

    chat.button("More").press("Enter")
    chat.button(PERSON).press("Enter")
    expect(email).to_be_focused()
    check(chat.frame)
    email.fill("ada")
    email.press("Enter")
    expect(email).to_be_focused()
    expect(email).to_have_accessible_description("Enter a valid email address.")
    expect(consent).to_have_accessible_description("Please agree to continue.")
    check(chat.frame)
    email.fill("ada@example.com")
    expect(email).not_to_have_attribute("aria-invalid", "true")
    send.press("Enter")
    expect(consent).to_be_focused()

    form.get_by_role("textbox", name="Message (optional)").fill("By Friday, please.")
    email.press("Escape")
    expect(form).to_have_count(0)
    expect(chat.button("More")).to_be_focused()
    chat.button("More").press("Enter")
    chat.button(PERSON).press("Enter")
    expect(email).to_have_value("ada@example.com")
    consent.press("Space")
    send.press("Enter")
    expect(form.get_by_role("status")).to_have_text("Sent. We’ll reply to ada@example.com.")
    expect(form.get_by_role("button", name="Back to the chat")).to_be_focused()
    check(chat.frame)
    form.get_by_role("button", name="Back to the chat").press("Enter")
    expect(chat.button("More")).to_be_focused()

    data = received.get(timeout=PATIENCE / 1000)["data"]
    assert (data["email"], data["note"], data["consent"]) == ("ada@example.com", "By Friday, please.", True)
    assert [turn["question"] for turn in data["turns"]] == ["Where is my parcel?"]
    assert chat.console == []


def test_a_failed_handoff_says_so_and_nobody_else_sees_it(visit: Visit, hooked: RunningService) -> None:
    chat = visit(service=hooked)
    chat.open()
    chat.ask("Where is my parcel?")
    expect(chat.button("Copy").last).to_be_attached()
    form = chat.inside.get_by_role("dialog", name=PERSON)
    chat.choose(PERSON)
    form.get_by_label("Your email address").fill("ada@example.com")
    form.get_by_role("checkbox").check()
    for status, words in {
        0: "Can’t reach the chat. Check your connection and try again.",
        429: "You’ve already sent several requests. Please try again later.",
        422: "Enter a valid email address.",
    }.items():
        chat.page.route("**/handoff", partial(_refuse, status))
        form.get_by_role("button", name="Send message").click()
        expect(form).to_contain_text(words)

    chat.page.evaluate(
        "A4ChatWidget.identify('eyJhbGciOiJub25lIn0.eyJzdWIiOiJib2IifQ.x'); A4ChatWidget.set({ theme: 'dark' })"
    )
    expect(chat.inside.locator("chat-window")).to_have_css("color-scheme", "dark")  # and so she has signed in
    expect(form).to_be_visible()
    chat.page.evaluate("A4ChatWidget.identify('')")
    expect(form).to_have_count(0)


def _refuse(status: int, route: Route) -> None:
    if status:
        route.fulfill(status=status, body='{"code": "refused"}')
    else:
        route.abort()
