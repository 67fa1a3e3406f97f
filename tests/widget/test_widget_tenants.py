"""Three tenants on one service, in a real browser: no answer, no charge and no stored word of one crosses to another,
and each has its chat on all its own pages. Over plain http, where no page is in a secure context, and behind nginx with
TLS; with storage that browsers keep apart for each site, and with storage that they do not."""

import json
import re
import shutil
import socket
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

from browser import (
    ARGUMENTS,
    BROWSERS,
    PATIENCE,
    VISITOR,
    WIDGET,
    Chat,
    HostPages,
    Provider,
    Providers,
    markup,
    script_tag,
    serving,
)
from processes import NO_LIMITS, RunningService, free_port, running_service
from required import skip_unless_required

pytest_plugins = ["visitor"]

CHAT = "chat.shops.test"
CROSS_SITE, SAME_SITE = "www.victim.test", "www.shops.test"  # the victim's pages, as seen from the service
EVIL_CROSS_SITE, EVIL_SAME_SITE = "www.evil.test", "evil.shops.test"
NOBODYS = "www.nobody.test"
OWN_PAGES = {"victim": [CROSS_SITE, SAME_SITE, CHAT], "mallory": [EVIL_CROSS_SITE, EVIL_SAME_SITE], "open": []}
ENGLISH = (WIDGET / "src/strings/en-rare.ts").read_text()

NGINX = """
daemon off;
master_process off;
pid {directory}/nginx.pid;
events {{}}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    ssl_certificate {directory}/certificate.pem;
    ssl_certificate_key {directory}/key.pem;
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_buffering off;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {chat};
        location / {{ proxy_pass {service}; }}
        location /site/ {{ proxy_pass {pages}/; }}
    }}
    server {{
        listen 127.0.0.1:{port} ssl default_server;
        location / {{ proxy_pass {pages}; }}
    }}
}}
"""


@dataclass
class World:
    """A service under a name, sites under others, and a visitor's browser."""

    browser: Browser
    service: RunningService
    pages: HostPages
    scheme: str
    port: int  # of the sites
    chat_port: int
    has_partitions: bool  # storage is kept apart for each site
    tenants: dict[str, RunningService] = field(default_factory=dict)
    providers: dict[str, Provider] = field(default_factory=dict)  # each tenant's own

    @property
    def asked(self) -> dict[str, int]:
        """The number of requests to each tenant's provider."""
        return {tenant: len(provider.asked) for tenant, provider in self.providers.items()}

    @property
    def own(self) -> str:
        return f"{self.scheme}://{CHAT}:{self.chat_port}"

    def origin(self, host: str) -> str:
        return f"{self.scheme}://{host}:{self.chat_port if host == CHAT else self.port}"

    def page(self, host: str, body: str) -> str:
        """The address of a new page; on the service's own host, nginx has a site below /site."""
        path = self.pages.add(body=body).removeprefix(self.pages.url)
        return f"{self.origin(host)}{'/site' if host == CHAT else ''}{path}"

    def tag(self, tenant: str, key_of: str = "", attributes: str = "") -> str:
        """A tenant's snippet, with another tenant's public key if `key_of` says so."""
        ours = self.tenants[tenant]
        tag = script_tag(ours, attributes, url=self.own)
        return tag.replace(ours.api_key, self.tenants[key_of or tenant].api_key)

    def visit(self, context: BrowserContext, host: str, tenant: str, key_of: str = "") -> Chat:
        chat = Chat(context.new_page(), self.tenants[tenant].widget_id)
        chat.page.goto(self.page(host, self.tag(tenant, key_of)))
        return chat

    def usage(self, tenant: str, *by: str) -> list[dict[str, Any]]:
        groups = [option for group in by for option in ("--by", group)]
        found: list[dict[str, Any]] = self.service.manage("usage", self.tenants[tenant].tenant, *groups)["rows"]
        return found


WORLDS = ("http with shared storage", "https with partitioned storage")
EVERY_WORLD = (*WORLDS, "https with shared storage")


