"""The operations. Their progress is no fact: it is asked of their owners."""

from collections.abc import Iterable

from domain.aggregate import DomainEvent
from domain.operation import Operation, OperationStatus
from domain.project import Project
from projections.changes import Change, Drop, Put, Row, patch, plain, touched
from projections.tables import operations, rfc3339

LISTENS_TO = (Operation.Event, Project.Deleted)
TABLES = (operations,)


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Operation.Submitted():
            yield Put(operations, _submitted(event) | touched(position, event))
        case Project.Deleted(originator_id=id):
            yield Drop(operations, {"project_id": str(id)})
        case _:
            yield patch(operations, position, event, **_news(event))


def _news(event: DomainEvent) -> Row:
    ended = {"ended_at": rfc3339(event.timestamp)}
    match event:
        case Operation.Completed(result=result):
            return ended | {"status": OperationStatus.COMPLETED.value, "progress": 100, "result": result}
        case Operation.Failed(reason=reason):
            return ended | {"status": OperationStatus.FAILED.value, "message": reason}
        case _:
            return {}


def _submitted(event: Operation.Submitted) -> Row:
    return {
        "id": str(event.originator_id),
        "project_id": str(event.project_id),
        "kind": event.type.value,
        "dataset_ids": plain(event.dataset_ids),
        "status": OperationStatus.RUNNING.value,
        "progress": 0,
        "message": "",
        "result": None,
        "created_at": rfc3339(event.timestamp),
        "ended_at": None,
    }
