"""The camera's part of an episode: for every row the freshest picture not younger than it, encoded once."""

from contextlib import ExitStack
from pathlib import Path

from actors.capture.clock import SessionClock
from actors.capture.durable import BackgroundSync, fsync_path
from actors.capture.pacing import LEASE_S, PacedTake
from actors.capture.pick import Pick
from actors.capture.rowlog import RowLog
from actors.capture.video import TakeEncoder
from actors.devices.base import Frame
from actors.devices.ring import Ring
from domain.episode import Quality


def video_path(take_folder: Path, key: str) -> Path:
    return take_folder / "cameras" / f"{key}.mp4"


def log_path(take_folder: Path, key: str) -> Path:
    return take_folder / "cameras" / f"{key}.jsonl"


class CameraTake(PacedTake[Frame]):
    """Runs in the camera's process. Each row's picture is chosen BEFORE the encoder, since a packet can be neither
    dropped nor repeated; so the video has one access unit a row and needs no other index."""

    def __init__(
        self,
        ring: Ring[Frame],
        clock: SessionClock,
        folder: Path,
        key: str,
        camera_fps: float,
        quality: Quality = Quality(),  # noqa: B008 - frozen
        *,
        grace_s: float | None = None,
        lease_s: float = LEASE_S,
        rows_planned: int | None = None,
    ) -> None:
        """``folder`` of the take (``episode.open_take``), ``camera_fps`` as agreed with the device. A row is made
        ``grace_s`` after its time (default one row period): as late as a picture may come and still be chosen."""
        grace_ns = clock.period_ns if grace_s is None else int(grace_s * 1e9)
        super().__init__(
            ring, clock, key, device_hz=camera_fps, grace_ns=grace_ns, lease_s=lease_s, rows_planned=rows_planned
        )
        self._folder = folder
        self._quality = quality

    def _log_path(self) -> Path:
        return log_path(self._folder, self.part)

    def _open(self, first: Frame, files: ExitStack) -> None:
        video = video_path(self._folder, self.part)
        video.parent.mkdir(parents=True, exist_ok=True)
        height, width = first.image.shape[:2]
        self._sync = BackgroundSync(video, self._log_path())
        files.callback(self._sync.close)
        self._log = RowLog(self._log_path())
        files.callback(self._log.close)
        self._encoder = TakeEncoder(video, width, height, self._clock.fps, self._quality)
        files.callback(self._encoder.close)
        fsync_path(video.parent)

    def _write(self, row: int, pick: Pick[Frame]) -> None:
        self._encoder.write(row, pick.capture)
        self._log.append({**pick.columns(row), "device_ns": pick.capture.device_ns})
        self._sync.poll()
