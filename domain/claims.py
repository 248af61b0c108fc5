"""The keys of the claims table, and what a person is told when a claim is refused."""

from collections.abc import Iterable
from uuid import UUID

from domain.aggregate import Claim, Hold, NeedHeld
from domain.errors import Conflict, DeviceLocked, GetiActionError, InUse, NameTaken, UnknownReference

ITSELF = "exists"
"""The slot of what a thing holds for being there: nobody else ever holds such a key."""


def exists(kind: str, thing: UUID) -> str:
    """Held by the thing itself from its creation to its deletion."""
    return f"exists:{kind}:{thing}"


def name(kind: str, project: UUID, text: str) -> str:
    """Held by whoever has the name; names differ in more than upper and lower case."""
    return f"name:{kind}:{project}:{text.lower()}"


def member(project: UUID) -> str:
    """Shared by everything that lives in a project and goes with it."""
    return f"member:{project}"


def use(thing: UUID) -> str:
    """Shared by all that refer to the thing; while it is held the thing cannot be deleted."""
    return f"use:{thing}"


def device(thing: UUID) -> str:
    """Held by the one recording session that has the camera or robot."""
    return f"device:{thing}"


def busy(project: UUID) -> str:
    """Shared by the sessions, jobs and operations that run in a project."""
    return f"busy:{project}"


def repair(dataset: UUID) -> str:
    """Held by the one operation that repairs the dataset."""
    return f"repair:{dataset}"


def joining(kind: str, thing: UUID, project: UUID, label: str) -> Iterable[Claim]:
    """The claims of every new thing in a project: the project exists, the thing exists, and goes with the project."""
    return (
        NeedHeld(exists("project", project)),
        Hold(exists(kind, thing), slot=ITSELF, label=label),
        Hold(member(project), slot="member", shared=True, label=label),
    )


_TO_END = {"job": "interrupt it", "recording": "close it", "operation": "wait until it has ended"}
"""What lets go of whatever a holder of this kind has."""


def refusal(key: str, holder: str, label: str, since: str) -> GetiActionError:
    """The error for a key that somebody else holds. ``holder`` is "kind:id", ``since`` an RFC 3339 time."""
    who = label or holder
    kind, _, holder_id = holder.partition(":")
    match key.split(":", 1)[0]:
        case "device":
            held_by = {f"{kind}_id": holder_id, "since": since}
            return DeviceLocked(f"The device belongs to {who} since {since}; close that first.", held_by=held_by)
        case "name":
            return NameTaken(f"The name is already taken by {who}; choose another.", held_by=holder)
        case "use":
            return InUse(f"It is used by {who}; {_TO_END.get(kind, 'remove it there')} first.", used_by=holder)
        case "busy":
            return InUse(f"It is busy: {who} still runs; {_TO_END.get(kind, 'end it')} first.", used_by=holder)
        case "repair":
            return InUse(f"It is being repaired by {who} since {since}; wait until that has ended.", used_by=holder)
        case _:
            return Conflict(f"It is already held by {who}.", held_by=holder)


def missing(key: str) -> GetiActionError:
    """The error for a reference to something that does not exist."""
    _, kind, thing = key.split(":", 2)
    return UnknownReference(f"There is no {kind} {thing}.", code=f"unknown_{kind}")
