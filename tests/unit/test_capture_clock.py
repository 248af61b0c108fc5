from hypothesis import given
from hypothesis import strategies as st

from actors.capture.clock import SECOND_NS, SessionClock

CLOCKS = st.builds(SessionClock, t0_ns=st.integers(0, 10**15), fps=st.integers(1, 120))


@given(CLOCKS, st.integers(0, 10**7))
def test_the_last_row_at_a_rows_time_is_that_row_and_a_nanosecond_earlier_the_one_before(clock, row):
    assert clock.last_row(clock.row_ns(row)) == row
    assert clock.last_row(clock.row_ns(row) - 1) == row - 1


@given(CLOCKS)
def test_rows_do_not_drift(clock):
    assert clock.row_ns(clock.fps * 36_000) == clock.t0_ns + 36_000 * SECOND_NS
