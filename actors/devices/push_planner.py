"""Finds the next push for the PushT block: every sensible push is tried in a shadow of the cell, the best one is kept.

Points of the plane are complex numbers, so that turning is a product. The shadow is the cell's own physics, so a push
turns out in the cell as it did in the shadow.
"""

import cmath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import batched, pairwise

from actors.devices.cell import Cell
from actors.devices.cell_state import SIZE, CellState

STRIDES = (16.0, 5.0)  # pixels a control step that the target moves: long pushes first, gentle ones if none helps
STEPS = 12  # control steps of the longest push
STANDOFF = 20.0  # pixels between outline and agent's centre when a push starts (the agent's radius is 15)
SPACING = 20.0  # pixels between two contact points along the outline
ANGLES = (-0.35, 0.0, 0.35)  # radians between a push and the edge's normal
MARGIN = 15.0  # pixels that the agent keeps from the cell's edge
SLICE = 8  # pushes tried in one slice: about 10 ms of one core
MIN_GAIN = 0.2  # pixels by which a push must bring the block nearer to be worth it
STEP_COST = 0.02  # pixels of gain that a longer push must bring for each step more

# The T in its own frame (scale 30): a bar of 120 x 30 and a stem of 30 x 90.
_OUTLINE = (-60, 60, 60 + 30j, 15 + 30j, 15 + 120j, -15 + 120j, -15 + 30j, -60 + 30j, -60)


@dataclass(frozen=True, slots=True)
class Push:
    """Start at ``start``, then draw the agent on by ``stride`` (pixels and direction) in each of ``steps`` control
    steps."""

    start: complex
    stride: complex
    steps: int

    def target(self, step: int) -> complex:
        """Where the agent is drawn in control step ``step``, counted from 1."""
        return self.start + step * self.stride


def _contacts() -> Iterator[tuple[complex, complex]]:
    """Where a push can start and where it leads, in the T's frame."""
    for a, b in pairwise(_OUTLINE):
        tangent = (b - a) / abs(b - a)
        outward, count = tangent * -1j, max(1, int(abs(b - a) // SPACING))
        for i in range(count):
            start = a + (b - a) * (i + 0.5) / count + outward * STANDOFF
            yield from ((start, -outward * cmath.rect(1, angle)) for angle in ANGLES)


class _Shadow(Cell):
    """A cell that runs ahead of the real one."""

    def __init__(self) -> None:
        super().__init__()
        # gym-pusht counts contacts between shapes of type 0 in a Python callback, which takes half of the time.
        for shape in self.env.space.shapes:
            shape.collision_type = 1

    def advance(self, target: complex) -> None:
        """The motion of ``Cell.step`` to the last bit, without its verdict and four times as fast."""
        env, agent = self.env, self.env.agent
        (x, y), (vx, vy), dt = agent.position, agent.velocity, env.dt
        for _ in range(round(1 / (dt * env.control_hz))):
            vx += (env.k_p * (target.real - x) - env.k_v * vx) * dt
            vy += (env.k_p * (target.imag - y) - env.k_v * vy) * dt
            agent.velocity = (vx, vy)
            env.space.step(dt)
            x, y = x + vx * dt, y + vy * dt


class PushPlanner:
    """Greedy: one push ahead. Not thread-safe."""

    def __init__(self) -> None:
        self._shadow = _Shadow()
        self._contacts = list(_contacts())
        self._corners = [complex(*v) for shape in self._shadow.env.block.shapes for v in shape.get_vertices()]
        x, y, angle = map(float, self._shadow.env.goal_pose)
        self._goal = [complex(x, y) + corner * cmath.rect(1, angle) for corner in self._corners]

    def plan(self, state: CellState) -> Iterator[Push | None]:
        """Try all pushes on the block of ``state``, a slice at a time: each item is the best push so far (None while
        none helps), the last item is the answer."""
        for stride in STRIDES:
            best = None
            for best in self._search(state, stride):
                yield best
            if best is not None:
                return

    def _search(self, state: CellState, stride: float) -> Iterator[Push | None]:
        best, best_cost = None, self._cost(state) - MIN_GAIN
        for some in batched(self._pushes(state, stride), SLICE):
            for push in some:
                steps, cost = self._try(state, push)
                if cost < best_cost:
                    best, best_cost = replace(push, steps=steps), cost
            yield best

    def _pushes(self, state: CellState, stride: float) -> Iterator[Push]:
        turn, origin = cmath.rect(1, state.block_angle), complex(state.block_x, state.block_y)
        for contact, direction in self._contacts:
            if inside(start := origin + contact * turn):
                yield Push(start, stride * direction * turn, STEPS)

    def _try(self, state: CellState, push: Push) -> tuple[int, float]:
        """After how many steps the push has done most, and the cost then."""
        self._shadow.place(replace(state, agent_x=push.start.real, agent_y=push.start.imag))
        best = (0, float("inf"))
        for step in range(1, push.steps + 1):
            if not inside(push.target(step)):
                break
            self._shadow.advance(push.target(step))
            best = min(best, (step, self._cost(self._shadow.state) + STEP_COST * step), key=lambda outcome: outcome[1])
        return best

    def _cost(self, state: CellState) -> float:
        """Mean distance in pixels between the block's corners and where they belong."""
        turn, origin = cmath.rect(1, state.block_angle), complex(state.block_x, state.block_y)
        away = (abs(origin + corner * turn - goal) for corner, goal in zip(self._corners, self._goal, strict=True))
        return sum(away) / len(self._goal)


def inside(point: complex) -> bool:
    """Whether the agent can stand there without touching the cell's walls."""
    return MARGIN <= point.real <= SIZE - MARGIN and MARGIN <= point.imag <= SIZE - MARGIN
