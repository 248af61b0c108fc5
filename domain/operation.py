"""An operation: work on whole datasets that takes longer than an answer may. How it ended never changes.

running ──► completed | failed        a process that is lost is followed by another, which begins the work again
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar
from uuid import UUID

from eventsourcing.domain import CanInitAggregate
from pydantic import Field

from domain import claims
from domain.aggregate import Aggregate, Claim, Command, DomainEvent, Hold, NeedHeld, Release
from domain.dataset import Dataset
from domain.errors import Conflict, Invalid

MAX_ATTEMPTS = 5


class OperationKind(StrEnum):
    VERIFY = "verify"
    REPAIR = "repair"


class OperationStatus(StrEnum):
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class VerifyDataset(Command):
    """Reads every file of the dataset, and changes nothing."""


class RepairDataset(Command):
    """Replaces the damaged episodes by what is whole of them."""


class Operation(Aggregate):
    TOPIC = "operation"
    kind: ClassVar[str] = "operation"

    project_id: UUID
    type: OperationKind
    dataset_ids: tuple[UUID, ...]
    status: OperationStatus
    attempt: int
    run: UUID | None
    applied: dict[str, Any] | None

    class Event(DomainEvent):
        """Something that happened to an operation."""

    class Submitted(Event, CanInitAggregate[UUID]):
        """``dataset_ids`` are the datasets that it reads, which cannot be deleted meanwhile."""

        TOPIC = "operation.submitted"
        project_id: UUID
        type: OperationKind
        dataset_ids: tuple[UUID, ...]

        def claims(self) -> Iterable[Claim]:
            label = f"the {self.type} operation {self.originator_id}"
            yield NeedHeld(claims.exists("project", self.project_id))
            yield Hold(claims.exists("operation", self.originator_id), slot=claims.ITSELF, label=label)
            yield Hold(claims.busy(self.project_id), slot="busy", shared=True, label=label)
            for dataset in self.dataset_ids:
                yield NeedHeld(claims.exists("dataset", dataset))
                yield Hold(claims.use(dataset), slot="dataset", shared=True, label=label)
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

    def __init__(self, project_id: UUID, type: OperationKind, dataset_ids: tuple[UUID, ...]) -> None:
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
