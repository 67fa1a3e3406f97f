"""A model's text only becomes harmless elements: the renderer alone, on the widget's page with its real policy."""

import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Page, Route, expect

from browser import WIDGET
from cases import xss_cases
from processes import RunningService

pytest_plugins = ["visitor"]

SETUP = """
window.ran = [];
for (const name of ['alert', 'confirm', 'prompt', 'print', 'open']) window[name] = () => ran.push(name);
addEventListener('securitypolicyviolation', (event) => ran.push(`${event.violatedDirective} ${event.blockedURI}`));
addEventListener('error', (event) => ran.push(event.message));
const sheet = new CSSStyleSheet();
sheet.replaceSync(`${Markdown.markdownStyles}`);
document.adoptedStyleSheets.push(sheet);
const labels = { copyCode: 'Copy code', copied: 'Copied', showImage: 'Show image', code: 'Code', table: 'Table',
                 task: 'Task' };
window.answer = () => {
  const element = document.body.appendChild(document.createElement('article'));
  return Object.assign(Markdown.createMarkdown(element, labels, 'https://shop.test/a/'), { element });
};

const ATTRIBUTES = {
  p: [], h3: [], h4: [], h5: [], h6: [], hr: [], blockquote: [], li: [], ul: [], ol: ['start'],
  div: ['tabindex', 'role', 'aria-label'], pre: ['tabindex', 'role', 'aria-label'], table: [], tr: [], th: [], td: [],
  code: [], span: ['role', 'aria-label', 'aria-checked', 'aria-disabled'],
  strong: [], em: [], del: [], u: [], sub: [], sup: [], kbd: [], small: [], br: [],
  a: ['href', 'target', 'rel'], button: ['type'],
};
const VALUES = {
  class: /^(md|code|table|note|cite|plain|image|center|right|wide|(apart ?)?(task)?)$/, dir: /^auto$/,
  'data-growing': /^$/,
  start: /^[0-9]+$/, tabindex: /^0$/, role: /^(group|checkbox)$/, 'aria-label': /^(Table|Code|Task)$/,
  'aria-checked': /^(true|false)$/, 'aria-disabled': /^true$/, type: /^button$/,
  href: /^(https?:\\/\\/|mailto:|(tel|sms):[+\\d(])/, target: /^_blank$/, rel: /^noopener noreferrer nofollow$/,
};

/** Whatever is not on the list of elements, attributes and values. */
window.forbidden = (root) => {
  const found = [];
  for (const element of [root, ...root.querySelectorAll('*')]) {
    if (element.localName === 'article') continue;
    const allowed = ATTRIBUTES[element.localName];
    if (!allowed || (element.localName === 'button' && !element.closest('.code'))) found.push(element.localName);
    for (const { name, value } of element.attributes) {
      if (![...(allowed ?? []), 'class', 'dir', 'data-growing'].includes(name) || !VALUES[name].test(value)) {
        found.push(`${name}="${value}"`);
      }
    }
    if (element.localName !== 'a' || !element.hasAttribute('href')) continue;
    const { protocol, username, password, target, rel } = element;
    if (!['http:', 'https:', 'mailto:', 'tel:', 'sms:'].includes(protocol) || username || password || !target || !rel) {
      found.push(element.href);
    }
  }
  return found;
};
"""


@pytest.fixture(scope="module")
def script() -> str:
    """The built renderer, and the tests' functions for it."""
    command = ["node", "test/bundle.mjs", "window/markdown/index.ts", "Markdown"]
    return subprocess.run(command, cwd=WIDGET, capture_output=True, check=True, text=True).stdout + SETUP


