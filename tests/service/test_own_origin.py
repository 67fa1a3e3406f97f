"""The service's own origin is that of every tenant's widget: it counts only with a proof that the service wrote into
the page of a widget of the key's tenant, and only under the names that are the service's own."""

import base64
import hmac
import logging
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
import respx

from client import Client
from conftest import ORIGIN, Serve
from service.access import proofs
from service.testing.chunks import answer, streamed

OWN = "https://chat.test"
CONVERSATION = f"/api/v1/conversations/{uuid.uuid4()}"


async def proof_of(client: Client, widget_id: str = "", host: str = "chat.test") -> str:
    """The proof in the page of a widget."""
    path = f"/widget.html?id={widget_id or client.widget_id}"
    response, _ = await client.request("GET", path, headers={"Host": host})
    assert response.status == 200
    return response.headers["x-widget-proof"]


async def other_tenant(client: Client) -> tuple[str, str]:
    """The widget and the key of one more tenant of the same service."""
    _, widget, api_key = await client.state["service"].store.add_tenant("other", origins=["https://other.test"])
    return widget.id, api_key


async def refused_read(client: Client, headers: Mapping[str, str | None]) -> int:
    """The status of a GET for a conversation: 404, or 403 if the caller has no access at all."""
    return (await client.request("GET", CONVERSATION, headers=headers))[0].status


