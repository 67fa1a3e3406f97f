"""Runs the project's programs in processes forked from one that has their modules loaded.

Importing a service's modules takes over a second of CPU time, and the tests start hundreds of services. A fork saves
that; everything else is the same as with `python chatbot.py`. A program that needs a shell, LD_PRELOAD or its own
streams is started normally.
"""

import multiprocessing
import os
import random
import runpy
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]
CHATBOT = str(ROOT / "chatbot.py")
MANAGE = str(ROOT / "manage.py")

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["chatbot", "manage", "warm", "ctypes", "uvicorn.lifespan.on"])


class Program:
    """A running program, with the part of subprocess.Popen's interface that the tests need.

    Its output is appended to the files `stdout` and `stderr`.
    """

    def __init__(
        self, arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], stdout: Path | None, stderr: Path | None
    ) -> None:
        self.args = arguments
        for path in filter(None, (stdout, stderr)):
            path.touch()  # so that the file can be read right away
        _start_server()
        self._process = _context.Process(target=_run, args=(list(arguments), cwd, dict(env), stdout, stderr))
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> "Program":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.wait()


def run_program(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], directory: Path
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end. Its output is collected in files in `directory`."""
    stdout, stderr = (directory / f"{name}-{random.getrandbits(64):x}" for name in ("stdout", "stderr"))
    code = Program(arguments, cwd=cwd, env=env, stdout=stdout, stderr=stderr).wait(60)
    done = subprocess.CompletedProcess(arguments, code, stdout.read_text(), stderr.read_text())
    stdout.unlink()
    stderr.unlink()
    return done


def _start_server() -> None:
    """Start the fork server, if it isn't running.

    Python 3.11 doesn't pass it `sys.path`, and it skips the modules that it can't find.
    """
    given = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
    try:
        forkserver.ensure_running()
    finally:
        if given is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = given


def _run(arguments: list[str], cwd: Path, env: dict[str, str], stdout: Path | None, stderr: Path | None) -> None:
    for number, path in ((1, stdout), (2, stderr)):
        opened = os.open(path or os.devnull, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    random.seed()  # otherwise all programs would have the same jitter
    sys.argv[:] = arguments
    sys.path[0] = str(Path(arguments[0]).parent)
    runpy.run_path(arguments[0], run_name="__main__")
