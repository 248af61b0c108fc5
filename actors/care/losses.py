"""What the log has lost, as far as its versions show it and what others remember of it: a few queries, no replay.

An event that is gone leaves no checksum behind to be wrong. But the versions of its aggregate have a gap then, or its
position is still named by what followed from it: by rows of views, by claims, answers and snapshots. What ended a thing
leaves no row, which is a trace, too. A position that is missing proves nothing by itself: PostgreSQL passes some over,
and a log that was moved keeps its positions on SQLite.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import batched
from typing import Any

from sqlalchemy import Column, Connection, Row, Select, Table, and_, exists, func, select
from sqlalchemy.exc import DatabaseError

from actors import answers, codec, snapshots
from actors.care import rows
from actors.codec import Unreadable
from actors.log import Log
from domain.aggregate import Release
from domain.errors import GetiActionError
from projections import database, schema, tables
from projections.fold import standings
from projections.tables import claims, events, idempotency, positions
from projections.views import VIEWS

RESTORE = "restore an older backup into a new database"
_REMEMBERED = [select(func.max(table.c.position)) for table in (positions, idempotency, claims)]
_FOLLOW = (claims, *(table for view in VIEWS.values() for table in view.tables))
_BATCH = 1_000
_LAST = (
    select(events.c.originator_id, func.max(events.c.originator_version).label("version"))
    .group_by(events.c.originator_id)
    .subquery()
)
_NEWEST_OF_EACH = (
    select(events)
    .join(
        _LAST,
        and_(events.c.originator_id == _LAST.c.originator_id, events.c.originator_version == _LAST.c.version),
    )
    .execution_options(yield_per=_BATCH)
)
_OF = tables.snapshots.c
_NEWEST = select(func.max(events.c.originator_version)).where(events.c.originator_id == _OF.originator_id)
_SNAPSHOTS_OF_MORE = select(_OF.originator_id, _OF.version).where(
    _OF.version > func.coalesce(_NEWEST.scalar_subquery(), 0)
)


class NotWhole(GetiActionError):
    """Events of the log are lost."""

    code = "log_not_whole"


def refuse(connection: Connection, upto: int) -> None:
    """Raises NotWhole, which says what to do, when events up to this position are lost."""
    gap = next(rows.out_of_order(connection, upto), None)
    if gap is not None:
        raise _not_whole(str(gap), RESTORE)
    forgotten = next(_forgotten(connection), None)
    if forgotten is not None:
        raise _not_whole(forgotten, f"{RESTORE}; or go on without what is lost: geti-action rebuild")


def end_lost(connection: Connection) -> str | None:
    """In words, when others remember a later position than the log has. They are asked first: it has theirs by then."""
    remembered = max(connection.scalar(query) or 0 for query in _REMEMBERED)
    if remembered <= (newest := rows.newest(connection)):
        return None
    return f"The log ends at position {newest}, but it has been at {remembered}: its end is lost"


def answer_lost(connection: Connection) -> str | None:
    """In words, when somebody was told of an event that the log lacks."""
    newest = rows.newest(connection)
    position = _scalar(connection, _position_without_event(idempotency).where(idempotency.c.position <= newest))
    return None if position is None else _told(position, idempotency)


def ends_lost(connection: Connection) -> Iterator[str]:
    """In words, each thing that has ended, though the log does not say so: its claims and its row are gone, which both
    go with one event only, and the log lacks a position where that can have been."""
    if (missing := _newest_missing(connection)) is None:
        return
    standing = {name for name, view in standings(connection).items() if not (view.is_behind or view.parked_reason)}
    for newest in batched(connection.execute(_NEWEST_OF_EACH), _BATCH):
        for row in _without_row(connection, _without_claims(connection, newest), standing):
            if row.id < missing and not _has_ended(connection, row):
                what = f"What ended the {_kind(row)} {row.originator_id} is lost"
                why = f"neither a claim nor a row is left of it, and no event behind position {row.id} says why"
                yield f"{what}: {why}"


def gap(log: Log) -> str | None:
    """The first among an aggregate's versions, in words."""
    with log.failures(), log.engine.connect() as connection:
        first = next(rows.out_of_order(connection), None)
    return None if first is None else str(first)


