"""The face every device driver shows: cameras, robots, teleoperators. One small file a driver implements one of these.

Drivers are synchronous and used from one thread. They translate their SDK's exceptions into ``domain.errors``
(``DeviceError`` while opening, ``DeviceLost`` once open) and never return a frame or reading they did not just take.
"""

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

PixelFormat = Literal["rgb24", "bgr24", "gray"]


@dataclass(frozen=True, slots=True)
class StreamProfile:
    """What a camera agreed to deliver: pixels and frames a second."""

    width: int
    height: int
    fps: float


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture. ``image`` is (height, width, 3) uint8 in ``pixel_format`` order ((height, width) for gray), never
    written to after it was handed out. ``captured_ns`` is the host's monotonic clock (``time.monotonic_ns``, shared by
    all processes of a node) at the moment the picture shows; ``device_ns`` the device's own stamp if it has one."""

    image: NDArray[np.uint8]
    pixel_format: PixelFormat
    sequence: int
    captured_ns: int
    device_ns: int | None = None


class CameraDriver(Protocol):
    """A camera: ``open`` once, ``grab`` for ever, ``close`` from any state (repeatable)."""

    def open(self) -> StreamProfile:
        """Open the device and negotiate. Raises DeviceError saying what to do."""
        ...

    def grab(self) -> Frame:
        """Block until the next picture (a few periods at most). Raises DeviceLost."""
        ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Reading:
    """A robot's measured state. ``values`` is (n,) float32 in the order of the driver's ``joint_names``;
    ``ground_truth`` is what only a simulator knows (kept beside an episode, never given to a policy);
    ``success`` is the task's own verdict where the robot can tell, else None."""

    values: NDArray[np.float32]
    captured_ns: int
    ground_truth: dict[str, float] = field(default_factory=dict)
    success: bool | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One tick of a robot's control loop: the state observed, and the action sent in answer to it (both (n,) float32).
    ``captured_ns`` is when the state was observed, so a row that takes this sample has its state before its action."""

    sequence: int
    captured_ns: int
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    ground_truth: dict[str, float]
    success: bool | None


class RobotDriver(Protocol):
    """A robot controlled at ``control_hz``: observe, act, observe, act …"""

    joint_names: tuple[str, ...]
    control_hz: float

    def connect(self) -> None: ...

    def reset(self, episode: int) -> Reading:
        """Bring the cell to the start of episode number ``episode`` (a simulator re-seeds, a real arm stays)."""
        ...

    def observe(self) -> Reading: ...

    def act(self, action: NDArray[np.float32]) -> NDArray[np.float32]:
        """Send one action, (n,) float32; return what was really sent after the driver's limits."""
        ...

    def close(self) -> None: ...


class Teleoperator(Protocol):
    """Whoever says what the robot shall do next: a leader arm, a script, a policy."""

    def start(self, reading: Reading) -> None:
        """A new episode begins from this reading."""
        ...

    def action(self, reading: Reading) -> NDArray[np.float32] | None:
        """The next action, (n,) float32, or None to stay put."""
        ...
