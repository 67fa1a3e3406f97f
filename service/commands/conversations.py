"""`conversation`: what visitors asked and were answered. `purge`: what RETENTION_DAYS says."""

import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypedDict, Unpack

import click

from service.access.visitors import visitor_id
from service.commands import values
from service.commands.arguments import Command, Group, OneOf, Value, name_argument, with_store
from service.commands.output import print_json
from service.settings import load_settings
from service.store.records import Selection, Turn
from service.store.store import Store

WHICH = [
    click.option("--id", "conversation_id", type=Value(values.conversation_id), metavar="ID", help="one conversation"),
    click.option(
        "--visitor", type=Value(values.visitor), metavar="HASH", help="those of a visitor, see `usage --by visitor`"
    ),
    click.option("--address", type=Value(values.address), metavar="IP", help="those of a visitor's address"),
    click.option(
        "--subject", type=Value(values.text), metavar="SUB", help="those of a signed-in visitor, by the token's sub"
    ),
    click.option("--all", "of_tenant", is_flag=True, help="those of the whole tenant"),
]

SELECTIONS = OneOf(("conversation_id", "visitor", "address", "subject", "of_tenant"), required=True)

conversations = Group("conversation", help="what visitors asked and were answered")


class Which(TypedDict):
    """The options that select conversations, as they were given."""

    conversation_id: uuid.UUID | None
    visitor: str | None
    address: str | None
    subject: str | None
    of_tenant: bool


def selection_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(WHICH):
        function = option(function)
    return function


@conversations.command("export", one_of=[SELECTIONS], help="print them as JSON, one per line")
@name_argument
@selection_options
@with_store
async def export(store: Store, name: str, **which: Unpack[Which]) -> None:
    """One conversation per line, so that a large export needs little memory and a broken one is good up to there."""
    async for conversation_id, turns in store.export(name, await _selection(store, name, which)):
        print_json({"id": str(conversation_id), "turns": [_turn_facts(turn) for turn in turns]}, indent=None)


@conversations.command("delete", one_of=[SELECTIONS], help="delete them; the usage stays, without any text")
@name_argument
@selection_options
@click.option("--yes", is_flag=True, required=True, help="required: this cannot be undone")
@with_store
async def delete(store: Store, name: str, yes: bool, **which: Unpack[Which]) -> None:
    deleted = await store.delete_conversations(name, await _selection(store, name, which))
    print(f"Deleted {deleted} conversations.")


@click.command("purge", cls=Command, help="delete conversations, and sum usage up, that are older than RETENTION_DAYS")
@with_store
async def purge(store: Store) -> None:
    days = load_settings().retention_days
    if days == 0:
        print("RETENTION_DAYS is 0: everything is kept.")
        return
    purged = await store.purge(datetime.now(UTC) - timedelta(days=days))
    print(f"Deleted {purged.conversations} conversations that nobody used for {days} days.")
    print(f"Summed up {purged.usage} rows of usage that were older.")


async def _selection(store: Store, name: str, which: Which) -> Selection:
    if which["address"] is None:
        return Selection(which["conversation_id"], which["visitor"], which["subject"])
    return Selection(visitor=visitor_id(await store.get_tenant(name), which["address"]))


def _turn_facts(turn: Turn) -> dict[str, Any]:
    names = (
        *("question", "answer", "status", "code", "hidden", "rating", "comment", "visitor", "model"),
        *("sources", "prompt_tokens", "completion_tokens", "created_at", "finished_at"),
    )
    return {"id": str(turn.id)} | {name: getattr(turn, name) for name in names}
