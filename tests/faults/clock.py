"""Use up limits as fast as possible while the wall clock jumps, and print when each request was granted.

`python clock.py rate URL CLOCK LIMIT WINDOW WINDOWS` or `python clock.py budget URL CLOCK`, under libfaketime, which
reads CLOCK. Printed times are monotonic.
"""

import asyncio
import json
import sys
import time
import uuid
from pathlib import Path

from service.store.records import BudgetSpent, Quota, TurnLimits
from service.store.store import Store

JUMPS = ("+3600", "+0", "-3600", "+0", "+86400", "-3600", "+86400", "+0")
HOUR = 3600


async def take(store: Store, clock: Path, limit: int, window: float, windows: int) -> list[tuple[float, float, int]]:
    """When each grant of a rate limit was requested and given, and how many remained."""
    grants: list[tuple[float, float, int]] = []
    ends = time.monotonic() + windows * window
    refused = jumps = 0
    while time.monotonic() < ends:
        asked = time.monotonic()
        (taken,) = await store.take(Quota("clock", limit, window))
        if taken.granted:
            grants.append((asked, time.monotonic(), taken.left))
            refused = 0
            continue
        refused += 1
        if refused == 1:  # the limit has just been used up, so a jump could now wrongly grant more
            clock.write_text(JUMPS[jumps % len(JUMPS)])
            jumps += 1
        await asyncio.sleep(window / 50)
    return grants


async def spend(store: Store, clock: Path) -> dict[str, int]:
    """How much of a budget of 10 is granted at several settings of the clock, from noon on."""
    tenant, _, _ = await store.add_tenant(f"clock {uuid.uuid4()}")
    noon = 12 * HOUR - int(time.time()) % (24 * HOUR)
    granted = {}
    for name, offset in (
        ("today", noon),
        ("an hour back", noon - HOUR),
        ("half past midnight", noon + 12 * HOUR + HOUR // 2),
        ("half past eleven again", noon + 12 * HOUR - HOUR // 2),
        ("half past midnight again", noon + 12 * HOUR + HOUR // 2),
        ("the next day", noon + 36 * HOUR + 1),
    ):
        clock.write_text(f"{offset:+d}")
        granted[name] = 0
        for _ in range(20):
            try:
                await store.begin_turn(
                    tenant.id,
                    uuid.uuid4(),
                    conversation_id=None,
                    question="Hi",
                    limits=TurnLimits(tokens=1, tokens_per_day=10),
                )
            except BudgetSpent:
                break
            granted[name] += 1
    return granted


async def main(what: str, url: str, clock: Path, *numbers: str) -> None:
    store = Store(url)
    await store.migrate()
    if what == "rate":
        limit, window, windows = numbers
        print(json.dumps(await take(store, clock, int(limit), float(window), int(windows))))
    else:
        print(json.dumps(await spend(store, clock)))
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], Path(sys.argv[3]), *sys.argv[4:]))
