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
from databases import ask, begin, finish, used
from service.access.visitors import visitor_id
from service.store.records import TurnLimits, UsageRow
from service.store.store import Store


@pytest.mark.each_database
def test_conversations_are_exported_and_deleted_by_id_visitor_address_and_tenant(run: Run, look: Look) -> None:
    """Each selection only affects matching conversations of one tenant, and the usage stays."""
    run(*ADD)
    run("tenant", "add", "bakery", "--origin", "https://bakery.test")

    async def converse(store: Store) -> list[str]:
        shop, bakery = await store.get_tenant("shop"), await store.get_tenant("bakery")
        ids = []
        for address in ("192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"):
            limits = TurnLimits(visitor=visitor_id(shop, address))
            ids.append((await ask(store, shop, f"From {address}?", limits=limits)).turn.conversation_id)
        await ask(store, shop, "And then?", conversation_id=ids[0])
        await ask(store, bakery, limits=TurnLimits(visitor=visitor_id(bakery, "192.0.2.1")))
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
def test_usage_prints_a_table_json_or_csv(run: Run, look: Look) -> None:
    run(*ADD)

    async def use(store: Store) -> None:
        tenant = await store.get_tenant("shop")
        await ask(store, tenant)
        at = datetime(2025, 3, 1, 12, tzinfo=UTC)
        await store.record([used(tenant, at=at, model="small", key_id=1, first_text_ms=250)])
        await store.record([UsageRow(at + timedelta(hours=1), tenant.id, "rate_limited", key_id=1, refused=True)])

    look(use)
    since = ("--since", "2025-03-01")
    none = {"prompt_tokens": 0, "completion_tokens": 0, "charged": 0}
    no_times = {"first_text_p50_ms": None, "first_text_p95_ms": None}

    facts = json.loads(run("usage", "shop", *since, "--json"))
    assert facts["total"] == {
        **{"requests": 3, "refused": 1, "prompt_tokens": 18, "completion_tokens": 8, "charged": 26},
        **{"first_text_p50_ms": 250, "first_text_p95_ms": 250},
    }
    assert facts["rows"][0] == {
        **{"day": "2025-03-01", "requests": 2, "refused": 1, "prompt_tokens": 9, "completion_tokens": 4},
        **{"charged": 13, "first_text_p50_ms": 250, "first_text_p95_ms": 250},
    }
    facts = json.loads(run("usage", "shop", *since, "--by", "key", "--by", "outcome", "--json"))
    assert facts["rows"][2] == {"key": 1, "outcome": "rate_limited", "requests": 1, "refused": 1} | none | no_times
    rows = list(csv.DictReader(io.StringIO(run("usage", "shop", *since, "--by", "day", "--by", "outcome", "--csv"))))
    assert [(row["day"], row["outcome"], row["requests"]) for row in rows[:2]] == [
        ("2025-03-01", "complete", "1"),
        ("2025-03-01", "rate_limited", "1"),
    ]
    assert re.search(r"^total +3 +1 +18 +8 +26 +250 +250$", run("usage", "shop", *since), re.M)
    assert re.search(r"^total +0 +0 +0 +0 +0$", run("usage", "shop", "--since", "2999-01-01"), re.M)


@pytest.mark.each_database
def test_usage_shows_the_cost_if_prices_are_given(run: Run, look: Look) -> None:
    """Prices are per million tokens: 9 at 2.50 and 4 at 10."""
    run(*ADD)

    async def use(store: Store) -> None:
        await ask(store, await store.get_tenant("shop"))

    look(use)

    priced = run("usage", "shop", "--price-in", "2.50", "--price-out", "10", "--json")
    assert json.loads(priced)["total"]["cost"] == 0.000063
    assert json.loads(run("usage", "shop", "--price-out", "10", "--json"))["total"]["cost"] == 0.00004
    assert "cost" not in run("usage", "shop")


