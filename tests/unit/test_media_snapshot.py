"""A frame as JPEG: size, aspect, colours."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from actors.devices.base import Frame, PixelFormat
from actors.media.snapshot import jpeg
from domain.errors import Invalid

RED = {"rgb24": (220, 30, 40), "bgr24": (40, 30, 220)}


def frame(width: int, height: int, pixel_format: PixelFormat) -> Frame:
    if pixel_format == "gray":
        return Frame(np.full((height, width), 90, np.uint8), pixel_format, 0, 0)
    return Frame(np.full((height, width, 3), RED[pixel_format], np.uint8), pixel_format, 0, 0)


def decoded(data: bytes) -> NDArray[np.uint8]:
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("pixel_format", ["rgb24", "bgr24"])
def test_colours_survive_in_either_order(pixel_format: PixelFormat) -> None:
    blue, green, red = decoded(jpeg(frame(64, 48, pixel_format))).mean(axis=(0, 1))
    assert (red, green, blue) == pytest.approx((220, 30, 40), abs=6)


def test_gray_is_served_too() -> None:
    assert decoded(jpeg(frame(64, 48, "gray"))).mean() == pytest.approx(90, abs=3)


@pytest.mark.parametrize(
    ("asked", "size"),
    [(None, (641, 481)), (320, (320, 240)), (641, (641, 481)), (5000, (641, 481)), (1, (1, 1))],
)
def test_width_keeps_the_aspect_and_never_enlarges(asked: int | None, size: tuple[int, int]) -> None:
    height, width = decoded(jpeg(frame(641, 481, "rgb24"), asked)).shape[:2]
    assert (width, height) == size


@pytest.mark.parametrize("asked", [0, -3])
def test_impossible_width_is_refused(asked: int) -> None:
    with pytest.raises(Invalid, match="1 or more"):
        jpeg(frame(64, 48, "rgb24"), asked)
