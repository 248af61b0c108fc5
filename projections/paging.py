"""Lists, whole or a page at a time. A cursor is the place of the last row that was shown, in the list's own order, so
rows that come or go meanwhile make no other row be skipped or shown twice."""

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select, tuple_

from domain.errors import Invalid
from projections.changes import Row
from projections.statements import Query

MAX_LIMIT = 1000
MAX_CURSOR = 500
SUM_BYTES = 8

Place = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """At most ``limit`` rows behind ``cursor`` (None: from the first)."""

    limit: int
    cursor: str | None = None


class Rows(list[Row]):
    """Rows of a list that has ``total`` in all; ``cursor`` is where the next page starts, None behind the last row."""

    def __init__(self, rows: Iterable[Row], total: int, cursor: str | None = None) -> None:
        super().__init__(rows)
        self.total = total
        self.cursor = cursor

    def shaped(self, shape: Callable[[Row], Row]) -> "Rows":
        return Rows(map(shape, self), self.total, self.cursor)


class Listing:
    """The rows of a SELECT in an order that no two of them share; ``first`` is a place before them all."""

    def __init__(self, chosen: Select[Any], order: Sequence[ColumnElement[Any]], first: Place) -> None:
        self._first = first
        self._seal = hashlib.sha256(str(chosen).encode()).digest()
        self._places = [f"place_{number}" for number in range(len(order))]
        after = (bindparam(_after(place), type_=column.type) for place, column in zip(self._places, order, strict=True))
        placed = chosen.add_columns(*(column.label(name) for name, column in zip(self._places, order, strict=True)))
        behind = placed.where(tuple_(*order) > tuple_(*after)).order_by(*order)
        self._all = Query(chosen.order_by(*order))
        self._page = Query(behind.limit(bindparam("limit_")))
        self._count = Query(select(func.count().label("total")).select_from(chosen.subquery()))

    def rows(self, connection: Connection, page: Page | None = None, **parameters: Any) -> Rows:
        """All rows or a page of them. Raises Invalid for a cursor that no page of such a list has given."""
        if page is None:
            rows = self._all.rows(connection, **parameters)
            return Rows(rows, len(rows))
        seal = self._seal + repr(sorted(parameters.items())).encode()
        after = self._first if page.cursor is None else self._place(page.cursor, seal)
        behind = {_after(name): value for name, value in zip(self._places, after, strict=True)}
        found = self._page.rows(connection, limit_=page.limit + 1, **behind, **parameters)
        places = [tuple([row.pop(name) for name in self._places]) for row in found]
        more = len(found) > page.limit
        total = self._count.rows(connection, **parameters)[0]["total"]
        return Rows(found[: page.limit], total, _cursor(places[page.limit - 1], seal) if more else None)

    def _place(self, cursor: str, seal: bytes) -> Place:
        try:
            read = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
            text = read[SUM_BYTES:]
            place = orjson.loads(text) if read.startswith(_sum(text, seal)) else None
        except (binascii.Error, ValueError):
            place = None
        if not isinstance(place, list) or len(place) != len(self._first) or not all(map(_is_like, place, self._first)):
            raise Invalid("This cursor is not one of this list; take it from the Link header of the page before.")
        return tuple(place)


def _cursor(place: Place, seal: bytes) -> str:
    text = orjson.dumps(place)
    return base64.urlsafe_b64encode(_sum(text, seal) + text).decode().rstrip("=")


def _sum(text: bytes, seal: bytes) -> bytes:
    """Tells a cursor of this list, and of what was asked of it, from another's and a mistyped one. It gives no rights,
    so it is no secret."""
    return hashlib.sha256(seal + text).digest()[:SUM_BYTES]


def _after(place: str) -> str:
    return f"after_{place}"


def _is_like(value: Any, like: str | int) -> bool:
    """Whether a database can compare it with a column that holds such values."""
    match value:
        case bool():
            return False
        case int():
            return isinstance(like, int) and -(2**63) <= value < 2**63
        case str():
            return isinstance(like, str) and "\0" not in value
        case _:
            return False
