"""What the owners of cameras and robots share: each records its own part of an episode, one take at a time."""

import asyncio
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from actors.entity import Entity
from domain.camera import Camera
from domain.errors import Conflict, DeviceError
from domain.robot import Robot

if TYPE_CHECKING:
    from actors.capture.pacing import PacedTake, TakeProgress
    from actors.capture.report import TakeReport


class PartOwner[A: (Camera, Robot)](Entity[A]):
    """An owner that a session's ``Parts`` speak to. What begins a take differs; the rest of it is alike."""

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._take: PacedTake[Any] | None = None

    async def renew_take(self) -> "TakeProgress":
        """The session lives; how far is the take? An owner that lost its device fails the take."""
        take = self._running_take()
        if (reason := self._lost()) is not None:
            await asyncio.to_thread(take.abort)
            raise DeviceError(f"{self._called} was lost: {reason}")
        return take.renew()

    async def finish_take(self, last_row: int, timeout_s: float) -> "TakeReport":
        """End the take after row ``last_row``; what it holds."""
        report = await asyncio.to_thread(self._running_take().finish, last_row, timeout_s)
        self._take = None
        return report

    async def abort_take(self) -> None:
        """End the take now, if there is one. Its files stay until its folder is discarded."""
        take, self._take = self._take, None
        if take is not None:
            await asyncio.to_thread(take.abort)

    async def _begin_take(self, take: "PacedTake[Any]") -> None:
        self._take = take
        await asyncio.to_thread(take.start)

    @abstractmethod
    def _lost(self) -> str | None:
        """Why the device delivers nothing any more; None while it does."""

    @property
    def _called(self) -> str:
        return f"{self.aggregate.kind.capitalize()} '{self.aggregate.name}'"

    def _running_take(self) -> "PacedTake[Any]":
        if self._take is None:
            raise Conflict(f"{self._called} has no episode open; its process was restarted.")
        return self._take
