"""The datasets, each with the totals of its episodes."""

from collections.abc import Iterable

from domain.aggregate import DomainEvent
from domain.dataset import Curation, Dataset
from projections.changes import Change, Drop, Put, Row, patch, touched
from projections.tables import datasets, rfc3339

LISTENS_TO = (Dataset.Event,)
TABLES = (datasets,)
EMPTY: Row = {"episodes": 0, "frames": 0, "fps": None, "size_bytes": 0}


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Dataset.Created():
            yield Put(datasets, _created(event) | EMPTY | touched(position, event))
        case Dataset.Changed(name=name, default_task=task):
            yield patch(datasets, position, event, name=name, default_task=task)
        case Dataset.EpisodeAdded(episode_index=index, frames=frames, size_bytes=size, episode=episode):
            totals = {"episodes": index + 1, "frames": frames, "fps": episode.fps, "size_bytes": size}
            yield patch(datasets, position, event, **totals)
        case Curation(episodes=episodes, frames=frames, size_bytes=size):
            yield patch(datasets, position, event, episodes=episodes, frames=frames, size_bytes=size)
        case Dataset.Deleted():
            yield Drop(datasets, {"id": str(event.originator_id)})
        case _:
            yield patch(datasets, position, event)


def _created(event: Dataset.Created) -> Row:
    return {
        "id": str(event.originator_id),
        "project_id": str(event.project_id),
        "environment_id": str(event.environment_id),
        "name": event.name,
        "default_task": event.default_task,
        "created_at": rfc3339(event.timestamp),
    }
