"""Events become rows of the views, inside the append's transaction.

A view that cannot take an event in (its code raises, or the database refuses its rows) is parked before it: the append
and the other views go on, later events pass it by, and a rebuild brings it back. So does one that the log is ahead of,
because it is new in this release: its table would be missing what happened before.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Table, bindparam, func, select, update

from domain.aggregate import DomainEvent
from projections.bulk import LIVE, write
from projections.changes import Change, View
from projections.poison import Poison, is_poison, poison
from projections.statements import Query
from projections.tables import events, positions
from projections.views import VIEWS

Recorded = tuple[int, DomainEvent]
Views = Mapping[str, View]

logger = logging.getLogger(__name__)

_before = select(func.coalesce(func.max(events.c.id), 0)).where(events.c.id < bindparam("first")).scalar_subquery()
_follows = (positions.c.parked_reason.is_(None), positions.c.position < bindparam("reached"))
_ADVANCE = Query(
    update(positions)
    .where(*_follows, positions.c.position >= _before)
    .values(position=bindparam("reached"))
    .returning(positions.c.view)
)
_newest = select(func.coalesce(func.max(events.c.id), 0)).scalar_subquery().label("newest")
_STANDINGS = Query(select(positions.c.view, positions.c.position, positions.c.parked_reason, _newest))


class Unfoldable(Exception):
    """A view would have to be parked."""


class Standing(NamedTuple):
    """How far a view is, and why it goes no further. ``is_behind``: the log is ahead of it, so its rows are stale."""

    position: int
    parked_reason: str | None
    is_behind: bool


def standings(connection: Connection) -> dict[str, Standing]:
    """Of every view, in one moment of the log. A view that was never built stands at 0."""
    rows = {row["view"]: row for row in _STANDINGS.rows(connection)}
    known = {
        name: Standing(row["position"], row["parked_reason"], row["position"] < row["newest"])
        for name, row in rows.items()
    }
    return {name: known.get(name, Standing(0, None, is_behind=True)) for name in VIEWS}


def hint(connection: Connection) -> str | None:
    """What to tell who misses something, when that may be because of a parked view; None when all views are whole."""
    parked = [name for name, view in standings(connection).items() if view.is_behind]
    return f"the tables lack what happened lately ({', '.join(parked)}); /api/health says why." if parked else None


def fold(connection: Connection, recorded: Sequence[Recorded], *, may_park: bool = True) -> None:
    """Bring every view that follows the log up to the last of these events (each with its log position, in the log's
    order). Raises what the database as a whole fails with. A view that fails is parked; unless it may be, which costs a
    savepoint: then Unfoldable is raised, and the transaction must be rolled back."""
    if not recorded:
        return
    followers = {row["view"] for row in _ADVANCE.rows(connection, first=recorded[0][0], reached=recorded[-1][0])}
    views = {name: view for name, view in VIEWS.items() if name in followers}
    found = take_in(connection, recorded, views) if may_park else _all(connection, recorded, views)
    for name, (position, reason) in found.items():
        logger.error("The view %s is parked: %s. Mend it, then: geti-action rebuild %s", name, reason, name)
        stays = update(positions).where(positions.c.view == name)
        connection.execute(stays.values(position=position - 1, parked_reason=reason))


def _all(connection: Connection, recorded: Sequence[Recorded], views: Views) -> dict[str, Poison]:
    try:
        write(connection, changes_of(recorded, views))
    except Exception as error:
        if is_poison(error):
            raise Unfoldable("a view cannot take in an event") from error
        raise
    return {}


def take_in(
    connection: Connection, recorded: Sequence[Recorded], views: Views, into: Mapping[Table, Table] = LIVE
) -> dict[str, Poison]:
    """Write what the views make of the events into their tables, or those in their place. Returns the views that cannot
    take one in, each left as it was before that event."""
    _savepoint(connection)
    try:
        write(connection, changes_of(recorded, views), into)
    except Exception as error:
        if not is_poison(error):
            raise
        _back(connection)
    else:
        return {}
    alone = {name: _alone(connection, recorded, view, into) for name, view in views.items()}
    return {name: found for name, found in alone.items() if found is not None}


def _alone(
    connection: Connection, recorded: Iterable[Recorded], view: View, into: Mapping[Table, Table]
) -> Poison | None:
    """One view, event by event, up to the one that poisons it."""
    for position, event in recorded:
        if not isinstance(event, view.listens_to):
            continue
        _savepoint(connection)
        try:
            write(connection, view.changes(position, event), into)
        except Exception as error:
            if not is_poison(error):
                raise
            _back(connection)
            return poison(position, event, error)
        _release(connection)
    return None


def changes_of(recorded: Iterable[Recorded], views: Views) -> Iterator[Change]:
    """What the views make of the events, one after the other."""
    listening: dict[type[DomainEvent], list[View]] = {}
    for position, event in recorded:
        kind = type(event)
        if kind not in listening:
            listening[kind] = [view for view in views.values() if issubclass(kind, view.listens_to)]
        for view in listening[kind]:
            yield from view.changes(position, event)


def _savepoint(connection: Connection) -> None:
    """Past SQLAlchemy, since every append pays for it. The commit releases it."""
    connection.connection.cursor().execute("SAVEPOINT fold")


def _back(connection: Connection) -> None:
    connection.connection.cursor().execute("ROLLBACK TO SAVEPOINT fold")


def _release(connection: Connection) -> None:
    connection.connection.cursor().execute("RELEASE SAVEPOINT fold")
