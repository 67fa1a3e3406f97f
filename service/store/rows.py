"""Rows of the tables as records."""

from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Executable, Row, Table
from sqlalchemy.ext.asyncio import AsyncConnection

from service.store.records import Key, Tenant, Turn, Widget
from service.store.tables import keys, messages, tenants, widgets

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

TABLES: dict[type[object], Table] = {Tenant: tenants, Key: keys, Widget: widgets, Turn: messages}


def to_record(kind: type[Record], row: Row[Any]) -> Record:
    """The record that a row holds, maybe beside others."""
    table = TABLES[kind]
    return kind(**{each.name: row._mapping[table.c[each.name]] for each in fields(kind)})


async def fetch_record(db: AsyncConnection, kind: type[Record], statement: Executable) -> Record | None:
    """The first row that a statement gives."""
    row = (await db.execute(statement)).first()
    return to_record(kind, row) if row else None
