"""The simulated cell against gym-pusht itself, and across processes that are killed."""

import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from actors.devices.cell import Cell, render, rest_state
from actors.devices.cell_state import CellReader, CellState, _path
from actors.devices.push_planner import _Shadow
from actors.devices.pusht import PushT
from domain.errors import DeviceError, Invalid

ROOT = Path(__file__).parents[2]
PUBLISH_FOR_EVER = """
import sys, time
from actors.devices.cell_state import CellPublisher, CellState
publisher, n = CellPublisher(sys.argv[1]), 0
while True:
    n += 1
    publisher.publish(CellState(n, n, n, n, n, n, time.monotonic_ns()))
"""


@pytest.mark.parametrize("size", [(96, 96), (640, 480)])
def test_render_equals_the_picture_of_gym_pusht(size: tuple[int, int]) -> None:
    width, height = size
    env = gymnasium.make(
        "gym_pusht/PushT-v0", obs_type="pixels", observation_width=width, observation_height=height
    ).unwrapped
    env.reset(seed=5)
    for target in ([100, 400], [300, 300], [400, 100], [256, 256]):
        pixels, *_ = env.step(np.array(target, np.float32))
        agent, block = env.agent.position, env.block
        state = CellState(*agent, *block.position, block.angle)
        assert (render(state, width, height) == pixels).all()


def test_a_picture_depends_on_the_state_alone() -> None:
    one, other = rest_state(1), rest_state(2)
    first = render(one, 320, 240)
    assert first.shape == (240, 320, 3)
    assert first.dtype == np.uint8
    assert (render(other, 320, 240) != first).any()
    assert (render(one, 320, 240) == first).all()


def test_the_shadow_moves_exactly_as_the_cell() -> None:
    cell, shadow = Cell(), _Shadow()
    cell.reset(3, 0)
    cell.place(cell.state)
    shadow.place(cell.state)
    block = cell.state
    for target in np.linspace([block.agent_x, block.agent_y], [block.block_x, block.block_y], 12, dtype=np.float32):
        cell.step(target)
        shadow.advance(complex(*map(float, target)))
    assert cell.state.pose == pytest.approx(shadow.state.pose, abs=1e-9)
    assert cell.state.pose[2:] != block.pose[2:]


def test_an_episode_starts_the_same_for_the_same_seed_and_number() -> None:
    robot, again = PushT(4, str(uuid.uuid4())), PushT(4, str(uuid.uuid4()))
    robot.connect()
    again.connect()
    starts = [robot.reset(episode).ground_truth for episode in (0, 1, 2)]
    assert starts == [again.reset(episode).ground_truth for episode in (0, 1, 2)]
    assert starts[0] != starts[1]
    assert starts[0].keys() == {"agent_x", "agent_y", "block_x", "block_y", "block_angle", "coverage"}
    robot.close()
    again.close()


def test_actions_are_clipped_and_nonsense_is_refused() -> None:
    robot = PushT(0, str(uuid.uuid4()))
    with pytest.raises(DeviceError, match="not connected"):
        robot.observe()
    robot.connect()
    assert robot.act(np.array([-50, 900], np.float32)).tolist() == [0, 512]
    for nonsense in ([np.nan, 1], [1, 2, 3], [np.inf, 0]):
        with pytest.raises(Invalid, match="two finite numbers"):
            robot.act(np.array(nonsense, np.float32))
    robot.close()


def test_what_is_observed_is_what_is_shown() -> None:
    name = str(uuid.uuid4())
    robot, reader = PushT(0, name), CellReader(name)
    robot.connect()
    for _ in range(3):
        robot.act(np.array([256, 256], np.float32))
        reading = robot.observe()
        shown = reader.latest()
        assert shown is not None
        assert shown.captured_ns == reading.captured_ns
        assert (np.array(shown.pose[:2], np.float32) == reading.values).all()
    robot.close()
    assert reader.latest() is None


def test_success_is_gym_pushts_own_verdict_and_lasts_until_the_reset() -> None:
    robot = PushT(0, str(uuid.uuid4()))
    robot.connect()
    cell = robot._connected
    cell.place(CellState(50, 50, 200, 300, 0.0))
    assert robot.observe().success is False
    x, y, angle = cell.env.goal_pose
    cell.place(CellState(50, 50, x, y, angle))
    assert robot.observe().success is True
    cell.place(CellState(50, 50, 200, 300, 0.0))
    assert robot.observe().success is True
    assert robot.reset(1).success is False
    robot.close()


@pytest.fixture
def name() -> Iterator[str]:
    name = str(uuid.uuid4())
    yield name
    _path(name).unlink(missing_ok=True)


@contextmanager
def _publisher(name: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-W", "error", "-c", PUBLISH_FOR_EVER, name], cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _read(reader: CellReader, count: int) -> tuple[list[int], float]:
    """The sequence numbers seen, every state proved whole, and the CPU seconds of the longest read."""
    seen, longest = [], 0.0
    for _ in range(count):
        began = time.thread_time()
        state = reader.latest()
        longest = max(longest, time.thread_time() - began)
        assert state is not None
        assert state.pose == (state.sequence,) * 5
        seen.append(state.sequence)
    return seen, longest


def _await_live(reader: CellReader, after_ns: int) -> None:
    deadline = time.monotonic() + 20
    while not ((state := reader.latest()) and state.captured_ns > after_ns):
        assert time.monotonic() < deadline, "the publisher never showed"
        time.sleep(0.005)


@pytest.mark.slow
def test_a_publisher_killed_in_full_flight_neither_hangs_nor_breaks_its_readers(name: str) -> None:
    reader = CellReader(name)
    for _ in range(3):
        began = time.monotonic_ns()
        with _publisher(name) as publisher:
            _await_live(reader, began)
            seen, _ = _read(reader, 5_000)
            assert seen == sorted(seen)
            assert len(set(seen)) > 1
            publisher.send_signal(signal.SIGKILL)
            assert publisher.wait() == -signal.SIGKILL
        left, longest = _read(reader, 1000)
        assert len(set(left)) == 1, "the last state stands still"
        assert longest < 0.05