async def test_a_widgets_page_may_ask_with_its_proof(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    proof = await proof_of(client)
    assert (await client.ask("Hi", headers={"Origin": OWN, "X-Widget-Proof": proof})).text == "Hello"


async def test_the_services_own_origin_is_refused_without_a_proof(client: Client, upstream: respx.Route) -> None:
    status, problem, _ = await client.refused(headers={"Origin": OWN})
    assert (status, problem["code"]) == (403, "origin_not_allowed")
    assert await refused_read(client, {"Origin": None, "Sec-Fetch-Site": "same-origin"}) == 403
    assert not upstream.called


async def test_a_tenant_may_list_the_services_own_origin(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    async with serve(tenant={"origins": [OWN]}) as client:
        assert (await client.ask("Hi", headers={"Origin": OWN})).text == "Hello"
        assert await refused_read(client, {"Origin": None, "Sec-Fetch-Site": "same-origin"}) == 404


@pytest.mark.parametrize("origins", [["https://shop.test"], [OWN], ["*"]])
@pytest.mark.parametrize("origin", [OWN, "https://shop.test"])
async def test_another_tenants_proof_is_refused_from_any_origin(
    serve: Serve, upstream: respx.Route, origins: list[str], origin: str
) -> None:
    async with serve(tenant={"origins": origins}) as client:
        widget_id, api_key = await other_tenant(client)
        theirs, ours = await proof_of(client, widget_id), await proof_of(client)
        for headers in ({"X-Widget-Proof": theirs}, {"X-Widget-Proof": ours, "X-API-Key": api_key}):
            status, problem, _ = await client.refused(headers={"Origin": origin, **headers})
            assert (status, problem["code"]) == (403, "proof_invalid")
            read = {"Origin": None, "Sec-Fetch-Site": "same-origin", **headers}
            assert await refused_read(client, read) == 403
    assert not upstream.called


async def test_a_proof_does_not_admit_another_origin(client: Client, upstream: respx.Route) -> None:
    proof = await proof_of(client)
    for origin in (
        "https://evil.test",
        "null",
        "http://chat.test",
        "https://chat.test:8443",
        "https://chat.test.evil.test",
    ):
        status, problem, _ = await client.refused(headers={"Origin": origin, "X-Widget-Proof": proof})
        assert (status, problem["code"]) == (403, "origin_not_allowed")
    for site in ("cross-site", "same-site", "none", "", "same-origin, none"):
        assert await refused_read(client, {"Origin": None, "Sec-Fetch-Site": site, "X-Widget-Proof": proof}) == 403
    assert not upstream.called


async def test_a_truncated_or_altered_proof_is_refused(client: Client, upstream: respx.Route) -> None:
    proof = await proof_of(client)
    widget_id, expires, mac = proof.split(".")
    other = mac[:-2] + ("AA" if mac[-2:] != "AA" else "BB")
    wrong = [
        "", ".", "..", proof[:-1], f"{proof}A", f" {proof}x", f"{proof}=", proof.upper(), proof + "." + proof,
        f"{widget_id}.{expires}.{other}", f"{widget_id}.{int(expires) + 1}.{mac}", f"{widget_id}.0{expires}.{mac}",
        f"wgt_x.{expires}.{mac}", f".{expires}.{mac}", f"{widget_id}.{expires}.", f"{widget_id}.-1.{mac}",
        f"{widget_id}.{'9' * 50_000}.{mac}", "x" * 60_000, f"{widget_id}.{expires}.{'é' * 43}",
    ]  # fmt: skip
    for value in wrong:
        status, problem, _ = await client.refused(headers={"Origin": OWN, "X-Widget-Proof": value})
        assert (status, problem["code"]) == (403, "proof_invalid"), value[:200]
    twice = [("X-Widget-Proof", proof), ("X-Widget-Proof", proof)]
    status, problem, _ = await client.refused(headers={"Origin": OWN}, raw_headers=twice)
    assert (status, problem["code"]) == (403, "proof_invalid")
    assert not upstream.called


async def test_a_proof_expires_after_minutes_and_is_renewed_in_time(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)
    proof = await proof_of(client)
    headers = {"Origin": OWN, "X-Widget-Proof": proof}

    async def renewed() -> str | None:
        response, _ = await client.request("GET", CONVERSATION, headers=headers)
        assert response.status == 404
        return response.headers.get("x-widget-proof")

    assert await renewed() is None
    now += proofs.LIFETIME_SECONDS - 1
    fresh = await renewed()
    assert fresh is not None and fresh != proof
    now += proofs.STEP_SECONDS + proofs.LEEWAY_SECONDS + 2
    status, problem, refused = await client.refused(headers=headers)
    assert (status, problem["code"], refused.get("x-widget-proof")) == (403, "proof_invalid", None)
    assert (await client.ask("Hi", headers={"Origin": OWN, "X-Widget-Proof": fresh})).text == "Hello"


async def test_replicas_tolerate_a_small_clock_difference_in_proofs(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    proof = await proof_of(client)
    expires = int(proof.split(".")[1])
    for now in (time.time() - 60, expires + proofs.LEEWAY_SECONDS - 1):
        monkeypatch.setattr(time, "time", lambda now=now: now)
        assert await refused_read(client, {"Origin": OWN, "X-Widget-Proof": proof}) == 404


async def test_the_proof_of_a_removed_widget_is_refused(client: Client, upstream: respx.Route) -> None:
    """It isn't valid for a later tenant of the same name either, which has another key."""
    store = client.state["service"].store
    proof = await proof_of(client)
    await store.remove_tenant("shop")
    assert (await client.refused(headers={"Origin": OWN, "X-Widget-Proof": proof}))[0] == 401
    _, _, api_key = await store.add_tenant("shop", origins=[ORIGIN])
    headers = {"Origin": OWN, "X-Widget-Proof": proof, "X-API-Key": api_key}
    assert (await client.refused(headers=headers))[1]["code"] == "proof_invalid"
    assert not upstream.called


async def test_a_proof_shows_that_a_secret_key_came_from_a_browser(client: Client) -> None:
    _, secret = await client.state["service"].store.add_key("shop", secret=True)
    headers = {"X-API-Key": secret, "Origin": None, "X-Widget-Proof": await proof_of(client)}
    status, problem, _ = await client.refused(headers=headers)
    assert (status, problem["code"]) == (403, "secret_key_in_browser")


async def test_proofs_are_compared_in_constant_time(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    proof = await proof_of(client)
    compared: list[tuple[str, str]] = []

    def compare(one: str, other: str) -> bool:
        compared.append((one, other))
        return one == other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert await refused_read(client, {"Origin": OWN, "X-Widget-Proof": proof}) == 404
    assert compared == [(proof.split(".")[2],) * 2]


async def test_proofs_and_visitor_hashes_use_different_keys(client: Client) -> None:
    tenant = await client.state["service"].store.get_tenant("shop")
    widget_id, expires, _ = (await proof_of(client)).split(".")
    mac = hmac.digest(tenant.visitor_salt, f"{widget_id}.{expires}".encode(), "sha256")
    forged = f"{widget_id}.{expires}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert await refused_read(client, {"Origin": OWN, "X-Widget-Proof": forged}) == 403


# GET requests, which have no Origin


@pytest.mark.parametrize("site", ["same-origin", None])
async def test_a_get_request_from_a_widgets_page_needs_no_origin(client: Client, site: str | None) -> None:
    """Over plain http, as on an intranet, browsers send no Sec-Fetch-Site either."""
    headers = {"Origin": None, "Sec-Fetch-Site": site, "X-Widget-Proof": await proof_of(client)}
    assert await refused_read(client, headers) == 404
    assert (await client.request("HEAD", CONVERSATION, headers=headers))[0].status == 404
    assert (await client.request("DELETE", CONVERSATION, headers=headers))[0].status == 403
    assert (await client.refused(headers=headers))[0] == 403


async def test_a_get_request_without_browser_headers_needs_a_secret_key(client: Client) -> None:
    response, body = await client.request("GET", CONVERSATION, headers={"Origin": None})
    assert (response.status, b"secret_key_required" in body) == (403, True)


# Names


async def test_a_foreign_name_that_points_here_is_not_an_own_origin(
    serve: Serve, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    """DNS rebinding: the page at that name can read the widget's page, and with it the proof."""
    caplog.set_level(logging.INFO, logger="chatbot")
    for public in ("", "http://chat.intranet"):
        async with serve(f"shop {public}", public_url=public) as client:
            proof = await proof_of(client, host="evil.example")
            for scheme in ("http", "https"):
                headers = {"Host": "evil.example", "Origin": f"{scheme}://evil.example"}
                for more in ({}, {"X-Widget-Proof": proof}):
                    status, problem, _ = await client.refused(headers=headers | more)
                    assert (status, problem["code"]) == (403, "origin_not_allowed")
                    assert "PUBLIC_URL" in problem["detail"]
            read = {"Host": "evil.example", "Origin": None, "X-Widget-Proof": proof}
            assert await refused_read(client, read) == 403
    reasons = {str(vars(record).get("reason")) for record in caplog.records}
    assert any("reached as https://evil.example, but PUBLIC_URL is not set" in reason for reason in reasons)
    assert any("but PUBLIC_URL is http://chat.intranet" in reason for reason in reasons)
    assert not upstream.called


@pytest.mark.parametrize("host", ["localhost", "localhost:8443", "LOCALHOST:8443", "127.0.0.1:9000", "[::1]:9000",
                                  "shop.localhost:3000", "a.b.localhost", "chat.intranet:8000", "a.b.internal",
                                  "chat.corp", "chat.home", "Chat.LAN", "chat.private"])  # fmt: skip
async def test_without_a_public_url_loopback_and_private_names_are_own_origins(serve: Serve, host: str) -> None:
    async with serve(public_url="") as client:
        proof = await proof_of(client, host=host)
        own = {"Host": host, "Origin": f"https://{host.lower()}", "X-Widget-Proof": proof}
        assert await refused_read(client, own) == 404
        assert await refused_read(client, own | {"Origin": None, "Sec-Fetch-Site": "same-origin"}) == 404
        assert await refused_read(client, own | {"Origin": None}) == 404
        for other in (f"http://{host.lower()}", "https://localhost:1", "https://127.0.0.1:1", OWN):
            assert await refused_read(client, own | {"Origin": other}) == 403
        assert await refused_read(client, own | {"X-Widget-Proof": ""}) == 403


@pytest.mark.parametrize("host", ["127.0.0.2", "localhost.evil.example", "evil-localhost", "127.0.0.1.nip.io",
                                  "10.0.0.7:8000", "chat.test", "chat.intranet.evil.example", "evil-intranet",
                                  "intranet", "chat.local"])  # fmt: skip
async def test_without_a_public_url_no_other_name_is_an_own_origin(serve: Serve, host: str) -> None:
    async with serve(public_url="") as client:
        headers = {"Host": host, "X-Widget-Proof": await proof_of(client, host=host)}
        assert await refused_read(client, headers | {"Origin": f"https://{host}"}) == 403
        assert await refused_read(client, headers | {"Origin": None, "Sec-Fetch-Site": "same-origin"}) == 403


@pytest.mark.parametrize("host", ["chat.test", "CHAT.test:443", "app:8000", "127.0.0.1:8000"])
async def test_with_a_public_url_forwarded_scheme_and_host_do_not_matter(serve: Serve, host: str) -> None:
    async with serve(public_url="https://chat.test, http://chat.intranet:8000") as client:
        headers = {"Host": host, "X-Widget-Proof": await proof_of(client, host=host)}
        assert await refused_read(client, headers | {"Origin": "https://chat.test"}) == 404
        assert await refused_read(client, headers | {"Origin": "http://chat.intranet:8000"}) == 404
        assert await refused_read(client, headers | {"Origin": None, "Sec-Fetch-Site": "same-origin"}) == 404
        for wrong in ("http://chat.test", "https://chat.intranet:8000", "http://localhost", "https://127.0.0.1:8000"):
            assert await refused_read(client, headers | {"Origin": wrong}) == 403


async def test_startup_warns_that_public_url_is_missing(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="chatbot")
    async with serve(public_url=""):
        pass
    [line] = [record for record in caplog.records if "PUBLIC_URL" in record.getMessage()]
    assert line.levelname == "WARNING"
    assert "is not set" in line.getMessage() and "https://chat.example.com" in line.getMessage()


# Usage


async def test_usage_names_the_page_around_a_widget_only_if_it_is_listed(client: Client, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    widget = {"Origin": OWN, "X-Widget-Proof": await proof_of(client)}
    await client.ask("One", headers=widget | {"X-Page-Origin": ORIGIN})
    for unlisted in ("https://evil.test", "null", "*", "x" * 5000, ""):
        await client.ask("Two", headers=widget | {"X-Page-Origin": unlisted})
    await client.ask("Three", headers={"Origin": ORIGIN, "X-Page-Origin": "https://evil.test"})
    await client.until_idle()
    totals = await client.state["service"].store.usage("shop", datetime.min.replace(tzinfo=UTC), ["origin"])
    assert {total.group[0]: total.requests for total in totals} == {ORIGIN: 2, OWN: 5}


async def test_a_refused_question_names_the_page_too(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with serve(tenant={"visitor_rate_per_minute": 1}) as client:
        widget = {"Origin": OWN, "X-Widget-Proof": await proof_of(client), "X-Page-Origin": ORIGIN}
        await client.ask("One", headers=widget)
        assert (await client.refused(headers=widget))[0] == 429
        await client.until_idle()
        await client.state["service"].ledger.flush()
        [total] = await client.state["service"].store.usage("shop", datetime.min.replace(tzinfo=UTC), ["origin"])
    assert (total.group, total.requests, total.refused) == ((ORIGIN,), 2, 1)
