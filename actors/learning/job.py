"""What a training job is given, what it leaves behind, and the files in its folder. Imports nothing heavy.

A job's folder is the only channel between the process that supervises a training and the workers that train (the
storage root is shared by all nodes), so it survives the death of either:

    metrics.jsonl   one row a logged step: the whole curve
    progress.json   where the job is now, replaced about once a second
    log.txt         what the workers and libraries said, with tracebacks
    stop            its presence asks the workers to stop
    failure.json    the first worker's failure: {kind, reason}
    checkpoints/    step_00000100.ckpt …, each renamed into place when whole
    exports/        one folder a backend
    exports.json    what is known of each
    ray/            Ray Train's own bookkeeping
"""

import contextlib
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from actors.learning.export import ExportFacts
from domain.training import Device

Phase = Literal["waiting", "loading", "starting", "training", "exporting"]
OnProgress = Callable[["Progress"], None]
ShouldStop = Callable[[], bool]


class TrainFailed(Exception):
    """Training ended by a fault that running again would meet again. ``reason`` says what to do about it."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class TrainInterrupted(TrainFailed):
    """A process or machine died under the training; running the same spec again continues from the last checkpoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSpec:
    """One training run. ``dataset_root`` is a published LeRobot v3 folder, ``policy_args`` come from
    ``policies.validate``. ``resources_per_worker`` is Ray's ({"CPU": 2} or {"GPU": 1}); without it a worker claims the
    ``device``, or one CPU of Ray but computes with all of the machine's cores. ``cache_root`` holds decoded frames,
    shared by jobs; ``left_out`` are the indices of episodes that are not learned from."""

    job_id: str
    dataset_root: Path
    job_folder: Path
    cache_root: Path
    policy: str = "act"
    policy_args: dict[str, Any] = field(default_factory=dict)
    max_steps: int = 100
    batch_size: int = 8
    num_workers: int | Literal["auto"] = 0
    val_split: float = 0.1
    seed: int = 0
    left_out: tuple[int, ...] = ()
    train_workers: int = 1
    resources_per_worker: dict[str, float] | None = None
    device: Device | None = None
    checkpoint_every: int = 100
    keep_checkpoints: int = 3
    export: tuple[str, ...] = ("torch", "onnx", "openvino")

    @property
    def uses_gpu(self) -> bool:
        on_card = self.device is not None and self.device.type == "cuda"
        return on_card or bool((self.resources_per_worker or {}).get("GPU"))


@dataclass(frozen=True, slots=True)
class Progress:
    """Telemetry: ``step`` of ``max_steps`` optimizer steps, the last loss, and what goes on in words."""

    phase: Phase
    step: int
    max_steps: int
    loss: float | None = None
    message: str = ""


@dataclass(frozen=True, slots=True)
class TrainResult:
    """How a run ended: ``steps`` reached, the checkpoint kept (None if there was no step yet), the last logged losses,
    the exports, seconds from the call to the first step of this attempt and to the end."""

    status: Literal["completed", "canceled"]
    steps: int
    checkpoint: Path | None
    loss: float | None
    val_loss: float | None
    exports: tuple[ExportFacts, ...]
    first_step_s: float | None
    seconds: float


