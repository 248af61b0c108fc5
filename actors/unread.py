"""The events of the log that a process has met and could not read: remembered until they are whole again, or gone."""

from datetime import UTC, datetime
from typing import Any, NamedTuple

from sqlalchemy import Engine, Row, select

from actors import codec
from actors.codec import Gap, Unreadable
from projections.tables import events

MOST = 100


class Met(NamedTuple):
    """What was found, in which words, and when first; ``row`` is the whole row as it was then."""

    error: Unreadable
    since: datetime
    row: Row[Any] | None


class Unread:
    """Bounded: who has so many has one problem. Not for several threads at once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._met: dict[int, Met] = {}

    def note(self, error: Unreadable) -> None:
        """Somebody has met one."""
        position = error.extra["position"]
        if position not in self._met and len(self._met) < MOST:
            self._met[position] = Met(error, datetime.now(UTC), self._row(position))

    def still(self) -> dict[int, Met]:
        """Those that are so until now, by their positions. Looks at each again."""
        self._met = {position: met for position, met in self._met.items() if self._is_still(position, met)}
        return self._met

    def _is_still(self, position: int, met: Met) -> bool:
        """A row that is as it was has not been mended, even if nothing is wrong with it by itself."""
        row = self._row(position)
        if row is not None and isinstance(met.error, Gap):
            return not self._has_one_before(row)
        if row is None or row == met.row:
            return row is not None
        try:
            codec.decode(*row)
        except Unreadable:
            return True
        return False

    def _has_one_before(self, row: Row[Any]) -> bool:
        """Whether what came before it in its aggregate is back."""
        is_it = events.c.originator_id == row.originator_id, events.c.originator_version == row.originator_version - 1
        with self._engine.connect() as connection:
            return connection.execute(select(events.c.id).where(*is_it)).first() is not None

    def _row(self, position: int) -> Row[Any] | None:
        with self._engine.connect() as connection:
            return connection.execute(select(events).where(events.c.id == position)).first()
