"""What is left of the storage folder's disk, and what still goes on with it: training stops before recording does, and
recording before the disk is so full that nothing can be saved or deleted."""

import shutil

from domain.errors import StorageFull
from settings import settings

EARLY = 2
"""A person is told when there is so many times what training needs."""
TOLD_AFTER_S = 3.0
"""Before that, what was written is mostly what files begin with."""


def free_bytes() -> int:
    return shutil.disk_usage(settings().storage_dir).free


def warning() -> str | None:
    """For who looks at the server's health, while there is time to do something."""
    free, config = free_bytes(), settings()
    if free >= EARLY * config.min_free_train:
        return None
    stops = f"training stops at {_gb(config.min_free_train)}, recording at {_gb(config.min_free_record)}"
    return f"{_gb(free)} are free for the storage folder; {stops}. Free some space there"


def short_for_recording() -> str | None:
    """Why no episode can be recorded, in words; None while there is room."""
    return _short("recording", settings().min_free_record, "MIN_FREE_RECORD")


def short_for_training() -> str | None:
    """Why nothing can be trained, in words; None while there is room."""
    return _short("training", settings().min_free_train, "MIN_FREE_TRAIN")


def check_recording() -> None:
    """Raises StorageFull."""
    _check(short_for_recording())


def check_training() -> None:
    """Raises StorageFull."""
    _check(short_for_training())


def recordable_s(written_bytes: int, seconds: float) -> float | None:
    """How long recording can go on as it did for so long; None before that can be told."""
    if not written_bytes or seconds < TOLD_AFTER_S:
        return None
    return max(0, free_bytes() - settings().min_free_record) * seconds / written_bytes


def _check(short: str | None) -> None:
    if short is not None:
        raise StorageFull(short)


def _short(doing: str, least: int, name: str) -> str | None:
    free = free_bytes()
    if free >= least:
        return None
    stops = f"{doing} stops at {_gb(least)} ({name})"
    return f"Only {_gb(free)} are free for the storage folder, and {stops}. Free some space there, then go on."


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
