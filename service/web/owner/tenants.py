"""The tenants in the studio: the look of their windows, and their keys. They are identified by their widget's id."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import Response

from service import demonstration, errors, schema
from service.store.owner import list_widgets
from service.store.records import Key, Tenant, Widget
from service.web.owner.guard import owner_api
from service.web.requests import json_response, read_body, service_of
from service.widget_settings import WidgetSettings

MAX_GRACE_HOURS = 24 * 30


class TenantName(BaseModel):
    """A tenant in a list."""

    widget_id: str
    name: str


class TenantList(BaseModel):
    """All tenants, by name; the demonstration's own last, and never the studio's."""

    tenants: list[TenantName]


class KeyFacts(BaseModel):
    """A valid key, of which only the last characters are known."""

    id: int
    kind: str
    hint: str
    created_at: datetime
    expires_at: datetime | None


class TenantFacts(TenantName):
    """One tenant; `settings` are those of its widget that differ from the defaults."""

    origins: list[str]
    settings: dict[str, Any]
    keys: list[KeyFacts]


class Look(schema.Incoming):
    """All settings of a widget; omitted ones get their defaults."""

    settings: WidgetSettings


class KeyRequest(schema.Incoming):
    """A request for a new public key. The tenant's others expire after `grace_hours`, or never if it is None."""

    grace_hours: int | None = None


class CreatedKey(BaseModel):
    """A new key, which is shown only once."""

    api_key: str
    keys: list[KeyFacts]


@owner_api
async def list_tenants(request: Request) -> Response:
    """The tenants by name."""
    found = [
        (tenant, widget)
        for tenant, widget in await service_of(request).store.read(list_widgets)
        if not (demonstration.is_own(tenant) and tenant.name == demonstration.STUDIO_NAME)
    ]
    found.sort(key=lambda pair: demonstration.is_own(pair[0]))
    names = [TenantName(widget_id=widget.id, name=tenant.name) for tenant, widget in found]
    return json_response(TenantList(tenants=names))


@owner_api
async def read_tenant(request: Request) -> Response:
    """One tenant with its widget's settings and its keys."""
    return await _facts(request, *await tenant_of(request))


@owner_api
async def set_look(request: Request) -> Response:
    """Set the look of a tenant's window, as `tenant set --look` does."""
    tenant, _ = await tenant_of(request)
    settings = (await read_body(request, Look)).settings
    changes = dict.fromkeys(WidgetSettings.model_fields) | settings.model_dump(exclude_none=True)
    return await _facts(request, tenant, await service_of(request).store.set_widget(tenant.name, changes))


@owner_api
async def create_key(request: Request) -> Response:
    """Create a public key, as `key add` and `key rotate` do, and return it this once."""
    tenant, _ = await tenant_of(request)
    grace = (await read_body(request, KeyRequest)).grace_hours
    store = service_of(request).store
    if grace is None:
        _, api_key = await store.add_key(tenant.name)
    elif 0 <= grace <= MAX_GRACE_HOURS:
        _, api_key = await store.rotate_keys(tenant.name, grace=timedelta(hours=grace))
    else:
        raise errors.ValidationFailed([("grace_hours", f"must be 0 to {MAX_GRACE_HOURS}")])
    return json_response(CreatedKey(api_key=api_key, keys=_valid(await store.list_keys(tenant.name))))


async def tenant_of(request: Request) -> tuple[Tenant, Widget]:
    """The tenant in the path, and its widget. Raises NotFound."""
    found = await service_of(request).store.find_widget(request.path_params["widget_id"])
    if found is None:
        raise errors.NotFound("no such tenant", detail="There is no such tenant.")
    widget, tenant = found
    return tenant, widget


async def _facts(request: Request, tenant: Tenant, widget: Widget) -> Response:
    keys = _valid(await service_of(request).store.list_keys(tenant.name))
    return json_response(
        TenantFacts(widget_id=widget.id, name=tenant.name, origins=tenant.origins, settings=widget.settings, keys=keys)
    )


def _valid(keys: Sequence[Key]) -> list[KeyFacts]:
    now = datetime.now(UTC)
    return [
        KeyFacts(id=key.id, kind=key.kind, hint=key.hint, created_at=key.created_at, expires_at=key.expires_at)
        for key in keys
        if key.revoked_at is None and (key.expires_at is None or key.expires_at > now)
    ]
