"""What a view says about an event: rows to put, to patch, to drop. Said twice, it changes nothing more."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Table

from domain.aggregate import DomainEvent

Row = dict[str, Any]


class Put(NamedTuple):
    """The whole row, new or in the place of the one with its primary key."""

    table: Table
    row: Row


class Patch(NamedTuple):
    """New values in the row with the primary key ``key`` (in the order of its columns), if there is one."""

    table: Table
    key: tuple[str, ...]
    values: Row


class Drop(NamedTuple):
    """Every row whose columns have these values goes."""

    table: Table
    where: Mapping[str, str | bool]


Change = Put | Patch | Drop


class View(NamedTuple):
    """One projection of the log: which events it listens to, the tables it alone writes, its changes by event."""

    tables: tuple[Table, ...]
    listens_to: tuple[type[DomainEvent], ...]
    changes: Callable[[int, DomainEvent], Iterable[Change]]


def touched(position: int, event: DomainEvent) -> Row:
    """What every event of an aggregate changes in its row."""
    return {"version": event.originator_version, "position": position}


def patch(table: Table, position: int, event: DomainEvent, **values: Any) -> Patch:
    """A patch of the row of the event's own aggregate."""
    return Patch(table, (str(event.originator_id),), values | touched(position, event))


def plain(ids: Iterable[UUID]) -> list[str]:
    return [str(id) for id in ids]
