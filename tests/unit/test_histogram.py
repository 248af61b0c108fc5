"""Bins of episodes' lengths."""

from hypothesis import given
from hypothesis import strategies as st

from projections.histogram import BINS, lengths


def bins(*rows: int) -> list[tuple[int, int, int]]:
    told = lengths(rows)
    assert told is not None
    return [(each["start"], each["end"], each["episodes"]) for each in told["histogram"]]


def test_of_no_episode() -> None:
    assert lengths([]) is None


def test_equal_lengths_are_one_bin() -> None:
    assert bins(60, 60, 60) == [(60, 61, 3)]


def test_few_rows_apart_each_length_is_a_bin() -> None:
    assert bins(5, 6, 8) == [(5, 6, 1), (6, 7, 1), (7, 8, 0), (8, 9, 1)]


def test_many_rows_apart_there_are_ten() -> None:
    assert bins(0, 9, 10, 99) == [
        (0, 10, 2),
        (10, 20, 1),
        *((at, at + 10, 0) for at in range(20, 90, 10)),
        (90, 100, 1),
    ]


@given(st.lists(st.integers(1, 100_000), min_size=1, max_size=50))
def test_every_episode_is_in_one_bin(rows: list[int]) -> None:
    found = bins(*rows)
    assert 1 <= len(found) <= BINS
    assert [count for _, _, count in found] == [sum(start <= row < end for row in rows) for start, end, _ in found]
    assert sum(count for _, _, count in found) == len(rows)
    assert {end - start for start, end, _ in found} == {found[0][1] - found[0][0]}
    assert found[0][2] > 0
    assert found[-1][2] > 0
    told = lengths(rows)
    assert told is not None
    assert (told["min"], told["max"], told["mean"]) == (min(rows), max(rows), sum(rows) / len(rows))
