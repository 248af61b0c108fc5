"""Simulated and file cameras: pace, stamps, live cell, real films."""

import subprocess
import sys
import time
import uuid
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from actors.devices import camera_driver, robot_driver
from actors.devices.base import CameraDriver, Frame, StreamProfile
from actors.devices.cell import render, rest_state
from actors.devices.cell_state import CellReader
from actors.devices.testcard import TestCard, read_counter
from domain.errors import DeviceError, DeviceLost

ROOT = Path(__file__).parents[2]


def simulated(scene: str, cell_id: str | None = None, fps: int = 100) -> CameraDriver:
    payload = {"scene": scene, "width": 320, "height": 240, "fps": fps, "seed": 7}
    return camera_driver("simulated", payload, cell_id=cell_id, media_roots=[])


def grab(camera: CameraDriver, count: int) -> list[Frame]:
    return [camera.grab() for _ in range(count)]


@pytest.mark.slow
@pytest.mark.alone
def test_the_testcard_keeps_its_pace_within_one_percent() -> None:
    camera = simulated("testcard", fps=30)
    assert camera.open() == StreamProfile(320, 240, 30.0)
    frames = grab(camera, 61)
    camera.close()
    seconds = (frames[-1].captured_ns - frames[0].captured_ns) / 1e9
    ticks = frames[-1].sequence - frames[0].sequence
    assert ticks / seconds == pytest.approx(30, rel=0.01)


def test_each_picture_carries_its_sequence_and_is_never_repeated() -> None:
    camera = simulated("testcard")
    camera.open()
    frames = grab(camera, 10)
    camera.close()
    assert [read_counter(frame.image) for frame in frames] == [frame.sequence for frame in frames]
    assert all(a.sequence < b.sequence and a.captured_ns < b.captured_ns for a, b in pairwise(frames))


def test_a_grab_that_came_late_skips_pictures_instead_of_bursting() -> None:
    camera = simulated("testcard")
    camera.open()
    first = camera.grab()
    time.sleep(0.1)
    second, third = grab(camera, 2)
    camera.close()
    assert third.sequence - first.sequence >= 10
    assert second.captured_ns <= third.captured_ns


def test_a_closed_camera_says_so_and_can_be_opened_again() -> None:
    camera = simulated("testcard")
    with pytest.raises(DeviceError, match="not open"):
        camera.grab()
    for _ in range(2):
        camera.open()
        camera.grab()
        camera.close()
        camera.close()


def test_without_a_robot_the_cell_is_shown_at_rest() -> None:
    for cell_id in (None, str(uuid.uuid4())):
        camera = simulated("pusht", cell_id)
        camera.open()
        frame = camera.grab()
        camera.close()
        assert (frame.image == render(rest_state(7), 320, 240)).all()
        assert frame.device_ns is None


def test_the_live_cell_is_shown_as_soon_as_a_robot_publishes_it() -> None:
    cell_id = str(uuid.uuid4())
    camera, reader = simulated("pusht", cell_id), CellReader(cell_id)
    camera.open()
    camera.grab()
    for _ in range(2):  # the second time is the robot's restart
        robot = robot_driver("PushT", {"seed": 1}, cell_id=cell_id)
        robot.connect()
        for target in ([50, 50], [450, 450], [256, 256]):
            robot.act(np.array(target, np.float32))
            reading = robot.observe()
            frame, state = camera.grab(), reader.latest()
            assert state is not None
            assert frame.device_ns == reading.captured_ns <= frame.captured_ns
            assert (frame.image == render(state, 320, 240)).all()
        robot.close()
        assert (camera.grab().image == render(rest_state(7), 320, 240)).all()
    camera.close()


def test_a_testcard_loads_no_physics_and_no_video_library() -> None:
    script = """
import sys
from actors.devices import camera_driver
camera = camera_driver("simulated", {"scene": "testcard", "width": 160, "height": 120, "fps": 30, "seed": 0},
                       cell_id=None, media_roots=[])
camera.open(); camera.grab(); camera.close()
print(sorted({"pymunk", "pygame", "gymnasium", "gym_pusht", "cv2", "av", "shapely"} & set(sys.modules)))
"""
    answer = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_the_cell_loads_without_warning_or_greeting() -> None:
    script = "import actors.devices.cell"
    answer = subprocess.run([sys.executable, "-W", "error", "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """A second of test card at 25 fps."""
    card = TestCard(320, 240, 0)
    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(25), options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for count in range(25):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(card.draw(count), format="rgb24")))
        container.mux(stream.encode())
    return tmp_path / "film.mp4"


def play(film: Path, **payload: object) -> CameraDriver:
    return camera_driver("file", {"path": film.name, **payload}, cell_id=None, media_roots=[film.parent])


def test_a_film_is_played_whole_in_order_and_at_its_pace(film: Path) -> None:
    camera = play(film, loop=False, fps=None)
    assert camera.open() == StreamProfile(320, 240, 25.0)
    frames = grab(camera, 25)
    assert [read_counter(frame.image) for frame in frames] == list(range(25))
    assert (frames[-1].captured_ns - frames[0].captured_ns) / 1e9 == pytest.approx(24 / 25, rel=0.05)
    expected = TestCard(320, 240, 0).draw(24).astype(int)
    assert np.abs(frames[-1].image - expected).mean() < 6
    with pytest.raises(DeviceLost, match="has ended"):
        camera.grab()
    camera.close()


def test_a_looped_film_begins_again(film: Path) -> None:
    camera = play(film, loop=True, fps=120)
    assert camera.open().fps == 120
    assert [read_counter(frame.image) for frame in grab(camera, 60)] == [count % 25 for count in range(60)]
    camera.close()


def test_what_cannot_be_played_is_told_at_opening(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no film")
    for name in ("missing.mp4", "text.mp4", "."):
        with pytest.raises(DeviceError, match="Choose a video file") as told:
            play(tmp_path / name, loop=True).open()
        assert str(tmp_path) not in told.value.detail


def test_a_damaged_film_is_a_lost_device_and_does_not_hang(film: Path) -> None:
    data = bytearray(film.read_bytes())
    start = data.find(b"mdat") + 4
    data[start : data.find(b"moov")] = bytes(data.find(b"moov") - start)
    film.write_bytes(data)
    camera = play(film, loop=True, fps=120)
    camera.open()
    with pytest.raises(DeviceLost, match=r"damaged|ended"):
        grab(camera, 60)
    camera.close()
