"""Aggregates replayed from their very first event, past all snapshots."""

from collections.abc import Iterator
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, select

from actors import codec
from domain.aggregate import Aggregate, DomainEvent
from projections.tables import events

PAGE = 500


def replay(connection: Connection, id: UUID, version: int) -> Aggregate | None:
    """The aggregate as it was at ``version``; None when the log does not reach so far. Raises Unreadable."""
    aggregate: Any = None
    for event in _events(connection, id, version):
        aggregate = event.mutate(aggregate)
    return aggregate if aggregate is not None and aggregate.version == version else None


def _events(connection: Connection, id: UUID, upto: int) -> Iterator[DomainEvent]:
    after, following = 0, codec.FollowingOne()
    of_it = select(events).where(events.c.originator_id == id).order_by(events.c.originator_version).limit(PAGE)
    while True:
        behind = of_it.where(events.c.originator_version > after, events.c.originator_version <= upto)
        page = connection.execute(behind).all()
        if not page:
            return
        yield from (following.decode(*row) for row in page)
        after = page[-1].originator_version
