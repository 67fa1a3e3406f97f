"""What the tests' own services need: ports that nobody else gets."""

import random
from itertools import chain

import pytest

from processes import free_port


def test_a_port_is_given_to_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nothing listens on it yet."""
    taken = {free_port(), free_port()}
    draws = chain(taken, range(20_000, 32_000))
    monkeypatch.setattr(random, "randint", lambda *_: next(draws))
    assert free_port() not in taken
