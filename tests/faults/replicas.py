"""Several processes on one database: readers that switch between them, shared limits, and restarts."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

from faults.faulty import FaultyUpstream, faulty_upstream, words
from faults.machine import LONG_DEADLINES, Deployment, Unmeasurable, deploy, until
from faults.play import Play, fault, many
from faults.proxy import Cut, cutting_proxy
from faults.readers import Followed, Reply, ask, follow

HEAD_BYTES = 300  # less than a response's head and its `start` event
EVENT_BYTES = 50  # less than one word's event
CLOCK = Path(__file__).with_name("clock.py")
FAKETIME = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)


# Answers that outlive their readers


@fault("cut-and-resume", "1,000 answers cut 1 to 3 times: 1,000 whole texts, 1,000 upstream calls, no gap, no repeat")
async def cut_and_resume(play: Play) -> None:
    await _cut_and_resume(play, play.count(1000, 20), replicas=1)


@fault("cut-and-resume-sqlite", "the same with two processes on one SQLite file, coming back to the other one")
async def cut_and_resume_sqlite(play: Play) -> None:
    await _cut_and_resume(play, play.count(1000, 6), replicas=2)


@fault("cut-and-resume-postgresql", "the same with two replicas on PostgreSQL, coming back to the other one")
async def cut_and_resume_postgresql(play: Play) -> None:
    await _cut_and_resume(play, play.count(1000, 6), replicas=2, database_url=play.postgres_url("resume"))


async def _cut_and_resume(play: Play, count: int, *, replicas: int, database_url: str = "") -> None:
    length, pause = (20, 0.02) if play.short else (40, 0.05)
    chance = random.Random(3)
    async with (
        faulty_upstream() as upstream,
        deploy(play.directory, upstream.url(), LONG_DEADLINES, replicas=replicas, database_url=database_url) as here,
        play.back_to_start(here, upstream),
    ):
        warmed_up = upstream.calls
        cuts_made = 0

        async def one(number: int) -> Followed:
            nonlocal cuts_made
            cuts = _cuts(chance, length)
            async with cutting_proxy(_in_turn(here, number), cuts) as proxy:
                followed = await follow(cycle([proxy.url]), here.key, f"words {length} {pause} {number}", seconds=60)
                cuts_made += proxy.cuts_made
                return followed

        followed = await many(count, 100, one)
        _require_whole(play, followed, words(length))
        play.measure(f"{cuts_made} cuts")
        play.require(cuts_made >= count, f"only {cuts_made} cuts were made")
        calls = upstream.calls - warmed_up
        play.measure(f"{calls} upstream calls")
        play.require(calls == count, f"{calls} upstream calls")
        turns = await here.turns()
        play.require(turns == {"complete": count + replicas}, f"turns {turns}")


def _in_turn(here: Deployment, number: int) -> Iterator[str]:
    urls = here.urls()
    return cycle(urls[number % len(urls) :] + urls[: number % len(urls)])


def _cuts(chance: random.Random, length: int) -> list[Cut]:
    """One to three cuts. Any response is long enough for the first one; later ones may not happen."""
    ranges = [HEAD_BYTES + EVENT_BYTES * length, *[HEAD_BYTES + EVENT_BYTES * length // 3] * 2]
    return [Cut(chance.randint(1, most), chance.choice(["reset", "close"])) for most in ranges[: chance.randint(1, 3)]]


def _require_whole(play: Play, followed: list[Followed], text: str) -> None:
    whole = sum(one.text == text and one.ending == "complete" for one in followed)
    gaps, repeats = sum(one.gaps for one in followed), sum(one.repeats for one in followed)
    play.measure(f"{whole} whole texts, {gaps} gaps, {repeats} repeats")
    others = {one.ending for one in followed} - {"complete"}
    play.require(whole == len(followed), f"{len(followed) - whole} texts are not whole {others or ''}")
    play.require(not gaps and not repeats, f"{gaps} gaps and {repeats} repeats")


@fault("same-request-twice", "200 requests sent to two processes at the same moment: 200 upstream calls, 400 whole")
async def same_request_twice(play: Play) -> None:
    """Not in the list of faults. A unique row decides which request creates the turn."""
    count = play.count(200, 10)
    async with (
        faulty_upstream() as upstream,
        deploy(play.directory, upstream.url(), LONG_DEADLINES, replicas=2) as here,
    ):
        text = words(10)

        async def one(number: int) -> list[Followed]:
            question = f"words 10 0.05 {number}"
            message_id = f"00000000-0000-4000-8000-{number:012d}"
            return await asyncio.gather(
                *(follow(cycle([url]), here.key, question, message_id=message_id) for url in here.urls())
            )

        followed = [one for pair in await many(count, 20, one) for one in pair]
        _require_whole(play, followed, text)
        play.measure(f"{upstream.calls} upstream calls")
        play.require(upstream.calls == count, f"{upstream.calls} upstream calls")


@fault("rolling-restart", "two replicas restarted in turn under load: no answer is lost")
async def rolling_restart(play: Play) -> None:
    settings = LONG_DEADLINES | {"DRAIN_SECONDS": "10"}
    async with (
        faulty_upstream() as upstream,
        deploy(play.directory, upstream.url(), settings, replicas=2) as here,
    ):
        length, pause = (10, 0.02) if play.short else (40, 0.05)
        followed: list[Followed] = []
        restarted = asyncio.Event()

        async def visit(visitor: int) -> None:
            number = 0
            while not restarted.is_set():
                question = f"words {length} {pause} {visitor}-{number}"
                followed.append(await follow(_in_turn(here, visitor + number), here.key, question))
                number += 1

        visitors = [asyncio.create_task(visit(number)) for number in range(play.count(40, 6))]
        try:
            for replica in here.replicas:
                await _until_asked(upstream, len(visitors))
                replica.send_signal(signal.SIGTERM)
                play.require(await replica.ended(), f"{replica.name} did not end")
                await replica.start()
            await _until_asked(upstream, len(visitors))
        finally:
            restarted.set()
            await asyncio.gather(*visitors)
        _require_whole(play, followed, words(length))
        refused = sorted({code for one in followed for code in one.refused})
        play.measure(f"{len(followed)} answers, {sum(one.requests > 1 for one in followed)} asked again, {refused}")
        twice = sum(times > 1 for times in upstream.asked.values())
        play.require(not twice, f"{twice} questions were asked more than once")
        play.require(await here.until_idle(), "answers are still open")
        play.require(await here.running() == 0, f"{await here.running()} rows are left running")


async def _until_asked(upstream: FaultyUpstream, more: int) -> None:
    """Wait until this many more questions were asked, so that there is load."""
    asked = upstream.calls
    await until(lambda: upstream.calls >= asked + more)


# Limits that they share


@fault("two-replicas-limit", "10 runs x 1, 2, 3, 5 replicas: accepted == L")
async def two_replicas_limit(play: Play) -> None:
    sizes = (2,) if play.short else (1, 2, 3, 5)
    runs, limit = play.count(10, 2), 20

    async def accepted(here: Deployment, size: int, run: int) -> int:
        key = await here.add_tenant(f"limited-{size}-{run}", rate_per_minute=limit)
        reply = await _ask_at_once(here, key, 3 * limit, size)
        _allow(reply, {"complete", "rate_limited"})
        return sum(one.ending == "complete" for one in reply)

    async for name, here, _ in _on_each_database(play, max(sizes)):
        counts = {size: [await accepted(here, size, run) for run in range(runs)] for size in sizes}
        right = sum(each.count(limit) for each in counts.values())
        play.measure(f"{name}: {right} of {runs * len(sizes)} runs accepted exactly {limit}")
        play.require(right == runs * len(sizes), f"{name}: accepted {counts} of a limit of {limit}")


@fault("budget-edge", "50 at once at the edge of the day's budget, 10 runs x 1, 2, 3, 5 replicas: 1 reservation over")
async def budget_edge(play: Play) -> None:
    """Not in the list of faults. The reservation before the call enforces the budget."""
    sizes = (2,) if play.short else (1, 2, 3, 5)
    runs, budget, cap = play.count(10, 2), 2000, 500

    async def held(here: Deployment, upstream: FaultyUpstream, size: int, run: int) -> tuple[int, int]:
        """How many of 50 questions begin, and the budget reserved then. No answer ends before all have a response."""
        name = f"edge-{size}-{run}"
        key = await here.add_tenant(name, tokens_per_day=budget, max_answer_tokens=cap)
        urls = here.urls()[:size]
        questions = [f"gated {name} {number}" for number in range(50)]
        asking = [
            asyncio.create_task(ask(urls[number % size], key, question)) for number, question in enumerate(questions)
        ]
        heard = await until(lambda: upstream.answering + sum(task.done() for task in asking) == len(asking))
        used = f"SELECT used FROM counters JOIN tenants ON scope = 'tokens:' || tenants.id WHERE name = '{name}'"
        ((reserved,),) = await here.rows(used)
        for question in questions:
            upstream.gate(question).set()
        reply = await asyncio.gather(*asking)
        _allow(reply, {"complete", "budget_reserved"})
        play.require(heard, f"{name}: not all were heard")
        return sum(one.ending == "complete" for one in reply), reserved

    async for name, here, upstream in _on_each_database(play, max(sizes)):
        found = [await held(here, upstream, size, run) for size in sizes for run in range(runs)]
        begun, reserved = {count for count, _ in found}, max(tokens for _, tokens in found)
        play.measure(f"{name}: {sorted(begun)} of 50 begun in {len(found)} runs, {reserved} of {budget} tokens at most")
        # A reservation is the cap plus an estimate of the prompt. One more is granted while the budget isn't spent.
        one = reserved // max(begun)
        play.require(begun == {-(-budget // one)}, f"{name}: begun {begun}, with {one} tokens each of {budget}")
        play.require(budget <= reserved < budget + one, f"{name}: {reserved} of {budget} reserved, {one} each")


async def _on_each_database(play: Play, replicas: int) -> AsyncIterator[tuple[str, Deployment, FaultyUpstream]]:
    databases = {"sqlite": ""}
    if not play.short:
        databases["postgresql"] = play.postgres_url("limit")
    for name, url in databases.items():
        async with (
            faulty_upstream() as upstream,
            deploy(
                play.subdirectory(name), upstream.url(), LONG_DEADLINES, replicas=replicas, database_url=url
            ) as here,
        ):
            yield name, here, upstream


async def _ask_at_once(here: Deployment, key: str, count: int, size: int, question: str = "quick") -> list[Reply]:
    urls = here.urls()[:size]
    return await many(count, count, lambda number: ask(urls[number % size], key, f"{question} {number}"))


def _allow(reply: list[Reply], endings: set[str]) -> None:
    other = {one.ending for one in reply} - endings
    if other:
        raise RuntimeError(f"told {other}")


@fault("clock-jump", "+1 h, -1 h, +1 d during load: at most L in each of 1,000 windows; none blocked > 1 window")
async def clock_jump(play: Play) -> None:
    """A process whose wall clock jumps uses up limits, on SQLite and on PostgreSQL, which has its own clock."""
    if FAKETIME is None:
        raise Unmeasurable("libfaketime is not installed")
    urls = {"sqlite": f"sqlite:///{play.directory}/clock.db"}
    if not play.short:
        urls["postgresql"] = play.postgres_url("clock")
    await asyncio.gather(*(_jump(play, name, url) for name, url in urls.items()))


async def _jump(play: Play, name: str, url: str) -> None:
    windows, window, limit = play.count(1000, 5), 0.8 if play.short else 0.2, 3 if play.short else 5
    grants = await _under_jumping_clock(play, name, "rate", url, str(limit), str(window), str(windows))
    most, over, wait = _judge_windows([tuple(pair) for pair in grants], limit, window)
    play.measure(f"{name}: at most {most} of {limit} in a window, {over} windows over, longest wait {wait:.2f} s")
    play.require(most >= limit, f"{name}: the limit was never reached: nothing was tried")
    play.require(
        not over, f"{name}: {over} of {windows} windows were free or granted more than {limit} (at most {most})"
    )
    play.require_in_time(wait, max(2.5 * window, 2.0), f"{name}: the longest time without a grant")


@fault(
    "budget-clock", "the clock set back an hour, within a day and over midnight: no token of a spent budget is granted"
)
async def budget_clock(play: Play) -> None:
    """On SQLite, which uses the process's clock for days; PostgreSQL's own clock can't be set here."""
    if FAKETIME is None:
        raise Unmeasurable("libfaketime is not installed")
    url = f"sqlite:///{play.directory}/clock.db"
    granted = await _under_jumping_clock(play, "sqlite", "budget", url)
    play.measure(", ".join(f"{when}: {count} of 10" for when, count in granted.items()))
    play.require(list(granted.values()) == [10, 0, 10, 0, 0, 10], f"granted {granted}")


