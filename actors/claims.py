"""The claims table: rules that span aggregates, checked and written inside the append's transaction."""

from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, bindparam, select

from domain import claims
from domain.aggregate import Claim, DomainEvent, Hold, NeedFree, NeedHeld, Release
from projections.bulk import write
from projections.changes import Change, Drop, Put, View
from projections.statements import Query, Row
from projections.tables import claims as table

_others = (
    select(table.c.owner, table.c.label, table.c.since)
    .where(table.c.key == bindparam("key"), table.c.owner != bindparam("me"))
    .order_by(table.c.position)
    .limit(1)
)
_HELD = Query(select(table.c.owner).where(table.c.key == bindparam("key")).limit(1))
_OTHERS = Query(_others)
_EXCLUSIVE = Query(_others.where(~table.c.shared))


def owner_of(event: DomainEvent) -> str:
    """ "camera:<id>": who holds what an event of this aggregate takes."""
    return f"{event.TOPIC.partition('.')[0]}:{event.originator_id}"


def apply(connection: Connection, position: int, event: DomainEvent) -> None:
    """Check all that the event claims, then write it. Raises the refusal that names the holder; the caller rolls
    back."""
    me = owner_of(event)
    for claim in event.claims():
        _check(connection, me, claim)
    write(connection, changes(position, event))


def check_free(connection: Connection, key: str) -> None:
    """Raises the refusal that names the holder, if there is one."""
    _refuse(key, _OTHERS.rows(connection, key=key, me=""))


def changes(position: int, event: DomainEvent) -> Iterator[Change]:
    """What becomes of the table with an event that is accepted."""
    for claim in event.claims():
        match claim:
            case Hold():
                yield from _held(position, event, claim)
            case Release(slot=None):
                yield Drop(table, {"owner": owner_of(event)})
            case Release(slot=str(slot)):
                yield Drop(table, {"owner": owner_of(event), "slot": slot})


def _held(position: int, event: DomainEvent, hold: Hold) -> Iterator[Change]:
    me = owner_of(event)
    if not hold.shared and event.originator_version > 1:  # what is new has held nothing yet
        yield Drop(table, {"owner": me, "slot": hold.slot, "shared": False})
    row = {"key": hold.key, "slot": hold.slot, "shared": hold.shared, "label": hold.label}
    yield Put(table, {**row, "owner": me, "since": event.timestamp, "position": position})


VIEW = View((table,), (DomainEvent,), changes)
"""The claims as a rebuild sees them. The append writes them itself, and never parks them."""


def _check(connection: Connection, me: str, claim: Claim) -> None:
    match claim:
        case Hold(slot=claims.ITSELF):
            pass
        case Hold(key=key):
            _refuse(key, _EXCLUSIVE.rows(connection, key=key, me=me))
        case NeedHeld(key=key):
            if not _HELD.rows(connection, key=key):
                raise claims.missing(key)
        case NeedFree(key=key):
            _refuse(key, _OTHERS.rows(connection, key=key, me=me))


def _refuse(key: str, holders: list[Row]) -> None:
    if holders:
        raise claims.refusal(key, holders[0]["owner"], holders[0]["label"], holders[0]["since"])


def holders(connection: Connection, key: str) -> Iterable[str]:
    """All that hold ``key``, as "kind:id", longest first."""
    return connection.scalars(select(table.c.owner).where(table.c.key == key).order_by(table.c.position)).all()


def owners(connection: Connection, slot: str) -> Iterable[str]:
    """All that hold something in a slot of this name, as "kind:id"."""
    return connection.scalars(select(table.c.owner).where(table.c.slot == slot).order_by(table.c.position)).all()
