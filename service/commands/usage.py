"""`usage`: the usage of one tenant or of all, and its cost."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any, cast, get_args

import click

from service.commands import values
from service.commands.arguments import Command, OneOf, Value, json_option, with_store
from service.commands.output import print_csv, print_json, print_table
from service.settings import load_settings
from service.store.records import UsageGroup, UsageTotal
from service.store.store import Store

DEFAULT_DAYS = 30
NOTHING = UsageTotal((), 0, 0, 0, 0, 0, None, None)
GROUPS = get_args(UsageGroup)


@click.command(
    "usage",
    cls=Command,
    one_of=[OneOf(("as_json", "as_csv")), OneOf(("name", "of_all"), required=True)],
    help="the usage of a tenant, including refused requests",
)
@click.argument("name", metavar="[NAME]", required=False)
@click.option("--all", "of_all", is_flag=True, help="all tenants, and requests without a known tenant")
@click.option(
    "--by",
    type=Value(values.one_of(*GROUPS)),
    multiple=True,
    metavar="GROUP",
    help=f"{', '.join(GROUPS)}; may be repeated; default: day, with --all: tenant",
)
@click.option(
    "--price-in",
    type=Value(values.price),
    metavar="PRICE",
    help="per million tokens of prompts: adds the cost (PRICE_PROMPT)",
)
@click.option(
    "--price-out",
    type=Value(values.price),
    metavar="PRICE",
    help="per million tokens of answers: adds the cost (PRICE_COMPLETION)",
)
@click.option("--since", type=Value(values.moment), metavar="DATE", help=f"default: {DEFAULT_DAYS} days ago")
@json_option
@click.option("--csv", "as_csv", is_flag=True, help="print comma-separated values")
@with_store
async def usage(
    store: Store,
    name: str | None,
    of_all: bool,
    by: Sequence[str],
    price_in: float | None,
    price_out: float | None,
    since: datetime | None,
    as_json: bool,
    as_csv: bool,
) -> None:
    since = since or _midnight_days_ago(DEFAULT_DAYS)
    groups = cast(list[UsageGroup], list(dict.fromkeys(by or ["tenant" if of_all else "day"])))
    settings = load_settings()
    price_in = settings.price_prompt if price_in is None else price_in
    price_out = settings.price_completion if price_out is None else price_out
    totals = await store.usage(name, since, groups)
    rows = [_usage_facts(groups, each, price_in, price_out) for each in totals]
    (overall,) = await store.usage(name, since, ()) or [NOTHING]
    total = _usage_facts([], overall, price_in, price_out)
    if as_json:
        print_json({"tenant": name, "since": since, "by": groups, "rows": rows, "total": total})
    elif as_csv:
        print_csv([*groups, *total], rows)
    else:
        print_table([*groups, *total], [*rows, {groups[0]: "total"} | total])


def _midnight_days_ago(days: int) -> datetime:
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return today - timedelta(days=days)


def _usage_facts(
    by: Sequence[UsageGroup], total: UsageTotal, price_in: float | None, price_out: float | None
) -> dict[str, Any]:
    facts = dict(zip(by, total.group, strict=True)) | {
        name: value for name, value in asdict(total).items() if name != "group"
    }
    if price_in is not None or price_out is not None:
        millionths = total.prompt_tokens * (price_in or 0) + total.completion_tokens * (price_out or 0)
        facts["cost"] = round(millionths / 1_000_000, 6)
    return facts
