"""The ledger's rows for refused questions."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
import respx

from client import Client
from conftest import Serve
from service.access import refusals
from service.store.records import StoreUnavailable, UsageRow
from service.store.store import Store
from service.testing.chunks import answer, streamed


@pytest.fixture(autouse=True)
def _writes_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger does not write once a second, too, which could be at any moment of a test."""
    monkeypatch.setattr(refusals, "FLUSH_SECONDS", 3600)


@pytest.fixture(autouse=True)
def _every_question_is_answered(upstream: respx.Route) -> None:
    upstream.mock(side_effect=lambda request: streamed(*answer("Hello")))


@pytest.mark.each_database
async def test_every_refused_question_is_in_the_ledger(serve: Serve) -> None:
    """With key, visitor, origin and reason; those from unknown callers are only counted."""
    async with serve(tenant={"visitor_rate_per_minute": 1, "model": "small"}) as client:
        await client.ask("One")
        await client.refused()
        await client.refused(body=b"{")
        await client.refused(json_body={"message": " "})
        await client.refused(json_body={"message": "Hi", "model": "large"})
        await client.refused(headers={"Origin": "https://evil.test"})
        await client.refused(headers={"X-API-Key": "a4_pub_unknown"})
        await client.refused(headers={"X-API-Key": None})
        await client.refused(body=b"{}", headers={"Content-Length": "99999999"})
        assert await client.usage("outcome", "model") == {
            ("complete", "small"): 1,
            ("visitor_rate_limited", "small"): 1,
            ("malformed_json", "small"): 1,
            ("validation_failed", "small"): 2,
            ("origin_not_allowed", "small"): 1,
        }
        assert await client.usage("origin") == {"https://shop.test": 5, "https://evil.test": 1}
        assert len(await client.usage("visitor", "key")) == 1
        (total,) = await client.state["service"].store.usage("shop", datetime.now(UTC) - timedelta(days=1))
        assert (total.requests, total.refused) == (6, 5)


@pytest.mark.each_database
async def test_a_flood_of_refusals_is_stored_in_few_rows(serve: Serve) -> None:
    """Three hundred refusals in a second: fifty rows, and one with the count of the others."""
    async with serve() as client:
        books, tenant = client.state["service"].ledger, await client.state["service"].store.get_tenant("shop")
        row = UsageRow(datetime.now(UTC), tenant.id, "rate_limited", visitor="f" * 32, refused=True)
        for _ in range(300):
            books.note(row)
        assert len(books._rows) == refusals.ROWS_PER_FLUSH
        assert await client.usage("outcome") == {"rate_limited": 300}
        assert await client.usage("visitor") == {None: 250, "f" * 32: 50}


@pytest.mark.each_database
async def test_a_long_flood_of_refusals_is_stored_in_few_rows_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten in rows of their own in an hour; the next hour has ten more."""
    monkeypatch.setattr("service.access.refusals.ROWS_PER_HOUR", 10)
    async with serve() as client:
        books, tenant = client.state["service"].ledger, await client.state["service"].store.get_tenant("shop")
        hour = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
        for at in (hour - timedelta(hours=1), hour):
            for _ in range(12):
                books.note(UsageRow(at, tenant.id, "rate_limited", visitor="f" * 32, refused=True))
        assert await client.usage("visitor") == {None: 4, "f" * 32: 20}


@pytest.mark.parametrize("origin", ["null", "https://shop.test/" + "x" * 3000, "my name is Ann", "https://*.test"])
async def test_an_origin_that_no_browser_sends_is_not_stored(client: Client, origin: str) -> None:
    await client.refused(headers={"Origin": origin})
    assert await client.usage("origin") == {None: 1}


@pytest.mark.each_database
async def test_refusals_are_kept_until_the_database_is_available_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is lost, and nothing is written twice."""
    books = client.state["service"].ledger
    await client.refused(body=b"{")

    async def unavailable(rows: object) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as patch:
        patch.setattr(client.state["service"].store, "record", unavailable)
        with pytest.raises(StoreUnavailable):
            await books.flush()
    await books.flush()
    assert await client.usage("outcome") == {"malformed_json": 1}


@pytest.mark.each_database
async def test_two_concurrent_flushes_store_each_refusal_once(client: Client) -> None:
    books = client.state["service"].ledger
    await client.refused(body=b"{")
    await asyncio.gather(books.flush(), books.flush())
    assert await client.usage("outcome") == {"malformed_json": 1}


@pytest.mark.each_database
async def test_pending_refusals_are_written_when_the_service_stops(serve: Serve) -> None:
    async with serve() as client:
        await client.refused(body=b"{")
        url = client.state["service"].settings.database_url
    store = Store(url)
    assert [total.refused for total in await store.usage("shop", datetime.now(UTC) - timedelta(days=1))] == [1]
    await store.close()
