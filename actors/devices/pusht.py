"""The robot ``PushT``: the end effector of a simulated cell in which a T-shaped block is pushed onto its outline."""

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from actors.devices.base import Reading
from actors.devices.cell import SUCCESS_COVERAGE, Cell
from actors.devices.cell_state import SIZE, CellPublisher, CellState
from domain.errors import DeviceError, Invalid


class PushT:
    """State and action are x, y in 0..512 (pixels, y down): where the end effector is, and where it is drawn to.

    A state is shown to the cameras when it is observed, not when the physics has computed it: between two ticks the
    cell looks the way the tick saw it, so pictures and samples of the same moment agree.
    """

    joint_names: tuple[str, ...] = ("x", "y")
    control_hz = 10.0

    def __init__(self, seed: int, cell_id: str) -> None:
        self._seed, self._cell_id = seed, cell_id
        self._cell: Cell | None = None
        self._publisher: CellPublisher | None = None
        self._sequence = 0
        self._solved = False

    def connect(self) -> None:
        """Build the cell and show it at the start of episode 0. Raises DeviceError."""
        self.close()
        self._publisher = CellPublisher(self._cell_id)
        self._cell = Cell()
        self.reset(0)

    def reset(self, episode: int) -> Reading:
        """The start of ``episode``: the same for the same seed, another for each episode."""
        self._connected.reset(self._seed, episode)
        self._solved = False
        return self.observe()

    def observe(self) -> Reading:
        """Where everything is now; ``success`` once the block has covered more than 95 % of the goal since reset."""
        coverage = self._connected.coverage
        self._solved = self._solved or coverage > SUCCESS_COVERAGE
        state = self._show(self._connected.state)
        truth = dict(zip(("agent_x", "agent_y", "block_x", "block_y", "block_angle"), state.pose, strict=True))
        values = np.array([state.agent_x, state.agent_y], np.float32)
        return Reading(values, state.captured_ns, truth | {"coverage": coverage}, self._solved)

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Draw the end effector to ``action`` (x, y) for a tenth of a second. Raises Invalid for anything but two
        finite numbers."""
        if action.shape != (2,) or not np.isfinite(action).all():
            raise Invalid(f"PushT takes two finite numbers x, y as action, not {action!r}. Check the policy's output.")
        sent = np.clip(action, 0.0, SIZE).astype(np.float32)
        self._connected.step(sent)
        return sent

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        self._publisher = self._cell = None

    @property
    def _connected(self) -> Cell:
        if self._cell is None:
            raise DeviceError("The PushT cell is not connected. Connect the robot first.")
        return self._cell

    def _show(self, state: CellState) -> CellState:
        self._sequence += 1
        stamped = replace(state, sequence=self._sequence, captured_ns=time.monotonic_ns())
        if self._publisher is not None:
            self._publisher.publish(stamped)
        return stamped
