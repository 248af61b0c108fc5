"""A camera: how to reach the device, and what its owner says of it (connecting, streaming, lost …)."""

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal
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
    Flag,
    Hold,
    Int,
    Name,
    NeedFree,
    Release,
)


class CameraStatus(StrEnum):
    OFFLINE = "offline"
    CONNECTING = "connecting"
    STREAMING = "streaming"
    LOST = "lost"
    ERROR = "error"


class Payload(BaseModel):
    """What a driver needs to open its device. Limits are the driver's."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class SimulatedPayload(Payload):
    scene: Literal["testcard", "pusht"] = "testcard"
    width: Int = Field(640, ge=64, le=4096)
    height: Int = Field(480, ge=64, le=2160)
    fps: Int = Field(30, ge=1, le=120)
    seed: Int = Field(0, ge=0, lt=2**31)


class FilePayload(Payload):
    path: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    loop: Flag = True
    fps: Int | None = Field(None, ge=1, le=120)


class SimulatedCamera(Command):
    driver: Literal["simulated"]
    name: Name
    fingerprint: str | None = Field(None, max_length=200)
    payload: SimulatedPayload = SimulatedPayload()


class FileCamera(Command):
    driver: Literal["file"]
    name: Name
    fingerprint: str | None = Field(None, max_length=200)
    payload: FilePayload


class CreateSimulatedCamera(CreateCommand, SimulatedCamera):
    """A picture made here: a test card, or the PushT cell of the robot with the same seed in the project."""


class CreateFileCamera(CreateCommand, FileCamera):
    """A video file under one of the media roots, played like a camera."""


CreateCamera = Annotated[CreateSimulatedCamera | CreateFileCamera, Field(discriminator="driver")]
UpdateCamera = Annotated[SimulatedCamera | FileCamera, Field(discriminator="driver")]


def _fields(command: SimulatedCamera | FileCamera) -> dict[str, Any]:
    payload = command.payload.model_dump(mode="json")
    fingerprint = command.fingerprint or _default_fingerprint(command)
    return {"name": command.name, "driver": command.driver, "fingerprint": fingerprint, "payload": payload}


def _default_fingerprint(command: SimulatedCamera | FileCamera) -> str:
    match command.payload:
        case SimulatedPayload(scene=scene, seed=seed):
            return f"simulated:{scene}:{seed}"
        case FilePayload(path=path):
            return f"file:{path}"


class Camera(Aggregate):
    TOPIC = "camera"
    kind: ClassVar[str] = "camera"

    project_id: UUID
    name: str
    driver: str
    fingerprint: str
    payload: dict[str, Any]
    run: UUID | None
    status: CameraStatus
    reason: str | None

    class Event(DomainEvent):
        """Something that happened to a camera."""

    class Created(Event, CanInitAggregate[UUID]):
        TOPIC = "camera.created"
        project_id: UUID
        name: str
        driver: str
        fingerprint: str
        payload: dict[str, Any]

        def claims(self) -> Iterable[Claim]:
            label = f"camera '{self.name}'"
            yield from claims.joining("camera", self.originator_id, self.project_id, label)
            yield Hold(claims.name("camera", self.project_id, self.name), slot="name", label=label)

    class Changed(Event):
        TOPIC = "camera.changed"
        project_id: UUID
        name: str
        driver: str
        fingerprint: str
        payload: dict[str, Any]

        def apply(self, aggregate: "Camera") -> None:
            aggregate.name, aggregate.driver = self.name, self.driver
            aggregate.fingerprint, aggregate.payload = self.fingerprint, self.payload

        def claims(self) -> Iterable[Claim]:
            yield NeedFree(claims.device(self.originator_id))
            yield Hold(claims.name("camera", self.project_id, self.name), slot="name", label=f"camera '{self.name}'")

    class Deleted(Event):
        TOPIC = "camera.deleted"

        def apply(self, aggregate: "Camera") -> None:
            aggregate.deleted, aggregate.status = True, CameraStatus.OFFLINE

        def claims(self) -> Iterable[Claim]:
            camera = self.originator_id
            return (NeedFree(claims.device(camera)), NeedFree(claims.use(camera)), Release())

    class Connecting(Event):
        """An owner begins to open the device. ``run`` names that owner: a later one fences it off."""

        TOPIC = "camera.connecting"
        run: UUID
        node: str

        def apply(self, aggregate: "Camera") -> None:
            aggregate.run = self.run
            aggregate.status, aggregate.reason = CameraStatus.CONNECTING, None

    class Streaming(Event):
        """A first real frame came: width and height in pixels, fps as negotiated."""

        TOPIC = "camera.streaming"
        width: int
        height: int
        fps: float
        node: str

        def apply(self, aggregate: "Camera") -> None:
            aggregate.status, aggregate.reason = CameraStatus.STREAMING, None

    class Lost(Event):
        """The device was there and is gone, or could not be opened; its owner tries again."""

        TOPIC = "camera.lost"
        status: CameraStatus
        reason: str

        def apply(self, aggregate: "Camera") -> None:
            aggregate.status, aggregate.reason = self.status, self.reason

    class Disconnected(Event):
        TOPIC = "camera.disconnected"
        reason: str

        def apply(self, aggregate: "Camera") -> None:
            aggregate.status, aggregate.reason = CameraStatus.OFFLINE, self.reason

    def __init__(self, project_id: UUID, name: str, driver: str, fingerprint: str, payload: dict[str, Any]) -> None:
        self.project_id = project_id
        self.name = name
        self.driver = driver
        self.fingerprint = fingerprint
        self.payload = payload
        self.run = None
        self.status = CameraStatus.OFFLINE
        self.reason = None

    @classmethod
    def create(
        cls,
        id: UUID,
        project_id: UUID,
        command: CreateSimulatedCamera | CreateFileCamera,
        at: datetime,
    ) -> "Camera":
        return cls._create(cls.Created, id=id, timestamp=at, project_id=project_id, **_fields(command))

    def update(self, command: SimulatedCamera | FileCamera, at: datetime) -> None:
        self.must_exist()
        fields = _fields(command)
        if fields != {k: getattr(self, k) for k in fields}:
            self.trigger_event(self.Changed, timestamp=at, project_id=self.project_id, **fields)

    def delete(self, at: datetime) -> None:
        self.must_exist()
        self.trigger_event(self.Deleted, timestamp=at)

    def connect(self, run: UUID, node: str, at: datetime) -> None:
        """An owner takes over; whoever had the camera before finds another ``run`` here and stops."""
        self.must_exist()
        self.trigger_event(self.Connecting, timestamp=at, run=run, node=node)

    def stream(self, width: int, height: int, fps: float, node: str, at: datetime) -> None:
        match self.status:
            case CameraStatus.CONNECTING | CameraStatus.LOST | CameraStatus.ERROR:
                self.trigger_event(self.Streaming, timestamp=at, width=width, height=height, fps=fps, node=node)
            case CameraStatus.STREAMING | CameraStatus.OFFLINE:
                pass

    def lose(self, reason: str, at: datetime) -> None:
        """Lost while it streamed, error if it never did; said once, not at every attempt."""
        match self.status:
            case CameraStatus.STREAMING:
                self.trigger_event(self.Lost, timestamp=at, status=CameraStatus.LOST, reason=reason)
            case CameraStatus.CONNECTING:
                self.trigger_event(self.Lost, timestamp=at, status=CameraStatus.ERROR, reason=reason)
            case CameraStatus.LOST | CameraStatus.ERROR | CameraStatus.OFFLINE:
                pass

    def disconnect(self, reason: str, at: datetime) -> None:
        if self.status is not CameraStatus.OFFLINE:
            self.trigger_event(self.Disconnected, timestamp=at, reason=reason)
