"""The database's queries: tenants, keys, widgets, conversations, usage, and the limits that all processes share.

What a request calls is one short transaction, which is done or fails within eight seconds. What the operator's commands
and the sweep of old data call takes as long as there is data, and as many transactions. What goes wrong in the database
is a StoreError; StoreUnavailable means "not now". Times are aware UTC datetimes. What is returned and raised stands in
`records.py`.
"""

import asyncio
import hashlib
import re
import secrets
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Unpack

from sqlalchemy import (
    ColumnElement,
    Select,
    Table,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.counters import Counters
from service.store.database import Database
from service.store.pieces import DELETED, DROP, SINCE, id_values, keep, kept_text
from service.store.records import (
    DAY_SECONDS,
    INTERRUPTED,
    Access,
    Begun,
    ConversationSummary,
    CutTurn,
    Followed,
    Key,
    KeyKind,
    KeyNotFound,
    NameTaken,
    Piece,
    Purged,
    Quota,
    Rating,
    Reservation,
    Selection,
    Source,
    Status,
    StoreError,
    Taken,
    Tenant,
    TenantNotFound,
    TenantSettings,
    Terms,
    Turn,
    TurnRequests,
    UsageGroup,
    UsageRow,
    UsageTotal,
    Widget,
)
from service.store.rows import fetch_record, to_record, to_turn
from service.store.tables import (
    conversations,
    index_origins,
    keys,
    messages,
    origins,
    pieces,
    running,
    supposed,
    tenants,
    usage,
    widgets,
)
from service.store.turns import (
    check_replaced,
    check_streams,
    find_repeated,
    history_of,
    is_open,
    last_turn,
    owned_by,
    restore_replaced,
    select_turns,
    selected,
    touch_conversation,
    turns_of,
    written_by,
)
from service.store.usage import sum_up_some, usage_totals, usage_values
from service.upstream.tokens import estimate_tokens

PURGE_BATCH = 500
PAUSE_SECONDS = 0.02  # between two large steps, for those who wait to write
TITLE_CHARS = 200  # more than a title shows, so that white space may be taken out of it

LISTED_ORIGIN = select(origins.c.tenant_id).where(origins.c.origin.in_(bindparam("entries", expanding=True))).limit(1)

KEY_PREFIXES: dict[KeyKind, str] = {"public": "a4_pub_", "secret": "a4_sec_"}
KEY_PATTERN = re.compile(r"a4_(?:pub|sec)_[A-Za-z0-9_-]{32}")
WIDGET_PATTERN = re.compile(r"wgt_[A-Za-z0-9_-]{16}")


class Store:
    """All queries. One per process. Raises ValueError when the URL names no database that it can use."""

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self._counters = Counters(self._database)
        self._processes = self._database.processes()
        self._pinging = asyncio.Lock()
        self._pinged_at = float("-inf")
        self._ping_error: StoreError | None = None

    async def migrate(self) -> None:
        """Make or upgrade the tables. Safe when several processes start at once. Raises SchemaMismatch."""
        await self._database.migrate()

    async def ping(self) -> None:
        """Return if the database can be read and written. Raises StoreUnavailable or SchemaMismatch."""
        await self._database.ping()

    async def recent_ping(self, seconds: float = 1) -> None:
        """As `ping`, by what one found less than `seconds` ago: whoever asks often makes no work."""
        async with self._pinging:
            if time.monotonic() - self._pinged_at >= seconds:
                try:
                    await self._database.ping()
                    self._ping_error = None
                except StoreError as error:
                    self._ping_error = error
                self._pinged_at = time.monotonic()
        if self._ping_error is not None:
            raise type(self._ping_error)(str(self._ping_error))

    async def close(self) -> None:
        """Close all connections."""
        await self._database.close()
        self._processes.leave()

    # For a request

    async def find_access(self, api_key: str) -> Access | None:
        """The tenant and key that an API key stands for. None if it is unknown, expired or revoked."""
        if not KEY_PATTERN.fullmatch(api_key):
            return None
        valid = and_(keys.c.hash == _hash(api_key), _is_valid(_now()))
        async with self._database.reading() as db:
            row = (await db.execute(select(keys, tenants).join_from(keys, tenants).where(valid))).first()
        return Access(to_record(Tenant, row), to_record(Key, row)) if row else None

    async def find_widget(self, widget_id: str) -> tuple[Widget, Tenant] | None:
        """The widget of this id and whose it is, or None."""
        if not WIDGET_PATTERN.fullmatch(widget_id):
            return None
        query = select(widgets, tenants).join_from(widgets, tenants).where(widgets.c.id == widget_id)
        async with self._database.reading() as db:
            row = (await db.execute(query)).first()
        return (to_record(Widget, row), to_record(Tenant, row)) if row else None

    async def widget_ids(self, tenant_id: int) -> list[str]:
        """The ids of a tenant's widgets."""
        async with self._database.reading() as db:
            return list(await db.scalars(select(widgets.c.id).where(widgets.c.tenant_id == tenant_id)))

    async def lists_any(self, entries: Sequence[str]) -> bool:
        """Whether any tenant's origins have one of these entries: a CORS preflight has no key.

        One look-up in an index, however many tenants there are.
        """
        if not entries:
            return False
        async with self._database.reading() as db:
            return await db.scalar(LISTED_ORIGIN, {"entries": entries}) is not None

    async def take(self, *quotas: Quota, now: float | None = None) -> list[Taken]:
        """Use one of each quota, in this order, as far as the first that is used up; that is then the last told.

        A window, at most a day, begins with what is first taken of it. `now`, in seconds, is the database's clock if
        not given: all processes share it, and setting one's own does not move it.
        """
        taken: list[Taken] = []
        async with self._database.writing() as db:
            for quota in quotas:
                taken.append(await self._counters.take(db, quota, now))
                if not taken[-1].granted:
                    break
        return taken

    # Conversations

    async def begin_turn(
        self,
        tenant_id: int,
        message_id: uuid.UUID,
        *,
        conversation_id: uuid.UUID | None,
        question: str,
        regenerate: bool = False,
        replaces: Sequence[uuid.UUID] | None = None,
        model: str | None = None,
        writer: str | None = None,
        subject: str | None = None,
        terms: Terms | None = None,
        now: float | None = None,
    ) -> Begun:
        """Insert a running turn, in a new conversation if none is given, and read the history that goes before it.

        The conversation is `subject`'s from now on; it may have been nobody's, never another's.

        The same request again gives the turn that is there, whoever asks first. `regenerate` hides the conversation's
        last turn, if it is one of `replaces` or those are not given; `finish_turn` shows it again if the new one breaks
        or ends without text. The history is the newest visible
        turns that have an answer, as many as `terms` let. What the answer may take is reserved of the day's budget;
        `now`, in seconds since 1970-01-01 UTC, is the database's clock if not given.

        Raises ConversationNotFound, ConversationChanged, MessageIdTaken, TooManyStreams, BudgetSpent, or Conflict when
        the tenant was removed; then nothing is written.
        """
        at, terms = _now(), terms or Terms()
        conversation = conversation_id or uuid.uuid4()
        values = {
            "id": message_id,
            "conversation_id": conversation,
            "question": question,
            "status": "running",
            "model": model,
            "visitor": terms.visitor,
            "writer": writer,
            "replaces": last_turn(conversation) if regenerate else None,
            "created_at": at,
            "updated_at": at,
        }
        once = self._database.insert(messages).values(values).on_conflict_do_nothing(index_elements=["id"])
        async with self._database.writing() as db:
            if conversation_id is not None:
                await touch_conversation(db, tenant_id, conversation_id, subject, at)
            if terms.visitor is not None and terms.streams:
                await self._hold(db, terms.visitor)
            # The unique row decides between two who send the same at once, so it goes before all that hangs on it.
            turn = await fetch_record(db, Turn, once.returning(messages))
            if turn is None:
                repeated = await find_repeated(db, tenant_id, message_id, conversation_id, subject, question)
                return Begun(repeated, [], is_new=False)
            if conversation_id is None:
                opened = {"id": conversation, "tenant_id": tenant_id, "subject": subject}
                await db.execute(insert(conversations).values(**opened, created_at=at, updated_at=at))
            replaced = await check_replaced(db, turn, replaces)
            if replaced is not None:
                await db.execute(update(messages).where(messages.c.id == replaced).values(hidden=True))
            await check_streams(db, terms)
            history = await history_of(db, turn, terms)
            tokens = terms.tokens + estimate_tokens(text for each in history for text in (each.question, each.answer))
            changes = {
                "reserved": tokens,
                "prompt_estimate": tokens - terms.answer_tokens,
                "replaces": replaced,
            }
            reserving = update(messages).where(messages.c.id == message_id).values(changes)
            turn = to_record(Turn, (await db.execute(reserving.returning(messages))).one())
            # The tenant's one row goes last: all who ask it wait for each other from here to the commit.
            reservation = await self._counters.reserve(db, tenant_id, tokens, terms.tokens_per_day, now)
            return Begun(turn, history, is_new=True, reservation=reservation)

    async def _hold(self, db: AsyncConnection, name: str) -> None:
        """Let nobody else hold what is called so until the transaction ends. SQLite has one writer anyway."""
        if not self._database.is_sqlite:
            await db.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(name, 0))))

    async def finish_turn(
        self,
        message_id: uuid.UUID,
        answer: str,
        *,
        status: Status,
        code: str | None,
        usage_row: UsageRow,
        writer: str | None = None,
        sources: list[Source] | None = None,
    ) -> bool:
        """Close a turn that `writer` began and record what it used; its token counts are those of `usage_row`.

        Returns whether that was still to do. If the turn was closed before, nothing is written, so that a call whose
        outcome is not known can be made again; only `interrupted`, which others can but suppose, gives way. If the
        conversation was deleted meanwhile, only the usage is written.

        Raises Conflict when the tenant was removed.
        """
        now = _now()
        values = {
            "answer": answer,
            "sources": sources,
            "status": status,
            "code": code,
            "prompt_tokens": usage_row.prompt_tokens,
            "completion_tokens": usage_row.completion_tokens,
            "finished_at": now,
            "updated_at": now,
        }
        this = messages.c.id == message_id
        async with self._database.writing() as db:
            await _hold_conversation_of(db, this)
            mine = update(messages).where(this, written_by(writer), is_open)
            turn = await fetch_record(db, Turn, mine.values(values).returning(messages))
            if turn is None and await db.scalar(select(messages.c.id).where(this)) is not None:
                return False
            await self._settle_closed(db, [turn] if turn is not None else [], [usage_row])
        return turn is not None

    async def cut_turns(self, code: str, turns: Sequence[CutTurn]) -> None:
        """Close many turns at once as broken, by the rules of `finish_turn`, when the process that writes them leaves.

        Nobody counted their tokens. What was recorded for a tenant that was removed meanwhile is left out.
        """
        now = _now()
        these = messages.c.id.in_([turn.message_id for turn in turns])
        mine = messages.c.writer.is_not_distinct_from(bindparam("by"))
        one = update(messages).where(messages.c.id == bindparam("message"), mine, is_open)
        closing = one.values(
            answer=bindparam("text"),
            sources=bindparam("cited", type_=messages.c.sources.type),
            status="error",
            code=code,
            finished_at=now,
            updated_at=now,
        )
        async with self._database.writing() as db:
            # The conversations first, as in begin_turn, and in an order.
            held = select(conversations.c.id).where(
                conversations.c.id.in_(select(messages.c.conversation_id).where(these))
            )
            await db.execute(held.order_by(conversations.c.id).with_for_update())
            values = [
                {"message": turn.message_id, "by": turn.writer, "text": turn.answer, "cited": turn.sources}
                for turn in turns
            ]
            await db.execute(closing, values)
            found = [to_record(Turn, row) for row in await db.execute(select(messages).where(these))]
            closed_before = {turn.id for turn in found if turn.code != code}
            rows = [turn.usage_row for turn in turns if turn.message_id not in closed_before]
            closed = [turn for turn in found if turn.code == code]
            await self._settle_closed(db, closed, await _of_known_tenants(db, rows))

    async def _settle_closed(self, db: AsyncConnection, turns: Sequence[Turn], rows: Sequence[UsageRow]) -> None:
        """What follows when turns were closed: who takes the place of whom, and what their answers used.

        What was supposed of one before gives way: it is in the day's budget in place of what was reserved.
        """
        for turn in turns:
            await restore_replaced(db, turn)
        await db.execute(DROP, {"ended": [turn.number for turn in turns]})
        of_these = usage.c.message_id.in_([row.message_id for row in rows])
        gone = await db.execute(delete(usage).where(of_these, supposed).returning(usage.c.message_id, usage.c.charged))
        charged = {row.message_id: row.charged for row in gone}
        if rows:
            await db.execute(insert(usage), [usage_values(row) for row in rows])
        for row in rows:
            if row.reservation is not None and row.message_id in charged:
                row = replace(row, reservation=replace(row.reservation, tokens=charged[row.message_id]))
            await self._counters.settle(db, row)

    async def discard_turn(self, message_id: uuid.UUID, usage_row: UsageRow, writer: str | None = None) -> None:
        """Take back a running turn that was never asked of the upstream, so that the same request may begin it anew.

        What was asked in its place stands in the place of what it replaced itself.
        """
        this = messages.c.id == message_id
        async with self._database.writing() as db:
            await _hold_conversation_of(db, this)
            mine = delete(messages).where(this, written_by(writer), running)
            turn = await fetch_record(db, Turn, mine.returning(messages))
            if turn is not None:
                heirs = update(messages).where(messages.c.conversation_id == turn.conversation_id)
                await db.execute(heirs.where(messages.c.replaces == turn.id).values(replaces=turn.replaces))
                if turn.replaces is not None and not turn.hidden:
                    await db.execute(update(messages).where(messages.c.id == turn.replaces).values(hidden=False))
                its_conversation = conversations.c.id == turn.conversation_id
                is_empty = ~exists().where(messages.c.conversation_id == turn.conversation_id)
                await db.execute(delete(conversations).where(its_conversation, is_empty))
            await self._insert_usage(db, usage_row)

    # Running turns and the processes that write them

    async def enter(self) -> None:
        """Let this process be known by a name of its own before it begins turns; see `new_writer`."""
        self._processes.enter()

    def new_writer(self) -> str:
        """A name for the writer of one turn, which bears that of this process."""
        return f"{self._processes.name}:{uuid.uuid4().hex}"

    async def lost_turns(self) -> dict[uuid.UUID, int]:
        """The heartbeats of the running turns whose processes are gone for certain; see `abandon`."""
        others = ~messages.c.writer.startswith(f"{self._processes.name}:", autoescape=True)
        query = select(messages.c.id, messages.c.beat, messages.c.writer).where(running, others)
        async with self._database.reading() as db:
            rows = (await db.execute(query)).all()
        gone = {name for name in {_process_of(row.writer) for row in rows} if self._processes.is_gone(name)}
        return {row.id: row.beat for row in rows if _process_of(row.writer) in gone}

    async def forget_lost_processes(self) -> None:
        """Clean up after processes that are gone and have no running turns any more."""
        async with self._database.reading() as db:
            writers = await db.scalars(select(messages.c.writer).where(running))
            self._processes.clean({_process_of(writer) for writer in writers})

    async def checkpoint(self, alive: Sequence[uuid.UUID], kept: Sequence[Piece]) -> None:
        """Show that the turns in `alive` are being written, and keep what is new of their text."""
        async with self._database.writing() as db:
            if alive:
                beat = update(messages).where(messages.c.id.in_(alive), running)
                await db.execute(beat.values(beat=messages.c.beat + 1))
            if kept:
                await keep(db, kept)

    async def requests_for(self, message_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, TurnRequests]:
        """What other processes ask of running turns, these among them: nothing of one that is missing here."""
        asked = or_(messages.c.stop_asked, messages.c.followed > 0)
        query = select(messages.c.id, messages.c.followed, messages.c.stop_asked).where(running, asked)
        async with self._database.reading() as db:
            requests = {row.id: TurnRequests(row.followed, row.stop_asked) for row in await db.execute(query)}
            dialect = db.dialect.name
            for deleted in await db.scalars(DELETED[dialect], id_values(dialect, message_ids)):
                requests[uuid.UUID(str(deleted))] = TurnRequests(followed=0, stop_asked=True)
        return requests

    async def follow_turn(self, message_id: uuid.UUID, piece: int = 0) -> Followed | None:
        """A turn and its text from the piece that begins there on. If it still runs, its writer learns that it is read.

        That piece is the last one that was read, which may have become longer since.
        """
        this = messages.c.id == message_id
        looked = update(messages).where(this, running).values(followed=messages.c.followed + 1).returning(messages)
        async with self._database.writing() as db:
            turn = await fetch_record(db, Turn, looked)
            if turn is None:
                turn = await fetch_record(db, Turn, select(messages).where(this))
                return Followed(turn, 0, turn.answer, 0) if turn else None
            kept = (await db.execute(SINCE, {"turn": turn.number, "piece": piece})).all()
        if not kept:
            return Followed(turn, 0, turn.answer, piece)
        return Followed(turn, kept[0].position, "".join(each.text for each in kept), kept[-1].position)

    async def ask_to_stop(self, message_id: uuid.UUID) -> None:
        """Tell the process that writes a turn to end it."""
        async with self._database.writing() as db:
            await db.execute(update(messages).where(messages.c.id == message_id, running).values(stop_asked=True))

    async def heartbeats(self) -> dict[uuid.UUID, int]:
        """The heartbeats of all running turns: one that stands still has lost its process."""
        async with self._database.reading() as db:
            rows = await db.execute(select(messages.c.id, messages.c.beat).where(running))
            return {row.id: row.beat for row in rows}

    async def abandon(self, message_id: uuid.UUID, beat: int) -> bool:
        """Close a running turn whose process is gone as `interrupted`, unless it shows life meanwhile.

        Its answer is what was kept of it, and what is charged an estimate of that and its prompt: nobody knows how far
        the provider got.
        """
        now = _now()
        closed = (
            update(messages)
            .where(messages.c.id == message_id, messages.c.beat == beat, running)
            .values(
                answer=func.coalesce(kept_text, messages.c.answer),
                status="error",
                code=INTERRUPTED,
                finished_at=now,
                updated_at=now,
            )
            .returning(messages)
        )
        async with self._database.writing() as db:
            turn = await fetch_record(db, Turn, closed)
            if turn is None:
                return False
            received = await db.scalar(select(func.max(pieces.c.received)).where(pieces.c.turn == turn.number))
            whose = select(conversations.c.tenant_id, conversations.c.subject)
            owner = (await db.execute(whose.where(conversations.c.id == turn.conversation_id))).one()
            reserved = turn.reserved or 0
            seconds = max((now - turn.created_at).total_seconds(), 0)
            used = UsageRow(
                at=turn.created_at,
                tenant_id=owner.tenant_id,
                subject=owner.subject,
                outcome=INTERRUPTED,
                conversation_id=turn.conversation_id,
                message_id=turn.id,
                visitor=turn.visitor,
                model=turn.model,
                charged=reserved if turn.prompt_estimate is None else turn.prompt_estimate + (received or 0),
                reservation=Reservation(reserved, day=int(turn.created_at.timestamp() // DAY_SECONDS)),
                duration_ms=round(seconds * 1000),
            )
            await self._settle_closed(db, [turn], [used])
        return True

    async def record(self, rows: Sequence[UsageRow]) -> None:
        """Record requests that began no turn. Those of a tenant that was removed meanwhile are left out."""
        async with self._database.writing() as db:
            values = [usage_values(row) for row in await _of_known_tenants(db, rows)]
            if values:
                await db.execute(insert(usage), values)

    async def _insert_usage(self, db: AsyncConnection, row: UsageRow) -> None:
        await db.execute(insert(usage).values(usage_values(row)))
        await self._counters.settle(db, row)

    async def conversations(self, tenant_id: int, subject: str, newest: int) -> list[ConversationSummary]:
        """The `newest` conversations of a subject, the last used first."""
        first_question = (
            select(func.substr(messages.c.question, 1, TITLE_CHARS))
            .where(messages.c.conversation_id == conversations.c.id, messages.c.hidden.is_(False))
            .order_by(messages.c.number)
            .limit(1)
            .scalar_subquery()
        )
        query = (
            select(conversations.c.id, first_question, conversations.c.updated_at)
            .where(conversations.c.tenant_id == tenant_id, conversations.c.subject == subject)
            .order_by(conversations.c.updated_at.desc(), conversations.c.id)
            .limit(newest)
        )
        async with self._database.reading() as db:
            return [ConversationSummary(row[0], row[1] or "", row[2]) for row in await db.execute(query)]

    async def conversation(
        self, tenant_id: int, conversation_id: uuid.UUID, newest_turns: int = 200, subject: str | None = None
    ) -> list[Turn] | None:
        """The visible turns of a conversation, oldest first. None if the subject has no such conversation."""
        query = (
            turns_of(tenant_id, subject)
            .where(messages.c.conversation_id == conversation_id, messages.c.hidden.is_(False))
            .order_by(messages.c.number.desc())
            .limit(newest_turns)
        )
        async with self._database.reading() as db:
            rows = (await db.execute(query)).all()
        return [to_turn(row) for row in reversed(rows)] or None

    async def delete_conversation(self, tenant_id: int, conversation_id: uuid.UUID, subject: str | None = None) -> bool:
        """Delete a conversation with all its turns; its usage stays. Returns whether there was one."""
        async with self._database.writing() as db:
            result = await db.execute(
                delete(conversations).where(conversations.c.id == conversation_id, owned_by(tenant_id, subject))
            )
        return result.rowcount > 0

    async def find_turn(self, tenant_id: int, message_id: uuid.UUID, subject: str | None = None) -> Turn | None:
        """One turn, hidden or not, or None."""
        async with self._database.reading() as db:
            row = (await db.execute(turns_of(tenant_id, subject).where(messages.c.id == message_id))).first()
        return to_turn(row) if row else None

    async def rate_turn(
        self,
        tenant_id: int,
        message_id: uuid.UUID,
        *,
        rating: Rating | None,
        comment: str | None = None,
        subject: str | None = None,
    ) -> bool:
        """Keep a visitor's rating in place of an earlier one. Returns whether the subject has such a turn."""
        # By the turn's one conversation: SQLite would look through all that are in a list.
        is_own = exists().where(conversations.c.id == messages.c.conversation_id, owned_by(tenant_id, subject))
        async with self._database.writing() as db:
            result = await db.execute(
                update(messages).where(messages.c.id == message_id, is_own).values(rating=rating, comment=comment)
            )
        return result.rowcount > 0

    async def purge(self, before: datetime) -> Purged:
        """Delete the conversations that nobody used since, in small steps, and the counters of past days.

        Usage, which is the bill, becomes one sum a day of what has key, origin, model and outcome in common.
        """
        deleted = batch = await self.purge_some(before)
        while batch == PURGE_BATCH:
            batch = await self.purge_some(before)
            deleted += batch
        summed = batch = await self.sum_up_usage(before)
        while batch:
            batch = await self.sum_up_usage(before)
            summed += batch
        return Purged(conversations=deleted, counters=await self.purge_counters(), usage=summed)

    async def sum_up_usage(self, before: datetime) -> int:
        """One small step of `purge`: put sums in place of rows of a past day. Returns how many rows those were.

        0 when there are none left. Others may write before the next step.
        """
        async with self._database.writing_unhurried() as db:
            await self._hold(db, "the sums of usage")
            for tenant_id in [None, *await db.scalars(select(tenants.c.id))]:
                if rows := await sum_up_some(db, tenant_id, before):
                    break
        await asyncio.sleep(PAUSE_SECONDS)
        return rows

    async def purge_counters(self) -> int:
        """Delete the counters of past days and windows. Returns how many there were."""
        async with self._database.writing() as db:
            return await self._counters.purge(db)

    async def purge_some(self, before: datetime) -> int:
        """One small step of `purge`: how many conversations it deleted, at most `PURGE_BATCH`."""
        old = select(conversations.c.id).where(conversations.c.updated_at < before)
        return await self._delete_some(conversations, old)

    async def _delete_some(self, table: Table, chosen: Select[Any]) -> int:
        """Delete at most `PURGE_BATCH` of the rows whose ids are chosen, and let others write before the next step."""
        async with self._database.writing() as db:
            deleted = (await db.execute(delete(table).where(table.c.id.in_(chosen.limit(PURGE_BATCH))))).rowcount
        await asyncio.sleep(PAUSE_SECONDS)
        return deleted

    # For the operator

    async def add_tenant(
        self, name: str, widget_settings: Mapping[str, Any] | None = None, **settings: Unpack[TenantSettings]
    ) -> tuple[Tenant, Widget, str]:
        """Make a tenant with one widget and one public key, which is returned and never told again.

        Raises NameTaken.
        """
        values = {**settings, "name": name, "visitor_salt": secrets.token_bytes(32), "created_at": _now()}
        async with self._database.writing() as db:
            statement = self._database.insert(tenants).values(values).on_conflict_do_nothing(index_elements=["name"])
            tenant = await fetch_record(db, Tenant, statement.returning(tenants))
            if tenant is None:
                raise NameTaken(f"There is a tenant {name!r} already.")
            widget = Widget(f"wgt_{secrets.token_urlsafe(12)}", tenant.id, dict(widget_settings or {}))
            await db.execute(insert(widgets).values(asdict(widget)))
            _, api_key = await _insert_key(db, tenant.id, "public", expires_at=None)
            await db.run_sync(index_origins, tenant.id, tenant.origins)
        return tenant, widget, api_key

    async def list_tenants(self) -> list[Tenant]:
        """All tenants, by name."""
        async with self._database.reading() as db:
            rows = await db.execute(select(tenants).order_by(tenants.c.name))
            return [to_record(Tenant, row) for row in rows]

    async def get_tenant(self, name: str) -> Tenant:
        """The tenant of this name. Raises TenantNotFound."""
        async with self._database.reading() as db:
            return await _tenant(db, name)

    async def set_tenant(self, name: str, **changes: Unpack[TenantSettings]) -> Tenant:
        """Change some settings of a tenant. Raises TenantNotFound."""
        if not changes:
            return await self.get_tenant(name)
        async with self._database.writing() as db:
            statement = update(tenants).where(tenants.c.name == name).values(**changes).returning(tenants)
            tenant = await fetch_record(db, Tenant, statement)
            if tenant is None:
                raise _tenant_not_found(name)
            if "origins" in changes:
                await db.run_sync(index_origins, tenant.id, tenant.origins)
        return tenant

    async def remove_tenant(self, name: str) -> None:
        """Delete a tenant with all that is its own: keys, widgets, conversations and usage. Raises TenantNotFound.

        The keys go first and the tenant last, in small steps; the same call finishes what was broken off.
        """
        async with self._database.writing() as db:
            tenant = await _tenant(db, name)
            await db.execute(delete(keys).where(keys.c.tenant_id == tenant.id))
        await self.delete_conversations(name, Selection())
        while await self._delete_some(usage, select(usage.c.id).where(usage.c.tenant_id == tenant.id)):
            pass
        async with self._database.writing_unhurried() as db:
            await db.execute(delete(tenants).where(tenants.c.id == tenant.id))

    async def get_widget(self, name: str) -> Widget:
        """The widget of a tenant. Raises TenantNotFound."""
        async with self._database.reading() as db:
            return await _widget(db, name)

    async def set_widget(self, name: str, changes: Mapping[str, Any]) -> Widget:
        """Change some settings of a tenant's widget; None takes one away. Raises TenantNotFound."""
        async with self._database.writing() as db:
            widget = await _widget(db, name, lock=True)
            merged = {**widget.settings, **changes}
            settings = {setting: value for setting, value in merged.items() if value is not None}
            await db.execute(update(widgets).where(widgets.c.id == widget.id).values(settings=settings))
        return Widget(widget.id, widget.tenant_id, settings)

    async def add_key(self, name: str, secret: bool = False, expires_at: datetime | None = None) -> tuple[Key, str]:
        """Make one more key. Returns it with its text, which is never told again. Raises TenantNotFound."""
        async with self._database.writing() as db:
            tenant = await _tenant(db, name)
            return await _insert_key(db, tenant.id, "secret" if secret else "public", expires_at)

    async def rotate_keys(self, name: str, grace: timedelta = timedelta(), secret: bool = False) -> tuple[Key, str]:
        """Make a new key and let the tenant's others of its kind expire after `grace`. Raises TenantNotFound."""
        now = _now()
        async with self._database.writing() as db:
            tenant = await _tenant(db, name)
            kind: KeyKind = "secret" if secret else "public"
            await db.execute(
                update(keys)
                .where(keys.c.tenant_id == tenant.id, keys.c.kind == kind)
                .where(or_(keys.c.expires_at.is_(None), keys.c.expires_at > now + grace))
                .values(expires_at=now + grace)
            )
            return await _insert_key(db, tenant.id, kind, expires_at=None)

    async def revoke_key(self, name: str, key_id: int) -> Key:
        """Make a key invalid from now on. Raises TenantNotFound or KeyNotFound."""
        async with self._database.writing() as db:
            tenant = await _tenant(db, name)
            statement = update(keys).where(keys.c.id == key_id, keys.c.tenant_id == tenant.id)
            revoked = {"revoked_at": func.coalesce(keys.c.revoked_at, _now())}
            key = await fetch_record(db, Key, statement.values(revoked).returning(keys))
        if key is None:
            raise KeyNotFound(f"The tenant {name!r} has no key {key_id}.")
        return key

    async def list_keys(self, name: str) -> list[Key]:
        """The keys of a tenant, oldest first, invalid ones too. Raises TenantNotFound."""
        async with self._database.reading() as db:
            tenant = await _tenant(db, name)
            rows = await db.execute(select(keys).where(keys.c.tenant_id == tenant.id).order_by(keys.c.id))
            return [to_record(Key, row) for row in rows]

    async def keys_last_used(self, name: str) -> dict[int, datetime]:
        """When each key of a tenant last asked a question, by the key's id. Raises TenantNotFound."""
        async with self._database.reading_unhurried() as db:
            tenant = await _tenant(db, name)
            query = select(usage.c.key_id, func.max(usage.c.at, type_=usage.c.at.type))
            rows = await db.execute(
                query.where(usage.c.tenant_id == tenant.id, usage.c.key_id.is_not(None)).group_by(usage.c.key_id)
            )
            return {row[0]: row[1] for row in rows}

    async def usage(self, name: str, since: datetime, by: Sequence[UsageGroup] = ("day",)) -> list[UsageTotal]:
        """What a tenant used since then, in groups. Raises TenantNotFound."""
        async with self._database.reading_unhurried() as db:
            tenant = await _tenant(db, name)
            return await usage_totals(db, tenant.id, since, by)

    async def export(self, name: str, selection: Selection) -> AsyncIterator[tuple[uuid.UUID, list[Turn]]]:
        """The conversations of a tenant with all their turns, replaced ones too. Raises TenantNotFound."""
        async with self._database.reading_unhurried() as db:
            tenant = await _tenant(db, name)
            found = await db.scalars(
                select(conversations.c.id)
                .where(selected(tenant, selection))
                .order_by(conversations.c.created_at, conversations.c.id)
            )
            ids = list(found)
        for conversation_id in ids:
            query = select_turns.where(messages.c.conversation_id == conversation_id)
            async with self._database.reading() as db:
                rows = (await db.execute(query.order_by(messages.c.number))).all()
            if rows:
                yield conversation_id, [to_turn(row) for row in rows]

    async def delete_conversations(self, name: str, selection: Selection) -> int:
        """Delete conversations of a tenant, in small steps. Returns how many. Raises TenantNotFound."""
        async with self._database.reading_unhurried() as db:
            tenant = await _tenant(db, name)
            ids = list(await db.scalars(select(conversations.c.id).where(selected(tenant, selection))))
        deleted = 0
        for start in range(0, len(ids), PURGE_BATCH):
            some = select(conversations.c.id).where(conversations.c.id.in_(ids[start : start + PURGE_BATCH]))
            deleted += await self._delete_some(conversations, some)
        return deleted


@asynccontextmanager
async def open_store(url: str) -> AsyncIterator[Store]:
    """The database of this URL with its tables made or upgraded, closed at the end. Raises StoreError, ValueError."""
    store = Store(url)
    try:
        await store.migrate()
        yield store
    finally:
        await store.close()


async def _hold_conversation_of(db: AsyncConnection, turn: ColumnElement[bool]) -> None:
    """Mark a turn's conversation as used before the turn is changed, as begin_turn does.

    Two that lock in different orders may wait for each other.
    """
    its = select(messages.c.conversation_id).where(turn).scalar_subquery()
    await db.execute(update(conversations).where(conversations.c.id == its).values(updated_at=_now()))


async def _of_known_tenants(db: AsyncConnection, rows: Sequence[UsageRow]) -> list[UsageRow]:
    known = select(tenants.c.id).where(tenants.c.id.in_({row.tenant_id for row in rows}))
    there = {None, *await db.scalars(known)}
    return [row for row in rows if row.tenant_id in there]


def _process_of(writer: str | None) -> str:
    return (writer or "").rpartition(":")[0]


def _now() -> datetime:
    return datetime.now(UTC)


def _hash(api_key: str) -> str:
    # A key that is nearly right has quite another hash, so the time of a look-up tells nothing of it.
    return hashlib.sha256(api_key.encode()).hexdigest()


def _is_valid(now: datetime) -> ColumnElement[bool]:
    return and_(keys.c.revoked_at.is_(None), or_(keys.c.expires_at.is_(None), keys.c.expires_at > now))


async def _insert_key(
    db: AsyncConnection, tenant_id: int, kind: KeyKind, expires_at: datetime | None
) -> tuple[Key, str]:
    api_key = KEY_PREFIXES[kind] + secrets.token_urlsafe(24)
    values = {
        "tenant_id": tenant_id,
        "hash": _hash(api_key),
        "kind": kind,
        "hint": api_key[-4:],
        "created_at": _now(),
        "expires_at": expires_at,
    }
    row = (await db.execute(insert(keys).values(values).returning(keys))).one()
    return to_record(Key, row), api_key


async def _tenant(db: AsyncConnection, name: str) -> Tenant:
    tenant = await fetch_record(db, Tenant, select(tenants).where(tenants.c.name == name))
    if tenant is None:
        raise _tenant_not_found(name)
    return tenant


def _tenant_not_found(name: str) -> TenantNotFound:
    return TenantNotFound(f"There is no tenant {name!r}.")


async def _widget(db: AsyncConnection, name: str, lock: bool = False) -> Widget:
    query = select(widgets).join_from(widgets, tenants).where(tenants.c.name == name)
    widget = await fetch_record(db, Widget, query.with_for_update(of=widgets) if lock else query)
    if widget is None:
        raise _tenant_not_found(name)
    return widget
