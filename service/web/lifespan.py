"""The state of a running service: its connections, its answers, and their background tasks."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
from sse_starlette import EventSourceResponse

from service import VERSION, demonstration, errors
from service.access.limits import Reads
from service.access.own_origins import OwnOrigins
from service.access.owner import Attempts
from service.access.refusals import Ledger
from service.answers.register import Answers
from service.demonstration import Demonstration
from service.metrics import Metrics
from service.settings import Settings
from service.store.migrations import newest_version
from service.store.records import StoreError, StoreUnavailable, Tenant
from service.store.store import Store, open_store
from service.upstream.clients import Upstream, connect_upstream, tls_context
from service.upstream.endpoint import Endpoint, endpoint_of
from service.web.assets import Asset, hashed_files, load_assets
from service.web.gauges import Gauges
from service.web.lag import LoopLag
from service.web.start import log_misspelt, log_start
from service.webhooks.delivery import Delivery
from service.webhooks.sending import connect_webhooks

STATIC = Path(__file__).parents[2] / "static"
SWEEP_SECONDS = 3600

log = logging.getLogger("chatbot")


@dataclass(slots=True)
class Service:
    """The state that the endpoints share."""

    settings: Settings
    store: Store
    upstream: Upstream
    answers: Answers
    webhooks: Delivery
    assets: dict[str, Asset]
    metrics: Metrics
    ledger: Ledger
    reads: Reads
    attempts: Attempts
    lag: LoopLag
    gauges: Gauges
    shutdown: anyio.Event  # set on SIGTERM, by `Server` or by sse-starlette
    drained: anyio.Event  # set when no answer is in progress and none can begin
    demonstration: Demonstration | None
    own_origins: OwnOrigins

    def endpoint_of(self, tenant: Tenant) -> Endpoint:
        """The endpoint for a tenant's questions. Raises NotSetUp if one of its variables is unset.

        The demonstration answers only on pages on this machine and on the owner's pages, so that no visitor of a real
        site gets a canned answer.
        """
        if demonstration.is_own(tenant):
            return Endpoint(demonstration.BASE_URL)
        if self.settings.demonstration and not (tenant.openai_key_env or tenant.openai_base_url_env):
            if not demonstration.is_for(tenant.origins):
                raise errors.NotSetUp("no provider is set: set OPENAI_API_KEY, or OPENAI_BASE_URL")
            return Endpoint(demonstration.BASE_URL)
        return endpoint_of(self.settings, tenant)


@asynccontextmanager
async def run_service(settings: Settings) -> AsyncIterator[Service]:
    """Run the service. Raises StoreError without a usable database."""
    mounts = {demonstration.BASE_URL: demonstration.DemonstrationTransport()}
    pool = settings.database_url, settings.database_pool_size
    trusted = tls_context(settings.upstream_ca_file)
    async with (
        connect_upstream(settings, mounts) as upstream,
        connect_webhooks(trusted, allow_private=settings.webhook_allow_private) as webhook_client,
        open_store(*pool) as store,
    ):
        metrics, lag, shutdown = Metrics(), LoopLag(), anyio.Event()
        metrics.listen_to(store.meter)
        metrics.build.labels(VERSION, newest_version()).set(1)
        metrics.ready.set(1)
        answers = Answers(store, metrics, max_streams=settings.max_streams, resume_seconds=settings.resume_seconds)
        service = Service(
            settings=settings,
            store=store,
            upstream=upstream,
            answers=answers,
            webhooks=Delivery(store.outbox, webhook_client, metrics),
            assets=dict(load_assets(STATIC)),
            metrics=metrics,
            ledger=Ledger(store),
            reads=Reads(),
            attempts=Attempts(),
            lag=lag,
            gauges=Gauges(metrics, lag, upstream.circuits, store, shutdown, settings.database_url),
            shutdown=shutdown,
            drained=anyio.Event(),
            demonstration=await _demonstration(store, settings),
            own_origins=OwnOrigins(settings.public_origins),
        )
        log_start(settings, VERSION)
        await log_misspelt(store)
        _log_own_origins(settings)
        with suppress(StoreError):  # the first use of the database logs it
            await store.files.keep(hashed_files(service.assets))
        await store.enter()
        with suppress(StoreUnavailable):  # `answers.run` retries
            await answers.close_lost()
            await store.forget_lost_processes()
        closing = asyncio.Event()
        watching = asyncio.create_task(_watch_for_exit(service))
        draining = asyncio.create_task(_drain_on_shutdown(service))
        running_answers = asyncio.create_task(answers.run(closing))
        sweeping = asyncio.create_task(_sweep(service, closing))
        delivering = asyncio.create_task(service.webhooks.run(closing))
        recording_usage = asyncio.create_task(service.ledger.run(closing))
        measuring = [asyncio.create_task(lag.run()), asyncio.create_task(service.gauges.run())]
        try:
            yield service
        finally:
            watching.cancel()
            draining.cancel()
            for task in measuring:
                task.cancel()
            if not service.drained.is_set():
                await answers.drain(0)
            closing.set()
            await asyncio.wait([watching, draining, running_answers, sweeping, delivering, recording_usage, *measuring])


async def _demonstration(store: Store, settings: Settings) -> Demonstration | None:
    """The demonstration's widgets; with a provider, they are created when the owner first opens a page with one."""
    if settings.demonstration:
        return await demonstration.set_up(store, settings.owners_origins)
    if settings.studio_token is None:
        await demonstration.remove(store)
    return None


def _log_own_origins(settings: Settings) -> None:
    if settings.public_origins:
        log.info("the chat works under PUBLIC_URL", extra={"origins": " ".join(settings.public_origins)})
    else:
        level = logging.INFO if settings.demonstration else logging.WARNING
        log.log(
            level,
            "PUBLIC_URL is not set: the chat works only on localhost and under private names such as chat.intranet; "
            "set it to the address that browsers use, such as https://chat.example.com",
        )


async def _watch_for_exit(service: Service) -> None:
    """Detect the shutdown of another server, which does not notify the application: sse-starlette notices it."""
    await EventSourceResponse._listen_for_exit_signal()
    service.shutdown.set()


async def _drain_on_shutdown(service: Service) -> None:
    await service.shutdown.wait()
    log.info("draining", extra={"answers": len(service.answers)})
    try:
        await service.answers.drain(service.settings.drain_seconds)
    except Exception:
        log.exception("draining failed")
    finally:
        service.drained.set()


async def _sweep(service: Service, closing: asyncio.Event) -> None:
    """Delete conversations and aggregate usage older than RETENTION_DAYS; 0 keeps everything."""
    days = service.settings.retention_days
    while not closing.is_set():
        try:
            async for purged in service.store.purge_steps(datetime.now(UTC) - timedelta(days=days) if days else None):
                if purged.conversations:
                    log.info("purged", extra={"conversations": purged.conversations})
                if purged.usage:
                    log.info("usage summed up", extra={"rows": purged.usage})
                if closing.is_set():
                    break
        except StoreError as error:
            log.warning("the purge failed", extra={"reason": str(error)})
        with suppress(TimeoutError):
            async with asyncio.timeout(SWEEP_SECONDS):
                await closing.wait()
