"""`manage.py key`: what it prints and what it changes."""

import json
import re
from datetime import UTC, datetime, timedelta

import pytest

from command_line import ADD, Look, Run
from command_line import fail as fail
from command_line import look as look
from command_line import run as run
from databases import used
from service.store.store import Store


@pytest.mark.each_database
def test_the_list_shows_when_a_key_was_last_used(run: Run, look: Look) -> None:
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
def test_keys_are_added_rotated_revoked_and_listed(run: Run, look: Look) -> None:
    first = json.loads(run(*ADD, "--json"))["api_key"]
    secret = json.loads(run("key", "add", "shop", "--secret", "--expires", "2999-12-31", "--json"))
    second = json.loads(run("key", "rotate", "shop", "--grace", "30m", "--json"))
    revoked = json.loads(run("key", "revoke", "shop", str(second["id"]), "--json"))
    assert "was revoked at" in run("key", "revoke", "shop", str(second["id"]))

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


def test_a_new_key_comes_with_a_note_that_it_is_shown_once(run: Run) -> None:
    run(*ADD)

    added, rotated = run("key", "add", "shop", "--secret"), run("key", "rotate", "shop", "--grace", "0s")

    assert re.search(r"^a4_sec_[\w-]{32}$", added, re.M)
    assert "keep it out of pages" in added
    assert re.search(r"^a4_pub_[\w-]{32}$", rotated, re.M)
    assert "shown once" in added and "shown once" in rotated
    assert re.findall(r"expired|valid", run("key", "list", "shop")) == ["expired", "valid", "valid"]
