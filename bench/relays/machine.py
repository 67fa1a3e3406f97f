"""Figures from the kernel: CPU and memory of a process and its descendants, and of the rest of the machine."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Cores:
    """The core of the measured server, and the one of the load and this program."""

    server: int
    load: int


def two_cores() -> Cores:
    """Two different cores for the server and the load. Raises SystemExit if there is only one."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise SystemExit("two cores are needed: one for the server, one for the load")
    siblings = Path(f"/sys/devices/system/cpu/cpu{allowed[-1]}/topology/thread_siblings_list")
    shared = _numbers(siblings.read_text()) if siblings.exists() else {allowed[-1]}
    apart = [core for core in allowed if core not in shared]  # preferably not a hyper-thread of the same core
    return Cores(server=allowed[-1], load=apart[0] if apart else allowed[0])


def _numbers(ranges: str) -> set[int]:
    """Parse a list such as `0,4-5`."""
    numbers: set[int] = set()
    for part in ranges.strip().split(","):
        first, _, last = part.partition("-")
        numbers |= set(range(int(first), int(last or first) + 1))
    return numbers


def family(pid: int) -> list[int]:
    """A process and all its descendants."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except (FileNotFoundError, ProcessLookupError):
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for member in found:
        found += children.get(member, [])
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its descendants, in nanosecond resolution if the kernel has schedstat."""
    return sum(_cpu_seconds(member) for member in family(pid))


def _cpu_seconds(pid: int) -> float:
    process = Path(f"/proc/{pid}")
    try:
        tasks = [(task / "schedstat").read_text() for task in (process / "task").iterdir()]
        return sum(int(task.split()[0]) for task in tasks) / 1e9
    except (FileNotFoundError, ProcessLookupError):
        pass
    try:
        fields = (process / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) * TICK


def memory_bytes(pid: int) -> int:
    """Resident memory of a process and its descendants."""
    return sum(_memory_bytes(member) for member in family(pid))


def _memory_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def busy_seconds() -> float:
    """CPU time of all processes on all cores since boot, excluding idle and I/O wait."""
    user, nice, system, _, _, interrupts, soft, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + interrupts + soft + steal) * TICK


def description() -> str:
    """Processor, cores, memory and kernel."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in info if line.startswith("model name")), platform.machine())
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 2**20
    kernel = ".".join(platform.release().split(".")[:2])
    return f"{model}, {len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB, Linux {kernel}"
