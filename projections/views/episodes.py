"""The saved episodes of the datasets; those that were deleted too, as long as they can be restored."""

from collections.abc import Iterable
from uuid import UUID

from domain.aggregate import DomainEvent
from domain.dataset import Curation, Dataset
from domain.episode import EpisodeFacts
from projections.changes import Change, Drop, Patch, Put, Row
from projections.tables import episodes, rfc3339

LISTENS_TO = (Dataset.EpisodeAdded, Curation, Dataset.EpisodeChanged, Dataset.EpisodesPurged, Dataset.Deleted)
TABLES = (episodes,)


def changes(position: int, event: DomainEvent) -> Iterable[Change]:
    dataset = str(event.originator_id)

    def patch(id: UUID, values: Row) -> Patch:
        return Patch(episodes, (dataset, str(id)), values | {"position": position})

    match event:
        case Dataset.EpisodeAdded(episode=facts, episode_index=index):
            born = {"dataset_id": dataset, "episode_index": index, "created_at": rfc3339(event.timestamp)}
            yield Put(episodes, _said(facts) | born | {"deleted_at": None, "position": position})
        case Dataset.EpisodeChanged(episode=facts):
            yield patch(facts.episode_id, _said(facts))
        case Dataset.EpisodesDeleted(episode_ids=ids):
            yield from (patch(id, {"deleted_at": rfc3339(event.timestamp)}) for id in ids)
            yield from (patch(id, {"episode_index": index}) for id, index in event.indices.items())
        case Dataset.EpisodesRestored(episode_ids=ids):
            yield from (patch(id, {"deleted_at": None}) for id in ids)
            yield from (patch(id, {"episode_index": index}) for id, index in event.indices.items())
        case Dataset.Repaired(episode_ids=ids, kept=kept):
            yield from (patch(id, {"deleted_at": rfc3339(event.timestamp)}) for id in ids)
            places = dict(event.indices)
            for facts in kept.values():
                born = {"dataset_id": dataset, "created_at": rfc3339(event.timestamp), "deleted_at": None}
                place = {"episode_index": places.pop(facts.episode_id), "position": position}
                yield Put(episodes, _said(facts) | born | place)
            yield from (patch(id, {"episode_index": index}) for id, index in places.items())
        case Dataset.EpisodesPurged(episode_ids=ids):
            yield from (Drop(episodes, {"dataset_id": dataset, "id": str(id)}) for id in ids)
        case Dataset.Deleted():
            yield Drop(episodes, {"dataset_id": dataset})


def _said(episode: EpisodeFacts) -> Row:
    facts = episode.model_dump(mode="json")
    return facts | {"id": facts.pop("episode_id"), "length": facts.pop("rows")}
