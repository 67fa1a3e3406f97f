"""The widget in Firefox and WebKit: a driver for each, and a shared way to check what is visible."""

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol

from playwright.sync_api import Error, Page, ViewportSize, sync_playwright
from selenium.common.exceptions import ElementNotInteractableException, WebDriverException
from selenium.webdriver import ActionChains, Keys, Remote
from selenium.webdriver.remote.client_config import ClientConfig
from selenium.webdriver.remote.remote_connection import RemoteConnection
from selenium.webdriver.support.wait import WebDriverWait
from selenium.webdriver.webkitgtk.options import Options
from selenium.webdriver.webkitgtk.service import Service

from browser import PATIENCE, Chat
from processes import free_port
from required import skip_unless_required

SIZE: ViewportSize = {"width": 1280, "height": 800}

# The visible content of the chat, from its open shadow trees; null before it exists.
LOOK = """
    const all = [];
    const walk = (root) => {
        for (const element of root.querySelectorAll('*')) {
            all.push(element);
            if (element.shadowRoot) walk(element.shadowRoot);
        }
    };
    walk(document);
    const shown = all.filter((element) => element.checkVisibility());
    const find = (selector) => shown.filter((element) => element.matches(selector));
    const name = (element) => element.ariaLabel || element.innerText.trim();
    let focused = document.activeElement;
    while (focused?.shadowRoot?.activeElement) focused = focused.shadowRoot.activeElement;
    const [bubble] = find('chat-bubble');
    const [dialog] = find('[role=dialog]');
    const colour = (element, property) => element && getComputedStyle(element)[property];
"""
SEEN = (
    LOOK
    + """
    return {
        focus: focused && focused !== document.body ? focused.localName : '',
        buttons: find('button').map(name),
        questions: find('.question .text').map((text) => text.innerText.trim()),
        answers: find('.answer .text').map((text) => text.innerText.trim()),
        marked: find('.answer .text :is(strong, code, li)').map((part) => `${part.localName}: ${part.textContent}`),
        log: find('[role=log]').map((log) => log.innerText).join(),
        field: find('textarea').map((field) => field.value).join(),
        open: !!dialog,
        width: innerWidth,
        direction: document.documentElement.dir,
        background: colour(dialog, 'backgroundColor'),
        icon: colour(bubble?.shadowRoot.querySelector('button'), 'color'),
    };
"""
)
BUTTON = LOOK + "return find('button').find((button) => name(button) === arguments[0]);"


class Driver(Protocol):
    """A browser with one tab, on a page with the widget."""

    def visit(self, url: str, widget_id: str) -> None: ...

    def reload(self) -> None: ...

    def resize(self, width: int, height: int) -> None: ...

    def press(self, key: str) -> None: ...

    def type(self, text: str) -> None: ...

    def click(self, button: str) -> None: ...

    def page(self, script: str) -> Any:
        """Run a function body in the page."""

    def inside(self, script: str) -> Any:
        """Run a function body in the widget's frame. Returns None if there is no frame yet."""


class Visitor:
    """Controls the driver, and waits for visible results."""

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def sees(self, **expected: Any) -> dict[str, Any]:
        """Wait until all of this is visible. Returns everything visible then."""
        deadline = time.monotonic() + PATIENCE / 1000
        while True:
            seen: dict[str, Any] = self.driver.inside(SEEN) or {}
            shown = {name: seen.get(name) for name in expected}
            if shown == expected:
                return seen
            assert time.monotonic() < deadline, f"expected {expected}, saw {seen}"
            time.sleep(0.02)

    def sees_button(self, name: str) -> None:
        self._waits_for("buttons", name)

    def sees_in_log(self, text: str) -> None:
        self._waits_for("log", text)

    def _waits_for(self, part: str, text: str) -> None:
        deadline = time.monotonic() + PATIENCE / 1000
        while text not in (seen := self.driver.inside(SEEN) or {}).get(part, ""):
            assert time.monotonic() < deadline, f"expected {text!r} among the {part}, saw {seen}"
            time.sleep(0.02)

    def fills_the_page(self) -> None:
        """Wait until the chat's frame is as large as the page around it."""
        sizes = "return [innerWidth, innerHeight]"
        deadline = time.monotonic() + PATIENCE / 1000
        while (frame := self.driver.inside(sizes)) != (page := self.driver.page(sizes)):
            assert time.monotonic() < deadline, f"the frame is {frame}, the page {page}"
            time.sleep(0.02)

    def opens(self, bubble: str = "Open chat") -> None:
        self.sees_button(bubble)
        self.driver.click(bubble)
        self.sees(open=True, focus="textarea")

    def asks(self, question: str) -> None:
        self.sees(focus="textarea", field="")
        self.driver.type(question)
        self.driver.press("Enter")
        self.sees(field="")


