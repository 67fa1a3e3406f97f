"""The widget withstands hostile answers, pages and frames."""

import re

from playwright.sync_api import BrowserContext, Dialog, expect

from browser import HostPages, Provider, Visit, add_tenant, stored
from cases import xss_cases
from processes import RunningService

pytest_plugins = ["visitor"]

MARKUP = """<img src="http://tracker.invalid/1" onerror="window.owned = 1"><script>window.owned = 2</script>
<a href="https://example.com">a link</a> https://example.com/ [a](javascript:window.owned=3) ![i](http://tracker.invalid/2)
<style>* { display: none }</style> <iframe src="http://tracker.invalid/3"></iframe> &lt;b&gt; ${7*7} {{7*7}}"""


def test_markup_in_an_answer_stays_text_and_loads_nothing(
    visit: Visit, context: BrowserContext, provider: Provider
) -> None:
    hosts: set[str] = set()
    context.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    chat = visit()
    chat.open()
    answer = provider.answer()
    chat.ask(MARKUP)
    for character in MARKUP:
        answer.say(character)
    answer.end()
    expect(chat.button("Copy")).to_be_visible()
    assert chat.questions.evaluate("(element) => element.textContent + element.childElementCount") == MARKUP + "0"
    for text in ('<img src="http://tracker.invalid/1"', "<script>window.owned = 2</script>", '<a href="', "<style>"):
        expect(chat.answers).to_contain_text(text)
    expect(chat.answers.locator("img, script, style, iframe, [onerror], [href^=javascript]")).to_have_count(0)
    assert chat.frame.evaluate("[typeof owned, document.links.length, document.scripts.length]") == ["undefined", 0, 1]
    assert hosts == {"localhost", "127.0.0.1"}

    chat.reload()
    expect(chat.answers.locator("img, script, style, iframe, [onerror], [href^=javascript]")).to_have_count(0)
    assert hosts == {"localhost", "127.0.0.1"}
    assert chat.console == []


def test_no_payload_does_anything_in_the_window(visit: Visit, context: BrowserContext, provider: Provider) -> None:
    """Each as a question and an answer of a restored conversation, all in one window."""
    payloads = [case["payload"] for case in xss_cases("payloads")]
    chat = visit()

    def note(dialog: Dialog) -> None:
        chat.console.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    chat.page.on("dialog", note)
    chat.open()
    provider.answer("Hi.")
    chat.ask("Hello?")
    expect(chat.button("Copy")).to_be_visible()
    conversation = stored((payload, payload) for payload in payloads)
    chat.page.route("**/api/v1/conversations/*", lambda route: route.fulfill(json=conversation))
    hosts: set[str] = set()
    context.on("request", lambda request: hosts.add(request.url.split("/")[2].split(":")[0]))
    chat.page.reload()
    expect(chat.questions).to_have_count(len(payloads))

    questions = chat.questions.evaluate_all("(all) => all.map((one) => [one.textContent, one.childElementCount])")
    assert questions == [[payload, 0] for payload in payloads]
    active = "img, script, style, iframe, object, embed, form, svg, math, link, meta, base, template, video, audio"
    expect(chat.answers.locator(active)).to_have_count(0)
    attributes = chat.answers.locator("*").evaluate_all(
        "(all) => [...new Set(all.flatMap((one) => one.getAttributeNames()))].sort()"
    )
    assert [name for name in attributes if name.startswith("on") or name in ("style", "src", "srcdoc", "id")] == []
    schemes = chat.answers.locator("a").evaluate_all("(all) => [...new Set(all.map(({ protocol }) => protocol))]")
    assert set(schemes) <= {"http:", "https:", "mailto:", "tel:", "sms:"}
    assert hosts == {"localhost", "127.0.0.1"}
    assert chat.console == []


def test_the_widgets_page_opened_directly_is_one_plain_line(context: BrowserContext, shop: RunningService) -> None:
    page = context.new_page()
    page.route("**/favicon.ico", lambda route: route.fulfill(status=204))
    console: list[str] = []
    page.on("console", lambda message: console.append(message.text))
    page.goto(f"{shop.url}/widget.html?id={shop.widget_id}")
    expect(page.locator("body")).to_have_text("A chat.")
    assert page.evaluate("document.body.childElementCount") == 0
    assert console == []


