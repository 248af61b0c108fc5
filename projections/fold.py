"""Events become rows: applied in memory first, then written in bulk, inside the caller's transaction."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import batched
from typing import Any

from sqlalchemy import Connection, Dialect, Table, bindparam, update

from domain.aggregate import DomainEvent
from projections import statements
from projections.changes import Change, Drop, Patch, Put, Row
from projections.statements import KEY, Write
from projections.tables import positions
from projections.views import VIEWS

Recorded = tuple[int, DomainEvent]
BATCH = 5_000


def fold(connection: Connection, recorded: Sequence[Recorded]) -> None:
    """Bring every view up to the last of these events (each with its log position, in the log's order)."""
    if not recorded:
        return
    write(connection, changes_of(recorded, frozenset(VIEWS)))
    _advance(connection.dialect).execute(connection, [{"reached": recorded[-1][0]}])


def rebuild(connection: Connection, recorded: Iterable[Recorded], views: Collection[str] | None = None) -> None:
    """Empty the views (all, or these) and fold the whole log into them again. ``recorded`` is read as it is needed."""
    chosen = frozenset(VIEWS if views is None else views)
    for table in (table for name in chosen for table in VIEWS[name].tables):
        connection.execute(table.delete())
    reached = 0
    for batch in batched(recorded, BATCH):
        write(connection, changes_of(batch, chosen))
        reached = batch[-1][0]
    rows = [{"view": name, "position": reached, "parked_reason": None} for name in sorted(chosen)]
    statements.upsert(connection.dialect, positions).execute(connection, rows)


def write(connection: Connection, changes: Iterable[Change]) -> None:
    """Make the tables what they would be after these changes, one after the other."""
    pending: defaultdict[Table, _Pending] = defaultdict(_Pending)
    for change in changes:
        pending[change.table].add(change)
    for table, ending in pending.items():
        ending.flush(connection, table)


def changes_of(recorded: Iterable[Recorded], views: frozenset[str]) -> Iterator[Change]:
    for position, event in recorded:
        for name in _listeners(type(event), views):
            yield from VIEWS[name].changes(position, event)


@cache
def _listeners(event: type[DomainEvent], views: frozenset[str]) -> list[str]:
    return [name for name, view in VIEWS.items() if name in views and issubclass(event, view.listens_to)]


@cache
def _advance(dialect: Dialect) -> Write:
    """Views move forward only; one that is parked stays where it is."""
    behind = positions.c.position < bindparam("reached")
    statement = update(positions).where(behind, positions.c.parked_reason.is_(None))
    return Write(statement.values(position=bindparam("reached")), positions, dialect)


class _Pending:
    """What becomes of one table: its drops, then whole rows, then patches of rows that are there already."""

    def __init__(self) -> None:
        self._drops: list[dict[str, str]] = []
        self._rows: dict[tuple[Any, ...], Row] = {}
        self._patches: dict[tuple[Any, ...], Row] = {}

    def add(self, change: Change) -> None:
        match change:
            case Put(table, row):
                key = tuple([row[column.name] for column in table.primary_key])
                self._patches.pop(key, None)
                self._rows[key] = dict(row)
            case Patch(_, key, values):
                held = self._rows.get(key)
                if held is None:
                    held = self._patches.setdefault(key, {})
                held.update(values)
            case Drop(_, where):
                self._drop(dict(where))

    def _drop(self, where: dict[str, str]) -> None:
        """Patches of dropped rows may stay: they come after the drops and then find no row."""
        gone = [key for key, row in self._rows.items() if all(row[name] == value for name, value in where.items())]
        for key in gone:
            del self._rows[key]
        self._drops.append(where)

    def flush(self, connection: Connection, table: Table) -> None:
        dialect = connection.dialect
        for columns, rows in _grouped(_keyed(drop) for drop in self._drops):
            names = tuple(name.removeprefix(KEY) for name in columns)
            statements.drop(dialect, table, names).execute(connection, rows)
        if self._rows:
            statements.upsert(dialect, table).execute(connection, list(self._rows.values()))
        keys = [column.name for column in table.primary_key]
        patches = (values | _keyed(dict(zip(keys, key, strict=True))) for key, values in self._patches.items())
        for columns, rows in _grouped(patches):
            names = tuple(name for name in columns if not name.startswith(KEY))
            statements.patch(dialect, table, names).execute(connection, rows)


def _keyed(where: Row) -> Row:
    return {KEY + name: value for name, value in where.items()}


def _grouped(rows: Iterable[Row]) -> Iterable[tuple[tuple[str, ...], list[Row]]]:
    """Rows that name the same columns, together."""
    groups: defaultdict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[tuple(sorted(row))].append(row)
    return groups.items()
