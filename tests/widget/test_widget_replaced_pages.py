"""The widget on pages that replace their content, or remove unknown elements."""

from typing import Any

import pytest
from playwright.sync_api import BrowserContext, expect

from browser import Chat, HostPages, Provider, Visit, add_tenant, answer_in_progress, script_tag
from held_requests import held_requests
from processes import RunningService

pytest_plugins = ["visitor"]

# What host pages' scripts do to the document. `source` is the page's own markup, `host` the widget's element.
REPLACED = {
    "writes itself anew": "document.open(); document.write(source); document.close();",
    "writes its own markup anew": (
        "const { outerHTML } = document.documentElement;"
        "document.open(); document.write(`<!doctype html>${outerHTML}`); document.close();"
    ),
    "opens itself now and writes itself later": (
        "document.open(); await later(); document.write(source); document.close();"
    ),
    "writes itself in pieces and never closes": (
        "document.open(); document.write(source.slice(0, 300)); await later(); document.write(source.slice(300));"
    ),
    "writes itself anew twice": (
        "for (let time = 0; time < 2; time += 1) { document.open(); document.write(source); document.close(); }"
    ),
    "replaces its root": "document.documentElement.replaceWith(parsed().documentElement);",
    "removes its root and renders another one": (  # as React 18 does where a document cannot be hydrated
        "document.removeChild(document.documentElement); document.appendChild(parsed().documentElement);"
    ),
    "removes its root and renders another one later": (
        "document.documentElement.remove(); await later(); document.append(parsed().documentElement);"
    ),
    "replaces the markup of its root": "document.documentElement.innerHTML = parsed().documentElement.innerHTML;",
    "morphs its root": (  # as idiomorph and its like do: what the next page lacks is removed
        "for (const child of [...document.documentElement.children])"
        "    if (!/HEAD|BODY/.test(child.tagName)) child.remove();"
    ),
    "replaces its head and its body": (  # as Turbo, Astro and htmx do
        "document.documentElement.replaceChildren(...parsed().documentElement.children);"
    ),
    "removes the chat once": "host.remove();",
    "removes the chat, and puts it back itself": "host.remove(); await later(); document.body.append(host);",
    "moves the chat": "document.body.append(host);",
    "keeps the chat in a fragment for a while": (
        "const kept = new DocumentFragment(); kept.append(host); await later(); document.body.append(kept);"
    ),
    "moves the chat through another document": (
        "document.implementation.createHTMLDocument().body.append(host); await later();"
        "document.documentElement.append(host);"
    ),
    "removes the chat three times": (
        "let left = 3; new MutationObserver((_, observer) => { if (!host.isConnected) return;"
        "host.remove(); left -= 1; if (!left) observer.disconnect(); })"
        ".observe(document.documentElement, { childList: true }); host.remove();"
    ),
}
CHANGE = """async (script) => {
    const source = await fetch(location.href).then((response) => response.text());
    const host = document.querySelector('[id^=a4-chat-widget]');
    const later = () => new Promise((resolve) => setTimeout(resolve, 50));
    const parsed = () => new DOMParser().parseFromString(source, 'text/html');
    await new (async () => {}).constructor('host', 'later', 'parsed', 'source', script)(host, later, parsed, source);
}"""
# A page that removes everything beside its body, and counts it in `removed`.
GUARD = """<script>
    window.removed = 0;
    window.guard = new MutationObserver(() => {
        for (const element of document.querySelectorAll('[id^=a4-chat-widget]')) {
            removed += 1;
            element.remove();
        }
    });
    guard.observe(document.documentElement, { childList: true, subtree: true });
</script>"""
REFUSED = "error: A4ChatWidget: the page keeps removing it."
BUTTON = "<button onclick='this.textContent = `Pressed`'>Press</button>"


def change(chat: Chat, script: str) -> None:
    chat.page.evaluate(CHANGE, script)


@pytest.mark.parametrize("script", REPLACED.values(), ids=REPLACED)
def test_the_window_and_its_answer_come_back_on_a_page_that(visit: Visit, provider: Provider, script: str) -> None:
    chat = visit(body=BUTTON)
    chat.open()
    chat.page.evaluate("window.ready = 0; A4ChatWidget.on('ready', () => { ready += 1 })")
    answer = answer_in_progress(chat, provider, "Hello?", "Before")
    change(chat, script)
    expect(chat.answers).to_contain_text("Before")
    answer.say(" and after.")
    answer.end()
    expect(chat.answers).to_have_text("Before and after.")
    expect(chat.host).to_have_count(1)
    assert chat.host.bounding_box() == {"x": 864, "y": 144, "width": 400, "height": 640}
    chat.page.get_by_role("button", name="Press").click()
    expect(chat.page.get_by_role("button", name="Pressed")).to_be_visible()
    assert len(provider.asked) == 1
    assert chat.page.evaluate("ready") == 1
    assert [line for line in chat.console if "404" not in line] == []  # of the written page's icon


@pytest.mark.parametrize("event", ["DOMContentLoaded", "load"])
def test_a_page_rewritten_while_it_loads_gets_the_chat(
    context: BrowserContext, host_pages: HostPages, shop: RunningService, event: str
) -> None:
    tag = script_tag(shop).replace("</", "<\\/")
    rewrite = f"document.open(); document.write(`<!doctype html><title>Two</title><h1>Two</h1>{tag}`); document.close()"
    chat = Chat(context.new_page(), shop.widget_id)
    chat.page.goto(
        host_pages.add(
            head=script_tag(shop), body=f"<script>addEventListener('{event}', () => {{ {rewrite} }})</script>"
        )
    )
    expect(chat.page.get_by_role("heading", name="Two")).to_be_visible()
    chat.open()
    expect(chat.host).to_have_count(1)


