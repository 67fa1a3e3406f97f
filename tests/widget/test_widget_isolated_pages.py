"""The widget on pages with a Cross-Origin-Embedder-Policy, and the frame's own policy for the owner's images."""

import base64
import json
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from playwright.sync_api import expect

from browser import Chat, Provider, Visit, add_tenant, serving
from processes import RunningService

pytest_plugins = ["visitor"]

EMBEDDER, OPENER = "Cross-Origin-Embedder-Policy", "Cross-Origin-Opener-Policy"
POLICIES: dict[str, dict[str, str]] = {
    "isolated": {EMBEDDER: "require-corp", OPENER: "same-origin"},
    "isolated, without credentials": {EMBEDDER: "credentialless", OPENER: "same-origin"},
    "with an embedder policy alone": {EMBEDDER: "require-corp"},
    "with an opener policy alone": {OPENER: "same-origin"},
}
IMAGE = base64.b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")


@pytest.mark.parametrize("headers", POLICIES.values(), ids=POLICIES)
def test_the_chat_works_under_any_isolation_policy(
    visit: Visit, provider: Provider, headers: dict[str, str], request: pytest.FixtureRequest
) -> None:
    chat = visit("data-locale=de data-sound", headers=headers)
    assert chat.page.evaluate("crossOriginIsolated") == ("isolated" in request.node.callspec.id)
    chat.button("Chat öffnen").click()
    provider.answer("Within the rules.")
    chat.inside.get_by_role("textbox").fill("Isolated?")
    chat.inside.get_by_role("textbox").press("Enter")
    expect(chat.inside.locator(".answer .text")).to_have_text("Within the rules.")
    assert chat.console == []


class _Images(BaseHTTPRequestHandler):
    """Serves an image with the headers named in the query."""

    def do_GET(self) -> None:
        self.send_response(200)
        for name, value in [("Content-Type", "image/gif"), *parse_qsl(urlsplit(self.path).query)]:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(IMAGE)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an image on another site."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(_certificate(tmp_path_factory.mktemp("tls") / "certificate.pem"))
    with serving(_Images, tls) as port:
        yield f"https://localhost:{port}/image.gif"


def _certificate(file: Path) -> Path:
    """A self-signed certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    now = datetime.now(UTC)
    certificate = builder.not_valid_before(now).not_valid_after(now + timedelta(days=1)).sign(key, hashes.SHA256())
    encoding = serialization.Encoding.PEM
    form, encryption = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    file.write_bytes(key.private_bytes(encoding, form, encryption) + certificate.public_bytes(encoding))
    return file


def _visit_with_images(visit: Visit, shop: RunningService, directory: Path, address: str, page: str) -> Chat:
    (directory / "look.json").write_text(json.dumps({"avatar": address, "icon": address}))
    tenant = add_tenant(shop, f"{directory.name} {page}", "--look", str(directory / "look.json"))
    return visit(service=tenant, headers=POLICIES.get(page))


PAGES = ["ordinary", "isolated"]


@pytest.mark.parametrize("context", [{"ignore_https_errors": True}], ids=["tls"], indirect=True)
@pytest.mark.parametrize("page", PAGES)
@pytest.mark.parametrize("header", ["Access-Control-Allow-Origin=*", "Cross-Origin-Resource-Policy=cross-origin"])
def test_an_image_from_another_site_shows_with_either_header(
    visit: Visit, shop: RunningService, images: str, tmp_path: Path, header: str, page: str
) -> None:
    chat = _visit_with_images(visit, shop, tmp_path, f"{images}?{header}", page)
    expect(chat.bubble.locator("img")).to_be_visible()
    chat.open()
    expect(chat.inside.locator("header img")).to_be_visible()
    expect(chat.log.locator("img")).to_be_visible()


@pytest.mark.parametrize("context", [{"ignore_https_errors": True}], ids=["tls"], indirect=True)
@pytest.mark.parametrize("page", PAGES)
def test_an_image_from_another_site_without_a_header_falls_back_to_the_built_in_icon(
    visit: Visit, shop: RunningService, images: str, tmp_path: Path, page: str
) -> None:
    chat = _visit_with_images(visit, shop, tmp_path, f"{images}?X-None=1", page)
    chat.until_logged("NotSameOriginAfterDefaultedToSameOrigin")
    chat.open()
    chat.until_logged("NotSameOriginAfterDefaultedToSameOrigin", times=2)
    for place in (chat.bubble, chat.inside.locator("header .avatar"), chat.log.locator(".mark")):
        expect(place.locator("img")).to_have_count(0)
    expect(chat.inside.locator("header .avatar svg")).to_be_visible()
    expect(chat.log.locator(".mark svg")).to_be_visible()
