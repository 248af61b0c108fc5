"""What one Ray Train worker does: decode once, train, keep checkpoints, export. Runs in the worker's own process.

Only this module's functions import torch, and only there.
"""

import importlib
import logging
import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from actors.learning import quiet
from actors.learning.cache import DatasetInfo, Size, frame_cache
from actors.learning.export import export
from actors.learning.job import JobFolder, Progress, TrainSpec, checkpoint_step
from actors.learning.reasons import reason_of
from actors.learning.telemetry import Telemetry

if TYPE_CHECKING:
    from lightning.pytorch import Trainer
    from numpy.typing import NDArray
    from physicalai.data import DataModule

LIBRARIES = (
    "physicalai.policies",
    "physicalai.train",
    "ray.train.torch",  # Ray's Lightning strategy takes for granted that somebody imported it
    "ray.train.lightning",
    "actors.learning.dataset",
)
LARGEST_PICTURE = 224  # pixels a side that ACT is given unless its arguments say otherwise
VALIDATIONS = 5  # in a run
VALIDATION_BATCHES = 32  # at most, each time, and no more than steps since: it must not cost as much as the training


def train_loop(config: dict[str, Any]) -> None:
    """Train as ``config["spec"]`` says, from the newest checkpoint if there is one, and export.

    A failure is written to the job's folder and raised again.
    """
    spec: TrainSpec = config["spec"]
    job = JobFolder(spec.job_folder)
    _stay_offline(spec)
    quiet.before_imports()
    try:
        with _logging_to(job):
            _train(spec, job)
    except Exception as error:
        job.say(traceback.format_exc())
        job.record_failure(type(error).__name__, reason_of(error, spec))
        raise


def _train(spec: TrainSpec, job: JobFolder) -> None:
    import ray.train

    first = ray.train.get_context().get_world_rank() == 0
    telemetry = Telemetry(job, spec.max_steps, writes=first)
    checkpoint = job.newest_checkpoint()
    if checkpoint is None or checkpoint_step(checkpoint) < spec.max_steps:
        telemetry.resume_at(checkpoint_step(checkpoint) if checkpoint else 0)
        _fit(spec, job, telemetry, checkpoint)
    if first and not job.stop_asked():
        _export(spec, job, telemetry)


def _fit(spec: TrainSpec, job: JobFolder, telemetry: Telemetry, checkpoint: Path | None) -> None:
    info = DatasetInfo.read(spec.dataset_root)
    args = _constructor_args(spec, info)
    # Side by side, for decoding is not Python's work; a broken dataset ends it without waiting for the libraries.
    libraries = threading.Thread(target=_load_libraries, daemon=True)
    libraries.start()
    frames = _decoded(spec, info, args.get("image_size"), telemetry)
    telemetry.phase("starting", "loads the training libraries", force=True)
    libraries.join()
    from lightning import seed_everything
    from physicalai.policies import get_policy

    _use_cores(spec)
    seed_everything(spec.seed, workers=True, verbose=False)
    data = _data(spec, info, frames)
    policy = get_policy(spec.policy, source="physicalai", **args)
    telemetry.phase("training", "prepares the first step", force=True)
    _trainer(spec, job, telemetry).fit(policy, datamodule=data, ckpt_path=checkpoint, weights_only=False)


def _load_libraries() -> None:
    """What the training imports anyway, and which takes its time."""
    for name in LIBRARIES:
        importlib.import_module(name)
    quiet.after_imports()


def _decoded(spec: TrainSpec, info: DatasetInfo, size: Size | None, telemetry: Telemetry) -> "dict[str, NDArray[Any]]":
    def tell(done: int, total: int) -> None:
        telemetry.phase("loading", f"decodes frames: {done} of {total}")

    return frame_cache(info, spec.cache_root, size, tell)


def _data(spec: TrainSpec, info: DatasetInfo, frames: "dict[str, NDArray[Any]]") -> "DataModule":
    from actors.learning.dataset import datamodule

    return datamodule(
        spec.dataset_root,
        [episode for episode in range(info.episodes) if episode not in spec.left_out],
        frames,
        batch_size=spec.batch_size,
        num_workers=spec.num_workers,
        val_split=spec.val_split,
        seed=spec.seed,
    )


def _constructor_args(spec: TrainSpec, info: DatasetInfo) -> dict[str, Any]:
    """The policy's arguments as its constructor wants them: all of a chunk is carried out unless said otherwise."""
    args = {name: tuple(value) if isinstance(value, list) else value for name, value in spec.policy_args.items()}
    if args.get("n_action_steps") is None and "chunk_size" in args:
        args["n_action_steps"] = args["chunk_size"]
    if spec.policy == "act":
        args["image_size"] = args.get("image_size") or _picture_size(info)
        args["pretrained_backbone_weights"] = None  # the library's default is a download
    return args


def _picture_size(info: DatasetInfo) -> Size:
    """The largest camera's (height, width), shrunk to ``LARGEST_PICTURE`` a side."""
    height, width = max(info.cameras.values(), key=lambda size: size[0] * size[1], default=(96, 96))
    shrink = min(1.0, LARGEST_PICTURE / max(height, width))
    return round(height * shrink), round(width * shrink)


def _trainer(spec: TrainSpec, job: JobFolder, telemetry: Telemetry) -> "Trainer":
    from physicalai.train import Trainer
    from ray.train.lightning import RayDDPStrategy, RayLightningEnvironment, prepare_trainer

    from actors.learning.steering import Steering

    strategy: Any = RayDDPStrategy(find_unused_parameters=spec.policy != "act")
    environment: Any = RayLightningEnvironment()
    steps_between = max(1, spec.max_steps // VALIDATIONS)
    trainer = Trainer(
        accelerator="gpu" if spec.uses_gpu else "cpu",
        devices="auto",
        strategy=strategy,
        plugins=[environment],
        callbacks=[Steering(spec, job, telemetry)],
        max_steps=spec.max_steps,
        val_check_interval=steps_between,
        check_val_every_n_epoch=None,
        limit_val_batches=min(VALIDATION_BATCHES, steps_between),
        logger=False,
        default_root_dir=str(spec.job_folder),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    return prepare_trainer(trainer)


def _export(spec: TrainSpec, job: JobFolder, telemetry: Telemetry) -> None:
    checkpoint = job.newest_checkpoint()
    if checkpoint is None:
        return
    step = checkpoint_step(checkpoint)
    wanted = ", ".join(spec.export) or "none is wanted"
    telemetry.write(Progress("exporting", step, spec.max_steps, telemetry.loss, f"exports: {wanted}"))
    _load_libraries()
    with job.log.open("a", encoding="utf-8") as log, redirect_stdout(log):  # torch.onnx prints each step it takes
        facts = export(checkpoint, job.exports, spec.export)
    job.record_exports(facts)


def _use_cores(spec: TrainSpec) -> None:
    """Ray gives a worker as many threads as CPUs it claims, one by default; a training wants what the machine has."""
    import torch

    claimed = (spec.resources_per_worker or {}).get("CPU")
    torch.set_num_threads(max(1, int(claimed or (os.cpu_count() or 1) // spec.train_workers)))


def _stay_offline(spec: TrainSpec) -> None:
    """No training goes to a hub, and the row cache of ``datasets`` lies with ours, not in somebody's home."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_CACHE"] = str(spec.cache_root / "rows")
    os.environ["TOKENIZERS_PARALLELISM"] = "false"


@contextmanager
def _logging_to(job: JobFolder) -> Iterator[None]:
    handler = logging.FileHandler(job.log)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        handler.close()
