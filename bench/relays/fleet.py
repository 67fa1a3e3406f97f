"""Replicas of the service behind nginx with deploy/nginx.conf, and samples of them while many streams are open."""

import threading
import time
from dataclasses import dataclass
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from relays.load import Load, Plan, Report
from relays.machine import memory_bytes
from relays.targets import METRICS_TOKEN, ROOT, Setting, Target, free_port, replicas, start_nginx

SAMPLES = 10  # per measurement


@dataclass(frozen=True)
class Fleet:
    replicas: list[Target]
    nginx: Target

    def stop(self) -> None:
        for target in (self.nginx, *self.replicas):
            target.stop()


def start_fleet(setting: Setting, count: int, database: str | None) -> Fleet:
    """Raises RuntimeError if a process doesn't start."""
    started = replicas(setting, count, database)
    port = free_port()
    nginx = start_nginx(setting, _site(port, [target.port for target in started]), port, started[0].request)
    return Fleet(started, nginx)


def _site(port: int, servers: list[int]) -> str:
    """deploy/nginx.conf without TLS, and with a limit per address that admits all visitors."""
    lines = (ROOT / "deploy/nginx.conf").read_text().splitlines()
    site = "\n".join(line for line in lines if not line.strip().startswith("ssl_"))
    for theirs, ours in {
        "server 127.0.0.1:8000 max_fails=0;": " ".join(f"server 127.0.0.1:{each} max_fails=0;" for each in servers),
        "listen 80;": f"listen 127.0.0.2:{port};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} backlog=4096;",
        "chat_connections 400;": "chat_connections 10000;",
    }.items():
        if site.count(theirs) != 1:
            raise RuntimeError(f"deploy/nginx.conf has no `{theirs}` any more")
        site = site.replace(theirs, ours)
    return site


@dataclass(frozen=True)
class Sample:
    """One sample during a measurement."""

    seconds: float
    megabytes: list[float]  # per replica, and of nginx
    readers: list[int]  # per replica
    lag: float  # the longest event loop lag, in seconds

    def __str__(self) -> str:
        memory, readers = (" ".join(f"{each:>6.0f}" for each in figures) for figures in (self.megabytes, self.readers))
        return f"{self.seconds:>7.0f} s  {memory}  {readers}  {self.lag:>6.3f}"


def head_of_samples(count: int) -> str:
    """The header of the samples' columns."""
    names = [f"{number}" for number in range(1, count + 1)]
    memory, readers = (" ".join(f"{each:>6}" for each in columns) for columns in ([*names, "nginx"], names))
    return f"memory in MB, open streams of each replica, longest lag in s\n{'':>9}  {memory}  {readers}  {'':>6}"


def watched(load: Load, fleet: Fleet, plan: Plan) -> Report:
    """Run a plan, and print samples of the fleet meanwhile."""
    over, started = threading.Event(), time.monotonic()
    interval = plan.tokens / plan.rate / SAMPLES

    def watch() -> None:
        while not over.wait(interval):
            print(_sample(fleet, time.monotonic() - started), flush=True)

    watching = threading.Thread(target=watch)

    def begun() -> None:
        print(_sample(fleet, time.monotonic() - started), flush=True)
        watching.start()

    try:
        return load.run(plan, fleet.nginx.port, fleet.nginx.request, begun)
    finally:
        over.set()
        if watching.is_alive():
            watching.join()


def _sample(fleet: Fleet, seconds: float) -> Sample:
    metrics = [metrics_of(target) for target in fleet.replicas]
    return Sample(
        seconds=seconds,
        megabytes=[memory_bytes(target.pid) / 1e6 for target in (*fleet.replicas, fleet.nginx)],
        readers=[int(each["chatbot_readers"]) for each in metrics],
        lag=max(each["chatbot_loop_lag_seconds"] for each in metrics),
    )


def metrics_of(target: Target) -> dict[str, float]:
    """A replica's /metrics, by name and kind."""
    headers = {"Authorization": f"Bearer {METRICS_TOKEN}"}
    response = httpx.get(f"http://127.0.0.1:{target.port}/metrics", headers=headers, timeout=60)
    samples: list[Any] = [
        sample
        for family in text_string_to_metric_families(response.raise_for_status().text)
        for sample in family.samples
    ]
    return {" ".join([each.name, *filter(None, [each.labels.get("kind")])]): each.value for each in samples}
