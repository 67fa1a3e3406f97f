"""`conversation`: the questions of visitors and their answers. `purge`: apply RETENTION_DAYS."""

import sys
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypedDict, Unpack

import click

from service.access.visitors import visitor_id
from service.commands import values
from service.commands.arguments import Command, Group, OneOf, Value, json_option, name_argument, with_store
from service.commands.output import Progress, print_json, print_table, printable, shown, shown_lines
from service.settings import load_settings
from service.store import transcripts
from service.store.records import Purged, Selection, Turn
from service.store.store import Store
from service.store.transcripts import Overview, Wanted

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

conversations = Group("conversation", help="the questions of visitors and their answers")


class Which(TypedDict):
    """The options that select conversations."""

    conversation_id: uuid.UUID | None
    visitor: str | None
    address: str | None
    subject: str | None
    of_tenant: bool


def selection_options(function: Callable[..., None]) -> Callable[..., None]:
    for option in reversed(WHICH):
        function = option(function)
    return function


@conversations.command("list", help="list conversations, the last used first")
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--since", type=Value(values.moment), metavar="DATE", help="last used at or after this time")
@click.option("--until", type=Value(values.moment), metavar="DATE", help="last used before this time")
@click.option(
    "--rating", type=Value(values.one_of("up", "down")), metavar="up|down", help="with an answer of this rating"
)
@click.option(
    "--outcome",
    type=Value(values.outcome),
    metavar="OUTCOME",
    help="with an answer of this outcome: complete, length, filtered, cancelled, error or an error's code",
)
@click.option(
    "--limit",
    type=Value(values.number),
    default=str(transcripts.PAGE),
    metavar="N",
    help="how many at most; default: 50",
)
@json_option
@with_store
async def list_(store: Store, limit: int, as_json: bool, **wanted: Any) -> None:
    found = await _found(store, Wanted(tenant=wanted.pop("name"), **wanted), limit)
    if as_json:
        print_json([_overview_facts(each) for each in found])
        return
    print_table(
        ["id", "tenant", "last", "questions", "outcomes", "ratings", "question"],
        [
            _overview_facts(each)
            | {"outcomes": _counts(each.outcomes), "ratings": _counts(each.ratings), "question": _line(each.question)}
            for each in found
        ],
    )


async def _found(store: Store, wanted: Wanted, limit: int) -> list[Overview]:
    """Up to `limit` conversations, read page by page."""
    found: list[Overview] = []
    while len(found) < limit:
        after = (found[-1].last, found[-1].id) if found else None
        most = min(limit - len(found), transcripts.LARGEST_PAGE)
        page = await store.read(partial(transcripts.find, wanted=wanted, limit=most, after=after))
        found += page
        if len(page) < most:
            break
    return found


@conversations.command("show", help="print a conversation with all its turns, including replaced ones")
@click.argument("words", metavar="[NAME] ID", nargs=-1, required=True)
@json_option
@with_store
async def show(store: Store, words: Sequence[str], as_json: bool) -> None:
    if len(words) > 2:
        raise ValueError("Too many arguments: expected a tenant's name and a conversation's id.")
    conversation_id = values.conversation_id(words[-1])
    tenant = words[0] if len(words) == 2 else None
    overview = await store.read(lambda db: transcripts.overview(db, conversation_id, tenant))
    if overview is None:
        raise ValueError("There is no such conversation.")
    turns = await _turns(store, conversation_id)
    if as_json:
        print_json(_overview_facts(overview) | {"turns": [_turn_facts(turn) for turn in turns]})
        return
    counts = {"outcomes": _counts(overview.outcomes), "ratings": _counts(overview.ratings)}
    for name, value in (_overview_facts(overview) | counts).items():
        print(f"{name:<10} {_indented(value) if isinstance(value, str) else shown(value)}".rstrip())
    for turn in turns:
        _print_turn(turn)


async def _turns(store: Store, conversation_id: uuid.UUID) -> list[Turn]:
    turns: list[Turn] = []
    while True:
        after = turns[-1].number if turns else 0
        most = transcripts.LARGEST_PAGE
        page = await store.read(partial(transcripts.turns, conversation_id=conversation_id, limit=most, after=after))
        turns += page
        if len(page) < most:
            return turns


def _print_turn(turn: Turn) -> None:
    tokens = None if turn.prompt_tokens is None else f"{turn.prompt_tokens} + {turn.completion_tokens} tokens"
    facts = [shown(turn.created_at), turn.code or turn.status, turn.model, tokens, "replaced" if turn.hidden else None]
    facts.append(f"rated {turn.rating}" if turn.rating else None)
    print(f"\n-- {' · '.join(printable(fact) for fact in facts if fact)}")
    print(f"visitor:   {_indented(turn.question)}\nassistant: {_indented(turn.answer)}")
    if turn.comment:
        print(f"comment:   {_indented(turn.comment)}")


def _indented(text: str) -> str:
    return shown_lines(text, 11)


def _line(text: str) -> str:
    """The beginning of a text as one line."""
    short = " ".join(text.split())
    return printable(short if len(short) <= 60 else f"{short[:59]}…")


def _counts(counts: dict[str, int]) -> str:
    """As `complete, error 2`."""
    return ", ".join(name if times == 1 else f"{name} {times}" for name, times in counts.items())


def _overview_facts(overview: Overview) -> dict[str, Any]:
    return asdict(overview) | {"id": str(overview.id)}


@conversations.command("export", one_of=[SELECTIONS], help="print conversations as JSON, one per line")
@name_argument
@selection_options
@with_store
async def export(store: Store, name: str, **which: Unpack[Which]) -> None:
    """One conversation per line, so that a large export needs little memory and an interrupted one is still usable."""
    progress = Progress("conversations")
    exported = 0
    async for conversation_id, turns in store.export(name, await _selection(store, name, which)):
        print_json({"id": str(conversation_id), "turns": [_turn_facts(turn) for turn in turns]}, indent=None)
        exported += 1
        if not sys.stdout.isatty():
            progress(exported)
    progress.end()


@conversations.command("delete", one_of=[SELECTIONS], help="delete conversations; their usage figures are kept")
@name_argument
@selection_options
@click.option("--yes", is_flag=True, required=True, help="required: this cannot be undone")
@with_store
async def delete(store: Store, name: str, yes: bool, **which: Unpack[Which]) -> None:
    deleted = await store.delete_conversations(name, await _selection(store, name, which))
    print(f"Deleted {deleted} conversations.")


@click.command("purge", cls=Command, help="delete conversations and aggregate usage older than RETENTION_DAYS")
@with_store
async def purge(store: Store) -> None:
    days = load_settings().retention_days
    if days == 0:
        print("RETENTION_DAYS is 0: everything is kept.")
        return
    purged, progress = Purged(), Progress("rows")
    async for step in store.purge_steps(datetime.now(UTC) - timedelta(days=days)):
        purged += step
        progress(purged.conversations + purged.usage)
    progress.end()
    print(f"Deleted {purged.conversations} conversations that were last used more than {days} days ago.")
    print(f"Aggregated {purged.usage} older usage rows.")


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
