"""Faults of the upstream and of the connection to it."""

import asyncio
import socket
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from math import ceil
from pathlib import Path

from faults.faulty import BOMB_BYTES, FIVE_TEXT, TINY_EVENTS, FaultyUpstream, bomb, faulty_upstream
from faults.machine import LONG_DEADLINES, MIB, Deployment, Unmeasurable, deploy, silent_address, until
from faults.play import Play, fault, many
from faults.readers import Pulse, Reply, ask

CUT_OFF = {"upstream_interrupted"}
LATE = {"upstream_timeout"}
UPSTREAM_ERRORS = CUT_OFF | LATE | {"upstream_failed", "invalid_answer", "empty_answer", "answer_too_long", "busy"}
PLENTY = 30.0  # seconds past a deadline after which a request counts as hung


# No connection


@fault("connect-refused", "200 tries, 200 clean errors < 2 s, 0 stuck sockets")
async def connect_refused(play: Play) -> None:
    with socket.socket() as bound:  # bound but not listening: it reserves the port and refuses connections
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        # Without the circuit breaker, so that every request tries to connect; `circuit` tests the breaker.
        settings = play.deadlines | {"FAULTS_HURRY": "service.upstream.circuit.FAILURES_TO_OPEN=1000000"}
        async with deploy(play.directory, f"http://127.0.0.1:{port}/v1", settings) as here:
            reply = await many(play.count(200, 20), 20, lambda n: ask(here.url, here.key, f"Hello {n}"))
            play.require_endings(reply, UPSTREAM_ERRORS)
            _require_within(play, reply, 2)
            await _require_idle(play, here, port)


@fault("connect-blackhole", "20 tries, 20 errors within the connect timeout of at most 5 s")
async def connect_blackhole(play: Play) -> None:
    limit = 1.0 if play.short else 5.0
    with silent_address() as silent:
        port = silent.getsockname()[1]
        settings = play.deadlines | {"CONNECT_TIMEOUT": str(limit)}
        async with deploy(play.directory, f"http://127.0.0.1:{port}/v1", settings) as here:
            reply = await many(play.count(20, 5), 20, lambda n: ask(here.url, here.key, f"Hello {n}"))
            play.require_endings(reply, UPSTREAM_ERRORS)
            _require_within(play, reply, limit + 0.5)
            await _require_idle(play, here, port)


@fault("dns-fails", "20/20 errors, without the host's name in what a visitor sees")
async def dns_fails(play: Play) -> None:
    # Longer than DNS allows: it fails like an unknown name, without a query to the network.
    label = "no-such-upstream-" + "x" * 40
    async with deploy(play.directory, f"http://{'.'.join([label] * 5)}/v1", LONG_DEADLINES) as here:
        reply = await many(play.count(20, 5), 20, lambda n: ask(here.url, here.key, f"Hello {n}"))
        play.require_endings(reply, UPSTREAM_ERRORS)
        named = sum("no-such-upstream" in one.everything_said for one in reply)
        play.measure(f"{named} name the host")
        play.require(not named, f"{named} answers name the host")


@fault("tls-bad-cert", "10/10 errors; the question and the key never leave")
async def tls_bad_cert(play: Play) -> None:
    async with (
        faulty_upstream(_self_signed(play.directory)) as upstream,
        deploy(play.directory, upstream.url("quick"), LONG_DEADLINES) as here,
    ):
        reply = await many(play.count(10, 3), 10, lambda n: ask(here.url, here.key, f"Hello {n}"))
        play.require_endings(reply, UPSTREAM_ERRORS)
        play.measure(f"{upstream.accepted} connections, {upstream.calls} questions in them")
        play.require(upstream.calls == 0, f"{upstream.calls} questions were sent to a stranger")


