"""The pages that the service fills in, and under what headers its files go out."""

import gzip
import html
import json
from collections.abc import Mapping
from typing import Any

from service.access.origins import frame_ancestors
from service.demonstration import Embedded
from service.schema import image_source
from service.settings import DEFAULT_MAX_MESSAGE_CHARS
from service.store.records import Tenant, Widget
from service.web.assets import Asset, asset_of

IMAGES = "img-src 'self' data:"
POLICY = (
    f"default-src 'none'; script-src 'self'; style-src 'self'; {IMAGES}; connect-src 'self'; "
    "font-src 'self'; frame-src 'self'; base-uri 'none'; form-action 'none'"
)
TRUSTED_TYPES = "require-trusted-types-for 'script'; trusted-types"
DOCS_POLICY = DEMONSTRATION_POLICY = f"{POLICY}; frame-ancestors 'none'"
STUDIO_POLICY = f"{POLICY}; {TRUSTED_TYPES} 'none'; frame-ancestors 'none'"
PREVIEW_POLICY = f"{POLICY}; {TRUSTED_TYPES} a4-preview; frame-ancestors 'self'"
# A cross-origin isolated page frames only what has both headers.
FRAMED_ANYWHERE = {"Cross-Origin-Embedder-Policy": "require-corp", "Cross-Origin-Resource-Policy": "cross-origin"}
NO_WIDGET_POLICY = "default-src 'none'; frame-ancestors 'none'"

SHORT_CACHE = "public, max-age=300, stale-while-revalidate=86400"
ENDLESS_CACHE = "public, max-age=31536000, immutable"


def file_headers(cache_control: str) -> dict[str, str]:
    """Of a file that any page may load."""
    return {
        "Cache-Control": cache_control,
        "Vary": "Accept-Encoding",
        "Access-Control-Allow-Origin": "*",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def page_headers(policy: str) -> dict[str, str]:
    """Of a page with this Content-Security-Policy."""
    return {"Content-Security-Policy": policy, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}


def fill_in(page: Asset, tokens: Mapping[str, str]) -> Asset:
    """A built page with texts in place of its tokens, which are escaped already."""
    text = page.body.decode()
    for token, value in tokens.items():
        text = text.replace(token, value)
    body = text.encode()
    return asset_of("page.html", body, {"page.html.gz": gzip.compress(body, mtime=0)})


def embed(page: Asset, widget: Embedded) -> Asset:
    """A page that shows a widget."""
    return fill_in(
        page, {"__A4_WIDGET_ID__": html.escape(widget.widget_id), "__A4_API_KEY__": html.escape(widget.api_key)}
    )


def widget_page(page: Asset, widget: Widget, tenant: Tenant, proof: str, max_message_chars: int) -> Asset:
    """The iframe's page, which is this widget's alone: its id, its proof, its settings and who may embed it.

    It has the longest question where that is not the one that the widget knows.
    """
    limit = {} if max_message_chars == DEFAULT_MAX_MESSAGE_CHARS else {"maxMessageChars": max_message_chars}
    facts = {"id": widget.id, "proof": proof, "origins": tenant.origins, "settings": widget.settings | limit}
    return fill_in(
        page, {"__A4_WIDGET__": _in_single_quotes(json.dumps(facts, ensure_ascii=False, separators=(",", ":")))}
    )


def _in_single_quotes(text: str) -> str:
    """Escaped for an attribute in single quotes, in which JSON keeps its own."""
    return html.escape(text, quote=False).replace("'", "&#39;")


def widget_policy(widget: Widget, tenant: Tenant) -> str:
    """That of the iframe's page, which only the tenant's own pages may frame."""
    policy = POLICY.replace(IMAGES, _images(widget.settings))
    return f"{policy}; {TRUSTED_TYPES} lit-html; frame-ancestors {frame_ancestors(tenant.origins)}"


def _images(settings: Mapping[str, Any]) -> str:
    """The tenant's own images are allowed beside ours: these two addresses, not their hosts."""
    sources = [image_source(settings.get(name)) for name in ("avatar", "icon")]
    return " ".join([IMAGES, *dict.fromkeys(source for source in sources if source)])