@pytest.mark.each_database
def test_purge_applies_retention_days(run: Run, look: Look, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_too_many_retention_days_are_refused(fail: Fail, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETENTION_DAYS", "1000000")
    code, line = fail("purge")
    assert code == 1
    assert "RETENTION_DAYS: Input should be less than or equal to 36500" in line


@pytest.mark.each_database
def test_conversations_are_listed_and_shown_by_tenant_time_rating_and_outcome(run: Run, look: Look) -> None:
    run(*ADD)
    run("tenant", "add", "bakery", "--origin", "https://bakery.test")

    async def converse(store: Store) -> list[str]:
        shop, bakery = await store.get_tenant("shop"), await store.get_tenant("bakery")
        first = await ask(store, shop, "Are you\nopen?", "We are.\nUntil six.")
        await store.rate_turn(shop.id, first.turn.id, rating="down", comment="\x1b[31mWrong!")
        await ask(store, shop, "And on Sundays?", conversation_id=first.turn.conversation_id)
        broken = await begin(store, shop, "Anybody?")
        await finish(store, shop, broken, "", status="error", code="upstream_timeout")
        other = await ask(store, bakery, "Bread?")
        return [str(each.turn.conversation_id) for each in (first, broken, other)]

    first, broken, other = look(converse)

    def listed(*options: str) -> list[str]:
        return [each["id"] for each in json.loads(run("conversation", "list", *options, "--json"))]

    assert listed() == [other, broken, first]
    assert listed("shop") == [broken, first]
    assert listed("--limit", "1") == [other]
    assert listed("shop", "--rating", "down") == [first]
    assert listed("--outcome", "error") == listed("--outcome", "upstream_timeout") == [broken]
    assert listed("--since", "2026-01-01", "--until", "2026-01-02") == []
    table = run("conversation", "list", "shop")
    assert re.search(rf"{first}  shop  .*  2 +complete 2 +down +Are you open\?\n", table)

    facts = json.loads(run("conversation", "show", first, "--json"))
    assert (facts["tenant"], facts["questions"], facts["ratings"]) == ("shop", 2, {"down": 1})
    assert [turn["question"] for turn in facts["turns"]] == ["Are you\nopen?", "And on Sundays?"]
    text = run("conversation", "show", "shop", first)
    assert "assistant: We are.\n           Until six.\n" in text
    assert "comment:   \N{REPLACEMENT CHARACTER}[31mWrong!" in text


EVIL = "hi \x1b]0;pwned\x07\x1b[2J\x1b[31m \x9b5mfake\u202e"


@pytest.mark.parametrize("options", [(), ("--json",)], ids=["text", "JSON"])
def test_no_text_of_a_visitor_or_a_provider_controls_the_terminal(
    run: Run, look: Look, options: tuple[str, ...]
) -> None:
    """Neither where a question is printed whole nor where it is cut, and no line of it looks like a fact."""
    run(*ADD, "--greeting", EVIL, "--model", EVIL)

    async def converse(store: Store) -> str:
        shop = await store.get_tenant("shop")
        asked = await ask(store, shop, f"{EVIL}\ntenant     bank", EVIL, subject=EVIL)
        await store.rate_turn(shop.id, asked.turn.id, subject=EVIL, rating="down", comment=EVIL)
        await store.record([used(shop, model=EVIL, origin=EVIL, subject=EVIL)])
        return str(asked.turn.conversation_id)

    conversation = look(converse)
    by = [word for name in ("model", "origin", "subject") for word in ("--by", name)]
    outputs = [
        run("conversation", "show", conversation, *options),
        run("conversation", "list", *options),
        run("usage", "shop", *by, *(options or ("--csv",))),
        run("usage", "shop", *by, *options),
        run("tenant", "show", "shop", *options),
        run("tenant", "list", *options),
    ]
    for output in outputs:
        assert "fake" in output
        assert set(re.findall(r"[\x00-\x1f\x7f-\x9f]", output)) == {"\n"}
    if not options:
        assert not re.search(r"^tenant +bank", outputs[0], re.M)
        assert "\u202e" not in "".join(outputs)


def test_a_conversation_of_another_tenant_is_not_shown(run: Run, fail: Fail, look: Look) -> None:
    run(*ADD)
    run("tenant", "add", "bakery", "--origin", "https://bakery.test")

    async def converse(store: Store) -> str:
        return str((await ask(store, await store.get_tenant("shop"))).turn.conversation_id)

    conversation = look(converse)
    assert fail("conversation", "show", "bakery", conversation) == (1, "manage.py: There is no such conversation.\n")
    assert fail("conversation", "show", "one")[0] == 1
    assert fail("conversation", "list", "--rating", "good")[0] == 2
    assert fail("conversation", "list", "nobody")[0] == 1


@pytest.mark.each_database
def test_usage_of_all_has_each_tenant_and_the_refusals_of_unknown_ones(run: Run, fail: Fail, look: Look) -> None:
    run(*ADD)
    run("tenant", "add", "bakery", "--origin", "https://bakery.test")

    async def book(store: Store) -> None:
        await ask(store, await store.get_tenant("shop"))
        await ask(store, await store.get_tenant("bakery"))
        at = datetime.now(UTC)
        await store.record([UsageRow(at, None, "key_invalid", refused=True, requests=3)])

    look(book)
    facts = json.loads(run("usage", "--all", "--json"))
    assert [(row["tenant"], row["requests"], row["refused"]) for row in facts["rows"]] == [
        (None, 3, 3),
        ("bakery", 1, 0),
        ("shop", 1, 0),
    ]
    assert (facts["tenant"], facts["total"]["requests"]) == (None, 5)
    by_outcome = json.loads(run("usage", "--all", "--by", "outcome", "--json"))["rows"]
    assert {row["outcome"]: row["requests"] for row in by_outcome} == {"complete": 2, "key_invalid": 3}
    assert fail("usage")[0] == fail("usage", "shop", "--all")[0] == 2


@pytest.mark.each_database
def test_stats_counts_the_rows_in_the_database(run: Run, look: Look) -> None:
    run(*ADD)

    async def converse(store: Store) -> None:
        shop = await store.get_tenant("shop")
        asked = await ask(store, shop)
        await store.rate_turn(shop.id, asked.turn.id, rating="up")
        await begin(store, shop, "And then?", conversation_id=asked.turn.conversation_id)

    look(converse)
    facts = json.loads(run("stats", "--json"))
    counts = ("tenants", "keys", "conversations", "recent", "questions", "running", "rated_up", "rated_down")
    assert [facts[name] for name in counts] == [1, 1, 1, 1, 2, 1, 1, 0]
    assert facts["bytes"] > 10_000
    assert facts["last_day"]["requests"] == facts["last_week"]["requests"] == 1
    assert re.search(r"^conversations +1$", run("stats"), re.MULTILINE)


def test_version_prints_the_release_and_its_schema(run: Run) -> None:
    assert re.fullmatch(r"manage\.py \d+\.\d+\.\d+, schema \d+\n", run("--version"))
