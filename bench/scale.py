"""Measure one process's resource use for answers at a model's pace; docs/scale.md is based on these figures.

    python bench/scale.py [--streams N] [--seconds S] [--rate TOKENS] [--database URL] [--replicas N]

--replicas starts several processes behind nginx with deploy/nginx.conf, and reports lost and late tokens and memory
while the streams are open. This also needs nginx.

Takes half a minute on two cores: one for the service, one for the upstream and the visitors, a C program. Needs cc. CPU
is the process's own time, so other load on the machine hardly affects it. The database is a new SQLite file, or the
empty one given by --database.
"""

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from relays import machine
from relays.fleet import head_of_samples, metrics_of, start_fleet, watched
from relays.load import Load, Plan
from relays.modes import WARM_UP, measure
from relays.targets import MOST_STREAMS, Setting, Target, service

MOST_TOKENS = 4096  # as in relays/load.h
FULL = 0.7  # the share of a core that a process should use at most; the rest is for bursts


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    if options.rate * options.seconds > MOST_TOKENS or options.streams > MOST_STREAMS:
        parser.error(f"at most {MOST_STREAMS} streams, and {MOST_TOKENS} tokens in each: lower --rate")
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        cores = machine.two_cores()
        load = Load(Path(temporary), cores.load)
        setting = Setting(Path(temporary), f"http://127.0.0.1:{load.port}/v1", cores.server)
        if options.replicas > 1:
            return _hold(load, setting, options)
        target = service(setting, options.database)
        try:
            return _measure(load, target, options)
        finally:
            target.stop()
            load.close()


def _measure(load: Load, target: Target, options: argparse.Namespace) -> int:
    if not measure(load, target, WARM_UP).complete:
        print("the service does not relay", file=sys.stderr)
        return 1
    before = metrics_of(target)
    tokens = options.rate * options.seconds
    plan = Plan("paced", options.streams, tokens=tokens, rate=options.rate, seconds=options.seconds + 30)
    measured = measure(load, target, plan)
    after = metrics_of(target)
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    answers = grown["chatbot_answer_seconds_count"]
    begin, flowing, end = measured.cpu
    share = (end - flowing) / options.seconds
    figures = {
        "answers": f"{answers:.0f} of {options.streams}, {options.seconds} s each at {options.rate} tokens per second",
        "whole": "yes, every token" if measured.complete else "NO: tokens are missing",
        "CPU per question, ms": f"{(flowing - begin) * 1000 / options.streams:.2f}",
        "CPU per token, µs": f"{(end - flowing) * 1e6 / (options.streams * tokens):.1f}",
        f"streams per core at {FULL:.0%}": f"{options.streams * FULL / share:.0f}",
        "memory per stream, kB": f"{(measured.memory[1] - measured.memory[0]) / 1000 / options.streams:.0f}",
        "memory of the process before, MB": f"{measured.memory[0] / 1e6:.0f}",
    }
    for kind in ("read", "write"):
        calls, seconds = (grown[f"chatbot_database_seconds_{each} {kind}"] for each in ("count", "sum"))
        figures[f"database: {kind}s per answer"] = f"{calls / answers:.1f}, {seconds * 1000 / calls:.2f} ms each"
    if commits := grown.get("chatbot_database_group_calls_count"):
        figures["database: commits per answer"] = f"{commits / answers:.2f}"
    for name, text in figures.items():
        print(f"{name:<34} {text}")
    print(f"{machine.description()}; other processes used {measured.others:.2f} cores meanwhile")
    return 0 if measured.complete else 1


def _hold(load: Load, setting: Setting, options: argparse.Namespace) -> int:
    """Streams over several replicas."""
    fleet = start_fleet(setting, options.replicas, options.database)
    try:
        if not measure(load, fleet.nginx, WARM_UP).complete:
            print("the service does not relay", file=sys.stderr)
            return 1
        tokens = options.rate * options.seconds
        plan = Plan("paced", options.streams, tokens=tokens, rate=options.rate, seconds=options.seconds + 60)
        print(head_of_samples(options.replicas))
        report = watched(load, fleet, plan)
    finally:
        fleet.stop()
    lost = plan.expected_tokens - report.tokens
    figures = {
        "answers": f"{report.answers} of {options.streams} whole, of {tokens} tokens in {options.seconds} s each",
        "tokens lost": f"{lost} of {plan.expected_tokens}; {report.faults} answers or tokens were wrong",
        "token latency, ms": f"p50 {report.p50_ms:.1f}, p99 {report.p99_ms:.0f}, worst {report.worst_ms:.0f}",
        "delay of the load itself, ms": f"{report.late_ms:.0f}",
    }
    for name, text in figures.items():
        print(f"{name:<34} {text}")
    print(machine.description())
    return 0 if not lost and not report.faults and report.answers == options.streams else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200, metavar="N", help="concurrent answers; default: 200")
    parser.add_argument("--seconds", type=int, default=10, metavar="S", help="length of an answer; default: 10")
    parser.add_argument("--rate", type=int, default=30, metavar="TOKENS", help="per second and stream; default: 30")
    parser.add_argument("--replicas", type=int, default=1, metavar="N", help="more than one: behind nginx; default: 1")
    parser.add_argument("--database", metavar="URL", help="DATABASE_URL; default: a new SQLite file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
