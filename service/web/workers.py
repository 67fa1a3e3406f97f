"""Several processes behind one port: uvicorn's supervisor, which starts workers and replaces those that die."""

import os
import signal
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

HEALTH_SECONDS = 60  # long enough for a worker to start on a busy machine
CHECK_SECONDS = 0.1

Serve = Callable[[list[socket]], uvicorn.Server]


class Worker(multiprocess.Process):
    """uvicorn's worker, but the server is created in the worker, by the function that the supervisor has as its app."""

    config: uvicorn.Config

    def target(self, sockets: list[socket] | None = None) -> None:
        os.setpgrp()  # only the supervisor gets Ctrl-C, and forwards it once
        Thread(target=_leave_with_supervisor, daemon=True).start()
        serve: Serve = self.config.app  # type: ignore[assignment]
        self._server = serve(sockets or [])
        super().target(sockets)

    def start(self) -> None:
        super().start()
        self.child_conn.close()  # so that the supervisor does not wait for a dead worker


def _leave_with_supervisor() -> None:
    """Stop if the supervisor was killed: otherwise the worker would keep the port, and nothing could stop it."""
    supervisor = parent_process()
    assert supervisor is not None
    supervisor.join()
    os.kill(os.getpid(), signal.SIGTERM)


class Supervisor(multiprocess.Multiprocess):
    """uvicorn's supervisor, but it forwards every signal: the first lets answers finish, the second does not wait."""

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
            listening.close()  # the port stays open while a worker listens

    def terminate_all(self) -> None:
        if self.has_failed:
            self.handle_term()  # otherwise all workers got the signal

    def join_all(self) -> None:
        while any(process.process.is_alive() for process in self.processes):
            self.handle_signals()
            time.sleep(CHECK_SECONDS)

    @property
    def has_failed(self) -> bool:
        """Whether a worker failed to start: then no other could start either."""
        return any(process.exitcode == STARTUP_FAILURE for process in self.processes)


def run_workers(count: int, serve: Serve, sockets: list[socket], metrics: str) -> bool:
    """Run this many workers on bound sockets until SIGTERM or SIGINT. Returns False if one could not start.

    `serve` is called in each worker, so it must be picklable. `metrics` is a directory in which each worker stores its
    counters, so that any of them can report all.
    """
    os.environ[DIRECTORY] = metrics
    multiprocess.Process = Worker  # type: ignore[misc]  # the supervisor has no option for it
    config = uvicorn.Config(serve, workers=count, log_config=None, timeout_worker_healthcheck=HEALTH_SECONDS)
    supervisor = Supervisor(config, sockets)
    supervisor.run()
    return not supervisor.has_failed
