"""The service as a browser sees it, through any proxy in front of it: TLS, framing, CORS, and how a stream arrives."""

import asyncio
import math
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import httpx

from service.access.origins import frame_ancestors
from service.commands.findings import Finding, clock, fix, ok, skip
from service.settings import Settings
from service.store.records import Tenant
from service.store.store import Store

SECONDS = 20.0
LEAST_DAYS = 14  # a certificate must still be valid
LOOPBACK = ("localhost", "127.0.0.1", "::1")
LEAST_MOMENTS = 6  # at which ten words must arrive that are sent a tenth of a second apart
TOGETHER_SECONDS = 0.03
KEY_HOURS = 1  # until the probe's key expires, should it not be revoked
CHAT = "/api/v1/chat"
NO_TENANT = "there is no tenant to test with: add one with `manage.py tenant add`"


async def browser_checks(url: str, settings: Settings, store: Store, tenant: Tenant | None) -> AsyncIterator[Finding]:
    """The problems that a browser would have at `url`."""
    context = ssl.create_default_context()
    async with httpx.AsyncClient(base_url=url, verify=context, timeout=SECONDS, trust_env=False) as client:
        reached = await _reach(client, url)
        yield reached
        if reached.state == "fix":
            return
        async for finding in _tls(client, url, context):
            yield finding
        async for finding in _ready(client, url):
            yield finding
        yield _public_url(url, settings)
        if tenant is None:
            yield skip("framing", NO_TENANT)
            return
        yield await _framing(client, store, tenant)
        yield await _cors(client, tenant)
        async for finding in _stream(client, settings, store, tenant):
            yield finding


async def _reach(client: httpx.AsyncClient, url: str) -> Finding:
    try:
        response = await client.get("/api/v1/health")
    except httpx.ConnectError as error:
        if (distrust := _distrust(error)) is not None:
            return fix(
                "tls",
                f"the certificate at {url} is not trusted ({distrust}): install one for this name, "
                "with the whole chain",
            )
        return fix("address", f"nothing answers at {url}: check its DNS record, the firewall and the proxy")
    except httpx.HTTPError as error:
        return fix("address", f"{url} does not speak HTTP ({type(error).__name__})")
    if response.status_code != 200 or b'"ok"' not in response.content:
        return fix(
            "address",
            f"{url}/api/v1/health answers {response.status_code}: the proxy does not forward this path to the service",
        )
    return ok("address", f"{url} is the service")


def _distrust(error: BaseException | None) -> str | None:
    """Why a certificate is not trusted, if that caused the error."""
    for _ in range(6):  # levels of causes
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_message
        error = error and (error.__cause__ or error.__context__)
    return None


async def _tls(client: httpx.AsyncClient, url: str, context: ssl.SSLContext) -> AsyncIterator[Finding]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "https":
        if host in LOOPBACK:
            yield skip("tls", "not needed on this machine")
        else:
            yield fix(
                "tls",
                "https pages cannot load a widget over http: put a proxy that terminates TLS in front of the service",
            )
        return
    _, writer = await asyncio.wait_for(asyncio.open_connection(host, parts.port or 443, ssl=context), SECONDS)
    certificate, version = writer.get_extra_info("peercert"), writer.get_extra_info("ssl_object").version()
    writer.close()
    left = datetime.fromtimestamp(ssl.cert_time_to_seconds(certificate["notAfter"]), UTC) - datetime.now(UTC)
    if left < timedelta(days=LEAST_DAYS):
        yield fix("tls", f"the certificate expires in {left.days} days: renew it, and automate its renewal")
    else:
        yield ok("tls", f"{version}, the certificate is valid for {left.days} days")
    if "strict-transport-security" not in (await client.get("/api/v1/health")).headers:
        yield fix("hsts", "Strict-Transport-Security is missing: let the proxy add it, as deploy/nginx.conf does")
    else:
        yield ok("hsts", "browsers only use https")


async def _ready(client: httpx.AsyncClient, url: str) -> AsyncIterator[Finding]:
    response = await client.get("/api/v1/ready")
    if date := response.headers.get("date"):
        yield clock(url, parsedate_to_datetime(date))
    if response.status_code != 200:
        yield fix("ready", f"/api/v1/ready answers {response.status_code}: see the service's log")
    else:
        yield ok("ready", "ready for questions")


def _public_url(url: str, settings: Settings) -> Finding:
    parts = urlsplit(url)
    origin = f"{parts.scheme}://{parts.netloc}"
    if origin in settings.public_origins:
        return ok("public url", f"PUBLIC_URL includes {origin}")
    if parts.hostname in LOOPBACK and not settings.public_origins:
        return ok("public url", "not needed on this machine")
    return fix("public url", f"PUBLIC_URL must include {origin}: without it the widget's own questions are refused")