@pytest.mark.parametrize("script", ["writes itself anew", "replaces its root", "moves the chat"])
def test_calls_survive_a_page_replacement_while_the_frame_loads(visit: Visit, provider: Provider, script: str) -> None:
    chat = visit()
    expect(chat.bubble).to_be_visible()
    provider.answer("Here.")
    with held_requests(chat.page, "**/assets/app-*", times=1) as held:
        with chat.page.expect_request("**/assets/app-*"):
            chat.page.reload()
        chat.page.evaluate("A4ChatWidget.send('Anybody there?')")
        change(chat, REPLACED[script])
        expect(chat.questions).to_have_text("Anybody there?")
        expect(chat.answers).to_have_text("Here.")
    assert len(provider.asked) == 1
    assert held


def test_a_call_made_while_the_chat_is_removed_is_performed_once_it_is_back(visit: Visit) -> None:
    chat = visit()
    expect(chat.bubble).to_be_visible()
    change(chat, "host.remove(); A4ChatWidget.open();")
    expect(chat.field).to_be_visible()


def test_an_inline_chat_follows_a_rewritten_page(visit: Visit, provider: Provider) -> None:
    chat = visit("data-mode=inline data-target=#here", body="<div id=here style='height:600px'></div>")
    provider.answer("Still here.")
    chat.ask("Where?")
    expect(chat.answers).to_have_text("Still here.")
    change(chat, REPLACED["writes itself anew"])
    expect(chat.answers).to_have_text("Still here.")
    assert chat.host.evaluate("(host) => host.parentElement.id") == "here"
    assert chat.console == []


def test_two_widgets_both_come_back(visit: Visit, shop: RunningService) -> None:
    other_tenant = add_tenant(shop, "second of a replaced page")
    chat = visit(body=script_tag(other_tenant, "data-position=bottom-left"))
    other = Chat(chat.page, other_tenant.widget_id)
    expect(other.bubble).to_be_visible()
    expect(chat.bubble).to_be_visible()
    change(chat, REPLACED["removes its root and renders another one"])
    chat.open()
    other.open()
    assert chat.console == []


def test_a_page_that_always_removes_the_chat_does_not_hang_and_gets_one_warning(
    context: BrowserContext, visit: Visit
) -> None:
    context.clock.install()
    chat = visit(head=GUARD, body=BUTTON)
    context.clock.run_for(60_000)
    removed = chat.page.evaluate("removed")
    assert 1 < removed < 12
    assert [line for line in chat.console if "A4ChatWidget" in line] == [REFUSED]
    chat.page.evaluate("document.documentElement.append(document.createElement('i'))")
    context.clock.run_for(60_000)
    chat.page.evaluate("document.documentElement.append(document.createElement('i'))")
    context.clock.run_for(60_000)
    assert chat.page.evaluate("removed") == removed
    chat.page.get_by_role("button", name="Press").click()
    expect(chat.page.get_by_role("button", name="Pressed")).to_be_visible()
    assert [line for line in chat.console if "A4ChatWidget" in line] == [REFUSED]


def test_the_widget_also_gives_up_on_a_page_that_removes_it_every_second(context: BrowserContext, visit: Visit) -> None:
    context.clock.install()
    body = """<script>
        window.removed = 0;
        setInterval(() => {
            const host = document.querySelector('[id^=a4-chat-widget]');
            if (host) { removed += 1; host.remove() }
        }, 1000);
    </script>"""
    chat = visit(body=body)
    context.clock.run_for(120_000)
    assert 1 < chat.page.evaluate("removed") < 12
    assert [line for line in chat.console if "A4ChatWidget" in line] == [REFUSED]


def test_a_page_that_settles_gets_the_chat_back(context: BrowserContext, visit: Visit) -> None:
    context.clock.install()
    chat = visit(head=GUARD)
    context.clock.run_for(2000)
    expect(chat.host).to_have_count(0)
    chat.page.evaluate("guard.disconnect()")
    context.clock.run_for(10_000)
    chat.open()
    assert chat.console == []


def test_after_giving_up_the_widget_returns_when_the_url_changes(context: BrowserContext, visit: Visit) -> None:
    context.clock.install()
    chat = visit(head=GUARD)
    context.clock.run_for(60_000)
    assert chat.console == [REFUSED]
    chat.page.evaluate("guard.disconnect(); history.pushState({}, '', '/elsewhere')")
    chat.page.evaluate("document.documentElement.append(document.createElement('i'))")
    context.clock.run_for(1000)
    chat.open()


def test_a_page_that_keeps_replacing_its_root_gets_the_chat_each_time(context: BrowserContext, visit: Visit) -> None:
    context.clock.install()
    chat = visit()
    expect(chat.bubble).to_be_visible()
    for _ in range(20):
        change(chat, REPLACED["replaces its root"])
        context.clock.run_for(1500)
        expect(chat.host).to_have_count(1)
    chat.open()
    assert chat.console == []


@pytest.mark.parametrize("moment", ["at once", "a moment later"])
def test_a_widget_destroyed_before_it_is_restored_stays_away(
    context: BrowserContext, visit: Visit, moment: str
) -> None:
    context.clock.install()
    chat = visit()
    expect(chat.bubble).to_be_visible()
    wait = "await Promise.resolve();" if moment == "a moment later" else ""
    change(chat, f"host.remove(); {wait} A4ChatWidget.destroy();")
    context.clock.run_for(60_000)
    change(chat, "document.documentElement.replaceWith(parsed().documentElement);")
    context.clock.run_for(60_000)
    facts: Any = chat.page.evaluate("[typeof A4ChatWidget, document.querySelectorAll('[id^=a4]').length]")
    assert facts == ["undefined", 0]
    assert chat.console == []
