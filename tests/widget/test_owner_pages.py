"""The owner's pages: signing in, restyling the live widget, and finding, reading, exporting and deleting
conversations. axe finds no problem on any page, light or dark, on a phone or a desktop."""

import json
import re
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from playwright.sync_api import BrowserContext, FrameLocator, Page, expect

from browser import WIDGET, HostPages
from held_requests import held_requests
from processes import RunningService, running_service
from required import skip_unless_required
from service.store.records import Rating, Status, UsageRow
from service.store.store import Store

pytest_plugins = ["visitor"]

TOKEN = "a studio token of some length"
AXE = WIDGET / "node_modules" / "axe-core" / "axe.min.js"
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
RUN_AXE = """async (runOnly) => {
    const found = await axe.run(document, { runOnly, iframes: false });
    return found.violations.map(({ id, nodes }) => [id, ...nodes.map((node) => node.html + node.failureSummary)]);
}"""
MARKUP = """<img src=x onerror="document.title='run'"> & "Zoë" </script>"""

WriteConversation = Callable[..., uuid.UUID]


@pytest.fixture(scope="module")
def owned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    """A service with an unused provider and a token."""
    settings = {"OPENAI_API_KEY": "sk-upstream", "STUDIO_TOKEN": TOKEN, "PRICE_PROMPT": "2", "PRICE_COMPLETION": "8"}
    with running_service(tmp_path_factory.mktemp("owned"), **settings) as running:
        yield running


@pytest.fixture(scope="module")
def write_conversation(owned: RunningService) -> Iterator[WriteConversation]:
    """Write a conversation with one answered question into the database."""
    with start_blocking_portal() as portal:
        store = Store(owned.environment["DATABASE_URL"])

        async def write(
            tenant: str,
            question: str,
            status: Status = "complete",
            code: str | None = None,
            rating: Rating | None = None,
        ) -> uuid.UUID:
            tenant_id, message = (await store.get_tenant(tenant)).id, uuid.uuid4()
            start = await store.begin_turn(tenant_id, message, conversation_id=None, question=question, writer="test")
            row = UsageRow(
                datetime.now(UTC),
                tenant_id,
                code or status,
                message_id=message,
                prompt_tokens=300,
                completion_tokens=90,
            )
            answer = "" if code else f"The answer to {question}"
            assert await store.finish_turn(message, answer, status=status, code=code, usage_row=row, writer="test")
            if rating:
                comment = "It missed the point." if rating == "down" else None
                await store.rate_turn(tenant_id, message, rating=rating, comment=comment)
            return start.turn.conversation_id

        yield lambda *arguments, **options: portal.call(partial(write, *arguments, **options))
        portal.call(store.close)


def tenant(service: RunningService, name: str) -> dict[str, Any]:
    """A tenant that a test changes or counts."""
    added: dict[str, Any] = service.manage("tenant", "add", name, "--origin", service.origin)
    return added


def sign_in(context: BrowserContext, service: RunningService, path: str = "/studio") -> Page:
    page = context.new_page()
    page.goto(service.url + path)
    page.get_by_label("Studio token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_label("Site")).to_be_visible()
    return page


def chat(page: Page | FrameLocator) -> FrameLocator:
    return page.frame_locator("[id^=a4-chat-widget] iframe")


def test_a_wrong_token_is_reported_and_the_right_one_signs_in(context: BrowserContext, owned: RunningService) -> None:
    page = context.new_page()
    page.goto(f"{owned.url}/studio/conversations")
    page.get_by_label("Studio token").fill("a guess")
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("alert")).to_have_text("That token isn’t right.")
    page.get_by_label("Studio token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Conversations", level=1)).to_be_visible()
    assert TOKEN not in page.url
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Studio token")).to_be_visible()


