"""The metrics that are sampled rather than counted: periodically, and the cheap ones at each scrape."""

import asyncio
import logging
import os
import resource
from pathlib import Path

import anyio

from service.metrics import Metrics
from service.store.records import StoreError
from service.store.store import Store
from service.store.urls import parse_url
from service.upstream.circuit import Circuits
from service.web.lag import LoopLag

SECONDS = 5.0
FILES = Path("/dev/fd")
MEMORY = Path("/proc/self/statm")  # Linux only

log = logging.getLogger("chatbot")


class Gauges:
    """Samples the gauges of one process; `run` is its task."""

    def __init__(
        self,
        metrics: Metrics,
        lag: LoopLag,
        circuits: Circuits,
        store: Store,
        shutdown: anyio.Event,
        database_url: str,
    ) -> None:
        self._metrics = metrics
        self._lag = lag
        self._circuits = circuits
        self._store = store
        self._shutdown = shutdown
        self._may_be_unready = False
        store.meter.failed = self._on_failure
        url = parse_url(database_url)
        self._volume = Path(str(url.database)).parent if url.get_backend_name() == "sqlite" else None

    async def run(self) -> None:
        """Sample every five seconds until cancelled; file system calls run in a thread, because a disk may hang."""
        while True:
            self.update()
            await self._check_readiness()
            try:
                await asyncio.to_thread(self._ask_system)
            except OSError as error:  # such as out of file descriptors, or the volume is away
                log.warning("files, memory and disk cannot be measured", extra={"reason": error.strerror})
            await asyncio.sleep(SECONDS)

    def update(self) -> None:
        """Set the gauges that need no system call."""
        self._metrics.loop_lag.set(self._lag.worst)
        self._metrics.open_circuits.set(self._circuits.open_ones)

    def _on_failure(self) -> None:
        self._may_be_unready = True

    async def _check_readiness(self) -> None:
        """Ask the database after a failure, until it works again: not every load balancer requests /api/v1/ready."""
        if not self._may_be_unready or self._shutdown.is_set():
            return
        self._may_be_unready = False
        try:
            await self._store.recent_ping()
        except StoreError:
            self._may_be_unready = True
        self._metrics.ready.set(not self._may_be_unready)

    def _ask_system(self) -> None:
        self._metrics.open_files.set(sum(1 for _ in os.scandir(FILES)))
        self._metrics.max_files.set(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
        if MEMORY.exists():
            self._metrics.resident.set(int(MEMORY.read_text().split()[1]) * resource.getpagesize())
        if self._volume is not None:
            volume = os.statvfs(self._volume)
            self._metrics.disk_free.labels("database").set(volume.f_bavail * volume.f_frsize)
            self._metrics.disk_size.labels("database").set(volume.f_blocks * volume.f_frsize)
