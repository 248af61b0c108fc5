"""The answers to Idempotency-Keys: kept in the transaction that does what was asked, repeated for a day.

A command that takes long (open a session, save a take) holds its key while it is carried out, for a few seconds at a
time: a repetition waits for the answer, and takes the key over when nobody holds it any more, for then the process that
carried the command out is gone. Such commands can be repeated: they name what they make.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Text, bindparam, cast, delete, exists, select, tuple_

from domain.errors import DatabaseDamaged, KeyReused, Unavailable
from projections import statements
from projections.statements import Query, Row
from projections.tables import events, rfc3339
from projections.tables import idempotency as table

_KNOWN = Query(select(table).where(table.c.scope == bindparam("scope"), table.c.key == bindparam("key")))
_PAGE = 1000
_EACH = (
    select(*(column for column in table.c if column.name != "answer"))
    .add_columns(cast(table.c.answer, Text).label("answer"))  # one that is no JSON would hide all others
    .order_by(table.c.scope, table.c.key)
    .limit(_PAGE)
)
Connect = Callable[[], AbstractContextManager[Connection]]
HOLD = timedelta(seconds=10)
KEPT = timedelta(hours=24)


class InProgress(Unavailable):
    """The first request with this key is still being carried out."""

    code = "in_progress"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with, and every repetition of it: HTTP status, body, aggregate version, position."""

    status: int
    body: Any
    version: int
    position: int


@dataclass(frozen=True, slots=True)
class Held:
    """A key that is kept for who carries its command out, ``since`` it came first: the same for all that take it over,
    and another once it was refused or forgotten. RFC 3339."""

    since: str


@dataclass(frozen=True, slots=True)
class Once:
    """An Idempotency-Key within its scope. ``render`` makes the answer's body inside the transaction, of the version
    that the command has led to."""

    scope: str
    key: str
    body_sha256: str
    status: int
    render: Callable[[Connection, int], Any]


class Given(BaseModel):
    """What was answered: the aggregate's version and the body."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")
    version: int
    body: Any


class Kept(BaseModel):
    """A key with its answer, as it moves from one database to another."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    scope: str
    key: str
    body_sha256: str
    status: int
    answer: Given
    created_at: AwareDatetime
    position: int = Field(ge=0)


def find(connection: Connection, scope: str, key: str, body_sha256: str) -> Answer | None:
    """The answer given before. Raises KeyReused when the key came with another body, InProgress while it is held."""
    row = _row(connection, scope, key, body_sha256)
    return None if row is None else _answer(row)


def given(connection: Connection, once: Once) -> Answer | None:
    """The answer given before, whoever holds the key. Raises KeyReused."""
    row = _row(connection, once.scope, once.key, once.body_sha256)
    return None if row is None or row["status"] is None else _answer(row)


def hold(connection: Connection, scope: str, key: str, body_sha256: str) -> Answer | Held:
    """Keep the key from others for a while, unless there is an answer. Raises what ``find`` raises."""
    row, at = _row(connection, scope, key, body_sha256), _now()
    if row is not None and (answer := _answer(row)) is not None:
        return answer
    since = row["created_at"] if row else rfc3339(at)
    _put(connection, scope, key, body_sha256, since, held_until=rfc3339(at + HOLD))
    return Held(since)


def renew(connection: Connection, scope: str, key: str) -> None:
    """Whoever holds the key is still at it."""
    held = (table.c.scope == scope, table.c.key == key, table.c.status.is_(None))
    connection.execute(table.update().where(*held).values(held_until=_now() + HOLD))


def leave(connection: Connection, scope: str, key: str) -> None:
    """Nobody can say whether the command was carried out: whoever repeats it takes the key over at once."""
    held = (table.c.scope == scope, table.c.key == key, table.c.status.is_(None))
    connection.execute(table.update().where(*held).values(held_until=_now()))


def forget(connection: Connection, scope: str, key: str) -> None:
    """The command was refused: the key may come again, as if it never had."""
    connection.execute(delete(table).where(table.c.scope == scope, table.c.key == key, table.c.status.is_(None)))