def _self_signed(directory: Path) -> ssl.SSLContext:
    key, certificate = str(directory / "key.pem"), str(directory / "certificate.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=127.0.0.1".split()
    command += ["-addext", "subjectAltName=IP:127.0.0.1"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        raise Unmeasurable("openssl is not installed") from None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


# Silence and slowness


@fault("accept-then-silence", "50 in parallel, 50 errors at the first-text deadline, 0 sockets after")
async def accept_then_silence(play: Play) -> None:
    questions = [f"accept-then-silence {n}" for n in range(play.count(50, 10))]
    await _all_end(play, questions, LATE, seconds=float(play.deadlines["FIRST_TEXT_TIMEOUT"]))


@fault("headers-then-silence", "50/50 errors at the deadline")
async def headers_then_silence(play: Play) -> None:
    questions = [f"headers-then-silence {n}" for n in range(play.count(50, 10))]
    await _all_end(play, questions, LATE, seconds=float(play.deadlines["FIRST_TEXT_TIMEOUT"]))


@fault("silence-after-n-chunks", "50/50: partial text kept, then an error; recorded as upstream_timeout")
async def silence_after_n_chunks(play: Play) -> None:
    questions = [f"silence-after-n-chunks {n}" for n in range(play.count(50, 10))]
    # So that only the one between texts can fire.
    patient = {"FIRST_TEXT_TIMEOUT": "20", "READ_TIMEOUT": "20", "ANSWER_TIMEOUT": "60"}
    await _all_end(
        play, questions, LATE, seconds=float(play.deadlines["TEXT_TIMEOUT"]), keeps=_five_pieces, settings=patient
    )


@fault("comments-for-ever", "20/20 end within the deadline + 1 s: comments and empty deltas do not put it off")
async def comments_for_ever(play: Play) -> None:
    count = play.count(20, 6)
    questions = [f"comments-for-ever {('before', 'after')[n % 2]} {n}" for n in range(count)]
    await _all_end(play, questions, LATE, seconds=float(play.deadlines["TEXT_TIMEOUT"]))


@fault("one-token-per-20s", "10/10: relayed, and ended by the deadline of the whole answer")
async def one_token_per_20s(play: Play) -> None:
    pause = play.answer_seconds / 6  # the same ratio as 20 s to 120 s
    questions = [f"one-token-per-20s {pause} {n}" for n in range(play.count(10, 4))]
    await _all_end(
        play,
        questions,
        LATE,
        seconds=play.answer_seconds,
        keeps=lambda reply: reply.text.count("slow ") >= play.count(5, 2) and reply.seconds > play.answer_seconds - 0.5,
        settings={"FIRST_TEXT_TIMEOUT": "20", "TEXT_TIMEOUT": "20", "READ_TIMEOUT": "20"},
    )


def _five_pieces(reply: Reply) -> bool:
    return reply.text == FIVE_TEXT


async def _all_end(
    play: Play,
    questions: list[str],
    allowed: set[str],
    *,
    seconds: float,
    at_once: int = 50,
    keeps: Callable[[Reply], bool] = lambda reply: True,
    settings: Mapping[str, str] | None = None,
) -> list[Reply]:
    """All questions end in time with one clean error, keep their text, are recorded as such, and leave no socket."""
    chosen = {**play.deadlines, **(settings or {})}
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), chosen) as here:
        async with play.back_to_start(here, upstream) as first:
            reply = await many(
                len(questions), at_once, lambda n: ask(here.url, here.key, questions[n], seconds=seconds + PLENTY)
            )
            play.require_endings(reply, allowed)
            _require_within(play, reply, seconds + 1)
            lost = sum(not keeps(one) for one in reply)
            play.require(not lost, f"{lost} answers lost the text that had come")
        play.require(await until(lambda: not upstream.answering), f"{upstream.answering} upstream answers are open")
        await _require_recorded(play, here, first + reply)
        asked = [upstream.asked[question] for question in questions]
        play.require(set(asked) == {1}, f"the upstream was asked {Counter(asked)} times a question")
    return reply


def _require_within(play: Play, reply: list[Reply], seconds: float) -> None:
    slowest = max(one.seconds for one in reply)
    play.measure(f"slowest {slowest:.2f} s")
    play.require_in_time(slowest, seconds, "the slowest")


async def _require_recorded(play: Play, here: Deployment, reply: list[Reply]) -> None:
    """The tables match the endings that visitors received."""
    expected = Counter(one.ending for one in reply)
    play.require(await here.audited() == expected, f"told {dict(expected)}, recorded {await here.audited()}")
    play.require(await here.turns() == expected, f"told {dict(expected)}, turns {await here.turns()}")


