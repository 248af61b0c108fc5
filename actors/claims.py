"""The claims table: rules that span aggregates, checked and written inside the append's transaction."""

from collections.abc import Iterable
from datetime import datetime
from functools import cache

from sqlalchemy import Connection, Delete, Dialect, Insert, bindparam, delete, select

from domain import claims
from domain.aggregate import Claim, DomainEvent, Hold, NeedFree, NeedHeld, Release
from projections.statements import Query, Row, Write
from projections.tables import claims as table

_mine = table.c.owner == bindparam("me")
_others = (
    select(table.c.owner, table.c.label, table.c.since)
    .where(table.c.key == bindparam("key"), table.c.owner != bindparam("me"))
    .order_by(table.c.position)
    .limit(1)
)
_HELD = Query(select(table.c.owner).where(table.c.key == bindparam("key")).limit(1))
_OTHERS = Query(_others)
_EXCLUSIVE = Query(_others.where(~table.c.shared))
_SUPERSEDE = delete(table).where(_mine, table.c.slot == bindparam("in_slot"), ~table.c.shared)
_DROP_KEY = delete(table).where(_mine, table.c.key == bindparam("old_key"))
_RELEASE_SLOT = delete(table).where(_mine, table.c.slot == bindparam("in_slot"))
_RELEASE_ALL = delete(table).where(_mine)
_INSERT = table.insert()


def owner_of(event: DomainEvent) -> str:
    """ "camera:<id>": who holds what an event of this aggregate takes."""
    return f"{event.TOPIC.partition('.')[0]}:{event.originator_id}"


def apply(connection: Connection, position: int, event: DomainEvent) -> None:
    """Check and write what the event claims. Raises the refusal that names the holder; the caller rolls back."""
    me = owner_of(event)
    for claim in event.claims():
        _apply_one(connection, position, event.timestamp, me, claim)


def _apply_one(connection: Connection, position: int, since: datetime, me: str, claim: Claim) -> None:
    match claim:
        case Hold():
            _hold(connection, position, since, me, claim)
        case Release(slot=None):
            _write(connection, _RELEASE_ALL, {"me": me})
        case Release(slot=slot):
            _write(connection, _RELEASE_SLOT, {"me": me, "in_slot": slot})
        case NeedHeld(key=key):
            if not _HELD.rows(connection, key=key):
                raise claims.missing(key)
        case NeedFree(key=key):
            _refuse(key, _OTHERS.rows(connection, key=key, me=me))


def _hold(connection: Connection, position: int, since: datetime, me: str, hold: Hold) -> None:
    _refuse(hold.key, _EXCLUSIVE.rows(connection, key=hold.key, me=me))
    if hold.shared:
        _write(connection, _DROP_KEY, {"me": me, "old_key": hold.key})
    else:
        _write(connection, _SUPERSEDE, {"me": me, "in_slot": hold.slot})
    row = {"key": hold.key, "slot": hold.slot, "shared": hold.shared, "label": hold.label}
    _write(connection, _INSERT, {**row, "owner": me, "since": since, "position": position})


def _refuse(key: str, holders: list[Row]) -> None:
    if holders:
        raise claims.refusal(key, holders[0]["owner"], holders[0]["label"], holders[0]["since"])


def _write(connection: Connection, statement: Insert | Delete, row: Row) -> None:
    _compiled(statement, connection.dialect).execute(connection, [row])


@cache
def _compiled(statement: Insert | Delete, dialect: Dialect) -> Write:
    return Write(statement, table, dialect)


def holders(connection: Connection, key: str) -> Iterable[str]:
    """All that hold ``key``, as "kind:id", longest first."""
    return connection.scalars(select(table.c.owner).where(table.c.key == key).order_by(table.c.position)).all()


def owners(connection: Connection, slot: str) -> Iterable[str]:
    """All that hold something in a slot of this name, as "kind:id"."""
    return connection.scalars(select(table.c.owner).where(table.c.slot == slot).order_by(table.c.position)).all()
