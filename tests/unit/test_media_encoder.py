"""The live encoder's decisions, read back from its own H.264: sizes, keyframes, timestamps, colours, failures."""

import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import numpy as np
import pytest
from av.packet import Packet

from actors.capture.clock import SECOND_NS
from actors.devices.base import Frame, PixelFormat, StreamProfile
from actors.devices.ring import Ring
from actors.media.encoder import LiveEncoder, bit_rate

PERIOD_NS = SECOND_NS // 30


class Bench:
    """A ring, its encoder, and what came out; frames are put one by one, so that every one is encoded."""

    def __init__(self, width: int = 64, height: int = 48) -> None:
        self.ring: Ring[Frame] = Ring()
        self.packets: list[Packet] = []
        self.errors: list[Exception] = []
        self._news = threading.Condition()
        self.encoder = LiveEncoder(self.ring, StreamProfile(width, height, 30.0), self._on_packet, self._on_error)
        self.width, self.height, self.sequence = width, height, 0

    def _on_packet(self, packet: Packet) -> None:
        with self._news:
            self.packets.append(packet)
            self._news.notify_all()

    def _on_error(self, error: Exception) -> None:
        with self._news:
            self.errors.append(error)
            self._news.notify_all()

    def wait_for(self, predicate: Callable[[], bool]) -> None:
        with self._news:
            assert self._news.wait_for(predicate, timeout=5)

    def put(self, at_ns: int, image: np.ndarray | None = None, pixel_format: PixelFormat = "rgb24") -> None:
        if image is None:
            image = np.full((self.height, self.width, 3), self.sequence % 200, np.uint8)
        self.ring.put(Frame(image, pixel_format, self.sequence, at_ns))
        self.sequence += 1

    def feed(self, frames: int, start_ns: int = 10 * SECOND_NS, period_ns: int = PERIOD_NS) -> None:
        for index in range(frames):
            before = len(self.packets)
            self.put(start_ns + index * period_ns)
            self.wait_for(lambda before=before: len(self.packets) > before)

    def keyframes(self) -> list[int]:
        return [index for index, packet in enumerate(self.packets) if packet.is_keyframe]

    def pictures(self) -> list[av.VideoFrame]:
        decoder = av.CodecContext.create("h264", "r")
        return [picture for packet in self.packets for picture in decoder.decode(packet)] + decoder.decode(None)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.encoder.stop()
    bench.encoder.join(2)


@pytest.mark.parametrize(
    ("size", "rate"), [((640, 480, 30), 1_382_400), ((96, 96, 10), 300_000), ((3840, 2160, 30), 6_000_000)]
)
def test_bit_rate_follows_the_size_within_bounds(size: tuple[int, int, float], rate: int) -> None:
    assert bit_rate(*size) == rate


def test_every_frame_becomes_one_access_unit_with_its_capture_time(bench: Bench) -> None:
    bench.encoder.start()
    bench.feed(5, start_ns=10 * SECOND_NS)
    assert [packet.pts for packet in bench.packets] == [900_000, 902_999, 905_999, 908_999, 911_999]
    assert {packet.time_base for packet in bench.packets} == {Fraction(1, 90_000)}
    assert len(bench.pictures()) == 5


def test_keyframes_come_every_second_with_their_parameter_sets(bench: Bench) -> None:
    bench.encoder.start()
    bench.feed(65)
    assert bench.keyframes() == [0, 30, 60]
    for index in bench.keyframes():
        units = bytes(bench.packets[index]).split(b"\x00\x00\x01")[1:]
        assert {7, 8, 5} <= {unit[0] & 0x1F for unit in units}