def test_a_live_tenant_is_restyled_and_its_snippet_shows_the_new_look(
    context: BrowserContext, owned: RunningService, host_pages: HostPages
) -> None:
    added = tenant(owned, "alder & rye")
    page = sign_in(context, owned)
    page.get_by_label("Site").select_option(label="alder & rye")
    expect(page.get_by_role("tabpanel")).to_contain_text(f"a4_pub_…{added['api_key'][-4:]}")
    page.get_by_role("button", name="Teal").click()
    page.get_by_label("Title").fill(MARKUP)
    page.get_by_label("Suggestions").fill("Is it oak?")
    unsaved = page.get_by_role("region", name="Unsaved changes")
    unsaved.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_contain_text("Saved.")
    expect(unsaved).to_be_hidden()
    shown = owned.manage("tenant", "show", "alder & rye")["widget"]
    assert shown == {"color": "#0f766e", "title": MARKUP, "suggestions": ["Is it oak?"]}

    page.get_by_role("button", name="New key…").click()
    page.get_by_role("radio", name=re.compile("Revoke them now")).check()
    page.get_by_role("button", name="Create key").click()
    expect(page.get_by_role("tabpanel")).to_contain_text(re.compile(r"a4_pub_[\w-]{32}"))
    snippet = page.get_by_role("tabpanel").text_content() or ""
    assert re.findall(r"data-[\w-]+", snippet) == ["data-api-key", "data-widget-id"]
    own = context.new_page()
    own.goto(host_pages.add(body=snippet))
    chat(own).get_by_role("button", name="Open chat").click()
    expect(chat(own).get_by_role("dialog")).to_have_accessible_name(MARKUP)
    expect(chat(own).get_by_role("button", name="Is it oak?")).to_be_visible()
    expect(chat(own).locator("ai-chat-widget")).to_have_css("--a4w-primary-color", "rgb(15, 118, 110)")

    page.reload()
    expect(page.get_by_label("Title")).to_have_value(MARKUP)
    page.get_by_label("Title").fill("Another")
    page.get_by_role("button", name="Discard").click()
    expect(page.get_by_label("Title")).to_have_value(MARKUP)


def test_nothing_can_be_edited_while_a_site_loads_and_the_last_selected_one_is_shown(
    context: BrowserContext, owned: RunningService
) -> None:
    slow, fast = tenant(owned, "slow"), tenant(owned, "fast")
    address = f"**/studio/api/tenants/{slow['widget_id']}"
    page = sign_in(context, owned)
    yellow = page.get_by_role("button", name="Yellow")
    place = yellow.bounding_box()
    assert place

    with held_requests(context, address) as held:
        page.get_by_label("Site").select_option(label="slow")
        expect(page.get_by_role("form", name="Chat settings")).to_have_attribute("aria-busy", "true")
        page.mouse.click(place["x"] + place["width"] / 2, place["y"] + place["height"] / 2)
        expect(yellow).to_have_attribute("aria-pressed", "false")

        page.get_by_label("Site").select_option(label="fast")
        shown = page.get_by_role("tabpanel")
        expect(shown).to_contain_text(fast["widget_id"])
        with page.expect_response(address):
            held[0].continue_()
    yellow.click()
    expect(page.get_by_role("region", name="Unsaved changes")).to_be_visible()
    expect(shown).to_contain_text(fast["widget_id"])


def test_each_of_twenty_conversations_can_be_found_read_exported_and_deleted(
    context: BrowserContext, owned: RunningService, write_conversation: WriteConversation
) -> None:
    tenant(owned, "figures")
    for number in range(14):
        write_conversation("figures", f"An ordinary question {number}")
    write_conversation("figures", MARKUP, rating="up")
    write_conversation("figures", "One that was cut", "length")
    write_conversation("figures", "One that was filtered", "filtered")
    write_conversation("figures", "One that was stopped", "cancelled")
    write_conversation("figures", "One that failed", "error", "upstream_timeout")
    write_conversation("figures", "One that was rated down", rating="down")
    page = sign_in(context, owned, "/studio/conversations")
    page.get_by_label("Site").select_option(label="figures")
    expect(page.locator("#count")).to_have_text("20 conversations")

    expect(page.locator("#figures div", has_text="Questions")).to_contain_text("20")
    expect(page.get_by_role("img", name="Questions")).to_be_visible()
    page.locator("#chart-outcomes").get_by_text("Show as table").click()
    expect(page.get_by_role("table", name="Questions").get_by_role("row").last).to_contain_text("16")
    expect(page.locator("#figures div", has_text="Cost")).to_contain_text("0.0264")
    troubles = page.locator("#troubles li")
    expect(troubles).to_have_count(3)
    expect(troubles.first).to_contain_text("It missed the point.")

    for outcome, question in (
        ("Cut short", "One that was cut"),
        ("Filtered", "One that was filtered"),
        ("Stopped", "One that was stopped"),
        ("Failed", "One that failed"),
    ):
        page.get_by_role("combobox", name="Outcome").select_option(label=outcome)
        expect(page.locator("#count")).to_have_text("1 conversation found")
        expect(page.locator("#rows")).to_contain_text(question)
    page.get_by_role("combobox", name="Outcome").select_option(label="Any")
    page.get_by_role("combobox", name="Rating").select_option(label="Not helpful")
    expect(page.locator("#rows li b")).to_have_text(["One that was rated down"])
    page.get_by_role("combobox", name="Rating").select_option(label="Any")
    page.get_by_label("Text", exact=True).fill("onerror=")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#rows li b")).to_have_text([MARKUP])

    page.locator("#rows button").click()
    reader = page.get_by_role("dialog")
    expect(reader.get_by_role("region", name="Transcript")).to_contain_text(f"The answer to {MARKUP}")
    assert page.locator("#reader img, #rows img, #troubles img").count() == 0
    assert page.title() == "Conversations · AI chat for your website"
    with page.expect_download() as download:
        reader.get_by_role("link", name="Export").click()
    exported = json.loads(download.value.path().read_text())
    assert [turn["question"] for turn in exported["turns"]] == [MARKUP]

    reader.get_by_role("button", name="Delete…").click()
    reader.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("status").last).to_have_text("Conversation deleted.")
    expect(page.locator("#count")).to_have_text("Nothing found. Try other words, or fewer filters.")


