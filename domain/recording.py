"""A recording session: it holds the devices of an environment, takes episodes, saves or discards each.

opening ──► ready ◄──────── saved · interrupted ─────────┐
   │          │ start                                    │
   ▼          ▼                                          │
failed    recording ── save ──► saving, where the next one can start
              └── discarded · interrupted ──► ready
any of them ──► closed | failed, once no episode is recorded or being saved
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Self
from uuid import UUID

from eventsourcing.domain import CanInitAggregate
from pydantic import BaseModel, Field, model_validator

from domain import claims
from domain.aggregate import (
    Aggregate,
    Claim,
    Command,
    CreateCommand,
    DomainEvent,
    Flag,
    Hold,
    Int,
    NeedHeld,
    Number,
    Release,
)
from domain.environment import Environment
from domain.episode import EpisodeFacts, Limits, Note, Quality, Tags, Task
from domain.errors import Conflict, Invalid
from domain.plan import Plan
from domain.takes import Label, Take, Takes


class RecordingState(StrEnum):
    OPENING = "opening"
    READY = "ready"
    RECORDING = "recording"
    SAVING = "saving"
    CLOSED = "closed"
    FAILED = "failed"


class OpenRecording(CreateCommand, Plan, Limits, Quality):
    """Opens a session. No ``dataset_id`` is practice: nothing is written. ``fps`` is rows a second."""

    environment_id: UUID
    dataset_id: UUID | None = None
    fps: Int = Field(30, ge=1, le=120)
    task: Task | None = None
    idle_timeout_s: Number = Field(600, ge=1, le=86_400)

    @model_validator(mode="after")
    def _practice_saves_nothing(self) -> Self:
        if self.dataset_id is None and (self.episode_time_s, self.reset_time_s, self.episodes) != (None, None, None):
            raise ValueError("without a dataset_id nothing is saved, so nothing can be saved by itself")
        return self


def _part[T: BaseModel](command: OpenRecording, kind: type[T]) -> T:
    """What the command says of one of the kinds that it is made of."""
    return kind(**command.model_dump(include=set(kind.model_fields)))


class StartEpisode(Command):
    task: Task | None = None
    episode_id: UUID | None = None


class SaveEpisode(Command):
    """``success`` is the operator's verdict, where one is given."""

    episode_id: UUID
    success: Flag | None = None
    tags: Tags = ()
    note: Note = ""


class DiscardEpisode(Command):
    episode_id: UUID


class KeepEpisode(Command):
    """Save what is whole of an interrupted episode."""

    episode_id: UUID


class CloseRecording(Command):
    """Ends the session; an open episode is kept as interrupted, never discarded."""


