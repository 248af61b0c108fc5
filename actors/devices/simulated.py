"""The camera ``simulated``: a test card, or a look at the PushT cell."""

import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from actors.devices.base import Frame, StreamProfile
from actors.devices.cell_state import CellReader, CellState
from actors.devices.pacing import Pacer
from actors.devices.testcard import TestCard
from domain.errors import DeviceError, Invalid


class Scene(Protocol):
    """What a simulated camera looks at."""

    def picture(self, tick: int) -> tuple[NDArray[np.uint8], int, int | None]:
        """The scene now: image (height, width, 3) RGB, when it was so (monotonic ns), and its own stamp if any."""
        ...

    def close(self) -> None: ...


class TestCardScene:
    """A moving test card whose top rows carry the frame's sequence number (``testcard.read_counter``)."""

    __test__ = False

    def __init__(self, width: int, height: int, seed: int) -> None:
        self._card = TestCard(width, height, seed)

    def picture(self, tick: int) -> tuple[NDArray[np.uint8], int, int | None]:
        return self._card.draw(tick), time.monotonic_ns(), None

    def close(self) -> None:
        """A test card holds nothing."""


class PushTScene:
    """The PushT cell as its robot published it last, or at rest for ``seed`` while no robot does."""

    def __init__(self, width: int, height: int, seed: int, cell_id: str | None) -> None:
        from actors.devices.cell import render, rest_state

        self._size, self._render = (width, height), render
        self._rest = rest_state(seed)
        self._reader = CellReader(cell_id) if cell_id is not None else None
        self._drawn: CellState | None = None
        self._image: NDArray[np.uint8] = np.empty((0, 0, 3), np.uint8)

    def picture(self, tick: int) -> tuple[NDArray[np.uint8], int, int | None]:
        """The stamp of the live cell comes along as the device's own: it names the robot's sample that is shown."""
        now = time.monotonic_ns()
        live = self._reader.latest() if self._reader is not None else None
        state = live or self._rest
        if self._drawn is None or self._drawn.pose != state.pose:
            self._drawn, self._image = state, self._render(state, *self._size)
        # A state may be published between the two readings of the clock: a picture is never older than what it shows.
        return self._image, max(now, state.captured_ns), live.captured_ns if live else None

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()


class SimulatedCamera:
    """Payload: scene ``testcard`` or ``pusht``, width, height (pixels), fps, seed. ``cell_id`` names the cell that a
    PushT robot of the same node publishes. A late grab skips frames (their sequence numbers are left out)."""

    def __init__(self, payload: dict[str, Any], cell_id: str | None) -> None:
        self._payload, self._cell_id = payload, cell_id
        self._scene: Scene | None = None

    def open(self) -> StreamProfile:
        """Raises Invalid for an unknown scene."""
        self.close()
        self._scene = self._look()
        self._pacer = Pacer(self._payload["fps"])
        return StreamProfile(self._payload["width"], self._payload["height"], float(self._payload["fps"]))

    def grab(self) -> Frame:
        """The scene at the next tick of the frame rate, rgb24."""
        if self._scene is None:
            raise DeviceError("The simulated camera is not open. Connect it first.")
        sequence = self._pacer.wait()
        image, captured_ns, device_ns = self._scene.picture(sequence)
        return Frame(image, "rgb24", sequence, captured_ns, device_ns)

    def close(self) -> None:
        if self._scene is not None:
            self._scene.close()
        self._scene = None

    def _look(self) -> Scene:
        size, seed = (self._payload["width"], self._payload["height"]), self._payload.get("seed") or 0
        scenes: dict[str, Callable[[], Scene]] = {
            "testcard": lambda: TestCardScene(*size, seed),
            "pusht": lambda: PushTScene(*size, seed, self._cell_id),
        }
        if self._payload["scene"] not in scenes:
            raise Invalid(f"There is no scene {self._payload['scene']!r}. Known scenes: {', '.join(scenes)}.")
        return scenes[self._payload["scene"]]()
