"""Camera and robot takes with the real encoder and real files."""

import re
import resource
import time
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from actors.capture.clock import SECOND_NS, SessionClock
from actors.capture.pacing import TakeState
from actors.capture.rowlog import read_rows
from actors.capture.rows import RobotTake, log_path
from actors.capture.take import CameraTake, video_path
from actors.capture.video import cut, keyframes, whole_rows
from actors.devices.base import Frame
from actors.devices.ring import Ring
from domain.episode import Quality
from domain.errors import Conflict, DeviceError, Invalid, StorageFull, Unavailable
from tests.integration.test_capture_kit import (
    FPS,
    JOINTS,
    QUALITIES,
    PacedCamera,
    camera_ring,
    child,
    decoded,
    frame,
    number_of,
    past_clock,
    picture,
    psnr,
    robot_ring,
)

ROWS = 40


def soon(delay_s: float = 0.15, fps: int = FPS) -> SessionClock:
    return SessionClock(time.monotonic_ns() + int(delay_s * SECOND_NS), fps)


def wait_for(take: CameraTake | RobotTake, state: TakeState, timeout_s: float = 5) -> None:
    deadline = time.monotonic() + timeout_s
    while take.progress().state is not state:
        assert time.monotonic() < deadline, take.progress()
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["rgb24", "bgr24", "gray"])
@pytest.mark.parametrize("size", [(160, 120), (97, 65)])
def test_every_row_shows_its_picture(tmp_path, size, kind):
    clock = past_clock(ROWS)
    ring = Ring[Frame](ROWS)
    for row in range(ROWS):
        ring.put(frame(row, clock.row_ns(row) - 1, size, kind))
    take = CameraTake(ring, clock, tmp_path, "top", FPS, grace_s=0)
    take.start()
    report = take.finish(ROWS - 1, 30)
    assert (report.rows, report.dropped, report.repeats, report.stale) == (ROWS, 0, 0, 0)
    pictures = decoded(video_path(tmp_path, "top"))
    assert len(pictures) == ROWS
    assert pictures[0].shape == (size[1] + size[1] % 2, size[0] + size[0] % 2, 3)
    for row, shown in enumerate(pictures):
        fed = picture(row, *size) if kind != "gray" else np.repeat(picture(row, *size)[..., 1:2], 3, axis=2)
        assert psnr(shown[: size[1], : size[0]], fed) > 32, row


def test_an_episode_ends_exactly_at_its_last_row_however_late_it_is_told(tmp_path):
    clock = past_clock(ROWS)
    take = CameraTake(camera_ring(clock, ROWS, (96, 64)), clock, tmp_path, "top", FPS, grace_s=0)
    take.start()
    while take.progress().rows < 25:
        time.sleep(0.005)
    assert take.finish(20, 30).rows == 21
    assert take.finish(20, 30) == take.finish(20, 30)
    made = take.progress().rows
    assert made > 21
    assert whole_rows(video_path(tmp_path, "top"), FPS) == made
    cut(video_path(tmp_path, "top"), tmp_path / "cut.mp4", 21, FPS)
    assert [number_of(shown) for shown in decoded(tmp_path / "cut.mp4")] == list(range(21))
    with pytest.raises(Conflict):
        cut(video_path(tmp_path, "top"), tmp_path / "more.mp4", made + 1, FPS)


@pytest.mark.parametrize("quality", [*QUALITIES, Quality(gop_s=0.2)], ids=lambda quality: f"{quality.codec}")
def test_keyframes_come_in_time_and_no_picture_waits_for_a_later_one(tmp_path, quality):
    clock = past_clock(ROWS)
    take = CameraTake(camera_ring(clock, ROWS, (96, 64)), clock, tmp_path, "top", FPS, quality, grace_s=0)
    take.start()
    take.finish(ROWS - 1, 30)
    with av.open(str(video_path(tmp_path, "top"))) as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == quality.codec
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert all(packet.pts == packet.dts for packet in packets)
    keys = [row for row, packet in enumerate(packets) if packet.is_keyframe and row < ROWS]
    most = int(quality.gop_s * FPS)  # x264 adds some where the picture changes
    assert most // 2 < max(np.diff([*keys, ROWS])) <= most == quality.gop_rows(FPS)
    cut(video_path(tmp_path, "top"), tmp_path / "cut.mp4", ROWS, FPS)
    assert [number_of(shown) for shown in keyframes(tmp_path / "cut.mp4")] == keys
    assert len(list(keyframes(tmp_path / "cut.mp4", at_most=2))) == min(2, len(keys))


