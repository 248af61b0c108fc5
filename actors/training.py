"""The owner of a job: trains a policy by Ray Train, or rolls a model out, and says truly how it ended.

After a crash the log still says that the job runs: the new owner notes the interruption and continues from the newest
checkpoint. What can be looked at while it runs (the loss curve, the log) are files in the job's folder.
"""

import asyncio
import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar
from uuid import UUID, uuid5

from actors import disk
from actors.entity import ATTEMPTS, Entity
from actors.log import VersionConflict, now
from actors.publishing import publish_newest
from domain.dataset import Dataset
from domain.errors import GetiActionError, Unavailable
from domain.model import ExportFacts, Model, Rollouts
from domain.training import Job, JobStatus, Train
from settings import settings

if TYPE_CHECKING:
    from actors.learning.install import InstallProgress
    from actors.learning.job import Progress, TrainResult, TrainSpec

PROGRESS_EVENT_S = 5.0
CANCEL_S = 15.0
MAX_INTERRUPTIONS = 3
logger = logging.getLogger(__name__)


class TrainingActor(Entity[Job]):
    """The work runs in a thread of its own; commands are answered meanwhile."""

    aggregate_type: ClassVar = Job

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._stop = threading.Event()
        self._ended = asyncio.Event()
        self._short: str | None = None
        self._said_at = 0.0
        self._said = ("", -1, "")

    async def wake(self) -> None:
        """Work until the job has ended, then stop this process."""
        await super().wake()
        if not self.aggregate.ended:
            await self._work()
        self._ended.set()
        await asyncio.to_thread(self._tidy)
        self.leave()

    def _tidy(self) -> None:
        """Here too, for a worker that was killed may have written on for a moment. What it was trained on is a version
        of the dataset; names of its files here would keep their space from being freed."""
        from actors.learning.job import JobFolder

        JobFolder(self._folder).remove_partials()
        shutil.rmtree(self._pinned, ignore_errors=True)

    async def interrupt(self) -> None:
        """Ends the job as canceled with a checkpoint kept; returns once it has ended. Raises Unavailable when that
        takes long: it ends all the same."""
        await self.decide(lambda job: job.request_cancel(now()))
        self._stop.set()
        try:
            await asyncio.wait_for(self._ended.wait(), CANCEL_S)
        except TimeoutError:
            raise Unavailable("The job was told to end and takes its time; ask again in a moment.") from None

    @property
    def _folder(self) -> Path:
        return settings().jobs_dir / str(self.id)

    @property
    def _pinned(self) -> Path:
        return self._folder / "dataset"

    async def _work(self) -> None:
        if self.aggregate.status is JobStatus.RUNNING:
            await self.decide(lambda job: job.interrupt("its process was lost", now()))
        if self.aggregate.cancel_requested:
            self._stop.set()
        await self.decide(lambda job: job.start(self.run, self.node, now()))
        try:
            await self._attempt()
        except GetiActionError as error:
            await self._fail(error.detail)
        except Exception as error:
            logger.exception("%r failed", self)
            await self._fail(f"{type(error).__name__}: {error}"[:2000])

    async def _attempt(self) -> None:
        from actors.learning.job import TrainFailed, TrainInterrupted

        try:
            if self.aggregate.type == "training":
                await self._train()
            else:
                await self._evaluate()
        except TrainInterrupted as error:
            await self._again(error)
        except TrainFailed as error:
            await self._fail(error.reason)

    async def _again(self, error: Exception) -> None:
        """A worker died under the training: continue, unless that happens over and over."""
        if self.aggregate.attempt > MAX_INTERRUPTIONS:
            await self._fail(f"It was interrupted {self.aggregate.attempt} times, at last so: {error}")
            return
        reason = str(error)
        await self.decide(lambda job: job.interrupt(reason, now()))
        await self._work()

    async def _fail(self, reason: str) -> None:
        if self._stop.is_set():
            await self.decide(lambda job: job.cancel({}, now()))
        else:
            await self.decide(lambda job: job.fail(reason, now()))

    # training

    async def _train(self) -> None:
        from actors.learning.install import install, installed
        from actors.learning.train import run_training

        disk.check_training()
        if not installed():
            await asyncio.to_thread(install, self._on_install, self._stop.is_set)
        spec = await asyncio.to_thread(self._spec)
        result = await asyncio.to_thread(run_training, spec, self._on_training, self._should_stop)
        facts = {"steps": result.steps, "loss": result.loss, "val_loss": result.val_loss}
        if result.status == "canceled" and self._short and not self._stop.is_set():
            await self._fail(f"{self._short} It was at step {result.steps}.")
            return
        if result.status == "canceled":
            await self.decide(lambda job: job.cancel(facts, now()))
            return
        model = await asyncio.to_thread(self._keep_model, result)
        await self._complete({**facts, "model_id": str(model.id)}, model)

    def _should_stop(self) -> bool:
        """Somebody wants it, or the disk runs full: which is kept, for there may be room again when it has stopped."""
        self._short = self._short or disk.short_for_training()
        return self._stop.is_set() or self._short is not None

    def _spec(self) -> "TrainSpec":
        """The job as the learning room wants it, its dataset version pinned by hard links in the job's folder."""
        from actors.learning.job import TrainSpec
        from actors.learning.policies import validate

        command = Train.model_validate(self.aggregate.payload)
        copied = ("max_steps", "batch_size", "num_workers", "val_split", "seed", "train_workers", "checkpoint_every")
        return TrainSpec(
            job_id=str(self.id),
            dataset_root=self._pinned_dataset(),
            job_folder=self._folder,
            cache_root=settings().storage_dir / "cache",
            policy=command.policy,
            policy_args=validate(command.policy, command.policy_args),
            resources_per_worker=command.resources_per_worker or None,
            device=command.device,
            export=command.export,
            left_out=self.aggregate.left_out,
            **{name: getattr(command, name) for name in copied},
        )

    def _publish_again(self) -> None:
        """Its version is the newest, and whoever made it could not show it."""
        assert self.aggregate.dataset_id is not None
        dataset = self.log.load(Dataset, self.aggregate.dataset_id)
        if dataset.content_version == self.aggregate.dataset_version:
            publish_newest(settings().datasets_dir, dataset)

    def _pinned_dataset(self) -> Path:
        job = self.aggregate
        version = settings().datasets_dir / str(job.dataset_id) / "versions" / str(job.dataset_version)
        pinned = self._pinned
        if not pinned.exists():
            if not version.exists():
                self._publish_again()
            if not version.exists():
                raise Unavailable(f"Version {job.dataset_version} of the dataset is not on this node's storage.")
            partial = pinned.with_name("dataset.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(version, partial, copy_function=_link)
            partial.rename(pinned)
        return pinned

    def _keep_model(self, result: "TrainResult") -> Model:
        """Give the exports and the checkpoint a home that outlives the job's folder."""
        job, payload = self.aggregate, self.aggregate.payload
        assert job.dataset_id is not None
        assert job.dataset_version is not None
        home = settings().models_dir / str(job.model_id)
        if not home.exists():
            partial = home.with_name(f"{home.name}.partial")
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(self._folder / "exports", partial / "exports", copy_function=_link)
            if result.checkpoint is not None:
                _link(result.checkpoint, partial / "model.ckpt")
            partial.rename(home)
        losses = {"loss": result.loss, "val_loss": result.val_loss}
        return Model.create(
            job.model_id,
            job.project_id,
            payload["model_name"],
            payload["policy"],
            job.dataset_id,
            job.dataset_version,
            self.id,
            result.steps,
            {name: value for name, value in losses.items() if value is not None},
            [_export_facts(export) for export in result.exports],
            now(),
        )

    def _on_install(self, progress: "InstallProgress") -> None:
        done, total = progress.done_bytes / 1e9, progress.total_bytes / 1e9
        size = f"{done:.1f} of {total:.1f} GB · " if total else ""  # nothing to load while uv has it all
        self._say("installing", 0, f"installs libraries: {size}{progress.message}", {})

    def _on_training(self, progress: "Progress") -> None:
        percent = int(99 * progress.step / progress.max_steps)
        loss = {} if progress.loss is None else {"train/loss_step": progress.loss}
        message = progress.message or f"step {progress.step} of {progress.max_steps}"
        self._say(progress.phase, percent, message, {**loss, "step": float(progress.step)})

    # evaluation

    async def _evaluate(self) -> None:
        from actors.learning.evaluate import evaluate

        payload = self.aggregate.payload
        home = settings().models_dir / str(self.aggregate.model_id) / "exports"
        policies: dict[str, Path | str] = {"policy": home, "expert": "scripted", "random": "random"}
        rollouts = {}
        for number, (name, policy) in enumerate(policies.items()):
            tell = self._teller(name, number, len(policies))
            arguments = (policy, payload["episodes"], payload["seed"], tell, self._stop.is_set)
            result = await asyncio.to_thread(evaluate, *arguments)
            if self._stop.is_set():
                await self.decide(lambda job: job.cancel({}, now()))
                return
            rollouts[name] = Rollouts(
                episodes=len(result.episodes), success_rate=result.success_rate, mean_coverage=result.mean_coverage
            )
        await self._note_evaluation(rollouts)

    def _teller(self, name: str, number: int, of: int) -> Callable[[int, int], None]:
        def tell(done: int, episodes: int) -> None:
            percent = int(99 * (number + done / episodes) / of)
            self._say(name, percent, f"rollouts of {name}: {done} of {episodes}", {}, last=done == episodes)

        return tell

    async def _note_evaluation(self, rollouts: dict[str, Rollouts]) -> None:
        for _ in range(ATTEMPTS):
            model = self.log.load(Model, self.aggregate.model_id)
            model.evaluated(self.id, self.aggregate.payload["environment"], rollouts, now())
            try:
                await self._complete({name: each.model_dump() for name, each in rollouts.items()}, model)
            except VersionConflict:
                await self.refresh()
                continue
            return
        raise Unavailable("The model is changed too often.")

    async def _complete(self, result: dict[str, Any], model: Model) -> None:
        await self.decide(lambda job: job.complete(result, now()), model)

    # progress

    def _say(self, phase: str, percent: int, message: str, extra_info: dict[str, float], *, last: bool = False) -> None:
        """From the working thread: into the log, if it is news, every few seconds, when another phase begins, and the
        ``last`` of one."""
        waits = phase == self._said[0] and not last and time.monotonic() - self._said_at < PROGRESS_EVENT_S
        if waits or (phase, percent, message) == self._said:
            return
        self._said, self._said_at = (phase, percent, message), time.monotonic()
        self.from_thread(self._progressed(percent, message, extra_info))

    async def _progressed(self, percent: int, message: str, extra_info: dict[str, float]) -> None:
        if not self.aggregate.ended:
            await self.decide(lambda job: job.progressed(percent, message, extra_info, now()))


def _export_facts(export: Any) -> ExportFacts:
    return ExportFacts(
        backend=export.backend,
        size_bytes=export.size_bytes,
        sha256=export.sha256,
        latency_ms=export.latency_ms,
        reason=export.error,
    )


def _link(source: str | Path, target: str | Path) -> None:
    """A hard link; a copy where the file system has none."""
    try:
        Path(target).hardlink_to(source)
    except OSError:
        shutil.copy2(source, target)


def model_id_of(job_id: UUID) -> UUID:
    """The model that a training job makes: the same however often the job is submitted."""
    return uuid5(job_id, "model")
