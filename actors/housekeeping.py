"""What a replica sees to: at its start, datasets whose newest version a crash has left unmade; every minute, answers
older than a day, which go, and space set aside for deletes on a full disk."""

import asyncio
import logging
from pathlib import Path

from actors.log import Log
from actors.publishing import catch_up
from domain.errors import GetiActionError

EVERY_S = 60.0

logger = logging.getLogger(__name__)


async def keep_house(log: Log, datasets: Path) -> None:
    """Until it is cancelled. ``datasets`` is the folder of all, in which a crash may have left one behind its log."""
    await asyncio.to_thread(catch_up, log, datasets)
    while True:
        try:
            await _clear_up(log)
        except GetiActionError as error:
            logger.warning("Old answers stay for now: %s", error.detail)
        except Exception:  # it is tried again, however it failed: nobody else would
            logger.exception("What a replica sees to could not be done")
        await asyncio.sleep(EVERY_S)


async def _clear_up(log: Log) -> None:
    if not await asyncio.to_thread(log.fill_reserve):
        logger.warning("The disk that holds the database is nearly full: nothing could be set aside for deletes.")
    await log.forget_old_keys()
