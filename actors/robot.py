"""The owner of a robot: the one process that runs its control loop and records its part of an episode."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from actors.log import now
from actors.part import PartOwner
from domain.errors import Conflict, DeviceError, GetiActionError
from domain.robot import Robot

if TYPE_CHECKING:
    from actors.devices.base import RobotDriver, Sample
    from actors.devices.control import ControlLoop

FIRST_SAMPLE_S = 5.0
LEAD_NS = 40_000_000
"""A state is observed more than a period of a 30 fps camera before its row, so that every camera shows it by then."""


class RobotActor(PartOwner[Robot]):
    """A session holds the robot; without one its loop does not run."""

    aggregate_type: ClassVar = Robot

    def __init__(self, id: str) -> None:
        from actors.devices.ring import Ring

        super().__init__(id)
        self._control: ControlLoop | None = None
        self._ring: Ring[Sample] = Ring()
        self._tele_operator: str | None = None
        self._holder: str | None = None
        self._driver: RobotDriver
        self._opening = asyncio.Lock()

    async def hold(self, holder: str, tele_operator: str) -> dict[str, Any]:
        """Connect for the session ``holder``, let ``tele_operator`` drive, and answer {joint_names, control_hz} once a
        first sample came."""
        self._holder = holder
        async with self._opening:
            if self._control is None:
                await self._connect()
        if tele_operator != self._tele_operator:
            await asyncio.to_thread(self._drive, tele_operator)
        await self._first_sample()
        return {"joint_names": list(self._driver.joint_names), "control_hz": self._driver.control_hz}

    async def release(self, holder: str) -> None:
        """The session is over: stop where the robot is and let it go."""
        if self._holder == holder:
            self._holder = None
            self.leave()

    @property
    def needed(self) -> bool:
        return self._holder is not None and not self.aggregate.deleted

    async def begin_episode(self, t0_ns: int, fps: int, number: int) -> None:
        """Reset to the start of episode ``number``; the control loop's ticks keep step with rows at t0 + k / fps."""
        from actors.capture.clock import SessionClock

        await asyncio.to_thread(self._running().start_episode, SessionClock(t0_ns, fps), number)

    async def begin_take(self, folder: str, t0_ns: int, fps: int, rows_planned: int | None) -> None:
        """Record the robot's part of an episode: state and action at t0 + k / fps into ``folder``, ``rows_planned`` at
        most."""
        from actors.capture.clock import SessionClock
        from actors.capture.rows import RobotTake

        await self.abort_take()
        await self._first_sample()
        joints, hz = self._driver.joint_names, self._driver.control_hz
        clock = SessionClock(t0_ns, fps)
        take = RobotTake(self._ring, clock, Path(folder), joints, control_hz=hz, rows_planned=rows_planned)
        await self._begin_take(take)

    async def stats(self) -> dict[str, Any]:
        """Live numbers: ticks, late ticks, the newest state, the task's own verdict."""
        sample = self._ring.latest()
        state = [round(float(value), 2) for value in sample.state] if sample else None
        return {**asdict(self._running().stats), "state": state, "success": sample.success if sample else None}

    async def refresh(self) -> None:
        await super().refresh()
        self._holder = None
        self.leave()

    async def let_go(self) -> None:
        await self.abort_take()
        control, self._control = self._control, None
        if control is not None:
            await asyncio.to_thread(control.stop)
        if not self.aggregate.deleted:
            await self.decide(lambda robot: robot.disconnect("nobody needs it", now()))

    async def _connect(self) -> None:
        from actors.devices import robot_driver
        from actors.devices.control import ControlLoop

        robot = self.aggregate
        cell_id = f"{robot.project_id}-{robot.payload['seed']}"
        self._driver = robot_driver(robot.type, robot.payload, cell_id=cell_id)
        control = ControlLoop(self._driver, self._ring, LEAD_NS)
        try:
            await asyncio.to_thread(control.start)
        except GetiActionError as error:
            reason = error.detail
            await self.decide(lambda robot: robot.fail(reason, now()))
            raise
        self._control = control
        await self.decide(lambda robot: robot.connect(self.run, self.node, now()))

    async def _first_sample(self) -> None:
        """The loop has ticked since it was connected, or since the episode began."""
        if await asyncio.to_thread(self._ring.wait_newer, -1, FIRST_SAMPLE_S) is None:
            raise DeviceError(f"{self._called} gave no sample within {FIRST_SAMPLE_S:.0f} s.")

    def _drive(self, tele_operator: str) -> None:
        from actors.devices import teleoperator

        seed = self.aggregate.payload["seed"]
        self._running().set_source(None if tele_operator == "none" else teleoperator(tele_operator, seed=seed))
        self._tele_operator = tele_operator

    def _running(self) -> "ControlLoop":
        if self._control is None:
            raise Conflict(f"{self._called} is not connected; its process was restarted.")
        return self._control

    def _lost(self) -> str | None:
        error = self._running().error
        return None if error is None else str(error)
