"""Space set aside beside a SQLite database, so that what frees space can still be written when the disk is full.

A delete has to be noted in the log before anything is freed, which itself needs some room."""

import os
from contextlib import suppress
from pathlib import Path

BYTES = 8 * 1024 * 1024


class Reserve:
    """One file. Several processes may fill and spend it: who comes second finds it done."""

    def __init__(self, path: Path, size_bytes: int = BYTES) -> None:
        self._path = path
        self._bytes = size_bytes

    def fill(self) -> bool:
        """Set the space aside where it is not yet; False while there is none to spare."""
        if self._path.exists() and self._path.stat().st_size >= self._bytes:
            return True
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        try:
            with partial.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, self._bytes)
            partial.rename(self._path)
        except OSError:
            with suppress(OSError):
                partial.unlink()
            return False
        return True

    def spend(self) -> bool:
        """Give the space back to the disk; False when it was given already."""
        try:
            self._path.unlink()
        except FileNotFoundError:
            return False
        return True
