"""The database as the rest of the service sees it: each method is one transaction of the functions beside this file.

What a request calls is done or fails within eight seconds. What the operator's commands and the sweep of old data call
takes as long as there is data, and as many transactions. What goes wrong in the database is a StoreError;
StoreUnavailable means "not now". Times are aware UTC datetimes. What is returned and raised is in `records.py`.
"""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, Unpack

from sqlalchemy import Connection

from service.store import closing, conversations, counters, keys, running, tenants, turns, usage
from service.store.database import Database
from service.store.meter import Meter
from service.store.outbox import Outbox
from service.store.purge import delete_conversations, delete_usage, purge
from service.store.records import (
    DEFAULT_POOL_SIZE,
    Access,
    ConversationSummary,
    CutTurn,
    Followed,
    Key,
    Piece,
    Purged,
    Quota,
    QuotaSpent,
    QuotaState,
    Rating,
    Refusal,
    RunningTurn,
    Selection,
    Source,
    Status,
    StoreError,
    Tenant,
    TenantSettings,
    Turn,
    TurnLimits,
    TurnRequests,
    TurnStart,
    UsageGroup,
    UsageRow,
    UsageTotal,
    Widget,
)
from service.store.shared_files import SharedFiles

Result = TypeVar("Result")


class Store:
    """The database that a URL names. One per process. Raises ValueError when the URL names none that it can use."""

    def __init__(self, url: str, pool_size: int = DEFAULT_POOL_SIZE) -> None:
        self._database = Database(url, pool_size)
        self._processes = self._database.processes()
        self.outbox = Outbox(self._database)
        self.files = SharedFiles(self._database)
        self._pinging = asyncio.Lock()
        self._pinged_at = float("-inf")
        self._ping_error: StoreError | None = None

    @property
    def meter(self) -> Meter:
        """What hears of the database's work."""
        return self._database.meter

    async def migrate(self, tell: Callable[[float], None] = lambda done: None) -> None:
        """Make or upgrade the tables, as `Database.migrate`. Raises StoreError."""
        await self._database.migrate(tell)

    async def require_tables(self) -> None:
        """Return if the database has the tables that this release needs. Raises StoreError, which says what to do."""
        await self._database.require_tables()

    async def schema_version(self) -> int:
        """The schema version of the database: 0 if it has no tables yet, or is not even there. Raises StoreError."""
        return await self._database.schema_version()

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
        if not keys.KEY_PATTERN.fullmatch(api_key):
            return None
        return await self._database.read(lambda db: keys.find_access(db, api_key))

    async def find_widget(self, widget_id: str) -> tuple[Widget, Tenant] | None:
        """The widget of this id and whose it is, or None."""
        if not tenants.WIDGET_PATTERN.fullmatch(widget_id):
            return None
        return await self._database.read(lambda db: tenants.find_widget(db, widget_id))

    async def widget_ids(self, tenant_id: int) -> list[str]:
        """The ids of a tenant's widgets."""
        return await self._database.read(lambda db: tenants.widget_ids(db, tenant_id))

    async def lists_any(self, entries: Sequence[str]) -> bool:
        """Whether any tenant's origins have one of these entries: a CORS preflight has no key."""
        return bool(entries) and await self._database.read(lambda db: tenants.lists_any(db, entries))

    async def take(self, *quotas: Quota, now: float | None = None) -> list[QuotaState]:
        """Use one of each quota, in this order, as far as the first that is used up; that is then the last returned.

        `now`, in seconds, is the database's clock if not given: all processes share it, and setting one's own does not
        move it.
        """
        return await self._database.write(lambda db: counters.take(db, quotas, now))

    # Turns

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
        terms: TurnLimits | None = None,
        quotas: Sequence[Quota] = (),
        now: float | None = None,
    ) -> TurnStart:
        """Insert a running turn, in a new conversation if none is given, and read the history that goes before it.

        Before that, one of each quota is taken, as `take`; a repeated request takes none.

        The conversation is `subject`'s from now on; it may have been nobody's, never another's.

        The same request again gives the turn that is there, whoever asks first. `regenerate` hides the conversation's
        last turn, if it is one of `replaces` or those are not given; `finish_turn` shows it again if the new one breaks
        or ends without text. The history is the newest visible turns that have an answer, as many as `terms` let. What
        the answer may take is reserved of the day's budget; `now`, in seconds since 1970-01-01 UTC, is the database's
        clock if not given.

        Raises QuotaSpent or another Refusal, which has what was taken of the quotas, or Conflict when the tenant was
        removed; then no turn is written.
        """
        new = turns.NewTurn(
            tenant_id=tenant_id,
            message_id=message_id,
            conversation_id=conversation_id,
            question=question,
            regenerate=regenerate,
            replaces=replaces,
            model=model,
            writer=writer,
            subject=subject,
            terms=terms or TurnLimits(),
            quotas=quotas,
            at=_now(),
            now=now,
        )
        try:
            taken, begun = await self._database.write(lambda db: turns.begin_turn(db, new))
        except Refusal as refusal:
            if quotas:
                refusal.taken = await self.take(*quotas)  # with the rest of it, what was taken was undone
            raise
        if begun is None:
            raise QuotaSpent(taken)
        return replace(begun, taken=taken)

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
        """Close a turn that `writer` began, as `closing.close_turn`; its token counts are those of `usage_row`.

        Raises Conflict when the tenant was removed.
        """
        end = closing.Closing(message_id, writer, answer, status, code, usage_row, _now(), sources)
        return await self._database.write(lambda db: closing.close_turn(db, end))

    async def cut_turns(self, code: str, cut: Sequence[CutTurn]) -> None:
        """Close many turns at once as broken, when the process that writes them leaves.

        Nobody counted their tokens. What was recorded for a tenant that was removed meanwhile is left out.
        """
        at = _now()
        ends = [
            closing.Closing(each.message_id, each.writer, each.answer, "error", code, each.usage_row, at, each.sources)
            for each in cut
        ]

        def close_all(db: Connection) -> None:
            known = {row.message_id for row in usage.of_known_tenants(db, [each.usage_row for each in cut])}
            closing.close_turns(db, [end for end in ends if end.message_id in known])

        await self._database.write(close_all)

    async def discard_turn(self, message_id: uuid.UUID, usage_row: UsageRow, writer: str | None = None) -> None:
        """Take back a running turn that was never asked of the upstream, so that the same request may begin it anew."""
        await self._database.write(lambda db: closing.discard_turn(db, message_id, usage_row, writer, _now()))

    async def record(self, rows: Sequence[UsageRow]) -> None:
        """Record requests that began no turn. Those of a tenant that was removed meanwhile are left out."""
        await self._database.write(lambda db: usage.record(db, rows))

    # Running turns and the processes that write them

    async def enter(self) -> None:
        """Let this process be known by a name of its own before it begins turns; see `new_writer`."""
        self._processes.enter()

    def new_writer(self) -> str:
        """A name for the writer of one turn, which bears that of this process."""
        return f"{self._processes.name}:{uuid.uuid4().hex}"

    async def forget_lost_processes(self) -> None:
        """Clean up after processes that are gone and have no running turns any more."""
        self._processes.clean(await self._database.read(running.processes_that_write))

    async def checkpoint(self, alive: Sequence[uuid.UUID], kept: Sequence[Piece]) -> None:
        """Show that the turns in `alive` are being written, and keep what is new of their text."""
        await self._database.write(lambda db: running.checkpoint(db, alive, kept))

    async def requests_for(self, message_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, TurnRequests]:
        """What other processes ask of running turns, these among them: nothing of one that is missing here."""
        return await self._database.read(lambda db: running.requests_for(db, message_ids))

    async def follow_turn(self, message_id: uuid.UUID, piece: int = 0) -> Followed | None:
        """A turn and its text from the piece that begins there on. If it still runs, its writer learns that it is read.

        That piece is the last one that was read, which may have become longer since.
        """
        return await self._database.write(lambda db: running.follow_turn(db, message_id, piece))

    async def ask_to_stop(self, message_id: uuid.UUID) -> None:
        """Tell the process that writes a turn to end it."""
        await self._database.write(lambda db: running.ask_to_stop(db, message_id))

    async def heartbeats(self) -> dict[uuid.UUID, RunningTurn]:
        """The heartbeats of all running turns: one that stands still has lost its process. See `abandon`."""
        processes = self._processes
        return await self._database.read(lambda db: running.heartbeats(db, processes.name, processes.is_gone))

    async def abandon(self, message_id: uuid.UUID, beat: int) -> bool:
        """Close a running turn whose process is gone as `interrupted`, unless it shows life meanwhile."""
        return await self._database.write(lambda db: running.abandon(db, message_id, beat, _now()))

    # Conversations

    async def conversations(self, tenant_id: int, subject: str, newest: int) -> list[ConversationSummary]:
        """The `newest` conversations of a subject, the last used first."""
        return await self._database.read(lambda db: conversations.list_conversations(db, tenant_id, subject, newest))

    async def conversation(
        self, tenant_id: int, conversation_id: uuid.UUID, newest_turns: int = 200, subject: str | None = None
    ) -> list[Turn] | None:
        """The visible turns of a conversation, oldest first. None if the subject has no such conversation."""
        return await self._database.read(
            lambda db: conversations.visible_turns(db, tenant_id, conversation_id, subject, newest_turns)
        )

    async def delete_conversation(self, tenant_id: int, conversation_id: uuid.UUID, subject: str | None = None) -> bool:
        """Delete a conversation with all its turns; its usage stays. Returns whether there was one."""
        return await self._database.write(
            lambda db: conversations.delete_conversation(db, tenant_id, conversation_id, subject)
        )

    async def find_turn(self, tenant_id: int, message_id: uuid.UUID, subject: str | None = None) -> Turn | None:
        """One turn, hidden or not, or None."""
        return await self._database.read(lambda db: conversations.find_turn(db, tenant_id, message_id, subject))

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
        return await self._database.write(
            lambda db: conversations.rate_turn(db, tenant_id, message_id, subject, rating, comment)
        )

    # For the operator

    async def add_tenant(
        self, name: str, widget_settings: Mapping[str, Any] | None = None, **settings: Unpack[TenantSettings]
    ) -> tuple[Tenant, Widget, str]:
        """Make a tenant with one widget and one public key, which is returned and never told again.

        Raises NameTaken.
        """

        def add(db: Connection) -> tuple[Tenant, Widget, str]:
            tenant, widget = tenants.add_tenant(db, name, widget_settings or {}, settings)
            _, api_key = keys.insert_key(db, tenant.id, "public")
            return tenant, widget, api_key

        return await self._database.write(add)

    async def list_tenants(self) -> list[Tenant]:
        """All tenants, by name."""
        return await self._database.read(tenants.list_tenants)

    async def get_tenant(self, name: str) -> Tenant:
        """The tenant of this name. Raises TenantNotFound."""
        return await self._database.read(lambda db: tenants.get_tenant(db, name))

    async def set_tenant(self, name: str, **changes: Unpack[TenantSettings]) -> Tenant:
        """Change some settings of a tenant. Raises TenantNotFound."""
        if not changes:
            return await self.get_tenant(name)
        return await self._database.write(lambda db: tenants.set_tenant(db, name, changes))

    async def remove_tenant(self, name: str) -> None:
        """Delete a tenant with all that is its own: keys, widgets, conversations and usage. Raises TenantNotFound.

        The keys go first and the tenant last, in small steps; the same call finishes what was broken off.
        """
        tenant = await self._database.write(lambda db: tenants.close_tenant(db, name))
        await self.delete_conversations(name, Selection())
        await delete_usage(self._database, tenant.id)
        await self._database.write(lambda db: tenants.delete_tenant(db, tenant.id), patient=True)

    async def get_widget(self, name: str) -> Widget:
        """The widget of a tenant. Raises TenantNotFound."""
        return await self._database.read(lambda db: tenants.get_widget(db, name))

    async def set_widget(self, name: str, changes: Mapping[str, Any]) -> Widget:
        """Change some settings of a tenant's widget; None takes one away. Raises TenantNotFound."""
        return await self._database.write(lambda db: tenants.set_widget(db, name, changes))

    async def add_key(self, name: str, secret: bool = False, expires_at: datetime | None = None) -> tuple[Key, str]:
        """Make one more key. Returns it with its text, which is never told again. Raises TenantNotFound."""

        def add(db: Connection) -> tuple[Key, str]:
            return keys.insert_key(db, tenants.get_tenant(db, name).id, "secret" if secret else "public", expires_at)

        return await self._database.write(add)

    async def rotate_keys(self, name: str, grace: timedelta = timedelta(), secret: bool = False) -> tuple[Key, str]:
        """Make a new key and let the tenant's others of its kind expire after `grace`. Raises TenantNotFound."""
        return await self._database.write(lambda db: keys.rotate(db, name, "secret" if secret else "public", grace))

    async def revoke_key(self, name: str, key_id: int) -> Key:
        """Make a key invalid from now on. Raises TenantNotFound or KeyNotFound."""
        return await self._database.write(lambda db: keys.revoke(db, name, key_id))

    async def list_keys(self, name: str) -> list[Key]:
        """The keys of a tenant, oldest first, invalid ones too. Raises TenantNotFound."""
        return await self._database.read(lambda db: keys.list_keys(db, name))

    async def keys_last_used(self, name: str) -> dict[int, datetime]:
        """When each key of a tenant last asked a question, by the key's id. Raises TenantNotFound."""
        return await self._database.read(lambda db: keys.last_used(db, name), patient=True)

    async def usage(self, name: str | None, since: datetime, by: Sequence[UsageGroup] = ("day",)) -> list[UsageTotal]:
        """What a tenant used since then, in groups, or all tenants and nobody known. Raises TenantNotFound."""
        return await self._database.read(lambda db: usage.totals(db, name, since, by), patient=True)

    async def read(self, function: Callable[[Connection], Result]) -> Result:
        """What an operator's query finds, such as those of `transcripts.py`; it may take as long as there is data."""
        return await self._database.read(function, patient=True)

    async def export(self, name: str, selection: Selection) -> AsyncIterator[tuple[uuid.UUID, list[Turn]]]:
        """The conversations of a tenant with all their turns, replaced ones too. Raises TenantNotFound."""
        for conversation_id in await self._chosen(name, selection):
            if turns := await self._turns_of(conversation_id):
                yield conversation_id, turns

    async def delete_conversations(self, name: str, selection: Selection) -> int:
        """Delete conversations of a tenant, in small steps. Returns how many. Raises TenantNotFound."""
        return await delete_conversations(self._database, await self._chosen(name, selection))

    async def _chosen(self, name: str, selection: Selection) -> list[uuid.UUID]:
        def chosen(db: Connection) -> list[uuid.UUID]:
            return conversations.chosen(db, tenants.get_tenant(db, name), selection)

        return await self._database.read(chosen, patient=True)

    async def _turns_of(self, conversation_id: uuid.UUID) -> list[Turn]:
        return await self._database.read(lambda db: conversations.all_turns(db, conversation_id))

    def purge_steps(self, before: datetime | None) -> AsyncIterator[Purged]:
        """Purge step by step, and tell what each did; see `purge.purge`. Others may write between two."""
        return purge(self._database, before)

    async def purge(self, before: datetime | None) -> Purged:
        """All steps of a purge at once."""
        purged = Purged()
        async for step in self.purge_steps(before):
            purged += step
        return purged


@asynccontextmanager
async def open_store(url: str, pool_size: int = DEFAULT_POOL_SIZE, *, migrate: bool = True) -> AsyncIterator[Store]:
    """The database of this URL, closed at the end: its tables are made, or must be there. Raises StoreError."""
    store = Store(url, pool_size)
    try:
        await (store.migrate() if migrate else store.require_tables())
        yield store
    finally:
        await store.close()


def _now() -> datetime:
    return datetime.now(UTC)
