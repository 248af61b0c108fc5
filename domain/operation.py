"""An operation: work on whole datasets that takes longer than an answer may. How it ended never changes.

running ──► completed | failed        a process that is lost is followed by another, which begins the work again
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, ClassVar
from uuid import UUID, uuid5

from eventsourcing.domain import CanInitAggregate
from pydantic import BaseModel, ConfigDict, Field, model_validator

from domain import claims
from domain.aggregate import (
    Aggregate,
    Claim,
    Command,
    CreateCommand,
    DomainEvent,
    Hold,
    Int,
    Name,
    NeedHeld,
    Number,
    Release,
)
from domain.dataset import Dataset
from domain.errors import Conflict, Invalid

MAX_ATTEMPTS = 5
ROUNDING = 1e-9


class OperationKind(StrEnum):
    VERIFY = "verify"
    REPAIR = "repair"
    MERGE = "merge"
    SPLIT = "split"


class OperationStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class VerifyDataset(Command):
    """Reads every file of the dataset, and changes nothing."""


class RepairDataset(Command):
    """Replaces the damaged episodes by what is whole of them."""


Index = Annotated[Int, Field(ge=0)]
Fraction = Annotated[Number, Field(gt=0, le=1)]


class MergeDatasets(CreateCommand):
    """A new dataset ``name`` with the episodes of one and then those of ``dataset_ids``; ``id`` is the new one's."""

    dataset_ids: tuple[UUID, ...] = Field(min_length=1, max_length=100)
    name: Name


class Part(Command):
    """A new dataset with these episodes, each by its index or its id, in this order."""

    name: Name
    episodes: tuple[Index | UUID, ...] = Field(min_length=1, max_length=10_000)


class SplitDataset(Command):
    """Either ``parts``, or the share of all episodes that each name of ``fractions`` gets, drawn by ``seed``: the same
    seed draws the same."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"fractions": {"train": 0.8, "test": 0.2}}]})
    parts: tuple[Part, ...] = Field((), max_length=100)
    fractions: dict[Name, Fraction] = Field(default_factory=dict, max_length=100)
    seed: Int = 0

    @model_validator(mode="after")
    def _says_how(self) -> "SplitDataset":
        if bool(self.parts) == bool(self.fractions):
            raise ValueError("say either which episodes each of the parts gets, or the fractions")
        if sum(self.fractions.values()) > 1 + ROUNDING:
            raise ValueError("the fractions are more than 1 together")
        names = [name.lower() for name in (*(part.name for part in self.parts), *self.fractions)]
        if len(set(names)) < len(names):
            raise ValueError("each part needs a name of its own")
        return self


class NewDataset(BaseModel):
    """What becomes a dataset: ``episodes`` in their order, by the dataset that they are in. They keep their ids: an
    episode never changes, so it is the same one in every dataset that holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset_id: UUID
    name: str
    episodes: dict[UUID, tuple[UUID, ...]]


