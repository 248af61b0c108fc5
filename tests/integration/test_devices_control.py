"""The control loop over the real simulated robot."""

import threading
import time
import uuid
from collections.abc import Iterator

import numpy as np
import pytest

from actors.capture.clock import SECOND_NS, SessionClock
from actors.devices import teleoperator
from actors.devices.base import Reading, Sample
from actors.devices.control import LEAD_NS, ControlLoop
from actors.devices.pusht import PushT
from actors.devices.ring import Ring
from domain.errors import DeviceError, DeviceLost, Unavailable


@pytest.fixture
def ring() -> Ring[Sample]:
    return Ring()


@pytest.fixture
def loop(ring: Ring[Sample]) -> Iterator[ControlLoop]:
    loop = ControlLoop(PushT(0, str(uuid.uuid4())), ring)
    loop.start()
    yield loop
    loop.stop()


class ToTheCorner:
    """Wants 400, 400 always, after ``delay_s``; fails once ``broken`` is set."""

    def __init__(self, delay_s: float = 0) -> None:
        self.delay_s, self.broken, self.started_at = delay_s, False, None

    def start(self, reading: Reading) -> None:
        self.started_at = reading

    def action(self, reading: Reading) -> np.ndarray:
        time.sleep(self.delay_s)
        if self.broken:
            raise ZeroDivisionError("no more ideas")
        return np.array([400, 400], np.float32)


def next_samples(ring: Ring[Sample], count: int) -> list[Sample]:
    samples: list[Sample] = []
    newest = ring.latest()
    sequence = newest.sequence if newest else 0
    while len(samples) < count:
        sample = ring.wait_newer(sequence, 3)
        assert sample is not None, "the loop does not tick"
        samples.append(sample)
        sequence = sample.sequence
    return samples


def wait_for_error(loop: ControlLoop) -> None:
    deadline = time.monotonic() + 5
    while loop.error is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_every_row_sees_exactly_one_new_sample(loop: ControlLoop, ring: Ring[Sample]) -> None:
    loop.set_source(teleoperator("random", seed=1))
    time.sleep(0.137)  # any phase
    clock = SessionClock(time.monotonic_ns() + SECOND_NS // 2, fps=10)
    start = loop.start_episode(clock, 3)
    rows = []
    for row in range(20):
        clock.sleep_until(row, grace_ns=30_000_000)
        rows.append(ring.newest_before(clock.row_ns(row)))
    taken = [(clock.row_ns(row), sample) for row, sample in enumerate(rows) if sample is not None]
    assert rows[0] is None or (rows[0].state == start.values).all()  # None: its tick was late, see below
    fresh = [sample for row_ns, sample in taken if row_ns - sample.captured_ns <= LEAD_NS]
    assert len({sample.sequence for sample in fresh}) == len(fresh) > 10
    assert len(rows) - len(fresh) <= loop.stats.late, "only a tick that was counted as late may miss its row"


def test_an_episode_starts_reset_and_without_samples_of_the_last_one(loop: ControlLoop, ring: Ring[Sample]) -> None:
    source = ToTheCorner()
    loop.set_source(source)
    next_samples(ring, 3)
    start = loop.start_episode(SessionClock(time.monotonic_ns() + SECOND_NS, fps=10), 1)
    assert ring.latest() is None
    assert source.started_at is start
    assert (
        loop.start_episode(SessionClock(time.monotonic_ns() + SECOND_NS, fps=10), 1).ground_truth == start.ground_truth
    )


def test_the_source_moves_the_robot_and_none_holds_it_still(loop: ControlLoop, ring: Ring[Sample]) -> None:
    still = next_samples(ring, 3)
    assert (still[0].state == still[-1].state).all()
    loop.set_source(ToTheCorner())
    moved = next_samples(ring, 12)[-1]
    assert moved.action.tolist() == [400, 400]
    assert np.abs(moved.state - 400).max() < 40
    loop.set_source(None)
    held = next_samples(ring, 4)
    assert all((sample.action == held[0].action).all() for sample in held)


def test_a_source_that_thinks_too_long_makes_late_ticks_that_are_counted(loop: ControlLoop, ring: Ring[Sample]) -> None:
    loop.set_source(ToTheCorner(delay_s=0.25))
    next_samples(ring, 2)
    assert loop.stats.late >= 1
    assert loop.stats.skipped >= 1
    assert loop.error is None


def test_a_failing_source_is_dropped_and_the_robot_holds_still(loop: ControlLoop, ring: Ring[Sample]) -> None:
    source = ToTheCorner()
    loop.set_source(source)
    source.broken = True
    held = next_samples(ring, 4)
    assert (held[-1].action == held[-2].action).all()
    assert "no more ideas" in (loop.stats.last_error or "")
    assert loop.error is None


def test_an_action_that_the_robot_refuses_drops_the_source(loop: ControlLoop, ring: Ring[Sample]) -> None:
    source = ToTheCorner()
    source.action = lambda reading: np.array([np.nan, 0], np.float32)
    loop.set_source(source)
    assert np.isfinite(next_samples(ring, 2)[-1].action).all()
    assert "finite" in (loop.stats.last_error or "")


class Unplugged(PushT):
    """A robot that is gone after a few readings."""

    left = 5

    def observe(self) -> Reading:
        self.left -= 1
        if self.left < 0:
            raise DeviceLost("The cable is out. Plug it in again.")
        return super().observe()


def test_a_lost_robot_shows_and_every_later_call_tells(ring: Ring[Sample]) -> None:
    loop = ControlLoop(Unplugged(0, str(uuid.uuid4())), ring)
    loop.start()
    wait_for_error(loop)
    assert isinstance(loop.error, DeviceLost)
    assert "cable" in (loop.stats.last_error or "")
    with pytest.raises(DeviceLost, match="cable"):
        loop.set_source(None)
    loop.stop()


def test_a_robot_that_cannot_be_connected_is_told_at_start(ring: Ring[Sample]) -> None:
    class Broken(PushT):
        def connect(self) -> None:
            raise OSError("no such port")

    loop = ControlLoop(Broken(0, "x"), ring)
    with pytest.raises(DeviceError, match="no such port"):
        loop.start()


def test_stop_ends_the_thread_closes_the_robot_and_may_be_repeated(ring: Ring[Sample]) -> None:
    robot = PushT(0, str(uuid.uuid4()))
    loop = ControlLoop(robot, ring)
    loop.start()
    loop.stop()
    loop.stop()
    assert not any(thread.name == "control-loop" and thread.is_alive() for thread in threading.enumerate())
    with pytest.raises(DeviceError, match="not connected"):
        robot.observe()
    with pytest.raises(Unavailable, match="ended"):
        loop.set_source(None)
