"""Metrics for Prometheus. No label holds a tenant, an id or a text, so the number of series is bounded.

Each metric is documented in docs/operating.md. A gauge's `multiprocess_mode` says how the values of several workers
are combined.
"""

import os
from collections.abc import Mapping
from functools import partial
from itertools import product
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector

from service.store.meter import CALL_KINDS, CallKind, Meter
from service.store.outbox import Kind
from service.store.records import UsageRow
from service.upstream.charge import Size

DATABASE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 8)
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's variable: where several processes store their counters
Outcome = Literal["delivered", "failed", "given_up"]  # of an attempt to deliver an event to a webhook
ANSWERED = range(200, 600)  # the HTTP statuses that have their own label

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and no query needs them


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry)
        histogram = partial(Histogram, registry=registry)

        # Requests and questions
        self.requests = counter(
            "chatbot_requests", "Requests, by route, status and error code.", ["route", "status", "code"]
        )
        self.refusals = counter("chatbot_refusals", "Refused questions, by error code or cause.", ["reason"])
        self.resumes = counter(
            "chatbot_resumes",
            "Repeated questions that got the existing answer, by place: written here, elsewhere, or stored.",
            ["place"],
        )
        self.readers = gauge("chatbot_readers", "Open streams: readers of answers.", multiprocess_mode="livesum")

        # Answers
        self.open_answers = gauge("chatbot_open_answers", "Answers in progress.", multiprocess_mode="livesum")
        self.answers = counter(
            "chatbot_answers",
            "Answers that ended, by status, error code or cause, and by the provider's last HTTP status.",
            ["outcome", "upstream_status"],
        )
        self.abandoned = counter("chatbot_abandoned_answers", "Answers stopped because they had no reader left.")
        self.interrupted = counter(
            "chatbot_interrupted_answers", "Answers of killed processes that this process closed."
        )
        self.unstored = gauge(
            "chatbot_unstored_answers",
            "Answers that ended and have waited for the database for more than two seconds.",
            multiprocess_mode="livesum",
        )
        self.first_text = histogram(
            "chatbot_first_text_seconds",
            "From the arrival of a question to the first text of its answer.",
            buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64),
        )
        self.duration = histogram(
            "chatbot_answer_seconds",
            "From the arrival of a question to the end of its answer.",
            buckets=(0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256),
        )
        self.tokens = counter("chatbot_tokens", "Tokens that the providers counted, by kind.", ["kind"])
        self.thoughts = counter("chatbot_thought_tokens", "Tokens of hidden thoughts, estimated from their length.")
        self.charged = counter("chatbot_charged_tokens", "Tokens charged to budgets.")
        self.webhooks = counter(
            "chatbot_webhooks", "Attempts to deliver an event to a webhook, by event and outcome.", ["event", "outcome"]
        )
        for labels in product(get_args(Kind), get_args(Outcome)):
            self.webhooks.labels(*labels)  # start at 0: the first event would not show as an increase otherwise

        # The provider
        self.retries = counter("chatbot_upstream_retries", "Retries of requests to a provider, by reason.", ["reason"])
        self.open_circuits = gauge(
            "chatbot_open_circuits",
            "Providers that failed ten times in a row and have not answered since.",
            multiprocess_mode="livemax",
        )

        # The database
        self.database_wait = histogram(
            "chatbot_database_wait_seconds",
            "How long database calls waited for their turn or a connection, by kind: read, write.",
            ["kind"],
            buckets=DATABASE_SECONDS,
        )
        self.database = histogram(
            "chatbot_database_seconds",
            "How long database calls took after that, including the commit, by kind.",
            ["kind"],
            buckets=DATABASE_SECONDS,
        )
        self.database_group = histogram(
            "chatbot_database_group_calls",
            "The number of calls in one SQLite transaction.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 100),
        )
        self.disk_free = gauge(
            "chatbot_disk_free_bytes",
            "Free space on the volume of SQLite's file.",
            ["volume"],
            multiprocess_mode="livemin",
        )
        self.disk_size = gauge(
            "chatbot_disk_size_bytes", "The size of that volume.", ["volume"], multiprocess_mode="livemin"
        )

        # The process
        self.ready = gauge("chatbot_ready", "Whether the process is ready: 1 or 0.", multiprocess_mode="livemin")
        self.loop_lag = gauge(
            "chatbot_loop_lag_seconds",
            "The longest delay of the event loop in the last eight seconds.",
            multiprocess_mode="livemax",
        )
        self.build = gauge(
            "chatbot_build_info",
            "1, with the release and the schema version that it needs.",
            ["version", "schema"],
            multiprocess_mode="livemax",
        )
        # With the names of prometheus_client's ProcessCollector, which multiprocess mode leaves out.
        self.open_files = gauge("process_open_fds", "Open file descriptors.", multiprocess_mode="liveall")
        self.max_files = gauge("process_max_fds", "The limit of open file descriptors.", multiprocess_mode="liveall")
        self.resident = gauge("process_resident_memory_bytes", "Resident memory.", multiprocess_mode="liveall")

    def listen_to(self, database: Meter) -> None:
        """Measure the database's work."""
        waits: dict[CallKind, Histogram] = {kind: self.database_wait.labels(kind) for kind in CALL_KINDS}
        times: dict[CallKind, Histogram] = {kind: self.database.labels(kind) for kind in CALL_KINDS}
        database.waited = lambda kind, seconds: waits[kind].observe(seconds)
        database.took = lambda kind, seconds: times[kind].observe(seconds)
        database.committed = self.database_group.observe

    def count_answer(
        self, usage: UsageRow, upstream_status: int | None, thoughts: Size, retries: Mapping[str, int]
    ) -> None:
        """Count an answer that ended. `retries`: how often the provider was asked again, by reason."""
        status = "none" if upstream_status is None else str(upstream_status) if upstream_status in ANSWERED else "other"
        self.answers.labels(usage.outcome, status).inc()
        if usage.duration_ms is not None:
            self.duration.observe(usage.duration_ms / 1000)
        if usage.first_text_ms is not None:
            self.first_text.observe(usage.first_text_ms / 1000)
        self.tokens.labels("prompt").inc(max(usage.prompt_tokens or 0, 0))
        self.tokens.labels("completion").inc(max(usage.completion_tokens or 0, 0))
        self.thoughts.inc(max(thoughts.tokens, 0))
        self.charged.inc(usage.charged)
        for reason, times in retries.items():
            self.retries.labels(reason).inc(times)

    def text(self) -> bytes:
        """Prometheus text format 0.0.4, of all workers together."""
        registry = self._registry
        if DIRECTORY in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
