"""Access to the owner's pages: with STUDIO_TOKEN or a session or, if no token is set, only from this machine.

Pages at other origins get nothing, and frames get nothing.
"""

import ipaddress
from collections.abc import Awaitable, Callable
from functools import wraps

from starlette.requests import Request
from starlette.responses import Response

from service import errors
from service.access import owner
from service.access.origins import own_origin
from service.access.own_origins import LOOPBACK
from service.web.requests import exchange_of, service_of

COOKIE = "a4_studio"
SECURE_COOKIE = f"__Host-{COOKIE}"  # browsers accept it only over https and for the whole host (RFC 6265bis, 4.1.3.2)
SAFE_METHODS = ("GET", "HEAD")
FRAMES = ("iframe", "frame", "embed", "object", "fencedframe")
# Headers that proxies add: a request with one is not from this machine, whatever its address is.
FORWARDED = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")

PRIVATE = {
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
NO_PAGE_POLICY = "default-src 'none'; frame-ancestors 'none'"

Endpoint = Callable[[Request], Awaitable[Response]]


def is_owner(request: Request) -> bool:
    """Whether the request is the owner's. Raises VisitorRateLimited after too many wrong tokens."""
    service = service_of(request)
    if service.settings.studio_token is None:
        return is_of_this_machine(request)
    token = service.settings.studio_token.get_secret_value()
    token_sent = _bearer(request)
    if token_sent is not None:
        return service.attempts.is_right(token, token_sent, exchange_of(request).address)
    return owner.is_session(token, request.cookies.get(cookie_name(request), ""))


def refusal(request: Request) -> errors.ServiceError:
    """The error for a request that is not the owner's."""
    if service_of(request).settings.studio_token is None:
        return errors.NotFound("no STUDIO_TOKEN is set, and the request is not of this machine")
    return errors.StudioTokenWrong("no session, or a wrong token")


def owner_api(endpoint: Endpoint) -> Endpoint:
    """An endpoint for the owner's pages, and for programs with the token.

    Raises OriginNotAllowed, StudioTokenWrong, NotFound or VisitorRateLimited.
    """

    @wraps(endpoint)
    async def guarded(request: Request) -> Response:
        check_same_origin(request)
        if not is_owner(request):
            raise refusal(request)
        response = await endpoint(request)
        response.headers.update(
            {**PRIVATE, "Content-Security-Policy": NO_PAGE_POLICY, "X-Frame-Options": "DENY"},
        )
        return response

    return guarded


def check_same_origin(request: Request) -> None:
    """Raises OriginNotAllowed for requests from other origins, and for changes from an unknown origin.

    Browsers send `Origin` and `Sec-Fetch-Site` (W3C Fetch Metadata); a program sends the token in a header, which no
    browser adds by itself.
    """
    origins, site = request.headers.getlist("origin"), request.headers.get("sec-fetch-site")
    if len(origins) > 1 or (origins and not _is_own(request, origins[0])):
        raise _not_ours("another origin asks")
    if site not in (None, "same-origin", "none"):
        raise _not_ours("another site asks")
    if request.method not in SAFE_METHODS and not origins and site != "same-origin" and _bearer(request) is None:
        raise _not_ours("a change without an Origin")
    check_not_framed(request)


def check_navigation(request: Request) -> None:
    """Raises OriginNotAllowed if another site loads a page in any way other than a top-level navigation."""
    check_not_framed(request)
    site, destination = request.headers.get("sec-fetch-site"), request.headers.get("sec-fetch-dest")
    if site in ("cross-site", "same-site") and destination != "document":
        raise _not_ours("another site asks")


def check_not_framed(request: Request) -> None:
    """Raises OriginNotAllowed for a page that is loaded into a frame."""
    if request.headers.get("sec-fetch-dest") in FRAMES:
        raise _not_ours("in a frame")


def is_secure(request: Request) -> bool:
    """Whether browsers reach the service over https, even if a proxy does not report it."""
    public = service_of(request).settings.public_origins
    return request.url.scheme == "https" or (bool(public) and all(url.startswith("https:") for url in public))


def cookie_name(request: Request) -> str:
    """The cookie's name; over https, one that no other host and nobody on the network can set."""
    return SECURE_COOKIE if is_secure(request) else COOKIE


def is_of_this_machine(request: Request) -> bool:
    """Whether a request comes from this machine, and not through a proxy on it.

    The Host must be a loopback name: any other may be a foreign name that points here (DNS rebinding). Browsers never
    use HTTP/1.0, which is nginx's default.
    """
    try:
        address = ipaddress.ip_address(exchange_of(request).address)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (
        (mapped or address).is_loopback
        and LOOPBACK.fullmatch(request.headers.get("host", "").lower()) is not None
        and request.scope["http_version"] != "1.0"
        and not any(name in request.headers for name in FORWARDED)
        and all(LOOPBACK.fullmatch(url.partition("://")[2]) for url in service_of(request).settings.public_origins)
    )


def _is_own(request: Request, origin: str) -> bool:
    """Whether the Host is the service's own. A foreign name that points here has no session and is no loopback name."""
    public = service_of(request).settings.public_origins
    return origin in public or origin == own_origin(request.url.scheme, request.headers.get("host", ""))


def _bearer(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _not_ours(reason: str) -> errors.OriginNotAllowed:
    return errors.OriginNotAllowed(
        f"an owner's page: {reason}",
        detail="Only the service's own pages may do this. If this is one, set PUBLIC_URL to its address.",
    )
