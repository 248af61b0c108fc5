"""The camera ``file``: plays a video file as if it were a camera."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.container import InputContainer
from numpy.typing import NDArray

from actors.devices.base import Frame, StreamProfile
from actors.devices.pacing import Pacer
from domain.errors import DeviceError, DeviceLost


class FileCamera:
    """Payload: path (relative to a media root, as the user wrote it), loop, fps (the file's own if null). ``file`` is
    the confined path. Every picture of the file is shown, in order; a late grab makes the film slower."""

    def __init__(self, payload: dict[str, Any], file: Path) -> None:
        self._name, self._loop, self._fps = payload["path"], bool(payload.get("loop")), payload.get("fps")
        self._file = file
        self._container: InputContainer | None = None

    def open(self) -> StreamProfile:
        """Raises DeviceError when there is no such file or no video in it."""
        self.close()
        try:
            self._container = av.open(str(self._file))
            stream = self._container.streams.video[0]
        except (av.FFmpegError, OSError) as failure:
            raise DeviceError(
                f"{self._name!r} cannot be played ({failure.strerror}). Choose a video file."
            ) from failure
        except IndexError as failure:
            self.close()
            raise DeviceError(f"{self._name!r} holds no video. Choose a video file.") from failure
        fps = float(self._fps or stream.average_rate or stream.guessed_rate or 30)
        self._profile = StreamProfile(stream.width, stream.height, fps)
        self._pictures = self._play(self._container)
        self._pacer = Pacer(fps)
        return self._profile

    def grab(self) -> Frame:
        """The file's next picture when its turn comes, rgb24. Raises DeviceLost at the end unless ``loop``, and for a
        damaged file."""
        if self._container is None:
            raise DeviceError("The file camera is not open. Connect it first.")
        picture = self._next().reformat(self._profile.width, self._profile.height, format="rgb24")
        image = cast("NDArray[np.uint8]", picture.to_ndarray())
        sequence = self._pacer.wait()
        return Frame(image, "rgb24", sequence, time.monotonic_ns())

    def close(self) -> None:
        if self._container is not None:
            self._container.close()
        self._container = None

    def _next(self) -> av.VideoFrame:
        try:
            return next(self._pictures)
        except StopIteration:
            raise DeviceLost(f"{self._name!r} has ended. Connect again to play it once more, or set loop.") from None
        except av.FFmpegError as failure:
            raise DeviceLost(f"{self._name!r} is damaged ({failure.strerror}). Replace the file.") from failure

    def _play(self, container: InputContainer) -> Iterator[av.VideoFrame]:
        shown = True
        while shown:  # a file without a single picture must not be gone through for ever
            shown = False
            for picture in container.decode(video=0):
                shown = True
                yield picture
            if not self._loop:
                return
            container.seek(0)
