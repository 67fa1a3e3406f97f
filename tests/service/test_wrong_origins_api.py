"""Wrong origins, each at every path of the API: no CORS header, no upstream call, nothing spent."""

import json
from datetime import UTC, datetime, timedelta

import respx

from client import Client
from conftest import Serve
from wrong_origins import ALLOWED, WRONG_ORIGINS

PATHS = [
    ("POST", "chat"),
    ("GET", "conversations"),
    ("GET", "conversations/5f0c0a3e-8f0e-4c53-9a3b-2f1f6a0b7c11"),
    ("DELETE", "conversations/5f0c0a3e-8f0e-4c53-9a3b-2f1f6a0b7c11"),
    ("POST", "messages/5f0c0a3e-8f0e-4c53-9a3b-2f1f6a0b7c11/stop"),
    ("POST", "messages/5f0c0a3e-8f0e-4c53-9a3b-2f1f6a0b7c11/feedback"),
]


async def test_the_api_refuses_each_wrong_origin_at_every_path(serve: Serve, upstream: respx.Route) -> None:
    async with serve(tenant={"origins": [ALLOWED]}) as client:
        for origin in WRONG_ORIGINS:
            raw = [("Origin", origin.encode().decode("latin-1"))]
            for method, path in PATHS:
                await refuses(client, method, path, raw)
                await refuses(client, "OPTIONS", path, raw)
        for pair in ([ALLOWED, "https://evil.example"], ["https://evil.example", ALLOWED], [ALLOWED, ALLOWED]):
            await refuses(client, "POST", "chat", [("Origin", origin) for origin in pair])
        totals = await client.state["service"].store.usage("shop", datetime.now(UTC) - timedelta(days=1))
    assert not upstream.called
    assert sum(total.prompt_tokens + total.completion_tokens for total in totals) == 0


async def refuses(client: Client, method: str, path: str, raw: list[tuple[str, str]]) -> None:
    response, body = await client.request(
        method, f"/api/v1/{path}", json_body={"message": "Hi"}, headers={"Origin": None}, raw_headers=raw
    )
    assert (response.status, json.loads(body)["code"]) == (403, "origin_not_allowed"), (method, path, raw)
    assert not [name for name in response.headers if name.startswith("access-control-")], (method, path, raw)
