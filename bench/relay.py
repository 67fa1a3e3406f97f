"""Measure the cost of relaying: this service, nginx and common alternatives. One command, two cores.

    python bench/relay.py [--only NAME …] [--mode NAME …] [--rounds N] [--quick] [--setup DIRECTORY] [--write]

Each relay runs one worker on one core. The upstream and the visitors are one C program, compiled at the start, on
another core. The relays take turns in every round, and every token is checked for content and order. Five rounds take
about an hour, --quick five minutes. Needs cc and nginx. Each relay's requirements are installed into a temporary
directory, or into the one given by --setup, which is kept. BENCH_POSTGRESQL_URL adds this service on PostgreSQL.
Figures from one run are comparable; across runs, only the ratios are.
"""

import argparse
import shlex
import subprocess
import sys
import tempfile
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from relays import machine, table
from relays.load import Load
from relays.modes import WARM_UP, Mode, measure, modes, most_streams, paced
from relays.table import Results
from relays.targets import TARGETS, Setting, Target

SEARCH = Mode("most", "most streams at 50 tokens a second: everything delivered, delay p99 under 100 ms", [], [])


def main() -> int:
    options = _parser().parse_args()
    chosen = [mode for mode in [*modes(quick=options.quick), SEARCH] if not options.mode or mode.name in options.mode]
    if options.quick and not options.mode:
        chosen.remove(SEARCH)
    with tempfile.TemporaryDirectory(prefix="relays-") as temporary:
        directory = Path(options.setup or temporary).resolve()
        directory.mkdir(exist_ok=True)
        cores = machine.two_cores()
        load = Load(Path(temporary), cores.load)
        running: dict[str, Target] = {}
        try:
            setting = Setting(directory, f"http://127.0.0.1:{load.port}/v1", cores.server)
            for name in options.only or TARGETS:
                _start(running, name, setting, load)
            results = Results([target.name for target in running.values()])
            names = list(running)
            for number in range(options.rounds or (1 if options.quick else 5)):
                first = number % len(names)
                for mode, name in product(chosen, names[first:] + names[:first]):
                    if mode.is_fresh and name in running:
                        running.pop(name).stop()
                        _start(running, name, setting, load)
                    if name in running:
                        _measure(load, running[name], mode, results)
        finally:
            for target in running.values():
                target.stop()
            load.close()
    arguments = [part for part in sys.argv[1:] if part not in ("--setup", options.setup)]
    command = shlex.join(["python", "bench/relay.py", *arguments])
    text = table.render(results, chosen, machine.description(), table.versions(), command)
    print(f"\n{text}")
    if options.write:
        table.write(text)
    for fault in results.faults:
        print(f"FAULT: {fault}", file=sys.stderr)
    return 1 if results.faults else 0


def _start(running: dict[str, Target], name: str, setting: Setting, load: Load) -> None:
    """Start a relay. One that fails is left out from then on, except this service."""
    try:
        running[name] = _started(name, setting, load)
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        if name == "service":
            raise
        print(f"{name} is left out: {error}", file=sys.stderr)


def _started(name: str, setting: Setting, load: Load) -> Target:
    """A running relay, warmed up with a few questions that aren't counted."""
    target = TARGETS[name](setting)
    if not measure(load, target, WARM_UP).complete:
        target.stop()
        raise RuntimeError(f"{target.name} does not relay")
    return target


def _measure(load: Load, target: Target, mode: Mode, results: Results) -> None:
    if mode is SEARCH:
        found = most_streams(lambda streams: measure(load, target, paced(streams, 5)))
        results.add_search(target.name, found)
        print(f"{target.name:<18} {mode.name:<10} {found}", flush=True)
        return
    for plan in mode.plans:
        measurement = measure(load, target, plan)
        results.add(target.name, mode, measurement)
        figures = ", ".join(f"{figure.title} {figure.of(measurement):.{figure.digits}f}" for figure in mode.figures)
        busy = f"others {measurement.others:.2f} cores, load {measurement.load:.2f}"
        print(f"{target.name:<18} {mode.name:<10} {plan.streams:>4} streams: {figures} ({busy})", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*(mode.name for mode in modes(quick=False)), SEARCH.name]
    parser.add_argument("--only", nargs="+", metavar="RELAY", choices=TARGETS, help=", ".join(TARGETS))
    parser.add_argument("--mode", nargs="+", metavar="MODE", choices=names, help=", ".join(names))
    parser.add_argument("--rounds", type=int, metavar="N", help="5, or 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="one short round, without the search for the most streams")
    parser.add_argument("--setup", metavar="DIRECTORY", help="install the peers here, and keep them for later runs")
    parser.add_argument("--write", action="store_true", help="update the table in bench/RESULTS.md")
    return parser


if __name__ == "__main__":
    sys.exit(main())