def test_forged_messages_from_the_page_change_nothing(visit: Visit, provider: Provider) -> None:
    chat = visit()
    expect(chat.bubble).to_be_visible()
    chat.page.evaluate(
        """(host) => {
            const frame = host.shadowRoot.firstElementChild.contentWindow;
            const init = { type: 'a4:init', apiKey: 'evil', widgetId: 'evil', settings: { title: 'Evil' },
                view: { open: true, small: true, dark: true }, lang: 'de', kept: '' };
            const messages = [init, { type: 'open', focus: true }, { type: 'send', value: 'Evil' },
                { type: 'look', css: '', open: true, focus: true }, { type: 'view', open: true }, null, 7, 'a4:init'];
            for (const message of messages) {
                window.postMessage(message, '*');
                frame.postMessage(message, '*');
                frame.postMessage(message, '*', [new MessageChannel().port2]);
            }
        }""",
        chat.host.element_handle(),
    )
    chat.open()
    expect(chat.window).to_have_accessible_name("Chat")
    expect(chat.questions).to_have_count(0)
    assert provider.asked == []
    provider.answer("The right key.")
    chat.ask("Hello?")
    expect(chat.answers).to_have_text("The right key.")


def test_a_frame_from_another_site_reaches_nothing(
    visit: Visit, context: BrowserContext, host_pages: HostPages
) -> None:
    attack = """<script>
        const init = { type: 'a4:init', apiKey: 'evil', widgetId: 'evil', settings: { title: 'Evil' }, view: {} };
        const targets = [parent, top, ...Array.from({ length: parent.length }, (_, index) => parent[index])];
        for (const target of targets) {
            for (const message of [init, { type: 'open' }, { type: 'look', css: ':host{inset:0}', open: true }])
                target.postMessage(message, '*', [new MessageChannel().port2]);
        }
        parent.postMessage(`attacked ${targets.length}`, '*');
    </script>"""
    evil = host_pages.add(body=attack).replace("localhost", "127.0.0.1")
    listen = "addEventListener('message', ({ data }) => { if (/attacked/.test(data)) document.title = data })"
    chat = visit(head=f"<script>{listen}</script>")
    expect(chat.bubble).to_be_visible()
    chat.page.evaluate("(src) => document.body.append(Object.assign(document.createElement('iframe'), { src }))", evil)
    # The frame itself is the only one that the page lists: the widget's is in a shadow tree.
    expect(chat.page).to_have_title("attacked 3")
    expect(chat.bubble).to_be_visible()
    assert chat.host.bounding_box() == {"x": 1200, "y": 720, "width": 64, "height": 64}


FLOOD = """<script>
    // Everything that one of the two sides knows, from whichever frame this runs in, to every frame it can find.
    const view = { open: true, small: true, dark: true, rtl: true, top: 0, height: 99 };
    const init = { type: 'a4:init', apiKey: 'evil', widgetId: 'evil', settings: { title: 'Evil', open: true }, view };
    const messages = [init, { type: 'open', focus: true }, { type: 'send', value: 'Evil' },
        { type: 'identify', value: 'x' }, { type: 'view', focus: true, ...view },
        { type: 'look', css: ':host{display:block;position:fixed;inset:0}',
        title: 'Evil', open: true, focus: true }, { type: 'event', name: 'answer', detail: { text: 'Evil' } },
        { type: 'keep', value: 'Evil' }, { type: 'watch' }, null, 7, 'a4:init'];
    function flood(targets, count) {
        let sent = 0;
        while (sent < count) {
            for (const target of targets) {
                const message = messages[sent % messages.length];
                target.postMessage(message, '*', sent % 2 ? [] : [new MessageChannel().port2]);
                sent += 1;
            }
        }
        return sent;
    }
    if (window !== top || opener) {
        const page = opener ?? top;
        const targets = [page, ...Array.from({ length: page.length }, (_, index) => page[index])];
        page.postMessage(`flooded ${flood(targets, COUNT)}`, '*');
    }
</script>"""


