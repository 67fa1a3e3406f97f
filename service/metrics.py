"""What the operator watches, for Prometheus. No label holds a tenant, an id or a text: their number is bounded."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from service.upstream.charge import TokenCount


class Metrics:
    """The counters of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "chatbot_requests", "Requests answered, by route and status.", ["route", "status"], registry=self._registry
        )
        self.answers = Counter(
            "chatbot_answers", "Answers ended, by status, error code or cause.", ["outcome"], registry=self._registry
        )
        self.tokens = Counter("chatbot_tokens", "Tokens that the provider counted.", ["kind"], registry=self._registry)
        self.first_text = Histogram(
            "chatbot_first_text_seconds",
            "From the question to the first text of its answer.",
            buckets=(0.1, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64),
            registry=self._registry,
        )
        self.loop_lag = Gauge(
            "chatbot_loop_lag_seconds",
            "The longest delay of the event loop in the last eight seconds.",
            registry=self._registry,
        )
        self.open_answers = Gauge("chatbot_open_answers", "Answers being written now.", registry=self._registry)

    def count_answer(self, outcome: str, first_text: float | None, tokens: TokenCount | None) -> None:
        """An answer that ended: its status or error code, seconds to its first text, and what the provider counted."""
        self.answers.labels(outcome).inc()
        if first_text is not None:
            self.first_text.observe(first_text)
        if tokens is not None:
            self.tokens.labels("prompt").inc(tokens.prompt_tokens)
            self.tokens.labels("completion").inc(tokens.completion_tokens)

    def text(self) -> bytes:
        """Prometheus text format 0.0.4."""
        return generate_latest(self._registry)
