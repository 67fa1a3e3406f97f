"""Delivery of the outbox, at least once: one task per process, and one event per tenant at a time in each process."""

import asyncio
import logging
import random
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial

import httpx

from service.metrics import Metrics, Outcome
from service.store.outbox import Event, Outbox
from service.store.records import StoreError
from service.webhooks.hook import HookUnusable, Message, hook_of, shown_id
from service.webhooks.sending import send

# Seconds to wait after each failed attempt, about a day in total. The last attempt follows the last wait.
DELAYS = (5, 30, 120, 600, 1800, 3600, 7200, 14_400, 28_800, 28_800)
JITTER = 0.2  # of each delay, so that events that failed together are not retried together
LEASE_SECONDS = 60  # longer than an attempt
POLL_SECONDS = 30  # until other processes' events are noticed
MOST_AT_ONCE = 20
SHUTDOWN_SECONDS = 5  # for attempts in progress when the process stops

log = logging.getLogger("chatbot")


class Delivery:
    """Delivers events from one process."""

    def __init__(self, outbox: Outbox, client: httpx.AsyncClient, metrics: Metrics) -> None:
        self._outbox = outbox
        self._client = client
        self._metrics = metrics
        self._attempts: dict[int, asyncio.Task[None]] = {}  # by the tenant's id
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Check for events now: there may be something to deliver."""
        self._woken.set()

    async def run(self, closing: asyncio.Event) -> None:
        """Deliver due events until `closing` is set, then let attempts in progress finish."""
        stopping = asyncio.create_task(closing.wait())
        stopping.add_done_callback(lambda _: self.wake())
        while not closing.is_set():
            self._woken.clear()
            try:
                seconds = await self._start_due()
            except StoreError as error:
                log.warning("webhook events cannot be delivered yet", extra={"reason": str(error)})
                seconds = POLL_SECONDS
            except Exception:
                log.exception("webhook events cannot be delivered yet")
                seconds = POLL_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
        if self._attempts:
            _, left = await asyncio.wait(self._attempts.values(), timeout=SHUTDOWN_SECONDS)
            for attempt in left:  # another process takes it over when the lease expires
                attempt.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _start_due(self) -> float:
        """Start to deliver due events. Returns the seconds until another may be due."""
        while len(self._attempts) < MOST_AT_ONCE:
            due = await self._outbox.next_due(self._attempts)
            now = utc_now()
            if due is None:
                return POLL_SECONDS
            if due > now:
                return min((due - now).total_seconds(), POLL_SECONDS)
            event = await self._outbox.take_due(self._attempts, now, now + timedelta(seconds=LEASE_SECONDS))
            if event is None:  # another process was faster
                continue
            attempt = asyncio.create_task(self._deliver(event))
            self._attempts[event.tenant.id] = attempt
            attempt.add_done_callback(partial(self._ended, event.tenant.id))
        return POLL_SECONDS

    def _ended(self, tenant_id: int, _: asyncio.Task[None]) -> None:
        del self._attempts[tenant_id]
        self.wake()

    async def _deliver(self, event: Event) -> None:
        try:
            await self._record(event, await self._problem_of(event))
        except StoreError as error:  # it is delivered again when the lease expires
            log.warning("a delivery was not recorded", extra={"id": shown_id(event.id), "reason": str(error)})
        except Exception:
            log.exception("a delivery failed")

    async def _problem_of(self, event: Event) -> str | None:
        """Make one attempt. Returns the reason if it failed."""
        message = Message(event.id, event.kind, event.created_at, event.tenant.name, event.data)
        try:
            hook = hook_of(event.tenant)
        except HookUnusable as error:
            return str(error)
        return await send(self._client, message.request(hook, utc_now()))

    async def _record(self, event: Event, problem: str | None) -> None:
        now = utc_now()
        outcome: Outcome
        facts = {"event": event.kind, "id": shown_id(event.id), "tenant": event.tenant.name, "attempt": event.attempts}
        if problem is None:
            outcome = "delivered"
            log.info("webhook delivered", extra=facts)
            await self._outbox.delivered(event, now)
        elif event.attempts <= len(DELAYS):
            outcome = "failed"
            seconds = DELAYS[event.attempts - 1] * random.uniform(1 - JITTER, 1 + JITTER)
            log.warning("webhook failed", extra=facts | {"reason": problem, "again_in_s": round(seconds)})
            await self._outbox.failed(event, problem, now + timedelta(seconds=seconds), again=True)
        else:
            outcome = "given_up"
            log.error("webhook given up; `manage.py webhook retry` tries again", extra=facts | {"reason": problem})
            await self._outbox.failed(event, problem, now, again=False)
        self._metrics.webhooks.labels(event.kind, outcome).inc()


def utc_now() -> datetime:
    """The clock of deliveries."""
    return datetime.now(UTC)
