"""`migrate`, and commands without a database or with one of another release."""

import asyncio
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import Connection
from sqlalchemy.engine import URL, make_url

import manage
from command_line import ADD, Fail, Run, read_terminal
from command_line import fail as fail
from command_line import run as run
from databases import connect_postgres, on_postgres
from permissions import file_modes_count
from preloaded import MANAGE, ROOT
from service.store import migrations, tables
from service.store.database import Database

SCHEMAS = ROOT / "tests/store/schemas"


def go_back(url: str) -> None:
    """The database as the first release made it."""

    async def make() -> None:
        database = Database(url)

        def tables_of_then(db: Connection) -> None:
            tables.metadata.drop_all(db)
            for statement in (SCHEMAS / f"1-{db.dialect.name}.sql").read_text().splitlines():
                db.exec_driver_sql(statement)

        await database.write(tables_of_then)
        await database.close()

    asyncio.run(make())


async def execute(url: URL, statement: str) -> None:
    connection = await connect_postgres(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.each_database
def test_check_and_other_commands_report_an_old_schema_and_migrate_upgrades_it(
    run: Run, fail: Fail, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    go_back(database_url)

    assert manage.main(["migrate", "--check"]) == 3
    assert f"version 1; `migrate` brings it to {migrations.newest_version()}" in capsys.readouterr().out
    for command in (ADD, ["tenant", "list"], ["purge"], ["usage", "shop"]):
        code, line = fail(*command)
        assert code == 1
        assert "Run manage.py migrate" in line

    assert "is ready" in run("migrate")
    assert "is up to date" in run("migrate", "--check")
    run(*ADD)


def test_a_command_in_the_wrong_directory_says_so_and_creates_no_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in (["tenant", "list"], ["purge"], ["usage", "shop"], ["key", "add", "shop"], ["backup", "copy.db"]):
        assert manage.main(command) == 1
        assert str(tmp_path / "chatbot.db") in capsys.readouterr().err
    assert manage.main(["migrate", "--check"]) == 3
    assert not list(tmp_path.iterdir())
    capsys.readouterr()

    assert manage.main(ADD) == 0
    assert capsys.readouterr().err == f"Created the database sqlite {tmp_path / 'chatbot.db'}.\n"


@pytest.mark.parametrize(
    "command",
    [
        *(["tenant", "list"], ["key", "rotate", "shop"], ADD, ["migrate"], ["migrate", "--check"]),
        *(["backup", "new.db"], ["backup", "copy.db", "--replace"], ["restore", "copy.db", "--yes"]),
    ],
    ids=" ".join,
)
def test_a_database_in_a_directory_that_may_not_be_read_is_named_in_one_line(
    run: Run, fail: Fail, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    run(*ADD)
    run("backup", str(tmp_path / "copy.db"))
    monkeypatch.chdir(tmp_path)
    directory = tmp_path / "private"
    directory.mkdir()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{directory / 'chatbot.db'}")
    directory.chmod(0)
    try:
        with file_modes_count():
            code, line = fail(*command)
    finally:
        directory.chmod(0o700)

    assert (code, "Permission denied" in line, str(directory) in line) == (1, True, True), line
    assert "output" not in line


@pytest.mark.parametrize("database_kind", ["postgresql"], indirect=True)
def test_an_unsuitable_database_is_refused_with_advice(
    fail: Fail, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = make_url(database_url).database
    latin = f"{name}_latin1"
    role = f"{name}_role"
    on_postgres(f"CREATE DATABASE \"{latin}\" ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    on_postgres(f'CREATE ROLE "{role}" LOGIN')
    try:
        for url, problem in (
            (make_url(database_url).set(database=latin), "encoding is LATIN1.*ENCODING 'UTF8'"),
            (make_url(database_url).set(database=latin, username=role), "encoding is LATIN1"),
            (make_url(database_url).set(username=role), "permission denied for table.*ALTER DATABASE name OWNER TO"),
        ):
            monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
            code, line = fail("migrate")
            assert code == 1
            assert re.search(problem, line), line
        owner = make_url(database_url)
        asyncio.run(execute(owner, f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}"'))
        code, line = fail("migrate")
        assert (code, "permission denied for sequence" in line) == (1, True)
        asyncio.run(execute(owner, f'REASSIGN OWNED BY "{role}" TO postgres; DROP OWNED BY "{role}"'))
    finally:
        on_postgres(f'DROP DATABASE "{latin}" WITH (FORCE)')
        on_postgres(f'DROP ROLE "{role}"')


def test_progress_is_shown_only_at_a_terminal(tmp_path: Path) -> None:
    environment = os.environ | {"DATABASE_URL": f"sqlite:///{tmp_path / 'test.db'}"}
    command = [sys.executable, str(MANAGE), "migrate"]
    terminal, side = pty.openpty()
    shown = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=side, check=True)
    os.write(side, b"\0")
    assert b"100 %" in read_terminal(terminal, b"\0")
    os.close(side)
    os.close(terminal)
    assert b"%" not in shown.stdout

    (tmp_path / "test.db").unlink()
    silent = subprocess.run(command, env=environment, capture_output=True, check=True)
    assert silent.stderr == b""
