"""A camera's capture thread: opens the driver, fills the ring, and after a loss tries again until it is stopped."""

import logging
import threading
import time
from collections.abc import Callable

from actors.devices.base import CameraDriver, Frame, StreamProfile
from actors.devices.ring import Ring
from domain.errors import DeviceError

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 5.0

logger = logging.getLogger(__name__)


class CameraFeed:
    """``on_streaming(profile)`` after the first frame of each connection, ``on_lost(reason)`` after each failure; both
    are called on the thread. ``make_driver`` gives a fresh driver for every attempt."""

    def __init__(
        self,
        make_driver: Callable[[], CameraDriver],
        on_streaming: Callable[[StreamProfile], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self.ring: Ring[Frame] = Ring()
        self._make_driver = make_driver
        self._on_streaming = on_streaming
        self._on_lost = on_lost
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="camera-feed", daemon=True)
        self._began_ns = 0
        self.frames = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self, timeout_s: float = 5) -> None:
        """Close the device. A driver call that hangs is left to the end of the process."""
        self._stopping.set()
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            logger.error("the camera's driver did not return within %.0f s", timeout_s)

    def fps(self) -> float:
        """Frames a second since the present connection began."""
        seconds = (time.monotonic_ns() - self._began_ns) / 1e9
        return self.frames / seconds if self._began_ns and seconds > 0 else 0.0

    def _run(self) -> None:
        retry_s = FIRST_RETRY_S
        while not self._stopping.is_set():
            try:
                self._stream()
            except DeviceError as error:
                reason = error.detail
            except Exception as error:
                logger.exception("a camera driver failed in a way it should have translated")
                reason = f"The camera's driver failed: {error!r}"
            else:
                return
            retry_s = FIRST_RETRY_S if self.frames else min(retry_s * 2, LAST_RETRY_S)
            self._lose(reason)
            self._stopping.wait(retry_s)

    def _stream(self) -> None:
        driver = self._make_driver()
        try:
            profile = driver.open()
            self._fill(driver, profile)
        finally:
            driver.close()

    def _fill(self, driver: CameraDriver, profile: StreamProfile) -> None:
        while not self._stopping.is_set():
            frame = driver.grab()
            self.ring.put(frame)
            self.frames += 1
            if self.frames == 1:
                self._began_ns = time.monotonic_ns()
                height, width = frame.image.shape[:2]
                self._on_streaming(StreamProfile(width, height, profile.fps))

    def _lose(self, reason: str) -> None:
        self.ring.clear()
        self.frames = 0
        self._on_lost(reason)
