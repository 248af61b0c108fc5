"""What the log has lost, as far as its versions show it and what others remember of it: a few queries, no replay.

An event that is gone leaves no checksum behind to be wrong. But the versions of its aggregate have a gap then, or its
position is still named by what followed from it: by rows of views, by claims, answers and snapshots.
"""

from collections.abc import Iterator

from sqlalchemy import Connection, Select, Table, exists, func, select
from sqlalchemy.exc import DatabaseError

from actors import answers, snapshots
from actors.care import rows
from actors.log import Log
from domain.errors import GetiActionError
from projections import database, tables
from projections.tables import claims, events, idempotency, positions
from projections.views import VIEWS

RESTORE = "restore an older backup into a new database"
_REMEMBERED = [select(func.max(table.c.position)) for table in (positions, idempotency, claims)]
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


def gap(log: Log) -> str | None:
    """The first among an aggregate's versions, in words."""
    with log.failures(), log.engine.connect() as connection:
        first = next(rows.out_of_order(connection), None)
    return None if first is None else str(first)


def forget(log: Log) -> None:
    """Go on without what is lost, once claims and views are what is left: nothing else remembers it any more."""
    with log.failures(), log.engine.connect() as connection, log.turn(connection):
        snapshots.forget(connection)
        answers.forget_beyond(connection, rows.newest(connection))


def _not_whole(what: str, todo: str) -> NotWhole:
    return NotWhole(
        f"{what}. So this would not be the whole log, and nothing was written. geti-action check-log names all that is "
        f"wrong; then {todo}."
    )


def _forgotten(connection: Connection) -> Iterator[str]:
    """What others remember and the log does not know."""
    if end := end_lost(connection):
        yield end
    for table in (claims, *(table for view in VIEWS.values() for table in view.tables)):
        if position := _scalar(connection, _position_without_event(table)):
            yield f"The event at position {position} is lost, of which a row of {table.name} tells"
    for id, version in connection.execute(_SNAPSHOTS_OF_MORE):
        yield f"The newest events of {id} are lost, of which there is a snapshot at its version {version}"


def _scalar(connection: Connection, query: Select[tuple[int | None]]) -> int | None:
    """None, too, where the table is damaged: then all the more its log must get out."""
    try:
        return connection.scalar(query)
    except DatabaseError as error:
        if database.damage(error) is None:
            raise
        return None


def _position_without_event(table: Table) -> Select[tuple[int | None]]:
    is_there = exists().where(events.c.id == table.c.position)
    return select(func.min(table.c.position)).where(table.c.position > 0, ~is_there)
