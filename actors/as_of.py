"""The query tables as they were: the same views, folded from the log up to a position, in a database in memory.

One such database a replica, which goes on from where it is when a later position is asked for and begins anew for an
earlier one. Who reads it has it to himself meanwhile.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
            await asyncio.to_thread(self._go_to, position)
            yield self._engine

    @cached_property
    def _engine(self) -> Engine:
        engine = database.in_memory()
        metadata.create_all(engine, tables=TABLES)
        return engine

    def _go_to(self, position: int) -> None:
        with self._engine.begin() as connection:
            if position < self._position:
                self._begin_anew(connection)
            wanted = takewhile(lambda recorded: recorded[0] <= position, self._log.read(after=self._position))
            for batch in batched(wanted, PAGE):
                write(connection, changes_of(batch, VIEWS))
        self._position = position

    def _begin_anew(self, connection: Connection) -> None:
        for table in TABLES:
            connection.execute(table.delete())
        self._position = 0
