import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.devices.testcard import BITS, TestCard, read_counter


@given(st.integers(0, 2**BITS - 1))
def test_the_counter_can_be_read_back(count: int) -> None:
    assert read_counter(TestCard(160, 120, 0).draw(count)) == count


@pytest.mark.parametrize("size", [(160, 120), (640, 480), (1280, 720), (641, 359)])
def test_the_counter_survives_scaling_and_compression(size: tuple[int, int]) -> None:
    image = TestCard(*size, 3).draw(0xA5C39)
    smaller = cv2.resize(image, (320, 240), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", smaller, [cv2.IMWRITE_JPEG_QUALITY, 40])
    assert read_counter(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE)) == 0xA5C39


def test_the_picture_moves_and_is_new_every_time() -> None:
    card = TestCard(320, 240, 0)
    first, second = card.draw(1), card.draw(2)
    assert first.shape == (240, 320, 3)
    assert not np.shares_memory(first, second)
    assert (first[60:] != second[60:]).any()
    assert (first == card.draw(1)).all()


def test_two_seeds_can_be_told_apart() -> None:
    assert (TestCard(320, 240, 0).draw(1) != TestCard(320, 240, 1).draw(1)).any()
