"""The endpoint for a question: its URL, and the headers and fields of every request to it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

from service.errors import NotSetUp
from service.overlay import resolve
from service.settings import CHAT_PATH, DEFAULT_BASE_URL, Settings, base_url, header_text, key_text
from service.store.records import Tenant
from service.variables import read_variable

Pairs = tuple[tuple[str, str], ...]

OUR_HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "User-Agent": "chatbot"}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A tenant's endpoint: the base URL without a trailing slash, and the additions to each request.

    Endpoints that differ only in `body` share a circuit. A field that is None in `body` is removed from the request.
    """

    base_url: str
    headers: Pairs = field(default=tuple(OUR_HEADERS.items()), repr=False)
    query: Pairs = field(default=(), repr=False)
    body: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def url(self) -> str:
        query = f"?{urlencode(self.query)}" if self.query else ""
        return f"{self.base_url}{CHAT_PATH}{query}"

    @property
    def host(self) -> str:
        """The host, for the log: the URL may contain a password."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def shown_url(self) -> str:
        """The base URL without a user and a password."""
        parts = urlsplit(self.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()

    @property
    def cap_name(self) -> str:
        """The field that limits an answer. OpenAI's newer models refuse the old name, other servers the new one."""
        is_openai = self.host == "api.openai.com" or self.host.endswith(".openai.azure.com")
        return "max_completion_tokens" if is_openai else "max_tokens"


def endpoint_of(settings: Settings, tenant: Tenant | None = None) -> Endpoint:
    """The endpoint of a tenant: the service's own, unless the tenant names another base URL.

    The service's own key and overlay are sent only to its own endpoint. Raises NotSetUp if a variable is unset or
    invalid.
    """
    key_name, url_name = (tenant.openai_key_env, tenant.openai_base_url_env) if tenant else (None, None)
    url = settings.openai_base_url or DEFAULT_BASE_URL
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    overlays = [{"headers": settings.openai_headers, "query": settings.openai_query, "body": settings.openai_body}]
    if url_name:
        url, key, overlays = _variable(url_name, base_url), None, []
    if key_name:
        key = _variable(key_name, key_text)
    if tenant and tenant.upstream:
        overlays.append(tenant.upstream)
    headers = OUR_HEADERS | ({"Authorization": f"Bearer {key}"} if key else {})
    query: dict[str, str] = {}
    body: dict[str, Any] = {}
    for overlay in overlays:
        headers = _with(headers, _texts(overlay, "headers"))
        query |= {name: value for name, value in _texts(overlay, "query").items() if value is not None}
        body |= _resolved(overlay, "body")
    return Endpoint(url, tuple(headers.items()), tuple(query.items()), body)


def _variable(name: str, check: Callable[[str], str]) -> str:
    try:
        value = read_variable(name)
    except ValueError as error:
        raise NotSetUp(f"the tenant's environment variable {error}") from None
    try:
        return check(value)
    except ValueError as error:
        raise NotSetUp(f"the tenant's environment variable {name} {error}") from None


def _resolved(overlay: Mapping[str, Mapping[str, Any]], part: str) -> dict[str, Any]:
    try:
        return {name: resolve(value) for name, value in overlay.get(part, {}).items()}
    except ValueError as error:
        raise NotSetUp(f"an environment variable in the overlay's {part}: {error}") from None


def _texts(overlay: Mapping[str, Mapping[str, Any]], part: str) -> dict[str, str | None]:
    texts = {}
    for name, value in _resolved(overlay, part).items():
        try:
            texts[name] = None if value is None else header_text(str(value))
        except ValueError as error:
            raise NotSetUp(f"the overlay's {part}.{name} {error}") from None
    return texts


def _with(items: Mapping[str, str], added: Mapping[str, str | None]) -> dict[str, str]:
    """Headers with some values replaced; names are case-insensitive."""
    replaced = {name.lower() for name in added}
    kept = {name: value for name, value in items.items() if name.lower() not in replaced}
    return kept | {name: value for name, value in added.items() if value is not None}
