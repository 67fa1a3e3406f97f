"""`webhook`: the events for tenants' webhooks, delivered and pending."""

import uuid
from dataclasses import asdict
from datetime import UTC, datetime

import click

from service.commands import values
from service.commands.arguments import Group, OneOf, Value, json_option, name_argument, with_store
from service.commands.findings import Finding, fix, ok
from service.commands.output import print_json, print_table
from service.settings import Settings, load_settings
from service.store.outbox import Listed
from service.store.records import Tenant
from service.store.store import Store
from service.upstream.clients import tls_context
from service.webhooks.hook import HookUnusable, Message, hook_of, shown_id
from service.webhooks.sending import connect_webhooks, send

MOST_LISTED = 1000
COLUMNS = ("id", "tenant", "event", "state", "attempts", "problem", "created_at", "due_at")

webhooks = Group("webhook", help="events for webhooks, delivered and pending")


@webhooks.command("list", help=f"list undelivered events, newest first, at most {MOST_LISTED}")
@click.argument("name", metavar="[TENANT]", required=False)
@click.option("--all", "everything", is_flag=True, help="also list delivered events")
@json_option
@with_store
async def show(store: Store, name: str | None, everything: bool, as_json: bool) -> None:
    rows = [_facts(each) for each in await store.outbox.listed(name, everything=everything, most=MOST_LISTED)]
    if as_json:
        print_json(rows)
    else:
        print_table(COLUMNS, rows)


@webhooks.command(
    "retry", one_of=[OneOf(("event", "everything"), required=True)], help="deliver events again, including failed ones"
)
@name_argument
@click.option("--id", "event", type=Value(values.event_id), metavar="ID", help="one event")
@click.option("--all", "everything", is_flag=True, help="all undelivered events")
@with_store
async def retry(store: Store, name: str, event: uuid.UUID | None, everything: bool) -> None:
    count = await store.outbox.retry(name, event, datetime.now(UTC))
    print(f"Events due now: {count}. The service will deliver them.")


@webhooks.command("test", help="send an event of type `test` now, and report the result")
@name_argument
@with_store
async def test(store: Store, name: str) -> None:
    tenant = await store.get_tenant(name)
    problem = await _send_test(load_settings(), tenant)
    if problem is not None:
        raise ValueError(f"The webhook did not accept it: {problem}.")
    print("The webhook accepted it.")


async def _send_test(settings: Settings, tenant: Tenant) -> str | None:
    now = datetime.now(UTC)
    message = Message(uuid.uuid4(), "test", now, tenant.name, {})
    async with connect_webhooks(
        tls_context(settings.upstream_ca_file), allow_private=settings.webhook_allow_private
    ) as client:
        return await send(client, message.request(hook_of(tenant), now))


async def webhook_findings(store: Store) -> list[Finding]:
    """For each tenant with a webhook: whether it is usable, and events that could not be delivered."""
    findings = []
    for tenant in await store.list_tenants():
        if not tenant.webhook_url_env:
            continue
        waiting = await store.outbox.listed(tenant.name, everything=False, most=MOST_LISTED)
        failed = [each for each in waiting if each.state == "failed"]
        try:
            hook_of(tenant)
        except HookUnusable as error:
            findings.append(fix("webhook", f"{tenant.name}: {error}"))
            continue
        if failed:
            text = f"deliveries that failed for good: {len(failed)}, the latest with: {failed[0].problem}"
            findings.append(fix("webhook", f"{tenant.name}: {text}; `manage.py webhook retry` tries again"))
        else:
            findings.append(ok("webhook", f"{tenant.name}: set up, with no failed deliveries"))
    return findings


def _facts(event: Listed) -> dict[str, object]:
    facts = asdict(event)
    waits = event.state == "pending"
    return {name: facts.get(name) for name in COLUMNS} | {
        "id": shown_id(event.id),
        "event": event.kind,
        "due_at": event.due_at if waits else None,
    }
