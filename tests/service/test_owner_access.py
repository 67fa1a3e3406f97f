"""The owner's pages require STUDIO_TOKEN or, if it is unset, local access. Other origins' pages and frames have no
access."""

import re
import time
from collections.abc import Mapping
from http.cookies import SimpleCookie
from urllib.parse import urlencode

import pytest
from pydantic import SecretStr

import chatbot
from client import Client
from conftest import Serve
from service.settings import Settings
from service.web.owner.routes import owner_routes

TOKEN = "a studio token of some length"
OWN = "https://chat.test"
STRANGER: dict[str, str | None] = {"X-API-Key": None, "Origin": None}
FORM = "application/x-www-form-urlencoded"
PAGES = ["/", "/studio", "/studio/conversations"]
UNKNOWN = "wgt_AAAAAAAAAAAAAAAA"


def of_the_api(widget_id: str) -> list[tuple[str, str]]:
    """Each route of the owner's API, by its method and a path that names a tenant."""
    conversation = "8f14e45f-ceea-4a6b-8d0f-3f6f0f5d9a27"
    return [
        (method, route.path.format(widget_id=widget_id, conversation_id=conversation))
        for route in owner_routes
        if route.path.startswith("/studio/api")
        for method in sorted((route.methods or set()) - {"HEAD"})
    ]


async def sign_in(client: Client, token: str = TOKEN, **options: object) -> tuple[int, Mapping[str, str], str]:
    headers = {**STRANGER, "Origin": OWN, "Content-Type": FORM}
    body = urlencode({"token": token, "page": options.pop("page", "studio")}).encode()
    response, shown = await client.request("POST", "/studio/sign-in", **{"headers": headers, "body": body, **options})
    return response.status, response.headers, shown.decode()


async def session(client: Client) -> str:
    """What the browser sends once the owner has signed in."""
    status, headers, _ = await sign_in(client)
    assert status == 303
    return headers["set-cookie"].partition(";")[0]


async def test_signing_in_starts_a_session_that_opens_every_page(serve: Serve) -> None:
    async with serve(studio_token=TOKEN) as client:
        for page in PAGES:
            response, body = await client.request("GET", page, headers=STRANGER)
            assert response.status == 401
            assert b'type="password"' in body
            assert b"a4_pub_" not in body
        status, headers, _ = await sign_in(client)
        assert (status, headers["location"]) == (303, "../studio")
        cookie = SimpleCookie(headers["set-cookie"])["__Host-a4_studio"]
        assert (cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["path"]) == (True, True, "strict", "/")
        assert 0 < int(cookie["max-age"]) <= 86_400
        assert TOKEN not in str(headers)
        owner = {**STRANGER, "Cookie": await session(client)}
        for page in PAGES:
            response, body = await client.request("GET", page, headers=owner)
            assert response.status == 200
            assert b'data-owner="yes"' in body
            assert response.headers["cache-control"] == "no-store"
            assert response.headers["x-frame-options"] == "DENY"
            assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
            assert "unsafe" not in response.headers["content-security-policy"]


async def test_the_api_accepts_a_session_or_the_token_as_a_bearer(serve: Serve) -> None:
    async with serve(studio_token=TOKEN) as client:
        for way in ({"Cookie": await session(client)}, {"Authorization": f"Bearer {TOKEN}"}):
            response, body = await client.request("GET", "/studio/api/tenants", headers={**STRANGER, **way})
            assert response.status == 200, body
            assert client.widget_id in body.decode()


async def test_without_the_token_everything_is_refused(serve: Serve) -> None:
    """The refusal is the same for a missing, foreign, expired or forged session."""
    async with serve(studio_token="another token") as client:
        _, headers, _ = await sign_in(client, "another token")
        others = headers["set-cookie"].partition(";")[0]
    name = "__Host-a4_studio"
    async with serve(name="later", studio_token=TOKEN) as client:
        good = await session(client)
        expires, mac = good.partition("=")[2].split(".")
        wrong = [
            {},
            *({"Cookie": cookie} for cookie in (others, good[:-1], f"{name}={int(expires) + 1}.{mac}", f"{name}=")),
            {"Cookie": good.replace("__Host-", "")},  # which a page of http, or of a name below, could set
            {"Cookie": f"{name}={'9' * 5000}.{mac}"},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {TOKEN}"},
            {"X-API-Key": client.headers["X-API-Key"]},
        ]
        for headers in wrong:
            for method, path in of_the_api(client.widget_id):
                if "Authorization" in headers and path != "/studio/api/tenants":
                    continue
                sent = {**STRANGER, "Origin": OWN, **headers}
                response, body = await client.request(method, path, headers=sent, json_body={})
                assert (response.status, b"studio_token_wrong" in body) == (401, True), (headers, method, path)
                assert b"later" not in body


