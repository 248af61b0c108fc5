"""The files of a dataset as a recording session uses them: its takes, and the episodes that they become.

What reads and writes them takes long to import, so ``warm_up`` loads it while devices open. Every method does its work
off the event loop.
"""

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from domain.episode import EpisodeFacts
from domain.errors import NotFound
from domain.takes import Label

if TYPE_CHECKING:
    from actors.capture.manifest import EpisodeMeta
    from actors.capture.report import TakeReport


def warm_up() -> None:
    from actors.capture import episode, manifest, tables  # noqa: F401

    tables.warm_up()


class Takes:
    """Those of one dataset, in its folder. Methods raise what ``actors.capture.episode`` raises."""

    def __init__(self, dataset_folder: Path) -> None:
        self._dataset_folder = dataset_folder

    async def open(self, meta: "EpisodeMeta") -> str:
        """The folder that the parts of a take write into."""
        from actors.capture.episode import open_take

        return str(await asyncio.to_thread(open_take, self._dataset_folder, meta))

    async def has(self, episode_id: UUID) -> bool:
        """Whether there is a take of this id that has neither become an episode nor been discarded."""
        return await asyncio.to_thread(self._folder(episode_id).exists)

    async def size_bytes(self, episode_id: UUID) -> int:
        """What a take has written so far."""
        return await asyncio.to_thread(_size, self._folder(episode_id))

    async def whole_rows(self, episode_id: UUID) -> int:
        """How many rows of a take are whole, also when it is an episode already; 0 when it never came to files."""
        return await asyncio.to_thread(self._whole_rows, episode_id)

    def _whole_rows(self, episode_id: UUID) -> int:
        from actors.capture.episode import episode_folder, salvage
        from actors.capture.manifest import read_manifest

        sealed = episode_folder(self._dataset_folder, episode_id)
        try:
            return read_manifest(sealed).rows if sealed.exists() else salvage(self._folder(episode_id))
        except NotFound:
            return 0

    async def seal(
        self, episode_id: UUID, label: Label, reports: "Sequence[TakeReport]", rows: int | None
    ) -> EpisodeFacts:
        """The take becomes an immutable episode, with what the operator said of it. Repeatable."""
        return await asyncio.to_thread(self._seal, episode_id, label, reports, rows)

    def _seal(self, episode_id: UUID, label: Label, reports: "Sequence[TakeReport]", rows: int | None) -> EpisodeFacts:
        from actors.capture.episode import episode_folder, read_meta, seal
        from actors.capture.manifest import read_manifest

        sealed = episode_folder(self._dataset_folder, episode_id)
        noted = read_manifest(sealed).meta if sealed.exists() else read_meta(self._folder(episode_id))
        return seal(self._folder(episode_id), noted.model_copy(update=label.model_dump()), reports, rows)

    async def discard(self, episode_id: UUID) -> None:
        """Repeatable."""
        from actors.capture.episode import discard

        await asyncio.to_thread(discard, self._folder(episode_id))

    async def facts(self, episode_id: UUID) -> EpisodeFacts:
        """Of a sealed episode."""
        from actors.capture.episode import episode_folder
        from actors.capture.manifest import read_facts

        return await asyncio.to_thread(read_facts, episode_folder(self._dataset_folder, episode_id))

    async def refuse_misfit(
        self, episode_id: UUID, sizes: Mapping[str, tuple[int, int]], joint_names: Sequence[str]
    ) -> None:
        """Raises Conflict when rows of these cameras (width, height by key) and joints cannot stand beside those of
        this episode."""
        await asyncio.to_thread(self._refuse_misfit, episode_id, sizes, joint_names)

    def _refuse_misfit(
        self, episode_id: UUID, sizes: Mapping[str, tuple[int, int]], joint_names: Sequence[str]
    ) -> None:
        from actors.capture.episode import episode_folder
        from actors.capture.manifest import read_manifest, refuse_misfit

        refuse_misfit(read_manifest(episode_folder(self._dataset_folder, episode_id)), sizes, joint_names)

    def _folder(self, episode_id: UUID) -> Path:
        return self._dataset_folder / "takes" / str(episode_id)


def _size(folder: Path) -> int:
    """0 of one that has just become an episode, or was discarded."""
    with suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return 0
