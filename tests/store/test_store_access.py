"""Tenants, their keys and widgets, and the access that a key gives."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from databases import begin, has_spent, used
from databases import store as store
from databases import tenant as tenant
from service.access.visitors import visitor_id
from service.store.database import Database
from service.store.dialects import is_sqlite
from service.store.records import KeyNotFound, NameTaken, Tenant, TenantNotFound
from service.store.store import Store
from service.store.tenants import LISTED_ORIGIN

pytestmark = pytest.mark.each_database


async def test_a_new_tenant_has_a_key_a_widget_and_limits(store: Store) -> None:
    tenant, widget, api_key = await store.add_tenant("shop", {"title": "Hi"}, origins=["https://shop.test"])

    access = await store.find_access(api_key)
    assert access is not None
    assert access.tenant == tenant == await store.get_tenant("shop")
    assert access.key.kind == "public"
    assert access.key.hint == api_key[-4:]
    assert api_key.startswith("a4_pub_")
    assert await store.find_widget(widget.id) == (widget, tenant)
    assert widget.settings == {"title": "Hi"}
    limits = (tenant.rate_per_minute, tenant.visitor_rate_per_minute, tenant.visitor_streams, tenant.tokens_per_day)
    assert limits == (6000, 1200, 0, 10_000_000)
    assert tenant.created_at.utcoffset() == timedelta()


async def test_a_key_cannot_be_read_from_the_database_or_a_log(store: Store) -> None:
    tenant, _, api_key = await store.add_tenant("shop")

    assert api_key not in repr(await store.list_keys("shop"))
    assert tenant.visitor_salt.hex() not in repr(tenant)
    assert repr(tenant.visitor_salt) not in repr(tenant)


@pytest.mark.parametrize(
    "odd", ["", "x", "clé", "a4_pub_", "a4_pub_\0", "a4_pub_" + "A" * 32, "a4_pub_" + "ä" * 32, "\ud800", "A" * 100_000]
)
async def test_a_malformed_key_is_unknown(store: Store, odd: str) -> None:
    assert await store.find_access(odd) is None


async def test_a_nearly_correct_key_is_unknown(store: Store) -> None:
    _, _, api_key = await store.add_tenant("shop")

    for wrong in (api_key[:-1], f"{api_key}A", api_key.upper(), f'"{api_key}"', f" {api_key}", f"{api_key}\n"):
        assert await store.find_access(wrong) is None


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_tenants_records_are_made_once_and_again_after_a_change(store: Store) -> None:
    """So that thousands of open streams share them."""
    _, _, api_key = await store.add_tenant("shop")
    first, second = [await store.find_access(api_key) for _ in range(2)]
    await store.set_tenant("shop", rate_per_minute=5)
    changed = await store.find_access(api_key)

    assert first is second
    assert changed is not None
    assert changed.tenant.rate_per_minute == 5


@pytest.mark.parametrize("odd", ["", "wgt_", "wgt_\0", "wgt_" + "A" * 16, "' OR 1=1 --", "\ud800"])
async def test_a_malformed_widget_id_is_unknown(store: Store, odd: str) -> None:
    assert await store.find_widget(odd) is None


async def test_a_revoked_key_no_longer_works(store: Store) -> None:
    _, _, api_key = await store.add_tenant("shop")
    [key] = await store.list_keys("shop")

    revoked = await store.revoke_key("shop", key.id)

    assert await store.find_access(api_key) is None
    assert revoked.revoked_at is not None
    assert (await store.revoke_key("shop", key.id)).revoked_at == revoked.revoked_at


async def test_a_key_works_until_it_expires(store: Store, tenant: Tenant) -> None:
    now = datetime.now(UTC)
    _, fresh = await store.add_key("shop", expires_at=now + timedelta(hours=1))
    _, stale = await store.add_key("shop", expires_at=now)

    assert await store.find_access(fresh) is not None
    assert await store.find_access(stale) is None


async def test_a_rotated_key_works_for_the_grace_period_and_other_kinds_are_unaffected(store: Store) -> None:
    _, _, old = await store.add_tenant("shop")
    _, secret = await store.add_key("shop", secret=True)

    _, new = await store.rotate_keys("shop", grace=timedelta(hours=1))
    assert [await store.find_access(key) is not None for key in (old, new, secret)] == [True, True, True]

    key, newest = await store.rotate_keys("shop")
    assert [await store.find_access(each) is not None for each in (old, new, newest, secret)] == [
        False,
        False,
        True,
        True,
    ]
    assert key.expires_at is None
    assert secret.startswith("a4_sec_")


async def test_rotating_never_prolongs_a_key(store: Store, tenant: Tenant) -> None:
    soon = datetime.now(UTC) + timedelta(minutes=1)
    key, _ = await store.add_key("shop", expires_at=soon)

    await store.rotate_keys("shop", grace=timedelta(days=1))

    assert {each.id: each.expires_at for each in await store.list_keys("shop")}[key.id] == soon


async def test_a_tenant_cannot_revoke_another_tenants_key(store: Store, tenant: Tenant) -> None:
    _, _, api_key = await store.add_tenant("other")
    [key] = await store.list_keys("other")

    with pytest.raises(KeyNotFound, match="shop.*no key"):
        await store.revoke_key("shop", key.id)
    assert await store.find_access(api_key) is not None


async def test_a_name_is_unique(store: Store, tenant: Tenant) -> None:
    with pytest.raises(NameTaken, match="'shop'"):
        await store.add_tenant("shop")

    assert await store.list_tenants() == [tenant]
    assert len(await store.list_keys("shop")) == 1


async def test_only_the_given_settings_change(store: Store, tenant: Tenant) -> None:
    changed = await store.set_tenant("shop", model="large", tokens_per_day=0)

    assert (changed.model, changed.tokens_per_day) == ("large", 0)
    assert (changed.origins, changed.rate_per_minute) == (tenant.origins, tenant.rate_per_minute)
    assert await store.set_tenant("shop") == changed
    assert (await store.set_tenant("shop", model=None)).model is None


async def test_a_widgets_settings_are_merged_and_removed(store: Store) -> None:
    await store.add_tenant("shop", {"title": "Hi", "color": "#123456"})

    await store.set_widget("shop", {"title": None, "suggestions": ["Prices?", "¿Qué tal? 🎉"]})

    assert (await store.get_widget("shop")).settings == {"color": "#123456", "suggestions": ["Prices?", "¿Qué tal? 🎉"]}


async def test_an_origin_is_listed_as_long_as_a_tenant_lists_it(store: Store) -> None:
    await store.add_tenant("a", origins=["https://a.test", "https://both.test", "https://a.test"])
    await store.add_tenant("b", origins=["https://both.test"])
    await store.add_tenant("c")

    async def listed() -> list[str]:
        return [name for name in ("a", "both", "new") if await store.lists_any([f"https://{name}.test"])]

    assert await listed() == ["a", "both"]
    assert await store.lists_any(["https://other.test", "https://a.test"])
    assert not await store.lists_any([])
    await store.set_tenant("a", model="large")
    assert await listed() == ["a", "both"]
    await store.set_tenant("a", origins=["https://new.test"])
    assert await listed() == ["both", "new"]
    await store.remove_tenant("b")
    assert await listed() == ["new"]


async def test_a_change_to_origins_by_another_process_applies_at_once(
    database_url: str, store: Store, tenant: Tenant
) -> None:
    other = Store(database_url)
    await other.set_tenant("shop", origins=["https://moved.test"])
    await other.close()

    assert await store.lists_any(["https://moved.test"])
    assert not await store.lists_any(["https://shop.test"])


async def test_a_listed_origin_is_found_with_an_index(database_url: str) -> None:
    database = Database(database_url)
    await database.migrate()
    query = LISTED_ORIGIN.params(entries=["https://a.test", "*"]).compile(compile_kwargs={"literal_binds": True})

    def explain(db: Connection) -> str:
        if not is_sqlite(db):
            db.exec_driver_sql("SET LOCAL enable_seqscan = off")  # which a table of few rows is worth
        explaining = "EXPLAIN QUERY PLAN" if is_sqlite(db) else "EXPLAIN"
        return "\n".join(str(row) for row in db.exec_driver_sql(f"{explaining} {query}"))

    plan = await database.write(explain)
    await database.close()

    assert re.search(r"SEARCH origins USING .*INDEX|Index (Only )?Scan using origins_pkey", plan), plan


async def test_a_removed_tenant_leaves_nothing_behind(store: Store, tenant: Tenant) -> None:
    _, widget, api_key = await store.add_tenant("gone")
    gone = await store.get_tenant("gone")
    start = await begin(store, gone)
    await store.record([used(gone)])

    await store.remove_tenant("gone")

    assert await store.find_access(api_key) is None
    assert await store.find_widget(widget.id) is None
    assert await store.conversation(gone.id, start.turn.conversation_id) is None
    assert await store.list_tenants() == [tenant]
    again, _, _ = await store.add_tenant("gone")
    assert again.id != gone.id
    assert await has_spent(store, again, 0)
    assert await store.usage("gone", datetime(2020, 1, 1, tzinfo=UTC)) == []


async def test_an_unknown_name_is_in_the_error(store: Store) -> None:
    with pytest.raises(TenantNotFound, match="'nobody'"):
        await store.get_tenant("nobody")
    with pytest.raises(TenantNotFound, match="'nobody'"):
        await store.set_tenant("nobody", model="large")
    with pytest.raises(TenantNotFound, match="'nobody'"):
        await store.remove_tenant("nobody")
    with pytest.raises(TenantNotFound, match="'nobody'"):
        await store.set_widget("nobody", {})
    with pytest.raises(TenantNotFound, match="'nobody'"):
        await store.add_key("nobody")


async def test_a_visitor_is_the_same_within_one_tenant_only(store: Store, tenant: Tenant) -> None:
    other, _, _ = await store.add_tenant("other")

    assert visitor_id(tenant, "192.0.2.1") == visitor_id(tenant, "192.0.2.1")
    assert visitor_id(tenant, "192.0.2.1") != visitor_id(tenant, "192.0.2.2")
    assert visitor_id(tenant, "192.0.2.1") != visitor_id(other, "192.0.2.1")
    assert len(visitor_id(tenant, "192.0.2.1")) == 32


async def test_an_ipv6_visitor_is_a_network_and_an_ipv4_one_an_address(store: Store, tenant: Tenant) -> None:
    assert visitor_id(tenant, "2001:db8:0:1::1") == visitor_id(tenant, "2001:db8:0:1:ffff::2")
    assert visitor_id(tenant, "2001:db8:0:1::1") != visitor_id(tenant, "2001:db8:0:2::1")
    assert visitor_id(tenant, "::ffff:192.0.2.1") == visitor_id(tenant, "192.0.2.1")
    assert visitor_id(tenant, "::ffff:192.0.2.1") != visitor_id(tenant, "::ffff:192.0.2.2")


@pytest.mark.parametrize("odd", ["", "unix:", "testclient", "fe80::1%eth0", "\ud800"])
async def test_any_other_kind_of_address_is_a_visitor_too(store: Store, tenant: Tenant, odd: str) -> None:
    assert visitor_id(tenant, odd) == visitor_id(tenant, odd) != visitor_id(tenant, "192.0.2.1")
