"""Rollouts in the PushT cell, as fast as the machine goes: how often a policy solves it, beside an expert and chance.

Runs in a process of its own: loads an inference runtime (torch only for models exported to nothing else).
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from actors.devices import teleoperator
from actors.devices.base import Reading, Teleoperator
from actors.devices.cell import render
from actors.devices.cell_state import CellState
from actors.devices.pusht import PushT
from actors.learning.export import load_model
from domain.errors import Invalid

MAX_STEPS = 400  # control steps, 40 s of the cell's time: an expert needs 100 to 350
PREFERRED = ("openvino", "onnx", "torch")


@dataclass(frozen=True, slots=True)
class EpisodeResult:
    """One rollout: the cell's ``seed``, whether the goal was covered, the best coverage 0..1, control steps taken."""

    seed: int
    success: bool
    coverage: float
    steps: int


@dataclass(frozen=True, slots=True)
class EvalResult:
    """``success_rate`` and ``mean_coverage`` over the episodes finished; fewer than asked for if it was stopped."""

    success_rate: float
    mean_coverage: float
    episodes: tuple[EpisodeResult, ...]


def evaluate(
    policy: Path | str,
    episodes: int,
    seed: int,
    on_progress: Callable[[int, int], None],
    should_stop: Callable[[], bool],
    max_steps: int = MAX_STEPS,
) -> EvalResult:
    """Roll out ``policy``: a folder of exports (or one export), ``"scripted"`` or ``"random"``.

    Episode i starts from seed ``seed + i``, so that all policies meet the same cells. ``on_progress(done, of)`` is
    called after each episode, ``should_stop`` asked at each step. Raises Invalid if there is no export in the folder.
    """
    actor, done = _actor(policy, seed), []
    for index in range(episodes):
        result = _rollout(actor, seed + index, max_steps, should_stop)
        if result is None:
            break
        done.append(result)
        on_progress(len(done), episodes)
    count = max(1, len(done))
    coverage = sum(each.coverage for each in done) / count
    return EvalResult(sum(each.success for each in done) / count, coverage, tuple(done))


def _rollout(actor: Teleoperator, seed: int, max_steps: int, should_stop: Callable[[], bool]) -> EpisodeResult | None:
    """One episode; None if it was stopped."""
    robot, best = PushT(seed, cell_id=f"evaluation-{uuid.uuid4().hex}"), 0.0
    robot.connect()
    try:
        reading, step = robot.reset(0), 0
        actor.start(reading)
        while step < max_steps and not reading.success:
            if should_stop():
                return None
            action = actor.action(reading)
            robot.act(reading.values if action is None else action)
            reading, step = robot.observe(), step + 1
            best = max(best, reading.ground_truth["coverage"])
    finally:
        robot.close()
    # The area is summed in no fixed order, so its last digits differ from run to run.
    return EpisodeResult(seed, bool(reading.success), round(best, 6), step)


def _actor(policy: Path | str, seed: int) -> Teleoperator:
    if policy in ("scripted", "random"):
        return teleoperator(str(policy), seed=seed)
    return _PolicyActor(_best_export(Path(policy)))


def _best_export(folder: Path) -> Path:
    """The fastest of the exports in ``folder``, or the folder itself if it is one."""
    for place in (folder, *(folder / backend for backend in PREFERRED)):
        if (place / "manifest.json").is_file():
            return place
    raise Invalid("This model has no export to evaluate. Export it to one of " + ", ".join(PREFERRED) + " first.")


class _PolicyActor:
    """An exported policy that sees what its cameras would see: the cell, in the size and under the names it was
    trained with."""

    def __init__(self, folder: Path) -> None:
        self._model = load_model(folder)
        features = {feature.name: feature.shape for feature in self._model.input_features}
        self._pictures = {name: shape for name, shape in features.items() if name.startswith("images")}

    def start(self, reading: Reading) -> None:
        self._model.reset()

    def action(self, reading: Reading) -> NDArray[np.float32]:
        observation = {name: self._picture(reading, shape) for name, shape in self._pictures.items()}
        observation["state"] = reading.values[np.newaxis].astype(np.float32)
        return np.asarray(self._model.select_action(observation), np.float32).reshape(-1)

    def _picture(self, reading: Reading, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """(1, 3, height, width) in 0..1, as training reads it."""
        picture = render(CellState.of(reading.ground_truth), width=shape[2], height=shape[1])
        return picture.transpose(2, 0, 1)[np.newaxis].astype(np.float32) / np.float32(255)
