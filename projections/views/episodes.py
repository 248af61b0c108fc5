"""The saved episodes of the datasets."""

from collections.abc import Iterable

from domain.aggregate import DomainEvent
from domain.dataset import Dataset
from projections.changes import Change, Drop, Put, Row
from projections.tables import episodes, rfc3339

LISTENS_TO = (Dataset.EpisodeAdded, Dataset.Deleted)
TABLES = (episodes,)


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    match event:
        case Dataset.EpisodeAdded():
            yield Put(episodes, _saved(event) | {"position": position})
        case Dataset.Deleted():
            yield Drop(episodes, {"dataset_id": str(event.originator_id)})


def _saved(event: Dataset.EpisodeAdded) -> Row:
    facts = event.episode.model_dump(mode="json")
    named = {"id": facts.pop("episode_id"), "length": facts.pop("rows"), "dataset_id": str(event.originator_id)}
    return facts | named | {"episode_index": event.episode_index, "created_at": rfc3339(event.timestamp)}
