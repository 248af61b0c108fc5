"""The files of a storage root: which there are, and what a manifest says of each.

What is passed by: names that begin with a dot or end in ``.partial`` (half-made or half-deleted), ``cache`` (made again
when it is needed) and ``backups``. A symbolic link is kept as such; at the top it is followed, since it then leads to
another disk.
"""

import hashlib
import re
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

import orjson

BACKUPS = "backups"
PASSED_BY = frozenset({BACKUPS, "cache"})
_SETTLED = re.compile(r"datasets/[^/]+/(episodes|versions)/[^/]+/.|models/[^/]+/.")


class Entry(NamedTuple):
    """A file by its path relative to the root, with size in bytes and sha256; or a link and where it leads."""

    path: str
    size: int = 0
    sha256: str = ""
    link: str | None = None

    def line(self) -> bytes:
        known = {"link": self.link} if self.link is not None else {"size": self.size, "sha256": self.sha256}
        return orjson.dumps({"path": self.path, **known}) + b"\n"


def is_settled(path: str) -> bool:
    """Whether nobody ever writes to this file again: it is of an episode, of a version or of a model."""
    return _SETTLED.match(path) is not None


def entry_of(line: bytes) -> Entry:
    """What ``Entry.line`` wrote. Raises ValueError for anything else, and for a path that leads out of the root."""
    known = orjson.loads(line)
    try:
        entry = Entry(**known)
    except TypeError as error:
        raise ValueError("is not of a file") from error
    for path in (entry.path, entry.link or "."):
        if not is_inside(path):
            raise ValueError(f"names {path!r}, which is not inside a storage root")
    return entry


def is_inside(path: str) -> bool:
    """Whether a relative path stays in the folder it is relative to."""
    return bool(path) and not path.startswith("/") and ".." not in path.split("/")


def walk(root: Path) -> Iterator[str]:
    """The paths of all files and links that count, folder by folder in the order of their names; takes first, since
    they become episodes while one looks: so none is missed."""
    for place in _in_order(root):
        if place.name not in PASSED_BY:
            yield from _walk(place.resolve() if place.is_symlink() else place, place.name)


def _walk(place: Path, path: str) -> Iterator[str]:
    if place.is_dir() and not place.is_symlink():
        for inner in _in_order(place):
            yield from _walk(inner, f"{path}/{inner.name}")
    elif place.is_symlink() or place.is_file():
        yield path


def _in_order(folder: Path) -> list[Path]:
    try:
        counts = [place for place in folder.iterdir() if not place.name.startswith(".") and place.suffix != ".partial"]
    except FileNotFoundError:  # somebody was faster
        return []
    return sorted(counts, key=lambda place: (place.name != "takes", place.name))


def digest(file: BufferedReader) -> tuple[int, str]:
    """How many bytes a file holds, and their sha256."""
    found = hashlib.file_digest(file, "sha256").hexdigest()
    return file.tell(), found
