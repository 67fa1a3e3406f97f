"""The statements of a question, compiled once.

SQLAlchemy's work for each execution costs several times as much as SQLite's own: together a quarter of a question. On
SQLite, the driver therefore runs the compiled statements. On PostgreSQL, SQLAlchemy executes them.
"""

from collections.abc import Callable
from functools import cached_property, lru_cache
from typing import Any, Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, Executable, Select
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase
from sqlalchemy.types import TypeEngine

from service.store.dialects import file_of, is_sqlite

Process = Callable[[Any], Any]
Record = TypeVar("Record")

_SQLITE: Dialect = SQLiteDialect_pysqlite()


class _Compiled(NamedTuple):
    """A statement's text for SQLite, and how its parameters and columns are converted."""

    text: str
    parameters: list[Any]  # with the values that are part of the statement
    given: list[tuple[int, str, Process | None]]  # the place and name of each other parameter
    columns: list[tuple[int, Process]]  # those that the driver doesn't return as they are


class Prepared:
    """A statement, and the one for PostgreSQL if it is different."""

    def __init__(self, statement: Executable, postgresql: Executable | None = None) -> None:
        self._statement = statement
        self._postgresql = statement if postgresql is None else postgresql

    def execute(self, db: Connection, values: dict[str, Any]) -> None:
        """Run the statement, without its rows."""
        if is_sqlite(db):
            self._run(db, values)
        else:
            db.execute(self._postgresql, values)

    def first(self, db: Connection, values: dict[str, Any]) -> tuple[Any, ...] | None:
        """The first row, or None."""
        if not is_sqlite(db):
            return db.execute(self._postgresql, values).first()
        rows = self._run(db, values)
        return self._row(rows[0]) if rows else None

    def scalar(self, db: Connection, values: dict[str, Any]) -> Any:
        """The first column of the first row; None without a row."""
        row = self.first(db, values)
        return row and row[0]

    def all(self, db: Connection, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        """All rows."""
        if not is_sqlite(db):
            return [*db.execute(self._postgresql, values)]
        return [self._row(row) for row in self._run(db, values)]

    def _run(self, db: Connection, values: dict[str, Any]) -> list[tuple[Any, ...]]:
        text, parameters, given, _ = self._compiled
        parameters = parameters.copy()
        for place, name, process in given:
            parameters[place] = values[name] if process is None else process(values[name])
        return file_of(db).execute(text, parameters).fetchall()

    def _row(self, found: tuple[Any, ...]) -> tuple[Any, ...]:
        row = list(found)
        for place, process in self._compiled.columns:
            row[place] = process(row[place])
        return tuple(row)

    @cached_property
    def _compiled(self) -> _Compiled:
        compiled = self._statement.compile(dialect=_SQLITE)  # type: ignore[attr-defined]  # of ClauseElement
        assert isinstance(compiled, SQLCompiler)
        parameters: list[Any] = []
        given: list[tuple[int, str, Process | None]] = []
        for place, name in enumerate(compiled.positiontup or ()):
            bound = compiled.binds[name]
            process = _type_of(bound.type).bind_processor(_SQLITE)
            if bound.required:
                given.append((place, name, process))
                parameters.append(None)
            else:
                parameters.append(process(bound.value) if process else bound.value)
        assert isinstance(self._statement, Select | UpdateBase)
        columns: list[tuple[int, Process]] = [
            (place, process)
            for place, column in enumerate(self._statement.exported_columns)
            if (process := _type_of(column.type).result_processor(_SQLITE, None)) is not None
        ]
        return _Compiled(str(compiled), parameters, given, columns)


def _type_of(kind: TypeEngine[Any]) -> TypeEngine[Any]:
    return kind.dialect_impl(_SQLITE)


class PreparedLookup(Prepared, Generic[Record]):
    """A query for one record. Equal rows give the same record: `make` turns a row into it, and must not depend on
    anything else.

    The row itself is read every time, so a change is seen at once.
    """

    def __init__(self, query: Select[Any], make: Callable[[tuple[Any, ...]], Record], remembered: int) -> None:
        super().__init__(query)
        self._make = make
        self._made = lru_cache(remembered)(lambda found: make(self._row(found)))

    def find(self, db: Connection, values: dict[str, Any]) -> Record | None:
        if not is_sqlite(db):
            row = db.execute(self._postgresql, values).first()
            return self._make(row) if row else None
        rows = self._run(db, values)
        return self._made(rows[0]) if rows else None
