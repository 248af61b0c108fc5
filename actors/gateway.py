"""Command ─► owner. Entities that own no device are decided here, in the replica; the others by their Ray actors."""

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import Any, cast
from uuid import UUID

from actors.answers import Once
from actors.camera import CameraActor
from actors.entity import ATTEMPTS, Entity, OwnerLost, activate, ask, call, living, send
from actors.log import Ack, Log, VersionConflict, now
from actors.operation import OperationActor
from actors.recording import RecordingActor
from actors.robot import RobotActor
from actors.training import TrainingActor
from domain import claims
from domain.aggregate import Aggregate, DomainEvent
from domain.camera import Camera
from domain.errors import Conflict, DeviceLocked, GetiActionError, NotFound, Unavailable
from domain.operation import Operation
from domain.project import Project
from domain.recording import Recording
from domain.robot import Robot
from domain.training import Job

OWNERS: dict[type[Aggregate], type[Entity[Any]]] = {
    Camera: CameraActor,
    Robot: RobotActor,
    Recording: RecordingActor,
    Job: TrainingActor,
    Operation: OperationActor,
}
SETTLE_S = 30
PAUSE_S = 0.01
DELETION_ORDER = ("dataset", "environment", "camera", "robot", "model")


class Gateway:
    """One a replica. Every method answers after the log has what it did."""

    def __init__(self, log: Log) -> None:
        self.log = log

    async def create(self, aggregate: Aggregate, once: Once | None = None) -> tuple[bool, Ack]:
        """Append a new aggregate. Repeating the same create is (False, …); the same id with another body is 409."""
        born = cast("DomainEvent", aggregate.pending_events[0])
        try:
            return True, await self._append(aggregate, once=once)
        except VersionConflict:
            return False, self._known(aggregate, born)

    async def change[A: Aggregate](
        self,
        kind: type[A],
        id: UUID,
        decision: Callable[[A], object],
        *,
        project_id: UUID | None = None,
        if_match: int | None = None,
        once: Once | None = None,
    ) -> Ack:
        """Load, decide, append; again from the start when another writer was first. A living owner is told."""
        for attempt in range(ATTEMPTS):
            await _let_others_go_first(attempt)
            aggregate = self.load(kind, id, project_id)
            aggregate.must_match(if_match)
            decision(aggregate)
            try:
                ack = await self._append(aggregate, once=once)
            except VersionConflict:
                continue
            await self._tell(kind, id)
            return ack
        raise Unavailable(f"The {kind.kind} is changed too often; try again.")

    async def delete_project(self, id: UUID, *, if_match: int | None = None, once: Once | None = None) -> Ack:
        """A project goes with all that lives in it, in one append."""
        for attempt in range(ATTEMPTS):
            await _let_others_go_first(attempt)
            project = self.load(Project, id)
            project.must_match(if_match)
            held = self.log.holders(claims.member(id))
            members = self._in_order(held)
            for doomed in (*members, project):
                doomed.delete(now())  # type: ignore[attr-defined]
            try:
                ack = await self._append(*members, project, once=once, about=project)
            except VersionConflict:
                continue
            except Conflict:
                if self.log.holders(claims.member(id)) == held:
                    raise
                continue  # somebody joined meanwhile
            await asyncio.gather(*(self._tell(type(member), member.id) for member in members))
            return ack
        raise Unavailable("The project is changed too often; try again.")

    def load[A: Aggregate](self, kind: type[A], id: UUID, project_id: UUID | None = None) -> A:
        """The aggregate as it is now. Raises NotFound when it is not there, deleted, or another project's."""
        aggregate = self.log.load(kind, id)
        aggregate.must_exist()
        if project_id is not None and getattr(aggregate, "project_id", None) != project_id:
            raise NotFound.of(kind.kind, id)
        return aggregate

    def refer(self, project_id: UUID, kind: type[Aggregate], ids: Iterable[UUID]) -> None:
        """Everything that a body names must live in the project. Raises UnknownReference."""
        for id in ids:
            try:
                self.load(kind, id, project_id)
            except NotFound:
                raise claims.missing(claims.exists(kind.kind, id)) from None

    def must_be_free(self, device: UUID) -> None:
        """Raises DeviceLocked when a session has the camera or robot."""
        try:
            self.log.check_free(claims.device(device))
        except DeviceLocked as error:
            raise self._with_holder(error) from None

    async def resume(self) -> None:
        """After a cold start: wake the owners of every session, job and operation that the log says is going on.
        Returns when no session passes for recording that is not, or after ``SETTLE_S``."""
        running = self.log.running()
        for kind, id in running:
            self.wake(kind, id)
        taking = [id for kind, id in running if kind is Recording and self._has_take(id)]
        await asyncio.gather(*(self.ask_if_awake(Recording, id, "settled", timeout_s=SETTLE_S) for id in taking))

    def _has_take(self, id: UUID) -> bool:
        try:
            return self.log.load(Recording, id).takes.is_busy
        except GetiActionError:  # what cannot be read is named by the state of the server
            return False

    def wake(self, kind: type[Aggregate], id: UUID) -> None:
        """Start the owner where it sleeps; it takes up by itself what the log says is to be done."""
        activate(OWNERS[kind], id)

    async def ask(
        self,
        kind: type[Aggregate],
        id: UUID,
        method: str,
        *args: Any,
        timeout_s: float = 30,
        repeatable: bool = False,
        if_match: int | None = None,
    ) -> Any:
        """Call the owner, waking it where it sleeps. Its domain errors come back as themselves; a dead or silent
        owner is Unavailable: the command may have happened, and repeating it tells."""
        owner = OWNERS[kind]
        try:
            return await ask(owner, id, method, *args, timeout_s=timeout_s, repeatable=repeatable, if_match=if_match)
        except OwnerLost:
            self.load(kind, id)  # what no owner can load is told as what it is, not as a process that comes back
            raise

    async def ask_if_awake(self, kind: type[Aggregate], id: UUID, method: str, timeout_s: float = 1) -> Any | None:
        """What a living owner says, None when it sleeps or does not answer in time (telemetry, never truth)."""
        try:
            return await self.tell_if_awake(kind, id, method, timeout_s=timeout_s)
        except Unavailable:
            return None

    async def tell_if_awake(
        self,
        kind: type[Aggregate],
        id: UUID,
        method: str,
        *args: Any,
        timeout_s: float = 10,
        if_match: int | None = None,
    ) -> Any:
        """Call the owner if there is one; None when it sleeps."""
        owner = living(kind.kind, id)
        return None if owner is None else await call(owner, method, *args, timeout_s=timeout_s, if_match=if_match)

    async def _append(self, *aggregates: Aggregate, **how: Any) -> Ack:
        try:
            return await self.log.append(*aggregates, **how)
        except DeviceLocked as error:
            raise self._with_holder(error) from None

    def _with_holder(self, error: DeviceLocked) -> DeviceLocked:
        """The refusal, with who opened the session that has the device, and its node; None while it opens."""
        held_by = error.extra["held_by"]
        id = UUID(held_by["recording_id"])
        who = {"who": self.log.stream(id)[0].by, "node": self.log.load(Recording, id).node}
        return DeviceLocked(error.detail, held_by=held_by | who)

    def _known(self, aggregate: Aggregate, born: DomainEvent) -> Ack:
        """How the thing of this id stands that was created in the same way before."""
        first = self.log.stream(aggregate.id)[0]
        if type(first) is not type(born) or _said(first) != _said(born):
            raise Conflict(f"The id {aggregate.id} is already taken by something else; choose another.")
        known = self.log.load(type(aggregate), aggregate.id)
        if known.deleted:
            raise Conflict(f"The id {aggregate.id} was that of something which is deleted; choose another.")
        return Ack(self.log.position(), known.version)

    def _in_order(self, held: Iterable[tuple[type[Aggregate], UUID]]) -> list[Aggregate]:
        """What lives in a project, what uses others first."""
        return [self.log.load(kind, id) for wanted in DELETION_ORDER for kind, id in held if kind.kind == wanted]

    async def _tell(self, kind: type[Aggregate], id: UUID) -> None:
        if kind in OWNERS and (owner := living(kind.kind, id)):
            send(owner, "refresh")


async def _let_others_go_first(attempt: int) -> None:
    """For a while that is another for each, and longer each time: those who were overtaken together meet no more."""
    if attempt:
        await asyncio.sleep(random.uniform(0, PAUSE_S * 2**attempt))  # noqa: S311


def _said(event: DomainEvent) -> dict[str, Any]:
    """What an event says but for when, by whom and why."""
    return event.model_dump(exclude={"timestamp", "by", *event.PROVENANCE})
