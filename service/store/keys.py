"""API keys: looking them up, and creating, rotating and revoking them."""

import hashlib
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, bindparam, func, insert, or_, select, update

from service.store.prepared import PreparedLookup
from service.store.records import Access, Key, KeyKind, KeyNotFound, Tenant
from service.store.rows import COLUMNS, fetch_record, to_record
from service.store.tables import keys, tenants, usage
from service.store.tenants import get_tenant

KEY_PREFIXES: dict[KeyKind, str] = {"public": "a4_pub_", "secret": "a4_sec_"}
KEY_PATTERN = re.compile(r"a4_(?:pub|sec)_[A-Za-z0-9_-]{32}")


def is_valid(at: ColumnElement[datetime]) -> ColumnElement[bool]:
    return and_(keys.c.revoked_at.is_(None), or_(keys.c.expires_at.is_(None), keys.c.expires_at > at))


def _access(row: tuple[Any, ...]) -> Access:
    return Access(to_record(Tenant, row), to_record(Key, row, len(COLUMNS[Tenant])))


# The records of a tenant are made once, and not for each of its questions.
_OPENED = PreparedLookup(
    select(*COLUMNS[Tenant], *COLUMNS[Key])
    .join_from(keys, tenants)
    .where(keys.c.hash == bindparam("hash"), is_valid(bindparam("at", type_=keys.c.expires_at.type))),
    _access,
    remembered=256,
)


def find_access(db: Connection, api_key: str) -> Access | None:
    """The tenant and key for an API key. None if it is unknown, expired or revoked."""
    return _OPENED.find(db, {"hash": _hash(api_key), "at": datetime.now(UTC)})


def insert_key(db: Connection, tenant_id: int, kind: KeyKind, expires_at: datetime | None = None) -> tuple[Key, str]:
    """A new key, and its text, of which only a hash is stored."""
    api_key = KEY_PREFIXES[kind] + secrets.token_urlsafe(24)
    values = {
        "tenant_id": tenant_id,
        "hash": _hash(api_key),
        "kind": kind,
        "hint": api_key[-4:],
        "created_at": datetime.now(UTC),
        "expires_at": expires_at,
    }
    row = db.execute(insert(keys).values(values).returning(*COLUMNS[Key])).one()
    return to_record(Key, row), api_key


def rotate(db: Connection, name: str, kind: KeyKind, grace: timedelta) -> tuple[Key, str]:
    """Create a key and let the tenant's others of its kind expire after `grace`. Raises TenantNotFound."""
    tenant = get_tenant(db, name)
    ends = datetime.now(UTC) + grace
    db.execute(
        update(keys)
        .where(keys.c.tenant_id == tenant.id, keys.c.kind == kind)
        .where(or_(keys.c.expires_at.is_(None), keys.c.expires_at > ends))
        .values(expires_at=ends)
    )
    return insert_key(db, tenant.id, kind)


def revoke(db: Connection, name: str, key_id: int) -> Key:
    """Make a key invalid from now on. Raises TenantNotFound or KeyNotFound."""
    tenant = get_tenant(db, name)
    revoked = {"revoked_at": func.coalesce(keys.c.revoked_at, datetime.now(UTC))}
    of_tenant = update(keys).where(keys.c.id == key_id, keys.c.tenant_id == tenant.id)
    key = fetch_record(db, Key, of_tenant.values(revoked).returning(*COLUMNS[Key]))
    if key is None:
        raise KeyNotFound(f"The tenant {name!r} has no key {key_id}.")
    return key


def list_keys(db: Connection, name: str) -> list[Key]:
    """The keys of a tenant, oldest first, including invalid ones. Raises TenantNotFound."""
    tenant = get_tenant(db, name)
    rows = db.execute(select(*COLUMNS[Key]).where(keys.c.tenant_id == tenant.id).order_by(keys.c.id))
    return [to_record(Key, row) for row in rows]


def last_used(db: Connection, name: str) -> dict[int, datetime]:
    """When each key of a tenant last asked a question, by the key's id. Raises TenantNotFound."""
    tenant = get_tenant(db, name)
    query = select(usage.c.key_id, func.max(usage.c.at, type_=usage.c.at.type))
    rows = db.execute(query.where(usage.c.tenant_id == tenant.id, usage.c.key_id.is_not(None)).group_by(usage.c.key_id))
    return {row[0]: row[1] for row in rows}


def _hash(api_key: str) -> str:
    # A nearly correct key has a completely different hash, so the time of a lookup reveals nothing.
    return hashlib.sha256(api_key.encode()).hexdigest()