async def test_a_session_expires(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serve(studio_token=TOKEN) as client:
        cookie = await session(client)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 86_400)
        response, _ = await client.request("GET", "/studio/api/tenants", headers={**STRANGER, "Cookie": cookie})
        assert response.status == 401


async def test_signing_out_removes_the_session_cookie(serve: Serve) -> None:
    async with serve(studio_token=TOKEN) as client:
        headers = {**STRANGER, "Origin": OWN, "Cookie": await session(client)}
        response, _ = await client.request("POST", "/studio/sign-out", headers=headers)
        assert (response.status, response.headers["location"]) == (303, "../studio")
        assert SimpleCookie(response.headers["set-cookie"])["__Host-a4_studio"]["max-age"] == "0"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://shop.test"},
        {"Origin": "null"},
        {"Origin": "http://chat.test"},
        {"Origin": f"{OWN}:8443"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": OWN, "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Dest": "iframe"},
    ],
)
async def test_other_origins_and_frames_get_nothing_even_with_the_owners_session(
    serve: Serve, headers: dict[str, str]
) -> None:
    async with serve(studio_token=TOKEN) as client:
        sent = {**STRANGER, "Cookie": await session(client), **headers}
        for method, path in of_the_api(client.widget_id):
            response, body = await client.request(method, path, headers=sent, json_body={})
            assert response.status == 403, (method, path)
            assert b"shop" not in body.replace(b"shop.test", b"")
            assert "access-control-allow-origin" not in response.headers
        status, _, _ = await sign_in(client, headers={**STRANGER, "Content-Type": FORM, **headers})
        assert status == 403


async def test_a_change_needs_an_origin_header(serve: Serve) -> None:
    """Browsers always send an Origin with changes, so a request without one isn't from our pages."""
    async with serve(studio_token=TOKEN) as client:
        cookie = {**STRANGER, "Cookie": await session(client)}
        for method, path in of_the_api(client.widget_id):
            if method != "GET":
                assert (await client.request(method, path, headers=cookie, json_body={}))[0].status == 403
        path = f"/studio/api/tenants/{client.widget_id}/look"
        look = {"settings": {"title": "By a program"}}
        by_program = {**STRANGER, "Authorization": f"Bearer {TOKEN}"}
        assert (await client.request("PUT", path, headers=by_program, json_body=look))[0].status == 200


@pytest.mark.parametrize("destination", ["iframe", "frame", "embed", "object"])
@pytest.mark.parametrize("path", PAGES)
async def test_no_page_can_be_framed(serve: Serve, path: str, destination: str) -> None:
    async with serve(studio_token=TOKEN) as client:
        headers = {**STRANGER, "Cookie": await session(client), "Sec-Fetch-Dest": destination}
        assert (await client.request("GET", path, headers=headers))[0].status == 403


async def test_only_the_studio_can_frame_its_preview(serve: Serve) -> None:
    async with serve(studio_token=TOKEN) as client:
        owner = {**STRANGER, "Cookie": await session(client), "Sec-Fetch-Dest": "iframe"}
        for site, status in (("same-origin", 200), ("cross-site", 403), ("same-site", 403)):
            response, _ = await client.request("GET", "/studio/preview", headers={**owner, "Sec-Fetch-Site": site})
            assert response.status == status
        assert (await client.request("GET", "/studio/preview", headers=STRANGER))[0].status == 401


async def test_an_unknown_tenant_is_not_found(serve: Serve) -> None:
    async with serve(studio_token=TOKEN) as client:
        owner = {**STRANGER, "Authorization": f"Bearer {TOKEN}"}
        bodies: dict[str, object] = {"PUT": {"settings": {}}}
        assert (await client.request("GET", f"/studio/api/tenants/{client.widget_id}", headers=owner))[0].status == 200
        for method, path in of_the_api(client.widget_id):  # of a conversation that is not there
            if "/conversations/" in path:
                response, _ = await client.request(method, path, headers=owner)
                assert response.status == 404, (method, path)
        for guessed in (UNKNOWN, "shop", "1", "%2e%2e"):
            for method, path in of_the_api(guessed):
                if guessed in path:
                    response, _ = await client.request(method, path, headers=owner, json_body=bodies.get(method, {}))
                    assert response.status == 404, (method, path)


async def test_after_too_many_wrong_tokens_even_the_right_one_has_to_wait(serve: Serve) -> None:
    async with serve(studio_token=TOKEN) as client:
        for attempt in range(10):
            status, _, shown = await sign_in(client, f"wrong {attempt}")
            assert (status, "That token isn’t right." in shown) == (401, True)
        status, headers, shown = await sign_in(client)
        assert (status, 0 < int(headers["retry-after"]) <= 60) == (429, True)
        assert "Please wait" in shown
        bearer = {**STRANGER, "Authorization": f"Bearer {TOKEN}"}
        assert (await client.request("GET", "/studio/api/tenants", headers=bearer))[0].status == 429
        assert (await sign_in(client, address="198.51.100.8"))[0] == 303


