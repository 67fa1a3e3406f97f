"""Requests of a page that wait until the test lets them go on."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from playwright.sync_api import BrowserContext, Error, Page, Route


@contextmanager
def held_requests(place: Page | BrowserContext, address: str, *, times: int | None = None) -> Iterator[list[Route]]:
    """The requests for `address`, at most `times` of them, in order. At the end all go on.

    Playwright has a task for each request that waits. If nothing ends the task, the garbage collector destroys it
    later, in another test, which then fails.
    """
    held: list[Route] = []
    place.route(address, lambda route: held.append(route), times=times)
    yield held
    for route in held:
        with suppress(Error):  # it has gone on
            route.fallback()  # unlike `continue_` and `abort`, also if its page has gone
