"""`doctor`: find what is wrong with an installation, on this machine and as a browser sees it, and what to change."""

import asyncio
import logging
import os
import resource
import sys
from collections.abc import AsyncIterator
from dataclasses import asdict
from pathlib import Path

import click
from sqlalchemy import func, select

from service import demonstration
from service.commands import values
from service.commands.arguments import Command, Value, json_option, output_errors
from service.commands.browser_checks import browser_checks
from service.commands.findings import Finding, clock, fix, ok, skip
from service.commands.output import print_json, printable
from service.commands.upstream import probe_provider
from service.commands.webhooks import webhook_findings
from service.errors import NotSetUp
from service.settings import Settings, load_settings
from service.store.migrations import newest_version
from service.store.records import SchemaMismatch, StoreError, Tenant
from service.store.store import Store
from service.store.urls import parse_url, shown_url

LEAST_FREE_BYTES = 1_000_000_000
LEAST_FREE_SHARE = 0.1
OTHER_FILES = 96  # in addition to two per answer; see `most_connections` in web/listening.py


@click.command(
    "doctor", cls=Command, help="check the setup on this machine and, with --url, from a browser's point of view"
)
@click.option("--url", type=Value(values.service_url), metavar="URL", help="where browsers find the service")
@click.option("--tenant", metavar="NAME", help="whose pages to test; default: the first with an origin")
@click.option("--no-provider", is_flag=True, help="do not send the provider a test question")
@json_option
def doctor(url: str | None, tenant: str | None, no_provider: bool, as_json: bool) -> None:
    findings = asyncio.run(_examine(url, tenant, no_provider, shows=not as_json))
    faults = sum(each.state == "fix" for each in findings)
    if as_json:
        with output_errors():
            print_json({"ok": not faults, "checks": [asdict(each) for each in findings]})
            sys.stdout.flush()
    if faults:
        raise ValueError(f"{faults} of {len(findings)} checks failed: see `fix` above.")


async def _examine(url: str | None, tenant: str | None, no_provider: bool, *, shows: bool) -> list[Finding]:
    """All findings, each printed as soon as it is known: some checks take seconds."""
    findings = []
    async for finding in _findings(url, tenant, no_provider):
        findings.append(finding)
        if shows:
            with output_errors():
                print(f"{finding.state:<5} {finding.name:<12} {printable(finding.text)}", flush=True)
    return findings


async def _findings(url: str | None, name: str | None, no_provider: bool) -> AsyncIterator[Finding]:
    try:
        settings = load_settings()
    except ValueError as error:
        yield fix("settings", f"{error}: the service cannot start")
        return
    yield ok("settings", "the environment and .env are valid")
    store = Store(settings.database_url)
    try:
        works = True
        async for finding in _database(settings, store):
            works = works and finding.state != "fix"
            yield finding
        yield _files(settings)
        yield skip("provider", "not asked") if no_provider else await _provider(settings)
        for finding in await webhook_findings(store) if works else []:
            yield finding
        if url is None:
            yield skip("browser", "give --url to see the service as a browser does")
            return
        tenant = await _tenant(store, name) if works else None
        async for finding in browser_checks(url, settings, store, tenant):
            yield finding
    finally:
        await store.close()


async def _database(settings: Settings, store: Store) -> AsyncIterator[Finding]:
    url = parse_url(settings.database_url)
    path = Path(str(url.database)).absolute() if url.get_backend_name() == "sqlite" else None
    place = shown_url(settings.database_url)
    if path and _is_missing(path):
        yield fix(
            "database", f"{place} does not exist: check DATABASE_URL and the directory, or start the service once"
        )
        return
    try:
        await store.ping()
    except SchemaMismatch as error:
        yield fix("schema", str(error))
        return
    except StoreError as error:
        yield fix(
            "database",
            f"{place}: {str(error).rstrip('.')}. Check DATABASE_URL, the server, the disk and the files' owner",
        )
        return
    yield ok("database", f"{place} is writable")
    yield ok("schema", f"version {newest_version()}")
    if path:
        yield _disk(path)
        yield skip("clock", "compared with the service's clock when --url is given")
    else:
        yield skip("disk", "PostgreSQL stores its data on its own server")
        there = await store.read(lambda db: db.scalar(select(func.now())))
        yield clock("the database", there) if there else skip("clock", "the database has no clock")


def _is_missing(path: Path) -> bool:
    try:
        return not path.exists()
    except OSError:  # such as in another user's directory: using it gives the reason
        return False


def _disk(path: Path) -> Finding:
    volume = os.statvfs(path.parent)
    free, size = volume.f_bavail * volume.f_frsize, volume.f_blocks * volume.f_frsize
    text = f"{free / 1e9:.1f} GB of {size / 1e9:.1f} GB are free at {path.parent}"
    if free < LEAST_FREE_BYTES or free < LEAST_FREE_SHARE * size:
        return fix("disk", f"{text}: enlarge it, lower RETENTION_DAYS or run `manage.py purge`")
    return ok("disk", text)


def _files(settings: Settings) -> Finding:
    """Check the hard limit: the service raises the soft one to it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = OTHER_FILES + 2 * settings.max_streams
    if hard != resource.RLIM_INFINITY and hard < needed:
        return fix(
            "files",
            f"the limit is {hard}, and MAX_STREAMS={settings.max_streams} needs {needed}: raise LimitNOFILE (systemd), "
            "--ulimit nofile (containers) or `ulimit -Hn`, or lower MAX_STREAMS",
        )
    return ok(
        "files", f"{'no limit' if hard == resource.RLIM_INFINITY else f'the limit is {hard}'}, {needed} are needed"
    )


async def _provider(settings: Settings) -> Finding:
    if settings.demonstration:
        return fix("provider", "not set, so only the demonstration answers: set OPENAI_API_KEY or OPENAI_BASE_URL")
    try:
        logging.getLogger("chatbot").addHandler(logging.NullHandler())  # what it would log is in the finding
        probe = await probe_provider(settings, None)
    except NotSetUp as error:
        return fix("provider", str(error))
    facts = probe.facts()
    if not probe.works:
        return fix(
            "provider", f"{facts['problem'] or 'its answer had no text'}; run `manage.py upstream check` for details"
        )
    if facts["streams"] is False:
        return fix(
            "provider",
            f"{facts['provider']} sends the whole answer at once: a proxy before it buffers, or it does not stream",
        )
    return ok("provider", f"{facts['provider']} answers, first text after {facts['first_text_after']} s")


async def _tenant(store: Store, name: str | None) -> Tenant | None:
    """The tenant of this name, or the first whose pages can be tested. Raises TenantNotFound."""
    if name is not None:
        return await store.get_tenant(name)
    tenants = [each for each in await store.list_tenants() if not demonstration.is_own(each)]
    usable = [each for each in tenants if each.origins and not each.require_identity]
    return next(iter(usable or tenants), None)
