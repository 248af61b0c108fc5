"""Snapshots: what an aggregate was at one of its versions, so that a long stream need not be replayed from its start.

They are a cache. One that is missing, or of another shape than today's class has, costs a replay and nothing else."""

import logging
from uuid import UUID

from sqlalchemy import Connection, delete, select

from domain.aggregate import Aggregate
from projections import statements
from projections.tables import snapshots as table

EVERY = 100
"""Events of a stream between two of its snapshots."""

logger = logging.getLogger(__name__)


def is_due(before: int, after: int) -> bool:
    """Whether a stream that grew from one version to another has passed the next mark."""
    return before // EVERY < after // EVERY


def write(connection: Connection, aggregates: list[tuple[UUID, int, bytes]]) -> None:
    """Each in the place of the one before. A later one than these stays out of it: it would be written again soon."""
    rows = [dict(zip(("originator_id", "version", "state"), each, strict=True)) for each in aggregates]
    statements.upsert(connection.dialect, table).execute(connection, rows)


def newest[A: Aggregate](connection: Connection, kind: type[A], id: UUID) -> A | None:
    """The aggregate as its newest usable snapshot has it."""
    row = connection.execute(select(table.c.version, table.c.state).where(table.c.originator_id == id)).first()
    if row is None:
        return None
    try:
        return kind.restored(id, row.version, row.state)
    except ValueError:
        logger.info("the snapshot of %s %s is of another release: replaying", kind.kind, id)
        return None


def forget(connection: Connection) -> None:
    """Drop them all; they come back by themselves."""
    connection.execute(delete(table))
