"""What a training worker tells about itself while it runs: the curve, and where it is now."""

import json
import time
from typing import Any

from actors.learning.job import JobFolder, Phase, Progress, utc_now

PERIOD_S = 0.5  # between two rewrites of progress.json
ROWS = 5000  # at most, in a curve: longer runs log every n-th step


class Telemetry:
    """Writes a job's metrics and progress; only the worker of rank 0 ``writes``, the others' calls do nothing."""

    def __init__(self, job: JobFolder, max_steps: int, *, writes: bool) -> None:
        self._job, self._max_steps, self._writes = job, max_steps, writes
        self._every = max(1, max_steps // ROWS)
        self._step, self._told, self._samples = 0, 0.0, 0
        self._since: float | None = None
        self.loss: float | None = None

    def resume_at(self, step: int) -> None:
        """The curve continues after ``step``."""
        self._step = step
        if self._writes:
            self._job.keep_rows_until(step)

    def phase(self, phase: Phase, message: str, *, force: bool = False) -> None:
        self.write(Progress(phase, self._step, self._max_steps, self.loss, message), throttle=not force)

    def step(self, step: int, loss: float, lr: float, samples: int) -> None:
        """One optimizer step on ``samples`` samples (of all workers)."""
        self._step, self.loss = step, loss
        self._samples += samples
        if step % self._every == 0 or step == self._max_steps:
            self._row({"step": step, "loss": loss, "lr": lr, "samples_per_s": self._rate()})
        self.write(Progress("training", step, self._max_steps, loss), throttle=step < self._max_steps)

    def validation(self, step: int, loss: float) -> None:
        self._row({"step": step, "val_loss": loss})

    def write(self, progress: Progress, *, throttle: bool = False) -> None:
        now = time.monotonic()
        if self._writes and not (throttle and now - self._told < PERIOD_S):
            self._told = now
            self._job.write_progress(progress)

    def _row(self, row: dict[str, Any]) -> None:
        if self._writes:
            with self._job.metrics.open("a", encoding="utf-8") as file:
                file.write(json.dumps({**row, "time": utc_now()}) + "\n")

    def _rate(self) -> float | None:
        """Samples a second since the last row; None for the first, which paid for the start."""
        now = time.monotonic()
        rate = round(self._samples / max(now - self._since, 1e-9), 2) if self._since is not None else None
        self._since, self._samples = now, 0
        return rate
