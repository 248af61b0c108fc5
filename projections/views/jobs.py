"""The jobs. A training job names its model once there is one."""

from collections.abc import Iterable

from domain.aggregate import DomainEvent
from domain.model import Model
from domain.project import Project
from domain.training import Job, JobStatus
from projections.changes import Change, Drop, Patch, Put, Row, patch, touched
from projections.tables import jobs, rfc3339

LISTENS_TO = (Job.Event, Model.Created, Project.Deleted)
TABLES = (jobs,)


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Job.Submitted():
            yield Put(jobs, _submitted(event) | touched(position, event))
        case Model.Created(originator_id=id, train_job_id=job):
            yield Patch(jobs, (str(job),), {"model_id": str(id)})
        case Project.Deleted(originator_id=id):
            yield Drop(jobs, {"project_id": str(id)})
        case _:
            yield patch(jobs, position, event, **_news(event))


def _news(event: DomainEvent) -> Row:
    match event:
        case Job.Started(attempt=attempt):
            first = {"start_time": rfc3339(event.timestamp)} if attempt == 1 else {}
            return {"status": JobStatus.RUNNING.value, "attempt": attempt, "reason": None} | first
        case Job.Progressed(progress=progress, message=message, extra_info=extra):
            return {"progress": progress, "message": message, "extra_info": extra}
        case Job.Interrupted(reason=reason):
            return {"status": JobStatus.INTERRUPTED.value, "reason": reason}
        case Job.Completed():
            return _end(event, JobStatus.COMPLETED) | {"progress": 100}
        case Job.Failed():
            return _end(event, JobStatus.FAILED)
        case Job.Canceled():
            return _end(event, JobStatus.CANCELED)
        case _:
            return {}


def _end(event: Job.Ended, status: JobStatus) -> Row:
    return {"status": status.value, "reason": event.reason, "end_time": rfc3339(event.timestamp)}


def _submitted(event: Job.Submitted) -> Row:
    return {
        "id": str(event.originator_id),
        "project_id": str(event.project_id),
        "type": event.type,
        "status": JobStatus.PENDING.value,
        "progress": 0,
        "message": "",
        "reason": None,
        "attempt": 0,
        "extra_info": {},
        "payload": event.payload,
        "created_at": rfc3339(event.timestamp),
        "start_time": None,
        "end_time": None,
        "model_id": None if event.type == "training" else str(event.model_id),
    }
