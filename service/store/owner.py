"""What the owner's pages read of all tenants."""

from sqlalchemy import Connection, select

from service.store.records import Tenant, Widget
from service.store.rows import COLUMNS, to_record
from service.store.tables import tenants, widgets

_EACH = select(*COLUMNS[Tenant], *COLUMNS[Widget]).join_from(tenants, widgets).order_by(tenants.c.name, widgets.c.id)


def list_widgets(db: Connection) -> list[tuple[Tenant, Widget]]:
    """Each tenant with its widget, by the tenant's name."""
    return [(to_record(Tenant, row), to_record(Widget, row, len(COLUMNS[Tenant]))) for row in db.execute(_EACH)]
