"""The operator's command line: tenants, their keys, what they used, and forgetting old conversations.

Exits with 0, with 1 when a command failed and with 2 when it was not understood; errors are one line on stderr.
"""

import argparse
import asyncio
import csv
import json
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from html import escape
from pathlib import Path
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from pydantic import ValidationError

from identity import parse_public_key
from origins import ANY_ORIGIN, parse_origin
from settings import Settings, explain
from store import Key, Store, StoreError, Tenant, TenantSettings, UsageTotal, Widget

Command = Callable[[Store, argparse.Namespace], Awaitable[None]]

DEFAULT_URL = "http://127.0.0.1:8000"
DEFAULT_USAGE_DAYS = 30
GRACE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
LARGEST_NUMBER = 2**31 - 1

TENANT_OPTIONS = ("rate_per_minute", "visitor_rate_per_minute", "tokens_per_day")
TENANT_TEXTS = ("model", "system_prompt", "openai_key_env", "identity_secret_env", "identity_public_key")
IDENTITY_WAYS = ("identity_secret_env", "identity_public_key")
MAX_IDENTITY_CLAIMS = 20
WIDGET_TEXTS = ("title", "greeting", "placeholder", "color", "position", "theme", "locale")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; `argv` is without the program's name. Raises SystemExit when it is not understood."""
    args = _parser().parse_args(argv)
    try:
        asyncio.run(_run(args.run, args))
    except ValidationError as error:
        return _fail(explain(error))
    except (StoreError, ValueError) as error:
        return _fail(str(error))
    return 0


async def _run(command: Command, args: argparse.Namespace) -> None:
    store = Store(Settings().database_url)
    try:
        await store.migrate()
        await command(store, args)
    finally:
        await store.close()


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
    changes = _tenant_changes(args)
    _check_identity(cast(TenantSettings, asdict(await store.get_tenant(args.name)) | changes))
    tenant = await store.set_tenant(args.name, **changes)
    _print_tenant(tenant, await store.set_widget(args.name, _widget_changes(args)), args.json)


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
    changes = {name: getattr(args, name) for name in TENANT_OPTIONS if getattr(args, name) is not None}
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
    """What was given of the widget's settings; None, for an empty text, takes one away."""
    changes = {name: getattr(args, name) or None for name in WIDGET_TEXTS if getattr(args, name) is not None}
    if args.suggestions is not None:
        changes["suggestions"] = [text for text in args.suggestions if text] or None
    return changes


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


# Usage and retention


async def _show_usage(store: Store, args: argparse.Namespace) -> None:
    since = args.since or _midnight(datetime.now(UTC).date() - timedelta(days=DEFAULT_USAGE_DAYS))
    totals = await store.usage(args.name, since)
    facts = [asdict(total) for total in totals]
    if args.json:
        _print_json({"tenant": args.name, "since": since, "days": facts, "total": _sum(totals)})
    elif args.csv:
        _print_csv(UsageTotal.__slots__, facts)
    else:
        _print_table(UsageTotal.__slots__, [*facts, {"day": "total", **_sum(totals)}])


def _sum(totals: Sequence[UsageTotal]) -> dict[str, int]:
    return {
        "requests": sum(total.requests for total in totals),
        "prompt_tokens": sum(total.prompt_tokens for total in totals),
        "completion_tokens": sum(total.completion_tokens for total in totals),
    }


async def _purge(store: Store, args: argparse.Namespace) -> None:
    days = Settings().retention_days
    if days == 0:
        print("RETENTION_DAYS is 0: conversations are kept.")
        return
    purged = await store.purge(datetime.now(UTC) - timedelta(days=days))
    print(f"Deleted {purged.conversations} conversations that nobody used for {days} days.")


# Output


def _print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=_shown))


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
    usage = _command(groups, "usage", _show_usage, "what a tenant used, by day, model and outcome")
    _add_name(usage)
    usage.add_argument("--since", type=_moment, metavar="DATE", help=f"default: {DEFAULT_USAGE_DAYS} days ago")
    form = usage.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print JSON")
    form.add_argument("--csv", action="store_true", help="print comma-separated values")
    _command(groups, "purge", _purge, "delete the conversations that are older than RETENTION_DAYS")
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
    remove.add_argument("--yes", action="store_true", required=True, help="it can't be undone, so say that you mean it")
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
    add("--rate-per-minute", type=_number, metavar="N", help="answers for all visitors together; 0 is no limit")
    add("--visitor-rate-per-minute", type=_number, metavar="N", help="answers for one visitor; 0 is no limit")
    add("--tokens-per-day", type=_number, metavar="N", help="prompts and answers; 0 is no limit")
    add("--model", type=_text)
    add("--system-prompt-file", type=_file, dest="system_prompt", metavar="FILE")
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
    add("--color", type=_color, metavar="#RRGGBB")
    add("--position", choices=("bottom-right", "bottom-left", ""))
    add("--theme", choices=("auto", "light", "dark", ""))
    add("--locale", type=_locale)
    add("--suggestion", type=_text, action="append", dest="suggestions", metavar="TEXT")


def _origin(text: str) -> str:
    try:
        return parse_origin(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _name(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not 1 <= len(text) <= 100:
        raise argparse.ArgumentTypeError("must be 1 to 100 printable characters, without spaces at its ends")
    return text


def _variable(text: str) -> str:
    # The value is not repeated: it may be the key itself, given by mistake.
    if text and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        raise argparse.ArgumentTypeError("must be the name of an environment variable, not the key itself")
    return text


def _color(text: str) -> str:
    return _matching(text, r"(#(?:[0-9A-Fa-f]{3}|[0-9A-Fa-f]{6}))?", "a colour such as #1a6b54")


def _locale(text: str) -> str:
    return _matching(text, r"([A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*)?", "a language tag such as de or pt-BR")


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


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > LARGEST_NUMBER:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to {LARGEST_NUMBER}")
    return int(text)


def _grace(text: str) -> timedelta:
    match = re.fullmatch(r"([0-9]{1,5})([smhd])", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 30m, 24h or 7d")
    return timedelta(**{GRACE_UNITS[match[2]]: int(match[1])})


def _moment(text: str) -> datetime:
    """A date, which is its first moment in UTC, or a date and time, in UTC unless it says otherwise."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a date such as 2026-12-31") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


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
    if parts.query or parts.fragment:
        raise argparse.ArgumentTypeError(f"{text!r} must be an address such as https://chat.example.com")
    return text.rstrip("/")


if __name__ == "__main__":
    sys.exit(main())
