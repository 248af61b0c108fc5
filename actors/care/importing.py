"""A log that was written out is taken in: into an empty one, all of it or nothing.

One transaction holds the events, the claims and the rows of every view, so whoever looks meanwhile sees an empty
system, and a file that turns out to be broken leaves one. Positions stay what they were.
"""

from collections.abc import Callable, Sequence
from itertools import batched
from typing import BinaryIO, NamedTuple

from sqlalchemy import Connection, func, select, text
from sqlalchemy.exc import IntegrityError

from actors import answers, claims, codec, snapshots
from actors.care import lines, rows
from actors.care.replay import replay
from actors.log import Log
from actors.rebuild import CLAIMS
from domain.errors import Conflict, Invalid
from projections import bulk, fold
from projections.tables import events, metadata, positions
from projections.views import VIEWS

_LONG = (
    select(events.c.originator_id, func.max(events.c.originator_version))
    .group_by(events.c.originator_id)
    .having(func.count() >= snapshots.EVERY)
)


class Imported(NamedTuple):
    """How many events, the position of the last, and the views that could not take one in and are parked."""

    events: int
    position: int
    parked: dict[str, str]


def import_log(log: Log, file: BinaryIO, told: Callable[[int], None] = lambda _bytes: None) -> Imported:
    """Take in a file of ``export_log``, in memory that does not grow with it; ``told`` is how many bytes are read.

    Raises Conflict when the log is not empty; Malformed, Damaged, UnknownTopic or Invalid when the file is not whole,
    or says what cannot be: then nothing has happened."""
    count = position = 0
    reader, following = lines.Reader(file), codec.Following()
    with log.failures(), log.engine.connect() as connection, log.turn(connection):
        _begin(connection)
        for batch in batched(reader.events(), rows.BATCH):
            with connection.begin_nested():  # lets go of the savepoints of the fold
                _take_in(connection, batch, following)
            count, position = count + len(batch), batch[-1].position
            told(reader.done_bytes)
        for kept in batched(reader.answers(), rows.BATCH):
            answers.take_in(connection, kept)
            told(reader.done_bytes)
        _refuse_disorder(connection)
        rows.continue_behind(connection, position)
        _keep_snapshots(connection)
    views = log.views().items()
    return Imported(count, position, {name: view.parked_reason for name, view in views if view.parked_reason})


def must_be_empty(connection: Connection) -> None:
    """Raises Conflict when there are events."""
    if newest := rows.newest(connection):
        raise Conflict(
            f"The log is not empty: it is at position {newest}. What is brought in needs a database of its own; "
            "set DATABASE_URL to a new one."
        )


def _begin(connection: Connection) -> None:
    """Every table is empty and every view follows: what an empty log has left anywhere is of nothing."""
    must_be_empty(connection)
    for table in metadata.sorted_tables:
        connection.execute(table.delete())
    connection.execute(positions.insert(), [{"view": view, "position": 0} for view in VIEWS])
    if connection.dialect.name == "postgresql":  # who sends us the file may take his time
        connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))


def _take_in(connection: Connection, batch: Sequence[rows.Stored], following: codec.Following) -> None:
    recorded = [(row.position, following.decode(*row)) for row in batch]
    try:
        rows.put(connection, batch)
        bulk.write(connection, fold.changes_of(recorded, {CLAIMS: claims.VIEW}))
    except IntegrityError as error:
        between = f"between the positions {batch[0].position} and {batch[-1].position}"
        why = str(error.orig).partition("\n")[0]
        raise Invalid(f"Two events {between} cannot both be: {why}. Nothing was taken in.") from error
    fold.fold(connection, recorded)


def _refuse_disorder(connection: Connection) -> None:
    first = next(rows.out_of_order(connection), None)
    if first is not None:
        raise Invalid(f"{first}. Nothing was taken in; export a log that geti-action check-log finds whole.")


def _keep_snapshots(connection: Connection) -> None:
    """Of every long stream, so that it need not be replayed when its owner first wakes."""
    for id, version in connection.execute(_LONG).all():
        aggregate = replay(connection, id, version)
        if aggregate is not None:
            snapshots.write(connection, [(id, version, aggregate.snapshot())])
