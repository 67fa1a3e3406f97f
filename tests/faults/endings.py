"""Processes that end, and database faults."""

import asyncio
import os
import signal
import sqlite3
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from faults.faulty import FaultyUpstream, faulty_upstream, words
from faults.machine import LONG_DEADLINES, Deployment, NotAllowed, deploy, until
from faults.play import Play, fault, many
from faults.readers import Reply, ask, fetch, follow

UNAVAILABLE = {"database_unavailable"}
# The short form shortens the time after which a silent process counts as gone.
HURRY = {
    "FAULTS_HURRY": " ".join(
        f"service.answers.pace.{name}={seconds}"
        for name, seconds in (("HEARTBEAT_SECONDS", 0.1), ("LOST_SECONDS", 2), ("TICK_SECONDS", 0.1))
    )
}


# Processes


@fault("sigterm-mid-stream", "100 streams, 0 silent truncations; exit within the grace + 2 s; all stored")
async def sigterm_mid_stream(play: Play) -> None:
    count = play.count(100, 20)
    grace = 5.0 if play.short else 3.0
    async with (
        faulty_upstream() as upstream,
        deploy(play.directory, upstream.url(), LONG_DEADLINES | {"DRAIN_SECONDS": str(grace)}) as here,
    ):
        reading: set[int] = set()

        async def read(number: int) -> Reply:
            question = f"held 30 0.03 {number}" if number % 2 else f"endless 0.05 {number}"
            return await ask(here.url, here.key, question, on_text=lambda text: reading.add(number))

        asking = [asyncio.create_task(read(number)) for number in range(count)]
        play.require(await until(lambda: len(reading) == count), "they did not begin")
        started = time.monotonic()
        here.first.send_signal(signal.SIGTERM)
        upstream.gate("held").set()
        draining = await until(lambda: _is(here.url, "/api/v1/ready", 503))
        play.require(draining, "/ready did not turn 503")
        refused = await ask(here.url, here.key, "quick late")
        play.require(refused.ending == "restarting", f"a new question was told {refused.ending}")
        ended = await here.first.ended()
        seconds = time.monotonic() - started
        play.measure(f"exit after {seconds:.1f} s with a grace of {grace} s")
        play.require(ended, "it did not end")
        play.require_in_time(seconds, grace + 2, "the end")
        reply = await asyncio.gather(*asking)
        play.require_endings(reply, {"complete", "restarting"}, clean=False)
        silent = sum(not (one.whole and one.finals == 1) for one in reply)
        play.measure(f"{silent} silent truncations")
        play.require(not silent, f"{silent} streams ended without exactly one last event")
        short = [one for one in reply if one.ending == "complete"]
        play.require(all(one.text == words(30) for one in short), "a complete answer lost text")
        play.require(len(short) == count // 2, f"{len(short)} of {count // 2} answers were given time to end")
        turns = await here.turns()
        play.require(turns == Counter(one.ending for one in reply), f"turns {turns}")
        play.require("Traceback" not in here.first.log(), "a traceback in the log")


async def _is(url: str, path: str, status: int) -> bool:
    return (await fetch(url, path))[0] == status


@fault("sigkill-mid-stream", "100 streams, 0 shown as complete, 0 rows running after 60 s; readers are told elsewhere")
async def sigkill_mid_stream(play: Play) -> None:
    """One of two replicas dies; then a single process, which is restarted."""
    count = play.count(100, 10)
    settings = LONG_DEADLINES | (HURRY if play.short else {})
    async with faulty_upstream() as upstream:
        both = deploy(play.subdirectory("two"), upstream.url(), settings, replicas=2)
        alone = deploy(play.subdirectory("one"), upstream.url(), settings)
        async with both as two, alone as one:
            await asyncio.gather(_kill(play, two, count, "other replica"), _kill(play, one, count, "next start"))


async def _kill(play: Play, here: Deployment, count: int, closer: str) -> None:
    victim = here.first
    reading: set[int] = set()

    async def read(number: int) -> Reply:
        question = f"endless 0.05 {closer} {number}"
        message_id = f"00000000-0000-4000-8000-{number:012d}"
        return await ask(
            victim.url, here.key, question, message_id=message_id, on_text=lambda text: reading.add(number)
        )

    asking = [asyncio.create_task(read(number)) for number in range(count)]
    play.require(await until(lambda: len(reading) == count), "they did not begin")
    victim.send_signal(signal.SIGKILL)
    killed_at = time.monotonic()
    reply = await asyncio.gather(*asking)
    play.require(all(not one.whole and not one.finals for one in reply), "a killed answer looked whole")
    await victim.ended()
    if closer == "next start":
        await victim.start()
    url = here.replicas[-1].url
    back = await follow(
        cycle([url]), here.key, f"endless 0.05 {closer} 0", message_id=f"00000000-0000-4000-8000-{0:012d}", seconds=60
    )
    play.measure(f"{closer}: who came back was told {back.ending}")
    play.require(back.ending == "interrupted", f"{closer}: who came back was told {back.ending}")
    play.require(not back.gaps and not back.repeats, f"{back.gaps} gaps, {back.repeats} repeats")

    async def closed() -> bool:
        return await here.running() == 0

    all_closed = await until(closed, 60 - (time.monotonic() - killed_at), every=0.2)
    turns, audited = await here.turns(), await here.audited()
    play.measure(f"{closer}: {turns} after {time.monotonic() - killed_at:.0f} s")
    play.require(all_closed, f"{closer}: {turns.get('running')} rows are running after 60 s")
    play.require(turns == {"interrupted": count}, f"{closer}: turns {turns}")
    play.require(audited == {"interrupted": count}, f"{closer}: usage {audited} of {count} interrupted answers")


# The database


@fault("db-locked", "500 requests, 0 hangs > 10 s, 0 unaudited answers; an answer under way reaches its reader")
async def db_locked(play: Play) -> None:
    count, locked_seconds = play.count(500, 20), 0.8 if play.short else 30.0
    limit = 10
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), LONG_DEADLINES) as here:
        limited = await here.add_tenant("limited", rate_per_minute=limit)
        words_count = 30
        pause = locked_seconds / words_count / 2
        starting = [
            asyncio.create_task(ask(here.url, here.key, f"held {words_count} {pause} {n}"))
            for n in range(play.count(20, 4))
        ]
        play.require(await until(lambda: upstream.answering == len(starting)), "they did not begin")
        locker = _locked(play.directory / "chatbot.db")
        with locker:
            upstream.gate("held").set()
            unlock = asyncio.get_running_loop().call_later(locked_seconds, locker.release)
            started = time.monotonic()
            not_ready = asyncio.create_task(fetch(here.url, "/api/v1/ready"))
            asking = asyncio.create_task(many(count, 50, lambda n: ask(here.url, here.key, f"quick {n}")))
            of_limited = asyncio.create_task(
                many(play.count(100, 20), 10, lambda n: ask(here.url, limited, f"quick limited {n}"))
            )
            under_way = await asyncio.gather(*starting)
            status, _ = await not_ready
            reply, limited_told = await asyncio.gather(asking, of_limited)
            unlock.cancel()
        play.require(play.short or status == 503, f"/ready said {status}")
        everyone = reply + limited_told
        play.require_endings(reply, {"complete"} | UNAVAILABLE, clean=False)
        slowest = max(one.seconds for one in everyone)
        play.measure(f"slowest {slowest:.1f} s")
        play.require_in_time(slowest, 10, "a request")
        whole = sum(one.text == words(words_count) and one.ending == "complete" for one in under_way)
        play.measure(f"{whole} of {len(starting)} answers under way reached their readers")
        play.require(whole == len(starting), f"only {whole} of {len(starting)} answers under way reached their readers")
        play.require(await here.until_idle(), "answers are still open")
        answered = sum(one.ending == "complete" for one in everyone) + whole
        turns, audited = await here.turns(), await here.audited()
        play.measure(f"{answered} answered, {audited.get('complete', 0)} audited")
        play.require(turns == {"complete": answered}, f"{answered} were answered; turns {turns}")
        play.require(audited.get("complete") == answered, f"{answered} were answered; usage {audited}")
        granted = sum(one.ending == "complete" for one in limited_told)
        windows = 1 + (time.monotonic() - started) // 60
        play.require(granted <= limit * windows, f"{granted} of a limit of {limit} were granted")


