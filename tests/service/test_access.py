"""Keys, origins and limits: every refusal is a problem with its own code, and costs no upstream call."""

import asyncio
import json
import logging
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import respx
from starlette.types import ASGIApp, Receive, Scope, Send

from client import Client
from conftest import ORIGIN, Serve
from databases import on_each_statement
from service.store.records import StoreUnavailable
from service.testing.chunks import answer, delta, streamed

OWN = "https://chat.test"


@pytest.mark.parametrize(
    ("key", "code"),
    [(None, "key_missing"), ("a4_pub_" + "x" * 32, "key_invalid"), ("", "key_invalid"), ("schlüssel", "key_invalid")],
)
async def test_a_request_without_a_valid_key_is_refused(
    client: Client, upstream: respx.Route, key: str | None, code: str
) -> None:
    status, problem, headers = await client.refused(headers={"X-API-Key": key})
    assert (status, problem["code"], headers["www-authenticate"]) == (401, code, "ApiKey")
    assert not upstream.called


async def test_two_keys_in_one_request_are_refused(client: Client) -> None:
    status, problem, _ = await client.refused(raw_headers=[("X-API-Key", client.headers["X-API-Key"])])
    assert (status, problem["code"]) == (400, "bad_request")


@pytest.mark.each_database
async def test_a_revoked_or_expired_key_is_refused_from_the_next_request_on(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    store = client.state["service"].store
    await client.ask("Hi")
    old, *_ = await store.list_keys("shop")
    await store.revoke_key("shop", old.id)
    assert (await client.refused())[1]["code"] == "key_invalid"
    _, expired = await store.add_key("shop", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    assert (await client.refused(headers={"X-API-Key": expired}))[1]["code"] == "key_invalid"


async def test_a_listed_origin_is_allowed(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    assert (await client.ask("Hi", headers={"Origin": ORIGIN})).text == "Hello"


@pytest.mark.parametrize(
    "origin",
    ["null", "", "*", "https://evil.test", "http://shop.test", "https://shop.test:8443", "https://shop.test.evil.test",
     "https://SHOP.test", "https://shop.test/", "https://sub.shop.test", f"{ORIGIN}, https://evil.test"],
)  # fmt: skip
async def test_another_origin_is_refused_without_cors_headers(
    client: Client, upstream: respx.Route, origin: str
) -> None:
    status, problem, headers = await client.refused(headers={"Origin": origin})
    assert (status, problem["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in headers
    preflight, _ = await client.request(
        "OPTIONS", "/api/v1/chat", headers={"Origin": origin, "Access-Control-Request-Method": "POST"}
    )
    assert preflight.status == 403
    assert "access-control-allow-origin" not in preflight.headers
    assert not upstream.called


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "same-origin", ""])
async def test_a_browser_request_without_an_origin_is_refused(client: Client, upstream: respx.Route, site: str) -> None:
    status, problem, headers = await client.refused(headers={"Origin": None, "Sec-Fetch-Site": site})
    assert (status, problem["code"]) == (403, "origin_not_allowed")
    assert "access-control-allow-origin" not in headers
    assert not upstream.called


async def test_a_public_key_without_an_origin_is_refused_and_points_to_secret_keys(
    client: Client, upstream: respx.Route
) -> None:
    status, problem, headers = await client.refused(headers={"Origin": None})
    assert (status, problem["code"]) == (403, "secret_key_required")
    assert "a4_sec_" in problem["detail"]
    assert "access-control-allow-origin" not in headers
    response, _ = await client.request("GET", f"/api/v1/conversations/{uuid.uuid4()}", headers={"Origin": None})
    assert response.status == 403
    assert not upstream.called


async def test_a_wildcard_origin_allows_one_level_of_subdomains(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with serve(tenant={"origins": ["https://*.shop.test"]}) as client:
        async with client.stream(
            "POST", "/api/v1/chat", json_body={"message": "Hi"}, headers={"Origin": "https://www.shop.test"}
        ) as response:
            assert response.headers["access-control-allow-origin"] == "https://www.shop.test"
        for wrong in (
            "https://shop.test",
            "https://a.www.shop.test",
            "http://www.shop.test",
            "https://www.shop.test:1",
        ):
            assert (await client.refused(headers={"Origin": wrong}))[0] == 403


async def test_any_origin_allows_every_web_page_and_nothing_else(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with serve(tenant={"origins": ["*"]}) as client:
        async with client.stream(
            "POST", "/api/v1/chat", json_body={"message": "Hi"}, headers={"Origin": "https://anywhere.example"}
        ) as response:
            assert response.headers["access-control-allow-origin"] == "https://anywhere.example"
        for wrong in ("null", "", "*", "file://", "chrome-extension://abc", "https://a.example/", None):
            assert (await client.refused(headers={"Origin": wrong}))[0] == 403


async def test_a_listed_origin_can_read_answers_and_errors(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
        assert response.headers["access-control-allow-origin"] == ORIGIN
        assert response.headers["vary"] == "Origin"
        await response.answer()
    _, _, headers = await client.refused(body=b"{")
    assert headers["access-control-allow-origin"] == ORIGIN
    preflight, _ = await client.request("OPTIONS", "/api/v1/chat")
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == ORIGIN
    assert "X-API-Key" in preflight.headers["access-control-allow-headers"]


BEFORE_THE_TENANT_IS_KNOWN: list[tuple[str, str, dict[str, Any], int]] = [
    ("POST", "chat", {"headers": {"X-API-Key": None}}, 401),
    ("POST", "chat", {"headers": {"X-API-Key": "a4_pub_" + "x" * 32}}, 401),
    ("POST", "chat", {"raw_headers": [("X-API-Key", "a4_pub_" + "x" * 32)]}, 400),
    ("POST", "chat", {"headers": {"Content-Length": "70000"}}, 413),
    ("GET", "nothing", {}, 404),
    ("PUT", "chat", {}, 405),
]


@pytest.mark.parametrize(("method", "path", "options", "status"), BEFORE_THE_TENANT_IS_KNOWN)
async def test_a_page_can_read_a_refusal_even_if_its_tenant_is_unknown(
    client: Client, method: str, path: str, options: dict[str, Any], status: int
) -> None:
    """Without CORS headers, the browser would only tell the page that the request failed."""
    response, _ = await client.request(method, f"/api/v1/{path}", **options)
    assert (response.status, response.headers.get("access-control-allow-origin")) == (status, ORIGIN)
    assert "Retry-After" in response.headers["access-control-expose-headers"]
    for other in ("https://evil.test", "null", OWN):
        headers = options.get("headers", {}) | {"Origin": other}
        response, _ = await client.request(method, f"/api/v1/{path}", **(options | {"headers": headers}))
        assert (response.status, "access-control-allow-origin" in response.headers) == (status, False)


async def test_unauthenticated_requests_never_scan_all_tenants(client: Client) -> None:
    """Each statement looks rows up by key, so its cost doesn't grow with the number of tenants."""
    statements: list[str] = []
    await on_each_statement(client.state["service"].store, statements.append)
    for origin in (ORIGIN, "https://evil.test", "https://evil.shop.test"):
        for method, path, options, _ in [*BEFORE_THE_TENANT_IS_KNOWN, ("OPTIONS", "chat", {}, 204)]:
            headers = options.get("headers", {}) | {"Origin": origin}
            await client.request(method, f"/api/v1/{path}", **(options | {"headers": headers}))
    about_origins = [statement for statement in statements if "origin" in statement]
    assert about_origins
    assert [statement for statement in about_origins if "WHERE" not in statement] == []


async def test_origins_are_looked_up_only_for_refusals_without_a_known_tenant(
    client: Client, upstream: respx.Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    service = client.state["service"]

    async def unavailable(*arguments: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(service.store, "lists_any", lambda _: pytest.fail("the origins were looked at"))
    await client.ask("Hi")
    assert (await client.refused(body=b"{"))[0] == 400
    assert (await client.refused(headers={"Origin": "https://evil.test"}))[0] == 403
    assert (await client.request("GET", "/nothing"))[0].status == 404
    monkeypatch.setattr(service.store, "find_access", unavailable)
    status, _, headers = await client.refused()
    assert (status, "access-control-allow-origin" in headers) == (503, False)
    monkeypatch.setattr(service.store, "lists_any", unavailable)
    status, _, headers = await client.refused(headers={"X-API-Key": None})
    assert (status, "access-control-allow-origin" in headers) == (401, False)


async def test_a_logged_reason_fits_on_one_line(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="chatbot")
    headers = {"Host": "h" * 60_000, "Origin": "https://" + "h" * 60_000}
    assert (await client.refused(headers=headers))[1]["code"] == "origin_not_allowed"
    [reason] = [str(vars(record)["reason"]) for record in caplog.records if record.getMessage() == "request"]
    assert reason.startswith("the origin is not listed")
    assert len(reason) == 255


async def test_a_node_server_that_sends_a_fetch_mode_is_not_taken_for_a_browser(
    client: Client, upstream: respx.Route
) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    _, secret = await client.state["service"].store.add_key("shop", secret=True)
    headers = {"X-API-Key": secret, "Origin": None, "Sec-Fetch-Mode": "cors"}
    assert (await client.ask("Hi", headers=headers)).text == "Hello"


async def test_a_secret_key_is_for_servers_only(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    _, secret = await client.state["service"].store.add_key("shop", secret=True)
    assert (await client.ask("Hi", headers={"X-API-Key": secret, "Origin": None})).text == "Hello"
    for shown in ({"Origin": ORIGIN}, {"Origin": "null"}, {"Origin": None, "Sec-Fetch-Site": "same-origin"}):
        status, problem, _ = await client.refused(headers={"X-API-Key": secret, **shown})
        assert (status, problem["code"]) == (403, "secret_key_in_browser")


@pytest.mark.parametrize(
    ("body", "status", "code", "field"),
    [
        (b"", 400, "malformed_json", None),
        (b"{", 400, "malformed_json", None),
        (b'{"message":"\xff"}', 400, "malformed_json", None),
        (b"[" * 20_000, 400, "malformed_json", None),
        (b"[]", 422, "validation_failed", ""),
        (b"{}", 422, "validation_failed", "message"),
        (b'{"message":5}', 422, "validation_failed", "message"),
        (b'{"message":" \\n\\u200b"}', 422, "validation_failed", "message"),
        (b'{"message":"a\\u0000b"}', 422, "validation_failed", "message"),
        (b'{"message":"Hi","massage":"Hi"}', 422, "validation_failed", "massage"),
        (b'{"message":"Hi","conversation_id":"7"}', 422, "validation_failed", "conversation_id"),
        (b'{"message":"' + b"x" * 4001 + b'"}', 422, "validation_failed", "message"),
    ],
)
async def test_an_invalid_body_gets_errors_that_name_its_fields(
    client: Client, upstream: respx.Route, body: bytes, status: int, code: str, field: str | None
) -> None:
    got, problem, _ = await client.refused(body=body)
    assert (got, problem["code"]) == (status, code)
    assert [error["field"] for error in problem.get("errors", [])] == ([] if field is None else [field])
    assert not upstream.called


@pytest.mark.each_database
async def test_the_longest_allowed_message_is_accepted(client: Client, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(*answer("Hello")))
    assert (await client.ask("\U0001f30d" * 4000)).text == "Hello"


@pytest.mark.parametrize("headers", [{"Content-Type": "text/plain"}, {"Content-Encoding": "gzip"}])
async def test_only_plain_json_is_accepted(client: Client, headers: dict[str, str]) -> None:
    assert (await client.refused(headers=headers))[0] == 415


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused_with_or_without_a_content_length(
    client: Client, declared: bool
) -> None:
    length = {"Content-Length": "70000"} if declared else {}
    status, problem, _ = await client.refused(body=b"x" * 70_000, headers=length)
    assert (status, problem["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(("method", "path"), [("POST", "chat"), ("GET", "health"), ("POST", "nothing")])
@pytest.mark.parametrize("key", [{}, {"X-API-Key": None}])
async def test_a_too_large_content_length_is_refused_without_reading_the_body(
    client: Client, method: str, path: str, key: dict[str, None]
) -> None:
    """As a problem, on every route, before the key is checked, and even if the body never arrives."""

    def without_body(app: ASGIApp) -> ASGIApp:
        async def run(scope: Scope, _: Receive, send: Send) -> None:
            await app(scope, lambda: pytest.fail("the body was waited for"), send)

        return run

    headers = {"Content-Length": "70000"} | key
    response, body = await client.through(without_body).request(method, f"/api/v1/{path}", headers=headers)
    assert (response.status, json.loads(body)["code"]) == (413, "body_too_large")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "chat", "OPTIONS, POST"),
        ("PUT", "conversations/1", "DELETE, GET, HEAD, OPTIONS"),
        ("OPTIONS", "health", "GET, HEAD"),
    ],
)
async def test_a_405_lists_all_allowed_methods(client: Client, method: str, path: str, allow: str) -> None:
    response, _ = await client.request(method, f"/api/v1/{path}")
    assert response.status == 405
    assert response.headers["allow"] == allow


@pytest.mark.parametrize("path", ["/nothing", "/api/v1/chat/", "/static/widget.js", "/assets/../chatbot.py"])
async def test_an_unknown_path_is_not_found(client: Client, path: str) -> None:
    response, _ = await client.request("GET", path)
    assert (response.status, response.headers["content-type"]) == (404, "application/problem+json")


@pytest.mark.parametrize("hosts", [[], ["chat.test", "evil.test"], ["evil.test/<script>"]])
async def test_a_missing_repeated_or_malformed_host_is_refused(client: Client, hosts: list[str]) -> None:
    response, _ = await client.request(
        "GET", "/api/v1/health", headers={"Host": None}, raw_headers=[("Host", host) for host in hosts]
    )
    assert response.status == 400


async def test_a_rate_limited_visitor_gets_a_retry_after(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    async with serve(tenant={"visitor_rate_per_minute": 2}) as client:
        await client.ask("One")
        await client.ask("Two")
        status, problem, headers = await client.refused()
    assert (status, problem["code"]) == (429, "visitor_rate_limited")
    assert 0 < int(headers["retry-after"]) <= 60
    assert upstream.call_count == 2


async def test_resuming_does_not_count_against_the_rate_limit(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))
    message_id = "5e1b2c5e-4a1c-4f0e-9f8e-0f3f6f7b8a9c"
    async with serve(tenant={"visitor_rate_per_minute": 1}) as client:
        assert [(await client.ask("One", message_id=message_id)).text for _ in range(3)] == ["Hello"] * 3


async def test_each_tenant_has_its_own_rate_limit_and_budget(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello", tokens=(60, 40))))
    async with serve(tenant={"rate_per_minute": 1}) as client:
        await client.ask("One")
        assert (await client.refused())[1]["code"] == "rate_limited"
        await client.state["service"].store.set_tenant("shop", rate_per_minute=0, tokens_per_day=100)
        status, problem, headers = await client.refused()
    assert (status, problem["code"]) == (429, "budget_exhausted")
    assert 0 < int(headers["retry-after"]) <= 86_400


async def test_a_process_refuses_answers_beyond_max_streams(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(return_value=streamed(delta("Half"), asyncio.Event()))
    async with (
        serve(max_streams=1) as client,
        client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as one,
    ):
        assert (await anext(one.events())).name == "start"
        status, problem, headers = await client.refused()
        assert (status, problem["code"], headers["retry-after"]) == (503, "overloaded", "2")


async def test_a_burst_of_questions_does_not_exceed_max_streams(serve: Serve, upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(delta("Half"), asyncio.Event()))

    async def ask(client: Client) -> int:
        async with client.stream("POST", "/api/v1/chat", json_body={"message": "Hi"}) as response:
            return response.status

    async with serve(max_streams=3) as client:
        statuses = await asyncio.gather(*(ask(client) for _ in range(20)))
    assert sorted(statuses) == [200] * 3 + [503] * 17


async def test_a_tenant_whose_key_variable_is_unset_gets_a_clear_error_and_no_turn(
    serve: Serve, upstream: respx.Route, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(tenant={"openai_key_env": "NOT_SET"}) as client:
        status, problem, _ = await client.refused()
        assert await client.state["service"].store.heartbeats() == {}
    assert (status, problem["code"]) == (502, "upstream_failed")
    assert any("NOT_SET" in str(vars(record).get("reason")) for record in caplog.records)
