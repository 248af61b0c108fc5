"""The scripted expert in the real cell."""

import time
import uuid

import numpy as np
import pytest

from actors.devices import teleoperator
from actors.devices.base import Reading
from actors.devices.pusht import PushT
from domain.errors import Invalid

STEPS = 400


def solve(robot: PushT, kind: str, seed: int) -> tuple[Reading, list[float]]:
    """The last reading of episode ``seed``, and the CPU seconds of each decision."""
    source, reading, costs = teleoperator(kind, seed=seed), robot.reset(seed), []
    source.start(reading)
    for _ in range(STEPS):
        began = time.thread_time()
        action = source.action(reading)
        costs.append(time.thread_time() - began)
        if action is None:
            break
        robot.act(action)
        reading = robot.observe()
    return reading, costs


@pytest.fixture
def robot():
    robot = PushT(0, str(uuid.uuid4()))
    robot.connect()
    yield robot
    robot.close()


@pytest.mark.slow
def test_it_solves_what_chance_does_not_and_thinks_fast_enough_for_a_live_loop(robot: PushT) -> None:
    outcomes = [solve(robot, "scripted", seed) for seed in range(6)]
    assert sum(reading.success is True for reading, _ in outcomes) >= 5
    assert max(max(costs) for _, costs in outcomes) < 0.06
    assert not solve(robot, "random", 0)[0].success


@pytest.mark.slow
def test_after_success_it_stays_put(robot: PushT) -> None:
    source, reading = teleoperator("scripted", seed=0), robot.reset(0)
    source.start(reading)
    while (action := source.action(reading)) is not None:
        robot.act(action)
        reading = robot.observe()
    elsewhere = Reading(reading.values, 0, reading.ground_truth | {"coverage": 0.2}, None)
    assert source.action(elsewhere) is None
    source.start(robot.reset(1))
    assert source.action(robot.observe()) is not None


def test_the_same_seed_decides_the_same(robot: PushT) -> None:
    def targets() -> list[list[float]]:
        source, reading = teleoperator("scripted", seed=3), robot.reset(2)
        source.start(reading)
        decided = []
        for _ in range(25):
            decided.append(source.action(reading).tolist())
            robot.act(np.array(decided[-1], np.float32))
            reading = robot.observe()
        return decided

    assert targets() == targets()


def test_a_robot_without_ground_truth_is_refused() -> None:
    with pytest.raises(Invalid, match="Choose another teleoperator"):
        teleoperator("scripted", seed=0).start(Reading(np.zeros(6, np.float32), 0))