@dataclass(frozen=True, slots=True)
class JobFolder:
    """The files of one job."""

    root: Path

    @property
    def metrics(self) -> Path:
        return self.root / "metrics.jsonl"

    @property
    def log(self) -> Path:
        return self.root / "log.txt"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def exports(self) -> Path:
        return self.root / "exports"

    @property
    def ray(self) -> Path:
        return self.root / "ray"

    @property
    def _stop(self) -> Path:
        return self.root / "stop"

    @property
    def _failure(self) -> Path:
        return self.root / "failure.json"

    @property
    def _progress(self) -> Path:
        return self.root / "progress.json"

    def prepare(self) -> None:
        """Make the folder ready for an attempt: what an earlier one said about its end is forgotten, its checkpoints
        and metrics stay."""
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        for stale in (self._stop, self._failure, self._progress, self.root / "exports.json"):
            stale.unlink(missing_ok=True)
        self.remove_partials()

    def remove_partials(self) -> None:
        """Away with what a worker was writing when it was ended: nobody will finish it."""
        for folder in (self.root, self.checkpoints, self.exports):
            for partial in folder.glob("*.partial"):
                if partial.is_dir():
                    shutil.rmtree(partial, ignore_errors=True)
                else:
                    partial.unlink(missing_ok=True)

    def ask_to_stop(self) -> None:
        self._stop.touch()

    def stop_asked(self) -> bool:
        return self._stop.exists()

    def record_failure(self, kind: str, reason: str) -> None:
        """Keep the first failure; the other workers' are its consequences."""
        with contextlib.suppress(FileExistsError), self._failure.open("x") as file:
            json.dump({"kind": kind, "reason": reason}, file)

    def failure(self) -> str | None:
        """The reason the first failing worker gave."""
        with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
            return str(json.loads(self._failure.read_text())["reason"])
        return None

    def write_progress(self, progress: Progress) -> None:
        partial = self._progress.with_suffix(".partial")
        partial.write_text(json.dumps(asdict(progress)))
        partial.replace(self._progress)

    def progress(self) -> Progress | None:
        """Where the workers said they are; None before their first word."""
        with contextlib.suppress(FileNotFoundError):
            return Progress(**json.loads(self._progress.read_text()))
        return None

    def record_exports(self, facts: list[ExportFacts]) -> None:
        (self.root / "exports.json").write_text(json.dumps([asdict(each) for each in facts]))

    def is_exported(self) -> bool:
        """Whether the last attempt got through to its end."""
        return (self.root / "exports.json").exists()

    def export_facts(self) -> tuple[ExportFacts, ...]:
        """What the workers recorded; nothing before they exported."""
        with contextlib.suppress(FileNotFoundError):
            return tuple(ExportFacts(**each) for each in json.loads((self.root / "exports.json").read_text()))
        return ()

    def say(self, text: str) -> None:
        """A line for the people who read the job's log."""
        with self.log.open("a", encoding="utf-8") as file:
            file.write(f"{utc_now()} {text.rstrip()}\n")

    def rows(self) -> list[dict[str, Any]]:
        """The curve so far."""
        return read_rows(self.metrics.read_bytes()) if self.metrics.exists() else []

    def keep_rows_until(self, step: int) -> None:
        """Before a resume: forget rows that this attempt will write again."""
        kept = [row for row in self.rows() if row["step"] <= step]
        partial = self.metrics.with_suffix(".partial")
        partial.write_text("".join(json.dumps(row) + "\n" for row in kept), encoding="utf-8")
        partial.replace(self.metrics)

    def checkpoint(self, step: int) -> Path:
        return self.checkpoints / f"step_{step:08d}.ckpt"

    def newest_checkpoint(self) -> Path | None:
        """The newest whole checkpoint (PyTorch writes zip archives, whose directory comes last)."""
        whole = (
            path for path in sorted(self.checkpoints.glob("step_*.ckpt"), reverse=True) if zipfile.is_zipfile(path)
        )
        return next(whole, None)

    def prune_checkpoints(self, keep: int) -> None:
        for old in sorted(self.checkpoints.glob("step_*.ckpt"))[:-keep]:
            old.unlink(missing_ok=True)


def checkpoint_step(path: Path) -> int:
    """The optimizer step a checkpoint was taken at."""
    return int(path.stem.removeprefix("step_"))


def put_in_place(partial: Path, final: Path) -> None:
    """Make a written file durable, then give it its name: who sees the name sees all of the file."""
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.replace(final)


def utc_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def read_rows(text: bytes) -> list[dict[str, Any]]:
    """The rows of a curve, one a line. A line that a crash or a full disk has torn is left out, and so is the last one
    while it is written."""
    rows = []
    for line in text[: text.rfind(b"\n") + 1].splitlines():
        with contextlib.suppress(ValueError):
            rows.append(json.loads(line))
    return [row for row in rows if isinstance(row, dict)]
