"""The log at startup: a line about this process, and warnings about settings that look like mistakes."""

import logging
import re
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from typing import Any

from service.errors import NotSetUp
from service.logs import configure_logging
from service.overlay import is_variable
from service.settings import DEFAULT_BASE_URL, SECRETS, Settings, variables
from service.store.migrations import newest_version
from service.store.records import Tenant
from service.store.store import Store
from service.store.urls import shown_url
from service.upstream.endpoint import Endpoint, endpoint_of
from service.variables import FILE

log = logging.getLogger("chatbot")

# Other tools' names for our settings.
LIKELY = {
    "OPENAI_API_KEY": ("KEY", "TOKEN", "APIKEY", "API_TOKEN", "SECRET", "SECRET_KEY"),
    "OPENAI_BASE_URL": ("API_BASE", "BASE", "URL", "ENDPOINT", "API_URL", "API_HOST", "HOST", "API_BASE_URL"),
    "OPENAI_MODEL": ("MODEL_NAME", "DEFAULT_MODEL", "CHAT_MODEL", "DEPLOYMENT"),
    "OPENAI_QUERY": ("API_VERSION", "VERSION"),
    "OPENAI_HEADERS": ("ORGANIZATION", "ORG_ID", "ORG", "PROJECT", "PROJECT_ID", "EXTRA_HEADERS"),
}


def report_failure(reason: str) -> None:
    """Report why the service does not start, in one line on standard error, as JSON if LOG_FORMAT says so."""
    try:
        form = variables().get("log_format")
    except (OSError, UnicodeDecodeError):  # from `.env`, which may be the very reason
        form = None
    if form == "json":
        configure_logging("json")
        log.critical("the service does not start", extra={"reason": reason})
    else:
        print(f"chatbot: {reason}", file=sys.stderr)


def log_start(settings: Settings, version: str) -> None:
    """Log one line with the mode, the provider, the database and the release."""
    facts = {
        "mode": "demonstration" if settings.demonstration else "provider",
        "provider": None if settings.demonstration else Endpoint(settings.openai_base_url or DEFAULT_BASE_URL).host,
        "model": None if settings.demonstration else settings.openai_model,
        "database": shown_url(settings.database_url),
        "schema": newest_version(),
        "version": version,
    }
    if settings.demonstration:
        log.warning(
            "demonstration: neither OPENAI_API_KEY nor OPENAI_BASE_URL is set, so no model answers; only tenants for "
            "pages of this machine get the demonstration's answers",
            extra=facts,
        )
    else:
        log.info("starting", extra=facts)
        try:
            endpoint_of(settings)
        except NotSetUp as error:
            log.warning("the provider cannot be asked: %s", error)


async def log_misspelt(store: Store) -> None:
    """Warn about variables that look like a misspelt setting, unless a tenant uses them."""
    unknown = {name.upper(): likely for name in variables() if (likely := _likely(name.upper()))}
    if not unknown:
        return
    named = {name for tenant in await store.list_tenants() for name in _variables_of(tenant)}
    for name, likely in unknown.items():
        if name not in named and name.removesuffix(FILE) not in named:
            log.warning("%s is not a setting and has no effect; %s may be meant", name, likely)


def _likely(name: str) -> str | None:
    """The setting that an unknown name is probably meant to be; None for known and unrelated names."""
    match = re.fullmatch(r"OPEN_?AI_(\w+)", name)
    names = [field.upper() for field in Settings.model_fields if field.startswith("openai_")]
    files = [secret.upper() + FILE for secret in SECRETS]
    if match is None or name in names or name in files:
        return None
    for likely, others in LIKELY.items():
        if match[1] in others:
            return likely
    return next(iter(get_close_matches(f"OPENAI_{match[1]}", names, 1)), " or ".join(names[:3]))


def _variables_of(tenant: Tenant) -> Iterator[str]:
    names = tenant.openai_key_env, tenant.openai_base_url_env, tenant.identity_secret_env
    yield from filter(None, (*names, tenant.webhook_url_env, tenant.webhook_secret_env))
    yield from _variables_in(tenant.upstream)


def _variables_in(value: Any) -> Iterator[str]:
    if is_variable(value):
        yield value["env"]
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _variables_in(item)
