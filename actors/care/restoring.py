"""A backup becomes a system again: files first, then the log, as in life; everything is looked at before it counts."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from actors.capture.durable import fsync_folders, fsync_path
from actors.care import backup, files, lines, sealed
from actors.care.backup import Label, Told
from actors.care.copying import Reading
from actors.care.failures import file_errors
from actors.care.files import Entry
from actors.care.importing import Imported, import_log, must_be_empty
from actors.log import Log
from domain.errors import Conflict, Invalid, Malformed, NotFound

STAGING = ".restoring"
_LISTING = {backup.LISTING: backup.LISTED}


def restore(log: Log, storage: Path, folder: Path, told: Told) -> Imported:
    """Bring the backup in ``folder`` into an empty log and an empty storage root, or into one that holds exactly its
    files already (which is so when this is repeated, and must be so when the backup has none of its own).

    Raises Conflict when there is something else; NotFound, Malformed or Invalid for a backup that is not whole or not
    what was written: then the log stays empty; StorageFull, Unavailable."""
    with file_errors("restore the backup"):
        label = _label(folder)
        _check_lists(folder, label)
        with log.engine.connect() as connection:
            must_be_empty(connection)
        if label.has_files and next(files.walk(storage), None) is None:
            _bring_files(folder, storage, label, told)
        else:
            _check_files(folder, storage, label, told)
        size = (folder / backup.LOG).stat().st_size
        with (folder / backup.LOG).open("rb") as file:
            return import_log(log, file, lambda done: told("bytes of the log", done, size))


def _label(folder: Path) -> Label:
    path = folder / backup.LABEL
    try:
        label = Label.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise NotFound(f"{folder} is no backup, or one that was not finished: it has no {backup.LABEL}.") from None
    except ValidationError as error:
        raise Malformed(f"{path} is not what a backup holds. Take another backup.") from error
    if label.format != backup.FORMAT:
        raise Malformed(f"{path} is a {label.format}; this release reads {backup.FORMAT}. Use the one that wrote it.")
    return label


def _check_lists(folder: Path, label: Label) -> None:
    """Both are whole and the label's, before anything is done with them."""
    lists = ((backup.LOG, lines.READ, label.log_sha256), (backup.FILES, _LISTING, label.files_sha256))
    for name, formats, sha256 in lists:
        with (folder / name).open("rb") as file:
            reader = sealed.Reader(file, formats)
            for _ in reader:
                pass
            if reader.sha256 != sha256:
                raise Invalid(f"{folder / name} is of another backup than its {backup.LABEL}. Take another backup.")


def _entries(folder: Path) -> Iterator[Entry]:
    with (folder / backup.FILES).open("rb") as file:
        reader = sealed.Reader(file, _LISTING)
        for line in reader:
            try:
                yield files.entry_of(line)
            except ValueError as error:
                raise reader.wrong(str(error)) from error


def _bring_files(folder: Path, storage: Path, label: Label, told: Told) -> None:
    """Out of sight first; in their places once all of them are what they should be. None is a link into the backup,
    which must stay what it is whatever becomes of the system."""
    staging = storage / STAGING
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        reading = Reading(folder / backup.STORAGE, staging)
        for entry in _telling(_entries(folder), label, told):
            if (found := reading.read(entry.path)) != entry:
                what = "is not what was written" if found else "is missing"
                raise Invalid(f"{folder / backup.STORAGE / entry.path} {what}. Take another backup.")
        fsync_folders(staging)
        for place in staging.iterdir():
            place.rename(storage / place.name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    fsync_path(storage)


def _check_files(folder: Path, storage: Path, label: Label, told: Told) -> None:
    """What may have grown after the backup is not looked at, unless the backup has it itself."""
    reading = Reading(storage)
    for entry in _telling(_entries(folder), label, told):
        if (found := reading.read(entry.path)) == entry or not (label.has_files or files.is_settled(entry.path)):
            continue
        what = "is not the backup's" if found else "is missing"
        if label.has_files:
            raise Conflict(
                f"{storage} is not empty (it holds {next(files.walk(storage), None)}), and not what the backup holds: "
                f"{entry.path} {what}. Set STORAGE_DIR to an empty folder."
            )
        raise Conflict(
            f"{storage / entry.path} {what}. The backup was made without files: bring them back first, from wherever "
            "they are kept."
        )


def _telling(entries: Iterator[Entry], label: Label, told: Told) -> Iterator[Entry]:
    done = 0
    for entry in entries:
        yield entry
        done += entry.size
        told("bytes", done, label.size_bytes)
