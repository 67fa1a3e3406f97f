"""Measure whether rejecting an almost correct key takes longer than rejecting an entirely wrong one.

Each comparison covers the whole lookup in the store: format, hash, query. A near miss differs from a valid key only in
its last character, a far miss in all of them; the order is random. Prints means and medians in microseconds, and
Welch's t of the samples up to the 95th percentile: between -4.5 and 4.5, no difference was found (Reparaz et al.,
"Dude, is my code constant time?", section III).

    python bench/key_timing.py --comparisons 100000
"""

import argparse
import asyncio
import json
import math
import random
import secrets
import statistics
import string
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from service.store.store import Store

ALPHABET = string.ascii_letters + string.digits + "-_"
WARM_UP = 2000


def near_miss(api_key: str) -> str:
    """The key with another last character. There are only 63 of them, so each is tested many times."""
    return api_key[:-1] + secrets.choice(ALPHABET.replace(api_key[-1], ""))


def far_miss(api_key: str) -> str:
    """A key whose secret part differs in every character."""
    return api_key[:7] + "".join(secrets.choice(ALPHABET.replace(character, "")) for character in api_key[7:])


def welch_t(ones: list[int], others: list[int]) -> float:
    """Welch's t of two samples, without values above their joint 95th percentile."""
    limit = statistics.quantiles([*ones, *others], n=20)[-1]
    one, other = ([value for value in values if value <= limit] for values in (ones, others))
    spread = statistics.variance(one) / len(one) + statistics.variance(other) / len(other)
    return (statistics.fmean(one) - statistics.fmean(other)) / math.sqrt(spread)


async def measure(comparisons: int) -> dict[str, list[int]]:
    """The duration of each comparison in nanoseconds, by kind."""
    with tempfile.TemporaryDirectory() as directory:
        store = Store(f"sqlite:///{directory}/keys.db")
        await store.migrate()
        _, _, api_key = await store.add_tenant("shop", origins=["https://shop.example"])
        makers = {"near": near_miss, "far": far_miss}
        kinds = ["near", "far"] * (comparisons // 2)
        random.shuffle(kinds)
        times: dict[str, list[int]] = {"near": [], "far": []}
        misses = [(kind, makers[kind](api_key)) for kind in kinds]  # made in advance, as this takes a varying time
        for number, (kind, miss) in enumerate([*misses[:WARM_UP], *misses]):
            began = time.perf_counter_ns()
            found = await store.find_access(miss)
            took = time.perf_counter_ns() - began
            assert found is None
            if number >= WARM_UP:
                times[kind].append(took)
        assert await store.find_access(api_key) is not None
        await store.close()
    return times


def main() -> None:
    """Measure, and print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--comparisons", type=int, default=100_000)
    times = asyncio.run(measure(parser.parse_args().comparisons))
    figures = {
        kind: {
            "comparisons": len(taken),
            "mean_us": round(statistics.fmean(taken) / 1000, 2),
            "median_us": round(statistics.median(taken) / 1000, 2),
        }
        for kind, taken in times.items()
    }
    print(json.dumps({**figures, "welch_t": round(welch_t(times["near"], times["far"]), 2)}, indent=2))


if __name__ == "__main__":
    main()