def test_forged_messages_from_five_frames_change_nothing(
    visit: Visit, context: BrowserContext, host_pages: HostPages, provider: Provider, full: bool
) -> None:
    """The page itself, a frame of it, a frame in that, a frame of another origin, and a popup."""
    count = 2000 if full else 200  # of each
    flood = FLOOD.replace("COUNT", f"{count}")
    evil = host_pages.add(body=flood)
    nested = host_pages.add(body=f'<iframe src="{evil}"></iframe>')
    listen = """<script>
        window.floods = 0;
        window.events = [];
        addEventListener('message', ({ data }) => { floods += Number(/^flooded (.*)/.exec(data)?.[1] ?? 0) });
        document.addEventListener('a4:answer', () => events.push('answer'));
    </script>"""
    chat = visit(head=listen + flood)
    expect(chat.bubble).to_be_visible()
    chat.page.evaluate(
        """({ evil, nested, other }) => {
            for (const src of [evil, nested, other])
                document.body.append(Object.assign(document.createElement('iframe'), { src }));
        }""",
        {"evil": evil, "nested": nested, "other": evil.replace("localhost", "127.0.0.1")},
    )
    chat.host.evaluate(
        "(host, count) => { floods += flood([window, host.shadowRoot.firstElementChild.contentWindow], count) }", count
    )
    with context.expect_page():
        chat.page.evaluate("(evil) => { window.open(evil) }", evil)
    chat.page.wait_for_function("(all) => floods >= all", arg=5 * count)

    assert chat.host.bounding_box() == {"x": 1200, "y": 720, "width": 64, "height": 64}
    assert chat.page.evaluate("[events.length, localStorage.length, sessionStorage.length]") == [0, 0, 0]
    chat.page.bring_to_front()
    chat.open()
    expect(chat.window).to_have_accessible_name("Chat")
    expect(chat.questions).to_have_count(0)
    assert provider.asked == []


START = """<script>
    function start(target, name) {
        const { port1, port2 } = new MessageChannel();
        port1.onmessage = ({ data }) => { if (data.name === 'ready') top.document.title = `started by ${name}` };
        const view = { open: false, small: false, dark: false, rtl: false, top: 0, height: 0 };
        const init = { type: 'a4:init', apiKey: 'any', settings: {}, view, vars: {}, kept: '' };
        target.postMessage(init, '*', [port2]);
    }
</script>"""


def test_only_the_page_around_the_widgets_own_page_can_start_it(
    context: BrowserContext, host_pages: HostPages, shop: RunningService
) -> None:
    """Not even another frame of that page, with the same listed origin."""
    framed = f'<iframe src="{shop.url}/widget.html?id={shop.widget_id}"></iframe>'
    beside = host_pages.add(body=f"{START}<script>start(parent[0], 'a frame beside it')</script>")
    page = context.new_page()
    page.goto(host_pages.add(body=START + framed))
    page.evaluate(
        """(src) => new Promise((onload) => {
            document.body.append(Object.assign(document.createElement('iframe'), { src, onload }));
        })""",
        beside,
    )
    page.evaluate("start(frames[0], 'the page')")
    expect(page).to_have_title(re.compile("^started"))
    assert page.title() == "started by the page"


def test_a_listed_page_inside_an_unlisted_one_gets_no_widget(
    context: BrowserContext, host_pages: HostPages, visit: Visit, shop: RunningService
) -> None:
    """`frame-ancestors` checks all ancestors, so a listed page can't be embedded in a malicious one."""
    exact = add_tenant(shop, "exact", origin=host_pages.url)
    chat = visit(service=exact)
    expect(chat.bubble).to_be_visible()
    trap = host_pages.add(body=f'<iframe src="{chat.page.url}" width="900" height="700"></iframe>')
    page = context.new_page()
    with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
        page.goto(trap.replace("localhost", "127.0.0.1"))
