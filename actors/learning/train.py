"""Run one training by Ray Train and watch over it: progress out, a stop in, and an end that can be told to a person.

The calling process stays light: Ray Train's controller runs under a task of its own, the training in its workers, and
both die with the caller. Only the workers import torch.
"""

import logging
import os
import time
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.learning.cluster import Place, in_words, nodes, place
from actors.learning.job import (
    JobFolder,
    OnProgress,
    Progress,
    ShouldStop,
    TrainFailed,
    TrainInterrupted,
    TrainResult,
    TrainSpec,
    checkpoint_step,
)
from actors.learning.reasons import reason_of
from domain.errors import Invalid

POLL_S = 0.25
PROGRESS_S = 1.0
GRACE_S = 5.0  # a training is given this long to end by itself and keep a checkpoint
ABORT_S = 3.5  # and then Ray Train this long to put its workers and its claim on the cluster away
START_TIMEOUT_S = "600"  # of a worker group: imports take a minute on a loaded machine, and a queue may be before us


def run_training(spec: TrainSpec, on_progress: OnProgress, should_stop: ShouldStop) -> TrainResult:
    """Train, from the newest whole checkpoint in the job's folder if there is one, and export. Blocks until the end.

    ``on_progress`` is called about once a second, ``should_stop`` four times; after it is true the run ends within
    10 s as ``canceled``, whatever it is doing. Raises TrainFailed with a reason for the person who started it, or
    TrainInterrupted if a process died under it: call again with the same spec to continue. Needs a connected Ray.
    """
    # Ray warns of waiting in an actor's event loop, and does not see that this is a thread beside it.
    os.environ.setdefault("RAY_WARN_BLOCKING_GET_INSIDE_ASYNC", "0")
    begin = time.monotonic()
    job = JobFolder(spec.job_folder)
    job.prepare()
    running = _Running(spec, job, _launch(spec, _check(spec)), begin)
    try:
        canceled = running.watch(on_progress, should_stop)
        if not canceled:
            running.check_outcome()
    finally:
        job.remove_partials()
    return _result(job, canceled=canceled, first_step_s=running.first_step_s, seconds=time.monotonic() - begin)


def _check(spec: TrainSpec) -> Place:
    """What can be known before a worker is started; the cluster may have shrunk since the job was accepted."""
    if not (spec.dataset_root / "meta" / "info.json").is_file():
        raise TrainFailed("The dataset has no published version to train on: save an episode first.")
    try:
        return place(nodes(), spec.train_workers, spec.resources_per_worker, spec.device)
    except Invalid as error:
        raise TrainFailed(error.detail) from None


def _launch(spec: TrainSpec, place: Place) -> Any:
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    task: Any = ray.remote(num_cpus=0, max_retries=0, max_calls=1)(_fit)
    return task.options(
        name=f"train-{spec.job_id}", scheduling_strategy=here, runtime_env={"env_vars": _own_cluster()}
    ).remote(spec, place)


def _own_cluster() -> dict[str, str]:
    """Told to Ray Train's processes, which inherit it: the one that frees a dead controller's placement group asks
    Ray's state API without an address, and that refuses to choose among several Rays of one machine. Only that API
    reads this variable; RAY_ADDRESS would also say which cluster a program joins."""
    return {"RAY_API_SERVER_ADDRESS": ray.get_runtime_context().gcs_address}