def test_slow_camera_still_gets_a_keyframe_a_second(bench: Bench) -> None:
    bench.encoder.start()
    bench.feed(9, period_ns=SECOND_NS // 4)
    assert bench.keyframes() == [0, 4, 8]


def test_keyframe_requests_are_joined_and_spaced(bench: Bench) -> None:
    bench.encoder.start()
    bench.feed(3)
    for _ in range(5):
        bench.encoder.request_keyframe()
    bench.feed(12, start_ns=10 * SECOND_NS + 3 * PERIOD_NS)
    assert bench.keyframes() == [0, 10]


@pytest.mark.parametrize(("width", "height", "even"), [(65, 49, (64, 48)), (65, 48, (64, 48)), (64, 49, (64, 48))])
def test_odd_sides_are_cropped_to_even(width: int, height: int, even: tuple[int, int]) -> None:
    bench = Bench(width, height)
    bench.encoder.start()
    bench.feed(2)
    assert {(picture.width, picture.height) for picture in bench.pictures()} == {even}
    bench.encoder.stop()


@pytest.mark.parametrize(("pixel_format", "order"), [("rgb24", (200, 60, 30)), ("bgr24", (30, 60, 200))])
def test_colours_survive(bench: Bench, pixel_format: PixelFormat, order: tuple[int, int, int]) -> None:
    bench.encoder.start()
    bench.put(SECOND_NS, np.full((48, 64, 3), order, np.uint8), pixel_format)
    bench.wait_for(lambda: bool(bench.packets))
    shown = bench.pictures()[0].to_ndarray(format="rgb24").mean(axis=(0, 1))
    assert shown == pytest.approx((200, 60, 30), abs=5)


def test_gray_and_a_new_size_go_on_with_a_keyframe(bench: Bench) -> None:
    bench.encoder.start()
    bench.feed(2)
    bench.put(11 * SECOND_NS, np.full((96, 128), 70, np.uint8), "gray")
    bench.wait_for(lambda: len(bench.packets) == 3)
    assert bench.keyframes() == [0, 2]
    assert (bench.pictures()[-1].width, bench.pictures()[-1].height) == (128, 96)


def test_driver_that_counts_from_zero_again_is_followed(bench: Bench) -> None:
    bench.encoder.start()
    bench.feed(4)
    bench.ring.clear()
    bench.sequence = 0
    bench.put(20 * SECOND_NS)
    bench.wait_for(lambda: len(bench.packets) == 5)
    assert bench.packets[-1].is_keyframe


def test_nothing_comes_after_stop_and_a_new_start_begins_with_a_keyframe(bench: Bench) -> None:
    for _ in range(3):
        bench.packets.clear()
        bench.encoder.start()
        bench.feed(2, start_ns=time.monotonic_ns())
        bench.encoder.stop()
        assert not bench.encoder.running
        bench.put(time.monotonic_ns() + SECOND_NS)
        assert bench.keyframes() == [0]


def test_stop_waits_for_nothing_and_join_for_every_thread_started() -> None:
    at_work, go_on = threading.Event(), threading.Event()

    def slow_viewer(packet: Packet) -> None:
        at_work.set()
        go_on.wait(5)

    others = set(threading.enumerate())
    ring: Ring[Frame] = Ring()
    encoder = LiveEncoder(ring, StreamProfile(64, 48, 30.0), slow_viewer)
    encoder.start()
    ring.put(Frame(np.zeros((48, 64, 3), np.uint8), "rgb24", 0, SECOND_NS))
    assert at_work.wait(5)
    encoder.stop()
    encoder.start()
    encoder.stop()
    encoder.join(0.5)
    assert set(threading.enumerate()) - others
    go_on.set()
    encoder.join(5)
    assert not set(threading.enumerate()) - others


def test_crash_is_said_and_a_new_start_recovers(bench: Bench) -> None:
    bench.encoder.start()
    bench.put(SECOND_NS, np.zeros((48, 64, 5), np.uint8))
    bench.wait_for(lambda: bool(bench.errors))
    assert bench.encoder.error is bench.errors[0]
    bench.encoder.join(2)
    assert not bench.encoder.running
    bench.ring.clear()
    bench.encoder.start()
    assert bench.encoder.error is None
    bench.feed(1)
