"""Faults of visitors, who disconnect while the upstream is connecting or during an answer, or read very slowly."""

import asyncio
import time

from faults.faulty import faulty_upstream
from faults.machine import LONG_DEADLINES, MIB, Replica, deploy, silent_address, until
from faults.play import SPARE_TASKS, WORN_IN_BYTES, Play, fault, many
from faults.readers import Reply, ask, read_slowly


@fault("client-drops-during-connect", "10,000 drops, then 100/100 normal requests answer")
async def client_drops_during_connect(play: Play) -> None:
    at_once = play.count(100, 30)
    enough = play.count(10_000, 60)
    with silent_address() as silent:
        port = silent.getsockname()[1]
        url = f"http://127.0.0.1:{port}/quick/v1"
        settings = LONG_DEADLINES | {"CONNECT_TIMEOUT": "4"}
        async with deploy(play.directory, url, settings) as here:
            dropped = asked = 0

            async def leave(until_dropped: int) -> None:
                nonlocal dropped, asked
                while dropped < until_dropped and asked < 10 * enough:
                    dropped += await _leave_while_connecting(here.first, here.key, port, at_once, asked)
                    asked += at_once

            await leave(enough // 10)
            await here.until_idle()
            before = await here.first.weigh(port)  # measured after the warm-up, whose memory stays allocated
            await leave(enough)
            play.measure(f"{asked} asked, {dropped} left while connecting")
            play.require(dropped >= enough, f"only {dropped} left while the upstream was connected")
            play.require(await here.until_idle(), "answers are still open")
            async with faulty_upstream(sock=silent.dup()) as upstream:
                reply = await many(play.count(100, 20), 10, lambda n: ask(here.url, here.key, f"After {n}"))
                play.require_endings(reply, {"complete"}, clean=False)
                await here.until_idle()
                after = await here.first.weigh_until(
                    upstream.port, lambda now: (now.tasks - before.tasks).total() <= SPARE_TASKS
                )
                grown = after.memory - before.memory
                play.measure(f"{grown / MIB:+.1f} MiB, tasks {before.tasks.total()} -> {after.tasks.total()}")
                left = after.tasks - before.tasks
                play.require(left.total() <= SPARE_TASKS, f"tasks that are left: {dict(left)}")
                play.require(grown < WORN_IN_BYTES, f"memory grew by {grown / MIB:.1f} MiB")
            play.require(await here.running() == 0, f"{await here.running()} rows are left running")


async def _leave_while_connecting(replica: Replica, key: str, port: int, count: int, wave: int) -> int:
    """Visitors ask, and disconnect while their upstream connections are being made. Returns how many there were."""
    earlier = replica.connecting(port)
    seen: set[int] = set()
    asking = [asyncio.create_task(ask(replica.url, key, f"Hello {wave} {number}")) for number in range(count)]

    def all_connect() -> bool:
        seen.update(replica.connecting(port) - earlier)
        return len(seen) >= count

    await until(all_connect, 3, every=0.02)
    for task in asking:
        task.cancel()
    await asyncio.wait(asking)
    return min(len(seen), count)


@fault("client-drops-mid-stream", "1,000 drops after 5 chunks: upstream closed < 1 s, 1,000 rows, 0 sockets left")
async def client_drops_mid_stream(play: Play) -> None:
    count = play.count(1000, 60)
    settings = LONG_DEADLINES | {"RESUME_SECONDS": "0"}
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), settings) as here:
        async with play.back_to_start(here, upstream):
            left_at: dict[int, float] = {}

            async def leave(number: int) -> None:
                reply = await ask(here.url, here.key, f"endless 0.01 {number}", leave_after=5)
                left_at[number] = time.monotonic()
                play.require(reply.ending == "cut off", f"it ended before: {reply.ending}")

            await many(count, 50, leave)
            play.require(await until(lambda: not upstream.answering), f"{upstream.answering} upstreams are open")
        slowest = max(upstream.ended[f"endless 0.01 {number}"] - at for number, at in left_at.items())
        play.measure(f"upstream closed at most {slowest:.2f} s after")
        play.require_in_time(slowest, 1, "to close an upstream")
        audited, turns = await here.audited(), await here.turns()
        play.measure(f"{audited.get('cancelled', 0)} rows")
        play.require(audited == {"cancelled": count, "complete": 1}, f"recorded {audited}")
        play.require(turns == {"cancelled": count, "complete": 1}, f"turns {turns}")


