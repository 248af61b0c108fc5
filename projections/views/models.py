"""The models and their rollouts."""

from collections.abc import Iterable

from domain.aggregate import DomainEvent
from domain.model import Model
from projections.changes import Change, Drop, Put, Row, patch, touched
from projections.tables import evaluations, models, rfc3339

LISTENS_TO = (Model.Event,)
TABLES = (models, evaluations)


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Model.Created():
            yield Put(models, _created(event) | touched(position, event))
        case Model.Evaluated():
            yield patch(models, position, event)
            yield Put(evaluations, _evaluated(event) | {"position": position})
        case Model.Deleted(originator_id=id):
            yield Drop(models, {"id": str(id)})
            yield Drop(evaluations, {"model_id": str(id)})
        case _:
            yield patch(models, position, event)


def _created(event: Model.Created) -> Row:
    return {
        "id": str(event.originator_id),
        "project_id": str(event.project_id),
        "name": event.name,
        "policy": event.policy,
        "dataset_id": str(event.dataset_id),
        "dataset_version": event.dataset_version,
        "train_job_id": str(event.train_job_id),
        "metrics": event.metrics,
        "exports": [export.model_dump(mode="json") for export in event.exports],
        "created_at": rfc3339(event.timestamp),
    }


def _evaluated(event: Model.Evaluated) -> Row:
    return {
        "model_id": str(event.originator_id),
        "job_id": str(event.job_id),
        "environment": event.environment,
        "rollouts": {who: rollouts.model_dump(mode="json") for who, rollouts in event.rollouts.items()},
        "created_at": rfc3339(event.timestamp),
    }
