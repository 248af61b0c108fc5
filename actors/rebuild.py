"""Making claims and views anew from the log while others read and write.

The log is folded page by page into tables of our own (projections/fresh.py). Only at the end, when what is left of the
log and the rows that differ are few, the writers wait for the swap.
"""

import logging
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import batched

from sqlalchemy import Connection

from actors import claims
from actors.log import Log
from domain.errors import Conflict, Invalid
from projections import schema
from projections.changes import View
from projections.fold import Views
from projections.fresh import Fresh
from projections.poison import Poison
from projections.views import VIEWS

BATCH = 5_000
TOLD_EVERY = 100_000
CLAIMS = "claims"
ALL: dict[str, View] = {CLAIMS: claims.VIEW, **VIEWS}

Told = Callable[[int, int], None]
"""Is told how far the rebuild is and how long the log, both as positions."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """``events`` were folded; ``replaced`` rows had differed, some of them perhaps only because they were just being
    written; ``poisoned`` views were left as they were."""

    events: int
    replaced: int
    poisoned: dict[str, Poison]


def rebuild(log: Log, names: Collection[str] = (), told: Told = lambda _done, _total: None) -> Rebuilt:
    """Make the named views (all, and the claims, if none is named) what the log says, and unpark them. Killed at any
    moment it leaves everything as it was. Raises Invalid for a name that is no view's, Conflict when a table is
    missing."""
    views = _chosen(names)
    with log.failures(), log.engine.connect() as connection:
        _check_tables(connection, views)
        connection.detach()  # the tables go with it
        fresh = Fresh(connection, views)
        events = _read_on(log, fresh, told)
        fresh.compare()
        events += _read_on(log, fresh, told)  # what came while they were compared, so that little is left
        with log.turn(connection):
            last = list(log.read(after=fresh.position))
            fresh.swap(last)
    return Rebuilt(events + len(last), fresh.differing, fresh.poisoned)


def _check_tables(connection: Connection, views: Views) -> None:
    needed = {table.name for view in views.values() for table in view.tables}
    unusable = [name for name in schema.unusable_tables(connection) if name in needed]
    connection.rollback()
    if unusable:
        raise Conflict(
            f"The table {unusable[0]} is missing, or a column of it, so nothing was rebuilt. geti-action check-log "
            "tells what else is wrong; export the log, and import it into a new database."
        )


def _read_on(log: Log, fresh: Fresh, told: Told) -> int:
    """Fold what is in the log by now; how many events."""
    events = 0
    for page in batched(log.read(after=fresh.position), BATCH):
        fresh.take_in(page)
        events += len(page)
        told(fresh.position, max(fresh.position, log.position()))
    return events


def build_missing(log: Log) -> None:
    """Build the views that the log is ahead of, because they are new in this release. Those that are parked stay so:
    a person must look at them first."""
    missing = [name for name, view in log.views().items() if view.is_behind and view.parked_reason is None]
    if not missing:
        return
    logger.info("building %s from the log; geti-action rebuild does the same before a start", ", ".join(missing))
    rebuilt = rebuild(log, missing, _log_progress)
    for name, (_, reason) in rebuilt.poisoned.items():
        logger.error("the view %s could not be built and is parked: %s", name, reason)
    logger.info("built from %d events", rebuilt.events)


def _chosen(names: Collection[str]) -> Views:
    unknown = [name for name in names if name not in ALL]
    if unknown:
        raise Invalid(f"There is no view '{unknown[0]}'. There are: {', '.join(ALL)}.")
    return {name: view for name, view in ALL.items() if not names or name in names}


def _log_progress(done: int, total: int) -> None:
    if done % TOLD_EVERY < BATCH:
        logger.info("at position %d of %d", done, total)
