"""Visitors, distinguished by their addresses."""

import hashlib
import ipaddress

from service.store.records import Tenant
from service.store.tables import storable


def visitor_id(tenant: Tenant, address: str) -> str:
    """A visitor's address as a hash keyed with the tenant's salt: 32 hex digits.

    IPv6 addresses count by their /64, which usually belongs to one subscriber; IPv4-mapped ones count as IPv4.
    """
    return hashlib.blake2b(visitor_network(address).encode(), key=tenant.visitor_salt, digest_size=16).hexdigest()


def visitor_network(address: str) -> str:
    """What counts as one visitor: an IPv4 address, or an IPv6 /64."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return storable(address)  # the name of a socket or of a test client
    if isinstance(parsed, ipaddress.IPv4Address):
        return str(parsed)
    return str(parsed.ipv4_mapped or ipaddress.IPv6Network((int(parsed), 64), strict=False))
