"""The measurements of each relay and the figures derived from them."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from relays.load import Load, Plan, Report
from relays.machine import busy_seconds, cpu_seconds, memory_bytes
from relays.targets import Target

SETTLE_SECONDS = 0.3  # after an answer, for the relay's remaining work on it
BOUND_MS = 100.0  # a relay keeps up while the 99th percentile is below this


@dataclass(frozen=True)
class Measurement:
    """One run of a plan: the visitors' results and the relay's resource use."""

    plan: Plan
    report: Report
    cpu: tuple[float, float, float]  # cumulative seconds: before, once every stream had begun, and after
    memory: tuple[int, int, int]  # bytes, at the same moments
    others: float  # cores used by unrelated processes
    load: float  # cores used by the load

    @property
    def complete(self) -> bool:
        """Whether every token arrived unchanged and in order, and every answer ended."""
        report = self.report
        answers = self.plan.questions or self.plan.streams
        return (report.tokens, report.answers, report.faults) == (self.plan.expected_tokens, answers, 0)


def measure(load: Load, target: Target, plan: Plan) -> Measurement:
    cpu, memory = [cpu_seconds(target.pid)], [memory_bytes(target.pid)]
    busy, load_cpu, started = busy_seconds(), cpu_seconds(load.pid), time.monotonic()

    def begun() -> None:
        cpu.append(cpu_seconds(target.pid))
        memory.append(memory_bytes(target.pid))

    report = load.run(plan, target.port, target.request, begun)
    time.sleep(SETTLE_SECONDS)
    cpu.append(cpu_seconds(target.pid))
    memory.append(memory_bytes(target.pid))
    seconds = time.monotonic() - started
    load_share = (cpu_seconds(load.pid) - load_cpu) / seconds
    others = (busy_seconds() - busy - (cpu[2] - cpu[0])) / seconds - load_share
    return Measurement(
        plan, report, (cpu[0], cpu[1], cpu[2]), (memory[0], memory[1], memory[2]), max(others, 0.0), load_share
    )


@dataclass(frozen=True)
class Figure:
    """One number of a measurement. Ratios are shown for figures that measure the relay's own work."""

    title: str
    digits: int
    of: Callable[[Measurement], float]
    has_ratio: bool = False


@dataclass(frozen=True)
class Mode:
    name: str
    title: str
    plans: list[Plan]
    figures: list[Figure]
    must_be_complete: bool = True
    is_fresh: bool = False  # measured on a freshly started process


WARM_UP = Plan("lockstep", 10, tokens=50)


def _cpu_per_token(measurement: Measurement) -> float:
    return (measurement.cpu[2] - measurement.cpu[0]) * 1e6 / measurement.plan.expected_tokens


def _cpu_per_later_token(measurement: Measurement) -> float:
    later = measurement.plan.streams * (measurement.plan.tokens - 1)
    return (measurement.cpu[2] - measurement.cpu[1]) * 1e6 / later


def _share_of_core(measurement: Measurement) -> float:
    """The share while tokens flow. The load's duration includes the start, which takes CPU but little time."""
    return (measurement.cpu[2] - measurement.cpu[1]) * 100 / (measurement.plan.tokens / measurement.plan.rate)


def _delivered(measurement: Measurement) -> float:
    return measurement.report.tokens * 100 / measurement.plan.expected_tokens


def _kilobytes_per_stream(measurement: Measurement) -> float:
    return (measurement.memory[1] - measurement.memory[0]) / 1000 / measurement.plan.streams


P50 = Figure("delay p50, ms", 2, lambda m: m.report.p50_ms)
P99 = Figure("delay p99, ms", 1, lambda m: m.report.p99_ms)
WORST = Figure("worst, ms", 0, lambda m: m.report.worst_ms)


def paced(streams: int, seconds: float, rate: int = 50) -> Plan:
    return Plan("paced", streams, tokens=int(rate * seconds), rate=rate, seconds=seconds + 10)


def modes(*, quick: bool) -> list[Mode]:
    """All modes except the search for the most streams; see `most_streams`."""
    counts, seconds = ([50, 200], 4.0) if quick else ([50, 200, 500, 1000], 6.0)
    return [
        Mode(
            "lockstep",
            "lockstep: 40 streams of 300 tokens, each sent when the last has arrived",
            [Plan("lockstep", 40)],
            [
                Figure("CPU per token with its share of the question, µs", 1, _cpu_per_token, has_ratio=True),
                Figure("CPU per token alone, µs", 1, _cpu_per_later_token, has_ratio=True),
                Figure("first text of 40 questions at once, p50, ms", 1, lambda m: m.report.first_p50_ms),
            ],
        ),
        Mode(
            "burst",
            "burst: 40 streams of 300 tokens, each sent at once by itself",
            [Plan("burst", 40)],
            [Figure("CPU per token with its share of the question, µs", 1, _cpu_per_token, has_ratio=True)],
        ),
        Mode(
            "questions",
            "one-token questions, 8 at a time",
            [Plan("questions", 8, tokens=1, questions=200 if quick else 600)],
            [
                Figure("CPU per question, µs", 0, _cpu_per_token, has_ratio=True),
                Figure("first text p50, ms", 2, lambda m: m.report.first_p50_ms),
            ],
        ),
        Mode(
            "paced",
            "paced: 50 tokens a second in each stream",
            [paced(count, seconds) for count in counts],
            [Figure("delivered, %", 1, _delivered), P50, P99, WORST, Figure("CPU, % of a core", 0, _share_of_core)],
            must_be_complete=False,
        ),
        Mode(
            "memory",
            "memory",
            [Plan("held", 100 if quick else 500, tokens=2)],
            [
                Figure("of an open stream, kB", 1, _kilobytes_per_stream),
                Figure("of the process before, MB", 1, lambda m: m.memory[0] / 1e6),
                Figure("of the process afterwards, MB", 1, lambda m: m.memory[2] / 1e6),
            ],
            is_fresh=True,
        ),
        Mode(
            "leaving",
            "leaving: from a visitor gone to the upstream closed, 40 streams at 50 tokens a second",
            [Plan("leaving", 40, tokens=4096, seconds=15)],
            [P50, WORST, Figure("upstreams closed within 15 s, of 40", 0, lambda m: m.report.left)],
            must_be_complete=False,
        ),
    ]


def keeps_up(measurement: Measurement) -> bool:
    return measurement.complete and measurement.report.p99_ms < BOUND_MS


def most_streams(probe: Callable[[int], Measurement]) -> int:
    """The most streams at which a relay keeps up: doubled until it doesn't, then bisected to within 5 %.

    A failure must repeat, so that a single stall of the machine doesn't count as the limit.
    """

    def holds(streams: int) -> bool:
        return keeps_up(probe(streams)) or keeps_up(probe(streams))

    good, bad = 0, 50
    while bad <= 3200 and holds(bad):
        good, bad = bad, 2 * bad
    if bad > 3200 or not good:
        return good
    while bad - good > max(good // 20, 5):
        middle = (good + bad) // 2
        good, bad = (middle, bad) if holds(middle) else (good, middle)
    return good
