"""An environment: which robots, told what to do by whom, seen by which cameras."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any, ClassVar, Literal, Self
from uuid import UUID

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
    Name,
    NeedFree,
    NeedHeld,
    Release,
)


class TeleOperator(BaseModel):
    """Who tells the robot what to do: a script that knows the task, or nobody."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: Literal["scripted", "none"] = "none"


class EnvironmentRobot(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    robot_id: UUID
    tele_operator: TeleOperator = TeleOperator()


class UpdateEnvironment(Command):
    """One robot and up to eight cameras, each named once."""

    name: Name
    robots: list[EnvironmentRobot] = Field(min_length=1, max_length=1)
    camera_ids: list[UUID] = Field(min_length=1, max_length=8)

    @model_validator(mode="after")
    def _once_each(self) -> Self:
        if len(set(self.camera_ids)) < len(self.camera_ids):
            raise ValueError("a camera is named twice")
        return self


class CreateEnvironment(CreateCommand, UpdateEnvironment):
    """A new environment in a project."""


class Environment(Aggregate):
    TOPIC = "environment"
    kind: ClassVar[str] = "environment"

    project_id: UUID
    name: str
    robots: list[EnvironmentRobot]
    camera_ids: list[UUID]

    class Event(DomainEvent):
        """Something that happened to an environment."""

    class Composed(Event):
        """Base of the events that say what the environment is made of."""

        TOPIC = "environment.composed"
        project_id: UUID
        name: str
        robots: list[EnvironmentRobot]
        camera_ids: list[UUID]

        def claims(self) -> Iterable[Claim]:
            label = f"environment '{self.name}'"
            yield Hold(claims.name("environment", self.project_id, self.name), slot="name", label=label)
            yield Release("devices")
            for kind, thing in _devices(self.robots, self.camera_ids):
                yield NeedHeld(claims.exists(kind, thing))
                yield Hold(claims.use(thing), slot="devices", shared=True, label=label)

    class Created(Composed, CanInitAggregate[UUID]):
        TOPIC = "environment.created"

        def claims(self) -> Iterable[Claim]:
            yield from claims.joining("environment", self.originator_id, self.project_id, f"environment '{self.name}'")
            yield from super().claims()

    class Changed(Composed):
        TOPIC = "environment.changed"

        def apply(self, aggregate: "Environment") -> None:
            aggregate.name, aggregate.robots, aggregate.camera_ids = self.name, self.robots, self.camera_ids

        def claims(self) -> Iterable[Claim]:
            yield NeedFree(claims.device(self.originator_id))
            yield from super().claims()

    class Deleted(Event):
        TOPIC = "environment.deleted"

        def apply(self, aggregate: "Environment") -> None:
            aggregate.deleted = True

        def claims(self) -> Iterable[Claim]:
            environment = self.originator_id
            return (NeedFree(claims.device(environment)), NeedFree(claims.use(environment)), Release())

    def __init__(self, project_id: UUID, name: str, robots: list[EnvironmentRobot], camera_ids: list[UUID]) -> None:
        self.project_id = project_id
        self.name = name
        self.robots = robots
        self.camera_ids = camera_ids

    @classmethod
    def create(
        cls,
        id: UUID,
        project_id: UUID,
        command: CreateEnvironment,
        at: datetime,
    ) -> "Environment":
        return cls._create(cls.Created, id=id, timestamp=at, project_id=project_id, **_fields(command))

    def update(self, command: UpdateEnvironment, at: datetime) -> None:
        self.must_exist()
        fields = _fields(command)
        if fields != {k: getattr(self, k) for k in fields}:
            self.trigger_event(self.Changed, timestamp=at, project_id=self.project_id, **fields)

    def delete(self, at: datetime) -> None:
        self.must_exist()
        self.trigger_event(self.Deleted, timestamp=at)


def _fields(command: UpdateEnvironment) -> dict[str, Any]:
    return {"name": command.name, "robots": command.robots, "camera_ids": command.camera_ids}


def _devices(robots: list[EnvironmentRobot], cameras: list[UUID]) -> Iterable[tuple[str, UUID]]:
    yield from (("robot", robot.robot_id) for robot in robots)
    yield from (("camera", camera) for camera in cameras)
