"""A dataset: which saved episodes it holds, in order. On disk every version of it is a projection of this list."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from eventsourcing.domain import CanInitAggregate
from pydantic import Field, field_validator

from domain import claims
from domain.aggregate import (
    Aggregate,
    Claim,
    Command,
    CreateCommand,
    DomainEvent,
    Flag,
    Hold,
    Name,
    NeedFree,
    NeedHeld,
    Release,
)
from domain.episode import SAID, EpisodeFacts, Task, UpdateEpisode
from domain.errors import Conflict, NotFound

NOTHING_KEPT: Mapping[UUID, EpisodeFacts] = {}


class CreateDataset(CreateCommand):
    """``path`` is taken as a name only: the server chooses the folder."""

    name: Name
    project_id: UUID
    environment_id: UUID
    default_task: Task = "Do the task."
    path: str | None = Field(None, max_length=1024)

    @field_validator("path")
    @classmethod
    def _leads_nowhere_else(cls, path: str | None) -> str | None:
        if path is not None and ".." in path.replace("\\", "/").split("/"):
            raise ValueError("it leads out of the storage folder; leave it out: the server chooses the folder")
        return path


class UpdateDataset(Command):
    name: Name
    default_task: Task


class RestoreEpisodes(Command):
    episode_ids: list[UUID] = Field(min_length=1, max_length=10_000)


class PurgeDataset(Command):
    """``also_used``: what models were trained on goes too. They stay, but nobody can train on just that again."""

    also_used: Flag = False


class Curation(DomainEvent):
    """Which episodes a dataset holds has changed. ``version`` is the version that shows it; ``indices`` are those of
    the episodes that come or move; totals are those after it."""

    version: int
    indices: dict[UUID, int]
    episodes: int
    frames: int
    size_bytes: int
    episode_ids: list[UUID]


class Dataset(Aggregate):
    TOPIC = "dataset"
    kind: ClassVar[str] = "dataset"

    project_id: UUID
    environment_id: UUID
    name: str
    default_task: str
    episodes: list[EpisodeFacts]
    deleted_episodes: list[EpisodeFacts]
    purged: list[UUID]
    order: list[UUID]
    content_version: int
    fresh_from: int
    fps: int | None

    class Event(DomainEvent):
        """Something that happened to a dataset."""

    class Created(Event, CanInitAggregate[UUID]):
        TOPIC = "dataset.created"
        project_id: UUID
        environment_id: UUID
        name: str
        default_task: str

        def claims(self) -> Iterable[Claim]:
            label = f"dataset '{self.name}'"
            yield from claims.joining("dataset", self.originator_id, self.project_id, label)
            yield Hold(claims.name("dataset", self.project_id, self.name), slot="name", label=label)
            yield NeedHeld(claims.exists("environment", self.environment_id))
            yield Hold(claims.use(self.environment_id), slot="environment", shared=True, label=label)

    class Changed(Event):
        TOPIC = "dataset.changed"
        project_id: UUID
        name: str
        default_task: str

        def apply(self, aggregate: "Dataset") -> None:
            aggregate.name, aggregate.default_task = self.name, self.default_task

        def claims(self) -> Iterable[Claim]:
            name = claims.name("dataset", self.project_id, self.name)
            return (Hold(name, slot="name", label=f"dataset '{self.name}'"),)

    class EpisodeAdded(Event):
        """An episode became the last one. ``version`` is the version that holds it; totals are those after it."""

        TOPIC = "dataset.episode-added"
        episode: EpisodeFacts
        episode_index: int
        version: int
        frames: int
        size_bytes: int

        def apply(self, aggregate: "Dataset") -> None:
            aggregate.episodes = [*aggregate.episodes, self.episode]
            aggregate.order = [*aggregate.order, self.episode.episode_id]
            aggregate.content_version = self.version
            aggregate.fps = self.episode.fps

    class EpisodesDeleted(Event, Curation):
        """They are in no newer version. Their files stay until they are purged."""

        TOPIC = "dataset.episodes-deleted"

        def apply(self, aggregate: "Dataset") -> None:
            aggregate.take_out(self.episode_ids)
            aggregate.content_version = self.version

    class EpisodesRestored(Event, Curation):
        """They are back in the place that they had among the others."""

        TOPIC = "dataset.episodes-restored"

        def apply(self, aggregate: "Dataset") -> None:
            ids = set(self.episode_ids)
            back = [episode for episode in aggregate.deleted_episodes if episode.episode_id in ids]
            aggregate.deleted_episodes = [kept for kept in aggregate.deleted_episodes if kept.episode_id not in ids]
            aggregate.episodes = aggregate.in_order([*aggregate.episodes, *back])
            aggregate.content_version = self.version

    class EpisodesPurged(Event):
        """Deleted ones whose files go: they cannot be restored any more."""

        TOPIC = "dataset.episodes-purged"
        episode_ids: list[UUID]

        def apply(self, aggregate: "Dataset") -> None:
            gone = set(self.episode_ids)
            aggregate.deleted_episodes = [kept for kept in aggregate.deleted_episodes if kept.episode_id not in gone]
            aggregate.purged = [*aggregate.purged, *self.episode_ids]

    class Repaired(Event, Curation):
        """Files were damaged. ``episode_ids`` are in no newer version; what was whole of some of them stands in their
        places, ``kept`` by the id of the one before. No file of an older version serves in a newer one."""

        TOPIC = "dataset.repaired"
        kept: dict[UUID, EpisodeFacts]

        def apply(self, aggregate: "Dataset") -> None:
            aggregate.take_out(self.episode_ids, self.kept)
            aggregate.order = [each for id in aggregate.order for each in self._in_place_of(id)]
            aggregate.content_version = aggregate.fresh_from = self.version

        def _in_place_of(self, id: UUID) -> Iterable[UUID]:
            return (id, self.kept[id].episode_id) if id in self.kept else (id,)

    class EpisodeChanged(Event):
        """What people say of an episode. Its task is in the dataset's files too, so another one is a new version."""

        TOPIC = "dataset.episode-changed"
        episode: EpisodeFacts
        version: int

        def apply(self, aggregate: "Dataset") -> None:
            id = self.episode.episode_id
            aggregate.episodes = [self.episode if known.episode_id == id else known for known in aggregate.episodes]
            aggregate.content_version = self.version

    class Deleted(Event):
        TOPIC = "dataset.deleted"

        def apply(self, aggregate: "Dataset") -> None:
            aggregate.deleted = True

        def claims(self) -> Iterable[Claim]:
            return (NeedFree(claims.use(self.originator_id)), Release())

    def __init__(self, project_id: UUID, environment_id: UUID, name: str, default_task: str) -> None:
        self.project_id = project_id
        self.environment_id = environment_id
        self.name = name
        self.default_task = default_task
        self.episodes = []
        self.deleted_episodes = []
        self.purged = []
        self.order = []
        self.content_version = 0
        self.fresh_from = 0
        self.fps = None

    @classmethod
    def create(cls, id: UUID, command: CreateDataset, at: datetime) -> "Dataset":
        fields = command.model_dump(include={"project_id", "environment_id", "name", "default_task"})
        return cls._create(cls.Created, id=id, timestamp=at, **fields)

    @classmethod
    def gathered(
        cls, id: UUID, name: str, chosen: Mapping[UUID, Iterable[UUID]], sources: Sequence["Dataset"], at: datetime
    ) -> "Dataset":
        """A new one that begins with the episodes ``chosen``, by the dataset of ``sources`` in which each is; what
        these have deleted since is taken all the same. It belongs to where the first of them does."""
        first = sources[0]
        fields = {"environment_id": first.environment_id, "default_task": first.default_task}
        dataset = cls._create(cls.Created, id=id, timestamp=at, project_id=first.project_id, name=name, **fields)
        for source in sources:
            known = {each.episode_id: each for each in (*source.episodes, *source.deleted_episodes)}
            for episode in chosen.get(source.id, ()):
                dataset.add_episode(known[episode], at)
        return dataset

    def update(self, command: UpdateDataset, at: datetime) -> None:
        self.must_exist()
        if (command.name, command.default_task) != (self.name, self.default_task):
            fields = command.model_dump(include={"name", "default_task"})
            self.trigger_event(self.Changed, timestamp=at, project_id=self.project_id, **fields)

    def delete(self, at: datetime) -> None:
        self.must_exist()
        self.trigger_event(self.Deleted, timestamp=at)

    def accepts(self, environment_id: UUID, fps: int) -> None:
        """Refuse a session whose rows would not fit the rows that are there."""
        self.must_exist()
        if environment_id != self.environment_id:
            raise Conflict("This dataset belongs to another environment; use that one, or a new dataset.")
        if self.fps is not None and fps != self.fps:
            raise Conflict(f"This dataset was recorded at {self.fps} fps; open the session with fps={self.fps}.")

    def add_episode(self, episode: EpisodeFacts, at: datetime, after_version: int = 0) -> int:
        """Append a saved episode; repeating it changes nothing. Returns its index. Versions up to ``after_version`` are
        on disk already, from before the log was lost."""
        self.must_exist()
        ids = [known.episode_id for known in self.episodes]
        if episode.episode_id in ids:
            return ids.index(episode.episode_id)
        if episode.episode_id in self.order:
            raise Conflict(f"Episode {episode.episode_id} was deleted from this dataset; restore it instead.")
        self.trigger_event(
            self.EpisodeAdded,
            timestamp=at,
            episode=episode,
            episode_index=len(ids),
            version=max(self.content_version, after_version) + 1,
            frames=sum(known.rows for known in self.episodes) + episode.rows,
            size_bytes=sum(known.size_bytes for known in self.episodes) + episode.size_bytes,
        )
        return len(ids)

    def delete_episodes(self, chosen: Iterable[int | UUID], at: datetime) -> None:
        """By index or id. Raises NotFound for one that is not there; then none is deleted."""
        self.must_exist()
        gone = {self.episode(which).episode_id for which in chosen}
        doomed = [episode.episode_id for episode in self.episodes if episode.episode_id in gone]
        if doomed:
            self._curate(self.EpisodesDeleted, doomed, self._without(gone), at)

    def restore_episodes(self, ids: Iterable[UUID], at: datetime) -> None:
        """Those that are there already stay. Raises NotFound for one that was never deleted; then none is restored."""
        self.must_exist()
        deleted = {episode.episode_id: episode for episode in self.deleted_episodes}
        there = {episode.episode_id for episode in self.episodes}
        wanted = [id for id in dict.fromkeys(ids) if id not in there]
        for id in wanted:
            if id not in deleted:
                raise NotFound(f"Episode {id} was not deleted from this dataset.", code="episode_not_found")
        if wanted:
            back = self.in_order([*self.episodes, *(deleted[id] for id in wanted)])
            self._curate(self.EpisodesRestored, wanted, back, at)

    def purge_episodes(self, ids: Iterable[UUID], at: datetime) -> None:
        """Give up the files of deleted ones; one that was restored meanwhile, or is purged already, is passed by."""
        self.must_exist()
        deleted, wanted = {episode.episode_id for episode in self.deleted_episodes}, dict.fromkeys(ids)
        if doomed := [id for id in wanted if id in deleted]:
            self.trigger_event(self.EpisodesPurged, timestamp=at, episode_ids=doomed)

    @property
    def with_files(self) -> list[UUID]:
        """The episodes that have files, those first that it holds."""
        return [episode.episode_id for episode in (*self.episodes, *self.deleted_episodes)]

    def repair(self, found: Mapping[UUID, EpisodeFacts | None], at: datetime) -> None:
        """Take the episodes out whose ids are in ``found``, and put in the place of each what was whole of it, if
        anything was, with what people say of it now. One that is gone meanwhile is passed by. The newest version is
        made anew in any case."""
        self.must_exist()
        there = {episode.episode_id: episode for episode in self.episodes if episode.episode_id in found}
        if any(facts is not None and facts.episode_id in self.order for facts in found.values()):
            raise Conflict("What is kept of an episode needs an id of its own.")
        whole = {id: (facts, there[id]) for id, facts in found.items() if facts is not None and id in there}
        kept = {id: facts.model_copy(update=said.model_dump(include=SAID)) for id, (facts, said) in whole.items()}
        self._curate(self.Repaired, list(there), self._without(set(there), kept), at, kept=kept)

    def take_out(self, ids: Iterable[UUID], kept: Mapping[UUID, EpisodeFacts] = NOTHING_KEPT) -> None:
        """These become deleted ones, and in their places stands what was kept of them."""
        gone = set(ids)
        doomed = [episode for episode in self.episodes if episode.episode_id in gone]
        self.deleted_episodes = [*self.deleted_episodes, *doomed]
        self.episodes = self._without(gone, kept)

    def _without(self, gone: set[UUID], kept: Mapping[UUID, EpisodeFacts] = NOTHING_KEPT) -> list[EpisodeFacts]:
        placed = [kept.get(each.episode_id, each) for each in self.episodes]
        return [episode for episode in placed if episode.episode_id not in gone]

    def update_episode(self, which: int | UUID, command: UpdateEpisode, at: datetime) -> None:
        """Raises NotFound."""
        self.must_exist()
        known = self.episode(which)
        changed = known.model_copy(update=command.model_dump(exclude_unset=True))
        if changed != known:
            version = self.content_version + (changed.task != known.task)
            self.trigger_event(self.EpisodeChanged, timestamp=at, episode=changed, version=version)

    @property
    def suspects(self) -> tuple[int, ...]:
        """The indices of the episodes that broke their session's limits."""
        return tuple(index for index, episode in enumerate(self.episodes) if episode.suspect is not None)

    def episode(self, which: int | UUID) -> EpisodeFacts:
        """By index or id. Raises NotFound."""
        found = [episode for index, episode in enumerate(self.episodes) if which in (index, episode.episode_id)]
        if not found:
            raise NotFound.of("episode", which)
        return found[0]

    def in_order(self, episodes: Iterable[EpisodeFacts]) -> list[EpisodeFacts]:
        """As they were recorded."""
        place = {id: number for number, id in enumerate(self.order)}
        return sorted(episodes, key=lambda episode: place[episode.episode_id])

    def _curate(
        self, kind: type[Curation], ids: list[UUID], episodes: list[EpisodeFacts], at: datetime, **known: object
    ) -> None:
        before = {episode.episode_id: index for index, episode in enumerate(self.episodes)}
        after = {episode.episode_id: index for index, episode in enumerate(episodes)}
        self.trigger_event(
            kind,
            timestamp=at,
            version=self.content_version + 1,
            indices={id: index for id, index in after.items() if before.get(id) != index},
            episodes=len(episodes),
            frames=sum(episode.rows for episode in episodes),
            size_bytes=sum(episode.size_bytes for episode in episodes),
            episode_ids=ids,
            **known,
        )
