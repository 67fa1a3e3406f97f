"""Compare our widget with other embeddable ones, with one script: `python bench/peers/run.py [NAME …] [--write]`.

All widgets run on the same page with the same local endpoint and get the same answers at the same pace. Prints a table
with a column per widget. The peers' published bundles are installed from npm into a temporary directory and served with
Brotli, as from a CDN. Times depend on the machine, so only compare columns of the same run. Needs node and npm (run
`npm ci` in widget/ first), Chromium and tests/requirements.txt.
"""

import argparse
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/support"))
sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from markdown import cpu
from pages import END, PEERS, Site, install
from playwright.sync_api import Browser, BrowserContext, Error, Frame, Locator, Page, sync_playwright

from browser import ARGUMENTS, script_tag, serving
from processes import RunningService, running_service

ROOT = Path(__file__).parents[2]
OURS = "ours"
LOADS = 5  # the median is reported
FIELD = "textarea, [contenteditable=true], #text-input"
AXE = ROOT / "widget/node_modules/axe-core/axe.min.js"
HOSTILE = """
    * { font: 40px cursive !important; color: red !important; background: lime !important; float: left !important;
        position: static !important; width: auto !important; height: auto !important; opacity: .3 !important }
    button, textarea, input, iframe, svg { display: none !important }
"""
TABLE = re.compile(r"(?<=<!-- peers -->\n).*?(?=<!-- /peers -->)", re.DOTALL)
# For the page and each frame: blocking time, the longest task, and violations of the Content Security Policy.
OBSERVE = """
    window.cost = { blocking: 0, longest: 0, refused: 0 };
    new PerformanceObserver((list) => {
        for (const task of list.getEntries()) {
            if (task.name !== 'self') continue;
            cost.blocking += Math.max(0, task.duration - 50);
            cost.longest = Math.max(cost.longest, task.duration);
        }
    }).observe({ type: 'longtask', buffered: true });
    addEventListener('securitypolicyviolation', () => { cost.refused += 1 });
"""
# Enter confirms an input method's candidate. Chrome sends the key before the composition ends, Safari after it.
COMPOSE = """
    (field, order) => {
        const say = (name) => field.dispatchEvent(new CompositionEvent(name, { bubbles: true, composed: true }));
        say('compositionstart');
        if (order === 'Safari') say('compositionend');
        field.dispatchEvent(new KeyboardEvent('keydown', {
            key: 'Enter', code: 'Enter', keyCode: 229, isComposing: order === 'Chrome',
            bubbles: true, composed: true, cancelable: true,
        }));
        if (order === 'Chrome') say('compositionend');
    }
"""


