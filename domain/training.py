"""A job: a policy trained on one version of a dataset, or a model's rollouts. Terminal states never change.

pending ──► running ──► completed | failed | canceled
   ▲           │
   └─ interrupted (our machine died: it resumes by itself)
"""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from eventsourcing.domain import CanInitAggregate
from pydantic import Field

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
    Name,
    NeedHeld,
    Number,
    Release,
)
from domain.dataset import Dataset
from domain.errors import Conflict, Invalid
from domain.model import Model

Backend = Literal["torch", "onnx", "openvino"]


class JobStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELED = "canceled"


TERMINAL = (JobStatus.COMPLETED, JobStatus.FAILED, JobStatus.CANCELED)


class Device(Command):
    """What to train on. ``index`` counts the cluster's devices of this type, node by node, the head's first: all the
    processors of a machine are one ``cpu``, each of its cards is a ``cuda``."""

    type: Literal["cpu", "cuda", "xpu", "mps"]
    index: Int = Field(0, ge=0, le=9999)


class Train(CreateCommand):
    """A policy to train. ``max_steps`` are optimizer steps; ``val_split`` is the share of episodes held out;
    ``resources_per_worker`` are Ray's names and amounts. A ``device`` binds the workers to the node that has it; each
    claims a whole card unless ``resources_per_worker`` says otherwise, and which card of the node is Ray's choice.
    Episodes that broke their session's limits are left out unless ``include_suspect``."""

    project_id: UUID
    dataset_id: UUID
    policy: str = Field("act", min_length=1, max_length=64)
    model_name: Name
    max_steps: Int = Field(100, ge=1, le=1_000_000)
    batch_size: Int = Field(8, ge=1, le=256)
    num_workers: Annotated[Int, Field(ge=0, le=64)] | Literal["auto"] = "auto"
    val_split: Number = Field(0.1, ge=0, lt=1)
    train_workers: Int = Field(1, ge=1, le=64)
    resources_per_worker: dict[str, Annotated[Number, Field(ge=0)]] = Field(default_factory=dict)
    device: Device | None = None
    checkpoint_every: Int = Field(100, ge=1)
    policy_args: dict[str, Any] = Field(default_factory=dict)
    seed: Int = Field(0, ge=0, lt=2**31)
    include_suspect: Flag = False
    export: tuple[Backend, ...] = ("torch", "onnx", "openvino")


class Evaluate(CreateCommand):
    """Rollouts of a model in the simulated cell; the expert and a random policy run on the same seeds beside it."""

    environment: Literal["PushT"] = "PushT"
    episodes: Int = Field(10, ge=1, le=500)
    seed: Int = Field(100_000, ge=0, lt=2**31)


class InterruptJob(Command):
    """Ends the job as canceled, with a checkpoint kept."""


