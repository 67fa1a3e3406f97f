"""The text of running turns is stored in pieces, and survives the end of their process."""

import asyncio
import multiprocessing
import os
import uuid
from datetime import UTC, datetime
from multiprocessing.connection import Connection

import pytest
from sqlalchemy import func, select, text, update

from databases import begin, extend_deadlines, finish, has_spent, used
from databases import store as store
from databases import tenant as tenant
from service.store.records import CutTurn, Piece, Tenant, Turn, TurnLimits, TurnStart
from service.store.store import Store
from service.store.tables import messages, pieces

pytestmark = pytest.mark.each_database

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


async def keep(store: Store, start: TurnStart, *texts: str, received: int = 0) -> None:
    position = 0
    for text_ in texts:
        await store.checkpoint([], [Piece(start.turn.number, position, text_, received)])
        position += len(text_)


async def found(store: Store, tenant: Tenant, start: TurnStart) -> Turn:
    turn = await store.find_turn(tenant.id, start.turn.id)
    assert turn is not None
    return turn


async def count_of_pieces(store: Store) -> int:
    return await store._database.read(lambda db: db.scalar(select(func.count()).select_from(pieces))) or 0


async def test_a_running_turn_has_its_pieces_in_order(store: Store, tenant: Tenant) -> None:
    start, other = await begin(store, tenant), await begin(store, tenant)
    texts = [f"{number} \U0001f600\u2028" for number in range(12)]
    await keep(store, start, *texts)
    await keep(store, other, "other")

    assert (await found(store, tenant, start)).answer == "".join(texts)
    (listed,) = await store.conversation(tenant.id, start.turn.conversation_id) or []
    assert (listed.answer, listed.status) == ("".join(texts), "running")
    repeated = await begin(store, tenant, message_id=start.turn.id)
    assert repeated.turn.answer == "".join(texts)


async def test_many_turns_are_checkpointed_in_one_statement(store: Store, tenant: Tenant) -> None:
    turns = [await begin(store, tenant) for _ in range(20)]
    await store.checkpoint([], [Piece(each.turn.number, 0, f"text {n}", n) for n, each in enumerate(turns)])
    assert [(await found(store, tenant, each)).answer for each in turns] == [f"text {n}" for n in range(20)]


async def test_a_repeated_checkpoint_replaces_the_same_piece(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)
    await keep(store, start, "Once ")
    await store.checkpoint([], [Piece(start.turn.number, 5, "upon", 3)])
    await store.checkpoint([], [Piece(start.turn.number, 5, "upon a time", 6)])
    assert (await found(store, tenant, start)).answer == "Once upon a time"


async def test_replaced_characters_keep_their_position_in_a_piece(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)
    await keep(store, start, "a\0b", "c\ud800d")
    assert (await found(store, tenant, start)).answer == "a\ufffdbc\ufffdd"


async def test_a_reader_at_another_process_gets_each_character_once(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)
    await keep(store, start, "Once ", "upon ")
    first = await store.follow_turn(start.turn.id)
    await store.checkpoint([], [Piece(start.turn.number, 5, "upon a ", 4)])
    await store.checkpoint([], [Piece(start.turn.number, 12, "time", 5)])
    assert first is not None
    second = await store.follow_turn(start.turn.id, first.piece)
    assert second is not None
    assert (first.position, first.text) == (0, "Once upon ")
    assert (second.position, second.text, second.piece) == (5, "upon a time", 12)


async def test_an_ended_turn_has_its_answer_and_no_pieces(store: Store, tenant: Tenant) -> None:
    done, cut, dropped = [await begin(store, tenant) for _ in range(3)]
    for each in (done, cut, dropped):
        await keep(store, each, "Half")
    await finish(store, tenant, done, "Half and half")
    await store.cut_turns("restarting", [CutTurn(cut.turn.id, None, "Half an", used(tenant, cut))])
    await store.discard_turn(dropped.turn.id, used(tenant, dropped))

    assert [(await found(store, tenant, each)).answer for each in (done, cut)] == ["Half and half", "Half an"]
    assert await count_of_pieces(store) == 0


async def test_no_piece_is_added_to_an_ended_or_deleted_turn(store: Store, tenant: Tenant) -> None:
    ended, deleted, running = [await begin(store, tenant) for _ in range(3)]
    await keep(store, deleted, "gone")
    await finish(store, tenant, ended, "")
    await store.delete_conversation(tenant.id, deleted.turn.conversation_id)
    late = [Piece(each.turn.number, 4, "late", 1) for each in (ended, deleted)]
    await store.checkpoint([], [*late, Piece(running.turn.number, 0, "text", 1)])

    assert (await found(store, tenant, ended)).answer == ""
    assert (await found(store, tenant, running)).answer == "text"
    assert await count_of_pieces(store) == 1


# Turns of dead processes


