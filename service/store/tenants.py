"""Tenants, their widgets and the origins of their pages."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from service.store.dialects import INSERTS
from service.store.records import NameTaken, Tenant, TenantNotFound, TenantSettings, Widget
from service.store.rows import COLUMNS, fetch_record, to_record
from service.store.tables import index_origins, keys, origins, tenants, widgets

WIDGET_PATTERN = re.compile(r"wgt_[A-Za-z0-9_-]{16}")

# One index lookup, however many tenants there are.
LISTED_ORIGIN = select(origins.c.tenant_id).where(origins.c.origin.in_(bindparam("entries", expanding=True))).limit(1)
_NAMED = select(*COLUMNS[Tenant]).where(tenants.c.name == bindparam("named"))
_WIDGET = (
    select(*COLUMNS[Widget], *COLUMNS[Tenant]).join_from(widgets, tenants).where(widgets.c.id == bindparam("widget"))
)
_WIDGETS_OF = select(widgets.c.id).where(widgets.c.tenant_id == bindparam("tenant"))
_WIDGET_OF = select(*COLUMNS[Widget]).join_from(widgets, tenants).where(tenants.c.name == bindparam("named"))
_WIDGET_TO_CHANGE = _WIDGET_OF.with_for_update(of=widgets)


def get_tenant(db: Connection, name: str) -> Tenant:
    """The tenant of this name. Raises TenantNotFound."""
    tenant = fetch_record(db, Tenant, _NAMED, {"named": name})
    if tenant is None:
        raise _not_found(name)
    return tenant


def list_tenants(db: Connection) -> list[Tenant]:
    """All tenants, ordered by name."""
    return [to_record(Tenant, row) for row in db.execute(select(*COLUMNS[Tenant]).order_by(tenants.c.name))]


def add_tenant(
    db: Connection, name: str, widget_settings: Mapping[str, Any], settings: TenantSettings
) -> tuple[Tenant, Widget]:
    """Create a tenant with one widget. Raises NameTaken."""
    values = {**settings, "name": name, "visitor_salt": secrets.token_bytes(32), "created_at": datetime.now(UTC)}
    once = INSERTS[db.dialect.name](tenants).values(values).on_conflict_do_nothing(index_elements=["name"])
    tenant = fetch_record(db, Tenant, once.returning(*COLUMNS[Tenant]))
    if tenant is None:
        raise NameTaken(f"There is a tenant {name!r} already.")
    widget = Widget(f"wgt_{secrets.token_urlsafe(12)}", tenant.id, dict(widget_settings))
    db.execute(insert(widgets).values(asdict(widget)))
    index_origins(db, tenant.id, tenant.origins)
    return tenant, widget


def set_tenant(db: Connection, name: str, changes: TenantSettings) -> Tenant:
    """Change some settings of a tenant. Raises TenantNotFound."""
    changing = update(tenants).where(tenants.c.name == name).values(**changes)
    tenant = fetch_record(db, Tenant, changing.returning(*COLUMNS[Tenant]))
    if tenant is None:
        raise _not_found(name)
    if "origins" in changes:
        index_origins(db, tenant.id, tenant.origins)
    return tenant


def close_tenant(db: Connection, name: str) -> Tenant:
    """Delete a tenant's keys, so that it gets no more requests. Raises TenantNotFound."""
    tenant = get_tenant(db, name)
    db.execute(delete(keys).where(keys.c.tenant_id == tenant.id))
    return tenant


def delete_tenant(db: Connection, tenant_id: int) -> None:
    """Delete a tenant with everything that is left of it."""
    db.execute(delete(tenants).where(tenants.c.id == tenant_id))


def lists_any(db: Connection, entries: Sequence[str]) -> bool:
    """Whether any tenant's origins have one of these entries."""
    return db.scalar(LISTED_ORIGIN, {"entries": list(entries)}) is not None


def find_widget(db: Connection, widget_id: str) -> tuple[Widget, Tenant] | None:
    """The widget with this id and its tenant, or None."""
    row = db.execute(_WIDGET, {"widget": widget_id}).first()
    return (to_record(Widget, row), to_record(Tenant, row, len(COLUMNS[Widget]))) if row else None


def widget_ids(db: Connection, tenant_id: int) -> list[str]:
    """The ids of a tenant's widgets."""
    return list(db.scalars(_WIDGETS_OF, {"tenant": tenant_id}))


def get_widget(db: Connection, name: str) -> Widget:
    """The widget of a tenant. Raises TenantNotFound."""
    return _found(name, fetch_record(db, Widget, _WIDGET_OF, {"named": name}))


def set_widget(db: Connection, name: str, changes: Mapping[str, Any]) -> Widget:
    """Change some settings of a tenant's widget; None removes one. Raises TenantNotFound."""
    widget = _found(name, fetch_record(db, Widget, _WIDGET_TO_CHANGE, {"named": name}))
    merged = {**widget.settings, **changes}
    settings = {setting: value for setting, value in merged.items() if value is not None}
    db.execute(update(widgets).where(widgets.c.id == widget.id).values(settings=settings))
    return Widget(widget.id, widget.tenant_id, settings)


def _found(name: str, widget: Widget | None) -> Widget:
    if widget is None:
        raise _not_found(name)
    return widget


def _not_found(name: str) -> TenantNotFound:
    return TenantNotFound(f"There is no tenant {name!r}.")
