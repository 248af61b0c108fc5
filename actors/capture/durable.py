"""Files that are still there after a crash: what is reported as written has reached the disk."""

import errno
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from domain.errors import GetiActionError, StorageFull, Unavailable

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
NO_HARD_LINKS = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK, errno.EXDEV})
LOCK_POLL_S = 0.02
COPIED_AT_ONCE = 1 << 30


def storage_error(error: OSError, doing: str) -> GetiActionError:
    """The domain's word for a failed file operation. The message names no path: it may reach a client."""
    if error.errno in FULL:
        return StorageFull(f"No space left on the storage root to {doing}. Free some space there, then try again.")
    return Unavailable(
        f"The storage root could not be used to {doing}: {os.strerror(error.errno or errno.EIO)}. "
        "Check that the disk is mounted, healthy and writable, then try again."
    )


@contextmanager
def storage_errors(doing: str) -> Iterator[None]:
    """Translate every OSError raised inside into StorageFull or Unavailable."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, doing) from error


def fsync_path(path: Path) -> None:
    """Flush a file's data, or a folder's entries, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def fsync_folders(root: Path) -> None:
    """Flush the entries of ``root`` and of every folder below it (not the files' data)."""
    for folder, _, _ in root.walk(top_down=False):
        fsync_path(folder)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write and flush; a reader sees the old file or the whole new one."""
    write_bytes(path, json.dumps(content, indent=1, ensure_ascii=False).encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Write and flush; a reader sees the old file or the whole new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fsync_path(path.parent)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same file; a flushed copy where the file system has no such thing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        target.hardlink_to(source)
    except OSError as error:
        if error.errno not in NO_HARD_LINKS:
            raise
        copy(source, target)


def copy(source: Path, target: Path) -> None:
    """The same bytes in a file of its own, flushed. Where the file system can, both share their blocks until one is
    changed, so that it takes no room."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with source.open("rb", buffering=0) as one, target.open("wb") as other:
        with suppress(AttributeError, OSError):  # not on this system, or not between these two places
            while os.copy_file_range(one.fileno(), other.fileno(), COPIED_AT_ONCE):
                pass
        shutil.copyfileobj(one, other)  # what is left
    fsync_path(target)


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """A hidden folder to fill, which becomes ``target`` by one rename if all goes well, and else vanishes. The files in
    it must be flushed by whoever writes them."""
    staging = target.with_name(f".{target.name}.staging")
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        yield staging
        fsync_folders(staging)
        staging.rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    fsync_path(target.parent)


@contextmanager
def exclusive(path: Path, timeout_s: float = 60.0) -> Iterator[None]:
    """Hold the lock file ``path`` against other threads and processes; the kernel releases it if the holder dies.

    Raises Unavailable when another holder keeps it longer than ``timeout_s``."""
    with path.open("a") as file:
        _acquire(file.fileno(), time.monotonic() + timeout_s)
        yield


def _acquire(descriptor: int, deadline: float) -> None:
    while True:
        try:
            return fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise Unavailable("Somebody else is saving into this dataset. Try again in a moment.") from None
        time.sleep(LOCK_POLL_S)


class BackgroundSync:
    """Flushes growing files about once a second, beside the thread that writes them: a slow disk must not cost rows."""

    def __init__(self, *paths: Path, interval_s: float = 1.0) -> None:
        self._paths = paths
        self._interval_s = interval_s
        self._next = time.monotonic() + interval_s
        self._worker = ThreadPoolExecutor(1, "fsync")
        self._pending: Future[None] | None = None

    def poll(self) -> None:
        """Start a flush if one is due and none is running. Raises the OSError of the previous one."""
        if time.monotonic() < self._next or (self._pending and not self._pending.done()):
            return
        if self._pending:
            self._pending.result()
        self._next = time.monotonic() + self._interval_s
        self._pending = self._worker.submit(self._flush)

    def close(self) -> None:
        """Flush a last time and wait for it."""
        self._worker.shutdown()
        self._flush()

    def _flush(self) -> None:
        for path in self._paths:
            fsync_path(path)