async def test_an_interrupted_turn_keeps_its_text_and_is_charged_what_was_received(
    store: Store, tenant: Tenant
) -> None:
    start = await begin(store, tenant, limits=TurnLimits(tokens=4200, answer_tokens=4096))
    await keep(store, start, "Once ", "upon ", received=30)

    assert await store.abandon(start.turn.id, beat=0)

    turn = await found(store, tenant, start)
    assert (turn.answer, turn.status, turn.code) == ("Once upon ", "error", "interrupted")
    assert await has_spent(store, tenant, 104 + 30)
    (total,) = await store.usage("shop", EPOCH, ["outcome"])
    assert (total.group[0], total.charged) == ("interrupted", 134)
    assert await count_of_pieces(store) == 0


async def test_the_thoughts_of_an_interrupted_turn_are_charged(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, limits=TurnLimits(tokens=4200, answer_tokens=4096))
    await store.checkpoint([], [Piece(start.turn.number, 0, "", 700)])
    await store.checkpoint([], [Piece(start.turn.number, 0, "", 900)])
    await store.abandon(start.turn.id, beat=0)
    assert (await found(store, tenant, start)).answer == ""
    assert await has_spent(store, tenant, 104 + 900)


async def test_a_turn_wrongly_taken_for_dead_is_charged_its_final_usage(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant, limits=TurnLimits(tokens=4200, answer_tokens=4096))
    await keep(store, start, "Once ", received=30)
    await store.abandon(start.turn.id, beat=0)
    assert await finish(store, tenant, start, "Once upon a time")
    assert (await found(store, tenant, start)).answer == "Once upon a time"
    assert await has_spent(store, tenant, 13)


async def test_an_interrupted_turn_of_an_earlier_release_is_charged_its_reservation(
    store: Store, tenant: Tenant
) -> None:
    start = await begin(store, tenant, limits=TurnLimits(tokens=300))
    as_then = update(messages).values(prompt_estimate=None, answer="as it kept it")
    await store._database.write(lambda db: db.execute(as_then).close())
    await store.abandon(start.turn.id, beat=0)
    assert (await found(store, tenant, start)).answer == "as it kept it"
    assert await has_spent(store, tenant, 300)


async def test_an_earlier_release_can_use_the_newer_tables(store: Store, tenant: Tenant) -> None:
    start = await begin(store, tenant)
    await keep(store, start, "Half")
    as_then = text("UPDATE messages SET answer = 'Whole', status = 'complete'")
    await store._database.write(lambda db: db.execute(as_then).close())
    assert (await found(store, tenant, start)).answer == "Whole"
    assert await store.delete_conversation(tenant.id, start.turn.conversation_id)
    assert await count_of_pieces(store) == 0


def _begin_and_wait(url: str, tenant: Tenant, pipe: Connection) -> None:
    """Begin a turn as a service does, report its id, and wait for the signal to end."""

    extend_deadlines(pytest.MonkeyPatch())

    async def run() -> None:
        store = Store(url)
        await store.enter()
        start = await begin(store, tenant, writer=store.new_writer())
        pipe.send(start.turn.id)
        pipe.recv()

    asyncio.run(run())


async def lost_turns(store: Store) -> list[uuid.UUID]:
    return [message_id for message_id, turn in (await store.heartbeats()).items() if turn.is_lost]


@pytest.fixture
def _spawned() -> multiprocessing.context.SpawnContext:
    return multiprocessing.get_context("spawn")


async def test_only_turns_of_a_killed_process_count_as_lost(
    database_url: str, store: Store, tenant: Tenant, _spawned: multiprocessing.context.SpawnContext
) -> None:
    await store.enter()
    mine = await begin(store, tenant, writer=store.new_writer())
    processes = []
    for _ in range(2):
        here, there = _spawned.Pipe()
        process = _spawned.Process(target=_begin_and_wait, args=(database_url, tenant, there))
        process.start()
        processes.append((process, here, await asyncio.to_thread(here.recv)))
    (killed, _, lost), (living, pipe, running) = processes
    assert await lost_turns(store) == []

    killed.kill()
    await asyncio.to_thread(killed.join)

    assert await lost_turns(store) == [lost]
    assert await store.abandon(lost, beat=0)
    await store.forget_lost_processes()
    assert await lost_turns(store) == []
    assert running in await store.heartbeats()
    assert mine.turn.id in await store.heartbeats()
    pipe.send("end")
    await asyncio.to_thread(living.join)


@pytest.mark.parametrize("writer", [None, "", "0123456789abcdef", "../../etc/passwd:x", "0123456789abcdef:x", "-:x"])
async def test_a_turn_whose_process_is_unknown_depends_on_its_heartbeat(
    store: Store, tenant: Tenant, writer: str | None
) -> None:
    await store.enter()
    await begin(store, tenant, writer=writer)
    assert await lost_turns(store) == []


@pytest.mark.parametrize("database_kind", ["sqlite"], indirect=True)
async def test_a_process_leaves_no_file_behind(store: Store, tenant: Tenant, database_url: str) -> None:
    directory = os.path.dirname(database_url.partition("///")[2])

    def locks() -> list[str]:
        return [name for name in os.listdir(directory) if "-process-" in name]

    dead = os.path.join(directory, "test.db-process-0123456789abcdef")
    with open(dead, "w"):
        pass
    await store.enter()
    assert len(locks()) == 2
    await store.forget_lost_processes()
    assert len(locks()) == 1
    await store.close()
    assert locks() == []
