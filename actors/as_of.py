"""The query tables as they were: the same views, folded from the log up to a position, in a database in memory.

One such database a replica, which goes on from where it is when a later position is asked for and begins anew for an
earlier one. Who reads it has it to himself meanwhile.
"""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import cached_property
from itertools import batched, takewhile

from sqlalchemy import Connection, Engine

from actors.log import PAGE, Log
from domain.errors import Invalid
from projections import database
from projections.bulk import write
from projections.fold import changes_of
from projections.tables import metadata
from projections.views import VIEWS

TABLES = [table for view in VIEWS.values() for table in view.tables]


class Past:
    """Gives an engine whose tables show the system at a position of its log."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._position = 0
        self._reading = asyncio.Lock()

    @asynccontextmanager
    async def at(self, position: int) -> AsyncIterator[Engine]:
        """For one ``with``. Raises Invalid for a position that the log has not reached."""
        newest = self._log.position()
        if not 0 <= position <= newest:
            raise Invalid(f"The log is at position {newest}; ask for one from 0 to that.", code="unknown_position")
        async with self._reading:
            await self._gone_to(position)
            yield self._engine

    @cached_property
    def _engine(self) -> Engine:
        engine = database.in_memory()
        metadata.create_all(engine, tables=TABLES)
        return engine

    async def _gone_to(self, position: int) -> None:
        """A caller that is cancelled (its client hung up) stays until the thread has let go of the database: the next
        one would fold into the same tables beside it."""
        nobody_waits = threading.Event()
        going = asyncio.ensure_future(asyncio.to_thread(self._go_to, position, nobody_waits))
        try:
            await asyncio.shield(going)
        except asyncio.CancelledError:
            nobody_waits.set()
            while not going.done():
                with suppress(asyncio.CancelledError):
                    await asyncio.wait({going})
            raise

    def _go_to(self, position: int, nobody_waits: threading.Event) -> None:
        """Where that fails or ends early, the tables are at some position all the same, which is noted."""
        with self._engine.begin() as connection:
            reached = self._position if self._position <= position else _begin_anew(connection)
            wanted = takewhile(lambda recorded: recorded[0] <= position, self._log.read(after=reached))
            for batch in batched(wanted, PAGE):
                if nobody_waits.is_set():
                    break
                write(connection, changes_of(batch, VIEWS))
                reached = batch[-1][0]
        self._position = reached


def _begin_anew(connection: Connection) -> int:
    for table in TABLES:
        connection.execute(table.delete())
    return 0
