"""The PushT cell: gym-pusht's physics, its pictures and its rule of success, on states that can be set and compared.

Importing this loads pygame and pymunk (about a second): only what simulates or draws the cell may do so.
"""

import math
import os
import threading
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from actors.devices.cell_state import CellState

# Must stand before pygame is loaded: no window system is needed, and no greeting on the console.
os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="pkg_resources is deprecated", category=UserWarning)
    from gym_pusht.envs.pusht import PushTEnv

SUCCESS_COVERAGE: float = PushTEnv().success_threshold


class Cell:
    """One cell with its physics. Not thread-safe."""

    def __init__(self) -> None:
        self.env = PushTEnv()
        self.env.reset(seed=0)

    @property
    def state(self) -> CellState:
        agent, block = self.env.agent.position, self.env.block
        return CellState(agent.x, agent.y, block.position.x, block.position.y, block.angle % math.tau)

    @property
    def coverage(self) -> float:
        """The part of the goal that the block covers, 0..1."""
        return float(self.env._get_coverage())

    def reset(self, seed: int, episode: int) -> None:
        """Start the cell as gym-pusht does, the same way every time for the same ``seed`` and ``episode``."""
        self.env.reset(seed=int(np.random.SeedSequence([seed, episode]).generate_state(1)[0]))

    def place(self, state: CellState) -> None:
        """Put agent and block where ``state`` says, at rest."""
        agent, block = self.env.agent, self.env.block
        agent.position, agent.velocity = (state.agent_x, state.agent_y), (0.0, 0.0)
        block.angle = state.block_angle  # first, because turning about the centre of mass moves the position
        block.position = (state.block_x, state.block_y)
        block.velocity, block.angular_velocity = (0.0, 0.0), 0.0
        self.env.space.reindex_shapes_for_body(agent)
        self.env.space.reindex_shapes_for_body(block)

    def step(self, target: Sequence[float] | NDArray[np.float32]) -> None:
        """Let a tenth of a second pass while the agent is drawn to ``target`` (x, y)."""
        self.env.step(np.asarray(target, np.float32))

    def picture(self, width: int, height: int) -> NDArray[np.uint8]:
        """The whole cell, drawn by gym-pusht and scaled to (height, width, 3) uint8 RGB."""
        self.env.visualization_width, self.env.visualization_height = width, height
        self.env._last_action = None  # or gym-pusht draws a cross where the agent was sent
        image: NDArray[np.uint8] = self.env.render()
        return image


class _Scratch(threading.local):
    """A cell to draw with, one a thread."""

    def __init__(self) -> None:
        self.cell = Cell()


_scratch = _Scratch()


def render(state: CellState, width: int, height: int) -> NDArray[np.uint8]:
    """The picture of ``state``, (height, width, 3) uint8 RGB: the same state always gives the same pixels."""
    _scratch.cell.place(state)
    return _scratch.cell.picture(width, height)


def rest_state(seed: int) -> CellState:
    """Where agent and block lie before the first episode of a cell with this seed."""
    cell = Cell()
    cell.reset(seed, 0)
    return cell.state