def remember(connection: Connection, once: Once, version: int, position: int) -> Answer:
    """Make the answer and keep it."""
    answer = Answer(once.status, once.render(connection, version), version, position)
    kept = {"status": once.status, "answer": {"version": version, "body": answer.body}, "position": position}
    _put(connection, once.scope, once.key, once.body_sha256, rfc3339(_now()), **kept)
    return answer


def kept(connect: Connect, upto: int) -> Iterator[Kept]:
    """Those given up to a position. One that is damaged can be repeated nowhere, so it is not among them. Each page is
    read on a connection of its own, for who takes them may take his time."""
    for row in _each(connect):
        found = None if row["status"] is None else _given(row)
        if found is not None and found.position <= upto:
            yield found


def take_in(connection: Connection, moved: Iterable[Kept]) -> None:
    """Keep them here too."""
    connection.execute(table.insert(), [each.model_dump() | {"held_until": None} for each in moved])


def forget_old(connection: Connection) -> None:
    """Those that are older than a day."""
    connection.execute(delete(table).where(table.c.created_at < rfc3339(_now() - KEPT)))


def forget_lost(connection: Connection) -> None:
    """Those that tell of what is not in the log (any more)."""
    is_there = exists().where(events.c.id == table.c.position)
    connection.execute(delete(table).where(table.c.position > 0, ~is_there))


def unreadable(connection: Connection) -> int:
    """How many keys are damaged, so that nobody can say what their requests were answered."""
    return sum(not _is_readable(row) for row in _each(lambda: nullcontext(connection)))


def _each(connect: Connect) -> Iterator[Row]:
    """All keys, with their answers as text."""
    page = _EACH
    while True:
        with connect() as connection:
            rows = [row._asdict() for row in connection.execute(page)]
        yield from rows
        if len(rows) < _PAGE:
            return
        page = _EACH.where(tuple_(table.c.scope, table.c.key) > (rows[-1]["scope"], rows[-1]["key"]))


def _given(row: Row) -> Kept | None:
    """None for one that is damaged."""
    known = {name: value for name, value in row.items() if name != "held_until"}
    try:
        return Kept.model_validate(known | {"answer": orjson.loads(row["answer"] or "null")})
    except ValueError:
        return None


def _is_readable(row: Row) -> bool:
    if row["status"] is not None:
        return _given(row) is not None
    try:
        _answer(row)
    except InProgress:
        return True
    except DatabaseDamaged:
        return False
    return True


def _row(connection: Connection, scope: str, key: str, body_sha256: str) -> Row | None:
    try:
        rows = _KNOWN.rows(connection, scope=scope, key=key)
    except ValueError as error:  # it is no JSON
        raise _damaged() from error
    if rows and rows[0]["body_sha256"] != body_sha256:
        raise KeyReused("This Idempotency-Key came before with another body; use a new key for a new request.")
    return rows[0] if rows else None


def _answer(row: Row) -> Answer | None:
    try:
        if row["status"] is not None:
            return Answer(row["status"], row["answer"]["body"], row["answer"]["version"], int(row["position"]))
        is_held = row["held_until"] > rfc3339(_now())
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged() from error
    if is_held:
        raise InProgress("The first request with this Idempotency-Key is still being carried out; ask again.")
    return None


def _damaged() -> DatabaseDamaged:
    return DatabaseDamaged(
        "The answer that was kept for this Idempotency-Key is damaged. Ask how it stands, for the command may have "
        "been carried out; then use a new key. geti-action check-log tells what else is wrong."
    )


def _put(connection: Connection, scope: str, key: str, body_sha256: str, created_at: str, **known: Any) -> None:
    row = {"scope": scope, "key": key, "body_sha256": body_sha256, "created_at": created_at}
    nothing = dict.fromkeys(("status", "answer", "position", "held_until"))
    statements.upsert(connection.dialect, table).execute(connection, [{**row, **nothing, **known}])


def _now() -> datetime:
    return datetime.now(UTC)
