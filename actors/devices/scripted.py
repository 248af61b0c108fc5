"""The teleoperator ``scripted``: an expert for PushT that knows where everything is and plans its pushes."""

import cmath
import math
from collections.abc import Generator, Iterator

import numpy as np
from numpy.typing import NDArray

from actors.devices.base import Reading
from actors.devices.cell import SUCCESS_COVERAGE
from actors.devices.cell_state import SIZE, CellState
from actors.devices.push_planner import MARGIN, Push, PushPlanner
from domain.errors import Invalid

CENTRE = 45j  # the middle of the T in its own frame, around which the agent walks
ORBIT = 140.0  # pixels from there that are clear of the block at any angle
REACH = 70.0  # pixels ahead of the agent that it is drawn to while it walks
ARRIVED = 6.0  # pixels from the start of a push that are near enough
WALK_STEPS = 60  # control steps after which a walk is given up and thought over
RETREAT = 80.0  # pixels behind the agent that it is drawn to after a push: it stops within 2 pixels


class ScriptedPusher:
    """Plans a push, walks around the block to its start, pushes, and so on until the goal is covered. Needs nothing
    but ``Reading.ground_truth``. While it plans, a few milliseconds a tick, it stays where it is."""

    def __init__(self, seed: int) -> None:
        self._planner = PushPlanner()
        self._rng = np.random.default_rng(seed)
        self._done = False

    def start(self, reading: Reading) -> None:
        """Raises Invalid for a robot whose reading has no ground truth."""
        self._see(reading)
        self._done = False
        self._targets = self._script()

    def action(self, reading: Reading) -> NDArray[np.float32] | None:
        """The next target x, y; None (stay put) once the goal is covered."""
        self._see(reading)
        self._done = self._done or reading.success is True or reading.ground_truth["coverage"] > SUCCESS_COVERAGE
        if self._done:
            return None
        target = next(self._targets)
        return np.clip(np.array([target.real, target.imag], np.float32), 0.0, SIZE)

    def _see(self, reading: Reading) -> None:
        try:
            self._state = CellState.of(reading.ground_truth)
        except KeyError as missing:
            raise Invalid(
                f"The scripted teleoperator needs {missing} of the simulated PushT cell. "
                "Choose another teleoperator for this robot."
            ) from missing

    @property
    def _agent(self) -> complex:
        return complex(self._state.agent_x, self._state.agent_y)

    @property
    def _centre(self) -> complex:
        state = self._state
        return complex(state.block_x, state.block_y) + CENTRE * cmath.rect(1, state.block_angle)

    def _script(self) -> Iterator[complex]:
        while True:
            push = yield from self._think()
            if push is None:
                yield from self._walk(self._elsewhere())
            else:
                yield from self._walk(push.start)
                yield from (push.target(step) for step in range(1, push.steps + 1))
                yield self._agent - RETREAT * push.stride / abs(push.stride)

    def _think(self) -> Generator[complex, None, Push | None]:
        here, best = self._agent, None
        for push in self._planner.plan(self._state):
            best = push
            yield here
        return best

    def _elsewhere(self) -> complex:
        """A place beside the block, to look at things from another side when no push helps."""
        return _clear(self._centre + cmath.rect(ORBIT, self._rng.uniform(0, math.tau)))

    def _walk(self, goal: complex) -> Iterator[complex]:
        """Out to the orbit, along it without touching the block, and in to ``goal``."""
        for _ in range(WALK_STEPS):
            if abs(goal - self._agent) < ARRIVED:
                return
            way = self._waypoint(goal) - self._agent
            yield self._agent + way / max(abs(way), 1e-6) * min(abs(way), REACH)

    def _waypoint(self, goal: complex) -> complex:
        radius, bearing = cmath.polar(self._agent - self._centre)
        turn = math.remainder(cmath.phase(goal - self._centre) - bearing, math.tau)
        if abs(turn) < 0.25:
            return goal
        if radius >= ORBIT * 0.8:
            bearing += math.copysign(min(abs(turn), 0.45), turn)
        return _clear(self._centre + cmath.rect(ORBIT, bearing))


def _clear(point: complex) -> complex:
    low, high = MARGIN + 3, SIZE - MARGIN - 3
    return complex(min(max(point.real, low), high), min(max(point.imag, low), high))