def forget(log: Log) -> None:
    """Go on without what is lost, once claims and views are what is left: nothing else remembers it any more."""
    with log.failures(), log.engine.connect() as connection, log.turn(connection):
        snapshots.forget(connection)
        answers.forget_lost(connection)


def _not_whole(what: str, todo: str) -> NotWhole:
    return NotWhole(
        f"{what}. So this would not be the whole log, and nothing was written. geti-action check-log names all that is "
        f"wrong; then {todo}."
    )


def _forgotten(connection: Connection) -> Iterator[str]:
    """What others remember and the log does not know; of others that are not all there any more, only those ask."""
    missing = schema.unusable_tables(connection)
    for look in () if missing else (end_lost, answer_lost):
        if what := look(connection):
            yield what
    for table in _FOLLOW:
        if table.name not in missing and (position := _scalar(connection, _position_without_event(table))):
            yield _told(position, table)
    if missing:
        return
    for id, version in connection.execute(_SNAPSHOTS_OF_MORE):
        yield f"The newest events of {id} are lost, of which there is a snapshot at its version {version}"
    yield from ends_lost(connection)


def _told(position: int, table: Table) -> str:
    return f"The event at position {position} is lost, of which a row of {table.name} tells"


def _kind(row: Row[Any]) -> str:
    return str(row.topic).partition(".")[0]


def _without_claims(connection: Connection, newest: tuple[Row[Any], ...]) -> list[Row[Any]]:
    return _unknown(connection, claims.c.owner, {f"{_kind(row)}:{row.originator_id}": row for row in newest})


def _without_row(connection: Connection, newest: list[Row[Any]], standing: set[str]) -> Iterator[Row[Any]]:
    """Those that the view of their kind has no row of, if it has taken in all that was."""
    of_view = defaultdict[str, dict[str, Row[Any]]](dict)
    for row in newest:
        of_view[f"{_kind(row)}s"][str(row.originator_id)] = row
    for name in sorted(standing & of_view.keys()):
        yield from _unknown(connection, VIEWS[name].tables[0].c.id, of_view[name])


def _unknown(connection: Connection, column: Column[Any], named: dict[str, Row[Any]]) -> list[Row[Any]]:
    """Those whose names the column does not have; none where its table is damaged."""
    try:
        known = set(connection.scalars(select(column).where(column.in_(named))))
    except DatabaseError as error:
        _must_be_damage(error)
        return []
    return [row for name, row in named.items() if name not in known]


def _newest_missing(connection: Connection) -> int | None:
    """The last position before an event that the log lacks; None where it lacks none."""
    before = events.alias()
    is_there = exists().where(before.c.id == events.c.id - 1)
    found: int | None = connection.scalar(select(func.max(events.c.id) - 1).where(events.c.id > 1, ~is_there))
    return found


def _has_ended(connection: Connection, newest: Row[Any]) -> bool:
    """Whether an event of it lets go of all claims, or one is there by now that was not the newest; or whether it
    cannot be read, which is another finding."""
    of_it = select(events).where(events.c.originator_id == newest.originator_id)
    try:
        if _ends(newest):
            return True
        found = connection.execute(of_it.order_by(events.c.originator_version.desc()))
        return any(row.id > newest.id or _ends(row) for row in found)
    except Unreadable:
        return True


def _ends(row: Row[Any]) -> bool:
    return Release() in codec.decode(*row).claims()


def _scalar(connection: Connection, query: Select[tuple[int | None]]) -> int | None:
    """None, too, where the table is damaged: then all the more its log must get out."""
    try:
        return connection.scalar(query)
    except DatabaseError as error:
        _must_be_damage(error)
        return None


def _must_be_damage(error: DatabaseError) -> None:
    """Raises the error if it is another."""
    if database.damage(error) is None:
        raise error


def _position_without_event(table: Table) -> Select[tuple[int | None]]:
    is_there = exists().where(events.c.id == table.c.position)
    return select(func.min(table.c.position)).where(table.c.position > 0, ~is_there)