@fault("slow-reader", "200 who read 1 byte/s: ended by the send timeout; RSS growth < 100 MiB; normal p99 < 1 s")
async def slow_reader(play: Play) -> None:
    count = play.count(200, 20)
    question = "flood 8000 0.05 20" if play.short else "flood 4000 0.4 35"  # more than all buffers hold
    settings = LONG_DEADLINES | {"SEND_TIMEOUT": play.deadlines["SEND_TIMEOUT"]}
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), settings) as here:
        await ask(here.url, here.key, "quick warm-up")
        before = here.first.memory()
        here.first.forget_peak()
        started = time.monotonic()
        slow = [asyncio.create_task(read_slowly(here.url, here.key, f"{question} {n}")) for n in range(count)]
        times: list[float] = []
        began = await until(lambda: upstream.calls > count)
        play.require(began, f"only {upstream.calls - 1} began")
        while upstream.answering and time.monotonic() < started + 55:
            reply = await ask(here.url, here.key, f"quick {len(times)}")
            play.require(reply.ending == "complete", f"a normal visitor was told {reply.ending}")
            times.append(reply.seconds)
            await asyncio.sleep(0.02)
        play.measure(f"upstreams closed after {time.monotonic() - started:.1f} s")
        play.require(not upstream.answering, f"{upstream.answering} upstreams are still open")
        p99 = sorted(times)[int(len(times) * 0.99)] if times else float("inf")
        play.measure(f"{len(times)} normal visitors, p99 {p99 * 1000:.0f} ms")
        play.require_in_time(p99, 1, "what normal visitors waited (p99)")
        play.require(await here.until_idle(), "answers are still open")
        audited = await here.audited()
        play.measure(f"{audited.get('cancelled', 0)} cancelled")
        play.require(audited.get("cancelled") == count, f"{audited} instead of {count} cancelled")
        growth = here.first.peak_memory() - before
        play.measure(f"RSS {growth / MIB:+.1f} MiB at the peak")
        play.require(growth < 100 * MIB, f"RSS grew by {growth / MIB:.1f} MiB")
        gone = await until(lambda: here.first.sockets()["reader"] == 0)
        play.require(gone, f"{here.first.sockets()['reader']} sockets to readers are left")
        for task in slow:
            task.cancel()
        await asyncio.wait(slow)


@fault("comes-back-while-connecting", "100 who drop while the upstream is connected and come back at once: 100 answers")
async def comes_back_while_connecting(play: Play) -> None:
    """Not in the list of faults. A dropped connection costs nothing."""
    count = play.count(100, 20)
    with silent_address() as silent:
        port = silent.getsockname()[1]
        url = f"http://127.0.0.1:{port}/quick/v1"
        async with deploy(play.directory, url, LONG_DEADLINES | {"CONNECT_TIMEOUT": "30"}) as here:
            ids = [f"00000000-0000-4000-8000-{number:012d}" for number in range(count)]

            def visit(number: int) -> asyncio.Task[Reply]:
                return asyncio.create_task(ask(here.url, here.key, f"Hello {number}", message_id=ids[number]))

            async def connecting() -> bool:
                return len(here.first.connecting(port)) >= count

            first = [visit(number) for number in range(count)]
            play.require(await until(connecting), "they were not being connected")
            for task in first:
                task.cancel()
            await asyncio.wait(first)
            asked = 'chatbot_requests_total{code="",route="/api/v1/chat",status="499"}'

            async def noticed() -> bool:
                return (await here.first.metric(asked) or 0) >= count

            play.require(await until(noticed), "the service did not notice that they left")
            again = [visit(number) for number in range(count)]
            async with faulty_upstream(sock=silent.dup()) as upstream:
                reply = await asyncio.gather(*again)
                play.require_endings(reply, {"complete"}, clean=False)
                twice = sum(times > 1 for times in upstream.asked.values())
                play.require(not twice, f"{twice} questions were asked more than once")
