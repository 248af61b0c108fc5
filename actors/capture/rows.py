"""The robot's part of an episode: for every row the state last observed and the action sent in answer to it."""

from contextlib import ExitStack
from pathlib import Path

from actors.capture.clock import SessionClock
from actors.capture.durable import BackgroundSync, fsync_path
from actors.capture.pacing import LEASE_S, PacedTake
from actors.capture.pick import Pick
from actors.capture.rowlog import RowLog
from actors.devices.base import Sample
from actors.devices.ring import Ring
from domain.errors import DeviceError

PART = "robot"


def log_path(take_folder: Path) -> Path:
    return take_folder / "robot.jsonl"


class RobotTake(PacedTake[Sample]):
    """Runs in the robot's process. Between two control steps the rows hold the last state and action."""

    def __init__(
        self,
        ring: Ring[Sample],
        clock: SessionClock,
        folder: Path,
        joint_names: tuple[str, ...],
        *,
        control_hz: float,
        grace_s: float | None = None,
        lease_s: float = LEASE_S,
        rows_planned: int | None = None,
    ) -> None:
        """``folder`` of the take (``episode.open_take``). A row is made ``grace_s`` after its time (default one control
        period, at least one row): a sample comes only when its action was sent."""
        period_ns = max(clock.period_ns, int(1e9 / control_hz))
        grace_ns = period_ns if grace_s is None else int(grace_s * 1e9)
        super().__init__(
            ring, clock, PART, device_hz=control_hz, grace_ns=grace_ns, lease_s=lease_s, rows_planned=rows_planned
        )
        self._folder = folder
        self._joints = len(joint_names)

    def _log_path(self) -> Path:
        return log_path(self._folder)

    def _open(self, first: Sample, files: ExitStack) -> None:
        if first.state.shape != (self._joints,) or first.action.shape != (self._joints,):
            raise DeviceError(
                f"The robot reports {first.state.shape} values for {self._joints} joints. Check its set-up."
            )
        self._folder.mkdir(parents=True, exist_ok=True)
        self._sync = BackgroundSync(self._log_path())
        files.callback(self._sync.close)
        self._log = RowLog(self._log_path())
        files.callback(self._log.close)
        fsync_path(self._folder)

    def _write(self, row: int, pick: Pick[Sample]) -> None:
        sample = pick.capture
        self._log.append(
            {
                **pick.columns(row),
                "state": sample.state.tolist(),
                "action": sample.action.tolist(),
                "success": sample.success,
                "ground_truth": sample.ground_truth,
            }
        )
        self._sync.poll()
