"""Which capture belongs to a row: the freshest one taken no later than the row."""

from dataclasses import dataclass
from typing import Any

from actors.devices.ring import Captured, Ring

STALE_PERIODS = 1.5


@dataclass(frozen=True, slots=True)
class Pick[T: Captured]:
    """What a row holds. ``repeated``: the same capture as the row before. ``stale``: older than the slower of the two
    rates explains. ``dropped``: nothing was to be had for this row, so it holds what the row before held."""

    capture: T
    age_ns: int
    repeated: bool
    stale: bool
    dropped: bool

    def columns(self, row: int) -> dict[str, Any]:
        """This pick as the first columns of a row log (and of the parquet files made of it)."""
        return {
            "row": row,
            "captured_ns": self.capture.captured_ns,
            "age_ns": self.age_ns,
            "sequence": self.capture.sequence,
            "repeated": self.repeated,
            "stale": self.stale,
            "dropped": self.dropped,
        }


class Picker[T: Captured]:
    """Chooses for one row after the other, and counts what it had to repeat, drop or call stale."""

    def __init__(self, ring: Ring[T], first: T, stale_after_ns: int) -> None:
        """``first`` stands in for rows before any capture is eligible."""
        self._ring = ring
        self._last = first
        self._used_before = False
        self._stale_after_ns = stale_after_ns
        self.dropped = self.repeats = self.stale = 0

    def pick(self, at_ns: int) -> Pick[T]:
        """The capture for a row at ``at_ns`` (monotonic nanoseconds). None in the ring means that the device was
        cleared away, or that we are so late that the right one has left: the last one is repeated as dropped."""
        found = self._ring.newest_before(at_ns)
        capture = found or self._last
        age_ns = at_ns - capture.captured_ns
        repeated = self._used_before and found is not None and found.captured_ns == self._last.captured_ns
        pick = Pick(capture, age_ns, repeated, age_ns > self._stale_after_ns, found is None)
        self._count(pick)
        self._last, self._used_before = capture, True
        return pick

    def _count(self, pick: Pick[T]) -> None:
        self.dropped += pick.dropped
        self.repeats += pick.repeated
        self.stale += pick.stale


def stale_after_ns(row_period_ns: int, device_hz: float) -> int:
    """The age in nanoseconds above which a capture is stale: 1.5 periods of the slower of rows and device."""
    return int(STALE_PERIODS * max(row_period_ns, 1e9 / device_hz))
