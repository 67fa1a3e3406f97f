"""Rows of the tables as records."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Executable, Row, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.records import Key, Tenant, Turn, Widget
from service.store.tables import keys, messages, tenants, widgets

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

TABLES: dict[type[Any], Table] = {Tenant: tenants, Key: keys, Widget: widgets, Turn: messages}
COLUMNS = {kind: [table.c[field.name] for field in fields(kind)] for kind, table in TABLES.items()}


def to_record(kind: type[Record], row: Row[Any]) -> Record:
    """The record that a row holds, maybe beside others."""
    values = row._mapping
    return kind(*[values[column] for column in COLUMNS[kind]])


def to_turn(row: Row[*tuple[Any, ...]]) -> Turn:
    """The turn that a row of `turns.select_turns` holds, with its text as far as it was kept."""
    values = tuple(row)
    turn, kept = Turn(*values[:-1]), values[-1]
    return replace(turn, answer=kept) if kept else turn


async def fetch_record(db: AsyncConnection, kind: type[Record], statement: Executable) -> Record | None:
    """The first row that a statement gives."""
    row = (await db.execute(statement)).first()
    return to_record(kind, row) if row else None
