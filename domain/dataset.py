"""A dataset: which saved episodes it holds, in order. On disk every version of it is a projection of this list."""

from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, ClassVar
from uuid import UUID

from eventsourcing.domain import CanInitAggregate
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from domain import claims
from domain.aggregate import (
    Aggregate,
    Claim,
    Command,
    CreateCommand,
    DomainEvent,
    Hold,
    Name,
    NeedFree,
    NeedHeld,
    Release,
)
from domain.errors import Conflict

Task = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


class EpisodeFacts(BaseModel):
    """What is known of a saved episode. ``rows`` is its length; fps and durations are measured, not wished for;
    ``sha256`` is that of its manifest, which holds those of its files."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    episode_id: UUID
    recording_id: UUID
    task: str
    rows: int = Field(ge=1)
    fps: int = Field(ge=1)
    measured_fps: float = Field(ge=0)
    duration_s: float = Field(ge=0)
    dropped: int = Field(ge=0)
    stale: int = Field(ge=0)
    repeated: int = Field(ge=0)
    size_bytes: int = Field(ge=0)
    sha256: str
    success: bool | None = None
    tags: tuple[str, ...] = ()
    note: str = ""
    suspect: str | None = None


class CreateDataset(CreateCommand):
    """``path`` is taken as a name only: the server chooses the folder."""

    name: Name
    project_id: UUID
    environment_id: UUID
    default_task: Task = "Do the task."
    path: str | None = Field(None, max_length=1024)


class UpdateDataset(Command):
    name: Name
    default_task: Task


class Dataset(Aggregate):
    TOPIC = "dataset"
    kind: ClassVar[str] = "dataset"

    project_id: UUID
    environment_id: UUID
    name: str
    default_task: str
    episodes: list[EpisodeFacts]
    content_version: int
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
            aggregate.content_version = self.version
            aggregate.fps = self.episode.fps

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
        self.content_version = 0
        self.fps = None

    @classmethod
    def create(cls, id: UUID, command: CreateDataset, at: datetime) -> "Dataset":
        fields = command.model_dump(include={"project_id", "environment_id", "name", "default_task"})
        return cls._create(cls.Created, id=id, timestamp=at, **fields)

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
