"""Space given back: the folders of purged episodes, and of older versions that nobody needs.

A video has a name in its episode's folder and one in each version that shows it. Its bytes are free once the last of
them is gone."""

import fcntl
import os
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from stat import S_ISLNK
from uuid import UUID

from actors.capture.durable import exclusive, fsync_path, storage_errors
from actors.capture.episode import HIDDEN, LOCK_FILE, episode_folder
from actors.capture.lerobot_v3 import current_version
from actors.capture.reader import versions

GOING = ".purged"


@dataclass(slots=True)
class Freed:
    """What went, and the versions that are just being sent to somebody and stay for now."""

    versions: list[int] = field(default_factory=list)
    being_sent: list[int] = field(default_factory=list)
    size_bytes: int = 0


def purge(dataset_folder: Path, episodes: Iterable[UUID], kept_versions: Collection[int]) -> Freed:
    """Remove these episodes and every version but the newest and ``kept_versions``. Each is out of sight at once, and
    what a crash has left of one goes the next time. Repeatable. Raises Unavailable."""
    freed = Freed()
    if not dataset_folder.is_dir():
        return freed
    with storage_errors("free the space"), exclusive(dataset_folder / LOCK_FILE):
        newest = current_version(dataset_folder) or 0
        for number in versions(dataset_folder):
            if number < newest and number not in kept_versions:
                place = dataset_folder / "versions" / str(number)
                if _is_sent(place):
                    freed.being_sent.append(number)
                else:
                    put_out_of_sight(place)
                    freed.versions.append(number)
        for id in episodes:
            if (place := episode_folder(dataset_folder, id)).exists():
                put_out_of_sight(place)
        freed.size_bytes = sum(remove_purged(dataset_folder / folder) for folder in ("versions", "episodes"))
    return freed


def remove(place: Path) -> int:
    """Remove a folder; how many bytes that frees: of a file with another name elsewhere, none."""
    freed = 0
    for folder, _, names in place.walk():
        for name in names:
            stat = (folder / name).lstat()
            freed += stat.st_size if stat.st_nlink == 1 and not S_ISLNK(stat.st_mode) else 0
            (folder / name).unlink()
    shutil.rmtree(place)
    return freed


def remove_purged(folder: Path) -> int:
    """Remove what was put out of sight in this folder, now or before a crash; how many bytes that frees."""
    return sum(remove(gone) for gone in folder.glob(f"{HIDDEN}*{GOING}"))


def would_free(place: Path) -> int:
    """How many bytes removing a folder frees: those of files all of whose names are in it."""
    names, sizes, links = Counter[int](), dict[int, int](), dict[int, int]()
    for path in place.rglob("*"):
        if path.is_file() and not path.is_symlink():
            stat = path.stat()
            names[stat.st_ino] += 1
            sizes[stat.st_ino], links[stat.st_ino] = stat.st_size, stat.st_nlink
    return sum(sizes[inode] for inode, count in names.items() if count == links[inode])


@contextmanager
def being_sent(version_folder: Path) -> Iterator[None]:
    """For one ``with``, the version stays, for its files are opened one after the other."""
    descriptor = os.open(version_folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system that locks no folders
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        yield
    finally:
        os.close(descriptor)


def _is_sent(version_folder: Path) -> bool:
    descriptor = os.open(version_folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system that locks no folders
        return False
    finally:
        os.close(descriptor)
    return False


def put_out_of_sight(place: Path) -> None:
    """At once and whole: half of it must not pass for all. ``remove_purged`` does the rest."""
    place.rename(place.with_name(f"{HIDDEN}{place.name}{GOING}"))
    fsync_path(place.parent)
