"""`key`: the API keys of a tenant."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import click

from service.commands import values
from service.commands.arguments import Group, Value, json_option, name_argument, with_store
from service.commands.output import print_json, print_table, shown
from service.store.records import Key
from service.store.store import Store

COLUMNS = ("id", "kind", "hint", "state", "created_at", "expires_at", "revoked_at", "last_used_at")

secret_option = click.option("--secret", is_flag=True, help="a key for servers (a4_sec_…) instead of one for pages")

keys = Group("key", help="the API keys of a tenant")


@keys.command("add", help="create another key")
@name_argument
@click.option(
    "--expires", type=Value(values.future), metavar="DATE", help="when it stops working (UTC), such as 2026-12-31"
)
@secret_option
@json_option
@partial(with_store, makes_key=True)
async def add(store: Store, name: str, expires: datetime | None, secret: bool, as_json: bool) -> None:
    key, api_key = await store.add_key(name, secret=secret, expires_at=expires)
    _print_new_key(key, api_key, as_json)


@keys.command("rotate", help="create a key; the old ones of its kind keep working for a while")
@name_argument
@click.option(
    "--grace", type=Value(values.duration), default="24h", metavar="TIME", help="how long: 24h (default), 30m, 7d, 0s"
)
@secret_option
@json_option
@partial(with_store, makes_key=True)
async def rotate(store: Store, name: str, grace: timedelta, secret: bool, as_json: bool) -> None:
    key, api_key = await store.rotate_keys(name, grace=grace, secret=secret)
    _print_new_key(key, api_key, as_json)
    if not as_json:
        print(f"The other {key.kind} keys expire at {shown(key.created_at + grace)}.")


@keys.command("revoke", help="revoke a key: every further request with it is refused")
@name_argument
@click.argument("key_id", type=Value(values.number), metavar="KEY_ID")
@json_option
@with_store
async def revoke(store: Store, name: str, key_id: int, as_json: bool) -> None:
    key = await store.revoke_key(name, key_id)
    if as_json:
        print_json(_key_facts(key))
    else:
        print(f"Key {key.id} (…{key.hint}) was revoked at {shown(key.revoked_at)}.")


@keys.command("list", help="the keys of a tenant")
@name_argument
@json_option
@with_store
async def show_all(store: Store, name: str, as_json: bool) -> None:
    last_used = await store.keys_last_used(name)
    facts = [{**_key_facts(key), "last_used_at": last_used.get(key.id)} for key in await store.list_keys(name)]
    if as_json:
        print_json(facts)
    else:
        print_table(COLUMNS, facts)


def _print_new_key(key: Key, api_key: str, as_json: bool) -> None:
    if as_json:
        print_json({**_key_facts(key), "api_key": api_key})
        return
    print(f"Key {key.id}, {key.kind}:\n\n{api_key}\n\nThis key is shown once: only its hash is stored.")
    if key.kind == "secret":
        print("It is for servers: keep it out of pages and repositories.")


def _key_facts(key: Key) -> dict[str, Any]:
    return {**asdict(key), "state": _key_state(key)}


def _key_state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "valid"
