"""The widget as a visitor sees it: on a page at another origin, with a mock upstream."""

import itertools
import json
import re
import ssl
import threading
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from typing import Any, ClassVar, Protocol

from playwright.sync_api import Frame, Locator, Page, expect

from processes import RunningService
from service.testing.chunks import DONE, counted, data, delta
from upstreams import chunked

WIDGET = Path(__file__).parents[2] / "widget"
PATIENCE = 60_000  # milliseconds; an upper bound that no passing test reaches
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")  # the lightest first
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
VISITOR: dict[str, Any] = {"locale": "en-US", "viewport": {"width": 1280, "height": 800}}

expect.set_options(timeout=PATIENCE)


def add_tenant(service: RunningService, name: str, *options: str, origin: str = "") -> RunningService:
    """The same service for a new tenant, whose name begins with `name`."""
    name = f"{name} {uuid.uuid4()}"
    model = ["--model", service.model] if service.model else []
    added = service.manage("tenant", "add", name, "--origin", origin or service.origin, *model, *options)
    return replace(service, tenant=name, widget_id=added["widget_id"], api_key=added["api_key"])


def script_tag(service: RunningService, attributes: str = "", *, url: str = "") -> str:
    return (
        f'<script src="{url or service.url}/widget.js" async data-api-key="{service.api_key}" '
        f'data-widget-id="{service.widget_id}" {attributes}></script>'
    )


