"""Space set aside beside a SQLite database, so that what frees space can still be written when the disk is full.

A delete has to be noted in the log before anything is freed, which itself needs some room."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BYTES = 8 * 1024 * 1024
STEP_BYTES = 64 * 1024


class Reserve:
    """One file. Several processes may fill and spend it: who comes second finds it done."""

    def __init__(self, path: Path, size_bytes: int = BYTES) -> None:
        self._path = path
        self._bytes = size_bytes

    def fill(self) -> bool:
        """Set the space aside where it is not yet; False while there is less to spare."""
        return self._size() >= self._bytes or self._set_aside(self._bytes)

    @contextmanager
    def lent(self) -> Iterator[None]:
        """The space is there for what happens inside, and what that leaves of it is set aside again. For one writer at
        a time: whoever else writes meanwhile might use it up."""
        with suppress(FileNotFoundError):
            self._path.unlink()
        try:
            yield
        finally:
            size = min(self._bytes, shutil.disk_usage(self._path.parent).free)
            while size >= STEP_BYTES and not self._set_aside(size):
                size -= STEP_BYTES

    def _size(self) -> int:
        try:
            return self._path.stat().st_size
        except FileNotFoundError:  # not set aside, or just lent
            return 0

    def _set_aside(self, size_bytes: int) -> bool:
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, size_bytes)
            partial.rename(self._path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            return False
        return True