class Job(Aggregate):
    TOPIC = "job"
    kind: ClassVar[str] = "job"

    project_id: UUID
    type: str
    dataset_id: UUID | None
    dataset_version: int | None
    model_id: UUID
    payload: dict[str, Any]
    left_out: tuple[int, ...]
    status: JobStatus
    attempt: int
    run: UUID | None
    progress: int
    message: str
    cancel_requested: bool

    class Event(DomainEvent):
        """Something that happened to a job."""

    class Submitted(Event, CanInitAggregate[UUID]):
        """``payload`` is the command as sent; ``model_id`` the model that is made, or evaluated; ``left_out`` the
        indices of the episodes in ``dataset_version`` that are not learned from."""

        TOPIC = "job.submitted"
        project_id: UUID
        type: Literal["training", "evaluation"]
        dataset_id: UUID | None
        dataset_version: int | None
        model_id: UUID
        payload: dict[str, Any]
        left_out: tuple[int, ...] = ()

        def claims(self) -> Iterable[Claim]:
            label = f"{self.type} job {self.originator_id}"
            yield NeedHeld(claims.exists("project", self.project_id))
            yield Hold(claims.exists("job", self.originator_id), slot=claims.ITSELF, label=label)
            yield Hold(claims.busy(self.project_id), slot="busy", shared=True, label=label)
            if self.dataset_id is not None:
                yield NeedHeld(claims.exists("dataset", self.dataset_id))
                yield Hold(claims.use(self.dataset_id), slot="dataset", shared=True, label=label)
            if self.type == "evaluation":
                yield NeedHeld(claims.exists("model", self.model_id))
                yield Hold(claims.use(self.model_id), slot="model", shared=True, label=label)

    class Started(Event):
        TOPIC = "job.started"
        attempt: int
        run: UUID
        node: str

        def apply(self, aggregate: "Job") -> None:
            aggregate.status, aggregate.attempt, aggregate.run = JobStatus.RUNNING, self.attempt, self.run

    class Progressed(Event):
        """Where it stands, in percent, at most every few seconds; the curve itself is a file."""

        TOPIC = "job.progressed"
        progress: int = Field(ge=0, le=100)
        message: str
        extra_info: dict[str, float] = Field(default_factory=dict)

        def apply(self, aggregate: "Job") -> None:
            aggregate.progress, aggregate.message = self.progress, self.message

    class CancelRequested(Event):
        TOPIC = "job.cancel-requested"

        def apply(self, aggregate: "Job") -> None:
            aggregate.cancel_requested = True

    class Interrupted(Event):
        """Its machine or process died."""

        TOPIC = "job.interrupted"
        reason: str

        def apply(self, aggregate: "Job") -> None:
            aggregate.status = JobStatus.INTERRUPTED

    class Ended(Event):
        """Base of the events after which nothing more happens."""

        TOPIC = "job.ended"
        reason: str | None = None
        result: dict[str, Any] = Field(default_factory=dict)

        def claims(self) -> Iterable[Claim]:
            return (Release(),)

    class Completed(Ended):
        TOPIC = "job.completed"

        def apply(self, aggregate: "Job") -> None:
            aggregate.status, aggregate.progress = JobStatus.COMPLETED, 100

    class Failed(Ended):
        TOPIC = "job.failed"

        def apply(self, aggregate: "Job") -> None:
            aggregate.status = JobStatus.FAILED

    class Canceled(Ended):
        TOPIC = "job.canceled"

        def apply(self, aggregate: "Job") -> None:
            aggregate.status = JobStatus.CANCELED

    def __init__(
        self,
        project_id: UUID,
        type: str,
        dataset_id: UUID | None,
        dataset_version: int | None,
        model_id: UUID,
        payload: dict[str, Any],
        left_out: tuple[int, ...],
    ) -> None:
        self.left_out = left_out
        self.project_id = project_id
        self.type = type
        self.dataset_id = dataset_id
        self.dataset_version = dataset_version
        self.model_id = model_id
        self.payload = payload
        self.status = JobStatus.PENDING
        self.attempt = 0
        self.run = None
        self.progress = 0
        self.message = ""
        self.cancel_requested = False

    @classmethod
    def train(cls, id: UUID, model_id: UUID, command: Train, dataset: Dataset, at: datetime) -> "Job":
        if dataset.project_id != command.project_id:
            raise Invalid("The dataset belongs to another project.", code="unknown_dataset")
        if not dataset.episodes:
            raise Invalid("The dataset has no episodes yet; record some first.", code="dataset_empty")
        left_out = () if command.include_suspect else dataset.suspects
        if len(left_out) == len(dataset.episodes):
            first = dataset.episodes[0].suspect
            raise Invalid(
                f"All episodes are suspect (the first: {first}). Record better ones, or set include_suspect.",
                code="dataset_suspect",
            )
        rows = sum(each.rows for index, each in enumerate(dataset.episodes) if index not in left_out)
        if rows < command.batch_size:
            raise Invalid(
                f"The dataset has {rows} rows to train on, fewer than one batch of {command.batch_size}: "
                "record more, or choose a smaller batch_size.",
                code="dataset_too_small",
            )
        return cls._create(
            cls.Submitted,
            id=id,
            timestamp=at,
            project_id=command.project_id,
            type="training",
            dataset_id=command.dataset_id,
            dataset_version=dataset.content_version,
            model_id=model_id,
            payload=command.model_dump(mode="json", exclude={"id"}),
            left_out=left_out,
        )

    @classmethod
    def evaluate(cls, id: UUID, command: Evaluate, model: Model, at: datetime) -> "Job":
        model.must_exist()
        return cls._create(
            cls.Submitted,
            id=id,
            timestamp=at,
            project_id=model.project_id,
            type="evaluation",
            dataset_id=None,
            dataset_version=None,
            model_id=model.id,
            payload=command.model_dump(mode="json", exclude={"id"}),
            left_out=(),
        )

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    def start(self, run: UUID, node: str, at: datetime) -> None:
        """An owner begins, or begins again after an interruption."""
        self.check_live()
        self.trigger_event(self.Started, timestamp=at, attempt=self.attempt + 1, run=run, node=node)

    def progressed(self, progress: int, message: str, extra_info: dict[str, float], at: datetime) -> None:
        self.check_live()
        self.trigger_event(
            self.Progressed, timestamp=at, progress=max(progress, self.progress), message=message, extra_info=extra_info
        )

    def request_cancel(self, at: datetime) -> None:
        """Asking twice is the same as asking once; a job that has ended stays as it ended."""
        self.check_live()
        if not self.cancel_requested:
            self.trigger_event(self.CancelRequested, timestamp=at)

    def interrupt(self, reason: str, at: datetime) -> None:
        if self.status is JobStatus.RUNNING:
            self.trigger_event(self.Interrupted, timestamp=at, reason=reason)

    def complete(self, result: dict[str, Any], at: datetime) -> None:
        self.check_live()
        self.trigger_event(self.Completed, timestamp=at, result=result)

    def fail(self, reason: str, at: datetime) -> None:
        self.check_live()
        self.trigger_event(self.Failed, timestamp=at, reason=reason)

    def cancel(self, result: dict[str, Any], at: datetime) -> None:
        self.check_live()
        self.trigger_event(self.Canceled, timestamp=at, reason="canceled on request", result=result)

    def check_live(self) -> None:
        """Raises Conflict when nothing more can happen to it."""
        if self.ended:
            raise Conflict(f"The job has already ended: {self.status}.", code="job_ended")