async def _framing(client: httpx.AsyncClient, store: Store, tenant: Tenant) -> Finding:
    widget = await store.get_widget(tenant.name)
    response = await client.get("/widget.html", params={"id": widget.id})
    if response.status_code != 200:
        return fix(
            "framing",
            f"/widget.html answers {response.status_code}: is the service at this address on the same database?",
        )
    headers = response.headers
    if frame_options := headers.get("x-frame-options"):
        return fix(
            "framing",
            f"X-Frame-Options: {frame_options} keeps every page from showing the widget: do not add it for this path",
        )
    policies = headers.get_list("content-security-policy")
    if len(policies) != 1 or f"frame-ancestors {frame_ancestors(tenant.origins)}" not in policies[0]:
        return fix(
            "framing", "the Content-Security-Policy of /widget.html is not the service's own: do not add or replace it"
        )
    return ok("framing", f"pages of {tenant.name!r} may show the widget")


async def _cors(client: httpx.AsyncClient, tenant: Tenant) -> Finding:
    origin = _sample_of(tenant.origins)
    if origin is None:
        return skip("cors", NO_TENANT)
    preflight_headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key",
    }
    preflight = await client.options(CHAT, headers=preflight_headers)
    refused = await client.post(CHAT, json={}, headers={"Origin": origin, "X-API-Key": "none"})
    for response, what in ((preflight, "a preflight"), (refused, "a question")):
        allowed = response.headers.get_list("access-control-allow-origin")
        if allowed != [origin]:
            shown = " and ".join(allowed) or "nothing"
            return fix(
                "cors",
                f"{what} from {origin} is answered with Access-Control-Allow-Origin: {shown}, {response.status_code}: "
                "let the proxy pass OPTIONS and Origin on, and add no Access-Control headers of its own",
            )
    if not refused.headers.get("content-type", "").startswith("application/problem+json"):
        return fix("cors", "the proxy replaces the service's errors with its own pages: turn that off")
    return ok("cors", f"pages of {origin} may ask")


def _sample_of(origins: list[str]) -> str | None:
    """An origin that a tenant's list allows."""
    for entry in origins:
        return "https://www.example.com" if entry == "*" else entry.replace("*.", "www.").replace(":*", ":8080")
    return None


async def _stream(
    client: httpx.AsyncClient, settings: Settings, store: Store, tenant: Tenant
) -> AsyncIterator[Finding]:
    """Receive ten words that are sent one by one, then silence for longer than PING_SECONDS."""
    silence = math.ceil(settings.ping_seconds) + 1
    began, moments, has_ended = time.monotonic(), list[float](), False
    async with _key_of(store, tenant) as key:
        headers = {"X-API-Key": key, "X-Probe": str(silence)}
        try:
            async with client.stream("POST", CHAT, json={}, headers=headers, timeout=silence + SECONDS) as response:
                if response.status_code != 200:
                    problem = (await response.aread())[:200].decode(errors="replace")
                    yield fix("stream", f"the probe was refused with {response.status_code}: {problem}")
                    return
                async for piece in response.aiter_bytes():
                    now = time.monotonic()
                    if not moments or now - moments[-1] > TOGETHER_SECONDS:
                        moments.append(now)
                    has_ended = has_ended or b"event: done" in piece
        except httpx.HTTPError:
            has_ended = False
    words = [moment for moment in moments if moment - began < silence]
    if len(words) < LEAST_MOMENTS:
        pieces = "piece" if len(words) == 1 else "pieces"
        yield fix(
            "stream",
            f"ten words arrived in {len(words)} {pieces}: a proxy buffers answers. Turn its buffering off for {CHAT} "
            "(nginx: proxy_buffering off; a CDN: no caching, no compression of text/event-stream)",
        )
    else:
        yield ok("stream", "word by word")
    lasted = time.monotonic() - (moments[-1] if moments and not has_ended else began)
    if not has_ended:
        yield fix(
            "timeouts",
            f"a silent stream is cut off after {lasted:.0f} s: let the proxy wait for longer than PING_SECONDS="
            f"{settings.ping_seconds} (nginx: proxy_read_timeout 120s), or lower PING_SECONDS",
        )
    else:
        yield ok("timeouts", f"a stream may be silent for {silence} s")


@asynccontextmanager
async def _key_of(store: Store, tenant: Tenant) -> AsyncIterator[str]:
    """A secret key of a tenant, revoked after use."""
    key, text = await store.add_key(tenant.name, secret=True, expires_at=datetime.now(UTC) + timedelta(hours=KEY_HOURS))
    try:
        yield text
    finally:
        await store.revoke_key(tenant.name, key.id)