def test_the_documentation_can_send_a_question_to_this_service(
    context: BrowserContext, service: RunningService
) -> None:
    """In demonstration mode, for a tenant that lists the service's own origin."""
    key = service.manage("tenant", "add", "docs", "--origin", "http://127.0.0.1:*")["api_key"]
    page = context.new_page()
    page.goto(f"{service.url}/docs")
    page.get_by_label("X-API-Key").fill(key)
    ask = page.get_by_role("region", name="Ask a question")
    ask.get_by_text("Try it").click()
    ask.get_by_role("button", name="Send").click()
    expect(ask.get_by_role("region", name="Response", exact=True)).to_contain_text("event: done")
    expect(ask.get_by_role("status")).to_contain_text("200")


@pytest.mark.parametrize("width", [390, 1280])
def test_axe_finds_nothing_and_no_page_is_too_wide(
    context: BrowserContext, owned: RunningService, write_conversation: WriteConversation, width: int
) -> None:
    """On a dark page, only the colours differ."""
    if not AXE.exists():
        skip_unless_required("axe-core is not installed: npm --prefix widget ci")
    source = AXE.read_text()
    write_conversation("shop", "One that failed", "error", "upstream_timeout")
    write_conversation("shop", "One that was rated down", rating="down")
    page = context.new_page()
    page.set_viewport_size({"width": width, "height": 900})

    def check(where: str) -> None:
        # `evaluate` runs in the page's world by eval, which is under its policy; a debugger's word is not.
        page.evaluate(source)
        assert page.evaluate(RUN_AXE, RULES) == [], where
        page.emulate_media(color_scheme="dark")
        assert page.evaluate(RUN_AXE, COLOUR_RULES) == [], f"{where}, dark"
        assert page.evaluate("document.documentElement.scrollWidth") <= width, where
        page.emulate_media(color_scheme="light")

    page.goto(f"{owned.url}/studio")
    check("the form to sign in")
    page.get_by_label("Studio token").fill(TOKEN)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_label("Site").select_option(label="shop")
    page.get_by_role("button", name="Yellow").click()
    expect(page.get_by_role("region", name="Unsaved changes")).to_be_visible()
    check("the studio")
    page.get_by_role("button", name="New key…").click()
    check("a new key")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Discard").click()
    page.goto(f"{owned.url}/studio/conversations")
    page.get_by_label("Site").select_option(label="shop")
    expect(page.get_by_role("img", name="Cost")).to_be_visible()
    page.locator("#chart-outcomes").get_by_text("Show as table").click()
    expect(page.locator("#rows li").first).to_be_visible()
    check("the conversations")
    page.locator("#troubles button").first.click()
    expect(page.get_by_role("region", name="Transcript")).to_contain_text("One that")
    check("a transcript")
    page.goto(f"{owned.url}/docs")
    expect(page.get_by_role("heading", name="Models")).to_be_visible()
    page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
    check("the documentation")
    page.goto(f"{owned.url}/")
    expect(page.locator("[id^=a4-chat-widget]")).to_be_visible()
    check("the home page")


def test_each_page_is_small(owned: RunningService, service: RunningService) -> None:
    """Everything that it loads, except the chat, is under 60 KB compressed."""
    static = WIDGET.parent / "static"
    for name in ("demo.html", "studio.html", "conversations.html", "docs.html", "sign-in.html"):
        page = (static / name).read_text()
        files = set(re.findall(r"assets/[\w.-]+", page))
        assert files
        sizes = [path.stat().st_size for path in (static / f"{file}.br" for file in files) if path.exists()]
        assert sum(sizes) + len(page) < 60_000, name