async def _require_idle(play: Play, here: Deployment, upstream_port: int) -> None:
    """No answer and no socket to that upstream is open."""
    play.require(await here.until_idle(), "answers are still open")
    await until(lambda: not here.first.sockets()[str(upstream_port)])
    left = here.first.sockets()[str(upstream_port)]
    play.measure(f"{left} sockets left")
    play.require(not left, f"{left} sockets to the upstream are left")


# Too much


@fault("endless-text", "10/10 stopped at the longest answer; upstream closed < 1 s later; RSS growth < 20 MiB")
async def endless_text(play: Play) -> None:
    settings = LONG_DEADLINES | {"MAX_ANSWER_CHARS": "50000" if play.short else "200000"}
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), settings) as here:
        await ask(here.url, here.key, "quick warm-up")
        before = here.first.memory()
        here.first.forget_peak()
        told_at: dict[int, float] = {}

        async def one(number: int) -> Reply:
            reply = await ask(here.url, here.key, f"endless-text {number}")
            told_at[number] = time.monotonic()
            return reply

        reply = await many(play.count(10, 3), 10, one)
        play.require_endings(reply, {"answer_too_long"})
        await until(lambda: not upstream.answering)
        lag = max(upstream.ended[f"endless-text {number}"] - at for number, at in told_at.items())
        play.measure(f"upstream closed {lag:+.2f} s after")
        play.require(not upstream.answering, "the upstream was not closed")
        play.require_in_time(lag, 1, "to close the upstream")
        most = int(settings["MAX_ANSWER_CHARS"])
        longest = max(len(one.text) for one in reply)
        play.require(longest <= most, f"{longest} characters were relayed of {most}")
        _require_growth(play, here, before, 20)


def _require_growth(play: Play, here: Deployment, before: int, mib: int) -> None:
    """Limit the growth from `before` to the process's peak memory since `forget_peak`."""
    growth = here.first.peak_memory() - before
    play.measure(f"RSS {growth / MIB:+.1f} MiB at the peak")
    play.require(growth < mib * MIB, f"RSS grew by {growth / MIB:.1f} MiB")


@fault("huge-line", "a line of 100 MB is stopped at the limit with an error; RSS growth < 20 MiB")
async def huge_line(play: Play) -> None:
    await _one_flood(play, "huge-line", 20)


@fault("gzip-bomb", "200 MB out of 200 kB are stopped at a limit; RSS growth < 100 MiB; others wait < 0.5 s")
async def gzip_bomb(play: Play) -> None:
    for kind in ("comments",) if play.short else ("line", "comments", "deltas"):
        size = BOMB_BYTES // (3 if play.short else 1)
        bomb(kind, size)
        lags = await _one_flood(play, f"gzip-bomb {kind} {size}", 100)
        play.require_in_time(lags.worst(100), 0.5, f"{kind}: the longest stop of the event loop")


@fault("many-tiny-events", "1,000,000 empty lines end at a limit; event loop lag p99 < 100 ms for other visitors")
async def many_tiny_events(play: Play) -> None:
    for kind in ("events",) if play.short else ("lines", "events"):
        lags = await _one_flood(play, f"many-tiny-events {kind} {TINY_EVENTS // (10 if play.short else 1)}", 100)
        play.require_in_time(lags.worst(99), 0.1, f"{kind}: what other visitors waited (p99)")


async def _one_flood(play: Play, question: str, mib: int) -> Pulse:
    """An oversized answer ends with an error and its upstream is closed. Measures the effect on other answers."""
    settings = play.deadlines | {"ANSWER_TIMEOUT": "30"}
    directory = play.subdirectory(question.replace(" ", "-"))
    async with faulty_upstream() as upstream, deploy(directory, upstream.url(), settings) as here:
        await ask(here.url, here.key, "quick warm-up")
        before = here.first.memory()
        here.first.forget_peak()
        pulse = Pulse(here.url)
        other = asyncio.create_task(pulse.run())
        reply = await ask(here.url, here.key, question)
        await pulse.another()
        other.cancel()
        await asyncio.wait([other])
        play.require_endings([reply], UPSTREAM_ERRORS)
        _require_within(play, [reply], 31)
        play.require(await until(lambda: not upstream.answering), "the upstream is still open")
        play.measure(f"others waited {pulse.worst(99) * 1000:.0f} ms (p99), {pulse.worst(100) * 1000:.0f} ms (worst)")
        _require_growth(play, here, before, mib)
    return pulse