class _locked:
    """Lock the database with BEGIN EXCLUSIVE, until `release` or the end of the block."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, timeout=10)

    def __enter__(self) -> None:
        self._connection.execute("BEGIN EXCLUSIVE")

    def release(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def __exit__(self, *exception: object) -> None:
        self.release()
        self._connection.close()


@fault("db-gone", "PostgreSQL stopped: 503, /ready 503, back < 5 s after it; 0 answers without a limit's decision")
async def db_gone(play: Play) -> None:
    server = play.postgres_server()
    await _play_gone(play, play.postgres_url("gone"), server.stop, server.start)


@fault("db-gone-sqlite", "the SQLite file taken away: the same")
async def db_gone_sqlite(play: Play) -> None:
    path = play.directory / "chatbot.db"
    elsewhere = path.with_name("elsewhere.db")
    await _play_gone(play, f"sqlite:///{path}", lambda: path.rename(elsewhere), lambda: elsewhere.rename(path))


async def _play_gone(play: Play, url: str, take_away: Callable[[], object], bring_back: Callable[[], object]) -> None:
    gone_seconds = 0.6 if play.short else 12.0
    async with (
        faulty_upstream() as upstream,
        deploy(play.directory, upstream.url(), LONG_DEADLINES, database_url=url) as here,
    ):
        length = 30
        under_way = [
            asyncio.create_task(ask(here.url, here.key, f"held {length} {gone_seconds / length / 2} {n}"))
            for n in range(play.count(20, 4))
        ]
        play.require(await until(lambda: upstream.answering == len(under_way)), "they did not begin")
        calls = upstream.calls
        reply: list[Reply] = []
        statuses: Counter[int] = Counter()
        await asyncio.to_thread(take_away)
        stopped = time.monotonic()

        async def visit() -> None:
            while not reply or time.monotonic() < stopped + gone_seconds:
                reply.append(await ask(here.url, here.key, "quick"))
                statuses[(await fetch(here.url, "/api/v1/ready"))[0]] += 1

        try:
            upstream.gate("held").set()
            await asyncio.gather(*(visit() for _ in range(10)))
            read = await asyncio.gather(*under_way)
        finally:
            await asyncio.to_thread(bring_back)  # other faults use the same server
        play.require_endings(reply, UNAVAILABLE)
        slowest = max(one.seconds for one in reply)
        play.measure(f"/ready {dict(statuses)}, slowest {slowest:.1f} s")
        play.require(set(statuses) == {503}, f"/ready said {dict(statuses)}")
        play.require_in_time(slowest, 10, "a request")
        play.require(upstream.calls == calls, f"{upstream.calls - calls} questions were asked without a decision")
        whole = sum(one.text == words(length) and one.ending == "complete" for one in read)
        play.measure(f"{whole} of {len(read)} answers under way reached their readers")
        play.require(whole == len(read), f"only {whole} of {len(read)} answers under way reached their readers")
        started = time.monotonic()

        recovered = await _answers_again(here) and await until(lambda: _is(here.url, "/api/v1/ready", 200))
        seconds = time.monotonic() - started
        play.measure(f"back after {seconds:.1f} s")
        play.require(recovered, "it did not recover")
        play.require_in_time(seconds, 5, "to recover")

        async def all_stored() -> bool:
            return await here.running() == 0 and await here.first.is_idle()

        play.require(await until(all_stored), f"turns {await here.turns()}")
        turns = await here.turns()
        play.require(set(turns) == {"complete"}, f"turns {turns}")
        play.require(await here.audited() == turns, f"turns {turns}, usage {await here.audited()}")


@fault("disk-full", "0 corruptions in 50 runs; 503 meanwhile; recovers by itself")
async def disk_full(play: Play) -> None:
    with _small_disk(play.subdirectory("disk")) as disk:
        database = disk / "chatbot.db"
        url = f"sqlite:///{database}"
        async with (
            faulty_upstream() as upstream,
            deploy(play.directory, upstream.url(), LONG_DEADLINES, database_url=url) as here,
        ):
            reply: list[Reply] = []
            corruptions, slowest = 0, 0.0
            runs = play.count(50, 1)
            for run in range(runs):
                reply += await _fill_while_asking(here, upstream, disk / "filler", run)
                corruptions += await asyncio.to_thread(_integrity, database) != "ok"
                freed = time.monotonic()
                play.require(await _answers_again(here), "it did not recover")
                slowest = max(slowest, time.monotonic() - freed)
            play.measure(f"{corruptions} corruptions in {runs} runs")
            play.require_endings(reply, {"complete"} | UNAVAILABLE, clean=False)
            play.require(any(one.ending in UNAVAILABLE for one in reply), "the disk was never full")
            play.require(not corruptions, f"{corruptions} corruptions")
            play.require_in_time(slowest, 5, "to recover")
            play.require(await here.until_idle(), "answers are still open")
            play.require(await here.running() == 0, f"{await here.running()} rows are left running")
            complete = sum(one.ending == "complete" for one in reply)
            stored = (await here.turns())["complete"]
            play.measure(f"{complete} answered, {stored} stored")
            play.require(stored >= complete, f"{complete - stored} answers are not stored")


async def _fill_while_asking(here: Deployment, upstream: FaultyUpstream, filler: Path, run: int) -> list[Reply]:
    """Ask while the disk fills up and when it is full, then free the space."""
    long = "q" * 3000

    async def slowly(number: int) -> Reply:
        return await ask(here.url, here.key, f"words 40 0.005 {run}-{number} {long}")

    async def quickly(number: int) -> Reply:
        return await ask(here.url, here.key, f"quick {run}-{number} {long}")

    asked = upstream.calls
    asking = asyncio.create_task(many(10, 5, slowly))
    await until(lambda: upstream.calls > asked)
    _fill(filler)
    reply = await asking + await many(5, 5, quickly)
    filler.unlink()
    return reply


async def _answers_again(here: Deployment) -> bool:
    async def answers() -> bool:
        return (await ask(here.url, here.key, "quick back")).ending == "complete"

    return await until(answers, every=0.1)


@contextmanager
def _small_disk(path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        raise NotAllowed("only root can mount a small disk")
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", path], check=True, capture_output=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        raise NotAllowed("this machine lets nobody mount a small disk") from None
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def _fill(path: Path) -> None:
    """Fill the disk."""
    with open(path, "wb", buffering=0) as file:
        for size in (65_536, 4096, 1):
            try:
                while file.write(b"f" * size):
                    pass
            except OSError:
                continue


def _integrity(database: Path) -> str:
    connection = sqlite3.connect(database, timeout=20)
    try:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    finally:
        connection.close()
