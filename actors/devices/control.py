"""The control loop of one robot: a thread that observes, asks its source what to do, and acts, at the robot's rate."""

import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from actors.capture.clock import SessionClock
from actors.devices.base import Reading, RobotDriver, Sample, Teleoperator
from actors.devices.pacing import SECOND_NS, Pacer
from actors.devices.ring import Ring
from domain.errors import DeviceError, GetiActionError, Invalid, Unavailable

LEAD_NS = 20_000_000
ANSWER_S = 10.0
PENDING = 8

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LoopStats:
    """``late`` ticks had no sample in the ring by the time of their row; ``skipped`` ones did not happen at all;
    ``last_error`` is the last failure of the source (then the robot holds still) or of the robot (then it ended)."""

    ticks: int
    late: int
    skipped: int
    last_error: str | None


class ControlLoop:
    """Owns a robot: every call of ``driver`` and of the source is made on one thread. The source is a Teleoperator, or
    None to hold the robot still. Public methods may be called from any thread and wait for the loop's answer: at most
    ``ANSWER_S`` seconds, then Unavailable is raised; after the robot failed they raise its error."""

    def __init__(self, driver: RobotDriver, ring: Ring[Sample], lead_ns: int = LEAD_NS) -> None:
        """``lead_ns``: how long before its row a sample is taken, so that it lies in the ring when the row asks."""
        self._driver, self._ring, self._lead_ns = driver, ring, lead_ns
        self._source: Teleoperator | None = None
        self._hold: NDArray[np.float32] | None = None
        self._ticks = self._late = self._skipped = 0
        self._last_error: str | None = None
        self._error: GetiActionError | None = None
        self._stopping = False
        self._jobs: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue(PENDING)
        self._thread = threading.Thread(target=self._run, name="control-loop", daemon=True)

    def start(self) -> None:
        """Connect the robot and begin to tick, holding it still. Raises the driver's DeviceError."""
        self._thread.start()
        self._ask(lambda: None)

    def start_episode(self, clock: SessionClock, episode: int) -> Reading:
        """Reset the robot for ``episode`` and tick ``lead_ns`` before the rows of ``clock`` from now on. What the ring
        held is forgotten; the answer is the reading from which the episode starts."""
        return self._ask(lambda: self._begin(clock, episode))

    def set_source(self, source: Teleoperator | None) -> None:
        """Let ``source`` decide from the next tick on. Raises what its ``start`` raises, and then holds still."""
        self._ask(lambda: self._take(source))

    def stop(self) -> None:
        """End the loop and close the driver. Repeatable; does nothing to a loop that ended by itself."""
        if self._thread.is_alive():
            with contextlib.suppress(DeviceError):  # it ended by itself meanwhile, and ``error`` says why
                self._ask(self._end)
            self._thread.join(ANSWER_S)

    @property
    def stats(self) -> LoopStats:
        return LoopStats(self._ticks, self._late, self._skipped, self._last_error)

    @property
    def error(self) -> GetiActionError | None:
        """Why the loop ended by itself; None while all is well."""
        return self._error

    def _ask[T](self, work: Callable[[], T]) -> T:
        answer: Future[T] = Future()
        try:
            self._jobs.put((answer, work), timeout=ANSWER_S)
            if not self._thread.is_alive():
                self._refuse_jobs()
            return answer.result(ANSWER_S)
        except (queue.Full, TimeoutError) as slow:
            raise Unavailable("The robot's control loop does not answer. Try again, or reconnect the robot.") from slow

    def _run(self) -> None:
        try:
            self._driver.connect()
            self._pacer = Pacer(self._driver.control_hz)
            while not self._stopping:
                self._serve_or_tick()
        except Exception as failure:  # the thread's outermost frame: whatever it was is shown as ``error``
            log.exception("The control loop ended")
            self._error = _as_device_error(failure)
            self._last_error = self._error.detail
        finally:
            self._close()

    def _serve_or_tick(self) -> None:
        wait_ns = self._pacer.due_ns - time.monotonic_ns()
        try:
            answer, work = self._jobs.get(block=wait_ns > 0, timeout=max(wait_ns, 0) / SECOND_NS)
        except queue.Empty:
            self._tick()
            return
        try:
            answer.set_result(work())
        except Exception as failure:  # belongs to whoever asked; a robot that is gone shows it at the next tick too
            answer.set_exception(failure)

    def _tick(self) -> None:
        reading = self._driver.observe()
        sent = self._act(reading)
        self._ticks += 1
        self._ring.put(
            Sample(self._ticks, reading.captured_ns, reading.values, sent, reading.ground_truth, reading.success)
        )
        self._late += time.monotonic_ns() > self._pacer.due_ns + self._lead_ns
        tick = self._pacer.index
        self._pacer.advance()
        self._skipped += self._pacer.index - tick - 1

    def _act(self, reading: Reading) -> NDArray[np.float32]:
        """Send what the source wants. One that fails, or wants what the robot refuses, is dropped."""
        wanted = self._wanted(reading)
        if wanted is not None:
            try:
                sent = self._driver.act(wanted)
            except Invalid as refused:
                self._drop_source(refused)
            else:
                self._hold = None
                return sent
        if self._hold is None:
            self._hold = reading.values
        return self._driver.act(self._hold)

    def _wanted(self, reading: Reading) -> NDArray[np.float32] | None:
        if self._source is None:
            return None
        try:
            return self._source.action(reading)
        except Exception as failure:  # a policy may raise anything: the robot must hold still then, not be left alone
            self._drop_source(failure)
            return None

    def _drop_source(self, failure: Exception) -> None:
        log.error("The robot's source failed; it holds still", exc_info=failure)
        self._source = None
        self._last_error = f"The robot holds still because its source failed: {failure}"

    def _begin(self, clock: SessionClock, episode: int) -> Reading:
        reading = self._driver.reset(episode)
        self._ring.clear()
        self._hold = None
        self._start_source(self._source, reading)
        self._pacer = Pacer(self._driver.control_hz, clock.t0_ns - self._lead_ns)
        return reading

    def _take(self, source: Teleoperator | None) -> None:
        self._start_source(source, self._driver.observe())

    def _start_source(self, source: Teleoperator | None, reading: Reading) -> None:
        self._source = None
        if source is not None:
            source.start(reading)
        self._source = source

    def _end(self) -> None:
        self._stopping = True

    def _close(self) -> None:
        try:
            self._driver.close()
        except Exception as failure:  # the loop has ended all the same, and those who wait must hear of it
            log.exception("The robot did not close")
            self._error = self._error or _as_device_error(failure)
        self._refuse_jobs()

    def _refuse_jobs(self) -> None:
        reason = self._error or DeviceError("The robot's control loop has ended. Connect the robot again.")
        while True:
            try:
                answer, _ = self._jobs.get_nowait()
            except queue.Empty:
                return
            answer.set_exception(reason)


def _as_device_error(failure: Exception) -> GetiActionError:
    if isinstance(failure, GetiActionError):
        return failure
    return DeviceError(f"The robot failed ({failure}). Look at its log, then connect it again.")
