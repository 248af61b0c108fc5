"""The session clock: row k of an episode is taken at t0 + k / fps of monotonic time, not when a loop gets to it."""

import time
from dataclasses import dataclass

SECOND_NS = 1_000_000_000


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
