"""When what happens in a recording session is due: rows, the end of an episode that has a planned one, the next episode
of a session that goes on by itself, the end of a session that nobody uses. By this machine's monotonic clock."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from domain.recording import Recording, RecordingState

if TYPE_CHECKING:
    from actors.capture.clock import SessionClock

LEAD_NS = 400_000_000
"""Row 0 lies this far ahead when an episode starts, so that every part is ready for it."""
BEAT_S = 0.5


class Schedule:
    """``session`` answers the session as it is now."""

    def __init__(self, session: Callable[[], Recording]) -> None:
        self._session = session
        self._used_at = time.monotonic()
        self._next_at: float | None = None
        self._held = False
        self.t0_ns = 0

    def use(self) -> None:
        """Somebody, or the plan, does something with the session."""
        self._used_at = time.monotonic()

    def is_idle(self) -> bool:
        """Whether nobody has used it for too long, and nothing goes on by itself."""
        waits = self.episode_end_s() is None and self.next_in_s() is None
        return waits and time.monotonic() - self._used_at > self._session().idle_timeout_s

    def until_next_step(self) -> float:
        """Seconds until there is something to do."""
        steps = (BEAT_S, self.episode_end_s(), self.next_in_s())
        return min(step for step in steps if step is not None)

    # the open episode

    def set_rows(self) -> None:
        """An episode begins: row 0 is taken in a moment."""
        self.t0_ns = time.monotonic_ns() + LEAD_NS

    def rows_by_now(self) -> int:
        """Those of the open episode, no more than are planned."""
        rows, planned = self._clock.last_row(time.monotonic_ns()) + 1, self._session().rows_planned
        return rows if planned is None else min(rows, planned)

    def running_s(self) -> float:
        """Seconds since row 0; negative before it."""
        return (time.monotonic_ns() - self.t0_ns) / 1e9

    def episode_end_s(self) -> float | None:
        """Seconds until the open episode has all rows of the plan, 0 when it has; None where there is no such end."""
        rows = self._session().rows_planned
        if rows is None or self._session().state is not RecordingState.RECORDING:
            return None
        return max(0.0, (self._clock.row_ns(rows - 1) - time.monotonic_ns()) / 1e9)

    # the next one, after a pause in which the operator puts things back

    def go_on(self) -> None:
        """An episode ended as it should: the next one follows where the plan says so, unless that is on hold."""
        reset_s = self._session().plan.reset_time_s
        if reset_s is not None and self._session().goes_on and not self._held:
            self._next_at = time.monotonic() + reset_s

    def hold(self) -> None:
        """None begins by itself until one is started: the operator wants to go on himself."""
        self._next_at, self._held = None, True

    def started(self) -> None:
        """An episode was started, by whomever."""
        self._next_at, self._held = None, False

    def next_in_s(self) -> float | None:
        """Seconds until the next one begins by itself, 0 when it is due; None when none does."""
        return None if self._next_at is None else round(max(0.0, self._next_at - time.monotonic()), 3)

    @property
    def _clock(self) -> "SessionClock":
        from actors.capture.clock import SessionClock

        return SessionClock(self.t0_ns, self._session().fps)
