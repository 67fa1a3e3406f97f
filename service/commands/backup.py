"""`backup` and `restore`: a SQLite database as one file."""

from pathlib import Path

import click

from service.commands.arguments import Command, output_errors
from service.commands.output import Progress
from service.settings import load_settings
from service.store.backup import back_up, copy_errors
from service.store.backup import restore as put_back
from service.store.migrations import newest_version
from service.store.records import StoreError
from service.store.urls import parse_url

file_argument = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))


@click.command("backup", cls=Command, help="copy the database to a file, while the service runs (SQLite)")
@file_argument
@click.option("--replace", is_flag=True, help="replace FILE if it exists")
def backup(file: Path, replace: bool) -> None:
    database = _database("Use pg_dump --format=custom --file=FILE.")
    with copy_errors():
        if file.exists() and not replace:
            raise StoreError(f"{str(file)!r} exists already; --replace replaces it.")
        if file.exists() and database.exists() and file.samefile(database):
            raise StoreError(f"{str(file)!r} is the database itself.")
    back_up(database, file, Progress())
    _report(f"Copied {str(database)!r} to {str(file)!r}, {file.stat().st_size} bytes.")


@click.command("restore", cls=Command, help="replace the database with a backup (SQLite)")
@file_argument
@click.option("--yes", is_flag=True, required=True, help="required: the current contents of the database are lost")
def restore(file: Path, yes: bool) -> None:
    database = _database("Empty the database and use pg_restore, as under Backup in docs/operating.md.")
    put_back(file, database, newest_version(), Progress())
    _report(f"Restored {str(database)!r} from {str(file)!r}.")


def _report(line: str) -> None:
    with output_errors():
        print(line, flush=True)


def _database(words_for_postgresql: str) -> Path:
    """The file of DATABASE_URL. Raises StoreError for PostgreSQL."""
    url = parse_url(load_settings().database_url)
    if url.get_backend_name() != "sqlite":
        raise StoreError(f"DATABASE_URL names PostgreSQL, which has its own tools. {words_for_postgresql}")
    return Path(url.database or "")
