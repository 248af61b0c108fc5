"""Ticks at a steady rate on the node's monotonic clock: tick n is due at origin + n / hz, however long the run."""

import math
import time

SECOND_NS = 1_000_000_000


class Pacer:
    """Counts the ticks of one loop. Each due time is computed from the origin, so nothing adds up to drift; ticks that
    a late loop missed altogether are skipped, never made up for in a burst."""

    def __init__(self, hz: float, origin_ns: int | None = None) -> None:
        """``origin_ns``: when tick 0 is due (monotonic, may lie in the future); now if not given."""
        now = time.monotonic_ns()
        self._hz = hz
        self._origin_ns = now if origin_ns is None else origin_ns
        self.index = max(0, math.ceil(self._elapsed(now)))

    @property
    def due_ns(self) -> int:
        """When the current tick is due, in monotonic nanoseconds."""
        return self._origin_ns + round(self.index * SECOND_NS / self._hz)

    def advance(self) -> None:
        """On to the next tick, or to the newest one that is due already."""
        self.index = max(self.index + 1, math.floor(self._elapsed(time.monotonic_ns())))

    def wait(self) -> int:
        """Sleep until the current tick is due, advance, and return the number of the tick that came."""
        delay_ns = self.due_ns - time.monotonic_ns()
        if delay_ns > 0:
            time.sleep(delay_ns / SECOND_NS)
        tick = self.index
        self.advance()
        return tick

    def _elapsed(self, now_ns: int) -> float:
        return (now_ns - self._origin_ns) * self._hz / SECOND_NS
