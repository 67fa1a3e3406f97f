"""The owner's pages, the sign-in form, and its session.

Without STUDIO_TOKEN, in demonstration mode, anyone can see the home page and a studio without tenants.
"""

from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response

from service import demonstration, errors
from service.access import owner
from service.demonstration import Demonstration
from service.web.lifespan import Service
from service.web.owner.guard import (
    PRIVATE,
    SAFE_METHODS,
    check_navigation,
    check_not_framed,
    check_same_origin,
    cookie_name,
    is_owner,
    is_secure,
    refusal,
)
from service.web.pages import (
    DEMONSTRATION_POLICY,
    OWNER_POLICY,
    PREVIEW_POLICY,
    SIGN_IN_POLICY,
    asset_response,
    embed,
    fill_in,
    page_headers,
)
from service.web.requests import exchange_of, service_of

# The pages to return to after signing in, relative to the form's URL.
PAGES = {"": "../", "studio": "../studio", "studio/conversations": "conversations"}
FORM = "application/x-www-form-urlencoded"
WRONG_TOKEN = "That token isn’t right."
TOO_OFTEN = "Too many wrong tokens. Please wait a moment, then try again."


async def home(request: Request) -> Response:
    """The demonstration page."""
    return await _page(request, "demo.html", DEMONSTRATION_POLICY)


async def studio(request: Request) -> Response:
    """The studio, where an owner changes the look of a widget."""
    return await _page(request, "studio.html", OWNER_POLICY)


async def conversations(request: Request) -> Response:
    """The conversations of visitors, and the figures of the week."""
    return await _page(request, "conversations.html", OWNER_POLICY, owner_only=True)


async def studio_preview(request: Request) -> Response:
    """The website in the studio's frame, with the widget on it."""
    if request.headers.get("sec-fetch-site") not in (None, "same-origin", "none"):
        raise errors.OriginNotAllowed("another site frames the preview")
    if not is_owner(request) and not _is_open(request):
        raise refusal(request)
    headers = {**page_headers(PREVIEW_POLICY), **PRIVATE, "X-Frame-Options": "SAMEORIGIN"}
    shown = (await _demonstration(service_of(request))).studio
    return asset_response(request, embed(service_of(request).assets["preview.html"], shown), headers)


async def sign_in(request: Request) -> Response:
    """Start a session if the form has the right token."""
    check_same_origin(request)
    service = service_of(request)
    if service.settings.studio_token is None:
        raise errors.NotFound("no STUDIO_TOKEN is set")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise errors.UnsupportedMediaType("not a form", detail=f"Send the body as {FORM}.")
    fields = _fields(await request.body())
    token, page = service.settings.studio_token.get_secret_value(), fields.get("page", "")
    page = page if page in PAGES else "studio"
    try:
        if not service.attempts.is_right(token, fields.get("token", "").strip(), exchange_of(request).address):
            return _sign_in_page(request, page, errors.StudioTokenWrong("a wrong token"), WRONG_TOKEN)
    except errors.VisitorRateLimited as error:
        return _sign_in_page(request, page, error, TOO_OFTEN)
    response = Response(status_code=303, headers={**PRIVATE, "Location": PAGES[page]})
    _set_cookie(request, response, owner.make_session(token), owner.SESSION_SECONDS)
    return response


async def sign_out(request: Request) -> Response:
    """End the session in this browser."""
    check_same_origin(request)
    response = Response(status_code=303, headers={**PRIVATE, "Location": PAGES["studio"]})
    _set_cookie(request, response, "", 0)
    return response


def _fields(body: bytes) -> dict[str, str]:
    try:
        return {name: values[0] for name, values in parse_qs(body.decode(), max_num_fields=8).items()}
    except ValueError:
        raise errors.BadRequest("a malformed form") from None


def _set_cookie(request: Request, response: Response, value: str, seconds: int) -> None:
    response.set_cookie(
        cookie_name(request),
        value,
        max_age=seconds,
        path="/",
        secure=is_secure(request),
        httponly=True,
        samesite="strict",
    )


def _is_open(request: Request) -> bool:
    """Whether anyone may see the demonstration."""
    settings = service_of(request).settings
    return settings.demonstration and settings.studio_token is None


async def _page(request: Request, name: str, policy: str, *, owner_only: bool = False) -> Response:
    service = service_of(request)
    assert request.method in SAFE_METHODS
    check_navigation(request)
    is_theirs = is_owner(request)
    if not is_theirs and (owner_only or not _is_open(request)):
        if service.settings.studio_token is None:
            raise refusal(request)
        return _sign_in_page(request, request.url.path.strip("/"), errors.StudioTokenWrong("no session"))
    shown = await _demonstration(service)
    tokens = {
        "__A4_OWNER__": "yes" if is_theirs else "no",
        "__A4_SIGNED_IN__": "yes" if is_theirs and service.settings.studio_token else "no",
        "__A4_MODE__": "demonstration" if service.settings.demonstration else "provider",
    }
    page = embed(fill_in(service.assets[name], tokens), shown.home if name == "demo.html" else shown.studio)
    return asset_response(request, page, {**page_headers(policy), **PRIVATE, "X-Frame-Options": "DENY"})


def _sign_in_page(request: Request, page: str, error: errors.ServiceError, problem: str = "") -> Response:
    """The form, with the error of the last attempt."""
    check_not_framed(request)
    exchange_of(request).error = error
    tokens = {
        "__A4_ROOT__": "../" if "/" in request.url.path.strip("/") else "",
        "__A4_PAGE__": page if page in PAGES else "studio",
        "__A4_PROBLEM__": problem,
    }
    headers = {**page_headers(SIGN_IN_POLICY), **PRIVATE, "X-Frame-Options": "DENY"}
    if error.challenge:
        headers["WWW-Authenticate"] = error.challenge
    if error.retry_after:
        headers["Retry-After"] = str(error.retry_after)
    filled = fill_in(service_of(request).assets["sign-in.html"], tokens)
    return Response(filled.body, error.status_code, headers, filled.media_type)


async def _demonstration(service: Service) -> Demonstration:
    """The widgets that the pages show, whose keys another process may have replaced a day ago."""
    shown, store = service.demonstration, service.store
    if shown is None or None in [await store.find_access(each.api_key) for each in (shown.home, shown.studio)]:
        shown = service.demonstration = await demonstration.set_up(store, service.settings.owners_origins)
    return shown
