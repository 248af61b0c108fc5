"""The session clock: row k of an episode is taken at t0 + k / fps of monotonic time, not when a loop gets to it. That
clock stands still while the machine sleeps, and who sets the other one does not move it: both are looked for."""

import time
from dataclasses import dataclass

from domain.errors import DeviceError

SECOND_NS = 1_000_000_000
JUMP_NS = SECOND_NS // 2
"""No clock is slewed by so much from one row to the next (NTP: 0.5 ms a second)."""
TOGETHER_NS = 2_000_000
TRIES = 50


@dataclass(frozen=True, slots=True)
class SessionClock:
    """Rows at ``fps`` from ``t0_ns`` (``time.monotonic_ns``). Integer arithmetic: no drift however long the episode."""

    t0_ns: int
    fps: int

    @property
    def period_ns(self) -> int:
        return SECOND_NS // self.fps

    def row_ns(self, row: int) -> int:
        """When row ``row`` is taken, in monotonic nanoseconds."""
        return self.t0_ns + row * SECOND_NS // self.fps

    def last_row(self, at_ns: int) -> int:
        """The newest row taken at or before ``at_ns``; -1 before the first."""
        return -1 if at_ns < self.t0_ns else ((at_ns - self.t0_ns + 1) * self.fps - 1) // SECOND_NS

    def sleep_until(self, row: int, grace_ns: int = 0) -> None:
        """Sleep until ``grace_ns`` after row ``row``; returns at once when that is past."""
        wait = self.row_ns(row) + grace_ns - time.monotonic_ns()
        if wait > 0:
            time.sleep(wait / SECOND_NS)


class Continuity:
    """Watches whether time goes on as the session's clock has it, from its first look on. One thread looks."""

    def __init__(self) -> None:
        self._asleep_ns, self._wall_ns = _offsets()

    def check(self) -> None:
        """Raises DeviceError when the machine has slept, or its clock was set, since the last look."""
        asleep_before, wall_before = self._asleep_ns, self._wall_ns
        self._asleep_ns, self._wall_ns = _offsets()
        slept, moved = self._asleep_ns - asleep_before, self._wall_ns - wall_before
        if slept >= JUMP_NS:
            raise DeviceError(f"The machine slept for {slept / SECOND_NS:.1f} s in the middle of the episode.")
        if abs(moved) >= JUMP_NS:
            way = "forward" if moved > 0 else "back"
            raise DeviceError(
                f"The machine's clock was set {way} by {abs(moved) / SECOND_NS:.1f} s in the middle of the episode."
            )


def _offsets() -> tuple[int, int]:
    """How far the clock that also counts sleep (CLOCK_BOOTTIME), and the wall clock, are ahead of the monotonic one, in
    nanoseconds. All three are read within two milliseconds, unless the machine is too busy even for that."""
    least, found = None, (0, 0)
    for _ in range(TRIES):
        before = time.monotonic_ns()
        found_now = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - before, time.time_ns() - before
        took = time.monotonic_ns() - before
        if least is None or took < least:
            least, found = took, found_now
        if least <= TOGETHER_NS:
            break
    return found
