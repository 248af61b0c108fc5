"""What the PushT cell looks like at one moment, and how the robot's process shows it to the cameras of the same node.

The state lies in a small file in shared memory, one a cell. Each publisher makes a new file and renames it into place,
so a file has one writer for its whole life. It holds two checksummed slots that are written in turn: whatever a kill or
a race does to one, the other is whole, so a reader needs no lock and never waits.
"""

import mmap
import os
import re
import struct
import tempfile
import time
import zlib
from dataclasses import astuple, dataclass
from pathlib import Path

from domain.errors import DeviceError, Invalid

SIZE = 512.0  # width and height of the cell in pixels: the range of states and actions

_RECORD = struct.Struct("<5dQQ")
_CHECKSUM = struct.Struct("<I")
_SLOT_BYTES = 64
_FILE_BYTES = 2 * _SLOT_BYTES
_CELL_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


@dataclass(frozen=True, slots=True)
class CellState:
    """Positions in pixels of the 512 x 512 cell (origin top left, y down), the block's angle in radians in 0..2 pi;
    ``sequence`` counts what was published, ``captured_ns`` is the monotonic clock when the cell was so."""

    agent_x: float
    agent_y: float
    block_x: float
    block_y: float
    block_angle: float
    sequence: int = 0
    captured_ns: int = 0

    @classmethod
    def of(cls, truth: dict[str, float]) -> "CellState":
        """The state that a reading's ground truth tells of. Raises KeyError for what is not there."""
        return cls(truth["agent_x"], truth["agent_y"], truth["block_x"], truth["block_y"], truth["block_angle"])

    @property
    def pose(self) -> tuple[float, float, float, float, float]:
        """All that a picture depends on: agent x, y, block x, y, angle."""
        return self.agent_x, self.agent_y, self.block_x, self.block_y, self.block_angle


class CellPublisher:
    """The writing side, one a cell, in the robot's process. Raises Invalid for an unusable id, DeviceError when
    shared memory is not to be had."""

    def __init__(self, cell_id: str) -> None:
        self._path = _path(cell_id)
        try:
            self._map, self._inode = _create(self._path)
        except OSError as failure:
            raise DeviceError(
                f"The cell's shared memory cannot be made ({failure.strerror}). Free some memory."
            ) from failure

    def publish(self, state: CellState) -> None:
        """Show ``state``; its sequence must be one above the last one's."""
        record = _RECORD.pack(*astuple(state))
        offset = state.sequence % 2 * _SLOT_BYTES
        self._map[offset : offset + _RECORD.size + _CHECKSUM.size] = record + _CHECKSUM.pack(zlib.crc32(record))

    def close(self) -> None:
        """The cell is no longer shown. A publisher that was killed leaves its last state standing instead."""
        self._map.close()
        if _inode(self._path) == self._inode:
            self._path.unlink(missing_ok=True)


class CellReader:
    """The reading side, any number in any process of the node."""

    def __init__(self, cell_id: str) -> None:
        self._path = _path(cell_id)
        self._map: mmap.mmap | None = None
        self._inode: int | None = None
        self._seen: CellState | None = None

    def latest(self) -> CellState | None:
        """The newest state, or None while no robot publishes this cell. Never blocks."""
        if (inode := _inode(self._path)) != self._inode:
            self._attach()
            self._inode = inode if self._map else None
        if self._map is None:
            return None
        whole = [state for state in _slots(self._map[:]) if state]
        # If this process slept in mid-copy, only the older slot may be whole, or neither: then what was seen stands.
        known = [self._seen] if self._seen else []
        self._seen = newest = max(whole + known, key=lambda state: state.sequence, default=None)
        # A stamp in the future was made before the machine's last boot (the fallback folder outlives one).
        return newest if newest and newest.captured_ns <= time.monotonic_ns() else None

    def close(self) -> None:
        if self._map is not None:
            self._map.close()
        self._map = self._inode = self._seen = None

    def _attach(self) -> None:
        self.close()
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size == _FILE_BYTES:
                    self._map = mmap.mmap(file.fileno(), _FILE_BYTES, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            return


def _slots(data: bytes) -> list[CellState | None]:
    return [_unpack(data[offset : offset + _SLOT_BYTES]) for offset in (0, _SLOT_BYTES)]


def _unpack(slot: bytes) -> CellState | None:
    record = slot[: _RECORD.size]
    (checksum,) = _CHECKSUM.unpack_from(slot, _RECORD.size)
    state = CellState(*_RECORD.unpack(record))
    return state if state.sequence and checksum == zlib.crc32(record) else None


def _create(path: Path) -> tuple[mmap.mmap, int]:
    path.parent.mkdir(mode=0o700, exist_ok=True)
    if path.parent.stat().st_uid != os.getuid():
        raise PermissionError(13, "its folder belongs to another user")
    fresh = path.with_suffix(f".{os.getpid()}")
    with fresh.open("w+b") as file:
        file.truncate(_FILE_BYTES)
        mapped = mmap.mmap(file.fileno(), _FILE_BYTES)
        inode = os.fstat(file.fileno()).st_ino
    fresh.replace(path)
    return mapped, inode


def _path(cell_id: str) -> Path:
    if not _CELL_ID.fullmatch(cell_id):
        raise Invalid(f"{cell_id!r} cannot name a cell. Use letters, digits, - and _.")
    shared = Path("/dev/shm")  # noqa: S108 - below it lies a folder that only its user can enter
    base = shared if os.access(shared, os.W_OK) else Path(tempfile.gettempdir())
    return base / f"geti-action-{os.getuid()}" / f"{cell_id}.cell"


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