class Firefox:
    """Firefox ESR, driven by Playwright."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._chat: Chat | None = None

    @property
    def chat(self) -> Chat:
        assert self._chat
        return self._chat

    def visit(self, url: str, widget_id: str) -> None:
        self._chat = Chat(self._page, widget_id)
        self._page.goto(url)

    def reload(self) -> None:
        self._page.reload()

    def resize(self, width: int, height: int) -> None:
        self._page.set_viewport_size({"width": width, "height": height})

    def press(self, key: str) -> None:
        self._page.keyboard.press(key)

    def type(self, text: str) -> None:
        self._page.keyboard.type(text)

    def click(self, button: str) -> None:
        self.chat.button(button).click()

    def page(self, script: str) -> Any:
        return self._page.evaluate(f"() => {{ {script} }}")

    def inside(self, script: str) -> Any:
        try:
            return self.chat.frame.evaluate(f"() => {{ {script} }}")
        except Error:
            return None  # not there yet, or just being replaced


# Each call opens the browser for a new visitor.
Browser = Callable[[], AbstractContextManager[Driver]]


@contextmanager
def firefox() -> Iterator[Browser]:
    executable = shutil.which("firefox-esr")
    if executable is None:
        skip_unless_required("no firefox-esr on the PATH")
    with sync_playwright() as playwright:
        # Across processes the driver can't reach the widget's frame.
        preferences: dict[str, str | float | bool] = {"fission.autostart": False}
        browser = playwright.firefox.launch(
            channel="moz-firefox", executable_path=executable, firefox_user_prefs=preferences
        )

        @contextmanager
        def visitor() -> Iterator[Firefox]:
            with browser.new_context(locale="en-US", viewport=SIZE) as context:
                context.set_default_timeout(PATIENCE)
                driver = Firefox(context.new_page())
                yield driver
                assert driver.chat.console == []

        yield visitor
        browser.close()


class WebKit:
    """WebKitGTK's MiniBrowser, driven by Selenium."""

    def __init__(self, driver: Remote) -> None:
        self._driver = driver
        self._widget_id = ""

    def visit(self, url: str, widget_id: str) -> None:
        self._widget_id = widget_id
        self._driver.get(url)

    def reload(self) -> None:
        self._driver.switch_to.default_content()
        self._driver.refresh()

    def resize(self, width: int, height: int) -> None:
        self._driver.set_window_rect(0, 0, width, height)

    def press(self, key: str) -> None:
        self.type(getattr(Keys, key.upper()))

    def type(self, text: str) -> None:
        self._driver.switch_to.default_content()
        ActionChains(self._driver).send_keys(text).perform()

    def click(self, button: str) -> None:
        self._enter()
        # Buttons can't be pressed before their frame is visible.
        shown = WebDriverWait(self._driver, PATIENCE / 1000, ignored_exceptions=[ElementNotInteractableException])
        shown.until(lambda driver: driver.execute_script(BUTTON, button).click() or True)

    def page(self, script: str) -> Any:
        self._driver.switch_to.default_content()
        return self._driver.execute_script(script)

    def inside(self, script: str) -> Any:
        try:
            self._enter()
            return self._driver.execute_script(script)
        except WebDriverException:
            return None  # not there yet, or just being replaced

    def _enter(self) -> None:
        self._driver.switch_to.default_content()
        host = self._driver.find_element("id", f"a4-chat-widget-{self._widget_id}")
        self._driver.switch_to.frame(host.shadow_root.find_element("css selector", "iframe"))


@contextmanager
def webkit() -> Iterator[Browser]:
    """WebKit on its own display. Its storage is shared between tests, but each test has its own tenant."""
    driver_path, screen_path = shutil.which("WebKitWebDriver"), shutil.which("Xvfb")
    browser_path = max(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"), default=None)
    if not (driver_path and screen_path and browser_path):
        skip_unless_required("no WebKitGTK: webkit2gtk-driver and xvfb are needed")
    options = Options()
    options.binary_location = str(browser_path)
    options.add_argument("--automation")
    with _screen(screen_path) as display:
        service = Service(driver_path, free_port(), env={**os.environ, "DISPLAY": display})
        service.start()
        try:
            # Not Selenium's class for WebKitGTK, which raises deprecation warnings itself.
            connection = RemoteConnection(client_config=ClientConfig(remote_server_addr=service.service_url))
            with Remote(command_executor=connection, options=options) as driver:

                @contextmanager
                def visitor() -> Iterator[WebKit]:
                    driver.set_window_rect(0, 0, SIZE["width"], SIZE["height"])
                    yield WebKit(driver)
                    driver.switch_to.default_content()
                    driver.get("about:blank")

                yield visitor
        finally:
            service.stop()


@contextmanager
def _screen(executable: str) -> Iterator[str]:
    """Start a virtual X server. Yields its display."""
    reading, writing = os.pipe()
    command = [executable, "-displayfd", str(writing), "-screen", "0", "1600x1200x24", "-nolisten", "tcp"]
    process = subprocess.Popen(command, pass_fds=[writing], stderr=subprocess.DEVNULL)
    os.close(writing)
    try:
        with open(reading) as number:
            yield f":{number.readline().strip()}"
    finally:
        process.terminate()
        process.wait()
