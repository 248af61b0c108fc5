"""The projects."""

from collections.abc import Iterable

from domain.aggregate import DomainEvent
from domain.project import Project
from projections.changes import Change, Drop, Put, patch, touched
from projections.tables import projects, rfc3339

LISTENS_TO = (Project.Event,)
TABLES = (projects,)


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Project.Created(originator_id=id, name=name):
            at = rfc3339(event.timestamp)
            row = {"id": str(id), "name": name, "created_at": at, "updated_at": at}
            yield Put(projects, row | touched(position, event))
        case Project.Renamed(name=name):
            yield patch(projects, position, event, name=name, updated_at=rfc3339(event.timestamp))
        case Project.Deleted(originator_id=id):
            yield Drop(projects, {"id": str(id)})
        case _:
            yield patch(projects, position, event)
