"""What the capture tests feed: pictures that carry their number, devices that keep a pace, episodes made in no time.

A take of rows that lie in the past runs as fast as it can encode, so most tests fill a ring first and never wait.
"""

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn
from uuid import UUID, uuid4

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from actors.capture.clock import SECOND_NS, SessionClock
from actors.capture.episode import open_take, seal
from actors.capture.lerobot_meta import DatasetInfo
from actors.capture.manifest import EpisodeMeta
from actors.capture.rows import RobotTake
from actors.capture.tables import warm_up
from actors.capture.take import CameraTake
from actors.devices.base import Frame, PixelFormat, Sample
from actors.devices.ring import Ring
from domain.episode import Codec, EpisodeFacts, Quality

FPS = 30
JOINTS = ("x", "y")
INFO = DatasetInfo(FPS, "PushT", JOINTS, 10.0)
BITS = 12
QUALITIES = [Quality(), Quality(codec=Codec.AV1, crf=25, gop_s=1.0)]
TESTS = Path(__file__).parents[1]


def picture(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """(height, width, 3) RGB: a slope that drifts with the number, and the number itself in black and white blocks."""
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([(x + 3 * number) % 256, y % 256, (x + y) % 256], axis=-1).astype(np.uint8) // 2 + 40
    block = width // BITS
    for bit in range(BITS):
        image[:16, bit * block : (bit + 1) * block] = 230 if number >> bit & 1 else 20
    return image


def number_of(image: NDArray[np.uint8], width: int | None = None) -> int:
    """The number that ``picture`` wrote into a picture of that width."""
    block = (width or image.shape[1]) // BITS
    return sum(1 << bit for bit in range(BITS) if image[4:12, bit * block + 3 : (bit + 1) * block - 3].mean() > 125)


def psnr(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    error = np.mean((a.astype(np.float64) - b.astype(np.float64)) ** 2)
    return float(10 * np.log10(255**2 / max(error, 1e-9)))


def frame(number: int, captured_ns: int, size: tuple[int, int] = (96, 64), kind: PixelFormat = "rgb24") -> Frame:
    image = picture(number, *size)
    shown = {"rgb24": image, "bgr24": image[..., ::-1], "gray": image[..., 1]}[kind]
    return Frame(shown, kind, number, captured_ns)


def sample(number: int, captured_ns: int) -> Sample:
    """State (number, -number), as many of them as there are joints; action ten times that."""
    state = np.array([number, -number], np.float32)[: len(JOINTS)]
    return Sample(number // 3, captured_ns, state, state * 10, {"coverage": number / 100}, None)


def past_clock(rows: int, fps: int = FPS) -> SessionClock:
    """A clock whose first ``rows`` rows are all over."""
    return SessionClock(time.monotonic_ns() - (rows + 10) * SECOND_NS // fps, fps)


def camera_ring(clock: SessionClock, rows: int, size: tuple[int, int], first: int = 0) -> Ring[Frame]:
    """A picture 2 ms before each row, numbered like the rows from ``first`` on."""
    ring = Ring[Frame](rows)
    for row in range(rows):
        ring.put(frame(first + row, clock.row_ns(row) - 2_000_000, size))
    return ring


def robot_ring(clock: SessionClock, rows: int, hold: int = 3) -> Ring[Sample]:
    """A sample 2 ms before every third row."""
    ring = Ring[Sample](rows)
    for row in range(0, rows, hold):
        ring.put(sample(row, clock.row_ns(row) - 2_000_000))
    return ring


def meta(
    cameras: tuple[str, ...],
    clock: SessionClock,
    task: str = "push",
    episode_id: UUID | None = None,
    dataset_id: UUID | None = None,
    quality: Quality = QUALITIES[0],
) -> EpisodeMeta:
    return EpisodeMeta(
        episode_id=episode_id or uuid4(),
        recording_id=uuid4(),
        dataset_id=dataset_id or uuid4(),
        task=task,
        fps=clock.fps,
        started_at=datetime(2026, 11, 22, 12, tzinfo=UTC),
        t0_ns=clock.t0_ns,
        robot_type="PushT",
        joint_names=JOINTS,
        control_hz=10.0,
        cameras=cameras,
        quality=quality,
    )


def record(
    dataset_folder: Path,
    rows: int,
    sizes: Mapping[str, tuple[int, int]],
    task: str = "push",
    first: int = 0,
    dataset_id: UUID | None = None,
    quality: Quality = QUALITIES[0],
) -> EpisodeFacts:
    """Record and seal an episode; camera ``key``'s picture in row k is ``picture(first + k, *sizes[key])``."""
    clock = past_clock(rows)
    about = meta(tuple(sizes), clock, task, dataset_id=dataset_id, quality=quality)
    folder = open_take(dataset_folder, about)
    rings = {key: camera_ring(clock, rows, size, first) for key, size in sizes.items()}
    takes = [
        CameraTake(ring, clock, folder, key, FPS, quality, grace_s=0, rows_planned=rows) for key, ring in rings.items()
    ]
    takes.append(
        RobotTake(robot_ring(clock, rows), clock, folder, JOINTS, control_hz=10.0, grace_s=0, rows_planned=rows)
    )
    for take in takes:
        take.start()
    return seal(folder, about, [take.finish(rows - 1, 60) for take in takes])


def child(call: str, folder: Path) -> subprocess.Popen[str]:
    """A process in ``folder`` that runs ``module.function(…)`` of these tests, to be killed or confined."""
    package = f"tests = types.ModuleType('tests'); tests.__path__ = [{str(TESTS)!r}]; sys.modules['tests'] = tests"
    script = f"import sys, types; {package}; from tests.integration import {call.split('.')[0]}; {call}"
    environment = {**os.environ, "PYTHONPATH": str(TESTS.parent)}
    command = [sys.executable, "-c", script]
    return subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)


def die_in_each(steps: range, work: Callable[[], object]) -> None:
    """In a process of its own: do ``work`` in the folder ``<step>`` for each step, killed at its ``step``-th change of
    the file system (the same point every time)."""
    warm_up()
    for step in steps:
        if (forked := os.fork()) == 0:
            _die(step, work)
        print(os.waitstatus_to_exitcode(os.waitpid(forked, 0)[1]), flush=True)


def _die(step: int, work: Callable[[], object]) -> NoReturn:
    left = iter(range(step, -1, -1))

    def count(event: str, arguments: tuple[object, ...]) -> None:
        changes = event in ("os.rename", "os.link", "os.mkdir", "os.symlink", "os.remove", "os.rmdir")
        if (changes or (event == "open" and arguments[1] not in ("r", "rb"))) and next(left, -1) == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        os.chdir(str(step))
        sys.addaudithook(count)
        work()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def exit_codes(call: str, folder: Path) -> list[int]:
    """What a child printed: how each of its steps ended."""
    with child(call, folder) as process:
        printed, _ = process.communicate(timeout=120)
    return [int(line) for line in printed.split()]


def decoded(path: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(path)) as container:
        return [shown.to_ndarray(format="rgb24") for shown in container.decode(video=0)]


class PacedCamera:
    """Puts a numbered picture into its ring at ``fps``, each up to ``jitter_s`` late, until told to freeze."""

    def __init__(self, fps: float, size: tuple[int, int] = (96, 64), jitter_s: float = 0.0) -> None:
        self.ring = Ring[Frame]()
        self._fps, self._size, self._jitter_s = fps, size, jitter_s
        self._random = np.random.default_rng(7)
        self._frozen = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "PacedCamera":
        self._thread.start()
        assert self.ring.wait_newer(-1, 5)
        return self

    def __exit__(self, *_: object) -> None:
        self.freeze()

    def freeze(self) -> None:
        self._frozen.set()
        self._thread.join()

    def _run(self) -> None:
        begin = time.monotonic()
        number = 0
        while not self._frozen.wait(max(0, begin + number / self._fps - time.monotonic())):
            time.sleep(self._random.uniform(0, self._jitter_s))
            self.ring.put(frame(number % 4096, time.monotonic_ns(), self._size))
            number += 1


@pytest.mark.parametrize("number", [0, 1, 1365, 2730, 4095])
def test_a_picture_carries_its_number(number):
    assert number_of(picture(number, 97, 65)) == number
