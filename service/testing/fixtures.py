"""The plugin's fixtures."""

from collections.abc import Iterator

import pytest
import respx

from service.testing.running import Chat, running_chat
from service.testing.upstream import BASE_URL


@pytest.fixture
def upstream() -> Iterator[respx.Route]:
    """The upstream's only route: `upstream.mock(side_effect=answers("Hello!"))`. Other hosts are refused."""
    with respx.mock(base_url=BASE_URL, assert_all_called=False) as router:
        yield router.post("/chat/completions")


@pytest.fixture
def chat(upstream: respx.Route) -> Iterator[Chat]:
    """The whole service with a tenant that has no limits; what it asks goes to `upstream`."""
    with running_chat() as running:
        yield running
