"""`stats`: counts of what is in the database, and of the questions of the last day and week."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from service.commands.arguments import Command, json_option, with_store
from service.commands.output import print_json, shown
from service.store.statistics import statistics
from service.store.store import Store


@click.command("stats", cls=Command, help="count what is in the database, and recent questions")
@json_option
@with_store
async def stats(store: Store, as_json: bool) -> None:
    now = datetime.now(UTC)
    facts = asdict(await store.read(lambda db: statistics(db, now)))
    facts |= {
        f"last_{name}": await _recent_usage(store, now - timedelta(days=days))
        for name, days in (("day", 1), ("week", 7))
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        text = (
            " ".join(f"{key}={shown(each)}" for key, each in value.items()) if isinstance(value, dict) else shown(value)
        )
        print(f"{name.replace('_', ' '):<14} {text}".rstrip())


async def _recent_usage(store: Store, since: datetime) -> dict[str, Any]:
    """The usage of all tenants since then, including refusals."""
    totals = await store.usage(None, since, ())
    if not totals:
        return {"requests": 0, "refused": 0, "charged": 0, "first_text_p50_ms": None, "first_text_p95_ms": None}
    facts = asdict(totals[0])
    return {name: facts[name] for name in ("requests", "refused", "charged", "first_text_p50_ms", "first_text_p95_ms")}
