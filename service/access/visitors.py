"""Visitors, as far as their addresses tell them apart."""

import hashlib
import ipaddress

from service.store.records import Tenant
from service.store.tables import storable


def visitor_id(tenant: Tenant, address: str) -> str:
    """A visitor's address as a hash that only this tenant's salt can make: 32 hex digits.

    IPv6 counts by its /64, which usually is one subscriber's; IPv4 written as IPv6 counts as IPv4.
    """
    return hashlib.blake2b(visitor_network(address).encode(), key=tenant.visitor_salt, digest_size=16).hexdigest()


def visitor_network(address: str) -> str:
    """What counts as one visitor: an address, of IPv6 its /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return storable(address)  # the name of a socket or of a test client
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed), 64), strict=False))
