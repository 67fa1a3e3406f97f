"""The service's own origins, as browsers see them: those of PUBLIC_URL, or without it loopback and private names.

A request's `Host` alone does not decide: anyone can point a name of theirs at this service (DNS rebinding), and a
browser then sends that name as `Host` and as `Origin`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from service.access.origins import own_origin

LOOPBACK = re.compile(r"(localhost|127\.0\.0\.1|\[::1\]|([a-z0-9-]{1,63}\.)+localhost)(:[0-9]{1,5})?")
# Names that only a private network's own DNS can give (RFC 6762, appendix G): nobody outside can point one here.
PRIVATE = re.compile(r"([a-z0-9-]{1,63}\.)+(intranet|internal|private|corp|home|lan)(:[0-9]{1,5})?")


@dataclass(frozen=True, slots=True)
class OwnOrigins:
    """`public`: the origins of PUBLIC_URL, as browsers write them; none for loopback and private names."""

    public: Sequence[str] = ()

    def include(self, origin: str, scheme: str, host: str) -> bool:
        """Whether an `Origin` is the service's own. `scheme` and `Host` are those of the request."""
        return origin in self.public if self.public else origin == _origin_of_known_name(scheme, host)

    def of_read(self, site: str | None, scheme: str, host: str) -> str | None:
        """The origin that a GET without an `Origin` comes from, if it is the service's own.

        Browsers send `Sec-Fetch-Site`, `site`, to addresses that they trust only: over https or to loopback names.
        A foreign name that points here has no certificate, so that `same-origin` needs no look at the Host, which a
        proxy may have replaced. Without that header, as over plain http on an intranet, the Host must be known.
        """
        if site not in ("same-origin", None):
            return None
        if not self.public:
            return _origin_of_known_name(scheme, host)
        known = [origin for origin in self.public if own_origin(origin.partition(":")[0], host) == origin]
        return known[0] if known else self.public[0] if site else None

    def hint(self, origin: str, scheme: str, host: str) -> str | None:
        """What to set, if `origin` is the address at which the service was reached but not one of its own."""
        if origin not in (own_origin(scheme, host), own_origin("http", host), own_origin("https", host)):
            return None
        known = f"PUBLIC_URL is {', '.join(self.public)}" if self.public else "PUBLIC_URL is not set"
        return f"the service was reached as {origin}, but {known}"


def _origin_of_known_name(scheme: str, host: str) -> str | None:
    name = host.lower()
    return own_origin(scheme, host) if LOOPBACK.fullmatch(name) or PRIVATE.fullmatch(name) else None
