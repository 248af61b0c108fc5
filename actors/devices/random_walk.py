"""The teleoperator ``random``: what a policy must beat. It wanders over the PushT cell between random places."""

import numpy as np
from numpy.typing import NDArray

from actors.devices.base import Reading
from actors.devices.cell_state import SIZE

STEPS_PER_PLACE = 15  # control steps after which it makes for another place
SMOOTHING = 0.2  # part of the remaining way that the target moves in one control step


class RandomWalk:
    """Places are uniform over the cell; the target goes there smoothly. The same seed gives the same walk."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def start(self, reading: Reading) -> None:
        """Go on from where the agent stands; each episode draws other places."""
        self._target = reading.values.astype(np.float64)
        self._place = self._target
        self._step = 0

    def action(self, reading: Reading) -> NDArray[np.float32] | None:
        """The next target x, y."""
        if self._step % STEPS_PER_PLACE == 0:
            self._place = self._rng.uniform(0.0, SIZE, self._target.shape)
        self._step += 1
        self._target = self._target + SMOOTHING * (self._place - self._target)
        return self._target.astype(np.float32)
