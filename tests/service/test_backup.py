"""`manage.py backup` copies the database while the service runs, and `restore` puts it back."""

import json
import os
import sqlite3
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

import manage
from permissions import file_modes_count
from preloaded import MANAGE, run_program
from processes import RunningService, restarted, running_service
from upstreams import local_upstream

ORIGIN = "http://localhost:3000"


@pytest.fixture(scope="module")
def answering() -> Iterator[dict[str, str]]:
    """Settings with which questions are answered at once."""
    with local_upstream() as upstream:
        yield {"OPENAI_BASE_URL": upstream.url("quick"), "OPENAI_API_KEY": "sk"}


def ask(service: RunningService) -> str:
    """Ask a question. Returns the conversation's id."""
    body = {"message": "Hello", "message_id": str(uuid.uuid4())}
    answer = httpx.post(f"{service.url}/api/v1/chat", json=body, headers=headers_of(service), timeout=60)
    assert "event: done" in answer.text
    conversation_id: str = json.loads(answer.text.split("data: ")[1].split("\n")[0])["conversation_id"]
    return conversation_id


def conversation(service: RunningService, conversation_id: str) -> httpx.Response:
    return httpx.get(f"{service.url}/api/v1/conversations/{conversation_id}", headers=headers_of(service), timeout=60)


def headers_of(service: RunningService) -> dict[str, str]:
    return {"X-API-Key": service.api_key, "Origin": ORIGIN}


def fail(directory: Path, *arguments: str, url: str = "sqlite:///chatbot.db") -> str:
    environment = {"PATH": os.environ["PATH"], "DATABASE_URL": url}
    done = run_program([MANAGE, *arguments], cwd=directory, env=environment, directory=directory)
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def succeed(service: RunningService, *arguments: str) -> str:
    done = run_program(
        [MANAGE, *arguments], cwd=service.directory, env=service.environment, directory=service.directory
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_a_backup_made_while_the_service_runs_can_be_restored(tmp_path: Path, answering: dict[str, str]) -> None:
    with running_service(tmp_path / "live", ORIGIN, **answering) as service:
        before = ask(service)
        succeed(service, "backup", "copy.db")
        later = ask(service)
        refusal = fail(service.directory, "restore", "copy.db", "--yes")
        assert conversation(service, later).status_code == 200
    assert refusal == "manage.py: The service is running on this database. Stop it first.\n"
    assert (service.directory / "copy.db").stat().st_mode & 0o777 == 0o600

    succeed(service, "restore", "copy.db", "--yes")

    with restarted(service) as url:
        again = replace(service, url=url)
        assert len(conversation(again, before).json()["messages"]) == 2
        assert conversation(again, later).status_code == 404


@pytest.mark.parametrize(
    ("start", "end"), [(0, 100), (0, 8192), (0, None), (16, 20)], ids=["header", "8 KiB", "all", "page size"]
)
def test_a_backup_replaces_a_database_that_is_damaged_beyond_recognition(
    tmp_path: Path, answering: dict[str, str], start: int, end: int | None
) -> None:
    with running_service(tmp_path, ORIGIN, **answering) as service:
        before = ask(service)
        succeed(service, "backup", "copy.db")
        later = ask(service)
        service.kill()
    database, journal = tmp_path / "chatbot.db", tmp_path / "chatbot.db-wal"
    database.chmod(0o640)
    content, frames = database.read_bytes(), journal.read_bytes()
    noise = bytes(range(256)) * (len(content) // 256)
    if end == 20:
        noise = content[:16] + b"\x02\x00" + content[18:]  # 512 bytes
    database.write_bytes(content[:start] + noise[start:end] + content[len(noise[:end]) :])
    journal.write_bytes(frames[:8192])  # a part, which must not be replayed either

    succeed(service, "restore", "copy.db", "--yes")

    assert database.stat().st_mode & 0o777 == 0o640
    with restarted(service) as url:
        again = replace(service, url=url)
        assert len(conversation(again, before).json()["messages"]) == 2
        assert conversation(again, later).status_code == 404


@pytest.mark.parametrize("is_damaged", [False, True])
def test_a_restore_that_may_make_no_files_beside_the_database_leaves_it_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], is_damaged: bool
) -> None:
    with running_service(tmp_path / "live", ORIGIN) as service:
        succeed(service, "backup", "../copy.db")
    directory, database = tmp_path / "live", tmp_path / "live/chatbot.db"
    if is_damaged:
        database.write_bytes(b"noise" * 10_000)
    content = database.read_bytes()
    directory.chmod(0o555)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{database}")
    try:
        with file_modes_count():
            assert manage.main(["restore", str(tmp_path / "copy.db"), "--yes"]) == 1
    finally:
        directory.chmod(0o755)

    printed = capsys.readouterr()
    assert (printed.out, printed.err.count("\n")) == ("", 1)
    assert ("Permission denied" if is_damaged else "readonly") in printed.err
    assert database.read_bytes() == content


