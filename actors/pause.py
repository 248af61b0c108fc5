"""The time between two episodes of a session that goes on by itself."""

import time


class Pause:
    """In which the operator puts things back. While it is held none begins: the operator wants to go on himself."""

    def __init__(self) -> None:
        self._until: float | None = None
        self._held = False

    def begin(self, seconds: float) -> None:
        if not self._held:
            self._until = time.monotonic() + seconds

    def hold(self) -> None:
        """Until ``end``."""
        self._until, self._held = None, True

    def end(self) -> None:
        """An episode starts."""
        self._until, self._held = None, False

    def left_s(self) -> float | None:
        """Seconds, 0 when it is over; None when there is none."""
        return None if self._until is None else round(max(0.0, self._until - time.monotonic()), 3)

    def is_over(self) -> bool:
        return self.left_s() == 0
