"""The audit trail: what the log says happened, in the words in which anybody may read it."""

from typing import Any, NamedTuple
from uuid import UUID

import orjson
from sqlalchemy import ColumnElement, Connection, func, select

from actors import codec
from domain.aggregate import DomainEvent
from projections.paging import Rows
from projections.tables import events, rfc3339

# What every event has, or every first one.
_ENVELOPE = {*DomainEvent.model_fields, "originator_topic"}


class Wanted(NamedTuple):
    """Which events: of one aggregate, or of a kind ("camera"), or of one topic ("camera.lost"); all without. ``until``
    is the last position of interest."""

    aggregate_id: UUID | None = None
    topic: str | None = None
    until: int | None = None


def find(connection: Connection, wanted: Wanted, start: int, limit: int | None) -> Rows:
    """The events from position ``start`` on, oldest first, at most ``limit``; the total is that of all such events, the
    cursor the position at which the next page starts."""
    conditions = list(_conditions(wanted))
    query = select(events).where(*conditions, events.c.id >= start).order_by(events.c.id)
    found = connection.execute(query if limit is None else query.limit(limit + 1)).all()
    total = connection.scalar(select(func.count()).select_from(events).where(*conditions)) or 0
    page = found if limit is None else found[:limit]
    following = codec.Following()
    rows = (shown(row.id, following.decode(*row)) for row in page)
    return Rows(rows, total, str(found[limit].id) if limit is not None and len(found) > limit else None)


def shown(position: int, event: DomainEvent) -> dict[str, Any]:
    """An event for people and programs outside: what it says is in ``data``, the rest is the same for all."""
    return {
        "position": position,
        "type": event.TOPIC,
        "aggregate": event.TOPIC.partition(".")[0],
        "aggregate_id": str(event.originator_id),
        "version": event.originator_version,
        "at": rfc3339(event.timestamp),
        "by": event.by,
        **{name: getattr(event, name) for name in event.PROVENANCE},
        "data": orjson.Fragment(event.model_dump_json(exclude=_ENVELOPE)),
    }


def _conditions(wanted: Wanted) -> list[ColumnElement[bool]]:
    chosen = []
    if wanted.aggregate_id is not None:
        chosen.append(events.c.originator_id == wanted.aggregate_id)
    if wanted.until is not None:
        chosen.append(events.c.id <= wanted.until)
    if wanted.topic is not None and "." in wanted.topic:
        chosen.append(events.c.topic == wanted.topic)
    elif wanted.topic is not None:
        chosen.append(events.c.topic.startswith(f"{wanted.topic}.", autoescape=True))
    return chosen