def test_an_existing_file_is_overwritten_only_with_replace(tmp_path: Path) -> None:
    with running_service(tmp_path, ORIGIN) as service:
        succeed(service, "backup", "copy.db")
        assert "exists already" in fail(tmp_path, "backup", "copy.db")
        assert "Copied" in succeed(service, "backup", "copy.db", "--replace")
        assert "is the database itself" in fail(tmp_path, "backup", "chatbot.db", "--replace")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"no database", "is not a copy of a chat's database"),
        (b"", "is not a copy of a chat's database"),
        (None, "There is no database"),
    ],
)
def test_a_file_that_is_not_a_backup_is_not_restored(tmp_path: Path, content: bytes | None, problem: str) -> None:
    if content is not None:
        (tmp_path / "copy.db").write_bytes(content)
    assert problem in fail(tmp_path, "restore", "copy.db", "--yes")
    assert not (tmp_path / "chatbot.db").exists()


def test_a_backup_of_a_newer_release_is_not_restored(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        copy.execute("CREATE TABLE schema_version (version INTEGER)")
        copy.execute("INSERT INTO schema_version VALUES (999)")
    copy.close()
    assert "has schema version 999; this release knows" in fail(tmp_path, "restore", "copy.db", "--yes")


def test_a_missing_database_is_not_created(tmp_path: Path) -> None:
    assert f"There is no database '{tmp_path / 'chatbot.db'}'" in fail(tmp_path, "backup", "copy.db")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "copy.db").touch()
    assert f"There is no database '{tmp_path / 'chatbot.db'}'" in fail(tmp_path, "backup", "copy.db", "--replace")
    assert [path.name for path in tmp_path.iterdir()] == ["copy.db"]


def test_a_damaged_backup_is_not_restored(tmp_path: Path) -> None:
    with running_service(tmp_path, ORIGIN) as service:
        succeed(service, "backup", "copy.db")
    content = (tmp_path / "copy.db").read_bytes()
    (tmp_path / "copy.db").write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    before = (tmp_path / "chatbot.db").read_bytes()
    assert "'copy.db'" in fail(tmp_path, "restore", "copy.db", "--yes")
    assert (tmp_path / "chatbot.db").read_bytes() == before


def test_an_output_error_is_reported_in_one_line(tmp_path: Path) -> None:
    with running_service(tmp_path, ORIGIN) as service, open("/dev/full", "wb") as full:
        command = [sys.executable, MANAGE, "backup", "copy.db"]
        done = subprocess.run(
            command, cwd=tmp_path, env=service.environment, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert done.returncode == 1
    assert done.stderr == b"manage.py: The output cannot be written: No space left on device.\n"
    assert (tmp_path / "copy.db").exists()


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with running_service(tmp_path, ORIGIN):
        assert "No such file or directory: 'missing/copy.db" in fail(tmp_path, "backup", "missing/copy.db")
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize(("command", "tool"), [(["backup", "x"], "pg_dump"), (["restore", "x", "--yes"], "pg_restore")])
def test_postgresql_has_its_own_tools(tmp_path: Path, command: list[str], tool: str) -> None:
    problem = fail(tmp_path, *command, url="postgresql+asyncpg://chat:secret@127.0.0.1/chat")
    assert tool in problem
    assert "--clean" not in problem  # which fails where a newer release has added tables
    assert "secret" not in problem
