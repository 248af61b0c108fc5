"""The owner of an operation: does its work, says how far it is, and truly how it ended.

After a crash the log still says that the operation runs: the next process begins the work again, which finds done what
the one before it had finished.
"""

import asyncio
import logging
import os
from typing import Any, ClassVar

from actors.entity import Entity
from actors.log import now
from domain.dataset import Dataset
from domain.errors import GetiActionError
from domain.operation import Operation, OperationKind
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

    async def _fail(self, reason: str) -> None:
        await self.decide(lambda operation: operation.fail(reason, now()))

    def _tell(self, message: str, done: int, total: int) -> None:
        self._message, self._progress = message, min(99, 100 * done // max(1, total))

    async def _verify(self) -> None:
        from actors.curating import verified

        dataset = self.log.load(Dataset, self.aggregate.dataset_ids[0])
        found = await asyncio.to_thread(verified, settings().datasets_dir, dataset, self._tell)
        await self.decide(lambda operation: operation.complete(found.result, now()))
