"""A dataset's version as a zip that is made while it is sent."""

from collections.abc import Iterator
from pathlib import Path

from zipstream import ZipStream

CHUNK_BYTES = 1 << 20


def archive(version_folder: Path) -> ZipStream:
    """All files of a version, to be unzipped into a folder that LeRobot opens. Stored as they are: videos do not
    shrink, and its length is known before any file is read. The same version is always the same bytes."""
    made = ZipStream(sized=True)
    for folder, folders, names in version_folder.walk():
        folders.sort()
        for path in sorted(folder / name for name in names):
            if not path.is_symlink():
                made.add_path(path, str(path.relative_to(version_folder)))
    return made


def chunks(archive: ZipStream) -> Iterator[bytes]:
    """Its bytes, in pieces of about ``CHUNK_BYTES``: what is on its way to a client at once."""
    held = bytearray()
    for part in archive:
        held += part
        if len(held) >= CHUNK_BYTES:
            yield bytes(held)
            held.clear()
    yield bytes(held)
