"""Circuits: an endpoint that keeps failing is not asked for a while."""

import math
import time

from service.errors import UpstreamFailed
from service.upstream.endpoint import Endpoint

FAILURES_TO_OPEN = 10
OPEN_SECONDS = 5.0


class Circuit:
    """Answers for an upstream that is down: after `FAILURES_TO_OPEN` outages in a row nobody waits for the next one.

    Every `OPEN_SECONDS` one question goes through; when it is answered, all do again. Each endpoint and key has its
    own, see `Circuits`: one tenant's failing provider stops nobody else.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._try_at = 0.0  # time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether it has failed too often, and answered nothing since."""
        return self._failures >= FAILURES_TO_OPEN

    def check(self) -> None:
        """Raises UpstreamFailed while the circuit is open."""
        wait = self._try_at - time.monotonic()
        if self.is_open and wait > 0:
            raise UpstreamFailed("the upstream failed too often", retry_after=math.ceil(wait))

    def enter(self) -> None:
        """A question is asked now: while the circuit is open, the next one waits again."""
        self._try_at = time.monotonic() + OPEN_SECONDS

    def count(self, *, outage: bool) -> None:
        """What became of a question: whether the upstream was out, or answered in whatever way."""
        self._failures = self._failures + 1 if outage else 0


class Circuits:
    """The circuits of the endpoints that were asked so far."""

    def __init__(self) -> None:
        self._circuits: dict[Endpoint, Circuit] = {}

    def of(self, endpoint: Endpoint) -> Circuit:
        return self._circuits.setdefault(endpoint, Circuit())

    @property
    def open_ones(self) -> int:
        """How many are open."""
        return sum(circuit.is_open for circuit in self._circuits.values())
