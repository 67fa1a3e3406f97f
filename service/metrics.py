"""What the operator watches, for Prometheus. No label holds a tenant, an id or a text: their number is bounded.

Each is documented in docs/operating.md. Gauges say how several processes of one port are added up
(prometheus_client's multiprocess mode).
"""

import os
from collections.abc import Mapping
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
DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"  # prometheus_client's variable: where several processes keep their counters
Outcome = Literal["delivered", "failed", "given_up"]  # of an attempt to deliver an event to a webhook
ANSWERED = range(200, 600)  # the HTTP statuses that are told apart

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double the series, and no query needs them


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        registry = self._registry = CollectorRegistry()
        # Requests and questions
        self.requests = Counter(
            "chatbot_requests",
            "Requests answered, by route, status and error code.",
            ["route", "status", "code"],
            registry=registry,
        )
        self.refusals = Counter(
            "chatbot_refusals",
            "Questions that were not taken up, by error code or cause.",
            ["reason"],
            registry=registry,
        )
        self.resumes = Counter(
            "chatbot_resumes",
            "Questions that were sent again and got the answer that was there, by where it was: written here, "
            "elsewhere, or stored.",
            ["place"],
            registry=registry,
        )
        self.readers = Gauge(
            "chatbot_readers",
            "Streams that are open: readers of answers under way.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        # Answers
        self.open_answers = Gauge(
            "chatbot_open_answers", "Answers being written now.", multiprocess_mode="livesum", registry=registry
        )
        self.answers = Counter(
            "chatbot_answers",
            "Answers ended, by status, error code or cause, and by the provider's last HTTP status.",
            ["outcome", "upstream_status"],
            registry=registry,
        )
        self.abandoned = Counter(
            "chatbot_abandoned_answers", "Answers stopped because nobody read them any more.", registry=registry
        )
        self.interrupted = Counter(
            "chatbot_interrupted_answers",
            "Answers of processes that are gone, closed by this one.",
            registry=registry,
        )
        self.unstored = Gauge(
            "chatbot_unstored_answers",
            "Answers that ended and wait for the database for more than two seconds.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.first_text = Histogram(
            "chatbot_first_text_seconds",
            "From the arrival of a question to the first text of its answer.",
            buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64),
            registry=registry,
        )
        self.duration = Histogram(
            "chatbot_answer_seconds",
            "From the arrival of a question to the end of its answer.",
            buckets=(0.5, 1, 2, 4, 8, 16, 32, 64, 128, 256),
            registry=registry,
        )
        self.tokens = Counter(
            "chatbot_tokens", "Tokens that the providers counted, by kind.", ["kind"], registry=registry
        )
        self.thoughts = Counter(
            "chatbot_thought_tokens",
            "Tokens of thoughts, which are not shown, estimated from their length.",
            registry=registry,
        )
        self.charged = Counter("chatbot_charged_tokens", "Tokens that budgets were charged.", registry=registry)
        self.webhooks = Counter(
            "chatbot_webhooks",
            "Attempts to deliver an event to a webhook, by event and outcome.",
            ["event", "outcome"],
            registry=registry,
        )
        for told in product(get_args(Kind), get_args(Outcome)):
            self.webhooks.labels(*told)  # a series that began with its first one would not show as an increase
        # The provider
        self.retries = Counter(
            "chatbot_upstream_retries", "Times that a provider was asked again, by why.", ["reason"], registry=registry
        )
        self.open_circuits = Gauge(
            "chatbot_open_circuits",
            "Providers that failed ten times in a row and have answered nothing since.",
            multiprocess_mode="livemax",
            registry=registry,
        )

        # The database
        self.database_wait = Histogram(
            "chatbot_database_wait_seconds",
            "How long calls of the database waited for their turn or a connection, by kind: read, write.",
            ["kind"],
            buckets=DATABASE_SECONDS,
            registry=registry,
        )
        self.database = Histogram(
            "chatbot_database_seconds",
            "How long calls of the database took after that, commit included, by kind.",
            ["kind"],
            buckets=DATABASE_SECONDS,
            registry=registry,
        )
        self.database_group = Histogram(
            "chatbot_database_group_calls",
            "How many calls of the database one transaction of SQLite had.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 100),
            registry=registry,
        )
        self.disk_free = Gauge(
            "chatbot_disk_free_bytes",
            "What is free on the volume of SQLite's file.",
            ["volume"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.disk_size = Gauge(
            "chatbot_disk_size_bytes",
            "The size of the volume of SQLite's file.",
            ["volume"],
            multiprocess_mode="livemin",
            registry=registry,
        )
        # The process
        self.ready = Gauge(
            "chatbot_ready",
            "What /api/v1/ready last found: 1 or 0.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.loop_lag = Gauge(
            "chatbot_loop_lag_seconds",
            "The longest delay of the event loop in the last eight seconds.",
            multiprocess_mode="livemax",
            registry=registry,
        )
        self.build = Gauge(
            "chatbot_build_info",
            "1, with the release and the schema version that it needs.",
            ["version", "schema"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        # As prometheus_client's ProcessCollector, which the multiprocess mode leaves out, calls them.
        self.open_files = Gauge(
            "process_open_fds", "Open file descriptors.", multiprocess_mode="liveall", registry=registry
        )
        self.max_files = Gauge(
            "process_max_fds",
            "The most file descriptors that may be open.",
            multiprocess_mode="liveall",
            registry=registry,
        )
        self.resident = Gauge(
            "process_resident_memory_bytes", "Resident memory.", multiprocess_mode="liveall", registry=registry
        )

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
        """An answer that ended: its usage, the provider's last HTTP status, its thoughts, why it was asked again."""
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
        """Prometheus text format 0.0.4; of all processes where there are several."""
        registry = self._registry
        if DIRECTORY in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)
