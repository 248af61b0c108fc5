"""From an exception in a training to a sentence for the person who started it."""

import errno
from collections.abc import Iterator

from actors.learning import weights
from actors.learning.cache import BrokenDataset
from actors.learning.job import TrainFailed, TrainSpec

_LONGEST = 500
_NOT_HERE = {"LocalEntryNotFoundError", "OfflineModeIsEnabled"}


def reason_of(error: BaseException, spec: TrainSpec) -> str:
    """One line: what to do where we know it, else what was raised; without paths of this machine."""
    advice = next((said for each in _chain(error) if (said := _advice(each, spec))), None)
    return _without_paths(advice or _last_line(error), spec)[:_LONGEST]


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """An error and what it was raised from or after."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _advice(error: BaseException, spec: TrainSpec) -> str | None:
    text = str(error)
    if isinstance(error, TrainFailed | BrokenDataset):
        return text
    if getattr(error, "errno", None) == errno.ENOSPC or "PytorchStreamWriter failed writing" in text:
        return "The disk is full: free space on the storage root, then resume."
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return "Out of memory: choose a smaller batch_size, image_size or policy."
    if "offline mode" in text.lower() or type(error).__name__ in _NOT_HERE:
        return _which_weights(error, spec)
    return None


def _which_weights(error: BaseException, spec: TrainSpec) -> str:
    """Those that are known to be needed, else those that the library asked the hub for."""
    asked = (found for each in _chain(error) if (found := weights.asked_for(str(each))))
    if absent := weights.missing(spec.policy, spec.policy_args) or list(asked)[:1]:
        return weights.advice(absent)
    return f"Weights are missing here and training never downloads: fetch them first. {_last_line(error)}"


def _last_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[-1]}" if lines else type(error).__name__


def _without_paths(text: str, spec: TrainSpec) -> str:
    for folder, name in ((spec.dataset_root, "<dataset>"), (spec.job_folder, "<job>"), (spec.cache_root, "<cache>")):
        text = text.replace(str(folder), name)
    return text
