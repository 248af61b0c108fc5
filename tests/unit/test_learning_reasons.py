import dataclasses
import errno
from pathlib import Path

import pytest

from actors.learning import policies
from actors.learning.cache import BrokenDataset
from actors.learning.job import TrainFailed, TrainSpec
from actors.learning.reasons import reason_of

SPEC = TrainSpec(
    job_id="j", dataset_root=Path("/srv/data/7"), job_folder=Path("/srv/jobs/j"), cache_root=Path("/srv/c")
)


def wrapped(cause: Exception) -> Exception:
    error = RuntimeError("a wrapper")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("first\n  the last line \n"), "ValueError: the last line"),
        (KeyError(), "KeyError"),
        (TrainFailed("The loss became nan."), "The loss became nan."),
        (wrapped(BrokenDataset("Frame 3 is missing.")), "Frame 3 is missing."),
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
        (RuntimeError("PytorchStreamWriter failed writing file data/3"), "The disk is full"),
        (wrapped(MemoryError()), "Out of memory"),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), "Out of memory"),
        (OSError("Cannot reach it: offline mode is enabled."), "Weights are missing here"),
        (FileNotFoundError("No such file: /srv/data/7/meta/stats.json"), "No such file: <dataset>/meta/stats.json"),
    ],
)
def test_a_person_can_act_on_it(error: Exception, said: str) -> None:
    reason = reason_of(error, SPEC)
    assert said in reason
    assert "/srv" not in reason


def test_missing_weights_are_named_with_the_command_that_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    error = RuntimeError("an error happened while trying to locate the file: check your connection; offline mode")
    vla = dataclasses.replace(SPEC, policy="smolvla", policy_args=policies.validate("smolvla", {}))
    reason = reason_of(error, vla)
    assert "hf download lerobot/smolvla_base" in reason
    assert "connection" not in reason
    asked = "https://huggingface.co/else/where/resolve/main/config.json"
    error.__cause__ = ConnectionError(f"Cannot reach {asked}: offline mode is enabled.")
    assert reason_of(error, SPEC).endswith(": hf download else/where")


def test_a_reason_is_one_short_line() -> None:
    assert len(reason_of(ValueError("x" * 9000), SPEC)) <= 500
