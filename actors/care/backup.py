"""A backup of a whole system, made while it serves. What is in its folder:

    log.jsonl     the log, as ``export-log`` writes it, up to the position at which the backup began
    files.jsonl   every file of the storage root: {"path", "size", "sha256"}, links as {"path", "link"}
    storage/      the files themselves, if they were wanted: settled ones (episodes, versions, models) are hard links
                  where the file system can, so they take no room, and whoever damages one in place damages both; what
                  may still grow is copied
    backup.json   what this is, and the sha256 of the two lists. It is written last: without it a backup is not whole

The files are listed after the log: all that the log names is there by then, and nothing saved is ever rewritten. All
else (tables, claims, snapshots) follows from the log.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from actors.capture.durable import fsync_folders, write_bytes
from actors.care import files, lines, sealed
from actors.care.copying import Reading
from actors.care.exporting import export_to
from actors.care.failures import file_errors
from actors.log import Log, now
from domain.errors import Conflict, Invalid
from projections.tables import rfc3339

LOG, FILES, STORAGE, LABEL = "log.jsonl", "files.jsonl", "storage", "backup.json"
FORMAT = "geti-action-backup/1"
LISTING, LISTED = "geti-action-files/1", "files"
"""The format of the list of files, and what its lines are."""

Told = Callable[[str, int, int], None]
"""Is told what is being counted ("events", "bytes"), how much of it is done, and how much there is."""


class Label(BaseModel):
    """``backup.json``. ``position`` is that of the log's last event; ``has_files`` says whether they are in it."""

    model_config = ConfigDict(frozen=True)
    format: str = FORMAT
    release: str
    made_at: str
    position: int
    events: int
    log_sha256: str
    files: int
    size_bytes: int
    files_sha256: str
    has_files: bool


def back_up(log: Log, storage: Path, folder: Path, told: Told, *, with_files: bool) -> Label:
    """Write a backup into ``folder``, which must be new or empty. Raises Conflict when it is not, Invalid when it lies
    in the storage root, Damaged when the log is; StorageFull, Unavailable: then nothing of it is left."""
    _must_be_free(folder, storage)
    with file_errors("write the backup"), _whole_folder(folder):
        exported = export_to(log, folder / LOG, lambda done, total: told("events", done, total))
        copies = folder / STORAGE if with_files else None
        listing = _Listing(storage, copies, told)
        with sealed.whole_file(folder / FILES) as file:
            count, sha256 = sealed.write(file, {"format": LISTING}, listing.lines(), LISTED)
        fsync_folders(folder)
        label = Label(
            release=lines.release(),
            made_at=rfc3339(now()),
            position=exported.position,
            events=exported.events,
            log_sha256=exported.sha256,
            files=count,
            size_bytes=listing.done_bytes,
            files_sha256=sha256,
            has_files=with_files,
        )
        write_bytes(folder / LABEL, label.model_dump_json(indent=1).encode())
    return label


@contextmanager
def _whole_folder(folder: Path) -> Iterator[None]:
    """One that is not finished is of no use, and takes room on a disk that may be full."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder / STORAGE, ignore_errors=True)
        for name in (LOG, FILES, LABEL):
            (folder / name).unlink(missing_ok=True)
        if is_new:
            folder.rmdir()
        raise


def _must_be_free(folder: Path, storage: Path) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} is not empty. A backup needs a new folder; one that is not whole may be removed.")
    inside = folder.absolute().is_relative_to(storage) or folder.resolve().is_relative_to(storage.resolve())
    if inside and not folder.resolve().is_relative_to((storage / files.BACKUPS).resolve()):
        raise Invalid(f"{folder} is in the storage root, which is what is backed up. Name another folder.")


class _Listing:
    """Reads the files one by one. ``done_bytes`` is how much they hold, each name counted."""

    def __init__(self, storage: Path, copies: Path | None, told: Told) -> None:
        self._storage, self._told = storage, told
        self._reading = Reading(storage, copies, may_link=True)
        self.done_bytes = 0

    def lines(self) -> Iterator[bytes]:
        total = sum(_size(self._storage / path) for path in files.walk(self._storage))
        for path in files.walk(self._storage):
            entry = self._reading.read(path)
            if entry is not None:
                yield entry.line()
                self.done_bytes += entry.size
                self._told("bytes", self.done_bytes, max(total, self.done_bytes))


def _size(place: Path) -> int:
    try:
        return 0 if place.is_symlink() else place.stat().st_size
    except FileNotFoundError:
        return 0
