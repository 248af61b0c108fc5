import time

import pytest

from actors.devices.pacing import SECOND_NS, Pacer


@pytest.mark.parametrize("hz", [10.0, 29.97, 30, 120])
def test_due_times_do_not_drift(hz: float) -> None:
    pacer = Pacer(hz, origin_ns=time.monotonic_ns() + SECOND_NS)
    origin = pacer.due_ns
    pacer.index = 1_000_000
    assert abs((pacer.due_ns - origin) - 1_000_000 * SECOND_NS / hz) <= 1


def test_a_future_origin_is_waited_for() -> None:
    origin = time.monotonic_ns() + 20_000_000
    pacer = Pacer(100, origin)
    assert pacer.wait() == 0
    assert time.monotonic_ns() >= origin


def test_missed_ticks_are_skipped_and_the_phase_stays() -> None:
    origin = time.monotonic_ns()
    pacer = Pacer(100, origin)
    pacer.wait()
    time.sleep(0.055)
    assert [pacer.wait(), pacer.wait()][1] >= 5
    assert (pacer.due_ns - origin) % 10_000_000 == 0


def test_an_origin_long_past_starts_at_the_next_tick() -> None:
    now = time.monotonic_ns()
    pacer = Pacer(10, now - 1000 * SECOND_NS - 1)
    assert pacer.index == 10_001
    assert now <= pacer.due_ns <= now + SECOND_NS // 10
