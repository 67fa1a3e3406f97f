"""The table of medians in bench/RESULTS.md."""

import re
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from relays.load import Plan
from relays.modes import Figure, Measurement, Mode

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "bench/RESULTS.md"
SECTION = re.compile(r"(?<=<!-- relay -->\n).*?(?=<!-- /relay -->)", re.DOTALL)
HEADING = "# Results\n\n## Relaying\n\n<!-- relay -->\n<!-- /relay -->\n"
BASE = "nginx"  # the base of ratios


@dataclass
class Results:
    """The measurements by relay and plan, one per round."""

    names: list[str]
    faults: list[str] = field(default_factory=list)
    measurements: dict[tuple[str, Plan], list[Measurement]] = field(default_factory=lambda: defaultdict(list))
    most: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))

    def add(self, name: str, mode: Mode, measurement: Measurement) -> None:
        self.measurements[name, measurement.plan].append(measurement)
        report = measurement.report
        if report.faults and mode.name != "paced" or mode.must_be_complete and not measurement.complete:
            self.faults.append(
                f"{name}, {mode.name}: {report.faults} faults, {report.answers} answers, {report.tokens} tokens "
                f"of {measurement.plan.expected_tokens}"
            )

    def add_search(self, name: str, streams: int) -> None:
        self.most[name].append(streams)

    def figure(self, name: str, plan: Plan, figure: Figure) -> str:
        """The median, and the median ratio to nginx in the same rounds."""
        values = [figure.of(measurement) for measurement in self.measurements[name, plan]]
        if not values:
            return "–"
        text = f"{median(values):,.{figure.digits}f}"
        base = [figure.of(measurement) for measurement in self.measurements[BASE, plan]]
        if figure.has_ratio and name != BASE and len(base) == len(values):
            ratio = median(value / one for value, one in zip(values, base, strict=True))
            text += f" ({ratio:.1f} ×)"
        return text

    def busiest(self) -> tuple[float, float]:
        """The cores used by other processes: the maximum and the median."""
        others = [one.others for measurements in self.measurements.values() for one in measurements]
        return (max(others), median(others)) if others else (0.0, 0.0)

    def most_memory(self, name: str) -> int:
        """The largest memory size after any measurement, in bytes."""
        return max(one.memory[2] for (relay, _), found in self.measurements.items() if relay == name for one in found)

    def load(self) -> tuple[float, float]:
        """The load's own maximum: the share of its core, and the delay of a token in milliseconds."""
        all_of_them = [one for found in self.measurements.values() for one in found]
        return (
            max((one.load for one in all_of_them), default=0.0),
            max((one.report.late_ms for one in all_of_them), default=0.0),
        )


def render(results: Results, modes: list[Mode], description: str, versions: str, command: str) -> str:
    lines = [f"| | {' | '.join(results.names)} |", f"| --- |{' ---: |' * len(results.names)}"]
    for mode in modes:
        lines.append(f"| **{mode.title}** |{' |' * len(results.names)}")
        if mode.name == "most":
            found = [str(round(median(results.most[name]))) if results.most[name] else "–" for name in results.names]
            lines.append(f"| streams | {' | '.join(found)} |")
        for plan in mode.plans:
            for figure in mode.figures:
                title = f"{plan.streams} streams: {figure.title}" if len(mode.plans) > 1 else figure.title
                cells = [results.figure(name, plan, figure) for name in results.names]
                lines.append(f"| {title} | {' | '.join(cells)} |")
        if mode.is_fresh:
            cells = [f"{results.most_memory(name) / 1e6:.1f}" for name in results.names]
            lines.append(f"| of the process after any load above, MB | {' | '.join(cells)} |")
    measured = [len(found) for found in results.measurements.values()]
    rounds = max([*measured, *(len(found) for found in results.most.values())], default=0)
    (most, usual), (share, late) = results.busiest(), results.load()
    lines += [
        "",
        f"Medians of {rounds} rounds in which the relays took turns, one worker each on one core; in brackets the "
        f"ratio to nginx in the same round. {description}. Other processes took {usual:.2f} cores (median; at most "
        f"{most:.2f}), the load at most {share:.2f} of its own, and sent no token more than {late:.1f} ms late. "
        "This service ran with `RESUME_SECONDS=0`; by default an answer goes on for ten seconds without its reader.",
        "",
        f"{versions}. {datetime.now(UTC):%Y-%m-%d}, `{command}`.",
        "",
    ]
    return "\n".join(lines)


def versions() -> str:
    """The versions of the interpreter and of the relays' pinned packages."""
    files = {"requirements.txt": "fastapi|openai", "requirements-litellm.txt": "litellm"}
    peers = [
        found
        for file, names in files.items()
        for found in re.findall(rf"^({names})(?:\[.*?\])?==(\S+)", (ROOT / "bench" / file).read_text(), re.MULTILINE)
    ]
    ours = [(name, version(name)) for name in ("starlette", "uvicorn", "uvloop", "httpx", "sse-starlette")]
    nginx = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.strip()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    named = ", ".join(f"{name} {number}" for name, number in [*ours, *peers])
    return (
        f"This service at {commit.stdout.strip()}, Python {sys.version.split()[0]}, {named}, {nginx.partition(': ')[2]}"
    )


def write(text: str) -> None:
    """Put the table between its markers in bench/RESULTS.md."""
    before = RESULTS.read_text() if RESULTS.exists() else HEADING
    if not SECTION.search(before):
        before = f"{before.rstrip()}\n\n{HEADING.partition(chr(10) * 2)[2]}"
    RESULTS.write_text(SECTION.sub(lambda _: text, before))
