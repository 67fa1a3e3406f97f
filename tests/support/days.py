"""The end of a day in UTC, at which a budget begins anew and a report has another day."""

import time

DAY_SECONDS = 86_400
LEAST_SECONDS = 30  # more than such a test takes


def wait_for_a_long_enough_day() -> None:
    """If the day is about to end, wait for the next one, so that a test does not see two."""
    while (left := DAY_SECONDS - time.time() % DAY_SECONDS) < LEAST_SECONDS:
        time.sleep(left)
