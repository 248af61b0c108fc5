"""What a replica sees to every minute: answers older than a day go, space is set aside for deletes on a full disk."""

import asyncio
import logging

from actors.log import Log
from domain.errors import GetiActionError

EVERY_S = 60.0

logger = logging.getLogger(__name__)


async def keep_house(log: Log) -> None:
    """Until it is cancelled."""
    while True:
        if not await asyncio.to_thread(log.fill_reserve):
            logger.warning("The disk that holds the database is nearly full: nothing could be set aside for deletes.")
        try:
            await log.forget_old_keys()
        except GetiActionError as error:
            logger.warning("Old answers stay for now: %s", error.detail)
        await asyncio.sleep(EVERY_S)
