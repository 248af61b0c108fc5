"""Tables in which the log is folded anew, beside those that serve, and the swap at the end.

They are TEMPORARY tables of one connection: nobody else sees them, nothing of them is left when the process is killed,
and filling them takes no lock. Where the live tables turn out to differ is found without a lock too. The swap then only
replaces those rows, in one transaction, so that writers wait for a moment and readers see one state or the other.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Index,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    cast,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    tuple_,
    union,
)
from sqlalchemy.schema import CreateIndex, CreateTable

from projections import statements
from projections.bulk import write
from projections.changes import Row, View
from projections.fold import Recorded, Standing, Views, changes_of, standings, take_in
from projections.poison import Poison, is_poison, said
from projections.tables import events, positions
from projections.views import VIEWS

_PATIENT = "SET idle_in_transaction_session_timeout = 0; SET lock_timeout = '60s'"
"""While nobody waits for us a slow machine may take its time, and at the end we queue behind whoever writes."""


class Fresh:
    """The tables of some views, made anew on a connection that is used for nothing else; each step in a transaction of
    its own, or in the caller's.

    ``position`` is how far they are; ``poisoned`` the views that could not be built, which are left as they were."""

    def __init__(self, connection: Connection, views: Views) -> None:
        self._connection = connection
        self._views = dict(views)
        self._into = {table: _fresh(table) for view in views.values() for table in view.tables}
        self._to_replace: dict[Table, int] = {}
        self._since: list[Recorded] | None = None
        self.position = 0
        self.poisoned: dict[str, Poison] = {}
        with _transaction(connection):
            if connection.dialect.name == "postgresql":
                connection.exec_driver_sql(_PATIENT)
            for table in self._into:
                _create(connection, _fresh(table))
                _create(connection, _differing(table))

    def take_in(self, recorded: Sequence[Recorded]) -> None:
        """Fold the next events of the log."""
        with _transaction(self._connection):
            self._take_in(recorded)

    def _take_in(self, recorded: Sequence[Recorded]) -> None:
        found = take_in(self._connection, recorded, self._views, self._into)
        self.poisoned |= found
        for name in found:
            del self._views[name]
        if self._since is not None:
            self._since += recorded
        self.position = recorded[-1][0]

    def compare(self) -> int:
        """Note which rows of the live tables are not as they should be; how many there are. An event that is folded
        into both later on makes no new difference."""
        with _transaction(self._connection):
            found = {table: self._compare(table) for table in self._tables()}
        self._to_replace = {table: count for table, count in found.items() if count}
        self._since = []
        return self.differing

    @property
    def differing(self) -> int:
        """How many rows of the live tables were found not to be as they should; after the swap, how many of them were
        replaced."""
        return sum(self._to_replace.get(table, 0) for table in self._tables())

    def of_lost_events(self) -> int:
        """How many of the live rows that differ say something that is not in the log: they are of an event that it
        lacks, or of a later version of their aggregate than it has."""
        return sum(self._connection.scalar(_of_lost_events(table)) or 0 for table in self._to_replace)

    def swap(self, recorded: Sequence[Recorded]) -> None:
        """Make the live tables equal and unpark their views, in the writer's transaction, with the events that came
        after ``position``."""
        if self._connection.dialect.name == "postgresql":
            self._connection.exec_driver_sql("RESET idle_in_transaction_session_timeout")
        before = standings(self._connection)
        if recorded:
            self._take_in(recorded)
        for name, view in list(self._views.items()):
            # Rows that were found equal have since had these events too, but for views that do not follow the log.
            is_behind = name in before and before[name].is_behind
            self._swap_one(name, view, self._since or () if is_behind else ())
        rows = [_standing(name, self.position) for name in self._views if name in VIEWS]
        rows += [_standing(name, before[name].position, why.reason) for name, why in self._newly_parked(before)]
        if rows:
            statements.upsert(self._connection.dialect, positions).execute(self._connection, rows)

    def _swap_one(self, name: str, view: View, since: Sequence[Recorded]) -> None:
        """One whose live tables refuse its rows (a trigger, a constraint that a hand has added) is left as it was."""
        try:
            with self._connection.begin_nested():
                for table in view.tables:
                    if table in self._to_replace:
                        _replace(self._connection, table)
                write(self._connection, changes_of(since, {name: view}))
        except Exception as error:
            if not is_poison(error):
                raise
            self.poisoned[name] = Poison(self.position, f"its table refuses the rows: {said(error)}")
            del self._views[name]

    def _newly_parked(self, before: Mapping[str, Standing]) -> Iterator[tuple[str, Poison]]:
        """The views that are behind and cannot be built. One that serves goes on doing so, one that is parked stays."""
        for name, why in self.poisoned.items():
            if name in before and before[name].is_behind and before[name].parked_reason is None:
                yield name, why

    def _tables(self) -> list[Table]:
        return [table for view in self._views.values() for table in view.tables]

    def _compare(self, table: Table) -> int:
        differing = _differing(table)
        if self._connection.dialect.name == "postgresql":
            self._connection.exec_driver_sql(f"ANALYZE {_fresh(table).name}")  # nothing else does it for such a table
        self._connection.execute(insert(differing).from_select(_keys(differing), _difference(table)))
        return self._connection.scalar(select(func.count()).select_from(differing)) or 0


def _transaction(connection: Connection) -> AbstractContextManager[object]:
    return nullcontext() if connection.in_transaction() else connection.begin()


def _standing(name: str, position: int, reason: str | None = None) -> Row:
    return {"view": name, "position": position, "parked_reason": reason}


@cache
def _fresh(table: Table) -> Table:
    """Of the same columns, and indexes for what drops look for."""
    fresh = _temporary(f"fresh_{table.name}", table, list(table.c))
    for index in table.indexes:
        columns = [fresh.c[column.name] for column in index.columns]
        Index(f"fresh_{index.name}", *columns, unique=index.unique, **index.dialect_kwargs)
    return fresh


@cache
def _differing(table: Table) -> Table:
    """The primary keys of rows to replace."""
    return _temporary(f"differing_{table.name}", table, list(table.primary_key))


def _temporary(name: str, table: Table, columns: list[Column[Any]]) -> Table:
    key = {column.name for column in table.primary_key}
    copied = (Column(c.name, c.type, primary_key=c.name in key, nullable=c.nullable) for c in columns)
    return Table(name, MetaData(), *copied, prefixes=["TEMPORARY"])


def _create(connection: Connection, table: Table) -> None:
    connection.execute(CreateTable(table))
    for index in table.indexes:
        connection.execute(CreateIndex(index))


def _difference(table: Table) -> Any:
    """Keys of live rows that are not to be or are to be otherwise, and of rows that are missing."""
    fresh = _fresh(table)
    same_key = _same_key(table, fresh)
    first = _names(table)[0]
    others = [column.name for column in table.c if not column.primary_key]
    differs = or_(*(_comparable(table.c[name]).is_distinct_from(_comparable(fresh.c[name])) for name in others))
    stale = select(*_keys(table)).select_from(table.outerjoin(fresh, same_key))
    missing = select(*_keys(fresh)).select_from(fresh.outerjoin(table, same_key))
    return union(stale.where(or_(fresh.c[first].is_(None), differs)), missing.where(table.c[first].is_(None)))


def _of_lost_events(table: Table) -> Select[tuple[int]]:
    fresh, differing = _fresh(table), _differing(table)
    is_known = exists().where(events.c.id == table.c.position)
    is_lost = and_(table.c.position > 0, ~is_known)
    if "version" in table.c:
        is_lost = or_(is_lost, table.c.version > fresh.c.version)
    rows = table.join(differing, _same_key(table, differing)).outerjoin(fresh, _same_key(table, fresh))
    return select(func.count()).select_from(rows).where(is_lost)


def _same_key(table: Table, other: Table) -> ColumnElement[bool]:
    return and_(*(table.c[name] == other.c[name] for name in _names(table)))


def _comparable(column: Column[Any]) -> ColumnElement[Any]:
    """PostgreSQL compares no JSON; both sides were written by the same hand, so their text will do."""
    return cast(column, Text) if isinstance(column.type, JSON) else column


def _replace(connection: Connection, table: Table) -> None:
    fresh, differing = _fresh(table), select(*_keys(_differing(table)))
    connection.execute(delete(table).where(tuple_(*_keys(table)).in_(differing)))
    right: Select[Any] = select(*fresh.c).where(tuple_(*_keys(fresh)).in_(differing))
    connection.execute(insert(table).from_select(list(fresh.c), right))


def _names(table: Table) -> list[str]:
    return [column.name for column in table.primary_key]


def _keys(table: Table) -> list[Column[Any]]:
    return list(table.primary_key)
