"""The Lightning callback that steers a training: telemetry, checkpoints, and a stop that all workers agree on."""

import math
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from actors.learning.job import JobFolder, TrainFailed, TrainSpec, put_in_place
from actors.learning.telemetry import Telemetry


class Steering(Callback):  # type: ignore[misc]
    """Every rank runs one, and all take the same turns: saving and broadcasting are collective."""

    def __init__(self, spec: TrainSpec, job: JobFolder, telemetry: Telemetry) -> None:
        self._spec, self._job, self._telemetry = spec, job, telemetry
        self._saved = -1

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        step, loss = trainer.global_step, float(outputs["loss"])
        if not math.isfinite(loss):
            raise TrainFailed(f"The loss became {loss} at step {step}: lower the learning rate, or look for outliers.")
        samples = self._spec.batch_size * trainer.world_size
        self._telemetry.step(step, loss, trainer.optimizers[0].param_groups[0]["lr"], samples)
        trainer.should_stop = trainer.strategy.broadcast(self._job.stop_asked(), src=0)
        every = self._spec.checkpoint_every
        if trainer.should_stop or (every and step % every == 0):
            self._save(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        loss = trainer.callback_metrics.get("val/loss")
        if loss is not None:
            self._telemetry.validation(trainer.global_step, float(loss))

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._save(trainer)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        checkpoint["policy"] = self._spec.policy  # who loads it must know which class to ask

    def _save(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if step in (0, self._saved):
            return
        final = self._job.checkpoint(step)
        partial = final.with_suffix(".partial")
        trainer.save_checkpoint(partial)
        if trainer.is_global_zero:
            put_in_place(partial, final)
            self._job.prune_checkpoints(self._spec.keep_checkpoints)
        self._saved = step