@pytest.fixture(scope="module", params=WORLDS)
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, providers: Providers
) -> Iterator[World]:
    executable = next(filter(None, map(shutil.which, BROWSERS)), None)
    if executable is None:
        skip_unless_required(f"no browser: none of {', '.join(BROWSERS)} is on the PATH")
    scheme, storage = request.param.split(" with ")
    arguments = [*ARGUMENTS, "--host-resolver-rules=MAP *.test 127.0.0.1", "--ignore-certificate-errors"]
    has_partitions = storage == "partitioned storage"
    if has_partitions:
        arguments.append("--disable-features=PaintHolding")  # replaces Playwright's list, which disables partitioning
    directory, pages = tmp_path_factory.mktemp("tenants"), HostPages()
    with ExitStack() as stack:
        pages_port = stack.enter_context(serving(pages.handler()))
        pages.url = f"http://127.0.0.1:{pages_port}"
        port, tls_port = free_port(), free_port()
        chat_port, site_port = (tls_port, tls_port) if scheme == "https" else (port, pages_port)
        settings = {
            "PORT": str(port),
            "PUBLIC_URL": f"{scheme}://{CHAT}:{chat_port}",
            "OPENAI_BASE_URL": f"{providers.url}/v1",
            "OPENAI_API_KEY": "sk-upstream",
        }
        service = stack.enter_context(running_service(directory, "https://unused.example", **settings))
        if scheme == "https":
            stack.enter_context(_nginx(directory, tls_port, service.url, pages.url))
        playwright = stack.enter_context(sync_playwright())
        browser = playwright.chromium.launch(executable_path=executable, args=arguments)
        stack.callback(browser.close)
        world = World(browser, service, pages, scheme, site_port, chat_port, has_partitions)
        for name, hosts in OWN_PAGES.items():
            provider = world.providers[name] = stack.enter_context(providers.provider())
            origins = [option for host in hosts for option in ("--origin", world.origin(host))] or ["--any-origin"]
            added = service.manage("tenant", "add", name, *origins, "--model", provider.model, *NO_LIMITS)
            ids = {"widget_id": added["widget_id"], "api_key": added["api_key"]}
            world.tenants[name] = replace(service, tenant=name, model=provider.model, **ids)
        yield world


@pytest.fixture
def context(world: World) -> Iterator[BrowserContext]:
    with world.browser.new_context(**VISITOR, ignore_https_errors=True) as context:
        context.set_default_timeout(PATIENCE)
        yield context
    for provider in world.providers.values():
        provider.reset()


@contextmanager
def _nginx(directory: Path, port: int, service: str, pages: str) -> Iterator[None]:
    path = "/usr/sbin:/usr/local/sbin:/usr/bin:/bin"  # Debian's users do not have the first two on their PATH
    nginx, openssl = shutil.which("nginx", path=path), shutil.which("openssl", path=path)
    if nginx is None or openssl is None:
        skip_unless_required("nginx and openssl are not both installed")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = [
        "-keyout",
        f"{directory}/key.pem",
        "-out",
        f"{directory}/certificate.pem",
        "-subj",
        "/CN=test",
        "-days",
        "1",
    ]
    subprocess.run([*command, *files], check=True, capture_output=True)
    configuration = NGINX.format(directory=directory, port=port, chat=CHAT, service=service, pages=pages)
    (directory / "nginx.conf").write_text(configuration)
    process = subprocess.Popen([nginx, "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"])
    try:
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert process.poll() is None, (directory / "error.log").read_text()
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def unavailable() -> str:
    """The window's text if it may not ask."""
    found = re.search("errorUnavailable: '(.*)',", ENGLISH)
    assert found
    return found[1]


def own_pages(world: World) -> list[tuple[str, str]]:
    """Where each tenant's pages are: on other sites, on the service's site and, behind nginx, at its own origin."""
    places = [("victim", CROSS_SITE), ("victim", SAME_SITE), ("mallory", EVIL_SAME_SITE), ("open", NOBODYS)]
    return places + ([("victim", CHAT)] if world.scheme == "https" else [])


@pytest.mark.parametrize("world", EVERY_WORLD, indirect=True)
def test_each_tenants_chat_works_on_its_own_pages_and_usage_names_them(world: World, context: BrowserContext) -> None:
    visits = Counter[tuple[str, str]]()
    for tenant, host in own_pages(world):
        site = host.partition(".")[2] if world.has_partitions else ""
        visits[tenant, site] += 1
        chat = world.visit(context, host, tenant)
        assert chat.page.evaluate("isSecureContext") is (world.scheme == "https")
        chat.open()
        world.providers[tenant].answer(f"To {host}.")
        chat.ask("Hello?")
        expect(chat.answers.last).to_have_text(f"To {host}.")
        expect(chat.answers).to_have_count(visits[tenant, site])  # pages that share storage share their conversation
        expect(chat.button("Copy").last).to_be_visible()
        chat.reload()
        expect(chat.answers.last).to_have_text(f"To {host}.")
        chat.page.close()
    asked = Counter(tenant for tenant, _ in own_pages(world))
    assert world.asked == asked
    for tenant in world.tenants:
        answered = {row["origin"] for row in world.usage(tenant, "origin", "outcome") if row["outcome"] == "complete"}
        assert answered == {world.origin(host) for whose, host in own_pages(world) if whose == tenant}


