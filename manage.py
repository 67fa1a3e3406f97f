"""The operator's command line: tenants, their keys, what they used, and forgetting old conversations.

Exits with 0, with 1 when a command failed and with 2 when it was not understood; errors are one line on stderr.
"""

import argparse
import asyncio
import csv
import ipaddress
import json
import os
import re
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import partial
from html import escape
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn, cast, get_args
from urllib.parse import urlsplit

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from service import demonstration
from service.access.origins import ANY_ORIGIN, parse_origin
from service.access.user_tokens import parse_public_key
from service.access.visitors import visitor_id
from service.schema import WidgetSettings
from service.settings import MAX_ANSWER_TOKENS, load_settings
from service.store.records import (
    LARGEST_INTEGER,
    Key,
    Selection,
    StoreError,
    Tenant,
    TenantSettings,
    Turn,
    UsageGroup,
    UsageTotal,
    Widget,
)
from service.store.store import Store, open_store

Command = Callable[[Store, argparse.Namespace], Awaitable[None]]

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_USAGE_DAYS = 30
EMPTY_TOTAL = UsageTotal((), 0, 0, 0, 0, 0, None, None)
GRACE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}

TENANT_OPTIONS = ("rate_per_minute", "visitor_rate_per_minute", "visitor_streams", "tokens_per_day")
TENANT_NUMBERS = ("temperature", "max_answer_tokens")
IDENTITY_WAYS = ("identity_secret_env", "identity_public_key")
TENANT_TEXTS = ("model", "system_prompt", "openai_key_env", "openai_base_url_env", *IDENTITY_WAYS)
MAX_IDENTITY_CLAIMS = 20
WIDGET_TEXTS = ("title", "greeting", "placeholder", "color", "position", "theme", "locale")
OPTIONAL = (*TENANT_NUMBERS, *TENANT_TEXTS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is without the program's name. Raises SystemExit when it is not understood."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # letters that a terminal lacks must not cost a new key
    if sys.stdout is None:  # closed, as by `>&-`
        return _fail("There is no standard output.")
    args = _parser().parse_args(argv)
    try:
        if not _is_meant(args):
            return _fail("Nothing was changed.")
        asyncio.run(_run(args.run, args))
        sys.stdout.flush()
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # of the output: what the database has is a StoreError
        return _fail_to_print(args, error)
    except (StoreError, ValueError) as error:
        return _fail(str(error))
    return 0


def _fail_to_print(args: argparse.Namespace, error: OSError) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would say so at its end once more
    lost = (
        " The new key is lost; `key rotate` makes another." if args.run in (_add_tenant, _add_key, _rotate_keys) else ""
    )
    if isinstance(error, BrokenPipeError) and not lost:  # whoever reads, such as `head`, has enough
        return 1
    return _fail(f"The output cannot be written: {error.strerror}.{lost}")


def _is_meant(args: argparse.Namespace) -> bool:
    """Whether a tenant is to be removed for good: whoever sits at a terminal is asked."""
    if args.run is not _remove_tenant or args.yes or not (sys.stdin and sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    question = f"Remove the tenant {args.name!r} with its keys, conversations and usage? [y/N] "
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


async def _run(command: Command, args: argparse.Namespace) -> None:
    async with open_store(load_settings().database_url) as store:
        await command(store, args)


def _fail(message: str) -> int:
    print(f"manage.py: {' '.join(message.split())}", file=sys.stderr)
    return 1


# Tenants


async def _add_tenant(store: Store, args: argparse.Namespace) -> None:
    changes = _tenant_changes(args)
    _check_identity(changes)
    tenant, widget, api_key = await store.add_tenant(args.name, _widget_changes(args), **changes)
    snippet = _snippet(args.url, api_key, widget.id)
    if args.json:
        _print_json({"tenant": tenant.name, "widget_id": widget.id, "api_key": api_key, "snippet": snippet})
        return
    places = "any website" if ANY_ORIGIN in tenant.origins else ", ".join(tenant.origins)
    print(f"The tenant {tenant.name!r} may run on {places}.")
    print(f"\nPaste this into the pages of the site, anywhere in their HTML:\n\n{snippet}\n")
    print(f"The address in src, {args.url}, must be the service's public one; --url sets it.")
    print("This key is shown once: only its hash is kept. `key rotate` makes another.")


async def _list_tenants(store: Store, args: argparse.Namespace) -> None:
    tenants = await store.list_tenants()
    if args.json:
        _print_json([_tenant_facts(tenant) for tenant in tenants])
        return
    columns = ("name", "origins", *TENANT_OPTIONS, "model")
    _print_table(columns, [_tenant_facts(tenant) for tenant in tenants])


async def _show_tenant(store: Store, args: argparse.Namespace) -> None:
    _print_tenant(await store.get_tenant(args.name), await store.get_widget(args.name), args.json)


async def _set_tenant(store: Store, args: argparse.Namespace) -> None:
    changes, widget_changes = _tenant_changes(args), _widget_changes(args)
    _check_identity(cast(TenantSettings, asdict(await store.get_tenant(args.name)) | changes))
    widget = await store.set_widget(args.name, widget_changes)  # first: who may ask is not changed should it fail
    _print_tenant(await store.set_tenant(args.name, **changes), widget, args.json)


async def _remove_tenant(store: Store, args: argparse.Namespace) -> None:
    await store.remove_tenant(args.name)
    print(f"The tenant {args.name!r} is removed, with its keys, conversations and usage.")


def _print_tenant(tenant: Tenant, widget: Widget, as_json: bool) -> None:
    facts = {**_tenant_facts(tenant), "widget_id": widget.id, "widget": widget.settings}
    if as_json:
        _print_json(facts)
        return
    for name, value in facts.items():
        print(f"{name:<24} {_shown(value)}")


def _tenant_facts(tenant: Tenant) -> dict[str, Any]:
    facts = asdict(tenant)
    del facts["visitor_salt"]
    return facts


def _tenant_changes(args: argparse.Namespace) -> TenantSettings:
    """What was given of a tenant's settings; an empty text is the service's default."""
    unset = [name for name in args.unset or () if name in OPTIONAL]
    changes: dict[str, Any] = dict.fromkeys(unset)
    changes |= {
        name: getattr(args, name) for name in (*TENANT_OPTIONS, *TENANT_NUMBERS) if getattr(args, name) is not None
    }
    changes |= {name: getattr(args, name) or None for name in TENANT_TEXTS if getattr(args, name) is not None}
    if args.origins:
        changes["origins"] = list(dict.fromkeys(args.origins))
    if any(changes.get(way) for way in IDENTITY_WAYS):  # one takes the place of the other
        changes = dict.fromkeys(IDENTITY_WAYS) | changes
    if args.identity_claims is not None:
        changes["identity_claims"] = list(dict.fromkeys(name for name in args.identity_claims if name))
    if args.require_identity is not None:
        changes["require_identity"] = args.require_identity
    return cast(TenantSettings, changes)


def _check_identity(settings: TenantSettings) -> None:
    if settings.get("require_identity") and not any(settings.get(way) for way in IDENTITY_WAYS):
        raise ValueError("--require-identity needs --identity-secret-env or --identity-public-key-file")
    if len(settings.get("identity_claims", [])) > MAX_IDENTITY_CLAIMS:
        raise ValueError(f"--identity-claim may be given {MAX_IDENTITY_CLAIMS} times at most")


def _widget_changes(args: argparse.Namespace) -> dict[str, Any]:
    """What was given of the widget's settings; None takes one away. Raises ValueError for what does not fit."""
    changes: dict[str, Any] = dict.fromkeys(name for name in args.unset or () if name in WidgetSettings.model_fields)
    changes |= args.look or {}
    changes |= {name: getattr(args, name) or None for name in WIDGET_TEXTS if getattr(args, name) is not None}
    if args.suggestions is not None:
        changes["suggestions"] = [text for text in args.suggestions if text] or None
    _check_look(changes)
    return changes


def _check_look(settings: Mapping[str, Any]) -> None:
    try:
        WidgetSettings.model_validate(settings)
    except ValidationError as error:
        raise ValueError("; ".join(_problem(item) for item in error.errors())) from None


def _problem(item: ErrorDetails) -> str:
    """One thing that is wrong, with the name of the setting."""
    place = ".".join(map(str, item["loc"]))
    return f"{place}: {item['msg'].removeprefix('Value error, ')}" if place else item["msg"]


def _snippet(url: str, api_key: str, widget_id: str) -> str:
    return (
        f'<script src="{escape(url)}/widget.js" async\n'
        f'        data-api-key="{api_key}" data-widget-id="{widget_id}"></script>'
    )


# Keys


async def _add_key(store: Store, args: argparse.Namespace) -> None:
    key, api_key = await store.add_key(args.name, secret=args.secret, expires_at=args.expires)
    _print_new_key(key, api_key, args.json)


async def _rotate_keys(store: Store, args: argparse.Namespace) -> None:
    key, api_key = await store.rotate_keys(args.name, grace=args.grace, secret=args.secret)
    _print_new_key(key, api_key, args.json)
    if not args.json:
        print(f"The other {key.kind} keys work until {_shown(key.created_at + args.grace)}.")


async def _revoke_key(store: Store, args: argparse.Namespace) -> None:
    key = await store.revoke_key(args.name, args.key_id)
    if args.json:
        _print_json(_key_facts(key))
    else:
        print(f"Key {key.id} (…{key.hint}) is revoked since {_shown(key.revoked_at)}.")


async def _list_keys(store: Store, args: argparse.Namespace) -> None:
    last_used = await store.keys_last_used(args.name)
    facts = [{**_key_facts(key), "last_used_at": last_used.get(key.id)} for key in await store.list_keys(args.name)]
    if args.json:
        _print_json(facts)
    else:
        columns = ("id", "kind", "hint", "state", "created_at", "expires_at", "revoked_at", "last_used_at")
        _print_table(columns, facts)


def _print_new_key(key: Key, api_key: str, as_json: bool) -> None:
    if as_json:
        _print_json({**_key_facts(key), "api_key": api_key})
        return
    print(f"Key {key.id}, {key.kind}:\n\n{api_key}\n\nThis key is shown once: only its hash is kept.")
    if key.kind == "secret":
        print("It is for servers: keep it out of pages and repositories.")


def _key_facts(key: Key) -> dict[str, Any]:
    return {**asdict(key), "state": _key_state(key)}


def _key_state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "expired" if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else "valid"


# Usage, conversations and retention


async def _show_usage(store: Store, args: argparse.Namespace) -> None:
    since = args.since or _midnight(datetime.now(UTC).date() - timedelta(days=DEFAULT_USAGE_DAYS))
    by: list[UsageGroup] = list(dict.fromkeys(args.by or ["day"]))
    totals = await store.usage(args.name, since, by)
    rows = [_usage_facts(by, each, args) for each in totals]
    (overall,) = await store.usage(args.name, since, ()) or [EMPTY_TOTAL]
    total = _usage_facts([], overall, args)
    if args.json:
        _print_json({"tenant": args.name, "since": since, "by": by, "rows": rows, "total": total})
    elif args.csv:
        _print_csv([*by, *total], rows)
    else:
        _print_table([*by, *total], [*rows, {by[0]: "total"} | total])


def _usage_facts(by: Sequence[UsageGroup], total: UsageTotal, args: argparse.Namespace) -> dict[str, Any]:
    facts = dict(zip(by, total.group, strict=True)) | {
        name: value for name, value in asdict(total).items() if name != "group"
    }
    if args.price_in is not None or args.price_out is not None:
        millionths = total.prompt_tokens * (args.price_in or 0) + total.completion_tokens * (args.price_out or 0)
        facts["cost"] = round(millionths / 1_000_000, 6)
    return facts


async def _export(store: Store, args: argparse.Namespace) -> None:
    """One conversation a line, so that a large export needs little memory and a broken one is good up to there."""
    async for conversation_id, turns in store.export(args.name, await _selection(store, args)):
        facts = {"id": str(conversation_id), "turns": [_turn_facts(turn) for turn in turns]}
        _print_json(facts, indent=None)


def _turn_facts(turn: Turn) -> dict[str, Any]:
    names = (
        *("question", "answer", "status", "code", "hidden", "rating", "comment", "visitor", "model"),
        *("prompt_tokens", "completion_tokens", "created_at", "finished_at"),
    )
    return {"id": str(turn.id)} | {name: getattr(turn, name) for name in names}


async def _delete_conversations(store: Store, args: argparse.Namespace) -> None:
    deleted = await store.delete_conversations(args.name, await _selection(store, args))
    print(f"Deleted {deleted} conversations.")


async def _selection(store: Store, args: argparse.Namespace) -> Selection:
    if args.address is None:
        return Selection(args.id, args.visitor, args.subject)
    return Selection(visitor=visitor_id(await store.get_tenant(args.name), args.address))


async def _purge(store: Store, args: argparse.Namespace) -> None:
    days = load_settings().retention_days
    if days == 0:
        print("RETENTION_DAYS is 0: all is kept.")
        return
    purged = await store.purge(datetime.now(UTC) - timedelta(days=days))
    print(f"Deleted {purged.conversations} conversations that nobody used for {days} days.")
    print(f"Summed up {purged.usage} rows of usage that were older.")


# Output


def _print_json(value: object, indent: int | None = 2) -> None:
    has_all_letters = sys.stdout.encoding.lower() == "utf-8"
    print(json.dumps(value, ensure_ascii=not has_all_letters, indent=indent, default=_shown))


def _print_csv(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_shown(row[column]) for column in columns] for row in rows)


def _print_table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [list(columns), *([_shown(row.get(column)) for column in columns] for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(columns))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _shown(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return ", ".join(value) if isinstance(value, list) else str(value)


# Arguments


class _Parser(argparse.ArgumentParser):
    """A parser that says in one line what was not understood."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message} (see --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="manage.py", description=(__doc__ or "").partition("\n")[0])
    groups = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_tenant_commands(_group(groups, "tenant", "who may use the service"))
    _add_key_commands(_group(groups, "key", "the API keys of a tenant"))
    _add_conversation_commands(_group(groups, "conversation", "what visitors asked and were answered"))
    usage = _command(groups, "usage", _show_usage, "what a tenant used")
    _add_name(usage)
    usage.add_argument(
        "--by",
        action="append",
        choices=get_args(UsageGroup),
        help="group by this; may be repeated; default: day",
    )
    for name, what in (("--price-in", "prompts"), ("--price-out", "answers")):
        usage.add_argument(name, type=_price, metavar="PRICE", help=f"per million tokens of {what}: adds the cost")
    usage.add_argument("--since", type=_moment, metavar="DATE", help=f"default: {DEFAULT_USAGE_DAYS} days ago")
    form = usage.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print comma-separated values")
    _command(groups, "purge", _purge, "delete conversations, and sum usage up, that are older than RETENTION_DAYS")
    return parser


def _group(groups: Any, word: str, help: str) -> Any:
    return groups.add_parser(word, help=help, description=help).add_subparsers(required=True, metavar="COMMAND")


def _add_tenant_commands(commands: Any) -> None:
    add = _command(commands, "add", _add_tenant, "make a tenant, its widget and its key")
    _add_name(add, type=_name)
    _add_settings(add, origin_required=True)
    add.add_argument("--url", type=_url, default=DEFAULT_URL, help=f"the service's public address ({DEFAULT_URL})")
    listing = _command(commands, "list", _list_tenants, "all tenants")
    show = _command(commands, "show", _show_tenant, "one tenant and its widget")
    _add_name(show)
    change = _command(commands, "set", _set_tenant, "change what is given; an empty text is the service's default")
    _add_name(change)
    _add_settings(change, origin_required=False)
    remove = _command(commands, "remove", _remove_tenant, "delete a tenant with its conversations and usage")
    _add_name(remove)
    remove.add_argument("--yes", action="store_true", help="do not ask; only at a terminal is there a question")
    _add_json(add, listing, show, change)


def _add_key_commands(commands: Any) -> None:
    add = _command(commands, "add", _add_key, "make one more key")
    rotate = _command(commands, "rotate", _rotate_keys, "make a new key; the old ones of its kind work for a while")
    revoke = _command(commands, "revoke", _revoke_key, "make a key invalid: the next request with it is refused")
    listing = _command(commands, "list", _list_keys, "the keys of a tenant")
    for parser in (add, rotate, revoke, listing):
        _add_name(parser)
    add.add_argument("--expires", type=_future, metavar="DATE", help="when it stops working (UTC), such as 2026-12-31")
    rotate.add_argument(
        "--grace", type=_grace, default=timedelta(hours=24), help="how long: 24h (default), 30m, 7d, 0s"
    )
    revoke.add_argument("key_id", type=_number, metavar="KEY_ID", help="see `key list`")
    for parser in (add, rotate):
        parser.add_argument("--secret", action="store_true", help="a key for servers, a4_sec_…, instead of for pages")
    _add_json(add, rotate, revoke, listing)


def _add_conversation_commands(commands: Any) -> None:
    export = _command(commands, "export", _export, "print them as JSON, one a line")
    delete = _command(commands, "delete", _delete_conversations, "forget them; the usage stays, without any text")
    for parser in (export, delete):
        _add_name(parser)
        which = parser.add_mutually_exclusive_group(required=True)
        which.add_argument("--id", type=_uuid, metavar="ID", help="one conversation")
        which.add_argument(
            "--visitor", type=_visitor, metavar="HASH", help="those of a visitor, see `usage --by visitor`"
        )
        which.add_argument("--address", type=_address, metavar="IP", help="those of a visitor's address")
        which.add_argument(
            "--subject", type=_text, metavar="SUB", help="those of a signed-in visitor, by the token's sub"
        )
        which.add_argument("--all", action="store_true", help="those of the whole tenant")
    delete.add_argument("--yes", action="store_true", required=True, help="required: this cannot be undone")


def _command(commands: Any, word: str, run: Command, help: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(word, help=help, description=help, allow_abbrev=False)
    parser.set_defaults(run=run)
    return parser


def _add_name(parser: argparse.ArgumentParser, type: Callable[[str], str] = str) -> None:
    parser.add_argument("name", type=type, metavar="NAME", help="the tenant's name")


def _add_json(*parsers: argparse.ArgumentParser) -> None:
    for parser in parsers:
        parser.add_argument("--json", action="store_true", help="print JSON")


def _add_settings(parser: argparse.ArgumentParser, origin_required: bool) -> None:
    add = parser.add_argument
    where = parser.add_mutually_exclusive_group(required=origin_required)
    where.add_argument(
        "--origin",
        type=_origin,
        action="append",
        dest="origins",
        metavar="URL",
        help="a site that may show the widget, by its scheme, host and port: https://www.example.com; "
        "https://*.example.com is every name one level below example.com",
    )
    where.add_argument(
        "--any-origin",
        action="append_const",
        const=ANY_ORIGIN,
        dest="origins",
        help="every website there is may show the widget and spend what the limits leave: for public demonstrations",
    )
    add("--rate-per-minute", type=_number, metavar="N", help="questions by one key, whoever asks; 0 is no limit")
    add("--visitor-rate-per-minute", type=_number, metavar="N", help="questions by one visitor; 0 is no limit")
    add("--visitor-streams", type=_number, metavar="N", help="answers at a time for one visitor; 0 is no limit")
    add("--tokens-per-day", type=_number, metavar="N", help="prompts and answers; 0 is no limit")
    add("--model", type=_text)
    add("--system-prompt-file", type=_file, dest="system_prompt", metavar="FILE")
    add("--temperature", type=_temperature, metavar="T", help="0 to 2")
    add("--max-answer-tokens", type=_answer_tokens, metavar="N", help="of one answer; 0 is no limit")
    add("--openai-base-url-env", type=_variable, metavar="VARIABLE", help="the environment variable with its address")
    add("--openai-key-env", type=_variable, metavar="VARIABLE", help="the environment variable with the provider's key")
    way = parser.add_mutually_exclusive_group()
    way.add_argument(
        "--identity-secret-env",
        type=_variable,
        metavar="VARIABLE",
        help="the environment variable with the secret that your server signs user tokens with (HS256)",
    )
    way.add_argument(
        "--identity-public-key-file",
        type=_public_key,
        dest="identity_public_key",
        metavar="FILE",
        help="or the Ed25519 public key, as PEM, of what it signs them with (EdDSA); an empty text takes it away",
    )
    add(
        "--identity-claim",
        type=_claim,
        action="append",
        dest="identity_claims",
        metavar="NAME",
        help="a claim of user tokens that the model may know and the usage shows; may be given several times",
    )
    add(
        "--require-identity",
        action=argparse.BooleanOptionalAction,
        help="refuse every call without a valid user token",
    )
    add("--title", type=_text)
    add("--greeting", type=_text)
    add("--placeholder", type=_text)
    add("--color", type=partial(_widget_text, "color"), metavar="#RRGGBB")
    add("--position", choices=("bottom-right", "bottom-left", ""))
    add("--theme", choices=("auto", "light", "dark", ""))
    add("--locale", type=partial(_widget_text, "locale"))
    add("--suggestion", type=_text, action="append", dest="suggestions", metavar="TEXT")
    add("--look", type=_look, metavar="FILE", help="any of the widget's settings, as a JSON object")
    names = (*(name.replace("_", "-") for name in OPTIONAL), *WidgetSettings.model_fields)
    add("--unset", type=_setting, action="append", metavar="NAME", help=f"back to the default: {', '.join(names)}")


def _origin(text: str) -> str:
    try:
        return parse_origin(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _name(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not 1 <= len(text) <= 100:
        raise argparse.ArgumentTypeError("must be 1 to 100 printable characters, without spaces at its ends")
    if text in (demonstration.TENANT_NAME, demonstration.STUDIO_NAME):
        raise argparse.ArgumentTypeError(f"{text!r} is the demonstration's own, and goes with it; take another name")
    return text


def _variable(text: str) -> str:
    # The value is not repeated: it may be the key itself, given by mistake.
    if text and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise argparse.ArgumentTypeError("must be the name of an environment variable, not the key itself")
    return text


def _widget_text(name: str, text: str) -> str:
    """A setting of the widget; an empty text takes it away."""
    try:
        _check_look({name: text or None})
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} {str(error).removeprefix(f'{name}: ')}") from None
    return text


def _matching(text: str, pattern: str, expected: str) -> str:
    if not re.fullmatch(pattern, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not {expected}")
    return text


def _text(text: str) -> str:
    if re.search("[\0\ud800-\udfff]", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not valid text")
    return text.strip()


def _file(path: str) -> str:
    try:
        return _text(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"cannot read {path!r}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise argparse.ArgumentTypeError(f"{path!r} is not UTF-8 text") from None


def _public_key(path: str) -> str:
    try:
        return parse_public_key(_file(path)) if path else ""
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{path!r} {error}") from None


def _claim(text: str) -> str:
    return _matching(text, r"[A-Za-z0-9_.:/-]{0,64}", "the name of a claim, such as plan")


def _look(path: str) -> dict[str, Any]:
    try:
        settings = json.loads(_file(path))
        if not isinstance(settings, dict):
            raise ValueError("must be a JSON object")
        _check_look(settings)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{path!r}: {error}") from None
    except RecursionError:
        raise argparse.ArgumentTypeError(f"{path!r}: is nested too deeply") from None
    return settings


def _setting(text: str) -> str:
    name = text if text in WidgetSettings.model_fields else text.replace("-", "_")
    if name not in (*OPTIONAL, *WidgetSettings.model_fields):
        raise argparse.ArgumentTypeError(f"{text!r} is not a setting that can be unset (see --help)")
    return name


def _temperature(text: str) -> float:
    return _real(text, 2)


def _price(text: str) -> float:
    return _real(text, 1_000_000)


def _real(text: str, most: float) -> float:
    if not re.fullmatch(r"[0-9]{1,7}(\.[0-9]{1,9})?", text) or float(text) > most:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {most}")
    return float(text)


def _answer_tokens(text: str) -> int:
    tokens = _number(text)
    if tokens > MAX_ANSWER_TOKENS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than {MAX_ANSWER_TOKENS}")
    return tokens


def _uuid(text: str) -> uuid.UUID:
    try:
        return uuid.UUID(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a conversation's id") from None


def _visitor(text: str) -> str:
    return _matching(text, "[0-9a-f]{32}", "a visitor's hash")


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an IP address") from None


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > LARGEST_INTEGER:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {LARGEST_INTEGER}")
    return int(text)


def _grace(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,5})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 30m, 24h or 7d")
    return timedelta(**{GRACE_UNITS[match[2]]: int(match[1])})


def _moment(text: str) -> datetime:
    """A date, which is its first moment in UTC, or a date and time, in UTC unless it says otherwise; in UTC."""
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-12-31") from None


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _future(text: str) -> datetime:
    moment = _moment(text)
    if moment <= datetime.now(UTC):
        raise argparse.ArgumentTypeError(f"{text!r} is in the past")
    return moment


def _url(text: str) -> str:
    try:
        parts = urlsplit(text)
        parse_origin(f"{parts.scheme}://{parts.netloc}")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    if "?" in text or "#" in text:
        raise argparse.ArgumentTypeError(f"{text!r} must be an address such as https://chat.example.com")
    return text.rstrip("/")


if __name__ == "__main__":
    sys.exit(main())
