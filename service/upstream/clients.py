"""The HTTP connections to all endpoints, opened and closed with the service."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial

import httpx

from service.settings import Settings
from service.upstream.call import Call
from service.upstream.circuit import Circuits
from service.upstream.completion import ChatDecoder
from service.upstream.endpoint import Endpoint
from service.upstream.quirks import KnownQuirks, Question
from service.upstream.stream import Receiver
from service.upstream.transport import Transport

# With UPSTREAM_TRANSPORT=httpx, httpcore compares this with all its connections, including busy ones, and reuses none
# above it. Its search through the idle ones takes quadratic time.
KEEPALIVE_CONNECTIONS = 100


@dataclass(frozen=True, slots=True)
class Upstream:
    """The connections to all endpoints, and what has been learned about each."""

    settings: Settings
    transport: httpx.AsyncBaseTransport
    fresh_transport: httpx.AsyncBaseTransport  # it opens a new connection for every request
    mounts: Mapping[str, httpx.AsyncBaseTransport]  # in place of the network, by base URL
    timeouts: Mapping[str, float | None]
    circuits: Circuits
    quirks: KnownQuirks

    def call(
        self, endpoint: Endpoint, question: Question, receiver: Receiver, headers: Mapping[str, str] | None = None
    ) -> Call:
        """A question that has not been asked yet; see `Call`. Choose the decoder for another provider dialect here.

        `headers` are sent in addition to the endpoint's own.
        """
        settings, circuit = self.settings, self.circuits.of(endpoint)
        thinks_first = self.quirks.thinks_first(endpoint, question.model)
        new_decoder = partial(ChatDecoder, settings.max_line_bytes, settings.max_json_depth, thinks_first=thinks_first)
        return Call(
            transport=self.mounts.get(endpoint.base_url, self.transport),
            fresh_transport=self.fresh_transport,
            timeouts=self.timeouts,
            endpoint=endpoint,
            question=question,
            headers=headers or {},
            settings=settings,
            circuit=circuit,
            known=self.quirks,
            new_decoder=new_decoder,
            receiver=receiver,
        )


@asynccontextmanager
async def connect_upstream(
    settings: Settings, mounts: Mapping[str, httpx.AsyncBaseTransport] | None = None
) -> AsyncIterator[Upstream]:
    """The connections to the endpoints. `mounts` replace the network, by base URL."""
    most = settings.max_streams
    limits = httpx.Limits(max_connections=most, max_keepalive_connections=KEEPALIVE_CONNECTIONS)
    fresh = httpx.Limits(max_connections=most, max_keepalive_connections=0)
    timeout = httpx.Timeout(settings.read_timeout, connect=settings.connect_timeout, pool=settings.connect_timeout)
    context = tls_context(settings.upstream_ca_file)
    async with (
        _transport(settings, context, limits) as transport,
        _transport(settings, context, fresh) as fresh_transport,
    ):
        yield Upstream(settings, transport, fresh_transport, mounts or {}, timeout.as_dict(), Circuits(), KnownQuirks())


@cache
def tls_context(ca_file: str | None) -> ssl.SSLContext:
    """Trusts the public certificates and those of UPSTREAM_CA_FILE. Cached, because loading them takes 60 ms."""
    context = httpx.create_ssl_context(trust_env=False)
    if ca_file:
        context.load_verify_locations(ca_file)
    return context


def _transport(settings: Settings, context: ssl.SSLContext, limits: httpx.Limits) -> httpx.AsyncBaseTransport:
    if settings.upstream_proxy:
        address = settings.upstream_proxy.get_secret_value()
        proxy = httpx.Proxy(address, ssl_context=context if address.startswith("https:") else None)
        return httpx.AsyncHTTPTransport(verify=context, limits=limits, proxy=proxy)
    if settings.upstream_transport == "httpx":
        return httpx.AsyncHTTPTransport(verify=context, limits=limits)
    return Transport(context, limits)
