"""The database for the rest of the service: each method runs a function of the other modules here in a transaction.

Methods for requests finish or fail within eight seconds. Methods for the operator's commands and for purging take as
long and as many transactions as the data needs. All errors of the database are StoreErrors; StoreUnavailable means "not
now". Times are aware UTC datetimes. The records and errors are in `records.py`.
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
    """The database of a URL, one per process. Raises ValueError for an unusable URL."""

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
        """The hooks for measuring the database's work."""
        return self._database.meter

    async def migrate(self, report: Callable[[float], None] = lambda done: None) -> None:
        """Create or upgrade the tables, see `Database.migrate`. Raises StoreError."""
        await self._database.migrate(report)

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
        """Like `ping`, with the result of the last `seconds`, so that frequent calls cost nothing."""
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
        """The tenant and key for an API key. None if it is unknown, expired or revoked."""
        if not keys.KEY_PATTERN.fullmatch(api_key):
            return None
        return await self._database.read(lambda db: keys.find_access(db, api_key))

    async def find_widget(self, widget_id: str) -> tuple[Widget, Tenant] | None:
        """The widget with this id and its tenant, or None."""
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
        """Take one from each quota, in this order, up to the first that is used up, which is then the last one
        returned.

        `now`, in seconds, is the database's clock by default, which all processes share.
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
        limits: TurnLimits | None = None,
        quotas: Sequence[Quota] = (),
        now: float | None = None,
    ) -> TurnStart:
        """Insert a running turn, in a new conversation if none is given, and read its history.

        First, one is taken from each quota, like in `take`; a repeated request takes none.

        The conversation belongs to `subject` from now on; it must have had no owner or the same one.

        A repeated request returns the existing turn. `regenerate` hides the conversation's last turn if it is one of
        `replaces`, or if that is not given; `finish_turn` shows it again if the new one fails or has no text. The
        history is the newest visible turns with an answer, as many as `limits` allow. The most that the answer can use
        is reserved from the day's budget; `now`, in seconds since 1970-01-01 UTC, is the database's clock by default.

        Raises QuotaSpent or another Refusal, which has the state of the quotas, or Conflict if the tenant was removed;
        then no turn is written.
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
            limits=limits or TurnLimits(),
            quotas=quotas,
            at=_now(),
            now=now,
        )
        try:
            quota_states, start = await self._database.write(lambda db: turns.begin_turn(db, new))
        except Refusal as refusal:
            if quotas:
                refusal.quota_states = await self.take(*quotas)  # the rollback also undid what was taken
            raise
        if start is None:
            raise QuotaSpent(quota_states)
        return replace(start, quota_states=quota_states)

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
        """Close a turn that `writer` began, see `closing.close_turn`; its token counts are those of `usage_row`.

        Raises Conflict if the tenant was removed.
        """
        end = closing.Closing(message_id, writer, answer, status, code, usage_row, _now(), sources)
        return await self._database.write(lambda db: closing.close_turn(db, end))

    async def cut_turns(self, code: str, cut: Sequence[CutTurn]) -> None:
        """Close many turns at once as failed, when their process stops.

        Their tokens were not counted. Turns of a tenant that was removed meanwhile are left out.
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
        """Discard a running turn that was never sent to the upstream, so that the same request may begin it again."""
        await self._database.write(lambda db: closing.discard_turn(db, message_id, usage_row, writer, _now()))

    async def record(self, rows: Sequence[UsageRow]) -> None:
        """Record refused requests. Those of a tenant that was removed meanwhile are left out."""
        await self._database.write(lambda db: usage.record(db, rows))

    # Running turns and the processes that write them

    async def enter(self) -> None:
        """Give this process its own name before it begins turns; see `new_writer`."""
        self._processes.enter()

    def new_writer(self) -> str:
        """A name for the writer of one turn, which includes this process's name."""
        return f"{self._processes.name}:{uuid.uuid4().hex}"

    async def forget_lost_processes(self) -> None:
        """Clean up after dead processes without running turns."""
        self._processes.clean(await self._database.read(running.processes_that_write))

    async def checkpoint(self, alive: Sequence[uuid.UUID], new_pieces: Sequence[Piece]) -> None:
        """Store heartbeats for the turns in `alive`, and new pieces of text."""
        await self._database.write(lambda db: running.checkpoint(db, alive, new_pieces))

    async def requests_for(self, message_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, TurnRequests]:
        """Other processes' requests for these running turns; a turn without any is missing."""
        return await self._database.read(lambda db: running.requests_for(db, message_ids))

    async def follow_turn(self, message_id: uuid.UUID, piece: int = 0) -> Followed | None:
        """A turn and its text from this piece on. If it is still running, its writer learns that it has a reader.

        `piece` is the last one that was read, which may have grown since.
        """
        return await self._database.write(lambda db: running.follow_turn(db, message_id, piece))

    async def ask_to_stop(self, message_id: uuid.UUID) -> None:
        """Ask the process that writes a turn to end it."""
        await self._database.write(lambda db: running.ask_to_stop(db, message_id))

    async def heartbeats(self) -> dict[uuid.UUID, RunningTurn]:
        """The heartbeats of all running turns: one that stops has lost its process. See `abandon`."""
        processes = self._processes
        return await self._database.read(lambda db: running.heartbeats(db, processes.name, processes.is_gone))

    async def abandon(self, message_id: uuid.UUID, beat: int) -> bool:
        """Close a running turn of a dead process as `interrupted`, unless its heartbeat has changed meanwhile."""
        return await self._database.write(lambda db: running.abandon(db, message_id, beat, _now()))

    # Conversations

    async def conversations(self, tenant_id: int, subject: str, newest: int) -> list[ConversationSummary]:
        """The `newest` conversations of a subject, the most recently used first."""
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
        """Store a visitor's rating, replacing an earlier one. Returns whether the subject has such a turn."""
        return await self._database.write(
            lambda db: conversations.rate_turn(db, tenant_id, message_id, subject, rating, comment)
        )

    # For the operator

    async def add_tenant(
        self, name: str, widget_settings: Mapping[str, Any] | None = None, **settings: Unpack[TenantSettings]
    ) -> tuple[Tenant, Widget, str]:
        """Create a tenant with one widget and one public key, whose text is returned only once.

        Raises NameTaken.
        """

        def add(db: Connection) -> tuple[Tenant, Widget, str]:
            tenant, widget = tenants.add_tenant(db, name, widget_settings or {}, settings)
            _, api_key = keys.insert_key(db, tenant.id, "public")
            return tenant, widget, api_key

        return await self._database.write(add)

    async def list_tenants(self) -> list[Tenant]:
        """All tenants, ordered by name."""
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
        """Delete a tenant with its keys, widgets, conversations and usage. Raises TenantNotFound.

        The keys are deleted first and the tenant last, in small steps; an interrupted call can be repeated.
        """
        tenant = await self._database.write(lambda db: tenants.close_tenant(db, name))
        await self.delete_conversations(name, Selection())
        await delete_usage(self._database, tenant.id)
        await self._database.write(lambda db: tenants.delete_tenant(db, tenant.id), patient=True)

    async def get_widget(self, name: str) -> Widget:
        """The widget of a tenant. Raises TenantNotFound."""
        return await self._database.read(lambda db: tenants.get_widget(db, name))

    async def set_widget(self, name: str, changes: Mapping[str, Any]) -> Widget:
        """Change some settings of a tenant's widget; None removes one. Raises TenantNotFound."""
        return await self._database.write(lambda db: tenants.set_widget(db, name, changes))

    async def add_key(self, name: str, secret: bool = False, expires_at: datetime | None = None) -> tuple[Key, str]:
        """Create another key. Returns it with its text, which is shown only once. Raises TenantNotFound."""

        def add(db: Connection) -> tuple[Key, str]:
            return keys.insert_key(db, tenants.get_tenant(db, name).id, "secret" if secret else "public", expires_at)

        return await self._database.write(add)

    async def rotate_keys(self, name: str, grace: timedelta = timedelta(), secret: bool = False) -> tuple[Key, str]:
        """Create a key and let the tenant's others of its kind expire after `grace`. Raises TenantNotFound."""
        return await self._database.write(lambda db: keys.rotate(db, name, "secret" if secret else "public", grace))

    async def revoke_key(self, name: str, key_id: int) -> Key:
        """Make a key invalid from now on. Raises TenantNotFound or KeyNotFound."""
        return await self._database.write(lambda db: keys.revoke(db, name, key_id))

    async def list_keys(self, name: str) -> list[Key]:
        """The keys of a tenant, oldest first, including invalid ones. Raises TenantNotFound."""
        return await self._database.read(lambda db: keys.list_keys(db, name))

    async def keys_last_used(self, name: str) -> dict[int, datetime]:
        """When each key of a tenant last asked a question, by the key's id. Raises TenantNotFound."""
        return await self._database.read(lambda db: keys.last_used(db, name), patient=True)

    async def usage(self, name: str | None, since: datetime, by: Sequence[UsageGroup] = ("day",)) -> list[UsageTotal]:
        """The usage of a tenant since then, in groups, or of all tenants and unknown ones. Raises TenantNotFound."""
        return await self._database.read(lambda db: usage.totals(db, name, since, by), patient=True)

    async def read(self, function: Callable[[Connection], Result]) -> Result:
        """Run an operator's query, such as those of `transcripts.py`, without a deadline."""
        return await self._database.read(function, patient=True)

    async def export(self, name: str, selection: Selection) -> AsyncIterator[tuple[uuid.UUID, list[Turn]]]:
        """The conversations of a tenant with all their turns, including replaced ones. Raises TenantNotFound."""
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
        """Purge step by step, and yield the result of each; see `purge.purge`. Others can write in between."""
        return purge(self._database, before)

    async def purge(self, before: datetime | None) -> Purged:
        """Run all steps of a purge."""
        purged = Purged()
        async for step in self.purge_steps(before):
            purged += step
        return purged


@asynccontextmanager
async def open_store(url: str, pool_size: int = DEFAULT_POOL_SIZE, *, migrate: bool = True) -> AsyncIterator[Store]:
    """The database of this URL. Its tables are created if necessary, or must exist. Raises StoreError."""
    store = Store(url, pool_size)
    try:
        await (store.migrate() if migrate else store.require_tables())
        yield store
    finally:
        await store.close()


def _now() -> datetime:
    return datetime.now(UTC)
