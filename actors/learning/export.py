"""From a checkpoint to models that run without Lightning: torch, ONNX, OpenVINO."""

import hashlib
import shutil
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from actors.learning import quiet

if TYPE_CHECKING:
    from physicalai.inference import InferenceModel

BACKENDS = ("torch", "onnx", "openvino")
TIMED_RUNS = 10


@dataclass(frozen=True, slots=True)
class ExportFacts:
    """One export. ``sha256`` is over the folder's file names and contents, ``latency_ms`` the median of one inference
    (a chunk of actions) on this machine's CPU. ``error`` says why it failed; the other figures are then empty."""

    backend: str
    size_bytes: int = 0
    sha256: str = ""
    latency_ms: float | None = None
    error: str | None = None


def export(checkpoint: Path, folder: Path, backends: Iterable[str] = BACKENDS) -> list[ExportFacts]:
    """Write ``folder/<backend>/`` for each backend, each in place only when it has acted once.

    A backend that fails is reported with its reason and the others go on. Takes tens of seconds and loads torch.
    Raises whatever torch raises if the checkpoint itself cannot be read.
    """
    policy = _load_policy(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    return [_export_one(policy, folder / backend, backend) for backend in backends]


def load_model(folder: Path) -> "InferenceModel":
    """An exported policy ready to act on the CPU: ``reset()``, ``select_action(observation)``."""
    quiet.physicalai()
    from physicalai.inference import InferenceModel

    is_openvino = any(folder.glob("*.xml"))
    exact = {"INFERENCE_PRECISION_HINT": "f32"} if is_openvino else {}  # its own choice may be bf16
    return InferenceModel(folder, device="CPU" if is_openvino else "cpu", **exact)


def folder_digest(folder: Path) -> str:
    """SHA-256 over all files: relative name and content, in the order of their names."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            inner = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{inner}  {path.relative_to(folder).as_posix()}\n".encode())
    return digest.hexdigest()


def _load_policy(checkpoint: Path) -> Any:
    import torch
    from physicalai.policies import get_physicalai_policy_class

    name = torch.load(checkpoint, map_location="cpu", weights_only=False, mmap=True)["policy"]
    policy = get_physicalai_policy_class(name).load_from_checkpoint(checkpoint, map_location="cpu", weights_only=False)
    return policy.eval()


def _export_one(policy: Any, place: Path, backend: str) -> ExportFacts:
    partial = place.with_name(f"{backend}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        policy.export(partial, backend=backend)
        latency = _latency_ms(partial)
    except Exception as error:  # whatever a converter raises is this backend's failure, and is told
        shutil.rmtree(partial, ignore_errors=True)
        return ExportFacts(backend, error=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}")
    shutil.rmtree(place, ignore_errors=True)
    partial.rename(place)
    size = sum(path.stat().st_size for path in place.rglob("*") if path.is_file())
    return ExportFacts(backend, size, folder_digest(place), latency)


def _latency_ms(folder: Path) -> float:
    model = load_model(folder)
    seconds = []
    for _ in range(TIMED_RUNS + 1):  # the first warms up
        model.reset()
        begin = time.perf_counter()
        model.select_action(blank_observation(model))
        seconds.append(time.perf_counter() - begin)
    return round(statistics.median(seconds[1:]) * 1000, 3)


def blank_observation(model: "InferenceModel") -> dict[str, NDArray[np.float32]]:
    """Zeros in the shape of the model's inputs, a batch of one."""
    return {feature.name: np.zeros((1, *feature.shape), np.float32) for feature in model.input_features}
