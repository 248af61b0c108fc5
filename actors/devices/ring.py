"""The last few captures of one device, in its process: written by the device's thread, read by encoders and takes."""

import threading
from collections import deque
from typing import Protocol

DEPTH = 32


class Captured(Protocol):
    """What a ring can hold: numbered, and stamped with the host's monotonic clock in nanoseconds."""

    @property
    def sequence(self) -> int: ...

    @property
    def captured_ns(self) -> int: ...


class Ring[T: Captured]:
    """Bounded and thread-safe. Readers never hold up the writer; the oldest capture falls out (``depth`` are kept: as
    many as a fast robot makes while a take waits for a row's grace to end)."""

    def __init__(self, depth: int = DEPTH) -> None:
        self._captures: deque[T] = deque(maxlen=depth)
        self._arrived = threading.Condition()

    def put(self, capture: T) -> None:
        with self._arrived:
            self._captures.append(capture)
            self._arrived.notify_all()

    def latest(self) -> T | None:
        with self._arrived:
            return self._captures[-1] if self._captures else None

    def newest_before(self, at_ns: int) -> T | None:
        """The freshest capture taken at or before ``at_ns`` (monotonic); None if all kept ones are younger."""
        with self._arrived:
            return next((capture for capture in reversed(self._captures) if capture.captured_ns <= at_ns), None)

    def wait_newer(self, sequence: int, timeout_s: float) -> T | None:
        """The latest capture once its sequence is above ``sequence``, or None after ``timeout_s`` seconds."""
        with self._arrived:
            self._arrived.wait_for(lambda: bool(self._captures) and self._captures[-1].sequence > sequence, timeout_s)
            newest = self._captures[-1] if self._captures else None
        return newest if newest is not None and newest.sequence > sequence else None

    def clear(self) -> None:
        """Forget everything: after a reconnect no old picture may pass for a new one."""
        with self._arrived:
            self._captures.clear()
