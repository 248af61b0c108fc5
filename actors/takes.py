"""The files of a session's open take, read off the event loop. What writes episodes takes long to import, so it is
loaded when a take is first asked for."""

from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from domain.errors import NotFound

if TYPE_CHECKING:
    from actors.capture.manifest import EpisodeMeta


def warm_up() -> None:
    """Load, while the devices open, what episodes are written with."""
    from actors.capture import episode, manifest, tables  # noqa: F401

    tables.warm_up()


def noted_meta(take_folder: Path) -> "EpisodeMeta":
    """What was noted of an episode when it began, whether it was sealed meanwhile or not."""
    from actors.capture.episode import episode_folder, read_meta
    from actors.capture.manifest import read_manifest

    sealed = episode_folder(take_folder.parent.parent, UUID(take_folder.name))
    return read_manifest(sealed).meta if sealed.exists() else read_meta(take_folder)


def whole_rows(take_folder: Path) -> int:
    """How many rows of a take are whole; 0 when it never came to files."""
    from actors.capture.episode import salvage

    try:
        return salvage(take_folder)
    except NotFound:
        return 0