def test_equal_rates_with_jitter_repeat_but_are_never_stale(tmp_path):
    clock, random = past_clock(90), np.random.default_rng(7)
    ring = Ring[Frame](91)
    for number in range(91):
        jitter = int(random.uniform(-6e6, 6e6))
        ring.put(frame(number, clock.row_ns(number) - clock.period_ns + jitter))
    take = CameraTake(ring, clock, tmp_path, "top", FPS, grace_s=0)
    take.start()
    report = take.finish(89, 30)
    assert (report.rows, report.dropped, report.stale) == (90, 0, 0)
    log = read_rows(tmp_path / "cameras" / "top.jsonl")[:90]
    assert report.repeats == sum(a["sequence"] == b["sequence"] for a, b in pairwise(log)) > 5
    assert report.measured_fps == pytest.approx(FPS, rel=0.02)
    shown = [number_of(image) for image in decoded(video_path(tmp_path, "top"))[:90]]
    assert shown == [row["sequence"] for row in log]


def test_a_frozen_camera_is_stale_and_loses_no_row(tmp_path):
    with PacedCamera(FPS) as camera:
        clock = soon()
        take = CameraTake(camera.ring, clock, tmp_path, "top", FPS)
        take.start()
        time.sleep(0.4)
        camera.freeze()
        report = take.finish(29, 10)
    assert report.rows == 30 == len(decoded(video_path(tmp_path, "top")))
    assert report.stale > 10
    assert report.dropped == 0
    log = read_rows(tmp_path / "cameras" / "top.jsonl")
    assert [row["stale"] for row in log] == [row["age_ns"] > 1.5 * clock.period_ns for row in log]


def test_rows_whose_picture_has_left_the_ring_are_dropped_and_repeat_the_last(tmp_path):
    clock = past_clock(ROWS)
    ring = Ring[Frame](10)
    for row in range(ROWS):
        ring.put(frame(row, clock.row_ns(row) - 1))
    take = CameraTake(ring, clock, tmp_path, "top", FPS, grace_s=0)
    take.start()
    report = take.finish(ROWS - 1, 30)
    assert report.dropped == ROWS - 10
    assert len(decoded(video_path(tmp_path, "top"))) == ROWS


def test_a_take_does_not_start_before_the_device_delivers(tmp_path):
    with pytest.raises(DeviceError, match="nothing yet"):
        CameraTake(Ring[Frame](), past_clock(1), tmp_path, "top", FPS).start()
    with pytest.raises(DeviceError, match="nothing yet"):
        RobotTake(Ring(), past_clock(1), tmp_path, JOINTS, control_hz=10).start()
    assert list(tmp_path.iterdir()) == []


def test_a_second_take_of_the_same_part_is_refused(tmp_path):
    clock = past_clock(ROWS)
    takes = [CameraTake(camera_ring(clock, ROWS, (96, 64)), clock, tmp_path, "top", FPS, grace_s=0) for _ in range(2)]
    takes[0].start()
    with pytest.raises(Conflict):
        takes[0].start()
    with pytest.raises(Conflict):
        takes[1].start()
    assert takes[0].finish(5, 30).rows == 6


def test_a_camera_that_changes_its_size_fails_the_take_and_says_so(tmp_path):
    clock = past_clock(10)
    ring = camera_ring(clock, 5, (96, 64))
    take = CameraTake(ring, clock, tmp_path, "top", FPS, grace_s=0)
    ring.put(frame(5, clock.row_ns(5) - 1, (64, 96)))
    take.start()
    with pytest.raises(DeviceError, match="picture size"):
        take.finish(9, 10)
    assert take.progress().state is TakeState.FAILED
    assert isinstance(take.progress().error, DeviceError)


class ClocksOfAMachine:
    """``time`` of one whose clocks a test moves: only a machine's firmware can make it sleep."""

    CLOCK_BOOTTIME = time.CLOCK_BOOTTIME
    monotonic_ns, sleep = staticmethod(time.monotonic_ns), staticmethod(time.sleep)

    def __init__(self) -> None:
        self.slept_ns = self.set_ns = 0

    def clock_gettime_ns(self, clock: int) -> int:
        return time.clock_gettime_ns(clock) + self.slept_ns

    def time_ns(self) -> int:
        return time.time_ns() + self.slept_ns + self.set_ns


