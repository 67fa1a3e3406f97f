"""Where a question goes: the endpoint's URL and key, and the options it takes."""

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from service.errors import UpstreamFailed
from service.settings import DEFAULT_BASE_URL, Settings, header_text, http_url


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a tenant's questions go: the base URL, without a slash at the end, and the key for it."""

    base_url: str
    key: str | None = field(repr=False)

    @property
    def url(self) -> str:
        return f"{self.base_url}/chat/completions"

    @property
    def headers(self) -> dict[str, str]:
        headers = {"Accept": "text/event-stream", "Accept-Encoding": "identity", "User-Agent": "chatbot"}
        return headers | ({"Authorization": f"Bearer {self.key}"} if self.key else {})

    @property
    def cap_name(self) -> str:
        """The field that bounds an answer. OpenAI's newer models refuse the old name, other servers the new one."""
        host = urlsplit(self.base_url).hostname or ""
        is_openai = host == "api.openai.com" or host.endswith(".openai.azure.com")
        return "max_completion_tokens" if is_openai else "max_tokens"


def endpoint(settings: Settings, key_variable: str | None, base_url_variable: str | None) -> Endpoint:
    """The endpoint by the environment variables that the tenant names, or else the service's own.

    The service's own key goes to its own endpoint only. Raises UpstreamFailed when a variable is not set, or not to
    what a URL or a key can be.
    """
    key = settings.openai_api_key.get_secret_value() if settings.openai_api_key else None
    base_url = settings.openai_base_url or DEFAULT_BASE_URL
    if base_url_variable:
        key = None
        base_url = _variable(base_url_variable, http_url)
    return Endpoint(base_url, _variable(key_variable, header_text) if key_variable else key)


def _variable(name: str, check: Callable[[str], str]) -> str:
    value = os.environ.get(name)
    if not value:
        raise UpstreamFailed(f"the tenant's environment variable {name} is not set")
    try:
        return check(value)
    except ValueError as error:
        raise UpstreamFailed(f"the tenant's environment variable {name} {error}") from None


def answer_options(endpoint: Endpoint, temperature: float | None, cap: int) -> dict[str, Any]:
    """How a question is to be answered; what is None or 0 is the endpoint's own affair."""
    options = {"temperature": temperature, endpoint.cap_name: cap or None}
    return {name: value for name, value in options.items() if value is not None}
