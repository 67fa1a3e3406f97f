"""The operator's command line: what it prints, what it changes and how it fails."""

import asyncio
import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

import manage
from databases import ask, used
from service.access.visitors import visitor_id
from service.store.records import Access, TurnLimits, UsageRow
from service.store.store import Store

ROOT = Path(__file__).parents[2]
ADD = ["tenant", "add", "shop", "--origin", "https://shop.test"]

Run = Callable[..., str]
Look = Callable[[Callable[[Store], Awaitable[Any]]], Any]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs one command that must succeed; what it prints."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: str) -> str:
        assert manage.main(arguments) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


@pytest.fixture
def fail(run: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs one command that must fail: its exit code, and the one line that it prints on stderr."""

    def fail(*arguments: str) -> tuple[int, str]:
        try:
            code = manage.main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return code, captured.err

    return fail


@pytest.fixture
def look(database_url: str) -> Look:
    """What a query of the store says, from outside of the commands."""

    async def with_store(query: Callable[[Store], Awaitable[Any]]) -> Any:
        store = Store(database_url)
        try:
            return await query(store)
        finally:
            await store.close()

    return lambda query: asyncio.run(with_store(query))


def test_the_snippets_address_is_the_services_public_one(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert 'src="http://127.0.0.1:8000/widget.js"' in run(*ADD)
    monkeypatch.setenv("PUBLIC_URL", "https://chat.example.com/chat/ http://chat.intranet")
    assert 'src="https://chat.example.com/chat/widget.js"' in run("tenant", "add", "other", *ADD[3:])
    text = run("tenant", "add", "third", *ADD[3:], "--url", "https://other.example")
    assert 'src="https://other.example/widget.js"' in text


def test_a_new_tenants_snippet_is_ready_to_paste(run: Run, look: Look) -> None:
    text = run(*ADD, "--url", "https://chat.example.com/")

    snippet = re.search(
        r'<script src="https://chat\.example\.com/widget\.js" async\n'
        r'        data-api-key="(a4_pub_[\w-]+)" data-widget-id="(wgt_[\w-]+)"></script>',
        text,
    )
    assert snippet is not None
    assert "This key is shown once" in text
    assert "public" in text
    access: Access = look(lambda store: store.find_access(snippet[1]))
    assert (access.tenant.name, access.tenant.origins) == ("shop", ["https://shop.test"])
    assert look(lambda store: store.find_widget(snippet[2])) is not None


def test_a_new_tenant_as_json_has_four_fields(run: Run) -> None:
    facts = json.loads(run(*ADD, "--json"))

    assert list(facts) == ["tenant", "widget_id", "api_key", "snippet"]
    assert facts["tenant"] == "shop"
    assert facts["snippet"] == (
        '<script src="http://127.0.0.1:8000/widget.js" async\n'
        f'        data-api-key="{facts["api_key"]}" data-widget-id="{facts["widget_id"]}"></script>'
    )


@pytest.mark.each_database
def test_every_setting_reaches_the_tenant_and_its_widget(run: Run, tmp_path: Path) -> None:
    (tmp_path / "prompt.txt").write_text("Sell bücher.\n", encoding="utf-8")
    (tmp_path / "look.json").write_text(json.dumps({"sound": True, "followUps": ["More?"], "title": "Is overruled"}))
    run(
        *ADD,
        *("--origin", "https://BÜCHER.test/", "--rate-per-minute", "10", "--visitor-rate-per-minute", "0"),
        *("--tokens-per-day", "5000", "--model", "large", "--system-prompt-file", "prompt.txt"),
        *("--openai-key-env", "SHOP_KEY", "--title", "Shop 🎉", "--greeting", "Hi", "--placeholder", "Ask"),
        *("--temperature", "0.3", "--max-answer-tokens", "500", "--visitor-streams", "3"),
        *("--openai-base-url-env", "SHOP_URL", "--look", "look.json"),
        *("--color", "#1a6b54", "--position", "bottom-left", "--theme", "dark", "--locale", "pt-BR"),
        *("--suggestion", "Prices?", "--suggestion", "Hours?"),
    )

    facts = json.loads(run("tenant", "show", "shop", "--json"))

    assert facts["origins"] == ["https://shop.test", "https://xn--bcher-kva.test"]
    assert (facts["rate_per_minute"], facts["visitor_rate_per_minute"], facts["tokens_per_day"]) == (10, 0, 5000)
    assert (facts["model"], facts["system_prompt"], facts["openai_key_env"]) == ("large", "Sell bücher.", "SHOP_KEY")
    assert (facts["temperature"], facts["max_answer_tokens"], facts["visitor_streams"]) == (0.3, 500, 3)
    assert facts["openai_base_url_env"] == "SHOP_URL"
    assert facts["widget"] == {
        "sound": True,
        "followUps": ["More?"],
        "title": "Shop 🎉",
        "greeting": "Hi",
        "placeholder": "Ask",
        "color": "#1a6b54",
        "position": "bottom-left",
        "theme": "dark",
        "locale": "pt-BR",
        "suggestions": ["Prices?", "Hours?"],
    }
    assert "visitor_salt" not in facts


@pytest.mark.each_database
def test_set_changes_what_is_given_and_an_empty_text_takes_away(run: Run) -> None:
    run(*ADD, "--model", "large", "--title", "Shop", "--greeting", "Hi", "--suggestion", "Prices?")

    run("tenant", "set", "shop", "--model", "", "--title", "", "--suggestion", "", "--origin", "http://localhost:*")

    facts = json.loads(run("tenant", "show", "shop", "--json"))
    assert (facts["model"], facts["widget"]) == (None, {"greeting": "Hi"})
    assert (facts["origins"], facts["rate_per_minute"]) == (["http://localhost:*"], 6000)


@pytest.mark.parametrize(
    "wrong",
    [
        ("--title", "x" * 101),
        ("--suggestion", "x" * 1000),
        ("--require-identity",),
        *[tuple(f"--identity-claim=c{n}" for n in range(21))],
    ],
    ids=["title", "suggestion", "identity", "claims"],
)
def test_a_set_that_is_refused_changes_nothing(
    run: Run, fail: Callable[..., tuple[int, str]], wrong: tuple[str, ...]
) -> None:
    run(*ADD, "--title", "Ask us", "--tokens-per-day", "5000")
    before = run("tenant", "show", "shop", "--json")

    options = ("--any-origin", "--tokens-per-day", "0", "--greeting", "Hello", *wrong)
    assert fail("tenant", "set", "shop", *options)[0] == 1

    assert run("tenant", "show", "shop", "--json") == before


def test_unset_gives_a_setting_back_its_default(run: Run) -> None:
    """A tenant's and its widget's, whether numbers, texts or what only a file can say."""
    run(*ADD, "--temperature", "0", "--model", "large", "--title", "Shop", "--theme", "dark")

    run("tenant", "set", "shop", "--unset", "temperature", "--unset", "title", "--max-answer-tokens", "0")

    facts = json.loads(run("tenant", "show", "shop", "--json"))
    assert (facts["temperature"], facts["model"], facts["max_answer_tokens"]) == (None, "large", 0)
    assert facts["widget"] == {"theme": "dark"}


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


def test_every_website_is_allowed_only_by_a_flag_that_says_so(run: Run) -> None:
    assert "may run on any website" in run("tenant", "add", "public", "--any-origin")
    assert json.loads(run("tenant", "show", "public", "--json"))["origins"] == ["*"]


def test_the_upstream_is_told_who_asks_only_by_a_flag_that_says_so(run: Run) -> None:
    def is_told() -> object:
        return json.loads(run("tenant", "show", "shop", "--json"))["tell_upstream"]

    run(*ADD)
    assert is_told() is False
    run("tenant", "set", "shop", "--tell-upstream")
    assert is_told() is True
    run("tenant", "set", "shop", "--title", "Shop")
    assert is_told() is True
    run("tenant", "set", "shop", "--no-tell-upstream")
    assert is_told() is False


def test_user_tokens_are_checked_in_one_way_at_a_time(run: Run, tmp_path: Path) -> None:
    pem = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)

    def identity() -> list[object]:
        facts = json.loads(run("tenant", "show", "shop", "--json"))
        names = ("identity_secret_env", "identity_public_key", "identity_claims", "require_identity")
        return [facts[name] for name in names]

    run(*ADD, "--identity-secret-env", "SHOP_SECRET", "--identity-claim", "name", "--identity-claim", "plan")
    assert identity() == ["SHOP_SECRET", None, ["name", "plan"], False]
    run("tenant", "set", "shop", "--identity-public-key-file", "key.pem", "--require-identity")
    assert identity() == [None, "".join(pem.decode().splitlines()[1:-1]), ["name", "plan"], True]
    run("tenant", "set", "shop", "--no-require-identity", "--identity-claim", "")
    run("tenant", "set", "shop", "--identity-public-key-file", "")
    assert identity() == [None, None, [], False]


def test_identity_is_required_only_where_it_can_be_checked(run: Run, fail: Callable[..., tuple[int, str]]) -> None:
    assert "--identity-secret-env" in fail(*ADD, "--require-identity")[1]
    run(*ADD, "--identity-secret-env", "SHOP_SECRET", "--require-identity")
    assert "--identity-secret-env" in fail("tenant", "set", "shop", "--identity-secret-env", "")[1]
    assert json.loads(run("tenant", "show", "shop", "--json"))["identity_secret_env"] == "SHOP_SECRET"


def test_a_private_or_other_key_for_user_tokens_is_refused(
    run: Run, fail: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    (tmp_path / "ec.pem").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    private = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "private.pem").write_bytes(private)
    assert "not an Ed25519 key" in fail(*ADD, "--identity-public-key-file", "ec.pem")[1]
    said = fail(*ADD, "--identity-public-key-file", "private.pem")[1]
    assert "not a public key" in said
    assert private.decode().splitlines()[1] not in said


@pytest.mark.each_database
def test_a_keys_last_use_is_listed(run: Run, look: Look) -> None:
    run(*ADD)

    async def use(store: Store) -> None:
        tenant = await store.get_tenant("shop")
        [key] = await store.list_keys("shop")
        for day in (2, 5, 3):
            await store.record([used(tenant, at=datetime(2026, 3, day, tzinfo=UTC), key_id=key.id)])

    look(use)
    [listed] = json.loads(run("key", "list", "shop", "--json"))
    assert listed["last_used_at"] == "2026-03-05T00:00:00+00:00"


@pytest.mark.each_database
def test_tenants_are_listed_shown_and_removed(run: Run) -> None:
    run(*ADD)
    run("tenant", "add", "bakery", "--origin", "https://bakery.test")

    assert re.findall(r"^\S+", run("tenant", "list"), re.M) == ["name", "bakery", "shop"]
    assert [each["name"] for each in json.loads(run("tenant", "list", "--json"))] == ["bakery", "shop"]
    assert re.search(r"^origins +https://shop\.test$", run("tenant", "show", "shop"), re.M)

    run("tenant", "remove", "shop")
    assert [each["name"] for each in json.loads(run("tenant", "list", "--json"))] == ["bakery"]


@pytest.mark.parametrize(
    ("options", "typed", "code"), [([], "\n", 1), ([], "n\n", 1), ([], "Yes\n", 0), ([], "y\n", 0), (["--yes"], "", 0)]
)
def test_whoever_removes_a_tenant_by_hand_is_asked_once(
    run: Run, tmp_path: Path, options: list[str], typed: str, code: int
) -> None:
    """In a pipe, as with a script or cron, nobody could answer: there it goes ahead."""
    run(*ADD)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    command = [sys.executable, str(ROOT / "manage.py"), "tenant", "remove", "shop", *options]
    terminal, end = os.openpty()
    try:
        os.write(terminal, typed.encode())
        removal = subprocess.run(command, env=environment, cwd=tmp_path, stdin=end, stderr=end, timeout=60)
        os.write(end, b"\0")
        shown = os.read(terminal, 10_000).decode()
    finally:
        os.close(terminal)
        os.close(end)

    assert removal.returncode == code
    assert shown.count("[y/N]") == (not options)
    assert ("Nothing was changed." in shown) == bool(code)
    assert len(json.loads(run("tenant", "list", "--json"))) == code


@pytest.mark.each_database
def test_keys_are_added_rotated_revoked_and_listed(run: Run, look: Look) -> None:
    first = json.loads(run(*ADD, "--json"))["api_key"]
    secret = json.loads(run("key", "add", "shop", "--secret", "--expires", "2999-12-31", "--json"))
    second = json.loads(run("key", "rotate", "shop", "--grace", "30m", "--json"))
    revoked = json.loads(run("key", "revoke", "shop", str(second["id"]), "--json"))
    assert "is revoked since" in run("key", "revoke", "shop", str(second["id"]))

    listed = json.loads(run("key", "list", "shop", "--json"))

    assert [(each["kind"], each["state"]) for each in listed] == [
        ("public", "valid"),
        ("secret", "valid"),
        ("public", "revoked"),
    ]
    assert listed[2] == revoked | {"last_used_at": None}
    remaining = datetime.fromisoformat(listed[0]["expires_at"]) - datetime.now(UTC)
    assert timedelta(minutes=29) < remaining <= timedelta(minutes=30)
    assert listed[1]["expires_at"] == "2999-12-31T00:00:00+00:00"
    assert secret["api_key"].startswith("a4_sec_")
    assert all(key not in run("key", "list", "shop") for key in (first, secret["api_key"], second["api_key"]))
    assert look(lambda store: store.find_access(first)) is not None
    assert look(lambda store: store.find_access(second["api_key"])) is None


def test_a_new_key_is_said_to_be_shown_once(run: Run) -> None:
    run(*ADD)

    added, rotated = run("key", "add", "shop", "--secret"), run("key", "rotate", "shop", "--grace", "0s")

    assert re.search(r"^a4_sec_[\w-]{32}$", added, re.M)
    assert "keep it out of pages" in added
    assert re.search(r"^a4_pub_[\w-]{32}$", rotated, re.M)
    assert "shown once" in added and "shown once" in rotated
    assert re.findall(r"expired|valid", run("key", "list", "shop")) == ["expired", "valid", "valid"]


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


def test_a_purge_of_more_days_than_there_are_is_refused(
    fail: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETENTION_DAYS", "1000000")
    code, line = fail("purge")
    assert code == 1
    assert "RETENTION_DAYS: Input should be less than or equal to 36500" in line


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "COMMAND"),
        (["tenant"], "COMMAND"),
        (["tenant", "paint"], "invalid choice"),
        (["tenant", "add", "shop"], "--origin"),
        (["tenant", "add", " a shop", "--origin", "https://a.test"], "printable characters"),
        (["tenant", "add", "demonstration", "--origin", "https://a.test"], "the demonstration's own"),
        (["tenant", "add", "demonstration studio", "--origin", "https://a.test"], "the demonstration's own"),
        (["tenant", "add", "shop", "--origin", "https://www.*.test"], "wildcard"),
        (["tenant", "add", "shop", "--origin", "*"], "--any-origin"),
        (["tenant", "add", "shop", "--origin", "null"], "'null'"),
        ([*ADD, "--any-origin"], "not allowed with"),
        ([*ADD, "--identity-secret-env", "sk-1234"], "name of an environment variable, not the key"),
        ([*ADD, "--identity-public-key-file", "missing.pem"], "cannot read 'missing.pem'"),
        ([*ADD, "--identity-secret-env", "A", "--identity-public-key-file", ""], "not allowed with"),
        ([*ADD, "--identity-claim", "a claim"], "name of a claim"),
        ([*ADD, "--rate-per-minute", "-1"], "--rate-per-minute"),
        ([*ADD, "--rate-per-minute", "99999999999"], "0 to 2147483647"),
        ([*ADD, "--tokens", "5"], "--tokens"),
        ([*ADD, "--color", "red;}"], "colour"),
        ([*ADD, "--position", "top"], "--position"),
        ([*ADD, "--locale", "english please"], "language tag"),
        ([*ADD, "--title", "\udcff"], "valid text"),
        ([*ADD, "--system-prompt-file", "missing.txt"], "cannot read 'missing.txt'"),
        ([*ADD, "--system-prompt-file", "latin1.txt"], "not UTF-8"),
        ([*ADD, "--url", "chat.example.com"], "must begin with"),
        ([*ADD, "--url", "https://chat.example.com/?a"], "must be an address"),
        ([*ADD, "--url", "https://chat.example.com/?"], "must be an address"),
        ([*ADD, "--url", "https://chat.example.com/#"], "must be an address"),
        (["key", "rotate", "shop", "--grace", "soon"], "30m, 24h or 7d"),
        (["key", "add", "shop", "--expires", "2001-01-01"], "in the past"),
        (["key", "add", "shop", "--expires", "tomorrow"], "not a date"),
        (["key", "add", "shop", "--expires", "9999-12-31T23:59:59-14:00"], "not a date"),
        (["usage", "shop", "--since", "0001-01-01T00:00:00+14:00"], "not a date"),
        (["key", "revoke", "shop", "first"], "not a number"),
        (["usage", "shop", "--json", "--csv"], "not allowed with"),
        (["usage", "shop", "--by", "weather"], "invalid choice"),
        (["usage", "shop", "--price-in", "free"], "not a number"),
        ([*ADD, "--temperature", "2.1"], "from 0 to 2"),
        ([*ADD, "--max-answer-tokens", "1000001"], "more than 1000000"),
        ([*ADD, "--unset", "origins"], "not a setting that can be unset"),
        ([*ADD, "--look", "wrong.json"], "followUps.0: String should have at least 1 character"),
        ([*ADD, "--look", "red.json"], "color: must be a colour such as #1a6b54"),
        ([*ADD, "--look", "list.json"], "must be a JSON object"),
        ([*ADD, "--look", "deep.json"], "nested too deeply"),
        ([*ADD, "--look", "latin1.txt"], "not UTF-8"),
        (["conversation", "export", "shop"], "--id"),
        (["conversation", "export", "shop", "--id", "1"], "not a conversation's id"),
        (["conversation", "export", "shop", "--address", "here"], "not an IP address"),
        (["conversation", "delete", "shop", "--all"], "--yes"),
    ],
)
def test_what_is_not_understood_is_said_in_one_line_with_exit_code_2(
    fail: Callable[..., tuple[int, str]], tmp_path: Path, arguments: list[str], problem: str
) -> None:
    (tmp_path / "wrong.json").write_text('{"followUps": [""], "colour": "red"}')
    (tmp_path / "red.json").write_text('{"color": "red"}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "deep.json").write_text('{"title": ' + "[" * 100_000)
    (tmp_path / "latin1.txt").write_bytes("bücher".encode("latin-1"))

    code, line = fail(*arguments)

    assert code == 2
    assert problem in line


def test_a_key_given_in_place_of_its_variables_name_is_not_repeated(fail: Callable[..., tuple[int, str]]) -> None:
    code, line = fail(*ADD, "--openai-key-env", "sk-canary")

    assert code == 2
    assert "not the key itself" in line
    assert "canary" not in line


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (ADD, "There is a tenant 'shop' already."),
        (["tenant", "show", "nobody"], "There is no tenant 'nobody'."),
        (["tenant", "set", "nobody", "--model", "x"], "There is no tenant 'nobody'."),
        (["tenant", "remove", "nobody"], "There is no tenant 'nobody'."),
        (["key", "add", "nobody"], "There is no tenant 'nobody'."),
        (["key", "revoke", "shop", "99"], "The tenant 'shop' has no key 99."),
        (["usage", "nobody"], "There is no tenant 'nobody'."),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line_with_exit_code_1(
    run: Run, fail: Callable[..., tuple[int, str]], arguments: list[str], problem: str
) -> None:
    run(*ADD)

    assert fail(*arguments) == (1, f"manage.py: {problem}\n")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://user:canary@host/x", "DATABASE_URL: must begin with"),
        ("sqlite+aiosqlite:///missing/folder/x.db", "No such file or directory"),
        ("sqlite+aiosqlite://", "must name a file"),
        ("postgresql+asyncpg://user:canary@127.0.0.1:1/x", "cannot be reached"),
    ],
)
def test_a_database_that_cannot_be_used_is_said_without_its_password(
    fail: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch, url: str, problem: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    code, line = fail("tenant", "list")

    assert code == 1
    assert problem in line
    assert "canary" not in line


@pytest.mark.each_database
def test_it_runs_as_a_program(database_url: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "PYTHONIOENCODING": "utf-8"}

    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60)

    added, again, nonsense = program(*ADD, "--json"), program(*ADD), program("tenant", "add")

    assert (added.returncode, added.stderr) == (0, "")
    assert json.loads(added.stdout)["tenant"] == "shop"
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "manage.py: There is a tenant 'shop' already.\n"
    assert (nonsense.returncode, nonsense.stdout) == (2, "")
    assert nonsense.stderr.count("\n") == 1


def test_an_export_ends_quietly_when_its_reader_has_enough(run: Run, look: Look, tmp_path: Path) -> None:
    """As `head` has after some lines."""
    run(*ADD)

    async def fill(store: Store) -> None:
        more_than_a_pipe_holds = "Once upon a time. " * 20_000
        for _ in range(3):
            await ask(store, await store.get_tenant("shop"), answer=more_than_a_pipe_holds)

    look(fill)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    command = [sys.executable, str(ROOT / "manage.py"), "conversation", "export", "shop", "--all"]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as export:
        assert export.stdout and export.stderr
        assert b'"turns"' in export.stdout.readline()
        export.stdout.close()
        assert export.stderr.read() == b""
    assert export.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["tenant", "list"], ""),
        (
            ["tenant", "add", "bakery", "--origin", "https://bakery.test"],
            " The new key is lost; `key rotate` makes another.",
        ),
        (["key", "add", "shop"], " The new key is lost; `key rotate` makes another."),
        (["key", "rotate", "shop", "--json"], " The new key is lost; `key rotate` makes another."),
    ],
)
def test_output_that_cannot_be_written_is_said_in_one_line(
    run: Run, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    """As on a full disk."""
    run(*ADD)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, encoding="utf-8", timeout=60
        )

    assert done.returncode == 1
    assert done.stderr == f"manage.py: The output cannot be written: No space left on device.{problem}\n"


def test_nothing_is_made_that_could_not_be_shown(run: Run, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, str(ROOT / "manage.py"), *ADD]
    done = subprocess.run(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, timeout=60)

    assert (done.returncode, done.stderr) == (1, b"manage.py: There is no standard output.\n")
    assert json.loads(run("tenant", "list", "--json")) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_the_letters_is_shown_their_numbers(run: Run, tmp_path: Path, encoding: str) -> None:
    """The key must not be lost: it cannot be shown again."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": os.environ["DATABASE_URL"],
        "PYTHONIOENCODING": encoding,
    }

    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, encoding=encoding, timeout=60
        )

    added = program("tenant", "add", "Ωmega", "--origin", "https://shop.test", "--title", "Büro 🎉")
    as_json = program("tenant", "show", "Ωmega", "--json")
    again = program("tenant", "add", "Ωmega", "--origin", "https://shop.test")

    assert (added.returncode, added.stderr) == (0, "")
    assert "The tenant '\\u03a9mega'" in added.stdout
    assert "a4_pub_" in added.stdout
    shown = json.loads(as_json.stdout)
    assert (shown["name"], shown["widget"]) == ("Ωmega", {"title": "Büro 🎉"})
    assert again.stderr == "manage.py: There is a tenant '\\u03a9mega' already.\n"


def test_ctrl_c_ends_a_command_without_a_traceback(run: Run, tmp_path: Path) -> None:
    """Here, while it asks."""
    run(*ADD)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    hears_ctrl_c = ["env", "--default-signal=INT"]  # a shell's background job, as this may be part of, does not
    command = [*hears_ctrl_c, sys.executable, str(ROOT / "manage.py"), "tenant", "remove", "shop"]
    terminal, end = os.openpty()
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdin=end, stderr=end) as removal:
        assert b"[y/N]" in os.read(terminal, 1000)
        removal.send_signal(signal.SIGINT)
    os.write(end, b"\0")
    shown = os.read(terminal, 10_000)
    os.close(terminal)
    os.close(end)

    assert removal.returncode == 130
    assert b"Traceback" not in shown
    assert len(json.loads(run("tenant", "list", "--json"))) == 1