@pytest.mark.parametrize(
    ("tenant", "host"),
    [("mallory", EVIL_CROSS_SITE), ("mallory", EVIL_SAME_SITE), ("open", NOBODYS), ("open", CROSS_SITE)],
)
def test_a_widget_with_another_tenants_key_gets_no_answer_and_costs_nothing(
    world: World, context: BrowserContext, tenant: str, host: str
) -> None:
    """Mallory's own snippet, and a snippet for any website on an unlisted page."""
    charged = sum(row["charged"] for row in world.usage("victim"))
    chat = world.visit(context, host, tenant, key_of="victim")
    chat.open()
    chat.ask("Who pays for this?")
    expect(chat.log.get_by_text(unavailable())).to_be_visible()
    chat.reload()
    expect(chat.log.get_by_text(unavailable())).to_be_visible()
    assert not any(world.asked.values())
    assert sum(row["charged"] for row in world.usage("victim")) == charged


@pytest.mark.parametrize("host", [EVIL_CROSS_SITE, EVIL_SAME_SITE, NOBODYS])
def test_a_widgets_page_does_not_start_on_unlisted_pages(world: World, context: BrowserContext, host: str) -> None:
    page = context.new_page()
    with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
        page.goto(world.page(host, world.tag("victim")))
    host_element = page.locator(f"#a4-chat-widget-{world.tenants['victim'].widget_id}")
    assert host_element.evaluate("(element) => getComputedStyle(element).display") == "none"


def victims_conversation(world: World, context: BrowserContext) -> str:
    """A visitor's conversation on the victim's page, with a draft beside it, all of which is stored. Its id."""
    chat = world.visit(context, SAME_SITE, "victim")
    chat.open()
    world.providers["victim"].answer("Your code is swordfish.")
    chat.ask("What is my secret code?")
    expect(chat.answers).to_have_text("Your code is swordfish.")
    expect(chat.button("Copy")).to_be_visible()
    assert "swordfish" in markup(chat.frame)
    chat.field.fill("And my secret draft")
    key = f"a4w:{world.tenants['victim'].widget_id}"
    stored = json.loads(chat.frame.evaluate("(key) => localStorage.getItem(key)", key))
    assert stored["draft"] == "And my secret draft"
    chat.page.close()
    world.providers["victim"].asked.clear()
    conversation_id: str = stored["conversationId"]
    return conversation_id


# Frames a widget's page itself, and says to it all that a loader could, and more.
FORGERY = """<script>
    window.heard = [];
    function frame(src, init) {
        return new Promise((resolve) => {
            const frame = document.createElement('iframe');
            frame.src = src;
            frame.style.cssText = 'width: 400px; height: 600px';
            frame.onload = () => {
                const channel = new MessageChannel();
                channel.port1.onmessage = ({ data }) => {
                    heard.push(JSON.stringify(data));
                    if (data.type === 'look') channel.port1.postMessage({ type: 'view', ...init.view });
                };
                channel.port2.onmessage = () => {};
                frame.contentWindow.postMessage(init, '*', [channel.port2]);
                resolve();
            };
            document.body.append(frame);
        });
    }
</script>"""


