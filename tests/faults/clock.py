"""Take from one limit as fast as it grants, while the wall clock jumps; print when each grant was asked for and given.

`python clock.py URL CLOCK LIMIT WINDOW WINDOWS`, under libfaketime, which reads CLOCK. Times are monotonic: true ones.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from store import Store

JUMPS = ("+3600", "+0", "-3600", "+0", "+86400", "-3600", "+86400", "+0")


async def main(url: str, clock: Path, limit: int, window: float, windows: int) -> None:
    store = Store(url)
    await store.migrate()
    grants: list[tuple[float, float]] = []
    ends = time.monotonic() + windows * window
    refused = jumps = 0
    while time.monotonic() < ends:
        asked = time.monotonic()
        if await store.take("clock", limit, window=window) == 0.0:
            grants.append((asked, time.monotonic()))
            refused = 0
            continue
        refused += 1
        if refused == 1:  # the limit has just been used up: now a jump could give another one
            clock.write_text(JUMPS[jumps % len(JUMPS)])
            jumps += 1
        await asyncio.sleep(window / 50)
    await store.close()
    print(json.dumps(grants))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), int(sys.argv[5])))
