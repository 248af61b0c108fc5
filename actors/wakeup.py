"""When the log has grown: PostgreSQL tells it, SQLite is asked, at once where this process has appended itself. What is
new must be read in the log."""

import asyncio
import logging
import sqlite3
from collections.abc import AsyncGenerator
from contextlib import aclosing, closing
from functools import partial
from typing import Any

from sqlalchemy import Engine

from projections import database, tables

CHANNEL = tables.events.name  # on which the recorder notifies, in the append's transaction
POLL_S = 0.02
# A notice that was lost with its connection delays what it told by this much, and no more.
LOOK_S = 15.0
RETRY_S = 1.0

logger = logging.getLogger(__name__)


class Pulse:
    """Cuts a pause short, from any thread."""

    def __init__(self) -> None:
        self._pauses = set[asyncio.Future[None]]()

    def beat(self) -> None:
        for pause in tuple(self._pauses):
            pause.get_loop().call_soon_threadsafe(_end, pause)

    async def pause(self, seconds: float) -> None:
        """Until then, or the next beat."""
        loop = asyncio.get_running_loop()
        pause = loop.create_future()
        timer = loop.call_later(seconds, _end, pause)
        self._pauses.add(pause)
        try:
            await pause
        finally:
            self._pauses.discard(pause)
            timer.cancel()


def _end(pause: asyncio.Future[None]) -> None:
    if not pause.done():
        pause.set_result(None)


async def growth(engine: Engine, pulse: Pulse) -> AsyncGenerator[None, None]:
    """Yields at once, and whenever the log may have grown since; now and then for nothing. While the database does not
    answer it waits. ``pulse`` beats when this process has appended."""
    watch = partial(_polled, pulse=pulse) if engine.dialect.name == "sqlite" else _notified
    while True:
        try:
            async with aclosing(watch(engine)) as moments:
                async for _ in moments:
                    yield
        except engine.dialect.loaded_dbapi.OperationalError as error:
            logger.warning("The log cannot be watched (%s); trying again.", error)
        await asyncio.sleep(RETRY_S)


async def _polled(engine: Engine, pulse: Pulse) -> AsyncGenerator[None, None]:
    """``data_version`` of a connection moves when another one has committed: some microseconds, and no lock."""
    with closing(sqlite3.connect(str(engine.url.database))) as connection:
        seen = None
        while True:
            if (version := connection.execute("PRAGMA data_version").fetchone()) != seen:
                seen = version
                yield
            await pulse.pause(POLL_S)


async def _notified(engine: Engine) -> AsyncGenerator[None, None]:
    import psycopg  # takes a tenth of a second of every start, which SQLite's users need not wait for

    where: dict[str, Any] = dict(engine.dialect.create_connect_args(engine.url)[1])
    where |= database.POSTGRESQL_ARGS
    async with await psycopg.AsyncConnection.connect(**where, autocommit=True) as connection:
        await connection.execute(f"LISTEN {CHANNEL}".encode())
        while True:
            yield
            heard = [notice async for notice in connection.notifies(timeout=LOOK_S, stop_after=1)]
            if not heard:  # nor would it ever hear anything if the other end were gone
                await connection.execute(b"SELECT 1")
