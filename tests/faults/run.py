"""Run the faults against real service processes, measure, and print a table. Exits with 1 if one fails.

python tests/faults/run.py [--only ID …] [--short] [--most N] [--json] [--list]
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests/support")]

from faults import crowds, endings, replicas, transport, visitors  # noqa: E402
from faults.machine import Postgres, Unmeasurable, postgres  # noqa: E402
from faults.play import FAULTS, Fault, Play  # noqa: E402

MODULES = (transport, visitors, endings, replicas, crowds)  # imported to fill FAULTS


@dataclass(frozen=True)
class Outcome:
    """A row of the table."""

    id: str
    required: str
    measured: str
    result: str
    seconds: float


def main() -> int:
    args = _parser().parse_args()
    chosen = [FAULTS[id] for id in args.only] if args.only else list(FAULTS.values())
    if args.list:
        for fault in chosen:
            print(f"{fault.id:<28} {fault.number}")
        return 0
    outcomes = []
    with Servers() as servers:
        for outcome in _play_all(chosen, args, servers):
            outcomes.append(outcome)
            if not args.json:
                _print_row(outcome)
    failed = [outcome.id for outcome in outcomes if outcome.result == "FAIL"]
    if args.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        print(f"\n{len(outcomes)} played, {len(failed)} failed" + (f": {', '.join(failed)}" if failed else ""))
    return 1 if failed else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="ID", choices=FAULTS, help="only these faults")
    parser.add_argument("--short", action="store_true", help="the short form of each, as in the test suite")
    parser.add_argument("--most", type=int, metavar="N", help="no count is larger than N")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--list", action="store_true", help="print the faults and the numbers that they are judged by")
    return parser


class Servers(ExitStack):
    """A PostgreSQL server, started on first use."""

    _postgres: Postgres | None = None

    def postgres(self) -> Postgres:
        if self._postgres is None:
            self._postgres = self.enter_context(postgres())
        return self._postgres


def _play_all(chosen: list[Fault], args: argparse.Namespace, servers: Servers) -> Iterator[Outcome]:
    for fault in chosen:
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fault-") as directory:
            play = Play(Path(directory), short=args.short, most=args.most, postgres=servers.postgres)
            result = "pass"
            try:
                asyncio.run(fault.play(play))
            except Unmeasurable as error:
                play.measure(str(error))
                result = "skip"
            except Exception as error:  # reported in the fault's row, so that the other faults still run
                play.failures.append(f"{type(error).__name__}: {error}")
        if play.failures:
            result = "FAIL"
        measured = "; ".join(play.measured + [f"FAILED: {failure}" for failure in play.failures])
        yield Outcome(fault.id, fault.number, measured, result, round(time.monotonic() - started, 1))


def _print_row(outcome: Outcome) -> None:
    print(f"{outcome.result:<5} {outcome.id:<28} {outcome.seconds:>6.1f} s  required: {outcome.required}", flush=True)
    print(f"{'':<44}measured: {outcome.measured}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
