"""Drivers by name. Each driver's module is imported when it is first asked for: a camera process that shows a test card
loads no physics, and a robot's process no video library."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.devices.base import CameraDriver, RobotDriver, Teleoperator
from domain.errors import Invalid


def camera_driver(
    driver: str, payload: dict[str, Any], *, cell_id: str | None, media_roots: Sequence[Path]
) -> CameraDriver:
    """A camera that is not open yet. ``payload`` is valid for ``driver`` (domain/camera.py); ``cell_id`` names the
    simulated cell it looks at, if any. Raises Invalid for an unknown driver or a path outside ``media_roots``."""
    match driver:
        case "simulated":
            from actors.devices.simulated import SimulatedCamera

            return SimulatedCamera(payload, cell_id)
        case "file":
            from actors.devices.file import FileCamera
            from actors.devices.paths import confined

            return FileCamera(payload, confined(media_roots, payload["path"]))
    raise _unknown("camera driver", driver, "simulated, file")


def robot_driver(type: str, payload: dict[str, Any], *, cell_id: str) -> RobotDriver:
    """A robot that is not connected yet. Raises Invalid for an unknown type."""
    match type:
        case "PushT":
            from actors.devices.pusht import PushT

            return PushT(payload["seed"], cell_id)
    raise _unknown("robot type", type, "PushT")


def teleoperator(kind: str, *, seed: int) -> Teleoperator:
    """Who can move a robot without a person or a policy. Raises Invalid for an unknown kind."""
    match kind:
        case "scripted":
            from actors.devices.scripted import ScriptedPusher

            return ScriptedPusher(seed)
        case "random":
            from actors.devices.random_walk import RandomWalk

            return RandomWalk(seed)
    raise _unknown("teleoperator", kind, "scripted, random")


def _unknown(what: str, name: str, known: str) -> Invalid:
    return Invalid(f"There is no {what} {name!r}. Known: {known}.")
