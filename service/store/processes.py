"""The processes that write to a database: their names, and which of them are certainly dead.

A turn has the name of the process that writes it. A process that may be alive counts as alive here; in the end, its
heartbeat decides.
"""

import fcntl
import logging
import os
import re
import secrets
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol

NAME_PATTERN = re.compile("[0-9a-f]{16}")
NAMELESS = "-"  # a process about which nothing is known

log = logging.getLogger("chatbot")


class Processes(Protocol):
    """How a process identifies itself to the others, and how they detect that it is dead."""

    name: str

    def enter(self) -> None:
        """Give this process its name, by which the others can detect that it is dead."""

    def is_gone(self, name: str) -> bool:
        """Whether the process of this name is certainly dead."""

    def clean(self, named: Collection[str]) -> None:
        """Clean up after dead processes, except those still `named`."""

    def leave(self) -> None:
        """Give the name up."""


class LockedFiles:
    """For SQLite: each process holds a lock on its own file beside the database until it ends.

    The kernel releases the lock, however the process ended, and this also works across containers.
    """

    def __init__(self, database: Path) -> None:
        self.name = NAMELESS
        self._database = database
        self._lock: int | None = None

    def enter(self) -> None:
        self.name = secrets.token_hex(8)
        try:
            self._lock = os.open(self._path(self.name), os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:  # such as on a file system without locks
            self.leave()
            log.warning(
                "no lock shows that this process is alive, only its heartbeats", extra={"reason": error.strerror}
            )

    def is_gone(self, name: str) -> bool:
        if not NAME_PATTERN.fullmatch(name):
            return False
        try:
            file = os.open(self._path(name), os.O_RDWR)
        except OSError:
            return False
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        finally:
            os.close(file)
        return True

    def clean(self, named: Collection[str]) -> None:
        for name in self._names():
            if name not in named and self.is_gone(name):
                self._path(name).unlink(missing_ok=True)

    def others(self) -> list[str]:
        """The other living processes on the database."""
        return [name for name in self._names() if name != self.name and not self.is_gone(name)]

    def _names(self) -> list[str]:
        prefix = self._path("").name
        found = os.listdir(self._database.absolute().parent)
        return [name.removeprefix(prefix) for name in found if name.startswith(prefix)]

    def leave(self) -> None:
        if self._lock is not None:
            with suppress(OSError):
                self._path(self.name).unlink(missing_ok=True)
            os.close(self._lock)
        self.name, self._lock = NAMELESS, None

    def _path(self, name: str) -> Path:
        return self._database.with_name(f"{self._database.name}-process-{name}")


class ProcessTable:
    """For a server, which many machines use: the kernel's table shows the processes that are visible from here.

    They share the boot, the PID namespace and the user with this one (proc(5), pid_namespaces(7)). A restarted
    container has another namespace, so its heartbeat has to decide.
    """

    def __init__(self) -> None:
        self.name = NAMELESS
        self._place = ""

    def enter(self) -> None:
        with suppress(OSError):
            # If /proc belongs to another namespace, its numbers mean other processes.
            if os.readlink("/proc/self") == str(os.getpid()) and (began := _began(str(os.getpid()))) is not None:
                boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
                namespace = os.stat("/proc/self/ns/pid").st_ino
                self._place = f"{boot}/{namespace}/{os.getuid()}"
                self.name = f"{self._place}/{os.getpid()}/{began}"

    def is_gone(self, name: str) -> bool:
        place, _, process = name.rpartition("/")
        place, _, number = place.rpartition("/")
        if not self._place or place != self._place or not number.isdecimal():
            return False
        try:
            return _began(number) != process
        except OSError:
            return False

    def clean(self, named: Collection[str]) -> None:
        """Nothing to do: the kernel's table cleans itself."""

    def leave(self) -> None:
        self.name, self._place = NAMELESS, ""


def _began(number: str) -> str | None:
    """The start of a process, in clock ticks since the boot; None if it does not exist or is a zombie."""
    try:
        stat = Path("/proc", number, "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()  # its name, in brackets, may contain anything
    return None if fields[0] in ("Z", "X") else fields[19]
