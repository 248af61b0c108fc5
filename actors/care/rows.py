"""The log's rows as they lie in the table, not decoded: what is moved, backed up and checked."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import Connection, func, insert, or_, select, text

from actors import codec
from projections.tables import events

BATCH = 5_000
Connect = Callable[[], AbstractContextManager[Connection]]


class Stored(NamedTuple):
    """One row. ``state`` is the event's JSON as the codec wrote it, with its checksum if it has one."""

    position: int
    aggregate_id: UUID
    version: int
    topic: str
    state: bytes


class OutOfOrder(NamedTuple):
    """An event that does not follow the one before it in its aggregate, which is at ``before_position``."""

    position: int
    aggregate_id: UUID
    version: int
    before_version: int
    before_position: int

    def __str__(self) -> str:
        what = f"Aggregate {self.aggregate_id} has version {self.version} at position {self.position}"
        if self.before_version + 1 == self.version:
            return f"{what}, before its version {self.before_version} at {self.before_position}"
        return f"{what}, and the one before is {self.before_version or 'missing'}"


def page(connection: Connection, after: int, upto: int) -> list[Stored]:
    """The next rows behind position ``after`` up to ``upto``, in order; none at the end."""
    query = select(events).where(events.c.id > after, events.c.id <= upto).order_by(events.c.id).limit(BATCH)
    return [Stored(*row) for row in connection.execute(query)]


def read(connect: Connect, upto: int) -> Iterator[Stored]:
    """All rows up to position ``upto``. Each page is read on a connection of its own, so that a long log does not keep
    one old state of the database alive."""
    after = 0
    while True:
        with connect() as connection:
            found = page(connection, after, upto)
        if not found:
            return
        yield from found
        after = found[-1].position


def newest(connection: Connection) -> int:
    """The position of the newest event; 0 in an empty log."""
    return connection.scalar(select(func.max(events.c.id))) or 0


def sound(rows: Iterable[Stored]) -> Iterator[Stored]:
    """The same rows, which come in their order. Raises Damaged at one that is not what was written, as far as that can
    be seen without its class."""
    following = codec.Following()
    for row in rows:
        if not _is_object(following.opened(*row)):
            raise codec.damaged(row.position, row.topic, "it is no JSON")
        yield row


def _is_object(body: bytes) -> bool:
    try:
        return b"\n" not in body and isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


def put(connection: Connection, rows: Iterable[Stored]) -> None:
    """Insert rows at the positions that they name."""
    names = [column.name for column in events.c]
    connection.execute(insert(events), [dict(zip(names, row, strict=True)) for row in rows])


def out_of_order(connection: Connection, upto: int | None = None) -> Iterator[OutOfOrder]:
    """Where the versions of an aggregate have a gap, or do not stand in the order of their positions; of events up to
    position ``upto``."""
    id, version = events.c.originator_id, events.c.originator_version
    before_version, before_position = (
        func.lag(column, 1, 0).over(partition_by=id, order_by=version) for column in (version, events.c.id)
    )
    both = (before_version.label("before_version"), before_position.label("before_position"))
    of_them = select(events.c.id, id, version, *both)
    rows = (of_them if upto is None else of_them.where(events.c.id <= upto)).subquery()
    gap = rows.c.originator_version != rows.c.before_version + 1
    for row in connection.execute(select(rows).where(or_(gap, rows.c.id <= rows.c.before_position))):
        yield OutOfOrder(*row)


def next_position(connection: Connection) -> int | None:
    """The least position that PostgreSQL's sequence gives next; None where the database finds it by itself."""
    if connection.dialect.name != "postgresql":
        return None
    sequence = connection.scalar(text(f"SELECT pg_get_serial_sequence('{events.name}', 'id')"))
    if sequence is None:  # which is told as a table that is not what it should be
        return None
    query = text(f"SELECT last_value + CASE WHEN is_called THEN 1 ELSE 0 END FROM {sequence}")  # noqa: S608 - its name
    position: int | None = connection.scalar(query)
    return position


def continue_behind(connection: Connection, position: int) -> None:
    """Let the next event get a later position than this one, where the database would not see to that itself."""
    if connection.dialect.name == "postgresql" and position:
        sequence = text(f"SELECT setval(pg_get_serial_sequence('{events.name}', 'id'), :position)")
        connection.execute(sequence, {"position": position})
