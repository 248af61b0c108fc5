"""The owner of an operation: does its work, says how far it is, and truly how it ended.

After a crash the log still says that the operation runs: the next process begins the work again, which finds done what
the one before it had finished.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

from actors.entity import ATTEMPTS, Entity
from actors.log import VersionConflict, now
from actors.publishing import try_to_publish
from domain.dataset import Dataset
from domain.episode import EpisodeFacts
from domain.errors import GetiActionError, Unavailable
from domain.operation import NewDataset, Operation, OperationKind
from settings import settings

POLITE = 10
"""The niceness of the work: what is being recorded goes first."""

logger = logging.getLogger(__name__)


class OperationActor(Entity[Operation]):
    """The work runs in threads; how far it is can be asked meanwhile."""

    aggregate_type: ClassVar = Operation

    def __init__(self, id: str) -> None:
        super().__init__(id)
        self._progress, self._message = 0, ""

    async def wake(self) -> None:
        """Work until the operation has ended, then stop this process."""
        await super().wake()
        os.nice(POLITE)
        if not self.aggregate.ended:
            await self._work()
        self.leave()

    async def progress(self) -> dict[str, Any]:
        """{progress (percent), message}."""
        return {"progress": self._progress, "message": self._message}

    async def _work(self) -> None:
        if self.aggregate.is_hopeless:
            await self._fail(f"Its process was lost {self.aggregate.attempt} times; the server's log may say why.")
            return
        await self.decide(lambda operation: operation.start(self.run, self.node, now()))
        try:
            await self._carry_out()
        except GetiActionError as error:
            await self._fail(error.detail)
        except Exception as error:
            logger.exception("%r failed", self)
            await self._fail(f"{type(error).__name__}: {error}"[:2000])

    async def _carry_out(self) -> None:
        match self.aggregate.type:
            case OperationKind.VERIFY:
                await self._verify()
            case OperationKind.REPAIR:
                await self._repair()
            case OperationKind.MERGE | OperationKind.SPLIT:
                await self._make()

    async def _fail(self, reason: str) -> None:
        await asyncio.to_thread(self._tidy)
        await self.decide(lambda operation: operation.fail(reason, now()))

    def _tidy(self) -> None:
        """What was made and came into no dataset goes again."""
        from actors.curating import remove, remove_unknown

        remove(settings().datasets_dir, [new.dataset_id for new in self.aggregate.new if not self._is_known(new)])
        if self.aggregate.type is OperationKind.REPAIR:
            remove_unknown(settings().datasets_dir, self._dataset, self.id)

    def _tell(self, message: str, done: int, total: int) -> None:
        self._message, self._progress = message, min(99, 100 * done // max(1, total))

    async def _verify(self) -> None:
        from actors.curating import verified

        found = await asyncio.to_thread(verified, settings().datasets_dir, self._dataset, self._tell)
        await self.decide(lambda operation: operation.complete(found.result, now()))

    # repair

    async def _repair(self) -> None:
        """The log learns of what was changed and of what is to be said of it at once; then a new version shows it."""
        if self.aggregate.applied is None:
            await self._apply_repair()
        dataset, result = self._dataset, self.aggregate.applied or {}
        await asyncio.to_thread(try_to_publish, settings().datasets_dir, dataset)
        await self.decide(lambda operation: operation.complete(result, now()))

    async def _apply_repair(self) -> None:
        from actors.curating import repair_result, salvaged, verified

        datasets = settings().datasets_dir
        found = await asyncio.to_thread(verified, datasets, self._dataset, self._tell)
        kept = await asyncio.to_thread(salvaged, datasets, found, self.id, self._tell)
        result = repair_result(found, kept)
        if found.is_whole:
            await self.decide(lambda operation: operation.apply_change(result, now()))
        else:
            await self._note_repair(kept, result)

    async def _note_repair(self, kept: Mapping[UUID, EpisodeFacts | None], result: dict[str, Any]) -> None:
        for _ in range(ATTEMPTS):
            dataset = self._dataset
            dataset.repair(kept, now())
            told = result | {"version": dataset.content_version}
            try:
                await self.decide(lambda operation, told=told: operation.apply_change(told, now()), dataset)  # type: ignore[misc]
            except VersionConflict:
                await self.refresh()
                continue
            return
        raise Unavailable("The dataset is changed too often; repair it again.")

    # merge and split

    async def _make(self) -> None:
        """The files of all new datasets come first; then one append makes that they exist."""
        from actors.curating import make

        sources = [self.log.load(Dataset, id) for id in self.aggregate.dataset_ids]
        made = [Dataset.gathered(new.dataset_id, new.name, new.episodes, sources, now()) for new in self.aggregate.new]
        for dataset, new in zip(made, self.aggregate.new, strict=True):
            await asyncio.to_thread(make, settings().datasets_dir, dataset, new.episodes, self._tell)
        result = {"datasets": [_shown(dataset) for dataset in made]}
        await self.decide(lambda operation: operation.complete(result, now()), *made)

    def _is_known(self, new: NewDataset) -> bool:
        return bool(self.log.stream(new.dataset_id))

    @property
    def _dataset(self) -> Dataset:
        """The first of its datasets, as it is now."""
        return self.log.load(Dataset, self.aggregate.dataset_ids[0])


def _shown(dataset: Dataset) -> dict[str, Any]:
    rows = sum(episode.rows for episode in dataset.episodes)
    return {"dataset_id": str(dataset.id), "name": dataset.name, "episodes": len(dataset.episodes), "frames": rows}