@pytest.mark.parametrize(
    ("slept_s", "set_s", "told"),
    [(12, 0, r"slept for 12\.0 s"), (0, -3600, r"set back by 3600\.0 s"), (0, 2, r"set forward by 2\.0 s")],
)
def test_a_machine_that_slept_or_whose_clock_was_set_ends_the_take(tmp_path, monkeypatch, slept_s, set_s, told):
    """The monotonic clock shows nothing of it: the rows would go on as if no time had passed."""
    clocks = ClocksOfAMachine()
    monkeypatch.setattr("actors.capture.clock.time", clocks)
    with PacedCamera(FPS) as camera:
        take = CameraTake(camera.ring, soon(), tmp_path, "top", FPS)
        take.start()
        time.sleep(0.7)
        assert take.renew().state is TakeState.RECORDING
        clocks.slept_ns, clocks.set_ns = slept_s * SECOND_NS, set_s * SECOND_NS
        wait_for(take, TakeState.FAILED)
    error = take.progress().error
    assert isinstance(error, DeviceError)
    assert re.search(told, error.detail)
    assert whole_rows(video_path(tmp_path, "top"), FPS) == take.progress().rows > 10


def test_without_its_coordinator_a_take_ends_by_itself_and_keeps_its_files(tmp_path):
    with PacedCamera(FPS) as camera:
        take = CameraTake(camera.ring, soon(0), tmp_path, "top", FPS, lease_s=0.4)
        take.start()
        for _ in range(5):
            time.sleep(0.15)
            assert take.renew().state is TakeState.RECORDING
        wait_for(take, TakeState.EXPIRED)
    rows = take.progress().rows
    assert whole_rows(video_path(tmp_path, "top"), FPS) == rows > 15
    assert take.finish(rows - 1, 1).rows == rows
    with pytest.raises(Unavailable, match="expired"):
        take.finish(rows, 1)


def test_a_take_with_a_plan_ends_with_it_whoever_coordinates_it(tmp_path):
    clock = past_clock(ROWS)
    take = CameraTake(camera_ring(clock, ROWS, (96, 64)), clock, tmp_path, "top", FPS, grace_s=0, rows_planned=ROWS - 9)
    take.start()
    wait_for(take, TakeState.FINISHED)
    assert take.renew().rows == whole_rows(video_path(tmp_path, "top"), FPS) == ROWS - 9
    assert take.finish(ROWS - 10, 1).rows == ROWS - 9
    with pytest.raises(Unavailable, match="finished"):
        take.finish(ROWS, 1)


@pytest.mark.alone
def test_an_aborted_take_stops_at_once_even_before_its_first_row(tmp_path):
    take = CameraTake(camera_ring(past_clock(2), 2, (96, 64)), soon(60), tmp_path, "top", FPS)
    take.start()
    begin = time.monotonic()
    take.abort()
    assert time.monotonic() - begin < 2
    assert take.progress().state is TakeState.ABORTED
    with pytest.raises(Unavailable):
        take.finish(3, 1)


def test_finish_does_not_wait_for_ever_and_can_be_called_again(tmp_path):
    clock = soon(0.5)
    take = RobotTake(robot_ring(past_clock(3), 3), clock, tmp_path, JOINTS, control_hz=10)
    take.start()
    with pytest.raises(Invalid):
        take.finish(-1, 1)
    with pytest.raises(Unavailable, match="Save again"):
        take.finish(3, 0.05)
    assert take.finish(3, 5).rows == 4


def test_between_control_steps_rows_hold_the_last_state_and_action(tmp_path):
    clock = past_clock(ROWS)
    take = RobotTake(robot_ring(clock, ROWS), clock, tmp_path, JOINTS, control_hz=10, grace_s=0)
    take.start()
    report = take.finish(ROWS - 1, 30)
    rows = read_rows(log_path(tmp_path))
    assert [row["state"][0] for row in rows[:ROWS]] == [row // 3 * 3 for row in range(ROWS)]
    assert all(row["action"] == [10 * value for value in row["state"]] for row in rows)
    assert rows[4]["ground_truth"] == {"coverage": 0.03}
    assert (report.stale, report.dropped, report.repeats) == (0, 0, ROWS - ROWS // 3 - 1)
    assert report.measured_fps == pytest.approx(10)


@pytest.mark.slow
def test_a_full_disk_is_reported_as_such(tmp_path):
    """In a process of its own, which may write files of 60 kB at most."""
    with child("test_capture_take.fill_disk()", tmp_path) as process:
        assert process.wait(60) == 0


def fill_disk() -> None:
    clock = past_clock(ROWS)
    noise = np.random.default_rng(0).integers(0, 256, (ROWS, 240, 320, 3), np.uint8)
    ring = Ring[Frame](ROWS)
    for row, image in enumerate(noise):
        ring.put(Frame(image, "rgb24", row, clock.row_ns(row) - 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
    take = CameraTake(ring, clock, Path.cwd(), "top", FPS, grace_s=0)
    take.start()
    with pytest.raises(StorageFull, match="Free some space"):
        take.finish(ROWS - 1, 30)
    assert isinstance(take.progress().error, StorageFull)