# Broken transport


@fault("rst-mid-stream", "200 faults, 0 reported complete; partial text kept")
async def rst_mid_stream(play: Play) -> None:
    questions = [f"rst-mid-stream {n}" for n in range(play.count(200, 20))]

    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), LONG_DEADLINES) as here:

        async def one(number: int) -> Reply:
            """The reset comes once the reader has the text: an earlier one could overtake it."""
            text = ""

            def on_piece(piece: str) -> None:
                nonlocal text
                text += piece
                if text == FIVE_TEXT:
                    upstream.gate(questions[number]).set()

            return await ask(here.url, here.key, questions[number], on_text=on_piece)

        async with play.back_to_start(here, upstream) as first:
            reply = await many(len(questions), 20, one)
            play.require_endings(reply, CUT_OFF)
            kept = sum(map(_five_pieces, reply))
            play.require(kept == len(reply), f"only {kept} of {len(reply)} kept the partial text")
        await _require_recorded(play, here, first + reply)


@fault("eof-without-chunk-end", "200/200 partial text and an error")
async def eof_without_chunk_end(play: Play) -> None:
    questions = [f"eof-without-chunk-end {n}" for n in range(play.count(200, 20))]
    await _all_end(
        play, questions, CUT_OFF, seconds=play.answer_seconds, at_once=20, keeps=_five_pieces, settings=LONG_DEADLINES
    )


@fault("content-length-short", "200/200 partial text and an error")
async def content_length_short(play: Play) -> None:
    questions = [f"content-length-short {n}" for n in range(play.count(200, 20))]
    await _all_end(
        play, questions, CUT_OFF, seconds=play.answer_seconds, at_once=20, keeps=_five_pieces, settings=LONG_DEADLINES
    )


@fault("close-delimited-http10", "200/200: complete only with a finish_reason")
async def close_delimited_http10(play: Play) -> None:
    count = play.count(200, 20)
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), LONG_DEADLINES) as here:
        for variant, expected in (("with", "complete"), ("without", "upstream_interrupted")):
            questions = [f"close-delimited-http10 {variant} {n}" for n in range(count // 2)]
            reply = await asyncio.gather(*(ask(here.url, here.key, question) for question in questions))
            play.measure(variant)
            play.require_endings(reply, {expected}, clean=expected != "complete")
            play.require(all(map(_five_pieces, reply)), f"{variant}: text was lost")


@fault("gzip-stream", "10/10 decoded and relayed at once")
async def gzip_stream(play: Play) -> None:
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), LONG_DEADLINES) as here:

        async def one(number: int) -> Reply:
            """The upstream continues only after the reader has the first piece."""
            question = f"gzip-stream {number}"
            return await ask(here.url, here.key, question, on_text=lambda text: upstream.gate(question).set())

        reply = await many(play.count(10, 5), 10, one)
        play.require_endings(reply, {"complete"}, clean=False)
        play.require({one.text for one in reply} == {"First second"}, "the text is another")


@fault("br-zstd", "10/10 errors, no garbage")
async def br_zstd(play: Play) -> None:
    codings = ["br", "zstd", "deflate", "compress", "gzip, br"]
    count = play.count(10, 5)
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), LONG_DEADLINES) as here:
        reply = await many(count, 10, lambda n: ask(here.url, here.key, f"br-zstd {codings[n % 5]} {n}"))
        play.require_endings(reply, UPSTREAM_ERRORS)
        play.require(not any(one.text for one in reply), "something was relayed")


@fault("1xx-flood", "10/10 tolerated or an error")
async def flood_of_1xx(play: Play) -> None:
    await _all_orderly(play, [f"1xx-flood {n}" for n in range(play.count(10, 5))], "Quick answer")