@pytest.fixture
def page(context: BrowserContext, shop: RunningService, script: str) -> Iterator[Page]:
    """The iframe's page with the renderer in place of the app, which requests nothing and runs nothing of an answer."""
    page = context.new_page()

    def give_script(route: Route) -> None:
        route.fulfill(body=script, content_type="text/javascript")

    page.route("**/assets/app-*.js", give_script)
    with page.expect_response("**/widget.html*") as response:
        page.goto(f"{shop.url}/widget.html?id={shop.widget_id}")
    assert "require-trusted-types-for 'script'" in response.value.headers["content-security-policy"]
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    page.on("framenavigated", lambda frame: requested.append(frame.url))
    page.on("dialog", lambda dialog: requested.append(dialog.message))
    yield page
    assert requested == []
    assert page.evaluate("ran") == []


def test_no_payload_produces_anything_but_harmless_elements(page: Page) -> None:
    """Each in full, as a finished and as a growing answer."""
    payloads = [case["payload"] for case in xss_cases("payloads")]
    found = page.evaluate(
        """(payloads) => payloads.flatMap((payload) => [true, false].flatMap((done) => {
            const { update, element } = answer();
            update(payload, done);
            return forbidden(element).map((what) => [payload, what]);
        }))""",
        payloads,
    )
    assert found == []
    assert page.evaluate("document.querySelectorAll('article').length") == 2 * len(payloads) > 800


def test_no_payload_produces_anything_else_at_any_prefix(page: Page) -> None:
    """And the final result is the same as for the whole payload."""
    found = page.evaluate(
        """(payloads) => payloads.flatMap((payload) => {
            const growing = answer();
            const found = [];
            for (let length = 1; length <= payload.length; length++) {
                growing.update(payload.slice(0, length), false);
                // What stands before the last two blocks is finished.
                for (const block of growing.element.querySelectorAll('.md > :nth-last-child(-n + 2)')) {
                    for (const what of forbidden(block)) found.push([payload.slice(0, length), what]);
                }
            }
            growing.update(payload, true);
            found.push(...forbidden(growing.element));
            const whole = answer();
            whole.update(payload, true);
            if (!growing.element.isEqualNode(whole.element)) found.push([payload, 'differs']);
            growing.element.remove();
            whole.element.remove();
            return found;
        })""",
        [case["payload"] for case in xss_cases("payloads")],
    )
    assert found == []


KEPT = {
    "b00": "strong + em", "b01": "code", "b02": "pre", "b03": "ol > li + li", "b04": "ul ul", "b05": "blockquote",
    "b06": 'a[href="https://example.com/a?b=1&c=2#d"]', "b07": "a", "b08": 'a[href^="mailto:"]', "b09": "table",
    "b14": "h3", "b15": "br", "b17": "a", "b21": "hr", "b22": "del",
}  # fmt: skip


def test_harmless_markdown_renders_correctly(page: Page) -> None:
    controls = xss_cases("benign_controls")
    assert len(controls) == 25
    for control in controls:
        text, elements = page.evaluate(
            """([markdown, selector]) => {
                const { update, element } = answer();
                update(markdown, true);
                return [element.innerText, element.querySelectorAll(selector).length];
            }""",
            [control["markdown"], KEPT.get(control["id"], ".md")],
        )
        assert control["must_show_text"] in text
        assert elements == 1, control
        if control["id"] not in KEPT:
            assert text == control["must_show_text"]


def show(page: Page, markdown: str, *, done: bool = True) -> None:
    page.evaluate(
        "([text, done]) => { window.shown ??= answer(); shown.update(text, done); }",
        [markdown, done],
    )


