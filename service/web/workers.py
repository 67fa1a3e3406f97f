"""Several processes behind one port: uvicorn's supervisor, which starts workers and replaces those that die."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from multiprocessing import parent_process
from socket import socket
from threading import Thread

import uvicorn
from prometheus_client.multiprocess import mark_process_dead
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import multiprocess

from service.metrics import DIRECTORY

HEALTH_SECONDS = 60  # for a worker that starts on a busy machine, too
LOOK_SECONDS = 0.1

Serve = Callable[[list[socket]], uvicorn.Server]


class Worker(multiprocess.Process):
    """uvicorn's, whose server is made in the worker, by what the supervisor has for an app."""

    config: uvicorn.Config

    def target(self, sockets: list[socket] | None = None) -> None:
        os.setpgrp()  # Ctrl-C is for the supervisor, which passes it on once
        Thread(target=_leave_with_supervisor, daemon=True).start()
        serve: Serve = self.config.app  # type: ignore[assignment]
        self._server = serve(sockets or [])
        super().target(sockets)

    def start(self) -> None:
        super().start()
        self.child_conn.close()  # so that the supervisor does not wait for an answer of a worker that has died


def _leave_with_supervisor() -> None:
    """A worker whose supervisor was killed would hold the port, and nobody could stop it."""
    supervisor = parent_process()
    assert supervisor is not None
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)


class Supervisor(multiprocess.Multiprocess):
    """uvicorn's, which passes on each signal as it came: the first lets answers end, one more waits for none."""

    processes: list[multiprocess.Process]

    def keep_subprocess_alive(self) -> None:
        before = {process.pid for process in self.processes}
        super().keep_subprocess_alive()
        for pid in before - {process.pid for process in self.processes}:
            mark_process_dead(pid, os.environ[DIRECTORY])  # type: ignore[no-untyped-call]

    def handle_int(self) -> None:
        self._pass_on(signal.SIGINT)

    def handle_term(self) -> None:
        self._pass_on(signal.SIGTERM)

    def _pass_on(self, number: int) -> None:
        self.should_exit.set()
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, number)
        for listening in self.sockets:
            listening.close()  # the port is open as long as a worker listens

    def terminate_all(self) -> None:
        if self.has_failed:
            self.handle_term()  # otherwise all were told

    def join_all(self) -> None:
        while any(process.process.is_alive() for process in self.processes):
            self.handle_signals()
            time.sleep(LOOK_SECONDS)

    @property
    def has_failed(self) -> bool:
        """Whether a worker could not start: neither could another one."""
        return any(process.exitcode == STARTUP_FAILURE for process in self.processes)


def run_workers(count: int, serve: Serve, sockets: list[socket]) -> bool:
    """Run so many workers on bound sockets until SIGTERM or SIGINT. False if one could not start.

    `serve` is called in each of them, so it is one that can be pickled. Raises OSError without a temporary directory.
    """
    with tempfile.TemporaryDirectory(prefix="chatbot-metrics-") as directory:
        os.environ[DIRECTORY] = directory  # where each worker keeps its counters, for whichever is asked for all
        multiprocess.Process = Worker  # type: ignore[misc]  # the supervisor has no other way to say so
        config = uvicorn.Config(serve, workers=count, log_config=None, timeout_worker_healthcheck=HEALTH_SECONDS)
        supervisor = Supervisor(config, sockets)
        supervisor.run()
    return not supervisor.has_failed
