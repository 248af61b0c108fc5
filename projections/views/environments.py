"""The environments: which robots and cameras work together."""

from collections.abc import Iterable

from domain.aggregate import DomainEvent
from domain.environment import Environment
from projections.changes import Change, Drop, Put, Row, patch, plain, touched
from projections.tables import environments, rfc3339

LISTENS_TO = (Environment.Event,)
TABLES = (environments,)


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Environment.Created():
            ids = {"id": str(event.originator_id), "project_id": str(event.project_id)}
            row = ids | _composition(event) | {"created_at": rfc3339(event.timestamp)}
            yield Put(environments, row | touched(position, event))
        case Environment.Changed():
            yield patch(environments, position, event, **_composition(event))
        case Environment.Deleted():
            yield Drop(environments, {"id": str(event.originator_id)})
        case _:
            yield patch(environments, position, event)


def _composition(event: Environment.Composed) -> Row:
    robots = [robot.model_dump(mode="json") for robot in event.robots]
    return {"name": event.name, "robots": robots, "camera_ids": plain(event.camera_ids)}
