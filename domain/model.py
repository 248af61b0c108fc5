"""A model: a trained policy, what it was trained on, and the forms it was exported to."""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from eventsourcing.domain import CanInitAggregate
from pydantic import BaseModel, ConfigDict, Field

from domain import claims
from domain.aggregate import Aggregate, Claim, DomainEvent, NeedFree, Release


class ExportFacts(BaseModel):
    """One exported form. ``latency_ms`` is the measured median of one action; ``reason`` says why a form is missing."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    backend: str
    precision: str = "fp32"
    size_bytes: int = Field(0, ge=0)
    sha256: str = ""
    latency_ms: float | None = None
    reason: str | None = None


class Rollouts(BaseModel):
    """How a policy did: shares of 1 over ``episodes`` rollouts. Coverage is the target area covered at best."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    episodes: int = Field(ge=1)
    success_rate: float = Field(ge=0, le=1)
    mean_coverage: float = Field(ge=0, le=1)


class Model(Aggregate):
    TOPIC = "model"
    kind: ClassVar[str] = "model"

    project_id: UUID
    name: str
    policy: str
    dataset_id: UUID
    dataset_version: int
    train_job_id: UUID
    exports: list[ExportFacts]
    evaluations: list[UUID]

    class Event(DomainEvent):
        """Something that happened to a model."""

    class Created(Event, CanInitAggregate[UUID]):
        """``metrics`` are the last measured ones of its training."""

        TOPIC = "model.created"
        project_id: UUID
        name: str
        policy: str
        dataset_id: UUID
        dataset_version: int
        train_job_id: UUID
        steps: int
        metrics: dict[str, float] = Field(default_factory=dict)
        exports: list[ExportFacts] = Field(default_factory=list)

        def claims(self) -> Iterable[Claim]:
            return claims.joining("model", self.originator_id, self.project_id, f"model '{self.name}'")

    class Evaluated(Event):
        """Rollouts of this model, and of the baselines on the same seeds (``expert``, ``random``)."""

        TOPIC = "model.evaluated"
        job_id: UUID
        environment: str
        rollouts: dict[str, Rollouts]

        def apply(self, aggregate: "Model") -> None:
            aggregate.evaluations = [*aggregate.evaluations, self.job_id]

    class Deleted(Event):
        TOPIC = "model.deleted"

        def apply(self, aggregate: "Model") -> None:
            aggregate.deleted = True

        def claims(self) -> Iterable[Claim]:
            return (NeedFree(claims.use(self.originator_id)), Release())

    def __init__(
        self,
        project_id: UUID,
        name: str,
        policy: str,
        dataset_id: UUID,
        dataset_version: int,
        train_job_id: UUID,
        exports: list[ExportFacts],
    ) -> None:
        self.project_id = project_id
        self.name = name
        self.policy = policy
        self.dataset_id = dataset_id
        self.dataset_version = dataset_version
        self.train_job_id = train_job_id
        self.exports = exports
        self.evaluations = []

    @classmethod
    def create(
        cls,
        id: UUID,
        project_id: UUID,
        name: str,
        policy: str,
        dataset_id: UUID,
        dataset_version: int,
        train_job_id: UUID,
        steps: int,
        metrics: dict[str, float],
        exports: list[ExportFacts],
        at: datetime,
    ) -> "Model":
        return cls._create(
            cls.Created,
            id=id,
            timestamp=at,
            project_id=project_id,
            name=name,
            policy=policy,
            dataset_id=dataset_id,
            dataset_version=dataset_version,
            train_job_id=train_job_id,
            steps=steps,
            metrics=metrics,
            exports=exports,
        )

    def evaluated(self, job_id: UUID, environment: str, rollouts: dict[str, Rollouts], at: datetime) -> None:
        self.must_exist()
        if job_id not in self.evaluations:
            self.trigger_event(self.Evaluated, timestamp=at, job_id=job_id, environment=environment, rollouts=rollouts)

    def delete(self, at: datetime) -> None:
        self.must_exist()
        self.trigger_event(self.Deleted, timestamp=at)
