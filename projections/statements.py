"""SQL that is compiled once and then sent as it is: a command and a GET run a handful of tiny statements each, for
which SQLAlchemy's own work per execution would cost several times what the database needs."""

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Delete,
    Dialect,
    Insert,
    Select,
    Table,
    Update,
    and_,
    bindparam,
    delete,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningUpdate

Row = dict[str, Any]
_Converters = list[tuple[str, Callable[[Any], Any]]]

KEY = "key_"
"""What the parameters of a WHERE are called: this and the column's name, which stays free for the new value."""


class Query:
    """A statement that returns rows, which come as dictionaries by column name. Parameters go out as they are: text and
    numbers.

    It runs on the driver's own cursor, inside the connection's transaction, and raises the driver's own errors."""

    def __init__(self, statement: Select[Any] | ReturningUpdate[Any]) -> None:
        self._statement = statement
        self._columns = list(statement.exported_columns)
        # A column's name is a str of SQLAlchemy's own kind, which JSON encoders refuse as a key.
        self._names = tuple(str(column.name) for column in self._columns)
        self._compiled: dict[Dialect, tuple[str, Row]] = {}
        self._converters: dict[Dialect, _Converters] = {}

    def rows(self, connection: Connection, **parameters: Any) -> list[Row]:
        dialect = connection.dialect
        sql, constants = self._compiled.get(dialect) or self._compile(dialect)
        if not connection.in_transaction():
            connection.begin()  # SQLAlchemy would, and two SELECTs must see one state
        cursor = connection.connection.cursor()
        cursor.execute(sql, constants | parameters)
        rows = [dict(zip(self._names, row, strict=True)) for row in cursor.fetchall()]
        converters = self._converters.get(dialect)
        if converters is None:
            converters = self._convert(dialect, [column[1] for column in cursor.description or ()])
        cursor.close()
        for name, convert in converters:
            for row in rows:
                row[name] = convert(row[name])
        return rows

    def _compile(self, dialect: Dialect) -> tuple[str, Row]:
        compiled = self._statement.compile(dialect=dialect)
        constants = {name: value for name, value in compiled.params.items() if value is not None}
        self._compiled[dialect] = (str(compiled), constants)
        return self._compiled[dialect]

    def _convert(self, dialect: Dialect, codes: list[Any]) -> _Converters:
        """How values come in; ``codes`` are the driver's own for the columns' types, known once there is a result."""
        types = [column.type.dialect_impl(dialect) for column in self._columns]
        found = [type_.result_processor(dialect, code) for type_, code in zip(types, codes, strict=True)]
        self._converters[dialect] = _known(zip(self._names, found, strict=True))
        return self._converters[dialect]


class Write:
    """An INSERT, UPDATE or DELETE on one table, executed for one row of parameters or for many."""

    def __init__(self, statement: Insert | Update | Delete, table: Table, dialect: Dialect) -> None:
        self._sql = str(statement.compile(dialect=dialect))
        types = [(column.name, column.type.dialect_impl(dialect)) for column in table.c]
        self._converters = _known((name, type_.bind_processor(dialect)) for name, type_ in types)

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        sent = [self._converted(row) for row in rows]
        connection.exec_driver_sql(self._sql, sent if len(sent) > 1 else sent[0])

    def _converted(self, row: Row) -> Row:
        changed = {name: convert(row[name]) for name, convert in self._converters if name in row}
        return row | changed


@cache
def upsert(dialect: Dialect, table: Table) -> Write:
    """Insert a whole row, or put it in the place of the one with its primary key."""
    insert = _insert(dialect, table)
    replaced = {column.name: insert.excluded[column.name] for column in table.c if not column.primary_key}
    return Write(insert.on_conflict_do_update(index_elements=list(table.primary_key), set_=replaced), table, dialect)


@cache
def patch(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> Write:
    """Set ``columns`` of the row with a primary key."""
    values: dict[str, Any] = {name: bindparam(name) for name in columns}
    keys = (column.name for column in table.primary_key)
    return Write(update(table).where(matches(table, keys)).values(values), table, dialect)


@cache
def drop(dialect: Dialect, table: Table, columns: tuple[str, ...]) -> Write:
    """Delete the rows whose ``columns`` have the given values."""
    return Write(delete(table).where(matches(table, columns)), table, dialect)


def matches(table: Table, columns: Iterable[str]) -> ColumnElement[bool]:
    """That each of the columns equals the parameter ``KEY`` + its name."""
    return and_(*(table.c[name] == bindparam(KEY + name) for name in columns))


def _insert(dialect: Dialect, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if dialect.name == "sqlite" else postgresql.insert(table)


def _known(converters: Iterable[tuple[str, Callable[[Any], Any] | None]]) -> _Converters:
    return [(name, convert) for name, convert in converters if convert is not None]
