"""The LIVE encoder: one H.264 stream of one camera, made once however many watch."""

import logging
import threading
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np
from av import VideoFrame
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType

from actors.capture.clock import SECOND_NS
from actors.devices.base import Frame, StreamProfile
from actors.devices.ring import Ring

RTP_CLOCK = Fraction(1, 90_000)
BITS_PER_PIXEL = 0.15
MIN_BIT_RATE, MAX_BIT_RATE = 300_000, 6_000_000
KEYFRAME_PERIOD_NS = SECOND_NS
"""A viewer that lost a packet and cannot say so sees a whole picture again after this long."""
KEYFRAME_SPACING_NS = 300_000_000
"""However many ask, keyframes come no closer than this: each costs as much as ten other pictures."""
WAIT_S = 0.1
SMPTE_170M, LIMITED_RANGE = 6, 1

logger = logging.getLogger(__name__)


def bit_rate(width: int, height: int, fps: float) -> int:
    """Bits a second for pictures of this size, between 0.3 and 6 Mbit/s (640x480 at 30: 1.4 Mbit/s)."""
    return int(min(max(width * height * fps * BITS_PER_PIXEL, MIN_BIT_RATE), MAX_BIT_RATE))


class LiveEncoder:
    """Encodes the newest frame of ``ring`` on a thread of its own from ``start`` to ``stop`` (cheap, repeatable).

    ``on_packet`` gets each access unit on that thread: Annex B with SPS and PPS before every keyframe, ``pts`` the
    capture time in 90 kHz ticks. A failure ends the thread, is kept in ``error`` and handed to ``on_error``.
    """

    def __init__(
        self,
        ring: Ring[Frame],
        profile: StreamProfile,
        on_packet: Callable[[Packet], None],
        on_error: Callable[[Exception], None] | None = None,
    ) -> None:
        self._ring, self._profile = ring, profile
        self._on_packet, self._on_error = on_packet, on_error
        self._wanted = threading.Event()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self.error: Exception | None = None
        self.encoded = 0

    @property
    def running(self) -> bool:
        return self._thread is not None and self._thread.is_alive() and not self._stopping.is_set()

    def start(self) -> None:
        """Begin with a keyframe; does nothing while running."""
        if self.running:
            return
        self.error = None
        self._stopping = threading.Event()
        run = _Run(self._ring, self._profile.fps, self._wanted, self._stopping)
        self._thread = threading.Thread(target=self._work, args=(run, self._thread), name="live-encoder", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End without waiting: nothing more is delivered, and the thread is gone within ``WAIT_S``."""
        self._stopping.set()

    def join(self, timeout_s: float) -> None:
        """Wait until the stopped thread, and those of the starts before it, are gone."""
        if self._thread is not None:
            self._thread.join(timeout_s)

    def request_keyframe(self) -> None:
        """Ask for a picture that stands alone. Requests that come together make one, at most every 0.3 s."""
        self._wanted.set()

    def _work(self, run: "_Run", predecessor: threading.Thread | None) -> None:
        try:
            while not run.stopping.is_set():
                self._deliver(run)
        except Exception as error:  # the thread's edge: whatever it was, somebody must hear of it
            logger.exception("The live encoder stopped")
            self.error = error
            if self._on_error is not None:
                self._on_error(error)
        finally:
            if predecessor is not None:  # ends last, so that whoever joins it may free what both read
                predecessor.join()

    def _deliver(self, run: "_Run") -> None:
        for packet in run.next_packets():
            if not run.stopping.is_set():
                self.encoded += 1
                self._on_packet(packet)


class _Run:
    """What one thread knows between one start and its stop, so that a new run never shares state with the last."""

    def __init__(self, ring: Ring[Frame], fps: float, wanted: threading.Event, stopping: threading.Event) -> None:
        self.stopping = stopping
        self._ring, self._fps, self._wanted = ring, fps, wanted
        self._codec: _Codec | None = None
        self._sequence = -1
        self._keyed_ns = 0

    def next_packets(self) -> list[Packet]:
        frame = self._ring.wait_newer(self._sequence, WAIT_S)
        if frame is None:
            self._follow_restart()
            return []
        self._sequence = frame.sequence
        return self._encode(frame)

    def _follow_restart(self) -> None:
        # A driver that reconnected counts from 0 again: wait for its numbers, not for the old ones to come back.
        newest = self._ring.latest()
        if newest is not None and newest.sequence < self._sequence:
            self._sequence = -1

    def _encode(self, frame: Frame) -> list[Packet]:
        height, width = (side & ~1 for side in frame.image.shape[:2])
        if self._codec is None or (self._codec.width, self._codec.height) != (width, height):
            self._codec = _Codec(width, height, self._fps)
            self._keyed_ns = 0
        return self._codec.encode(frame, keyframe=self._take_keyframe(frame.captured_ns))

    def _take_keyframe(self, at_ns: int) -> bool:
        age = at_ns - self._keyed_ns
        half_a_frame = int(SECOND_NS / self._fps / 2)
        due = age >= KEYFRAME_PERIOD_NS - half_a_frame or (self._wanted.is_set() and age >= KEYFRAME_SPACING_NS)
        if due:
            self._wanted.clear()
            self._keyed_ns = at_ns
        return due


class _Codec:
    """One libx264 context: Baseline for every browser, no look-ahead, no frame held back, keyframes only when told."""

    def __init__(self, width: int, height: int, fps: float) -> None:
        self.width, self.height = width, height
        self._pts = -1
        self._context = _open(width, height, fps)

    def encode(self, frame: Frame, *, keyframe: bool) -> list[Packet]:
        image = np.ascontiguousarray(frame.image[: self.height, : self.width])  # 4:2:0 has no odd sides
        source = VideoFrame.from_ndarray(image, format=frame.pixel_format)
        picture = source.reformat(format="yuv420p", dst_colorspace="smpte170m", dst_color_range="MPEG")
        self._pts = max(frame.captured_ns * RTP_CLOCK.denominator // SECOND_NS, self._pts + 1)
        picture.pts, picture.time_base = self._pts, RTP_CLOCK
        picture.pict_type = PictureType.I if keyframe else PictureType.NONE
        return self._context.encode(picture)


def _open(width: int, height: int, fps: float) -> VideoCodecContext:
    rate = bit_rate(width, height, fps)
    context = av.CodecContext.create("libx264", "w")
    context.width, context.height, context.pix_fmt = width, height, "yuv420p"
    context.time_base, context.framerate = RTP_CLOCK, Fraction(fps).limit_denominator(1001)
    context.bit_rate, context.thread_count, context.profile = rate, 1, "Baseline"
    # Said in the stream, because browsers guess BT.709 for large pictures and show other colours.
    context.colorspace, context.color_range = SMPTE_170M, LIMITED_RANGE
    context.gop_size = 2**30  # far: keyframes come by capture time, also from a camera slower than it said
    context.options = {
        "preset": "ultrafast",
        "tune": "zerolatency",
        "forced-idr": "1",
        "maxrate": str(rate),
        "bufsize": str(rate // 2),
        "x264-params": "repeat-headers=1",
    }
    return context
