"""A robot: how to reach it, and whether its owner has it."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Literal
from uuid import UUID

from eventsourcing.domain import CanInitAggregate
from pydantic import BaseModel, ConfigDict, Field

from domain import claims
from domain.aggregate import Aggregate, Claim, Command, CreateCommand, DomainEvent, Hold, Int, Name, NeedFree, Release


class RobotStatus(StrEnum):
    OFFLINE = "offline"
    ONLINE = "online"
    ERROR = "error"


class PushTPayload(BaseModel):
    """The simulated cell. A camera with the scene ``pusht`` and the same seed in the project shows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    seed: Int = Field(0, ge=0, lt=2**31)


class UpdateRobot(Command):
    name: Name
    type: Literal["PushT"]
    payload: PushTPayload = PushTPayload()


class CreateRobot(CreateCommand, UpdateRobot):
    """A robot of one of the known types."""


class Robot(Aggregate):
    TOPIC = "robot"
    kind: ClassVar[str] = "robot"

    project_id: UUID
    name: str
    type: str
    payload: dict[str, Any]
    run: UUID | None
    status: RobotStatus
    reason: str | None

    class Event(DomainEvent):
        """Something that happened to a robot."""

    class Configured(Event):
        """Base of the events that say what the robot is."""

        TOPIC = "robot.configured"
        project_id: UUID
        name: str
        type: str
        payload: dict[str, Any]

        def claims(self) -> Iterable[Claim]:
            label = f"robot '{self.name}'"
            yield Hold(claims.name("robot", self.project_id, self.name), slot="name", label=label)
            cell = claims.name("cell", self.project_id, str(self.payload["seed"]))
            yield Hold(cell, slot="cell", label=f"{label}, which simulates the cell with this seed")

    class Created(Configured, CanInitAggregate[UUID]):
        TOPIC = "robot.created"

        def claims(self) -> Iterable[Claim]:
            yield from claims.joining("robot", self.originator_id, self.project_id, f"robot '{self.name}'")
            yield from super().claims()

    class Changed(Configured):
        TOPIC = "robot.changed"

        def apply(self, aggregate: "Robot") -> None:
            aggregate.name, aggregate.type, aggregate.payload = self.name, self.type, self.payload

        def claims(self) -> Iterable[Claim]:
            yield NeedFree(claims.device(self.originator_id))
            yield from super().claims()

    class Deleted(Event):
        TOPIC = "robot.deleted"

        def apply(self, aggregate: "Robot") -> None:
            aggregate.deleted, aggregate.status = True, RobotStatus.OFFLINE

        def claims(self) -> Iterable[Claim]:
            robot = self.originator_id
            return (NeedFree(claims.device(robot)), NeedFree(claims.use(robot)), Release())

    class Connected(Event):
        """An owner has the robot. ``run`` names that owner: a later one fences it off."""

        TOPIC = "robot.connected"
        run: UUID
        node: str

        def apply(self, aggregate: "Robot") -> None:
            aggregate.run, aggregate.status, aggregate.reason = self.run, RobotStatus.ONLINE, None

    class Failed(Event):
        TOPIC = "robot.failed"
        reason: str

        def apply(self, aggregate: "Robot") -> None:
            aggregate.status, aggregate.reason = RobotStatus.ERROR, self.reason

    class Disconnected(Event):
        TOPIC = "robot.disconnected"
        reason: str

        def apply(self, aggregate: "Robot") -> None:
            aggregate.status, aggregate.reason = RobotStatus.OFFLINE, self.reason

    def __init__(self, project_id: UUID, name: str, type: str, payload: dict[str, Any]) -> None:
        self.project_id = project_id
        self.name = name
        self.type = type
        self.payload = payload
        self.run = None
        self.status = RobotStatus.OFFLINE
        self.reason = None

    @classmethod
    def create(cls, id: UUID, project_id: UUID, command: CreateRobot, at: datetime) -> "Robot":
        return cls._create(cls.Created, id=id, timestamp=at, project_id=project_id, **_fields(command))

    def update(self, command: UpdateRobot, at: datetime) -> None:
        self.must_exist()
        fields = _fields(command)
        if fields != {k: getattr(self, k) for k in fields}:
            self.trigger_event(self.Changed, timestamp=at, project_id=self.project_id, **fields)

    def delete(self, at: datetime) -> None:
        self.must_exist()
        self.trigger_event(self.Deleted, timestamp=at)

    def connect(self, run: UUID, node: str, at: datetime) -> None:
        """An owner takes over; whoever had the robot before finds another ``run`` here and stops."""
        self.must_exist()
        self.trigger_event(self.Connected, timestamp=at, run=run, node=node)

    def fail(self, reason: str, at: datetime) -> None:
        if not self.deleted and self.status is not RobotStatus.ERROR:
            self.trigger_event(self.Failed, timestamp=at, reason=reason)

    def disconnect(self, reason: str, at: datetime) -> None:
        if self.status is not RobotStatus.OFFLINE:
            self.trigger_event(self.Disconnected, timestamp=at, reason=reason)


def _fields(command: UpdateRobot) -> dict[str, Any]:
    return {"name": command.name, "type": command.type, "payload": command.payload.model_dump(mode="json")}
