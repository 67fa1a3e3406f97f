"""Fixtures that run the operator's commands in this process, on a fresh database."""

import asyncio
import os
import select
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import manage
from service.store.store import Store

ADD = ["tenant", "add", "shop", "--origin", "https://shop.test"]

SECONDS = 60

Run = Callable[..., str]
Fail = Callable[..., tuple[int, str]]
Look = Callable[[Callable[[Store], Awaitable[Any]]], Any]


@pytest.fixture
def run(database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command that must succeed, and returns its output."""
    monkeypatch.setenv("DATABASE_URL", database_url)

    def run(*arguments: str) -> str:
        assert manage.main(arguments) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


@pytest.fixture
def fail(run: Run, capsys: pytest.CaptureFixture[str]) -> Fail:
    """Runs a command that must fail, and returns its exit code and its one line on stderr."""

    def fail(*arguments: str) -> tuple[int, str]:
        try:
            code = manage.main(arguments)
        except SystemExit as stopped:
            code = int(stopped.code or 0)
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.count("\n") == 1
        return code, captured.err

    return fail


@pytest.fixture
def look(database_url: str) -> Look:
    """The result of a query of the store, outside of the commands."""

    async def with_store(query: Callable[[Store], Awaitable[Any]]) -> Any:
        store = Store(database_url)
        try:
            return await query(store)
        finally:
            await store.close()

    return lambda query: asyncio.run(with_store(query))


def read_terminal(terminal: int, end: bytes) -> bytes:
    """What was written to a terminal, up to `end`: one read may return only a part of it."""
    shown = b""
    while end not in shown:
        assert select.select([terminal], [], [], SECONDS)[0], shown
        shown += os.read(terminal, 10_000)
    return shown
