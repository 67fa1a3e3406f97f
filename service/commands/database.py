"""`migrate`: create or upgrade the tables that this release needs."""

import click

from service.commands.arguments import Command, run_command
from service.commands.output import Progress
from service.settings import load_settings
from service.store.migrations import newest_version
from service.store.store import Store
from service.store.urls import shown_url

PENDING = 3  # the exit code of `migrate --check` when there is something to do


@click.command(
    "migrate", cls=Command, help="create the tables, or upgrade them to this release, while the service runs"
)
@click.option("--check", is_flag=True, help=f"change nothing; exit with {PENDING} if an upgrade is pending")
def migrate(check: bool) -> None:
    async def run() -> None:
        url = load_settings().database_url
        store = Store(url)
        try:
            if check:
                await _check(store, url)
            else:
                await store.migrate(Progress())
                print(f"The database {shown_url(url)} is ready for this release (schema version {newest_version()}).")
        finally:
            await store.close()

    run_command(run)


async def _check(store: Store, url: str) -> None:
    version = await store.schema_version()
    if version < newest_version():
        print(f"The database {shown_url(url)} has schema version {version}; `migrate` brings it to {newest_version()}.")
        raise click.exceptions.Exit(PENDING)
    print(f"The database {shown_url(url)} is up to date (schema version {version}).")
