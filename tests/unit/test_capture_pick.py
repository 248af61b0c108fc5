from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from actors.capture.pick import Picker, stale_after_ns
from actors.devices.ring import Ring

PERIOD = 33_333_333


@dataclass(frozen=True)
class Capture:
    sequence: int
    captured_ns: int


def ring_of(*times: int) -> Ring[Capture]:
    ring = Ring[Capture]()
    for sequence, time in enumerate(times):
        ring.put(Capture(sequence, time))
    return ring


def test_a_row_takes_the_freshest_capture_that_is_not_younger():
    picker = Picker(ring_of(90, 100, 101), Capture(0, 90), 1000)
    pick = picker.pick(100)
    assert (pick.capture.captured_ns, pick.age_ns, pick.repeated, pick.stale, pick.dropped) == (
        100,
        0,
        False,
        False,
        False,
    )


def test_the_same_capture_again_is_a_repeat_and_not_yet_stale():
    picker = Picker(ring_of(100), Capture(0, 100), stale_after_ns(PERIOD, 30))
    first, second, third = (picker.pick(100 + row * PERIOD) for row in range(3))
    assert (first.repeated, second.repeated, second.stale) == (False, True, False)
    assert third.stale
    assert (picker.repeats, picker.stale, picker.dropped) == (2, 1, 0)


def test_a_slow_camera_is_not_stale_for_being_slow():
    assert stale_after_ns(PERIOD, 10) == 150_000_000


def test_a_row_older_than_all_kept_captures_repeats_the_last_and_is_dropped():
    picker = Picker(ring_of(50, 100), Capture(0, 50), 1000)
    before = picker.pick(60)
    late = Picker(ring_of(500), before.capture, 1000).pick(400)
    assert (late.capture.captured_ns, late.dropped, late.repeated) == (50, True, False)


def test_a_cleared_ring_drops_until_the_device_is_back():
    ring = ring_of(100)
    picker = Picker(ring, Capture(0, 100), 1000)
    picker.pick(110)
    ring.clear()
    assert picker.pick(120).dropped
    ring.put(Capture(0, 125))
    back = picker.pick(130)
    assert (back.dropped, back.repeated, back.capture.captured_ns) == (False, False, 125)


@given(
    st.lists(st.integers(0, 10**9), min_size=1, max_size=30, unique=True), st.lists(st.integers(0, 10**9), min_size=1)
)
def test_ages_are_never_negative_but_for_a_dropped_row_and_every_row_has_one_capture(times, rows):
    times, rows = sorted(times), sorted(rows)
    picker = Picker(ring_of(*times), Capture(0, times[0]), 10**8)
    picks = [picker.pick(row) for row in rows]
    assert all(pick.age_ns >= 0 or pick.dropped for pick in picks)
    assert [pick.dropped for pick in picks] == [row < times[0] for row in rows]
    assert picker.repeats == sum(pick.repeated for pick in picks)
