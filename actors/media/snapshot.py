"""One picture of a camera as JPEG."""

import cv2
import numpy as np
from numpy.typing import NDArray

from actors.devices.base import Frame
from domain.errors import Invalid

QUALITY = 85


def jpeg(frame: Frame, width: int | None = None) -> bytes:
    """The frame as JPEG, ``width`` pixels wide with its own aspect ratio, or as it is; never larger than it is.

    Raises Invalid for a width below 1.
    """
    if width is not None and width < 1:
        raise Invalid(f"A picture cannot be {width} pixels wide: ask for 1 or more.", code="invalid_width")
    encoded, data = cv2.imencode(".jpg", _bgr(_shrink(frame, width)), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not encoded:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {frame.image.shape} as JPEG.")
    return data.tobytes()


def _shrink(frame: Frame, width: int | None) -> Frame:
    height, full_width = frame.image.shape[:2]
    if width is None or width >= full_width:
        return frame
    size = (width, max(1, round(height * width / full_width)))
    image = cv2.resize(frame.image, size, interpolation=cv2.INTER_AREA)
    return Frame(image, frame.pixel_format, frame.sequence, frame.captured_ns, frame.device_ns)


def _bgr(frame: Frame) -> NDArray[np.uint8]:
    """OpenCV's own order: (height, width, 3) blue first, or (height, width) gray."""
    match frame.pixel_format:
        case "rgb24":
            image: NDArray[np.uint8] = cv2.cvtColor(frame.image, cv2.COLOR_RGB2BGR)
            return image
        case "bgr24" | "gray":
            return frame.image
