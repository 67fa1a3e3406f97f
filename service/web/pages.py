"""The pages that the service fills in, and the headers of its files."""

import gzip
import html
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from service import demonstration, errors
from service.access.origins import frame_ancestors
from service.access.proofs import make_proof
from service.demonstration import Embedded
from service.settings import DEFAULT_MAX_MESSAGE_CHARS
from service.store.records import Tenant, Widget
from service.web.assets import HASHED, Asset, asset_of
from service.web.exchange import PROOF
from service.web.requests import service_of
from service.webhooks.hook import has_hook
from service.widget_settings import image_source

IMAGES = "img-src 'self' data:"
POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self'; {IMAGES}; connect-src 'self'; "
    "font-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'"
)
TRUSTED_TYPES = "require-trusted-types-for 'script'; trusted-types"
DOCS_POLICY = f"{POLICY}; {TRUSTED_TYPES} 'none'; frame-ancestors 'none'"
_SIGNING_OUT = POLICY.replace("form-action 'none'", "form-action 'self'")
OWNER_POLICY = f"{_SIGNING_OUT}; {TRUSTED_TYPES} 'none'; frame-ancestors 'none'"
DEMONSTRATION_POLICY = f"{_SIGNING_OUT}; frame-ancestors 'none'"
SIGN_IN_POLICY = (
    f"default-src 'none'; style-src 'self'; {IMAGES}; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
PREVIEW_POLICY = f"{POLICY}; {TRUSTED_TYPES} a4-preview; frame-ancestors 'self'"
# A cross-origin isolated page can only frame responses with both headers.
FRAMED_ANYWHERE = {"Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "cross-origin"}
NO_WIDGET_POLICY = "default-src 'none'; frame-ancestors 'none'"

FILE_NAME = re.compile(HASHED + r"[\w-]{1,80}\.(js|css|svg|txt)")

SHORT_CACHE = "public, max-age=300, stale-while-revalidate=86400"
ENDLESS_CACHE = "public, max-age=31536000, immutable"


def file_headers(cache_control: str) -> dict[str, str]:
    """The headers of a file that any page may load."""
    return {
        "Cache-Control": cache_control,
        "Vary": "Accept-Encoding",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def page_headers(policy: str) -> dict[str, str]:
    """The headers of a page with this Content-Security-Policy."""
    return {"Content-Security-Policy": policy, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}


def fill_in(page: Asset, tokens: Mapping[str, str]) -> Asset:
    """Replace the tokens of a built page with texts, which must be escaped already."""
    text = page.body.decode()
    for token, value in tokens.items():
        text = text.replace(token, value)
    return _compressed(text.encode())


@lru_cache(maxsize=64)  # for a minute, all visitors get the same page, and one with images takes 10 ms
def _compressed(body: bytes) -> Asset:
    return asset_of("page.html", body, {"page.html.gz": gzip.compress(body, mtime=0)})


def embed(page: Asset, widget: Embedded) -> Asset:
    """A page that shows a widget."""
    return fill_in(
        page, {"__A4_WIDGET_ID__": html.escape(widget.widget_id), "__A4_API_KEY__": html.escape(widget.api_key)}
    )


def widget_page(page: Asset, widget: Widget, tenant: Tenant, proof: str, max_message_chars: int) -> Asset:
    """The iframe's page for one widget, with its id, its proof, its settings and the origins that may embed it.

    It includes the longest question if that is not the widget's default. If the tenant has a webhook, the handoff is a
    form.
    """
    limit = {} if max_message_chars == DEFAULT_MAX_MESSAGE_CHARS else {"maxMessageChars": max_message_chars}
    form = {"handoff": "form"} if has_hook(tenant) else {}
    facts = {"id": widget.id, "proof": proof, "origins": tenant.origins, "settings": widget.settings | limit | form}
    return fill_in(
        page, {"__A4_WIDGET__": _in_single_quotes(json.dumps(facts, ensure_ascii=False, separators=(",", ":")))}
    )


def _in_single_quotes(text: str) -> str:
    """Escape JSON for an attribute in single quotes, so that its double quotes stay readable."""
    return html.escape(text, quote=False).replace("'", "&#39;")


def widget_policy(widget: Widget, tenant: Tenant) -> str:
    """The policy of the iframe's page, which only the tenant's own pages may frame."""
    # Only the owner sees the studio's: an image is tried there before it is among a tenant's settings.
    images = f"{IMAGES} https:" if demonstration.is_own(tenant) else _images(widget.settings)
    policy = POLICY.replace(IMAGES, images)
    return f"{policy}; {TRUSTED_TYPES} lit-html; frame-ancestors {frame_ancestors(tenant.origins)}"


def _images(settings: Mapping[str, Any]) -> str:
    """The sources for images: our own and the tenant's two URLs, but not their hosts."""
    sources = [image_source(settings.get(name)) for name in ("avatar", "icon")]
    return " ".join([IMAGES, *dict.fromkeys(source for source in sources if source)])


# Endpoints


async def loader(request: Request) -> Response:
    """The loader, which any page may load, as a script or a module, and its types."""
    return file_response(request, request.url.path.removeprefix("/"), SHORT_CACHE)


async def asset(request: Request) -> Response:
    """A file with a hash in its name, of this release or of another one on the same database."""
    service, name = service_of(request), f"{HASHED}{request.path_params['path']}"
    if name not in service.assets and FILE_NAME.fullmatch(name):
        body = await service.store.files.find(name)
        if body is not None:
            service.assets[name] = asset_of(name, body, {f"{name}.gz": gzip.compress(body, mtime=0)})
    return file_response(request, name, ENDLESS_CACHE)


async def widget_html(request: Request) -> Response:
    """The iframe's page, which only the tenant's own pages may frame."""
    service = service_of(request)
    found = await service.store.find_widget(request.query_params.get("id", ""))
    if found is None:
        text = "There is no such widget. Check data-widget-id in the script tag."
        headers = page_headers(NO_WIDGET_POLICY) | {"X-Frame-Options": "DENY", "Cache-Control": "no-store"}
        return Response(text, 404, headers, "text/plain; charset=utf-8")
    proof = make_proof(found[1], found[0].id)
    page = widget_page(service.assets["widget.html"], *found, proof, service.settings.max_message_chars)
    headers = page_headers(widget_policy(*found)) | FRAMED_ANYWHERE | {PROOF: proof}
    return asset_response(request, page, headers)


def page_response(request: Request, page: Asset, policy: str) -> Response:
    return asset_response(request, page, page_headers(policy))


def file_response(request: Request, name: str, cache_control: str) -> Response:
    file = service_of(request).assets.get(name)
    if file is None:
        raise errors.NotFound("no such file")
    return asset_response(request, file, file_headers(cache_control))


def asset_response(request: Request, asset: Asset, headers: dict[str, str]) -> Response:
    """The asset, compressed if the browser accepts that, or 304 if it already has this version."""
    headers["ETag"] = asset.etag
    if asset.matches(request.headers.get("if-none-match", "")):
        return Response(status_code=304, headers=headers)
    body, coding = asset.encoded_for(request.headers.get("accept-encoding", ""))
    if coding:
        headers["Content-Encoding"] = coding
    return Response(body, media_type=asset.media_type, headers=headers)
