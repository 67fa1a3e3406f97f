"""A tenant's webhook: its URL, its secrets and its messages (Standard Webhooks 1.0, standardwebhooks.com)."""

import base64
import binascii
import hashlib
import hmac
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx

from service.settings import unquoted
from service.store.records import Tenant
from service.variables import read_variable

SECRET_PREFIX = "whsec_"
SECRET_BYTES = range(24, 65)  # "Secret", in the section "Signature scheme" of the specification
MOST_SECRETS = 5
MOST_URL_CHARS = 2000


class HookUnusable(ValueError):
    """A tenant's webhook is not set up. The message names the variable, but never its value."""


@dataclass(frozen=True, slots=True)
class Hook:
    """The URL for a tenant's events, and the keys that sign them: several while a secret is being rotated."""

    url: str = field(repr=False)
    keys: tuple[bytes, ...] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """A message to a webhook. Every attempt has the same `id`."""

    id: uuid.UUID
    type: str
    created: datetime
    tenant: str
    data: Mapping[str, Any]

    def request(self, hook: Hook, at: datetime) -> httpx.Request:
        """The request, with a signature of this time."""
        name = shown_id(self.id)
        content = {
            "id": name,
            "type": self.type,
            "created": self.created.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "tenant": self.tenant,
            "data": self.data,
        }
        body = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
        timestamp = str(int(at.timestamp()))
        signed = f"{name}.{timestamp}.".encode() + body
        signatures = [base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode() for key in hook.keys]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "chatbot",
            "Accept-Encoding": "identity",
            "webhook-id": name,
            "webhook-timestamp": timestamp,
            "webhook-signature": " ".join(f"v1,{signature}" for signature in signatures),
        }
        return httpx.Request("POST", hook.url, headers=headers, content=body)


def shown_id(event_id: uuid.UUID) -> str:
    """An event's id in messages, in the log and for the operator."""
    return f"msg_{event_id.hex}"


def hook_of(tenant: Tenant) -> Hook:
    """A tenant's webhook. Raises HookUnusable if it has none, or if a variable is unset or invalid."""
    if not tenant.webhook_url_env or not tenant.webhook_secret_env:
        raise HookUnusable("the tenant has no webhook")
    try:
        url, secrets = read_variable(tenant.webhook_url_env), read_variable(tenant.webhook_secret_env)
    except ValueError as error:
        raise HookUnusable(str(error)) from None
    try:
        url = _url(url)
    except ValueError as error:
        raise HookUnusable(f"{tenant.webhook_url_env} {error}") from None
    try:
        return Hook(url, tuple(_key(secret) for secret in unquoted(secrets).split()[:MOST_SECRETS] or [""]))
    except ValueError as error:
        raise HookUnusable(f"{tenant.webhook_secret_env} {error}") from None


def has_hook(tenant: Tenant) -> bool:
    """Whether a tenant has a usable webhook."""
    try:
        hook_of(tenant)
    except HookUnusable:
        return False
    return True


def _url(text: str) -> str:
    problem = "must be an http or https URL, without a fragment"
    text = unquoted(text)
    try:
        url = httpx.URL(text)
    except httpx.InvalidURL:
        raise ValueError(problem) from None
    if url.scheme not in ("http", "https") or not url.host or "#" in text or len(text) > MOST_URL_CHARS:
        raise ValueError(problem)
    return text


def _key(secret: str) -> bytes:
    text = secret.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except binascii.Error:
        key = b""
    if len(key) not in SECRET_BYTES:
        raise ValueError(f"must be {SECRET_PREFIX} followed by 24 to 64 bytes in base64")
    return key