@fault("huge-headers", "10/10 errors")
async def huge_headers(play: Play) -> None:
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), LONG_DEADLINES) as here:
        reply = await many(play.count(10, 5), 10, lambda n: ask(here.url, here.key, f"huge-headers {n}"))
        play.require_endings(reply, UPSTREAM_ERRORS)


@fault("duplicate-headers", "10/10 no crash")
async def duplicate_headers(play: Play) -> None:
    kinds = ["type", "encoding", "both"]
    questions = [f"duplicate-headers {kinds[n % 3]} {n}" for n in range(play.count(10, 6))]
    await _all_orderly(play, questions, "Quick answer")


async def _all_orderly(play: Play, questions: list[str], text: str) -> None:
    """Each question gets a complete answer or one clean error, and the process keeps running."""
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), LONG_DEADLINES) as here:
        reply = await many(len(questions), 10, lambda n: ask(here.url, here.key, questions[n]))
        play.require_endings(reply, UPSTREAM_ERRORS | {"complete"}, clean=False)
        for one in reply:
            orderly = one.text == text if one.ending == "complete" else one.is_clean_error
            play.require(orderly and one.whole, f"{one.ending} with {one.text!r}")
        after = await ask(here.url, here.key, "quick after that")
        play.require(after.ending == "complete", f"afterwards: {after.ending}")
        play.require("Traceback" not in here.first.log(), "a traceback in the log")


@fault("keepalive-race", "1,000 requests, 0 visitor errors; each is answered by one call")
async def keepalive_race(play: Play) -> None:
    async with faulty_upstream() as upstream, deploy(play.directory, upstream.url(), LONG_DEADLINES) as here:
        reply: list[Reply] = []
        for turn in range(ceil(play.count(1000, 33) / 11)):
            # Ten concurrent questions leave ten idle connections, none of which is usable for the next question.
            for at_once in (10, 1):
                reply += await _ask_together(here, upstream, f"keepalive-race {turn}-{at_once}", at_once)
        play.require_endings(reply, {"complete"}, clean=False)
        raced = upstream.calls - len(reply)
        play.measure(f"{raced} met a closed connection")
        play.require(raced > 0, "no connection was used again: nothing was tried")
        play.require({one.text for one in reply} == {"Quick answer"}, "the text is another")


async def _ask_together(here: Deployment, upstream: FaultyUpstream, group: str, count: int) -> list[Reply]:
    """Ask questions concurrently, each on its own upstream connection."""
    asking = [asyncio.create_task(ask(here.url, here.key, f"{group} {n}")) for n in range(count)]
    await until(lambda: upstream.answering == count or any(task.done() for task in asking))
    upstream.gate(group).set()
    return await asyncio.gather(*asking)


@fault("circuit", "an upstream that is down is not waited for: then < 0.2 s each; 100/100 soon after it is back")
async def circuit(play: Play) -> None:
    """Not in the list of faults."""
    with socket.socket() as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{bound.getsockname()[1]}/quick/v1"
        hurry = {"FAULTS_HURRY": "service.upstream.circuit.OPEN_SECONDS=1.5"} if play.short else {}
        async with deploy(play.directory, url, LONG_DEADLINES | hurry) as here:
            count = play.count(100, 10)
            first = await many(30, 30, lambda n: ask(here.url, here.key, f"Hello {n}"))
            play.require_endings(first, UPSTREAM_ERRORS)
            reply = await many(count, 1, lambda n: ask(here.url, here.key, f"Still there? {n}"))
            play.require_endings(reply, UPSTREAM_ERRORS)
            quick = sum(one.seconds < 0.2 for one in reply)
            play.measure(f"{quick} answered at once")
            play.require(play.short or quick >= count - 2, f"{count - quick} waited for an upstream that is down")
            bound.listen(4096)
            async with faulty_upstream(sock=bound.dup()):

                async def answered() -> bool:
                    return (await ask(here.url, here.key, "Back?")).ending == "complete"

                started = time.monotonic()
                play.require(await until(answered, 30, every=0.1), "it never came back")
                play.measure(f"back after {time.monotonic() - started:.1f} s")
                reply = await many(count, 10, lambda n: ask(here.url, here.key, f"Again {n}"))
                play.require_endings(reply, {"complete"}, clean=False)