class Bench:
    """One widget on pages of one site."""

    def __init__(self, browser: Browser, site: Site, name: str, tag: str, launcher: str, service_url: str) -> None:
        self.browser = browser
        self.site = site
        self.name = name
        self.tag = tag
        self.launcher = launcher
        self.service_url = service_url

    def open(self, context: BrowserContext, *, head: str = "", policy: str = "", throttle: float = 1) -> Page:
        """The page, once the closed widget has appeared."""
        path = f"/page/{len(self.site.pages)}"
        self.site.pages[path] = (
            f'<!doctype html><html lang="en"><head><title>A shop</title><link rel="icon" href="data:,">{head}</head>'
            f"<body><main><h1>A shop</h1></main>{self.tag}</body></html>",
            policy,
        )
        page = context.new_page()
        page.add_init_script(OBSERVE)
        if throttle != 1:
            context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": throttle})
        page.goto(self.site.url + path, wait_until="load")
        self.find(page, self.launcher or FIELD)
        return page

    def find(self, page: Page, selector: str, seconds: float = 15) -> Locator:
        """The first visible element that matches the selector, in any frame."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for frame in page.frames:
                with suppress(Error):
                    for found in frame.locator(selector).all():
                        if found.is_visible():
                            return found
            page.wait_for_timeout(20)
        raise TimeoutError(f"{self.name}: no {selector} in {seconds} seconds")

    def chat(self, page: Page) -> Locator:
        """Open the chat with the pointer. Returns its field once it has stopped moving, so that a click can't miss."""
        if self.launcher:
            self.find(page, self.launcher).click()
        field = self.find(page, FIELD)
        moving = None
        while (place := field.bounding_box()) != moving:
            moving = place
            page.wait_for_timeout(50)
        return field

    def ask(self, page: Page, question: str, seconds: float = 15) -> None:
        """Ask a question, and wait for the end of the answer."""
        field = self.find(page, FIELD)
        field.click()
        page.keyboard.type(question)
        asked = self.site.answered
        page.keyboard.press("Enter")
        deadline = time.monotonic() + seconds
        while self.site.answered == asked and time.monotonic() < deadline:
            page.wait_for_timeout(50)  # polling the page would distort the measurement
        self.find(page, f"text={END} >> nth=-1")

    def cost(self, page: Page, key: str, combine: Callable[[list[float]], float]) -> float:
        return combine([frame.evaluate(f"window.cost?.{key} ?? 0") for frame in page.frames])

    # The measurements, each on a new page with a new visitor.

    def weight(self, context: BrowserContext) -> dict[str, str]:
        finished: list[Any] = []
        context.on("requestfinished", lambda request: finished.append(request))

        def loaded() -> int:
            page.wait_for_load_state("networkidle")
            fetched = [
                request for request in finished if "/page/" not in request.url and request.url.startswith("http")
            ]
            return sum(request.sizes()["responseBodySize"] for request in fetched)

        page = self.open(context)
        before = loaded()
        self.chat(page)
        return {"bytes fetched until it is opened": f"{before:,}", "bytes fetched, opened": f"{loaded():,}"}

    def load(self, context: BrowserContext) -> dict[str, str]:
        blocked = []
        for _ in range(LOADS):
            page = self.open(context, throttle=4)
            page.wait_for_timeout(1000)
            blocked.append(page.evaluate("cost.blocking"))
            context.new_cdp_session(page).send("Network.clearBrowserCache")
            page.close()
        return {"blocks the page, CPU slowed 4 times, ms": f"{median(blocked):.0f}"}

    def streaming(self, context: BrowserContext) -> dict[str, str]:
        page = self.open(context)
        self.chat(page)
        page.wait_for_timeout(1000)
        for frame in page.frames:
            frame.evaluate("cost.longest = 0")
        before = cpu(self.browser)
        self.ask(page, "long", 180)
        page.wait_for_timeout(500)
        spent, longest = cpu(self.browser) - before, self.cost(page, "longest", max)
        return {
            "CPU for an answer of 12,000 characters in 15 s, s": f"{spent:.1f}",
            "longest freeze during it, ms": f"{longest:.0f}" if longest else "< 50",
            "JavaScript memory after it, MB": f"{self.heap(context, page):.1f}",
        }

    def heap(self, context: BrowserContext, page: Page) -> float:
        """The JavaScript heap of the page and its out-of-process frames, after a garbage collection."""
        total = 0.0
        targets: list[Page | Frame] = [page, *page.frames[1:]]
        for target in targets:
            with suppress(Error):  # a frame in the page's own process has no session
                session = context.new_cdp_session(target)
                session.send("HeapProfiler.collectGarbage")
                total += session.send("Runtime.getHeapUsage")["usedSize"]
        return total / 1e6

    def policy(self, context: BrowserContext) -> dict[str, str]:
        source = f"'self' 'nonce-n' {self.service_url}"
        policy = (
            f"default-src 'none'; script-src {source}; frame-src {self.service_url or 'none'}; style-src 'self'; "
            "connect-src 'self'; img-src 'self' data:; require-trusted-types-for 'script'; trusted-types 'none'"
        )
        return {"page with a strict CSP and Trusted Types": self.works(context, policy=policy)}

    def hostile(self, context: BrowserContext) -> dict[str, str]:
        return {"page with hostile CSS": self.works(context, head=f"<style>{HOSTILE}</style>")}

    def works(self, context: BrowserContext, **page_options: Any) -> str:
        """Whether the chat opens and answers, and the number of policy violations."""
        try:
            context.set_default_timeout(5000)
            page = self.open(context, **page_options)
            self.chat(page)
            self.ask(page, "short", 8)
        except (TimeoutError, Error):
            return "no chat"
        refused = page.evaluate("cost.refused")
        return f"answers, {refused:.0f} refused" if refused else "answers"

    def axe(self, context: BrowserContext) -> dict[str, str]:
        page = self.open(context)
        self.chat(page)
        self.ask(page, "short")
        page.wait_for_timeout(500)
        found = [violation for frame in page.frames for violation in self.violations(frame)]
        return {"violations of WCAG 2.2 AA (axe)": ", ".join(sorted(set(found))) or "none"}

    def violations(self, frame: Frame) -> list[str]:
        frame.evaluate(AXE.read_text())
        found: list[str] = frame.evaluate(
            "async () => (await axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21aa', 'wcag22aa'], iframes: false }))"
            ".violations.map((violation) => violation.id)"
        )
        return found

    def keyboard(self, context: BrowserContext) -> dict[str, str]:
        page = self.open(context)
        focused = """() => {
            let element = document.activeElement;
            while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
            return !element || element === document.body ? '' : element.matches(FIELD) ? 'field' : 'other';
        }""".replace("FIELD", json.dumps(FIELD))

        def focus() -> str:
            inner = [frame.evaluate(focused) for frame in page.frames[1:]]
            here: str = page.evaluate(focused)
            return next(filter(None, inner), here) if here == "other" else here

        def field_shown() -> bool:
            try:
                self.find(page, FIELD, 3)
            except TimeoutError:
                return False
            return True

        page.keyboard.press("Tab")
        reached = bool(focus())
        if self.launcher:
            page.keyboard.press("Enter")
        opened = reached and field_shown()
        page.wait_for_timeout(700)
        marks = {"opens": opened, "focus to the field": opened and focus() == "field"}
        if self.launcher:
            if not opened:
                self.chat(page)
            self.find(page, FIELD).click()
            page.keyboard.press("Escape")
            page.wait_for_timeout(700)
            closed = not any(frame.locator(FIELD).first.is_visible() for frame in page.frames)
            marks |= {"Escape closes": closed, "focus back": closed and focus() == "other"}
        return {"keyboard": ", ".join(f"{'' if good else 'not: '}{mark}" for mark, good in marks.items())}

    def composing(self, context: BrowserContext) -> dict[str, str]:
        sent = []
        for order in ("Chrome", "Safari"):
            page = self.open(context)
            field = self.chat(page)
            field.click()
            page.keyboard.type("short")
            before = self.site.asked
            field.evaluate(COMPOSE, order)
            page.wait_for_timeout(1000)
            if self.site.asked > before:
                sent.append(order)
            page.close()
        return {"sends while composing (IME)": ", ".join(sent) or "never"}

    def beacon(self, context: BrowserContext) -> dict[str, str]:
        page = self.open(context)
        self.chat(page)
        before = self.site.images
        self.ask(page, "image")
        page.wait_for_timeout(1000)
        return {"loads images that the model names": "yes" if self.site.images > before else "no"}

    def run(self) -> dict[str, str]:
        steps = [
            self.weight, self.load, self.streaming, self.policy, self.hostile,
            self.axe, self.keyboard, self.composing, self.beacon,
        ]  # fmt: skip
        results: dict[str, str] = {}
        for step in steps:
            with self.browser.new_context(locale="en-US", viewport={"width": 1280, "height": 800}) as context:
                print(f"{self.name}: {step.__name__}", file=sys.stderr)
                try:
                    results |= step(context)
                except (TimeoutError, Error) as error:
                    print(f"  not measured: {str(error).splitlines()[0]}", file=sys.stderr)
        return results


