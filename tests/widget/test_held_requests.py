"""What the tests themselves do to a page's requests."""

import asyncio
from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page

from browser import PATIENCE, HostPages
from held_requests import held_requests

pytest_plugins = ["visitor"]


def waiting(context: BrowserContext) -> int:
    """The tasks of Playwright that wait for a request to be continued."""
    tasks = asyncio.all_tasks(context._impl_obj._loop)
    return sum("_on_route" in repr(task.get_coro()) for task in tasks)


def until(page: Page, condition: Callable[[], bool]) -> bool:
    for _ in range(PATIENCE // 10):
        if condition():
            return True
        page.wait_for_timeout(10)
    return False


def test_no_held_request_waits_when_its_test_ends(context: BrowserContext, host_pages: HostPages) -> None:
    page = context.new_page()
    page.goto(host_pages.add())
    with held_requests(page, "**/held-*") as held:
        page.evaluate("() => { for (const name of ['a', 'b']) fetch(`/held-${name}`).catch(() => 0) }")
        assert until(page, lambda: len(held) == 2)
        held[0].continue_()
    assert until(page, lambda: not waiting(context))
