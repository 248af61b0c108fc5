import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.capture.stats import aggregate, constant, image_stats, shifted, vector_stats
from domain.errors import Invalid


def test_vectors():
    stats = vector_stats(np.array([[0, 10], [1, 10], [2, 10]], np.float32))
    assert (stats["min"], stats["max"], stats["mean"], stats["count"]) == ([0, 10], [2, 10], [1, 10], [3])
    assert stats["std"] == pytest.approx([np.sqrt(2 / 3), 0])
    assert stats["q50"] == [1, 10]


def test_one_row_is_its_own_statistics():
    assert vector_stats(np.array([[4.0]]))["q99"] == [4.0]


def test_pictures_are_in_0_to_1_with_a_channel_axis():
    black, red = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)
    red[..., 0] = 255
    stats = image_stats([black, red])
    assert stats["mean"] == [[[0.5]], [[0.0]], [[0.0]]]
    assert stats["std"] == [[[0.5]], [[0.0]], [[0.0]]]
    assert (stats["min"][0], stats["max"][0], stats["count"]) == ([[0.0]], [[1.0]], [2])


def test_large_pictures_are_thinned_out_not_cropped():
    wide = np.zeros((10, 900, 3), np.uint8)
    wide[:, 450:] = 255
    assert image_stats([wide])["mean"][0][0][0] == pytest.approx(0.5, abs=0.01)


def test_no_picture_is_an_error():
    with pytest.raises(Invalid):
        image_stats([])


@given(st.lists(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=9), min_size=1, max_size=5))
def test_the_aggregate_of_episodes_is_that_of_all_their_rows(episodes):
    whole = vector_stats(np.array([value for episode in episodes for value in episode]))
    parts = aggregate([{"x": vector_stats(np.array(episode))} for episode in episodes])["x"]
    for name in ("min", "max", "mean", "std", "count"):
        assert parts[name] == pytest.approx(whole[name], abs=1e-6), name


def test_moved_and_constant_columns_need_no_rows():
    rows = np.arange(5)
    assert shifted(vector_stats(rows), 100) == vector_stats(rows + 100)
    assert constant(7, 5) == vector_stats(np.full(5, 7))
