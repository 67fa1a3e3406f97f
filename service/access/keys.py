"""Authentication: a tenant's key, the origin of the page, and the visitor's signed token.

The functions take all values of a header as a list, because a repeated header is refused.
"""

from dataclasses import dataclass

from service.access.origins import entries_for, origin_matches, own_origin
from service.access.own_origins import OwnOrigins
from service.access.proofs import Proof, check_proof, make_proof
from service.access.user_tokens import Identity, verify
from service.errors import (
    BadRequest,
    KeyInvalid,
    KeyMissing,
    OriginNotAllowed,
    SecretKeyInBrowser,
    SecretKeyRequired,
    UserTokenInvalid,
    UserTokenMissing,
)
from service.store.records import Access, Tenant
from service.store.store import Store


@dataclass(frozen=True, slots=True)
class Caller(Access):
    """The tenant that a key gives access to, and the visitor's identity if the tenant's backend vouches for one."""

    identity: Identity | None

    @property
    def subject(self) -> str | None:
        return self.identity.subject if self.identity else None


async def find_access(store: Store, keys: list[str]) -> Access:
    """The tenant and key of an `X-API-Key` value. Raises KeyMissing, KeyInvalid or BadRequest."""
    if not keys:
        raise KeyMissing("no key")
    if len(keys) > 1:
        raise BadRequest("X-API-Key was sent twice")
    access = await store.find_access(keys[0])
    if access is None:
        raise KeyInvalid("the key is not valid")
    return access


@dataclass(frozen=True, slots=True)
class Sender:
    """Where a request claims to come from: its method, scheme and `Host`, and the headers that browsers set.

    `origins` are the values of `Origin`. `site` is the value of `Sec-Fetch-Site`, which only browsers send and no page
    can set (W3C Fetch Metadata). `proofs` are the values of `X-Widget-Proof`.
    """

    method: str
    scheme: str
    host: str
    origins: list[str]
    site: str | None
    proofs: list[str]


def check_sender(access: Access, sender: Sender, own: OwnOrigins) -> tuple[str | None, Proof | None]:
    """The origin of the tenant's page, None for the service's own origin and for servers; and the widget's proof.

    A browser's page must have one of the tenant's origins or, like the widget's page, the service's own. All tenants'
    widgets share the service's own origin, so it counts only with the proof from a page of this tenant's widget.
    Servers send no Origin: the secret key is for them, and never for a browser.

    Raises OriginNotAllowed or a subclass.
    """
    origins, site = sender.origins, sender.site
    if access.key.kind == "secret":
        if origins or site is not None or sender.proofs:
            raise SecretKeyInBrowser("a secret key came from a browser")
        return None, None
    if len(origins) > 1:
        raise OriginNotAllowed("Origin was sent twice")
    proof = check_proof(access.tenant, sender.proofs)
    if not origins and site is None and proof is None:
        raise SecretKeyRequired("a public key without an Origin")
    origin = origins[0] if origins else _origin_of_read(sender, own)
    if own.include(origin, sender.scheme, sender.host):
        if proof is None and not origin_matches(origin, access.tenant.origins):
            raise OriginNotAllowed("the service's own origin, without the proof of a widget's page")
        return None, proof
    if not origin_matches(origin, access.tenant.origins):
        raise _not_listed(origin, sender, own)
    return origin, proof


def _origin_of_read(sender: Sender, own: OwnOrigins) -> str:
    """The origin of a same-origin GET, which has no Origin. Raises OriginNotAllowed unless it is the service's."""
    if sender.method not in ("GET", "HEAD"):
        raise OriginNotAllowed("a browser's request without the Origin that it needs")
    origin = own.of_read(sender.site, sender.scheme, sender.host)
    if origin is None:
        reached = own_origin(sender.scheme, sender.host)
        raise (
            _not_listed(reached, sender, own)
            if sender.site in ("same-origin", None)
            else OriginNotAllowed("a browser's request from another site, without an Origin")
        )
    return origin


def _not_listed(origin: str, sender: Sender, own: OwnOrigins) -> OriginNotAllowed:
    hint = own.hint(origin, sender.scheme, sender.host)
    if hint is None:
        return OriginNotAllowed("the origin is not listed")
    return OriginNotAllowed(
        f"the origin is not listed, and {hint}",
        detail="This origin is not on the tenant's list. If it is the service's own, set it as PUBLIC_URL.",
    )


def page_origin(tenant: Tenant, pages: list[str]) -> str | None:
    """The origin of the page around the widget, which its page sends as `X-Page-Origin`; None unless it is listed."""
    return pages[0] if len(pages) == 1 and origin_matches(pages[0], tenant.origins) else None


async def renew_proof(store: Store, tenant: Tenant, proof: Proof) -> str | None:
    """A new proof for a page whose proof is about to expire; None before that, or if its widget is gone."""
    if not proof.is_due or proof.widget_id not in await store.widget_ids(tenant.id):
        return None
    return make_proof(tenant, proof.widget_id)


async def check_preflight(store: Store, origins: list[str]) -> str:
    """The origin of a CORS preflight, which has no key: any tenant's is allowed, and the request itself is checked.

    Raises OriginNotAllowed.
    """
    if len(origins) != 1 or not await store.lists_any(entries_for(origins[0])):
        raise OriginNotAllowed("a preflight from an origin that no tenant lists")
    return origins[0]


async def identify(store: Store, tenant: Tenant, tokens: list[str]) -> Identity | None:
    """The visitor that the tenant's backend vouches for; None without a token, if the tenant does not require one.

    Raises UserTokenMissing or a subclass.
    """
    if not tokens:
        if tenant.require_identity:
            raise UserTokenMissing("no user token")
        return None
    if len(tokens) > 1:
        raise UserTokenInvalid("X-User-Token was sent twice")
    return verify(tokens[0], tenant, {tenant.name, *await store.widget_ids(tenant.id)})
