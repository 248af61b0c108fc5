"""Reads the files of a storage root, each once however many names it has, and may leave a second copy of them."""

import os
from pathlib import Path
from typing import NamedTuple

from actors.capture.durable import copy, link_or_copy
from actors.care.files import Entry, digest, is_settled
from domain.errors import Invalid


class _Known(NamedTuple):
    """A file that was read and has more names; where its first copy is."""

    size: int
    sha256: str
    copy: Path | None


class Reading:
    """With ``copies`` each file that is read is there afterwards too, at the same path: a copy; or, with ``may_link``
    and of a settled file, a hard link where the file system can. Names of one file stay names of one file."""

    def __init__(self, root: Path, copies: Path | None = None, *, may_link: bool = False) -> None:
        self._root, self._copies, self._may_link = root, copies, may_link
        self._known: dict[tuple[int, int], _Known] = {}

    def read(self, path: str) -> Entry | None:
        """What a file holds or where a link leads; None when it is gone meanwhile. Raises OSError, and Invalid for a
        name that cannot be written down."""
        if not _is_text(path):
            raise Invalid(f"A file of the storage root has a name that is no text: {os.fsencode(path)!r}. Rename it.")
        place = self._root / path
        try:
            if place.is_symlink():
                return self._link(place, path)
            stat = place.stat()
        except FileNotFoundError:
            return None
        identity = (stat.st_dev, stat.st_ino)
        known = self._known.get(identity)
        if known is not None and known.copy is not None:
            link_or_copy(known.copy, self._target(path))
        if known is None:
            known = self._first(place, path)
            if known is None:
                return None
            if stat.st_nlink > 1:
                self._known[identity] = known
        return Entry(path, known.size, known.sha256)

    def _first(self, place: Path, path: str) -> _Known | None:
        """The copy is what is read, since the file may have grown since."""
        target = None
        try:
            if self._copies is not None:
                target = self._target(path)
                (link_or_copy if self._may_link and is_settled(path) else copy)(place, target)
            with (target or place).open("rb") as file:
                return _Known(*digest(file), target)
        except FileNotFoundError:
            if place.exists():
                raise
            return None

    def _link(self, place: Path, path: str) -> Entry:
        leads_to = os.readlink(place)  # noqa: PTH115 - as it is written there
        if self._copies is not None:
            target = self._target(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(leads_to)
        return Entry(path, link=leads_to)

    def _target(self, path: str) -> Path:
        assert self._copies is not None
        return self._copies / path


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True
