"""An answer's sources are stored with its turn."""

import pytest

from databases import begin, finish, used
from databases import store as store
from databases import tenant as tenant
from service.store.records import CutTurn, Source, Tenant
from service.store.store import Store

pytestmark = pytest.mark.each_database

SOURCES: list[Source] = [
    {"title": "Opening hours : how we work", "url": "https://shop.test/hours?day=1#monday"},
    {"title": "shop.test", "url": "http://shop.test/öffnungszeiten"},
]


async def test_an_answer_keeps_its_sources_in_their_order(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)
    assert start.turn.sources is None

    await finish(store, tenant, start, sources=SOURCES)

    turn = await store.find_turn(tenant.id, start.turn.id)
    assert turn is not None and turn.sources == SOURCES
    (listed,) = await store.conversation(tenant.id, start.turn.conversation_id) or []
    assert listed.sources == SOURCES


async def test_an_answer_that_cites_nothing_has_no_sources(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)
    await finish(store, tenant, start)
    turn = await store.find_turn(tenant.id, start.turn.id)
    assert turn is not None and turn.sources is None


async def test_answers_cut_off_together_each_keep_their_own_sources(store: Store, tenant: Tenant) -> None:
    cited, plain = await begin(store, tenant), await begin(store, tenant)

    await store.cut_turns(
        "restarting",
        [
            CutTurn(cited.turn.id, None, "Half", used(tenant, cited), SOURCES),
            CutTurn(plain.turn.id, None, "Half", used(tenant, plain)),
        ],
    )

    turns = [await store.find_turn(tenant.id, each.turn.id) for each in (cited, plain)]
    assert [turn and turn.sources for turn in turns] == [SOURCES, None]
