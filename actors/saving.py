"""Episodes that have ended, on their way into the dataset: one after the other, while the next one is recorded."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from domain.errors import GetiActionError, Unavailable

if TYPE_CHECKING:
    from actors.capture.report import TakeReport

logger = logging.getLogger(__name__)


class Saving:
    """Used on one asyncio loop. ``save`` makes an episode of a take and raises what hinders it; ``failed`` is told of
    that before anybody else."""

    def __init__(
        self,
        save: "Callable[[UUID, Sequence[TakeReport]], Awaitable[None]]",
        failed: Callable[[UUID, str], Awaitable[None]],
    ) -> None:
        self._save, self._failed = save, failed
        self._turn = asyncio.Lock()
        self._going_on: dict[UUID, asyncio.Task[None]] = {}

    def __bool__(self) -> bool:
        return bool(self._going_on)

    def begin(self, episode_id: UUID, reports: "Sequence[TakeReport]" = ()) -> None:
        """Save it in the background, unless that is going on."""
        if episode_id in self._going_on:
            return
        task = asyncio.create_task(self._in_turn(episode_id, reports))
        self._going_on[episode_id] = task
        task.add_done_callback(lambda _: self._going_on.pop(episode_id))
        task.add_done_callback(asyncio.Task.exception)  # nobody may wait for it

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
                detail = (
                    f"Saving failed: {type(error).__name__}. Keep or discard the episode; the server's log says more."
                )
                await self._failed(episode_id, detail)
                raise Unavailable(detail) from error