async def _under_jumping_clock(play: Play, name: str, what: str, url: str, *numbers: str) -> Any:
    """The output of clock.py."""
    clock = play.directory / f"{name}.clock"
    clock.write_text("+0")
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    arguments = [sys.executable, str(CLOCK), what, url, str(clock), *numbers]
    process = await asyncio.create_subprocess_exec(*arguments, env=environment, stdout=subprocess.PIPE)
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"clock.py ended with {process.returncode}")
    return json.loads(output)


def _judge_windows(grants: list[tuple[float, float, int]], limit: int, window: float) -> tuple[int, int, float]:
    """From (requested at, granted at, left): the most grants per window, the number of bad windows, the longest wait.

    A window begins with the grant that leaves all but one. Between the request of that grant and the next window's
    first grant, at least one window's length must pass, however slow the machine is; otherwise a window was free.
    """
    begins = [place for place, (_, _, left) in enumerate(grants) if left == limit - 1] + [len(grants)]
    sizes = [end - begin for begin, end in pairwise(begins)]
    over = sum(size > limit for size in sizes)
    over += sum(grants[later][1] - grants[begin][0] < window for begin, later in pairwise(begins[:-1]))
    longest = max((later[0] - earlier[1] for earlier, later in pairwise(grants)), default=0.0)
    return max(sizes, default=0), over, longest
