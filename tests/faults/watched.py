"""`python chatbot.py`, which on SIGUSR1 runs a garbage collection and writes its tasks' names to FAULTS_REPORT.

FAULTS_HURRY shortens delays between processes, by module and name: `service.answers.pace.TICK_SECONDS=0.5 …`.
"""

import asyncio
import ctypes
import gc
import os
import signal
import sys
from pathlib import Path
from types import FrameType

import chatbot


def _report(number: int, frame: FrameType | None) -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    path = Path(os.environ["FAULTS_REPORT"])
    unfinished = path.with_suffix(".new")
    unfinished.write_text("\n".join(getattr(task.get_coro(), "__qualname__", "?") for task in asyncio.all_tasks()))
    unfinished.rename(path)


if __name__ == "__main__":
    for assignment in os.environ.get("FAULTS_HURRY", "").split():
        place, _, seconds = assignment.partition("=")
        module, _, name = place.rpartition(".")
        if not hasattr(sys.modules[module], name):
            raise SystemExit(f"{module} has no {name}")
        setattr(sys.modules[module], name, float(seconds))
    signal.signal(signal.SIGUSR1, _report)
    sys.exit(chatbot.main())
