"""The files that browsers load, with the right headers for security, compression and caching."""

import gzip
import html
import json
import re
import time

import pytest

from client import Client
from conftest import ORIGIN, Serve
from preloaded import ROOT


@pytest.fixture
def one_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock stands still: the proof in a widget's page changes with the minute."""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now)


async def test_any_page_can_load_the_loader_and_it_is_compressed(client: Client) -> None:
    plain, body = await client.request("GET", "/widget.js", headers={"Accept-Encoding": "identity"})
    assert body == (ROOT / "static/widget.js").read_bytes()
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"
    assert plain.headers["access-control-allow-origin"] == "*"
    assert plain.headers["cross-origin-resource-policy"] == "cross-origin"
    packed, smaller = await client.request("GET", "/widget.js", headers={"Accept-Encoding": "gzip, br;q=0"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(smaller) == body
    smallest, _ = await client.request("GET", "/widget.js", headers={"Accept-Encoding": "gzip, deflate, br"})
    assert smallest.headers["content-encoding"] == "br"
    assert smallest.headers["vary"] == "Accept-Encoding"


@pytest.mark.parametrize("path", ["/widget.js", "/docs", "/api/v1/health", "/api/v1/conversations", "/nowhere"])
async def test_no_browser_guesses_a_responses_type(client: Client, path: str) -> None:
    response, _ = await client.request("GET", path)
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"]


@pytest.mark.usefixtures("one_minute")
async def test_the_widgets_page_is_compressed_too(client: Client) -> None:
    _, body = await client.request("GET", f"/widget.html?id={client.widget_id}")
    packed, smaller = await client.request(
        "GET", f"/widget.html?id={client.widget_id}", headers={"Accept-Encoding": "gzip, deflate, br"}
    )
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(smaller) == body


@pytest.mark.usefixtures("one_minute")
async def test_the_widgets_page_is_compressed_once_for_all_visitors_of_a_minute(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With images in the tenant's settings, that takes 10 ms, for which all answers would wait."""
    compressed: list[bytes] = []
    compress = gzip.compress

    def noting(body: bytes, **how: int) -> bytes:
        compressed.append(body)
        return compress(body, **how)

    monkeypatch.setattr(gzip, "compress", noting)
    for _ in range(3):
        _, body = await client.request("GET", f"/widget.html?id={client.widget_id}")
    assert compressed == [body]


@pytest.mark.usefixtures("one_minute")
async def test_a_page_in_the_browsers_cache_is_not_sent_again(client: Client) -> None:
    for path in ("/widget.js", f"/widget.html?id={client.widget_id}", "/docs"):
        first, _ = await client.request("GET", path)
        again, body = await client.request("GET", path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status, body) == (304, b"")


async def test_every_asset_that_the_pages_name_exists_and_is_immutable(client: Client) -> None:
    for page in ("/docs", f"/widget.html?id={client.widget_id}"):
        _, body = await client.request("GET", page)
        names = re.findall(r'(?:src|href)="?(?:\./)?(assets/[^">]+)', body.decode())
        assert names
        for name in names:
            response, _ = await client.request("GET", f"/{name}")
            assert response.status == 200
            assert "immutable" in response.headers["cache-control"]


async def test_only_the_tenants_pages_can_frame_the_widgets_page(client: Client) -> None:
    response, body = await client.request("GET", f"/widget.html?id={client.widget_id}")
    policy = response.headers["content-security-policy"]
    assert f"frame-ancestors {ORIGIN}" in policy
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    facts = re.search("meta content='([^']*)'", body.decode())
    assert facts
    written = json.loads(html.unescape(facts[1]))
    assert written.pop("proof") == response.headers["x-widget-proof"]
    assert written == {"id": client.widget_id, "origins": [ORIGIN], "settings": {}}


async def test_pages_with_an_embedder_policy_may_frame_the_widgets_page_and_load_what_it_needs(client: Client) -> None:
    page = f"/widget.html?id={client.widget_id}"
    first, body = await client.request("GET", page)
    again, _ = await client.request("GET", page, headers={"If-None-Match": first.headers["etag"]})
    for response in (first, again):
        assert response.headers["cross-origin-embedder-policy"] == "require-corp"
        assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    for file in ("widget.js", "widget.mjs", *re.findall(r'src="?(assets/[^">]+)', body.decode())):
        response, _ = await client.request("GET", f"/{file}")
        assert response.headers["cross-origin-resource-policy"] == "cross-origin"


async def test_the_widgets_page_contains_the_maximum_length_of_a_question(serve: Serve) -> None:
    async with serve(max_message_chars=500) as client:
        _, body = await client.request("GET", f"/widget.html?id={client.widget_id}")
    assert b'"maxMessageChars":500' in body


async def test_a_tenants_texts_cannot_break_out_of_the_page(client: Client) -> None:
    evil = "\"'><script>alert(1)</script>&quot;&#39;\u2028"
    await client.state["service"].store.set_widget("shop", {"title": evil})
    _, body = await client.request("GET", f"/widget.html?id={client.widget_id}")
    assert b"<script>alert" not in body
    facts = re.search("meta content='([^']*)'", body.decode())
    assert facts
    assert json.loads(html.unescape(facts[1]))["settings"] == {"title": evil}


@pytest.mark.parametrize("identifier", ["", "wgt_unknown", "wgt_AAAAAAAAAAAAAAAA", "<script>"])
async def test_an_unknown_widget_gets_a_plain_page_that_cannot_be_framed(client: Client, identifier: str) -> None:
    response, body = await client.request("GET", f"/widget.html?id={identifier}")
    assert (response.status, response.headers["content-type"]) == (404, "text/plain; charset=utf-8")
    assert response.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert b"no such widget" in body


async def test_the_demonstration_page_exists_only_without_a_provider(serve: Serve) -> None:
    async with serve(openai_api_key=None, openai_base_url=None) as client:
        response, body = await client.request("GET", "/")
        assert response.status == 200
        assert "unsafe" not in response.headers["content-security-policy"]
        key = re.search(rb"a4_pub_[\w-]{32}", body)
        assert key
        demonstration = {"X-API-Key": key[0].decode()}
        assert (await client.refused(headers={**demonstration, "Origin": "https://shop.test"}))[0] == 403
        local = {**demonstration, "Origin": "http://localhost:5500"}
        response, _ = await client.request("GET", "/api/v1/conversations/x", headers=local)
        assert response.status == 404


async def test_the_demonstrations_key_is_refused_once_a_provider_is_set(serve: Serve) -> None:
    async with serve(openai_api_key=None, openai_base_url=None) as client:
        key = client.state["service"].demonstration.home.api_key
    async with serve(name="later") as client:
        status, problem, _ = await client.refused(headers={"X-API-Key": key, "Origin": "http://localhost:5500"})
    assert (status, problem["code"]) == (401, "key_invalid")


@pytest.mark.parametrize("name", ["demonstration", "demonstration studio"])
async def test_an_operators_tenant_with_the_demonstrations_name_survives_a_restart(serve: Serve, name: str) -> None:
    """One that was made before `tenant add` refused the name."""
    async with serve(name=name) as client:
        key = client.headers["X-API-Key"]
    async with serve(name="later") as client:
        assert (await client.request("GET", "/api/v1/conversations/x", headers={"X-API-Key": key}))[0].status == 404


@pytest.mark.parametrize("path", ["/", "/studio", "/studio/preview"])
async def test_there_is_no_demonstration_with_a_provider(client: Client, path: str) -> None:
    response, _ = await client.request("GET", path)
    assert response.status == 404


async def test_the_studio_runs_only_its_own_scripts_and_alone_frames_its_preview(serve: Serve) -> None:
    async with serve(openai_api_key=None, openai_base_url=None) as client:
        for path, ancestors in (("/studio", "'none'"), ("/studio/preview", "'self'")):
            response, _ = await client.request("GET", path)
            policy = response.headers["content-security-policy"]
            assert "unsafe" not in policy
            assert "require-trusted-types-for 'script'" in policy
            assert policy.endswith(f"frame-ancestors {ancestors}")


async def test_the_studio_starts_without_settings_and_disappears_with_the_demonstration(serve: Serve) -> None:
    async with serve(openai_api_key=None, openai_base_url=None) as client:
        widget = client.state["service"].demonstration.studio.widget_id
        _, body = await client.request("GET", f"/widget.html?id={widget}")
        facts = re.search("meta content='([^']*)'", body.decode())
        assert facts
        assert json.loads(html.unescape(facts[1]))["settings"] == {}
    async with serve(name="later") as client:
        assert (await client.request("GET", f"/widget.html?id={widget}"))[0].status == 404


async def test_metrics_need_the_token(serve: Serve) -> None:
    async with serve() as client:
        assert (await client.request("GET", "/metrics", headers={"Authorization": "Bearer "}))[0].status == 401
    async with serve(name="later", metrics_token="m3trics") as guarded:
        assert (await guarded.request("GET", "/metrics"))[0].status == 401
        response, body = await guarded.request("GET", "/metrics", headers={"Authorization": "Bearer m3trics"})
    assert response.status == 200
    assert b"chatbot_open_answers 0.0" in body


@pytest.mark.parametrize(
    ("authorization", "status"),
    [
        ("Bearer m3trics", 200),
        ("bearer m3trics", 200),
        ("BEARER  m3trics", 200),
        ("m3trics", 401),
        ("Basic m3trics", 401),
        ("Bearerm3trics", 401),
        ("Bearer wrong", 401),
        ("Bearer", 401),
    ],
)
async def test_the_metrics_tokens_scheme_is_case_insensitive(serve: Serve, authorization: str, status: int) -> None:
    """RFC 9110, section 11.1: a scheme is needed, in any case, and one or more spaces follow it."""
    async with serve(metrics_token="m3trics") as client:
        response, _ = await client.request("GET", "/metrics", headers={"Authorization": authorization})
    assert response.status == status


@pytest.mark.each_database
async def test_health_depends_on_nothing_and_ready_checks_the_database(client: Client) -> None:
    assert await client.get_json("/api/v1/health") == {"status": "ok"}
    assert await client.get_json("/api/v1/ready") == {"status": "ready"}
