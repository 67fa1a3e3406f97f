"""The proof that a call comes from a widget's page, in the header `X-Widget-Proof`.

All widgets' pages share one origin, the service's own, so `Origin` cannot distinguish them. The service therefore
writes a proof into each page that only that page can read: `widget_id.expires.mac`, where `mac` is an HMAC-SHA256
(RFC 2104) of the two with a key derived from the tenant's salt in the database, which all processes share.
"""

import base64
import hmac
import re
import time
from typing import NamedTuple

from service.errors import ProofInvalid
from service.store.records import Tenant

LIFETIME_SECONDS = 600
RENEWAL_SECONDS = LIFETIME_SECONDS / 2  # left; from then on, responses bring a new proof
STEP_SECONDS = 60  # within which all proofs, and so the page, are identical
LEEWAY_SECONDS = 60  # between the clocks of replicas
PATTERN = re.compile(r"([A-Za-z0-9_-]{1,64})\.([1-9][0-9]{0,11})\.([A-Za-z0-9_-]{43})")


class Proof(NamedTuple):
    """A valid proof: the widget whose page has it, and its expiry as Unix time."""

    widget_id: str
    expires: int

    @property
    def is_due(self) -> bool:
        """Whether the page should get a new one."""
        return self.expires - time.time() < RENEWAL_SECONDS


def make_proof(tenant: Tenant, widget_id: str) -> str:
    """A proof for the page of a tenant's widget."""
    expires = int(time.time()) // STEP_SECONDS * STEP_SECONDS + STEP_SECONDS + LIFETIME_SECONDS
    return f"{widget_id}.{expires}.{_mac(tenant, widget_id, expires)}"


def check_proof(tenant: Tenant, proofs: list[str]) -> Proof | None:
    """The proof in the values of `X-Widget-Proof`, for this tenant; None without any. Raises ProofInvalid."""
    if not proofs:
        return None
    found = PATTERN.fullmatch(proofs[0])
    if len(proofs) > 1 or found is None:
        raise ProofInvalid("a malformed proof, or several")
    widget_id, expires, mac = found[1], int(found[2]), found[3]
    if not hmac.compare_digest(mac, _mac(tenant, widget_id, expires)):
        raise ProofInvalid("the proof is not of a widget of the key's tenant")
    if expires + LEEWAY_SECONDS <= time.time():
        raise ProofInvalid("the proof has expired")
    return Proof(widget_id, expires)


def _mac(tenant: Tenant, widget_id: str, expires: int) -> str:
    # Visitors' hashes are also keyed with the salt: a hash must never be valid as a proof, or the reverse.
    key = hmac.digest(tenant.visitor_salt, b"a4 widget proof", "sha256")
    mac = hmac.digest(key, f"{widget_id}.{expires}".encode(), "sha256")
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()
