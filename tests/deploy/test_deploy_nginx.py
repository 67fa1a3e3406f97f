"""The service behind a real nginx with deploy/nginx.conf: what passes, what does not, who is taken for whom, and that
two replicas that restart one after the other refuse nobody."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

import manage
from preloaded import ROOT
from processes import RunningService, free_port, restarted, running_service
from required import skip_unless_required
from service.commands import browser_checks
from upstreams import LocalUpstream, local_upstream

CONFIGURATION = (ROOT / "deploy/nginx.conf").read_text()
NAME = "chat.example.com"
MOST_CONNECTIONS = 8
SECONDS = 60
MAIN = """
daemon off;
master_process off;
pid {0}/nginx.pid;
events {{}}
http {{
    access_log {0}/access.log;
    client_body_temp_path {0}/body;
    proxy_temp_path {0}/proxy;
    fastcgi_temp_path {0}/fastcgi;
    uwsgi_temp_path {0}/uwsgi;
    scgi_temp_path {0}/scgi;
    include {0}/site.conf;
}}
"""


class Proxy:
    """An nginx with a service behind it, and the certificate that its visitors trust."""

    def __init__(
        self,
        directory: Path,
        port: int,
        service: RunningService,
        upstream: LocalUpstream,
        replicas: Sequence[str] = (),
    ) -> None:
        self.service = service
        self.upstream = upstream
        self.port = port
        self.plain_port = free_port()
        self.replicas = replicas or [service.url]
        self.origin = f"https://{NAME}:{self.port}"
        self.certificate = _certificate(directory)

    @contextmanager
    def visitor(self, address: str = "127.0.0.1", origin: str = "") -> Iterator[httpx.Client]:
        """A visitor at a local address, on the tenant's page unless `origin` is given."""
        headers = {
            "Host": f"{NAME}:{self.port}",
            "Origin": origin or "https://www.example.com",
            "X-API-Key": self.service.api_key,
        }
        trust = ssl.create_default_context(cafile=self.certificate)
        transport = httpx.HTTPTransport(verify=trust, local_address=address)
        url = f"https://127.0.0.1:{self.port}"
        with httpx.Client(transport=transport, base_url=url, headers=headers, timeout=SECONDS) as client:
            yield client

    def ask(self, client: httpx.Client, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Ask a question, and disconnect at the first word. Returns the status, and the code if it is an error."""
        with client.stream("POST", "/api/v1/chat", json={"message": "Hi"}, headers=headers) as response:
            if response.status_code == 200:
                return 200, ""
            return response.status_code, httpx.Response(200, content=response.read()).json()["code"]


@pytest.fixture(scope="module")
def nginx() -> str:
    path = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"  # Debian's users do not have these on their PATH
    found = shutil.which("nginx", path=path)
    if found is None or shutil.which("openssl", path=path) is None:
        skip_unless_required("nginx and openssl are not both installed")
    return found


@pytest.fixture(scope="module")
def proxy(nginx: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    directory = tmp_path_factory.mktemp("nginx")
    with local_upstream() as upstream:
        port = free_port()
        settings = {
            "PUBLIC_URL": f"https://{NAME}:{port}",
            "OPENAI_BASE_URL": upstream.url("word"),
            "RESUME_SECONDS": "0",
            "METRICS_TOKEN": "token",
        }
        with running_service(directory, "https://www.example.com", **settings) as service:
            proxy = Proxy(directory, port, service, upstream)
            _configure(directory, proxy)
            with _running(nginx, directory, proxy.port):
                yield proxy


def _certificate(directory: Path) -> Path:
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(directory / "key.pem"), "-out", str(directory / "certificate.pem")]
    names = ["-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},IP:127.0.0.1", "-days", "1"]
    subprocess.run([*command, *files, *names], check=True, capture_output=True)
    return directory / "certificate.pem"


def _configure(directory: Path, proxy: Proxy) -> None:
    """The file unchanged except for the ports, the certificate and a limit that a test can reach."""
    site = CONFIGURATION
    servers = [f"server {urlsplit(url).netloc} max_fails=0;" for url in proxy.replicas]
    for ours, here in {
        "chat_connections 400;": f"chat_connections {MOST_CONNECTIONS};",
        "listen 80;": f"listen 127.0.0.1:{proxy.plain_port};",
        "listen 443 ": f"listen 127.0.0.1:{proxy.port} ",
        "/etc/ssl/chat.example.com.pem": f"{directory}/certificate.pem",
        "/etc/ssl/chat.example.com.key": f"{directory}/key.pem",
        "    server 127.0.0.1:8000 max_fails=0;": " ".join(servers),
    }.items():
        assert site.count(ours) == 1, ours
        site = site.replace(ours, here)
    (directory / "site.conf").write_text(site)
    (directory / "nginx.conf").write_text(MAIN.format(directory))


@contextmanager
def _running(nginx: str, directory: Path, port: int) -> Iterator[None]:
    command = [nginx, "-e", f"{directory}/error.log", "-c", f"{directory}/nginx.conf"]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    process = subprocess.Popen(command)
    try:
        while not _listens(port):
            assert process.poll() is None, (directory / "error.log").read_text()
            time.sleep(0.01)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_words_arrive_during_the_answer_and_leaving_ends_it(proxy: Proxy) -> None:
    """No buffer is filled first: after its only word, the provider waits until the reader leaves."""
    with proxy.visitor() as client:
        with client.stream("POST", "/api/v1/chat", json={"message": "Hi"}) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            lines = response.iter_lines()  # named, because its end would close the connection
            assert any("word" in line for line in lines)
            assert proxy.upstream.wait_until_open(1)  # readers of earlier tests may take a while to disconnect
        assert proxy.upstream.wait_until_open(0)


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://www.example.com", (200, "")),
        ("http://" + NAME, (403, "origin_not_allowed")),
        ("https://" + NAME, (403, "origin_not_allowed")),
        ("https://evil.test", (403, "origin_not_allowed")),
    ],
)
def test_a_page_may_call_the_api_if_the_tenant_lists_its_origin(
    proxy: Proxy, origin: str, expected: tuple[int, str]
) -> None:
    with proxy.visitor(origin=origin) as client:
        assert proxy.ask(client) == expected


def test_the_widgets_page_may_call_the_api_from_the_public_origin_with_its_proof(proxy: Proxy) -> None:
    with proxy.visitor(origin=proxy.origin) as client:
        page = client.get(f"/widget.html?id={proxy.service.widget_id}")
        proof = {"X-Widget-Proof": page.headers["x-widget-proof"]}
        assert proxy.ask(client) == (403, "origin_not_allowed")
        assert proxy.ask(client, proof) == (200, "")
        assert proxy.ask(client, proof | {"Origin": "http://" + NAME}) == (403, "origin_not_allowed")


def test_each_visitor_has_their_own_limit_and_cannot_impersonate_another(proxy: Proxy) -> None:
    proxy.service.manage("tenant", "set", "shop", "--visitor-rate-per-minute", "1")
    try:
        with proxy.visitor("127.0.0.2") as one, proxy.visitor("127.0.0.3") as other:
            assert proxy.ask(one) == (200, "")
            forged = {"X-Forwarded-For": "198.51.100.9"}
            assert proxy.ask(one, forged) == (429, "visitor_rate_limited")
            assert proxy.ask(other) == (200, "")
    finally:
        proxy.service.manage("tenant", "set", "shop", "--visitor-rate-per-minute", "0")


def test_the_service_refuses_a_body_over_the_limit_and_the_proxy_a_much_larger_one(
    proxy: Proxy,
) -> None:
    headers = {"Content-Type": "application/json"}
    with proxy.visitor() as client:
        largest = client.post("/api/v1/chat", content=b"x" * 65_536, headers=headers)
        larger = client.post("/api/v1/chat", content=b"x" * 65_537, headers=headers)
        much_larger = client.post("/api/v1/chat", content=b"x" * 131_073, headers=headers)
    assert (largest.status_code, largest.json()["code"]) == (400, "malformed_json")
    assert (larger.status_code, larger.json()["code"]) == (413, "body_too_large")
    assert larger.headers["content-type"] == "application/problem+json"
    assert much_larger.status_code == 413
    assert "nginx" in much_larger.text


def test_metrics_are_not_public_even_with_the_token(proxy: Proxy) -> None:
    token = {"Authorization": "Bearer token"}
    assert httpx.get(f"{proxy.service.url}/metrics", headers=token, timeout=SECONDS).status_code == 200
    with proxy.visitor() as client:
        for path in ("/metrics", "//metrics", "/%6detrics"):
            assert client.get(path, headers=token).status_code == 404


def test_a_request_has_one_id_in_both_logs_that_the_visitor_cannot_choose(proxy: Proxy) -> None:
    with proxy.visitor() as client:
        response = client.get("/api/v1/health", headers={"X-Request-ID": "chosen-by-the-visitor"})
    request_id = response.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", request_id)
    deadline = time.monotonic() + 30
    while f"request_id={request_id}" not in proxy.service.log():  # the service logs a request after its response
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_assets_are_compressed_and_cached(proxy: Proxy) -> None:
    with proxy.visitor() as client:
        compressed = client.get("/widget.js", headers={"Accept-Encoding": "gzip"})
        plain = client.get("/widget.js", headers={"Accept-Encoding": "identity"})
        revalidated = client.get("/widget.js", headers={"If-None-Match": compressed.headers["etag"]})
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < int(plain.headers["content-length"])
    assert compressed.content == plain.content
    assert revalidated.status_code == 304


def test_http_2_is_offered_to_browsers(proxy: Proxy) -> None:
    trust = ssl.create_default_context(cafile=proxy.certificate)
    trust.set_alpn_protocols(["h2", "http/1.1"])
    with socket.create_connection(("127.0.0.1", proxy.port)) as connection:
        with trust.wrap_socket(connection, server_hostname=NAME) as secured:
            assert secured.selected_alpn_protocol() == "h2"


def test_http_redirects_to_https_with_hsts(proxy: Proxy) -> None:
    url = f"http://127.0.0.1:{proxy.plain_port}/widget.html?id=x"
    plain = httpx.get(url, headers={"Host": NAME}, timeout=SECONDS)
    assert (plain.status_code, plain.headers["location"]) == (301, f"https://{NAME}/widget.html?id=x")
    with proxy.visitor() as client:
        response = client.get("/api/v1/health")
    assert response.headers["strict-transport-security"] == "max-age=31536000"
    assert response.headers.get("server", "nginx") == "nginx"  # no version


def test_the_proxys_own_refusals_look_like_the_services(proxy: Proxy) -> None:
    assert proxy.upstream.wait_until_open(0)  # nor does an earlier test's reader count
    with proxy.visitor() as client, ExitStack() as open_answers:
        for _ in range(MOST_CONNECTIONS):
            open_answers.enter_context(client.stream("POST", "/api/v1/chat", json={"message": "Hi"}))
        refused = client.post("/api/v1/chat", json={"message": "Hi"})
    assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
    assert refused.headers["content-type"] == "application/problem+json"
    assert refused.headers["access-control-allow-origin"] == "*"
    assert int(refused.headers["retry-after"]) > 0
    assert proxy.upstream.wait_until_open(0)


def test_a_rolling_restart_refuses_no_question(nginx: str, tmp_path: Path) -> None:
    ports = [str(free_port()) for _ in range(2)]
    with local_upstream() as upstream, ExitStack() as first, ExitStack() as second:
        settings = {"OPENAI_BASE_URL": upstream.url("quick"), "PORT": ports[0], "SHUTDOWN_DELAY": "0.5"}
        service = first.enter_context(running_service(tmp_path, "https://www.example.com", **settings))
        second.enter_context(restarted(service, PORT=ports[1]))
        proxy = Proxy(tmp_path, free_port(), service, upstream, [f"http://127.0.0.1:{port}" for port in ports])
        _configure(tmp_path, proxy)
        with _running(nginx, tmp_path, proxy.port), visitors(proxy, 3) as outcomes:
            for replica, port in ((first, ports[0]), (second, ports[1])):
                after(len(outcomes) + 10, outcomes)
                replica.close()
                after(len(outcomes) + 10, outcomes)
                replica.enter_context(restarted(service, PORT=port))
    assert set(outcomes) == {"done"}


@contextmanager
def visitors(proxy: Proxy, count: int) -> Iterator[list[str]]:
    """Visitors ask one question after another until the end. Returns the outcomes."""
    outcomes: list[str] = []
    enough = threading.Event()

    def ask() -> None:
        with proxy.visitor() as client:
            while not enough.is_set():
                answer = client.post("/api/v1/chat", json={"message": "Hi", "message_id": str(uuid.uuid4())})
                outcomes.append("done" if "event: done" in answer.text else f"{answer.status_code} {answer.text}")

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield outcomes
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def after(count: int, outcomes: list[str]) -> None:
    """Wait until this many questions have been answered."""
    deadline = time.monotonic() + 60
    while len(outcomes) < count:
        assert time.monotonic() < deadline, outcomes[-3:]
        time.sleep(0.01)


def test_the_excerpt_in_the_docs_is_in_the_file() -> None:
    shown = re.search(r"```nginx\n(.*?)```", (ROOT / "docs/operating.md").read_text(), re.DOTALL)
    assert shown
    lines = {line.strip() for line in CONFIGURATION.splitlines()}
    assert {line.strip() for line in shown[1].splitlines()} <= lines


def test_the_doctor_finds_nothing_wrong_behind_this_file(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Except for the test's own deviations: a certificate for one day, and another name."""
    monkeypatch.setattr(browser_checks, "LEAST_MOMENTS", 2)  # a busy machine may take long over several words

    def found(**environment: str) -> dict[str, str]:
        with monkeypatch.context() as patch:
            for name, value in (proxy.service.environment | {"PING_SECONDS": "2"} | environment).items():
                patch.setenv(name, value)
            assert manage.main(["doctor", "--no-provider", "--json", "--url", f"https://127.0.0.1:{proxy.port}"]) == 1
        checks = {each["name"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
        return {name: each["text"] for name, each in checks.items() if each["state"] == "fix" and name != "disk"}

    faults = found(SSL_CERT_FILE=str(proxy.certificate))
    assert faults.keys() == {"tls", "public url"}
    assert "expires in 0 days" in faults["tls"]
    faults = found()
    assert faults.keys() == {"tls"}
    assert "is not trusted" in faults["tls"]
