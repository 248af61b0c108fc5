"""Episodes that have ended, on their way into the dataset: one after the other, while the next one is recorded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from actors.entity import ATTEMPTS, Entity
from actors.log import VersionConflict, now
from actors.publishing import publish_newest
from actors.takes import Takes
from domain.dataset import Dataset
from domain.episode import EpisodeFacts
from domain.errors import GetiActionError, Unavailable
from domain.recording import Recording
from settings import settings

if TYPE_CHECKING:
    from actors.capture.report import TakeReport

logger = logging.getLogger(__name__)


class Saving:
    """Those of the session that ``owner`` owns. ``failed`` is told what could not be saved, and why, before anybody who
    waits for it. Used on one asyncio loop."""

    def __init__(self, owner: Entity[Recording], takes: Takes, failed: Callable[[UUID, str], Awaitable[None]]) -> None:
        self._owner, self._takes, self._failed = owner, takes, failed
        self._turn = asyncio.Lock()
        self._going_on: dict[UUID, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._going_on)

    def begin(self, episode_id: UUID, reports: "Sequence[TakeReport]" = ()) -> None:
        """Save it in the background, unless that is going on. Without the reports of all its parts it is one that was
        interrupted."""
        if episode_id in self._going_on:
            return
        task = asyncio.create_task(self._in_turn(episode_id, reports))
        self._going_on[episode_id] = task
        task.add_done_callback(lambda _: self._going_on.pop(episode_id))
        task.add_done_callback(asyncio.Task.exception)  # nobody may wait for it

    def begin_all(self) -> None:
        """Also what this process, or the one before it, could neither save nor note as interrupted."""
        for episode_id in self._owner.aggregate.takes.saving:
            self.begin(episode_id)

    async def done(self, episode_id: UUID) -> None:
        """Returns once it is saved; at once when it is not being saved. Raises what hindered it."""
        if (task := self._going_on.get(episode_id)) is not None:
            await asyncio.shield(task)

    async def all_done(self) -> None:
        """Returns once nothing is being saved, however each ended."""
        while self._going_on:
            await asyncio.wait(self._going_on.values())

    async def _in_turn(self, episode_id: UUID, reports: "Sequence[TakeReport]") -> None:
        async with self._turn:
            try:
                await self._save(episode_id, reports)
            except GetiActionError as error:
                await self._failed(episode_id, error.detail)
                raise
            except Exception as error:
                logger.exception("episode %s could not be saved", episode_id)
                detail = f"Saving failed ({type(error).__name__}; the log says more): keep or discard the episode."
                await self._failed(episode_id, detail)
                raise Unavailable(detail) from error

    async def _save(self, episode_id: UUID, reports: "Sequence[TakeReport]") -> None:
        """The take becomes an immutable episode, the log learns of it, and a new version shows it."""
        take = self._owner.aggregate.takes.saving[episode_id]
        facts = await self._takes.seal(episode_id, take.label, reports, take.rows)
        dataset = await self._add_to_dataset(facts)
        await asyncio.to_thread(publish_newest, settings().datasets_dir, dataset)

    async def _add_to_dataset(self, facts: EpisodeFacts) -> Dataset:
        owner = self._owner
        assert owner.aggregate.dataset_id is not None
        for _ in range(ATTEMPTS):
            dataset = owner.log.load(Dataset, owner.aggregate.dataset_id)
            index = dataset.add_episode(facts, now())
            try:
                await owner.decide(lambda recording, index=index: recording.saved_as(facts, index, now()), dataset)  # type: ignore[misc]
            except VersionConflict:
                await owner.refresh()
                continue
            return dataset
        raise Unavailable("The dataset is changed too often; save again.")