def table(results: dict[str, dict[str, str]]) -> str:
    """A Markdown table with a column per widget."""
    rows = dict.fromkeys(row for column in results.values() for row in column)
    heads = [f"{name} {PEERS[name].package.rpartition('@')[2]}" if name in PEERS else name for name in results]
    lines = [["", *heads], ["---"] * (len(heads) + 1)]
    lines += [[row, *(column.get(row, "not measured") for column in results.values())] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def measure(browser: Browser, site: Site, service: RunningService, name: str) -> dict[str, str]:
    if name == OURS:
        return Bench(browser, site, name, script_tag(service), "chat-bubble button", service.url).run()
    return Bench(browser, site, name, PEERS[name].html, PEERS[name].launcher, "").run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=[OURS, *PEERS], metavar="NAME", help=f"{OURS}, {', '.join(PEERS)}")
    parser.add_argument("--write", action="store_true", help="update the table in docs/embedding.md")
    arguments = parser.parse_args()
    names = arguments.names
    with tempfile.TemporaryDirectory() as temporary:
        directory = Path(temporary)
        (directory / "service").mkdir()
        install(directory)
        site = Site(directory)
        with serving(site.handler()) as port:
            site.url = f"http://localhost:{port}"
            settings = {"OPENAI_BASE_URL": f"http://127.0.0.1:{port}/v1", "OPENAI_API_KEY": "sk-upstream"}
            with running_service(directory / "service", **settings) as service, sync_playwright() as playwright:
                path = shutil.which("chromium") or shutil.which("google-chrome")
                browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
                made = table({name: measure(browser, site, service, name) for name in names})
                browser.close()
    print(made)
    if arguments.write:
        page = ROOT / "docs/embedding.md"
        page.write_text(TABLE.sub(lambda _: made + "\n", page.read_text()))


if __name__ == "__main__":
    main()
