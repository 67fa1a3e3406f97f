"""What one process of the service takes for answers at the pace of a model: what docs/scale.md reckons with.

    python bench/scale.py [--streams N] [--seconds S] [--rate TOKENS] [--database URL]

Half a minute on two cores: one for the service, one for the upstream and the visitors, a C program. Needs cc. CPU is
the process's own time, so that other work on the machine changes it little. The database is a new SQLite file, or an
empty one that --database names.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parent))

from relays import machine
from relays.load import Load, Plan
from relays.modes import WARM_UP, measure
from relays.targets import METRICS_TOKEN, Setting, Target, service

FULL = 0.7  # of a core, that a process should be busy at most: what is left takes bursts


def main() -> int:
    options = _parser().parse_args()
    with tempfile.TemporaryDirectory(prefix="scale-") as temporary:
        cores = machine.two_cores()
        load = Load(Path(temporary), cores.load)
        setting = Setting(Path(temporary), f"http://127.0.0.1:{load.port}/v1", cores.server)
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
    before = _told(target)
    tokens = options.rate * options.seconds
    plan = Plan("paced", options.streams, tokens=tokens, rate=options.rate, seconds=options.seconds + 30)
    measured = measure(load, target, plan)
    after = _told(target)
    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    answers = grown["chatbot_answer_seconds_count"]
    begin, flowing, end = measured.cpu
    share = (end - flowing) / options.seconds
    figures = {
        "answers": f"{answers:.0f} of {options.streams}, {options.seconds} s each at {options.rate} tokens a second",
        "whole": "yes, every token" if measured.complete else "NO: tokens are missing",
        "CPU for a question, ms": f"{(flowing - begin) * 1000 / options.streams:.2f}",
        "CPU for a token, µs": f"{(end - flowing) * 1e6 / (options.streams * tokens):.1f}",
        f"streams per core at {FULL:.0%}": f"{options.streams * FULL / share:.0f}",
        "memory a stream, kB": f"{(measured.memory[1] - measured.memory[0]) / 1000 / options.streams:.0f}",
        "memory of the process before, MB": f"{measured.memory[0] / 1e6:.0f}",
    }
    for kind in ("read", "write"):
        calls, seconds = (grown[f"chatbot_database_seconds_{each} {kind}"] for each in ("count", "sum"))
        figures[f"database: {kind}s an answer"] = f"{calls / answers:.1f}, {seconds * 1000 / calls:.2f} ms each"
    if commits := grown.get("chatbot_database_group_calls_count"):
        figures["database: commits an answer"] = f"{commits / answers:.2f}"
    for name, text in figures.items():
        print(f"{name:<34} {text}")
    print(f"{machine.description()}; other work took {measured.others:.2f} cores meanwhile")
    return 0 if measured.complete else 1


def _told(target: Target) -> dict[str, float]:
    """The sums and counts of /metrics, by name and kind."""
    headers = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    response = httpx.get(f"http://127.0.0.1:{target.port}/metrics", headers=headers, timeout=60)
    return {
        " ".join([sample.name, *filter(None, [sample.labels.get("kind")])]): sample.value
        for family in text_string_to_metric_families(response.raise_for_status().text)
        for sample in family.samples
        if sample.name.endswith(("_count", "_sum"))
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--streams", type=int, default=200, metavar="N", help="answers at a time; default: 200")
    parser.add_argument("--seconds", type=int, default=10, metavar="S", help="that an answer takes; default: 10")
    parser.add_argument("--rate", type=int, default=30, metavar="TOKENS", help="a second in each stream; default: 30")
    parser.add_argument("--database", metavar="URL", help="DATABASE_URL; default: a new SQLite file")
    return parser


if __name__ == "__main__":
    sys.exit(main())
