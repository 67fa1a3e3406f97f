"""The operator's command line as a program: how it fails, and how its output ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

import manage
from command_line import ADD, Fail, Look, Run, read_terminal
from command_line import fail as fail
from command_line import look as look
from command_line import run as run
from databases import ask
from preloaded import ROOT
from service.store.store import Store


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "COMMAND"),
        (["tenant"], "COMMAND"),
        (["tenant", "paint"], "invalid choice"),
        (["tenant", "add", "shop"], "--origin"),
        (["tenant", "add", " a shop", "--origin", "https://a.test"], "printable characters"),
        (["tenant", "add", "demonstration", "--origin", "https://a.test"], "reserved for the demonstration"),
        (["tenant", "add", "demonstration studio", "--origin", "https://a.test"], "reserved for the demonstration"),
        (["tenant", "add", "shop", "--origin", "https://www.*.test"], "wildcard"),
        (["tenant", "add", "shop", "--origin", "*"], "--any-origin"),
        (["tenant", "add", "shop", "--origin", "null"], "'null'"),
        ([*ADD, "--any-origin"], "not allowed with"),
        ([*ADD, "--identity-secret-env", "sk-1234"], "name of an environment variable, not the key"),
        ([*ADD, "--identity-public-key-file", "missing.pem"], "cannot read 'missing.pem'"),
        ([*ADD, "--identity-secret-env", "A", "--identity-public-key-file", ""], "not allowed with"),
        ([*ADD, "--identity-claim", "a claim"], "name of a claim"),
        ([*ADD, "--rate-per-minute", "-1"], "--rate-per-minute"),
        ([*ADD, "--rate-per-minute", "99999999999"], "0 to 2147483647"),
        ([*ADD, "--tokens", "5"], "--tokens"),
        ([*ADD, "--color", "red;}"], "colour"),
        ([*ADD, "--position", "top"], "--position"),
        ([*ADD, "--locale", "english please"], "language tag"),
        ([*ADD, "--title", "\udcff"], "valid text"),
        ([*ADD, "--system-prompt-file", "missing.txt"], "cannot read 'missing.txt'"),
        ([*ADD, "--system-prompt-file", "latin1.txt"], "not UTF-8"),
        ([*ADD, "--url", "chat.example.com"], "must begin with"),
        ([*ADD, "--url", "https://chat.example.com/?a"], "must be an address"),
        ([*ADD, "--url", "https://chat.example.com/?"], "must be an address"),
        ([*ADD, "--url", "https://chat.example.com/#"], "must be an address"),
        (["key", "rotate", "shop", "--grace", "soon"], "30m, 24h or 7d"),
        (["key", "add", "shop", "--expires", "2001-01-01"], "in the past"),
        (["key", "add", "shop", "--expires", "tomorrow"], "not a date"),
        (["key", "add", "shop", "--expires", "9999-12-31T23:59:59-14:00"], "not a date"),
        (["usage", "shop", "--since", "0001-01-01T00:00:00+14:00"], "not a date"),
        (["key", "revoke", "shop", "first"], "not a number"),
        (["usage", "shop", "--json", "--csv"], "not allowed with"),
        (["usage", "shop", "--by", "weather"], "invalid choice"),
        (["usage", "shop", "--price-in", "free"], "not a number"),
        ([*ADD, "--temperature", "2.1"], "from 0 to 2"),
        ([*ADD, "--max-answer-tokens", "1000001"], "more than 1000000"),
        ([*ADD, "--unset", "origins"], "not a setting that can be unset"),
        ([*ADD, "--look", "wrong.json"], "followUps.0: String should have at least 1 character"),
        ([*ADD, "--look", "red.json"], "color: must be a colour such as #1a6b54"),
        ([*ADD, "--look", "list.json"], "must be a JSON object"),
        ([*ADD, "--look", "deep.json"], "nested too deeply"),
        ([*ADD, "--look", "latin1.txt"], "not UTF-8"),
        (["conversation", "export", "shop"], "--id"),
        (["conversation", "export", "shop", "--id", "1"], "not a conversation's id"),
        (["conversation", "export", "shop", "--address", "here"], "not an IP address"),
        (["conversation", "delete", "shop", "--all"], "--yes"),
    ],
)
def test_a_usage_error_is_one_line_with_exit_code_2(
    fail: Fail, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    (tmp_path / "wrong.json").write_text('{"followUps": [""], "colour": "red"}')
    (tmp_path / "red.json").write_text('{"color": "red"}')
    (tmp_path / "list.json").write_text("[]")
    (tmp_path / "deep.json").write_text('{"title": ' + "[" * 100_000)
    (tmp_path / "latin1.txt").write_bytes("bücher".encode("latin-1"))

    code, line = fail(*arguments)

    assert code == 2
    assert problem in line


def test_a_key_given_instead_of_its_variables_name_is_not_repeated(fail: Fail) -> None:
    code, line = fail(*ADD, "--openai-key-env", "sk-canary")

    assert code == 2
    assert "not the key itself" in line
    assert "canary" not in line


@pytest.mark.each_database
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (ADD, "There is a tenant 'shop' already."),
        (["tenant", "show", "nobody"], "There is no tenant 'nobody'."),
        (["tenant", "set", "nobody", "--model", "x"], "There is no tenant 'nobody'."),
        (["tenant", "remove", "nobody"], "There is no tenant 'nobody'."),
        (["key", "add", "nobody"], "There is no tenant 'nobody'."),
        (["key", "revoke", "shop", "99"], "The tenant 'shop' has no key 99."),
        (["usage", "nobody"], "There is no tenant 'nobody'."),
    ],
)
def test_a_failed_command_is_one_line_with_exit_code_1(
    run: Run, fail: Fail, arguments: list[str], problem: str
) -> None:
    run(*ADD)

    assert fail(*arguments) == (1, f"manage.py: {problem}\n")


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://user:canary@host/x", "DATABASE_URL: must begin with"),
        ("sqlite+aiosqlite:///missing/folder/x.db", "No such file or directory"),
        ("sqlite+aiosqlite://", "must name a file"),
        ("postgresql+asyncpg://user:canary@127.0.0.1:1/x", "cannot be reached"),
    ],
)
def test_an_unusable_database_is_reported_without_its_password(
    fail: Fail, monkeypatch: pytest.MonkeyPatch, url: str, problem: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    code, line = fail("tenant", "list")

    assert code == 1
    assert problem in line
    assert "canary" not in line


def test_the_help_describes_each_command_and_option() -> None:
    def undescribed(command: click.Command, name: str) -> list[str]:
        found = [
            f"{name} {each.opts[0]}" for each in command.params if isinstance(each, click.Option) and not each.help
        ]
        if isinstance(command, click.Group):
            for inner in command.commands.values():
                found += undescribed(inner, f"{name} {inner.name}")
        return found if command.help else [name, *found]

    assert undescribed(manage.commands, "manage.py") == []


def test_manage_py_runs_as_a_program(database_url: str, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": database_url, "PYTHONIOENCODING": "utf-8"}

    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=60)

    added, again, nonsense = program(*ADD, "--json"), program(*ADD), program("tenant", "add")

    assert (added.returncode, added.stderr) == (0, "")
    assert json.loads(added.stdout)["tenant"] == "shop"
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr == "manage.py: There is a tenant 'shop' already.\n"
    assert (nonsense.returncode, nonsense.stdout) == (2, "")
    assert nonsense.stderr.count("\n") == 1


def test_an_export_ends_quietly_when_its_pipe_closes(run: Run, look: Look, tmp_path: Path) -> None:
    """As `head` has after some lines."""
    run(*ADD)

    async def fill(store: Store) -> None:
        more_than_a_pipe_holds = "Once upon a time. " * 20_000
        for _ in range(3):
            await ask(store, await store.get_tenant("shop"), answer=more_than_a_pipe_holds)

    look(fill)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    command = [sys.executable, str(ROOT / "manage.py"), "conversation", "export", "shop", "--all"]
    with subprocess.Popen(
        command, env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as export:
        assert export.stdout and export.stderr
        assert b'"turns"' in export.stdout.readline()
        export.stdout.close()
        assert export.stderr.read() == b""
    assert export.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["tenant", "list"], ""),
        (
            ["tenant", "add", "bakery", "--origin", "https://bakery.test"],
            " The new key is lost; `key rotate` creates another.",
        ),
        (["key", "add", "shop"], " The new key is lost; `key rotate` creates another."),
        (["key", "rotate", "shop", "--json"], " The new key is lost; `key rotate` creates another."),
    ],
)
def test_an_output_error_is_reported_in_one_line(run: Run, tmp_path: Path, arguments: list[str], problem: str) -> None:
    """As on a full disk."""
    run(*ADD)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    command = [sys.executable, str(ROOT / "manage.py"), *arguments]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE, encoding="utf-8", timeout=60
        )

    assert done.returncode == 1
    assert done.stderr == f"manage.py: The output cannot be written: No space left on device.{problem}\n"


def test_no_key_is_created_that_could_not_be_shown(run: Run, tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    command = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, str(ROOT / "manage.py"), *ADD]
    done = subprocess.run(command, env=environment, cwd=tmp_path, stderr=subprocess.PIPE, timeout=60)

    assert (done.returncode, done.stderr) == (1, b"manage.py: There is no standard output.\n")
    assert json.loads(run("tenant", "list", "--json")) == []


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_a_terminal_lacks_are_escaped(run: Run, tmp_path: Path, encoding: str) -> None:
    """The key must not be lost: it cannot be shown again."""
    environment = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": os.environ["DATABASE_URL"],
        "PYTHONIOENCODING": encoding,
    }

    def program(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(ROOT / "manage.py"), *arguments]
        return subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, encoding=encoding, timeout=60
        )

    added = program("tenant", "add", "Ωmega", "--origin", "https://shop.test", "--title", "Büro 🎉")
    as_json = program("tenant", "show", "Ωmega", "--json")
    again = program("tenant", "add", "Ωmega", "--origin", "https://shop.test")

    assert (added.returncode, added.stderr) == (0, "")
    assert "The tenant '\\u03a9mega'" in added.stdout
    assert "a4_pub_" in added.stdout
    shown = json.loads(as_json.stdout)
    assert (shown["name"], shown["widget"]) == ("Ωmega", {"title": "Büro 🎉"})
    assert again.stderr == "manage.py: There is a tenant '\\u03a9mega' already.\n"


def test_ctrl_c_stops_a_command_without_a_traceback(run: Run, tmp_path: Path) -> None:
    """Here, while it asks."""
    run(*ADD)
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": os.environ["DATABASE_URL"]}
    hears_ctrl_c = ["env", "--default-signal=INT"]  # a shell's background job, as this may be part of, does not
    command = [*hears_ctrl_c, sys.executable, str(ROOT / "manage.py"), "tenant", "remove", "shop"]
    terminal, end = os.openpty()
    with subprocess.Popen(command, env=environment, cwd=tmp_path, stdin=end, stderr=end) as removal:
        read_terminal(terminal, b"[y/N]")
        removal.send_signal(signal.SIGINT)
    os.write(end, b"\0")
    shown = read_terminal(terminal, b"\0")
    os.close(terminal)
    os.close(end)

    assert removal.returncode == 130
    assert b"Traceback" not in shown
    assert len(json.loads(run("tenant", "list", "--json"))) == 1
