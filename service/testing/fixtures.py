"""The plugin's fixtures."""

from collections.abc import Iterator

import pytest
import respx

from service.testing.chunks import BASE_URL
from service.testing.running import Chat, running_chat


@pytest.fixture
def upstream() -> Iterator[respx.Route]:
    """The upstream's route: `upstream.mock(side_effect=answers("Hello!"))`.

    Calls to this machine pass through, including the test's own to the service; all others are refused.
    """
    with respx.mock(assert_all_called=False) as router:
        router.route(host="127.0.0.1").pass_through()
        yield router.post(f"{BASE_URL}/chat/completions")


@pytest.fixture
def chat(upstream: respx.Route) -> Iterator[Chat]:
    """The whole service with a tenant without limits; its requests to a provider go to `upstream`."""
    with running_chat() as running:
        yield running
