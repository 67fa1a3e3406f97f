"""A short form of every fault against real service processes, or with `--full` all of it."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cases import CASES
from days import wait_for_a_long_enough_day
from faults import crowds, endings, replicas, transport, visitors
from faults.machine import NotAllowed, Postgres, Unmeasurable, postgres
from faults.play import FAULTS, Play
from required import skip_unless_required

MODULES = (transport, visitors, endings, replicas, crowds)  # imported to fill FAULTS


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres | None]:
    """A server that these tests may stop, or None if PostgreSQL isn't installed."""
    try:
        with postgres() as server:
            yield server
    except Unmeasurable:
        yield None


@pytest.mark.parametrize("id", FAULTS)
def test_fault(id: str, tmp_path: Path, postgres_server: Postgres | None, full: bool) -> None:
    """The fault meets its pass criterion."""
    wait_for_a_long_enough_day()
    play = Play(tmp_path, short=not full, postgres=(lambda: postgres_server) if postgres_server else None)
    try:
        asyncio.run(FAULTS[id].play(play))
    except NotAllowed as reason:
        pytest.skip(str(reason))
    except Unmeasurable as reason:
        skip_unless_required(str(reason))
    assert not play.failures, "; ".join([*play.failures, "measured:", *play.measured])


def test_every_listed_fault_is_played() -> None:
    """No fault from the specification is missing."""
    path = CASES / "faults.json"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    given = {fault["id"] for fault in json.loads(path.read_text())["faults"]}
    assert given <= set(FAULTS)
