"""Changes become rows: applied in memory first, then written in bulk, inside the caller's transaction."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Table

from projections import statements
from projections.changes import Change, Drop, Patch, Put, Row
from projections.statements import KEY

Key = tuple[Any, ...]
Columns = tuple[str, ...]
LIVE: Mapping[Table, Table] = {}


def write(connection: Connection, changes: Iterable[Change], into: Mapping[Table, Table] = LIVE) -> None:
    """Make the tables, or those in their place (``into``), what they would be after these changes, one after the
    other. A column that drops ask for must not be patched."""
    pending: dict[Table, _Pending] = {}
    for change in changes:
        table = change.table
        if table not in pending:
            pending[table] = _Pending(table)
        pending[table].add(change)
    for table, ending in pending.items():
        ending.flush(connection, into.get(table, table))


class _Pending:
    """What becomes of one table: its drops, then whole rows, then patches of rows that are there already."""

    def __init__(self, table: Table) -> None:
        self._key = [column.name for column in table.primary_key]
        self._drops: defaultdict[Columns, list[Row]] = defaultdict(list)
        self._rows = _Rows()
        self._patches: dict[Key, Row] = {}

    def add(self, change: Change) -> None:
        match change:
            case Put(_, row):
                key = tuple([row[name] for name in self._key])
                self._patches.pop(key, None)
                self._rows.put(key, dict(row))
            case Patch(_, key, values):
                if not self._rows.patch(key, values):
                    self._patches.setdefault(key, {}).update(values)
            case Drop(_, where):
                # Patches of dropped rows may stay: they come after the drops and then find no row.
                self._drops[tuple(where)].append(_keyed(where))
                for key in self._rows.drop(where):  # under their keys the table may hold rows that ``where`` misses
                    self._drops[tuple(self._key)].append(_keyed(dict(zip(self._key, key, strict=True))))

    def flush(self, connection: Connection, table: Table) -> None:
        dialect = connection.dialect
        for columns, rows in self._drops.items():
            statements.drop(dialect, table, columns).execute(connection, rows)
        if rows := self._rows.all():
            statements.upsert(dialect, table).execute(connection, rows)
        patches: defaultdict[Columns, list[Row]] = defaultdict(list)
        for key, values in self._patches.items():
            patches[tuple(sorted(values))].append(values | _keyed(dict(zip(self._key, key, strict=True))))
        for columns, rows in patches.items():
            statements.patch(dialect, table, columns).execute(connection, rows)


class _Rows:
    """Whole rows by primary key, in the order in which they came. Those that a drop means are found by an index, for a
    batch may hold thousands of rows and of drops."""

    def __init__(self) -> None:
        self._rows: dict[Key, Row] = {}
        self._indexes: dict[Columns, defaultdict[Key, set[Key]]] = {}

    def all(self) -> list[Row]:
        return list(self._rows.values())

    def put(self, key: Key, row: Row) -> None:
        self._remove(key)
        self._rows[key] = row
        for columns, index in self._indexes.items():
            index[_values(row, columns)].add(key)

    def patch(self, key: Key, values: Row) -> bool:
        """Whether there is such a row."""
        row = self._rows.get(key)
        if row is not None:
            row.update(values)
        return row is not None

    def drop(self, where: Mapping[str, Any]) -> list[Key]:
        """The keys of the rows that went."""
        columns = tuple(where)
        if columns not in self._indexes:
            self._indexes[columns] = self._indexed(columns)
        keys = list(self._indexes[columns].get(tuple(where.values()), ()))
        for key in keys:
            self._remove(key)
        return keys

    def _remove(self, key: Key) -> None:
        row = self._rows.pop(key, None)
        if row is not None:
            for columns, index in self._indexes.items():
                index[_values(row, columns)].discard(key)

    def _indexed(self, columns: Columns) -> defaultdict[Key, set[Key]]:
        index: defaultdict[Key, set[Key]] = defaultdict(set)
        for key, row in self._rows.items():
            index[_values(row, columns)].add(key)
        return index


def _values(row: Row, columns: Columns) -> Key:
    return tuple([row[name] for name in columns])


def _keyed(where: Mapping[str, Any]) -> Row:
    return {KEY + name: value for name, value in where.items()}
