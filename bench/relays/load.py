"""The load generator, compiled from the C files in this directory, and its measurements."""

import json
import os
import resource
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SOURCES = [Path(__file__).with_name(name) for name in ("load.c", "upstream.c", "visitors.c")]
NUMBER = "000000"  # a placeholder in the question, replaced with the stream's number


@dataclass(frozen=True)
class Report:
    """Times in milliseconds; see `struct result` in load.h."""

    tokens: int
    answers: int
    faults: int
    left: int
    seconds: float
    late_ms: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    first_p50_ms: float


@dataclass(frozen=True)
class Plan:
    """One measurement; `mode` as in load.c."""

    mode: str
    streams: int
    tokens: int = 300
    rate: int = 50
    questions: int = 0
    seconds: float = 60

    @property
    def expected_tokens(self) -> int:
        return self.questions if self.mode == "questions" else self.streams * self.tokens


class Load:
    """The running load generator: the upstream on `port`, and the visitors."""

    def __init__(self, directory: Path, core: int) -> None:
        program = directory / "load"
        subprocess.run(["cc", "-O2", "-Wall", "-o", str(program), *map(str, SOURCES)], check=True)
        self._directory = directory
        self._process = subprocess.Popen(
            [str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            preexec_fn=lambda: _prepare(core),
        )
        self.pid = self._process.pid
        self.port = int(self._line())

    def run(self, plan: Plan, port: int, request: bytes, begun: Callable[[], None]) -> Report:
        """Measure. Once every stream has its first token, `begun` is called; the other tokens wait until it returns."""
        path = self._directory / "request"
        path.write_bytes(request)
        place = request.index(NUMBER.encode())
        numbers = (plan.streams, plan.tokens, plan.rate, plan.questions, plan.seconds, port, place)
        self._say(f"{plan.mode} {' '.join(map(str, numbers))} {path}")
        if self._line() != "begun\n":
            raise RuntimeError("the load program says what it should not")
        begun()
        self._say("go")
        return Report(**json.loads(self._line()))

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{line}\n")

    def _line(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the load program has ended")
        return line


def _prepare(core: int) -> None:
    """Pin the process to its core, and raise the limit of open files: each stream needs two."""
    os.sched_setaffinity(0, {core})
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
