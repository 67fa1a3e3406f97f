"""Circuit breakers: an endpoint that keeps failing is not asked for a while."""

import math
import time

from service.errors import UpstreamFailed
from service.upstream.endpoint import Endpoint

FAILURES_TO_OPEN = 10
OPEN_SECONDS = 5.0


class Circuit:
    """A circuit breaker: after `FAILURES_TO_OPEN` outages in a row, it refuses questions at once.

    Every `OPEN_SECONDS` it lets one question through; if that is answered, it closes. Each endpoint and key has its
    own, see `Circuits`: one tenant's failing provider does not affect others.
    """

    def __init__(self) -> None:
        self._failures = 0
        self._try_at = 0.0  # time.monotonic()

    @property
    def is_open(self) -> bool:
        """Whether the endpoint has failed too often and has not answered since."""
        return self._failures >= FAILURES_TO_OPEN

    def check(self) -> None:
        """Raises UpstreamFailed while the circuit is open."""
        wait = self._try_at - time.monotonic()
        if self.is_open and wait > 0:
            raise UpstreamFailed("the upstream failed too often", retry_after=math.ceil(wait))

    def enter(self) -> None:
        """Note that a question is being asked: while the circuit is open, the next one has to wait again."""
        self._try_at = time.monotonic() + OPEN_SECONDS

    def count(self, *, outage: bool) -> None:
        """Count the outcome of a question: an outage, or any response."""
        self._failures = self._failures + 1 if outage else 0


class Circuits:
    """The circuits of all endpoints asked so far."""

    def __init__(self) -> None:
        self._circuits: dict[Endpoint, Circuit] = {}

    def of(self, endpoint: Endpoint) -> Circuit:
        return self._circuits.setdefault(endpoint, Circuit())

    @property
    def open_ones(self) -> int:
        """The number of open circuits."""
        return sum(circuit.is_open for circuit in self._circuits.values())
