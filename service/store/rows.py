"""Rows of the tables as records."""

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Executable, Row, Table, literal
from sqlalchemy.sql.schema import ScalarElementColumnDefault

from service.store.records import Key, Tenant, Turn, Widget
from service.store.tables import keys, messages, tenants, widgets

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Record = TypeVar("Record", bound="DataclassInstance")

TABLES: dict[type[Any], Table] = {Tenant: tenants, Key: keys, Widget: widgets, Turn: messages}
# What a statement selects or returns of which records are made, in the order of their fields.
COLUMNS = {kind: [table.c[field.name] for field in fields(kind)] for kind, table in TABLES.items()}


def defaults(table: Table) -> dict[str, ColumnElement[Any]]:
    """The default values of columns. SQLAlchemy adds them automatically, but not to an INSERT within a WITH."""
    return {
        column.name: literal(column.default.arg, column.type)
        for column in table.columns
        if isinstance(column.default, ScalarElementColumnDefault)
    }


def to_record(kind: type[Record], row: tuple[Any, ...], begin: int = 0) -> Record:
    """The record in a row's columns, from this position on."""
    return kind(*row[begin : begin + len(COLUMNS[kind])])


def to_turn(row: Row[*tuple[Any, ...]]) -> Turn:
    """The turn in a row of `turns.select_turns`, with the text of its checkpoints if it is running."""
    turn, kept = to_record(Turn, row), row[-1]
    return replace(turn, answer=kept) if kept else turn


def fetch_record(
    db: Connection, kind: type[Record], statement: Executable, values: dict[str, Any] | None = None
) -> Record | None:
    """The first row of a statement that selects or returns the COLUMNS of a kind of record."""
    row = db.execute(statement, values).first()
    return to_record(kind, row) if row else None