async def test_signing_in_redirects_only_to_the_services_own_pages(serve: Serve) -> None:
    async with serve(studio_token=TOKEN) as client:
        for page, place in (("", "../"), ("studio/conversations", "conversations"), ("//evil.test", "../studio")):
            assert (await sign_in(client, page=page))[1]["location"] == place


async def test_over_plain_http_browsers_accept_the_cookie(serve: Serve) -> None:
    async with serve(studio_token=TOKEN, public_url="http://chat.test") as client:
        client_headers = {**STRANGER, "Origin": "http://chat.test", "Content-Type": FORM}
        # The client's own scheme is https, as behind a proxy that says nothing else.
        status, headers, _ = await sign_in(client, headers=client_headers)
        assert status == 303
        assert "secure" in headers["set-cookie"].lower()


LOCAL = {**STRANGER, "Host": "localhost:8000"}


async def test_without_a_token_the_pages_are_for_this_machine_only(serve: Serve) -> None:
    async with serve(public_url="") as client:
        for path in [*PAGES, "/studio/preview", "/studio/api/tenants"]:
            response, _ = await client.request("GET", path, headers=LOCAL, address="127.0.0.1")
            assert response.status == 200, path
            for headers, address in (
                (LOCAL, "198.51.100.7"),
                ({**STRANGER, "Host": "chat.test"}, "127.0.0.1"),  # a stranger's name that points here
                ({**LOCAL, "X-Forwarded-For": "127.0.0.1"}, "127.0.0.1"),
                ({**LOCAL, "Via": "1.1 proxy"}, "127.0.0.1"),
                ({**LOCAL, "Authorization": "Bearer None"}, "198.51.100.7"),
            ):
                assert (await client.request("GET", path, headers=headers, address=address))[0].status == 404, path
        assert (await sign_in(client, "None", address="127.0.0.1", headers={**LOCAL, "Content-Type": FORM}))[0] == 403


async def test_a_service_with_a_public_url_is_not_local(serve: Serve) -> None:
    async with serve() as client:  # whose PUBLIC_URL is no loopback name
        for path in [*PAGES, "/studio/api/tenants"]:
            assert (await client.request("GET", path, headers=LOCAL, address="127.0.0.1"))[0].status == 404


async def test_another_page_on_this_machine_cannot_change_anything(serve: Serve) -> None:
    async with serve(public_url="") as client:
        path = f"/studio/api/tenants/{client.widget_id}/look"
        for headers in ({}, {"Origin": "http://localhost:3000"}, {"Sec-Fetch-Site": "same-site"}):
            response, _ = await client.request(
                "PUT", path, headers={**LOCAL, **headers}, address="127.0.0.1", json_body={"settings": {}}
            )
            assert response.status == 403


async def test_anyone_may_open_the_demonstration_but_not_tenants_data(serve: Serve) -> None:
    async with serve(openai_api_key=None, openai_base_url=None) as client:
        for path in ("/", "/studio", "/studio/preview"):
            response, body = await client.request("GET", path, headers=STRANGER)
            assert response.status == 200
            assert b'data-owner="yes"' not in body
        for path in ("/studio/conversations", "/studio/api/tenants"):
            assert (await client.request("GET", path, headers=STRANGER))[0].status == 404


async def test_with_a_token_only_the_owner_may_open_the_demonstration(serve: Serve) -> None:
    async with serve(studio_token=TOKEN, openai_api_key=None, openai_base_url=None) as client:
        for path in (*PAGES, "/studio/preview"):
            response, body = await client.request("GET", path, headers=STRANGER)
            assert response.status == 401
            assert b"a4_pub_" not in body


async def test_the_studios_widget_never_asks_the_provider(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.demonstration.WORD_SECONDS", 0)
    monkeypatch.setattr("service.demonstration.FIRST_WORD_SECONDS", 0)
    async with serve(studio_token=TOKEN) as client:
        owner = {**STRANGER, "Cookie": await session(client)}
        _, page = await client.request("GET", "/studio/preview", headers=owner)
        key, widget_id = re.findall(r'data-api-key="([\w-]+)" data-widget-id="([\w-]+)"', page.decode())[0]
        frame, _ = await client.request("GET", f"/widget.html?id={widget_id}", headers=STRANGER)
        assert frame.headers["content-security-policy"].endswith(f" {OWN}")
        headers = {"X-API-Key": key, "Origin": OWN, "X-Widget-Proof": frame.headers["x-widget-proof"]}
        assert "This is a demonstration" in (await client.ask("Hi", headers=headers)).text


def test_no_secret_setting_is_shown() -> None:
    assert TOKEN not in repr(Settings(studio_token=SecretStr(TOKEN)))
    assert {route.path for route in owner_routes} <= {route.path for route in chatbot.routes}