class Operation(Aggregate):
    TOPIC = "operation"
    kind: ClassVar[str] = "operation"

    project_id: UUID
    type: OperationKind
    dataset_ids: tuple[UUID, ...]
    payload: dict[str, Any]
    new: tuple[NewDataset, ...]
    status: OperationStatus
    attempt: int
    run: UUID | None
    applied: dict[str, Any] | None

    class Event(DomainEvent):
        """Something that happened to an operation."""

    class Submitted(Event, CanInitAggregate[UUID]):
        """``dataset_ids`` are the datasets that it reads, which cannot be deleted meanwhile; ``payload`` the command as
        sent; ``new`` the datasets that it makes, which have their names from now on."""

        TOPIC = "operation.submitted"
        project_id: UUID
        type: OperationKind
        dataset_ids: tuple[UUID, ...]
        payload: dict[str, Any] = Field(default_factory=dict)
        new: tuple[NewDataset, ...] = ()

        def claims(self) -> Iterable[Claim]:
            label = f"the {self.type} operation {self.originator_id}"
            yield NeedHeld(claims.exists("project", self.project_id))
            yield Hold(claims.exists("operation", self.originator_id), slot=claims.ITSELF, label=label)
            yield Hold(claims.busy(self.project_id), slot="busy", shared=True, label=label)
            for dataset in self.dataset_ids:
                yield NeedHeld(claims.exists("dataset", dataset))
                yield Hold(claims.use(dataset), slot="dataset", shared=True, label=label)
            for made in self.new:
                yield Hold(claims.name("dataset", self.project_id, made.name), slot="name", label=label)
            if self.type is OperationKind.REPAIR:
                yield Hold(claims.repair(self.dataset_ids[0]), slot="repair", label=label)

    class Started(Event):
        """A process begins with the work, or begins it again."""

        TOPIC = "operation.started"
        attempt: int
        run: UUID
        node: str

        def apply(self, aggregate: "Operation") -> None:
            aggregate.attempt, aggregate.run = self.attempt, self.run

    class Applied(Event):
        """What it changes is in the log; it has only to be shown on the disk."""

        TOPIC = "operation.applied"
        result: dict[str, Any]

        def apply(self, aggregate: "Operation") -> None:
            aggregate.applied = self.result

    class Completed(Event):
        TOPIC = "operation.completed"
        result: dict[str, Any] = Field(default_factory=dict)

        def apply(self, aggregate: "Operation") -> None:
            aggregate.status = OperationStatus.COMPLETED

        def claims(self) -> Iterable[Claim]:
            return (Release(),)

    class Failed(Event):
        TOPIC = "operation.failed"
        reason: str

        def apply(self, aggregate: "Operation") -> None:
            aggregate.status = OperationStatus.FAILED

        def claims(self) -> Iterable[Claim]:
            return (Release(),)

    def __init__(
        self,
        project_id: UUID,
        type: OperationKind,
        dataset_ids: tuple[UUID, ...],
        payload: dict[str, Any],
        new: tuple[NewDataset, ...],
    ) -> None:
        self.payload = payload
        self.new = new
        self.project_id = project_id
        self.type = type
        self.dataset_ids = dataset_ids
        self.status = OperationStatus.RUNNING
        self.attempt = 0
        self.run = None
        self.applied = None

    @classmethod
    def verify(cls, id: UUID, dataset: Dataset, at: datetime) -> "Operation":
        """Raises Invalid when there is nothing to look at."""
        return cls._submit(id, OperationKind.VERIFY, [dataset], at)

    @classmethod
    def repair(cls, id: UUID, dataset: Dataset, at: datetime) -> "Operation":
        """Raises Invalid when there is nothing that could be damaged."""
        return cls._submit(id, OperationKind.REPAIR, [dataset], at)

    @classmethod
    def merge(
        cls, id: UUID, dataset_id: UUID, command: MergeDatasets, datasets: Sequence[Dataset], at: datetime
    ) -> "Operation":
        """All episodes of ``datasets``, dataset by dataset; one that is in several is taken once. Whether their rows
        fit together, their files say. Raises Invalid, or Conflict when they have different episodes of one id."""
        known, episodes = dict[UUID, str](), dict[UUID, tuple[UUID, ...]]()
        for dataset in datasets:
            _check_source(dataset, datasets[0].project_id)
            facts = [each for each in dataset.episodes if known.get(each.episode_id) != each.sha256]
            for each in facts:
                if each.episode_id in known:
                    raise Conflict(f"Episode {each.episode_id} is another one in '{dataset.name}'. Delete one of them.")
                known[each.episode_id] = each.sha256
            episodes[dataset.id] = tuple(each.episode_id for each in facts)
        if len(episodes) < 2:
            raise Invalid("A merge takes at least two datasets; name another one in dataset_ids.")
        new = (NewDataset(dataset_id=dataset_id, name=command.name, episodes=episodes),)
        return cls._submit(id, OperationKind.MERGE, [*datasets], at, payload=_sent(command), new=new)

    @classmethod
    def split(cls, id: UUID, command: SplitDataset, dataset: Dataset, at: datetime) -> "Operation":
        """Raises NotFound for an episode that is not there, Invalid for one in two parts and for a part without any."""
        _check_source(dataset, dataset.project_id)
        parts = _chosen(command, dataset) if command.parts else _drawn(command, dataset)
        new = tuple(
            NewDataset(dataset_id=uuid5(id, name), name=name, episodes={dataset.id: chosen})
            for name, chosen in parts.items()
        )
        return cls._submit(id, OperationKind.SPLIT, [dataset], at, payload=_sent(command), new=new)

    @classmethod
    def _submit(cls, id: UUID, type: OperationKind, datasets: list[Dataset], at: datetime, **known: Any) -> "Operation":
        for dataset in datasets:
            dataset.must_exist()
            if not dataset.order:
                raise Invalid(f"The dataset '{dataset.name}' has no episodes yet; record some.", code="dataset_empty")
        return cls._create(
            cls.Submitted,
            id=id,
            timestamp=at,
            project_id=datasets[0].project_id,
            type=type,
            dataset_ids=tuple(dataset.id for dataset in datasets),
            **known,
        )

    @property
    def ended(self) -> bool:
        return self.status is not OperationStatus.RUNNING

    @property
    def is_hopeless(self) -> bool:
        """Whether so many processes were lost over it that the next would be, too."""
        return self.attempt >= MAX_ATTEMPTS

    def start(self, run: UUID, node: str, at: datetime) -> None:
        """An owner begins, or begins again after another one was lost."""
        self.check_live()
        self.trigger_event(self.Started, timestamp=at, attempt=self.attempt + 1, run=run, node=node)

    def apply_change(self, result: dict[str, Any], at: datetime) -> None:
        """In the append that changes the dataset: whoever takes the operation over does not change it again."""
        self.check_live()
        if self.applied is not None:
            raise Conflict("Another process has done this already.", code="operation_applied")
        self.trigger_event(self.Applied, timestamp=at, result=result)

    def complete(self, result: dict[str, Any], at: datetime) -> None:
        self.check_live()
        self.trigger_event(self.Completed, timestamp=at, result=result)

    def fail(self, reason: str, at: datetime) -> None:
        """One that has ended stays as it ended."""
        if not self.ended:
            self.trigger_event(self.Failed, timestamp=at, reason=reason)

    def check_live(self) -> None:
        """Raises Conflict when nothing more can happen to it."""
        if self.ended:
            raise Conflict(f"The operation has already ended: {self.status}.", code="operation_ended")


