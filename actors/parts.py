"""The devices of a recording session, asked all at once: each records its own part of an episode in its own process."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ray.actor import ActorHandle

from actors.camera import CameraActor
from actors.entity import activate, ask, call
from actors.robot import RobotActor
from domain.episode import Quality
from domain.errors import GetiActionError

if TYPE_CHECKING:
    from actors.capture.pacing import TakeProgress
    from actors.capture.report import TakeReport

OPEN_S = 45.0
FINISH_S = 10.0


class Parts:
    """The owners of a session's cameras and robot. Every method raises what the first of them that failed raised."""

    def __init__(self, session: UUID, camera_ids: Sequence[UUID], robot_id: UUID) -> None:
        self._session = str(session)
        self._camera_ids = tuple(camera_ids)
        self._robot_id = robot_id
        self.joint_names: tuple[str, ...] = ()
        self.control_hz = 0.0
        self.sizes: tuple[tuple[int, int], ...] = ()
        """Width and height of each camera's pictures, in the order of its ids, once held."""
        self._progress: list[TakeProgress] = []
        self._lost: str | None = None

    async def hold(self, tele_operator: str) -> None:
        """Wake them, keep them for the session, and wait until each delivers. Repeatable."""
        robot = self._hold(RobotActor, self._robot_id, tele_operator)
        facts, *profiles = await asyncio.gather(robot, *(self._hold(CameraActor, id) for id in self._camera_ids))
        self.joint_names, self.control_hz = tuple(facts["joint_names"]), facts["control_hz"]
        self.sizes = tuple((profile["width"], profile["height"]) for profile in profiles)

    async def release(self) -> None:
        """Let them go; one that does not answer rests by itself."""
        await self._try_all("release", self._session)

    async def reset(self, t0_ns: int, fps: int, number: int) -> None:
        """Bring the robot to the start of episode ``number``, whose row k is at t0 + k / fps (monotonic)."""
        self._progress, self._lost = [], None
        await call(self._robot, "begin_episode", t0_ns, fps, number)

    async def begin(
        self, folder: str, keys: Sequence[str], quality: Quality, t0_ns: int, fps: int, rows_planned: int | None
    ) -> None:
        """Every part records into ``folder``, ``rows_planned`` at most; ``keys`` name the cameras in it, in the order
        of their ids."""
        pace = (t0_ns, fps, rows_planned)
        named = zip(self._cameras, keys, strict=True)
        cameras = [call(camera, "begin_take", folder, key, quality, *pace) for camera, key in named]
        await asyncio.gather(*cameras, call(self._robot, "begin_take", folder, *pace))

    async def watch(self) -> str | None:
        """Renew the lease of each, for the session lives. Why the episode cannot go on once one has lost its device,
        its file or its process: the same however often it is asked, until the next ``reset``."""
        if self._lost is None:
            try:
                self._progress = await asyncio.gather(*(call(part, "renew_take", timeout_s=3) for part in self._all))
            except GetiActionError as error:
                self._lost = error.detail
            else:
                self._lost = next((part.error.detail for part in self._progress if part.error is not None), None)
        return self._lost

    def numbers(self, running_s: float) -> dict[str, Any]:
        """{row, measured_fps, dropped, stale} of the episode that has run for so long, each the worst of all parts."""
        rows = min((part.rows for part in self._progress), default=0)
        return {
            "row": rows,
            "measured_fps": round(rows / running_s, 2) if running_s > 0 and rows else 0.0,
            "dropped": max((part.dropped for part in self._progress), default=0),
            "stale": max((part.stale for part in self._progress), default=0),
        }

    async def finish(self, last_row: int) -> "list[TakeReport]":
        """Every part ends with row ``last_row``, its files closed."""
        ends = [call(part, "finish_take", last_row, FINISH_S, timeout_s=FINISH_S + 5) for part in self._all]
        reports: list[TakeReport] = await asyncio.gather(*ends)
        self._progress = []
        return reports

    async def stop(self) -> None:
        """Every part ends now; what it wrote stays. One that is gone has ended anyway."""
        await self._try_all("abort_take")
        self._progress = []

    async def robot_stats(self) -> dict[str, Any] | None:
        """The robot's live numbers; None when it does not answer in time."""
        try:
            stats: dict[str, Any] = await call(self._robot, "stats", timeout_s=1)
        except GetiActionError:
            return None
        return stats

    async def _hold(self, owner: type[Any], id: UUID, *args: Any) -> Any:
        return await ask(owner, id, "hold", self._session, *args, timeout_s=OPEN_S, repeatable=True)

    async def _try_all(self, method: str, *args: Any) -> None:
        await asyncio.gather(*(call(part, method, *args, timeout_s=5) for part in self._all), return_exceptions=True)

    @property
    def _robot(self) -> "ActorHandle[Any]":
        return activate(RobotActor, self._robot_id)

    @property
    def _cameras(self) -> "list[ActorHandle[Any]]":
        return [activate(CameraActor, id) for id in self._camera_ids]

    @property
    def _all(self) -> "list[ActorHandle[Any]]":
        return [*self._cameras, self._robot]