class Recording(Aggregate):
    TOPIC = "recording"
    kind: ClassVar[str] = "recording"

    project_id: UUID
    environment_id: UUID
    dataset_id: UUID | None
    fps: int
    task: str
    idle_timeout_s: float
    plan: Plan
    limits: Limits
    quality: Quality
    camera_ids: list[UUID]
    robot_id: UUID
    tele_operator: str
    state: RecordingState
    reason: str | None
    run: UUID | None
    node: str | None
    number: int
    takes: Takes
    ended_as: RecordingState | None

    class Event(DomainEvent):
        """Something that happened in a recording session."""

    class Opened(Event, CanInitAggregate[UUID]):
        TOPIC = "recording.opened"
        project_id: UUID
        environment_id: UUID
        dataset_id: UUID | None
        fps: int
        task: str
        idle_timeout_s: float
        camera_ids: list[UUID]
        robot_id: UUID
        tele_operator: str
        plan: Plan = Plan()
        limits: Limits = Limits()
        quality: Quality = Quality()

        def claims(self) -> Iterable[Claim]:
            label = f"recording session {self.originator_id}"
            yield NeedHeld(claims.exists("project", self.project_id))
            yield Hold(claims.exists("recording", self.originator_id), slot=claims.ITSELF, label=label)
            for thing in (*self.camera_ids, self.robot_id, self.environment_id):
                yield Hold(claims.device(thing), slot=f"device:{thing}", label=label)
            yield Hold(claims.busy(self.project_id), slot="busy", shared=True, label=label)
            if self.dataset_id is not None:
                yield NeedHeld(claims.exists("dataset", self.dataset_id))
                yield Hold(claims.use(self.dataset_id), slot="dataset", shared=True, label=label)

    class Readied(Event):
        """Every device delivers. ``run`` names the owner that has them: a later one fences it off."""

        TOPIC = "recording.readied"
        run: UUID
        node: str

        def apply(self, aggregate: "Recording") -> None:
            aggregate.state, aggregate.run, aggregate.node = RecordingState.READY, self.run, self.node

    class EpisodeStarted(Event):
        TOPIC = "recording.episode-started"
        episode_id: UUID
        number: int
        task: str

        def apply(self, aggregate: "Recording") -> None:
            take = Take(episode_id=self.episode_id, number=self.number, task=self.task, started_at=self.timestamp)
            aggregate.number = self.number
            aggregate.has(aggregate.takes.begun(take))

    class EpisodeEnded(Event):
        """It is known which row is the last and that the episode shall be saved; the files follow."""

        TOPIC = "recording.episode-ended"
        episode_id: UUID
        rows: int
        success: bool | None
        tags: tuple[str, ...] = ()
        note: str = ""

        def apply(self, aggregate: "Recording") -> None:
            label = Label(success=self.success, tags=self.tags, note=self.note)
            aggregate.has(aggregate.takes.ended(self.episode_id, self.rows, label))

    class EpisodeSaved(Event):
        TOPIC = "recording.episode-saved"
        episode: EpisodeFacts
        episode_index: int

        def apply(self, aggregate: "Recording") -> None:
            aggregate.has(aggregate.takes.saved_at(self.episode.episode_id, self.episode_index))

    class EpisodeDiscarded(Event):
        TOPIC = "recording.episode-discarded"
        episode_id: UUID

        def apply(self, aggregate: "Recording") -> None:
            aggregate.has(aggregate.takes.dropped(self.episode_id))

    class EpisodeInterrupted(Event):
        """The episode ended against our will. ``rows`` are whole on disk: keep them or discard them."""

        TOPIC = "recording.episode-interrupted"
        episode_id: UUID
        rows: int
        reason: str

        def apply(self, aggregate: "Recording") -> None:
            aggregate.has(aggregate.takes.lost(self.episode_id, self.rows, self.reason))

    class Closed(Event):
        TOPIC = "recording.closed"
        reason: str

        def apply(self, aggregate: "Recording") -> None:
            aggregate.state = aggregate.ended_as = RecordingState.CLOSED
            aggregate.reason = self.reason

        def claims(self) -> Iterable[Claim]:
            return (Release(),)

    class Failed(Closed):
        TOPIC = "recording.failed"

        def apply(self, aggregate: "Recording") -> None:
            aggregate.state = aggregate.ended_as = RecordingState.FAILED
            aggregate.reason = self.reason

    def __init__(
        self,
        project_id: UUID,
        environment_id: UUID,
        dataset_id: UUID | None,
        fps: int,
        task: str,
        idle_timeout_s: float,
        camera_ids: list[UUID],
        robot_id: UUID,
        tele_operator: str,
        plan: Plan,
        limits: Limits,
        quality: Quality,
    ) -> None:
        self.plan = plan
        self.limits = limits
        self.quality = quality
        self.project_id = project_id
        self.environment_id = environment_id
        self.dataset_id = dataset_id
        self.fps = fps
        self.task = task
        self.idle_timeout_s = idle_timeout_s
        self.camera_ids = camera_ids
        self.robot_id = robot_id
        self.tele_operator = tele_operator
        self.state = RecordingState.OPENING
        self.reason = None
        self.run = None
        self.node = None
        self.number = 0
        self.takes = Takes()
        self.ended_as = None

    @classmethod
    def open(
        cls, id: UUID, project_id: UUID, command: OpenRecording, environment: Environment, task: str, at: datetime
    ) -> "Recording":
        """Its devices are the environment's, which cannot change while the session holds it."""
        robot = environment.robots[0]
        return cls._create(
            cls.Opened,
            id=id,
            timestamp=at,
            project_id=project_id,
            environment_id=command.environment_id,
            dataset_id=command.dataset_id,
            fps=command.fps,
            task=command.task or task,
            idle_timeout_s=command.idle_timeout_s,
            camera_ids=environment.camera_ids,
            robot_id=robot.robot_id,
            tele_operator=robot.tele_operator.type,
            plan=_part(command, Plan),
            limits=_part(command, Limits),
            quality=_part(command, Quality),
        )

    @property
    def ended(self) -> bool:
        """Nothing more can be recorded in it; an interrupted episode of it can still be kept or discarded."""
        return self.ended_as is not None

    def has(self, takes: Takes) -> None:
        """For events: its state is what it does with its episodes."""
        self.takes = takes
        if takes.open is not None:
            self.state = RecordingState.RECORDING
        else:
            self.state = RecordingState.SAVING if takes.saving else self.ended_as or RecordingState.READY

    @property
    def rows_planned(self) -> int | None:
        """The rows after which an episode is saved by itself."""
        return self.plan.rows(self.fps)

    @property
    def goes_on(self) -> bool:
        """Whether another episode starts by itself once this one has ended well."""
        return self.plan.wants_another(len(self.takes.saved) + len(self.takes.saving))

    def ready(self, run: UUID, node: str, at: datetime) -> None:
        """An owner has all devices: after opening, and again after the owner's process was lost."""
        self.check_open()
        self._must_be_at_rest()
        self.trigger_event(self.Readied, timestamp=at, run=run, node=node)

    def start(self, episode_id: UUID, command: StartEpisode, at: datetime) -> None:
        match self.state:
            case RecordingState.READY | RecordingState.SAVING if not self.ended and not self.takes.knows(episode_id):
                task = command.task or self.task
                self.trigger_event(
                    self.EpisodeStarted, timestamp=at, episode_id=episode_id, number=self.number + 1, task=task
                )
            case RecordingState.RECORDING if self.takes.is_open(episode_id):
                pass
            case RecordingState.READY | RecordingState.SAVING if not self.ended:
                raise Conflict(f"Episode {episode_id} has already ended; start a new one.")
            case _:
                raise Conflict(f"No episode can start while the session is {self.state}.")

    def end(self, command: SaveEpisode, rows: int, at: datetime) -> None:
        """The open episode shall be saved with ``rows`` rows."""
        self._must_have_open(command.episode_id)
        if rows < 1:
            raise Invalid("The episode has no row yet; record longer, or discard it.")
        fields = command.model_dump(include={"success", "tags", "note"})
        self.trigger_event(self.EpisodeEnded, timestamp=at, episode_id=command.episode_id, rows=rows, **fields)

    def keep(self, command: KeepEpisode, at: datetime) -> None:
        """Save an interrupted episode as far as it is whole; of an ended session too."""
        if self.takes.is_busy or self.state is RecordingState.OPENING:
            raise Conflict(f"This needs an idle session; it is {self.state}.")
        take = self.takes.interrupted.get(command.episode_id)
        if take is None:
            raise Conflict(f"Episode {command.episode_id} is not an interrupted one of this session.")
        if not take.rows:
            raise Conflict("Nothing of this episode is whole; discard it.")
        self.trigger_event(self.EpisodeEnded, timestamp=at, episode_id=take.episode_id, rows=take.rows, success=None)

    def saved_as(self, episode: EpisodeFacts, index: int, at: datetime) -> None:
        """The episode's files are whole and durable."""
        if episode.episode_id not in self.takes.saving:
            raise Conflict(f"Episode {episode.episode_id} is not being saved; the session is {self.state}.")
        self.trigger_event(self.EpisodeSaved, timestamp=at, episode=episode, episode_index=index)

    def discard(self, episode_id: UUID, at: datetime) -> None:
        if episode_id in self.takes.discarded:
            return
        if episode_id not in self.takes.interrupted:
            self._must_have_open(episode_id)
        self.trigger_event(self.EpisodeDiscarded, timestamp=at, episode_id=episode_id)

    def interrupt(self, episode_id: UUID, rows: int, reason: str, at: datetime) -> None:
        """An episode that was recorded or being saved has ended against our will with ``rows`` whole rows."""
        if episode_id not in self.takes.saving and not self.takes.is_open(episode_id):
            raise Conflict(f"Episode {episode_id} is not open; the session is {self.state}.")
        self.trigger_event(self.EpisodeInterrupted, timestamp=at, episode_id=episode_id, rows=rows, reason=reason)

    def close(self, reason: str, at: datetime) -> None:
        """An open episode must have been interrupted or saved before; closing again changes nothing."""
        self._must_be_at_rest()
        if not self.ended:
            self.trigger_event(self.Closed, timestamp=at, reason=reason)

    def fail(self, reason: str, at: datetime) -> None:
        """Like ``close``, when the session cannot go on."""
        self._must_be_at_rest()
        if not self.ended:
            self.trigger_event(self.Failed, timestamp=at, reason=reason)

    def check_open(self) -> None:
        """Raises Conflict when nothing more can happen in it."""
        if self.ended:
            raise Conflict(f"The session is {self.state}: {self.reason}. Open a new one.")

    def _must_be_at_rest(self) -> None:
        if self.takes.is_busy:
            raise Conflict("An episode is still open.")

    def _must_have_open(self, episode_id: UUID) -> None:
        self.check_open()
        self.takes.must_be_open(episode_id)