def _fit(spec: TrainSpec, place: Place) -> None:
    """The task: Ray Train's driver. Its controller and workers die with this process."""
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = START_TIMEOUT_S
    os.environ["RAY_CHDIR_TO_TRIAL_DIR"] = "0"  # relative paths mean in a worker what they mean here
    os.environ["RAY_TRAIN_ENABLE_PREEMPTION_WATCHER"] = "0"  # a process more, for a warning that nobody here reads
    logging.getLogger("ray.train").setLevel(logging.WARNING)  # a library's, as everywhere
    job = JobFolder(spec.job_folder)
    job.write_progress(_waiting(spec, "loads Ray Train"))
    from ray.train import FailureConfig, LoggingConfig, RunConfig, ScalingConfig

    from actors.learning.backend import TorchInWorkers
    from actors.learning.trainer import Trainer

    trainer = Trainer(
        _train_loop,
        train_loop_config={"spec": spec},
        backend_config=TorchInWorkers(),
        scaling_config=ScalingConfig(
            num_workers=spec.train_workers,
            use_gpu=spec.uses_gpu,
            resources_per_worker=place.claim,
            label_selector=place.labels,
        ),
        # No retries by Ray Train: it would repeat plain bugs too, and who counts attempts is the job's owner.
        run_config=RunConfig(
            name=f"{spec.job_id}-{time.time_ns()}",
            storage_path=str(job.ray.absolute()),
            failure_config=FailureConfig(max_failures=0),
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    many = spec.train_workers > 1
    workers = f"{spec.train_workers} workers" if many else "a worker"
    job.write_progress(_waiting(spec, f"waits for {workers} ({in_words(place.claim)}{' each' if many else ''})"))
    trainer.fit()


def _train_loop(config: dict[str, Any]) -> None:
    """What is pickled, by name: its module is light, so that the driver needs nothing that only workers need."""
    from actors.learning.loop import train_loop

    train_loop(config)


def _waiting(spec: TrainSpec, message: str) -> Progress:
    return Progress("waiting", 0, spec.max_steps, message=message)


@dataclass(slots=True)
class _Running:
    """A launched training, seen from outside."""

    spec: TrainSpec
    job: JobFolder
    task: Any
    begin: float
    first_step_s: float | None = None
    told: float = 0.0
    last: Progress | None = None

    def watch(self, on_progress: OnProgress, should_stop: ShouldStop) -> bool:
        """Until the task has ended. True if it was asked to stop before it was through."""
        asked: float | None = None
        while not self._ended(POLL_S):
            self._tell(on_progress)
            if asked is None and should_stop():
                asked = time.monotonic()
                self.job.ask_to_stop()
            if asked is not None and time.monotonic() - asked > self._grace():
                self._abort()
                return True
        self._tell(on_progress, final=True)
        return asked is not None and not self.job.is_exported()

    def _abort(self) -> None:
        """Ray Train aborts in order on an interrupt of its driver; what does not hear that in time is killed."""
        ray.cancel(self.task)
        if not self._ended(ABORT_S):
            self.job.say("did not stop in time: killed")
            ray.cancel(self.task, force=True)

    def check_outcome(self) -> None:
        """Raises TrainFailed or TrainInterrupted."""
        try:
            ray.get(self.task)
        except RayError as error:
            self.job.say(str(error))
            raise self._fault(error) from error

    def _fault(self, error: RayError) -> TrainFailed:
        if (reason := self.job.failure()) is not None:
            return TrainFailed(reason)
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(error, RayTaskError) and type(cause).__name__ != "WorkerGroupError":
            return TrainFailed(f"Training could not be started. {reason_of(cause, self.spec)}")
        return TrainInterrupted(
            "A training process died without a word (killed, out of memory, or its machine went away); "
            "it can continue from its last checkpoint."
        )

    def _ended(self, wait_s: float) -> bool:
        return bool(ray.wait([self.task], timeout=wait_s)[0])

    def _grace(self) -> float:
        return GRACE_S if self.last is not None and self.last.phase == "training" and self.last.step else 0.0

    def _tell(self, on_progress: OnProgress, *, final: bool = False) -> None:
        now = time.monotonic()
        if not final and now - self.told < PROGRESS_S:
            return
        self.told = now
        self.last = self.job.progress() or _waiting(self.spec, "starts a process")
        if self.first_step_s is None and self.last.step:
            self.first_step_s = now - self.begin
        on_progress(self.last)


def _result(job: JobFolder, *, canceled: bool, **times: Any) -> TrainResult:
    checkpoint, rows = job.newest_checkpoint(), job.rows()
    return TrainResult(
        status="canceled" if canceled else "completed",
        steps=checkpoint_step(checkpoint) if checkpoint else 0,
        checkpoint=checkpoint,
        loss=_last(rows, "loss"),
        val_loss=_last(rows, "val_loss"),
        exports=() if canceled else job.export_facts(),
        **times,
    )


def _last(rows: list[dict[str, Any]], name: str) -> float | None:
    return next((row[name] for row in reversed(rows) if name in row), None)