LINKS = [
    ("[our shop](https://evil.test/a)", "our shop evil.test", "https://evil.test/a"),
    ("[https://bank.test](https://evil.test)", "https://bank.test evil.test", "https://evil.test/"),
    ("[bank.test](https://bank.test.evil.test)", "bank.test bank.test.evil.test", "https://bank.test.evil.test/"),
    ("[bank.test@evil.test](https://evil.test)", "bank.test@evil.test evil.test", "https://evil.test/"),
    ("[bаnk.test](https://bаnk.test)", "bаnk.test xn--bnk-6cd.test", "https://xn--bnk-6cd.test/"),
    ("[\u202etset.knab](https://evil.test)", "\u202etset.knab evil.test", "https://evil.test/"),
    ("[bank.test/a](https://bank.test/b)", "bank.test/a", "https://bank.test/b"),
    ("[write](mailto:a@evil.test)", "write a@evil.test", "mailto:a@evil.test"),
    ("https:evil.test https:/evil.test", "https:evil.test https:/evil.test", None),
    ("[x](https:\\\\evil.test)", "x evil.test", "https://evil.test/"),
    ("[x](https://bank.test@evil.test)", "x", None),
    ("[x](//evil.test)", "x evil.test", "https://evil.test/"),
    ("[x](tel:1)", "x 1", "tel:1"),
    ("[x](sms:+1?body=Hi)", "x +1", "sms:+1?body=Hi"),
    ("[x](tel:*%2306%23)", "x", None),
    ("[x](/a?b#c)", "x", "https://shop.test/a?b#c"),
    ("[bank.test](b)", "bank.test", "https://shop.test/a/b"),
    ("[x](\\\\\\\\evil.test)", "x evil.test", "https://evil.test/"),
    ("[x](javascript&colon;alert(1))", "x", "https://shop.test/a/javascript&colon;alert(1)"),
    ("[x](javascript&#58;alert(1))", "x", None),
]


def test_a_link_shows_its_host(page: Page) -> None:
    for markdown, text, address in LINKS:
        shown, addresses = page.evaluate(
            """(markdown) => {
                const { update, element } = answer();
                update(markdown, true);
                const links = [...element.querySelectorAll('a')].map((link) => link.getAttribute('href'));
                return [element.querySelector('p').textContent, links];
            }""",
            markdown,
        )
        assert (" ".join(shown.split()), addresses) == (text, [address] if address else []), markdown


def test_an_image_becomes_a_link_with_its_host_and_loads_nothing(page: Page) -> None:
    show(page, "![A map](https://tracker.test/?q=secret)")
    expect(page.get_by_role("link", name="Show image: A map tracker.test")).to_have_attribute("target", "_blank")
    expect(page.get_by_role("img")).to_have_count(0)


def test_code_is_copied_verbatim(page: Page, context: BrowserContext) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    show(page, "```js\nif (a < b) {\n\tc();\n}\n```\n")
    page.get_by_role("button", name="Copy code").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "if (a < b) {\n\tc();\n}"
    expect(page.get_by_role("button", name="Copy code")).to_be_visible()


def test_finished_elements_are_not_redrawn_while_the_answer_grows(page: Page) -> None:
    """Its elements and texts stay the same, and no mutation record names them."""
    start = "# One\n\nTwo **three**\n\n- four\n- five\n\n| a |\n|---|\n| b |\n| c |\n\n```\nsix\n```\n\n"
    show(page, start + "Sev", done=False)
    page.evaluate(
        """() => {
            window.changes = [];
            window.observer = new MutationObserver((records) => changes.push(...records));
            observer.observe(shown.element, { subtree: true, childList: true, characterData: true, attributes: true });
        }"""
    )
    for end in ("en **ei", "en **eight**", "en **eight** nine\n", "en **eight** nine\n\n- ten"):
        show(page, start + "Sev" + end, done=False)
    changed = page.evaluate(
        """() => [...changes, ...observer.takeRecords()].map(({ target }) => {
            const last = shown.element.querySelector('.code').nextElementSibling;
            return target.className === 'md' || last.contains(target) || target.isConnected === false
                || !!target.closest?.('ul:last-child');
        })"""
    )
    assert changed and all(changed)
    expect(page.locator("article .md > *")).to_have_count(7)


def test_selected_text_stays_selected_while_the_answer_grows(page: Page) -> None:
    show(page, "One two thr", done=False)
    page.evaluate(
        "getSelection().setBaseAndExtent(...[4, 7].flatMap((at) => [shown.element.querySelector('p').firstChild, at]))"
    )
    show(page, "One two three **four", done=False)
    assert page.evaluate("String(getSelection())") == "two"
