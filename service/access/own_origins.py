"""The service's own origins, as browsers see them: those of PUBLIC_URL or, if it is unset, loopback and private names.

A request's `Host` alone can't be trusted: anyone can point their own domain at this service (DNS rebinding), and the
browser then sends that name as both `Host` and `Origin`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.access.origins import own_origin

LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\]|([a-z0-9-]{1,63}\.)+localhost)(:[0-9]{1,5})?")
# Names that only a private network's own DNS can resolve (RFC 6762, appendix G), so no outsider can point one here.
PRIVATE = re.compile(r"([a-z0-9-]{1,63}\.)+(intranet|internal|private|corp|home|lan)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class OwnOrigins:
    """`public` has the origins of PUBLIC_URL, as browsers write them. If empty, loopback and private names are used."""

    public: Sequence[str] = ()

    def include(self, origin: str, scheme: str, host: str) -> bool:
        """Whether `origin` is the service's own. `scheme` and `host` are the request's."""
        return origin in self.public if self.public else origin == _origin_of_known_name(scheme, host)

    def of_read(self, site: str | None, scheme: str, host: str) -> str | None:
        """The origin of a GET that has no `Origin` header, if it is the service's own.

        Browsers send `Sec-Fetch-Site` (`site`) only to trustworthy addresses: over https or to loopback names. A
        foreign domain that points here has no certificate, so `same-origin` is enough without checking the Host, which
        a proxy may have replaced. Without that header, as over plain http on an intranet, the Host must be known.
        """
        if site not in ("same-origin", None):
            return None
        if not self.public:
            return _origin_of_known_name(scheme, host)
        matching = [origin for origin in self.public if own_origin(origin.partition(":")[0], host) == origin]
        return matching[0] if matching else self.public[0] if site else None

    def hint(self, origin: str, scheme: str, host: str) -> str | None:
        """A configuration hint if the service was reached at `origin`, but that isn't one of its own origins."""
        if origin not in (own_origin(scheme, host), own_origin("http", host), own_origin("https", host)):
            return None
        setting = f"PUBLIC_URL is {', '.join(self.public)}" if self.public else "PUBLIC_URL is not set"
        return f"the service was reached as {origin}, but {setting}"


def _origin_of_known_name(scheme: str, host: str) -> str | None:
    name = host.lower()
    return own_origin(scheme, host) if LOOPBACK.fullmatch(name) or PRIVATE.fullmatch(name) else None
