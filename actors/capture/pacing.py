"""A take: a thread that makes row after row at the session clock's pace until it is told where to end."""

import logging
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from actors.capture.clock import SECOND_NS, Continuity, SessionClock
from actors.capture.durable import storage_error
from actors.capture.pick import Pick, Picker, stale_after_ns
from actors.capture.report import TakeReport, summarise
from actors.devices.ring import Captured, Ring
from domain.errors import Conflict, DeviceError, GetiActionError, Invalid, Unavailable

log = logging.getLogger(__name__)

LEASE_S = 10.0
ENDLESS = sys.maxsize


class TakeState(StrEnum):
    """Where a take is. All but READY and RECORDING are final; the files stay whatever happened."""

    READY = "ready"
    RECORDING = "recording"
    FINISHED = "finished"
    ABORTED = "aborted"
    EXPIRED = "expired"  # nobody renewed the lease
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class TakeProgress:
    """How far a take is: rows made, and how many of them were dropped, repeated or stale. ``error`` if it failed."""

    state: TakeState
    rows: int
    dropped: int
    repeats: int
    stale: int
    error: GetiActionError | None = None


class PacedTake[T: Captured](ABC):
    """What camera and robot takes share. Call ``start``, then ``renew`` every second or so, then ``finish`` or
    ``abort``; all calls return fast (``finish`` waits for the last row) and may come from any thread."""

    def __init__(
        self,
        ring: Ring[T],
        clock: SessionClock,
        part: str,
        *,
        device_hz: float,
        grace_ns: int,
        lease_s: float,
        rows_planned: int | None,
    ) -> None:
        """``rows_planned``: it ends by itself after so many."""
        self.part = part
        self._ring = ring
        self._clock = clock
        self._grace_ns = grace_ns
        self._lease_ns = int(lease_s * SECOND_NS)
        self._changed = threading.Condition()
        self._state = TakeState.READY
        self._until = ENDLESS
        self._planned = ENDLESS if rows_planned is None else rows_planned - 1
        self._rows = 0
        self._picker: Picker[T] | None = None
        self._stale_after_ns = stale_after_ns(clock.period_ns, device_hz)
        self._files = ExitStack()
        self._error: GetiActionError | None = None
        self._renewed_ns = 0
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Open the files and begin. Raises DeviceError if the device has delivered nothing yet, Conflict if this take
        was started before, StorageFull or Unavailable if the files cannot be made."""
        with self._changed:
            if self._state is not TakeState.READY:
                raise Conflict(f"The take of {self.part} was started before; a new episode needs a new take.")
            with self._domain_errors():
                picker = self._begin()
            self._renewed_ns = time.monotonic_ns()
            self._state = TakeState.RECORDING
            self._thread = threading.Thread(target=self._run, args=(picker,), name=f"take-{self.part}", daemon=True)
            self._thread.start()

    def renew(self) -> TakeProgress:
        """The coordinator lives: go on for another lease. Answers the progress."""
        self._renewed_ns = time.monotonic_ns()
        return self.progress()

    def progress(self) -> TakeProgress:
        with self._changed:
            counts = (self._picker.dropped, self._picker.repeats, self._picker.stale) if self._picker else (0, 0, 0)
            return TakeProgress(self._state, self._rows, *counts, error=self._error)

    def finish(self, last_row: int, timeout_s: float) -> TakeReport:
        """End the take after row ``last_row`` (inclusive), close and flush its files and say what it holds. Rows made
        beyond it are not counted and are cut off when the episode is sealed. Repeatable.

        Raises Invalid for no rows, Unavailable if the rows are not written after ``timeout_s`` seconds (call again),
        and what went wrong if the take ended before."""
        if last_row < 0:
            raise Invalid("An episode needs at least one row: record a little longer, or discard it.")
        with self._changed:
            self._until = min(self._until, last_row)
            self._changed.notify_all()
            ended = self._changed.wait_for(lambda: self._state not in (TakeState.READY, TakeState.RECORDING), timeout_s)
        if not ended:
            raise Unavailable(
                f"{self.part} is still writing its last rows ({self._rows} done). Save again in a moment."
            )
        self._demand(last_row)
        return summarise(self.part, self._log_path(), last_row + 1)

    def abort(self) -> None:
        """End the take now. The files stay until the take's folder is discarded."""
        with self._changed:
            self._until = -1
            self._changed.notify_all()
        if self._thread:
            self._thread.join()

    @abstractmethod
    def _log_path(self) -> Path:
        """The row log that this take writes."""

    @abstractmethod
    def _open(self, first: T, files: ExitStack) -> None:
        """Open files for captures like ``first``; leave to ``files`` how each is closed (the last one first)."""

    @abstractmethod
    def _write(self, row: int, pick: Pick[T]) -> None:
        """Make one row."""

    def _begin(self) -> Picker[T]:
        first = self._ring.latest()
        if first is None:
            raise DeviceError(f"{self.part} has delivered nothing yet. Wait until it streams, then start again.")
        self._picker = Picker(self._ring, first, self._stale_after_ns)
        with ExitStack() as files:
            self._open(first, files)
            self._files = files.pop_all()
        return self._picker

    def _run(self, picker: Picker[T]) -> None:
        try:
            state, error = self._record(picker), None
        except GetiActionError as caught:
            state, error = TakeState.FAILED, caught
            log.error("the take of %s failed at row %d: %s", self.part, self._rows, caught.detail)
        with self._changed:
            self._state, self._error = state, error
            self._changed.notify_all()

    def _record(self, picker: Picker[T]) -> TakeState:
        time_goes_on = Continuity()
        try:
            while self._due(self._rows):
                with self._domain_errors():
                    time_goes_on.check()
                    self._write(self._rows, picker.pick(self._clock.row_ns(self._rows)))
                self._rows += 1
        finally:
            with self._domain_errors():
                self._files.close()
        return self._outcome()

    def _due(self, row: int) -> bool:
        """Wait until a row's time has come; False when there shall be no such row."""
        with self._changed:
            wait_ns = self._clock.row_ns(row) + self._grace_ns - time.monotonic_ns()
            if wait_ns > 0:
                self._changed.wait_for(lambda: row > self._until, wait_ns / SECOND_NS)
            return row <= min(self._until, self._planned) and not self._expired()

    def _expired(self) -> bool:
        return self._until == ENDLESS and time.monotonic_ns() - self._renewed_ns > self._lease_ns

    def _outcome(self) -> TakeState:
        match self._until:
            case -1:
                return TakeState.ABORTED
            case until if min(until, self._planned) < self._rows:
                return TakeState.FINISHED
            case _:
                return TakeState.EXPIRED

    @contextmanager
    def _domain_errors(self) -> Iterator[None]:
        """Whatever fails inside becomes a domain error: there is nobody else in this thread to understand it."""
        try:
            yield
        except GetiActionError:
            raise
        except FileExistsError as error:
            raise Conflict(
                f"{self.part} already has a take in this episode. Keep or discard it, start anew."
            ) from error
        except OSError as error:
            raise storage_error(error, f"record {self.part}") from error
        except Exception as error:
            log.exception("the take of %s met an error of its own", self.part)
            raise DeviceError(
                f"Recording {self.part} failed: {type(error).__name__}. Keep or discard the episode."
            ) from error

    def _demand(self, last_row: int) -> None:
        """Raise unless the take ended well and holds row ``last_row``."""
        if self._error:
            raise self._error
        if self._rows <= last_row:
            raise Unavailable(
                f"The take of {self.part} was {self._state} at row {self._rows}. Keep what is whole, or discard it."
            )
