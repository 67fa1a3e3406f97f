"""Who may ask, and from where: a tenant's key, the origin of the page, and the visitor's signed token.

The functions take header values as they were sent, all of one name as a list: what was sent twice is refused.
"""

from dataclasses import dataclass

from service.access.origins import entries_for, origin_matches
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
    """What the key opens, and who asks if the tenant's backend says so."""

    identity: Identity | None

    @property
    def subject(self) -> str | None:
        return self.identity.subject if self.identity else None


async def find_access(store: Store, keys: list[str]) -> Access:
    """What the value of `X-API-Key` opens. Raises KeyMissing, KeyInvalid or BadRequest."""
    if not keys:
        raise KeyMissing("no key")
    if len(keys) > 1:
        raise BadRequest("X-API-Key was sent twice")
    access = await store.find_access(keys[0])
    if access is None:
        raise KeyInvalid("the key is not valid")
    return access


def check_origin(access: Access, method: str, origins: list[str], site: str | None, own_origin: str) -> str | None:
    """The origin of the tenant's page that asks; None for the service's own and for servers.

    A browser's page must be the service's own, as the widget's is, or one of the tenant's origins. Servers send no
    Origin; the secret key is for them, and never for a browser. Only browsers send Sec-Fetch-Site, `site` (W3C Fetch
    Metadata), which no page can set; a GET within one origin bears that and no Origin.

    Raises OriginNotAllowed and its kind.
    """
    if access.key.kind == "secret":
        if origins or site is not None:
            raise SecretKeyInBrowser("a secret key came from a browser")
        return None
    if not origins and site is None:
        raise SecretKeyRequired("a public key without an Origin")
    if not origins:
        if site != "same-origin" or method not in ("GET", "HEAD"):
            raise OriginNotAllowed("a browser's request without the Origin that it needs")
        return None
    if origins == [own_origin]:
        return None
    if len(origins) > 1 or not origin_matches(origins[0], access.tenant.origins):
        raise OriginNotAllowed(f"the origin is not listed, and the service's own is {own_origin}")
    return origins[0]


async def check_preflight(store: Store, origins: list[str]) -> str:
    """The origin of a CORS preflight. It bears no key, so any tenant's may ask; the request itself decides.

    Raises OriginNotAllowed.
    """
    if len(origins) != 1 or not await store.lists_any(entries_for(origins[0])):
        raise OriginNotAllowed("a preflight from an origin that no tenant lists")
    return origins[0]


async def identify(store: Store, tenant: Tenant, tokens: list[str]) -> Identity | None:
    """The visitor whom the tenant's backend has signed for. None without a token, where the tenant requires none.

    Raises UserTokenMissing and its kind.
    """
    if not tokens:
        if tenant.require_identity:
            raise UserTokenMissing("no user token")
        return None
    if len(tokens) > 1:
        raise UserTokenInvalid("X-User-Token was sent twice")
    return verify(tokens[0], tenant, {tenant.name, *await store.widget_ids(tenant.id)})