def _sent(command: Command) -> dict[str, Any]:
    return command.model_dump(mode="json", exclude={"id"})


def _check_source(dataset: Dataset, project_id: UUID) -> None:
    dataset.must_exist()
    if dataset.project_id != project_id:
        raise Invalid(f"The dataset '{dataset.name}' belongs to another project.", code="unknown_dataset")
    if not dataset.episodes:
        raise Invalid(f"The dataset '{dataset.name}' has no episodes; record some.", code="dataset_empty")


def _chosen(command: SplitDataset, dataset: Dataset) -> dict[str, tuple[UUID, ...]]:
    parts = {part.name: tuple(dataset.episode(which).episode_id for which in part.episodes) for part in command.parts}
    every = [id for chosen in parts.values() for id in chosen]
    if twice := [id for id, count in Counter(every).items() if count > 1]:
        raise Invalid(f"Episode {twice[0]} is named twice; an episode goes into one part.")
    return parts


def _drawn(command: SplitDataset, dataset: Dataset) -> dict[str, tuple[UUID, ...]]:
    """Each episode has its place in the draw from its own id, so that one more does not shuffle the others."""
    ids = [episode.episode_id for episode in dataset.episodes]
    place = {id: number for number, id in enumerate(ids)}
    drawn = sorted(ids, key=lambda id: sha256(f"{command.seed} {id}".encode()).digest())
    parts, share, begin = dict[str, tuple[UUID, ...]](), 0.0, 0
    for name, fraction in command.fractions.items():
        share += fraction
        end = round(share * len(ids))
        if end == begin:
            raise Invalid(f"'{name}' would get none of the {len(ids)} episodes; give it a greater fraction.")
        parts[name] = tuple(sorted(drawn[begin:end], key=place.__getitem__))
        begin = end
    return parts
