"""What the tests' own services need: ports that nobody else gets, and a day that is long enough."""

import random
import time
from itertools import chain

import pytest

from days import DAY_SECONDS, wait_for_a_long_enough_day
from processes import free_port


def test_a_port_is_given_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing listens on it yet."""
    taken = {free_port(), free_port()}
    draws = chain(taken, range(20_000, 32_000))
    monkeypatch.setattr(random, "randint", lambda *_: next(draws))
    assert free_port() not in taken


@pytest.mark.parametrize(("left", "slept"), [(40, []), (20, [20.0])])
def test_a_test_does_not_begin_shortly_before_midnight(
    monkeypatch: pytest.MonkeyPatch, left: float, slept: list[float]
) -> None:
    now, sleeps = 20_000 * DAY_SECONDS - left, list[float]()

    def sleep(seconds: float) -> None:
        sleeps.append(seconds)

    monkeypatch.setattr(time, "time", lambda: now + sum(sleeps))
    monkeypatch.setattr(time, "sleep", sleep)
    wait_for_a_long_enough_day()
    assert sleeps == slept