def stored(turns: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """A conversation as the service returns it, from questions and their answers."""
    messages = [
        {
            "message_id": f"{number:08}-0000-4000-8000-000000000000",
            "role": role,
            "content": content,
            "created_at": "2026-01-01T12:00:00Z",
            "status": "complete",
        }
        for number, turn in enumerate(turns)
        for role, content in zip(("user", "assistant"), turn, strict=True)
    ]
    return {"messages": messages}


class Chat:
    """One widget on a page, found by roles and labels."""

    def __init__(self, page: Page, widget_id: str) -> None:
        self.page = page
        self.console: list[str] = []
        page.on("console", lambda message: self.console.append(f"{message.type}: {message.text}"))
        page.on("pageerror", lambda error: self.console.append(f"uncaught: {error}"))
        self.host = page.locator(f"#a4-chat-widget-{widget_id}")
        self.iframe = self.host.locator("iframe")
        self.inside = self.iframe.content_frame
        self.bubble = self.button("Open chat")
        self.window = self.inside.get_by_role("dialog")
        self.log = self.inside.get_by_role("log", name="Conversation")
        self.field = self.inside.get_by_role("textbox")
        self.questions = self.log.locator(".question .text")
        self.answers = self.log.locator(".answer .text")

    def button(self, name: str | re.Pattern[str]) -> Locator:
        """Find a button by its name or the beginning of it: a count or a date may follow."""
        pattern = re.compile(f"^{re.escape(name)}") if isinstance(name, str) else name
        return self.inside.get_by_role("button", name=pattern)

    def choose(self, name: str) -> None:
        """Press a menu entry."""
        more = self.button("More")
        more.click()
        expect(more).to_have_attribute("aria-expanded", "true")  # its script may have to be loaded first
        self.button(name).click()

    def open(self) -> None:
        self.bubble.click()
        expect(self.field).to_be_focused()
        self.until_still()

    def until_still(self) -> None:
        """Wait until the frame has stopped moving and the page has been drawn with it: an earlier click may miss."""
        self.iframe.evaluate(
            """async (frame) => {
                await Promise.allSettled(frame.getAnimations().map((animation) => animation.finished));
                for (let drawn = 0; drawn < 2; drawn += 1) await new Promise(requestAnimationFrame);
            }"""
        )

    def until_logged(self, text: str, times: int = 1) -> None:
        """Wait until this many lines of the console have a text."""
        deadline = time.monotonic() + PATIENCE / 1000
        while sum(text in line for line in self.console) < times:
            assert time.monotonic() < deadline, f"expected {text!r} in the console, which has {self.console}"
            self.page.wait_for_timeout(20)  # `wait_for_event` would miss a line just before it begins to wait

    def ask(self, question: str) -> None:
        """Ask a question, once the previous answer has ended."""
        self.field.fill(question)
        expect(self.inside.locator("button.send:not(.stop)")).to_be_enabled()
        self.field.press("Enter")
        expect(self.questions.last).to_have_text(question)

    def reload(self) -> None:
        """Reload the page and wait until the window is open again."""
        self.page.reload()
        expect(self.field).to_be_visible()
        self.until_still()

    @property
    def frame(self) -> Frame:
        """The frame itself, for running scripts. Because of its policy, `wait_for_function` needs a function."""
        handle = self.iframe.element_handle()
        frame = handle.content_frame()
        assert frame is not None
        return frame


def answer_in_progress(chat: Chat, provider: "Provider", question: str, text: str) -> "ProviderAnswer":
    """Ask the first question of a conversation, and wait until the beginning of its answer is visible."""
    answer = provider.answer()
    chat.ask(question)
    answer.say(text)
    expect(chat.answers).to_have_text(text.strip())
    return answer


def ask_and_wait(chat: Chat, provider: "Provider", question: str, answer: str) -> None:
    """Ask a question and wait until its answer, which may have Markdown, is complete."""
    provider.answer(answer)
    chat.ask(question)
    expect(chat.button("Regenerate")).to_be_visible()


def answered(chat: Chat, provider: "Provider", question: str, answer: str) -> None:
    """Ask a question and wait for the whole answer, which is plain text."""
    provider.answer(answer)
    chat.ask(question)
    expect(chat.answers.last).to_have_text(answer)
    expect(chat.button("Send message")).to_be_attached()


def record_events(chat: Chat, *names: str) -> None:
    """Make the page collect the details of events in `heard`."""
    chat.page.evaluate(
        """(names) => {
            window.heard = [];
            for (const name of names) A4ChatWidget.on(name, (detail) => heard.push({ name, ...detail }));
        }""",
        list(names),
    )


def until_run(chat: Chat, script: str) -> None:
    """Wait until a script has run that the frame is loading from this URL."""
    chat.frame.evaluate("(script) => import(script)", script)


def fetch_the_window(chat: Chat) -> None:
    """Load the window, after which all earlier messages of the page have arrived."""
    with chat.page.expect_response("**/assets/control-*") as response:
        chat.bubble.dispatch_event("pointerenter")
    until_run(chat, response.value.url)


def markup(frame: Frame) -> str:
    """A frame's whole markup. `frame.content()` leaves out the shadow trees, in which everything is."""
    found: str = frame.evaluate(
        """() => {
            const roots = [document.documentElement];
            for (const root of roots)
                for (const { shadowRoot } of root.querySelectorAll('*')) if (shadowRoot) roots.push(shadowRoot);
            return roots.map((root) => root.innerHTML).join();
        }"""
    )
    return found


class Visit(Protocol):
    """Opens a host page with the widget on it: `chat = visit('data-title="Shop"')`."""

    def __call__(
        self,
        attributes: str = "",
        *,
        service: RunningService | None = None,
        url: str = "",
        head: str = "",
        body: str = "",
        headers: dict[str, str] | None = None,
    ) -> Chat: ...


class HostPages:
    """Host pages, each at its own path."""

    def __init__(self) -> None:
        self.url = ""
        self._pages: dict[str, tuple[bytes, dict[str, str]]] = {}

    def add(self, *, head: str = "", body: str = "", headers: dict[str, str] | None = None) -> str:
        """The URL of a new page."""
        path = f"/{len(self._pages)}"
        page = (
            f'<!doctype html><html lang="en"><head><title>A shop</title><link rel="icon" href="data:,">{head}</head>'
            f"<body><main><h1>A shop</h1></main>{body}</body></html>"
        )
        self._pages[path] = (page.encode(), headers or {})
        return self.url + path

    def handler(self) -> type[BaseHTTPRequestHandler]:
        pages = self._pages

        class Handler(_QuietHandler):
            def do_GET(self) -> None:
                body, headers = pages.get(self.path, (b"", {}))
                self.send_response(200 if self.path in pages else 404)
                for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


@dataclass
class ProviderAnswer:
    """An answer controlled by the test."""

    status: int = 200
    pieces: Queue[bytes | None] = field(default_factory=Queue)

    def say(self, text: str) -> None:
        self.pieces.put(delta(text))

    def end(self, finish_reason: str = "stop") -> None:
        self.pieces.put(delta(finish_reason=finish_reason) + counted(9, 4) + DONE)
        self.pieces.put(None)

    def fail(self) -> None:
        """Fail in the middle of the stream, as providers do."""
        self.pieces.put(data({"error": {"code": "server_error", "message": "secret of the provider"}}))
        self.pieces.put(None)


class Provider:
    """The upstream of one test: only questions to its URL or for its model get its answers, in the given order."""

    def __init__(self, url: str, model: str) -> None:
        self.url = url
        self.model = model
        self.asked: list[dict[str, Any]] = []
        self._changed = threading.Condition()
        self._answers: list[ProviderAnswer] = []
        self._given: list[ProviderAnswer] = []
        self._under_way = 0
        self._resets = 0
        self._closed = False

    def answer(self, *texts: str) -> ProviderAnswer:
        """Queue the answer to the next question: complete if texts are given, otherwise controlled by the test."""
        answer = ProviderAnswer()
        for text in texts:
            answer.say(text)
        if texts:
            answer.end()
        return self._give(answer)

    def refuse(self, status: int) -> None:
        """Refuse the next question with this status."""
        self._give(ProviderAnswer(status))

    def reset(self) -> None:
        """End every answer, refuse every waiting question, and wait until all are done."""
        with self._changed:
            self._resets += 1
            for answer in self._given:
                answer.pieces.put(None)
            self._given.clear()
            self._answers.clear()
            self._changed.notify_all()
            idle = self._changed.wait_for(lambda: not self._under_way, PATIENCE / 1000)
            self.asked.clear()
        assert idle, "a question to the provider did not end"

    def close(self) -> None:
        """Reset, and refuse all further questions."""
        with self._changed:
            self._closed = True
        self.reset()

    def _give(self, answer: ProviderAnswer) -> ProviderAnswer:
        with self._changed:
            self._given.append(answer)
            self._answers.append(answer)
            self._changed.notify_all()
        return answer

    @contextmanager
    def take(self, question: dict[str, Any]) -> Iterator[ProviderAnswer]:
        """The answer to a question, once there is one. A question without one is refused permanently."""
        with self._changed:
            self._under_way += 1
            self.asked.append(question)
            resets = self._resets
            self._changed.wait_for(
                lambda: self._answers or self._closed or self._resets != resets, timeout=PATIENCE / 1000
            )
            current = self._resets == resets and not self._closed
            answer = self._answers.pop(0) if self._answers and current else ProviderAnswer(400)
        try:
            yield answer
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()


class Providers:
    """An OpenAI-compatible upstream on a real socket, with a separate provider for each test."""

    def __init__(self) -> None:
        self.url = ""
        self._count = itertools.count(1)
        self._open: dict[str, Provider] = {}

    @contextmanager
    def provider(self) -> Iterator[Provider]:
        """A new provider. Close the pages that use it before it closes."""
        name = f"model-{next(self._count)}"
        provider = self._open[name] = Provider(f"{self.url}/{name}/v1", name)
        try:
            yield provider
        finally:
            del self._open[name]
            provider.close()

    def find(self, path: str, question: dict[str, Any]) -> Provider | None:
        """The provider for a question; None once its test has ended."""
        return self._open.get(path.split("/")[1]) or self._open.get(question["model"])

    def handler(self) -> type[BaseHTTPRequestHandler]:
        providers = self

        class Handler(_QuietHandler):
            def do_POST(self) -> None:
                question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                provider = providers.find(self.path, question)
                taken = provider.take(question) if provider else nullcontext(ProviderAnswer(400))
                with taken as answer, suppress(OSError):
                    self._refuse(answer.status) if answer.status != 200 else self._stream(answer)

            def _stream(self, answer: ProviderAnswer) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                while (piece := answer.pieces.get()) is not None:
                    self.wfile.write(chunked(piece))
                self.wfile.write(chunked(b""))

            def _refuse(self, status: int) -> None:
                body = json.dumps({"error": {"message": "secret of the provider"}}).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        return Handler


class _QuietHandler(BaseHTTPRequestHandler):
    protocol_version: ClassVar[str] = "HTTP/1.1"  # type: ignore[misc]

    def log_message(self, format: str, *args: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    request_queue_size = 128  # with the default of 5, a dropped connection would be retried only after a second


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Serve in threads. Yields the port."""
    server = _Server(("127.0.0.1", 0), handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
