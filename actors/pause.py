"""The time between two episodes of a session that goes on by itself."""

import time


class Pause:
    """In which the operator puts things back."""

    def __init__(self) -> None:
        self._until: float | None = None

    def begin(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    def end(self) -> None:
        self._until = None

    def left_s(self) -> float | None:
        """Seconds, 0 when it is over; None when there is none."""
        return None if self._until is None else round(max(0.0, self._until - time.monotonic()), 3)

    def is_over(self) -> bool:
        return self.left_s() == 0
