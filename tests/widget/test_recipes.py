"""docs/recipes.md: each snippet shows the bubble on a page like the tool's."""

import json
import re
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import BrowserContext, expect

from browser import Chat, HostPages
from preloaded import ROOT
from processes import RunningService

pytest_plugins = ["visitor"]

PAGE = (ROOT / "docs/recipes.md").read_text()


def snippet_of(heading: str, language: str, service: RunningService) -> str:
    """The first block in a language under a heading, with this service's address, key and id."""
    section = re.search(rf"^## {re.escape(heading)}$(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section, heading
    block = re.search(rf"^```{language}\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE)
    assert block, (heading, language)
    filled = block[1].replace("https://chat.example.com", service.url)
    return filled.replace("a4_pub_…", service.api_key).replace("wgt_…", service.widget_id)


@dataclass
class BuiltPage:
    """A page that a tool makes around a snippet."""

    body: str
    head: str = ""
    headers: dict[str, str] = field(default_factory=dict)


def wordpress(service: RunningService) -> BuiltPage:
    """A theme that resets everything, the blocks' duotone filters, jQuery's ready queue, and the admin bar's margin."""
    return BuiltPage(
        head="<style id='global-styles-inline-css'>:where(.is-layout-flex){gap:.5em} html{margin-top:32px!important}"
        " iframe,embed{max-width:100%!important;height:auto!important} *{box-sizing:border-box}</style>"
        "<script>window._wpemojiSettings={};</script>",
        body='<div id="page" class="wp-site-blocks"><p>Hello world!</p></div><svg width="0" height="0" '
        f'style="position:absolute;left:-9999px"></svg>{snippet_of("WordPress", "html", service)}'
        "<script defer src='data:text/javascript,document.documentElement.classList.add(\"wp-ready\")'></script>",
    )


def shopify(service: RunningService) -> BuiltPage:
    """A theme with sections, a sticky drawer above everything, and the policy that shops are served with."""
    return BuiltPage(
        head="<style>.drawer{position:fixed;inset:0;visibility:hidden;z-index:999999} "
        ":root{font-size:62.5%} iframe{border:3px solid red}</style><script>window.Shopify={}</script>",
        body='<div class="drawer"></div><div id="shopify-section-header" class="shopify-section"></div>'
        + snippet_of("Shopify", "html", service),
        headers={"Content-Security-Policy": "block-all-mixed-content; frame-ancestors 'none'"},
    )


def webflow(service: RunningService) -> BuiltPage:
    """Its classes on the root element are set by a script, and `w-mod-js` comes before everything."""
    return BuiltPage(
        head='<script>!function(o,c){c.documentElement.className+=" w-mod-js"}(window,document);</script>'
        "<style>.w-mod-js *{opacity:1} body>*{display:block!important}</style>",
        body=f'<section class="w-container">A site</section>{snippet_of("Webflow", "html", service)}',
    )


def tag_manager(service: RunningService) -> BuiltPage:
    """It writes the tag's markup into the page later; each script becomes a new element with few attributes."""
    markup = json.dumps(snippet_of("Google Tag Manager", "html", service)).replace("</", "<\\/")
    return BuiltPage(
        body="<script>addEventListener('load', () => setTimeout(() => {"
        f"const made = document.createElement('div'); made.innerHTML = {markup};"
        "for (const given of made.querySelectorAll('script')) { const script = document.createElement('script');"
        "for (const name of ['id', 'type', 'src', 'async', 'defer', 'charset', 'nonce'])"
        "  if (given.hasAttribute(name)) script.setAttribute(name, given.getAttribute(name));"
        "script.text = given.text; document.body.append(script); } }, 50));</script>"
    )


def next_js(service: RunningService) -> BuiltPage:
    """next/script makes the element once the page is interactive, with the component's properties as attributes."""
    tag = re.search(r"<Script (.*?)/>", snippet_of("Next.js", "tsx", service), re.DOTALL)
    assert tag
    properties = dict(re.findall(r'([\w-]+)="([^"]*)"', tag[1]))
    assert properties.pop("strategy") == "afterInteractive"
    return BuiltPage(
        head="<style>#__next{isolation:isolate}</style>",
        body='<div id="__next"><p>Rendered</p></div><script>self.__next_f=[]; requestAnimationFrame(() => {'
        f"const script = document.createElement('script'), properties = {json.dumps(properties)};"
        "script.src = properties.src; delete properties.src;"
        "for (const [name, value] of Object.entries(properties)) script.setAttribute(name.toLowerCase(), value);"
        "script.setAttribute('data-nscript', 'afterInteractive'); document.body.append(script); });</script>",
    )


def strict_policy(service: RunningService) -> BuiltPage:
    heading = "A strict Content-Security-Policy"
    name, _, value = snippet_of(heading, "http", service).strip().partition(": ")
    return BuiltPage(body=snippet_of(heading, "html", service), headers={name: value})


RECIPES = {
    "WordPress": wordpress,
    "Shopify": shopify,
    "Webflow": webflow,
    "Google Tag Manager": tag_manager,
    "Next.js": next_js,
    "A strict Content-Security-Policy": strict_policy,
}


def test_every_recipe_is_tested() -> None:
    assert re.findall("^## (.*)$", PAGE, re.MULTILINE) == list(RECIPES)


@pytest.mark.parametrize("tool", RECIPES)
def test_the_bubble_appears_on_a_page_made_with(
    context: BrowserContext, host_pages: HostPages, shop: RunningService, tool: str
) -> None:
    snippet = RECIPES[tool](shop)
    chat = Chat(context.new_page(), shop.widget_id)
    chat.page.goto(host_pages.add(head=snippet.head, body=snippet.body, headers=snippet.headers))
    expect(chat.bubble).to_be_visible()
    chat.open()
    expect(chat.host).to_have_count(1)
    refused = [line for line in chat.console if "Content Security Policy" in line or "A4" in line or "uncaught" in line]
    assert [line for line in refused if "style-src" not in line and "img-src" not in line] == []
