"""A project: the roof over cameras, robots, environments, datasets, models and jobs."""

from collections.abc import Iterable
from datetime import datetime
from typing import ClassVar
from uuid import UUID

from eventsourcing.domain import CanInitAggregate

from domain import claims
from domain.aggregate import Aggregate, Claim, Command, CreateCommand, DomainEvent, Hold, Name, NeedFree, Release


class CreateProject(CreateCommand):
    name: Name


class UpdateProject(Command):
    name: Name


class Project(Aggregate):
    TOPIC = "project"
    kind: ClassVar[str] = "project"

    name: str

    class Event(DomainEvent):
        """Something that happened to a project."""

    class Created(Event, CanInitAggregate[UUID]):
        TOPIC = "project.created"
        name: str

        def claims(self) -> Iterable[Claim]:
            return (
                Hold(claims.exists("project", self.originator_id), slot=claims.ITSELF, label=f"project '{self.name}'"),
            )

    class Renamed(Event):
        TOPIC = "project.renamed"
        name: str

        def apply(self, aggregate: "Project") -> None:
            aggregate.name = self.name

    class Deleted(Event):
        TOPIC = "project.deleted"

        def apply(self, aggregate: "Project") -> None:
            aggregate.deleted = True

        def claims(self) -> Iterable[Claim]:
            project = self.originator_id
            return (NeedFree(claims.busy(project)), NeedFree(claims.member(project)), Release())

    def __init__(self, name: str) -> None:
        self.name = name

    @classmethod
    def create(cls, id: UUID, command: CreateProject, at: datetime) -> "Project":
        return cls._create(cls.Created, id=id, timestamp=at, name=command.name)

    def update(self, command: UpdateProject, at: datetime) -> None:
        self.must_exist()
        if command.name != self.name:
            self.trigger_event(self.Renamed, timestamp=at, name=command.name)

    def delete(self, at: datetime) -> None:
        """Its members must be deleted in the same append: the claim check refuses a project that still has any."""
        self.must_exist()
        self.trigger_event(self.Deleted, timestamp=at)
