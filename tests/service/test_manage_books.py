"""`manage.py usage`, `conversation` and `purge`: what they print and what they change."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from command_line import ADD, Fail, Look, Run
from command_line import fail as fail
from command_line import look as look
from command_line import run as run
from databases import ask, used
from service.access.visitors import visitor_id
from service.store.records import TurnLimits, UsageRow
from service.store.store import Store


@pytest.mark.each_database
def test_conversations_are_exported_and_deleted_by_id_visitor_address_and_tenant(run: Run, look: Look) -> None:
    """Each selection takes its own conversations only, of one tenant, and the bill stays."""
    run(*ADD)
    run("tenant", "add", "bakery", "--origin", "https://bakery.test")

    async def converse(store: Store) -> list[str]:
        shop, bakery = await store.get_tenant("shop"), await store.get_tenant("bakery")
        ids = []
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"):
            terms = TurnLimits(visitor=visitor_id(shop, address))
            ids.append((await ask(store, shop, f"From {address}?", terms=terms)).turn.conversation_id)
        await ask(store, shop, "And then?", conversation_id=ids[0])
        await ask(store, bakery, terms=TurnLimits(visitor=visitor_id(bakery, "192.0.2.1")))
        return [*map(str, ids), visitor_id(shop, "192.0.2.2")]

    async def converse_as_a_subject(store: Store) -> None:
        await ask(store, await store.get_tenant("shop"), subject="user-1")

    *ids, visitor = look(converse)

    def exported(*selection: str) -> list[Any]:
        return [json.loads(line) for line in run("conversation", "export", "shop", *selection).splitlines()]

    assert [each["id"] for each in exported("--all")] == ids
    assert [each["id"] for each in exported("--address", "192.0.2.1")] == ids[:2]
    assert [each["id"] for each in exported("--visitor", visitor)] == [ids[2]]
    (one,) = exported("--id", ids[0])
    assert [(turn["question"], turn["answer"]) for turn in one["turns"]] == [
        ("From 192.0.2.1?", "Hi."),
        ("And then?", "Hi."),
    ]

    for selection, left in (
        (("--id", ids[1]), [ids[0], *ids[2:]]),
        (("--address", "192.0.2.1"), ids[2:]),
        (("--visitor", visitor), [ids[3]]),
        (("--all",), []),
    ):
        assert "Deleted 1 conversations." in run("conversation", "delete", "shop", *selection, "--yes")
        assert [each["id"] for each in exported("--all")] == left
    assert len(run("conversation", "export", "bakery", "--all").splitlines()) == 1
    look(converse_as_a_subject)
    assert len(exported("--subject", "user-1")) == 1
    assert exported("--subject", "user-2") == []
    assert json.loads(run("usage", "shop", "--json"))["total"]["requests"] == 6


@pytest.mark.each_database
def test_usage_is_a_table_json_or_csv(run: Run, look: Look) -> None:
    run(*ADD)

    async def use(store: Store) -> None:
        tenant = await store.get_tenant("shop")
        await ask(store, tenant)
        at = datetime(2026, 3, 1, 12, tzinfo=UTC)
        await store.record([used(tenant, at=at, model="small", key_id=1, first_text_ms=250)])
        await store.record([UsageRow(at + timedelta(hours=1), tenant.id, "rate_limited", key_id=1, refused=True)])

    look(use)
    since = ("--since", "2026-03-01")
    none = {"prompt_tokens": 0, "completion_tokens": 0, "charged": 0}
    no_times = {"first_text_p50_ms": None, "first_text_p95_ms": None}

    facts = json.loads(run("usage", "shop", *since, "--json"))
    assert facts["total"] == {
        **{"requests": 3, "refused": 1, "prompt_tokens": 18, "completion_tokens": 8, "charged": 26},
        **{"first_text_p50_ms": 250, "first_text_p95_ms": 250},
    }
    assert facts["rows"][0] == {
        **{"day": "2026-03-01", "requests": 2, "refused": 1, "prompt_tokens": 9, "completion_tokens": 4},
        **{"charged": 13, "first_text_p50_ms": 250, "first_text_p95_ms": 250},
    }
    facts = json.loads(run("usage", "shop", *since, "--by", "key", "--by", "outcome", "--json"))
    assert facts["rows"][2] == {"key": 1, "outcome": "rate_limited", "requests": 1, "refused": 1} | none | no_times
    rows = list(csv.DictReader(io.StringIO(run("usage", "shop", *since, "--by", "day", "--by", "outcome", "--csv"))))
    assert [(row["day"], row["outcome"], row["requests"]) for row in rows[:2]] == [
        ("2026-03-01", "complete", "1"),
        ("2026-03-01", "rate_limited", "1"),
    ]
    assert re.search(r"^total +3 +1 +18 +8 +26 +250 +250$", run("usage", "shop", *since), re.M)
    assert re.search(r"^total +0 +0 +0 +0 +0$", run("usage", "shop", "--since", "2999-01-01"), re.M)


@pytest.mark.each_database
def test_usage_has_a_cost_where_prices_are_given(run: Run, look: Look) -> None:
    """A price is of a million tokens: 9 at 2.50 and 4 at 10."""
    run(*ADD)

    async def use(store: Store) -> None:
        await ask(store, await store.get_tenant("shop"))

    look(use)

    priced = run("usage", "shop", "--price-in", "2.50", "--price-out", "10", "--json")
    assert json.loads(priced)["total"]["cost"] == 0.000063
    assert json.loads(run("usage", "shop", "--price-out", "10", "--json"))["total"]["cost"] == 0.00004
    assert "cost" not in run("usage", "shop")


@pytest.mark.each_database
def test_a_purge_does_what_retention_days_says(run: Run, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*ADD)

    async def converse(store: Store) -> None:
        await ask(store, await store.get_tenant("shop"))

    with monkeypatch.context() as patch:
        patch.setattr("service.store.store._now", lambda: datetime.now(UTC) - timedelta(days=8))
        look(converse)
    look(converse)

    monkeypatch.setenv("RETENTION_DAYS", "0")
    assert "kept" in run("purge")
    monkeypatch.setenv("RETENTION_DAYS", "7")
    assert "Deleted 1 conversations" in run("purge")
    assert json.loads(run("usage", "shop", "--since", "2026-01-01", "--json"))["total"]["requests"] == 2
    assert "Deleted 0 conversations" in run("purge")
    monkeypatch.setenv("RETENTION_DAYS", "36500")
    assert "Deleted 0 conversations" in run("purge")


def test_a_purge_of_more_days_than_there_are_is_refused(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETENTION_DAYS", "1000000")
    code, line = fail("purge")
    assert code == 1
    assert "RETENTION_DAYS: Input should be less than or equal to 36500" in line