@pytest.mark.parametrize("world", EVERY_WORLD, indirect=True)
@pytest.mark.parametrize("host", [EVIL_CROSS_SITE, EVIL_SAME_SITE])
def test_no_message_can_turn_a_widgets_page_into_another_tenants(
    world: World, context: BrowserContext, host: str
) -> None:
    conversation_id = victims_conversation(world, context)
    mallory, victim = world.tenants["mallory"], world.tenants["victim"]
    calls: list[str] = []
    context.on("request", lambda request: calls.append(f"{request.url} {request.post_data or ''}"))
    page = context.new_page()
    page.goto(world.page(host, FORGERY))
    view = {"open": True, "small": False, "dark": False, "rtl": False, "top": 0, "height": 600}
    for key in (victim.api_key, mallory.api_key):
        kept = json.dumps({"conversationId": conversation_id})
        facts = {"apiKey": key, "widgetId": victim.widget_id, "id": victim.widget_id, "apiUrl": world.origin(host)}
        init = {"type": "a4:init", **facts, "settings": {"open": True, **facts}, "view": view, "vars": {}, "kept": kept}
        init |= {"proof": "x", "page": facts, "origin": world.origin(SAME_SITE), "lang": "en", "path": "/"}
        for query in (
            f"id={mallory.widget_id}",
            f"id={mallory.widget_id}&widgetId={victim.widget_id}&apiUrl={world.origin(host)}",
            f"id={victim.widget_id}&id={mallory.widget_id}",
            f"id={mallory.widget_id}#id={victim.widget_id}",
        ):
            page.evaluate("([src, init]) => frame(src, init)", [f"{world.own}/widget.html?{query}", init])
    frames = page.frames[1:]
    assert len(frames) == 8
    fields = [frame.get_by_role("textbox") for frame in frames]
    for field_of_chat in fields:  # all, before any of them stores a draft or a question that the others would find
        expect(field_of_chat).to_have_value("")
    for field_of_chat in fields:
        field_of_chat.fill("Go on")
        field_of_chat.press("Enter")
    for frame in frames[:4]:
        expect(frame.get_by_role("log").get_by_text(unavailable())).to_be_visible()
    for frame in frames:
        expect(frame.get_by_role("log").locator(".question .text")).to_have_text("Go on")
        assert "swordfish" not in markup(frame)
    page.wait_for_function("() => heard.filter((line) => /ready/.test(line)).length === 8")
    assert not re.search("swordfish|secret", page.evaluate("heard.join()"))
    to_service = [call for call in calls if "/api/v1/" in call]
    assert to_service and all(call.startswith(world.own) for call in to_service)
    assert not any("secret" in call for call in to_service)
    assert (world.asked["victim"], world.asked["open"]) == (0, 0)


@pytest.mark.parametrize("host", [EVIL_CROSS_SITE, EVIL_SAME_SITE, NOBODYS])
def test_an_unlisted_page_can_neither_read_a_widgets_page_nor_call_the_service(
    world: World, context: BrowserContext, host: str
) -> None:
    victim = world.tenants["victim"]
    page = context.new_page()
    page.goto(world.page(host, ""))
    read = """async ([url, options]) => {
        try {
            const response = await fetch(url, options);
            return [response.type, response.status, (await response.text()).length];
        } catch (error) {
            return error.name;
        }
    }"""
    address = f"{world.own}/widget.html?id={victim.widget_id}"
    assert page.evaluate(read, [address, {}]) == "TypeError"
    assert page.evaluate(read, [address, {"mode": "no-cors"}]) == ["opaque", 0, 0]
    headers = {"X-API-Key": victim.api_key, "Content-Type": "application/json", "X-Widget-Proof": "x"}
    ask = {"method": "POST", "headers": headers, "body": json.dumps({"message": "Hello?"})}
    assert page.evaluate(read, [f"{world.own}/api/v1/chat", ask]) == "TypeError"
    assert not any(world.asked.values())


def test_a_listed_page_can_call_the_service_directly(world: World, context: BrowserContext) -> None:
    page = context.new_page()
    page.goto(world.page(CROSS_SITE, ""))
    world.providers["victim"].answer("Directly.")
    ask = """async ([url, key]) => {
        const headers = { 'X-API-Key': key, 'Content-Type': 'application/json' };
        const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify({ message: 'Hello?' }) });
        return response.text();
    }"""
    assert "Directly." in page.evaluate(ask, [f"{world.own}/api/v1/chat", world.tenants["victim"].api_key])


def test_a_window_with_an_expired_proof_gets_a_new_one_and_asks_once(world: World, context: BrowserContext) -> None:
    chat = world.visit(context, CROSS_SITE, "victim")
    chat.open()
    refused = _refuse_first_proof(chat.page)
    world.providers["victim"].answer("Awake.")
    chat.ask("Hello?")
    expect(chat.answers).to_have_text("Awake.")
    expect(chat.button("Copy")).to_be_visible()
    assert refused == ["asked", "asked"]
    assert world.asked["victim"] == 1
    assert not [line for line in chat.console if line.startswith("uncaught")]


def _refuse_first_proof(page: Page) -> list[str]:
    """Has the service see another proof in the first call, as if it had expired. The calls."""
    calls: list[str] = []

    def carry(route: Any) -> None:
        calls.append("asked")
        headers = route.request.headers
        proof = headers["x-widget-proof"]
        route.continue_(headers=headers | ({"x-widget-proof": f"{proof[:-4]}AAAA"} if len(calls) == 1 else {}))

    page.route("**/api/v1/chat", carry)
    return calls
