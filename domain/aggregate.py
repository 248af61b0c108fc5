"""What every aggregate is made of: commands, events, and the claims that an event makes on the rest of the system."""

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from math import isfinite
from typing import Annotated, Any, ClassVar, Self, get_origin, get_type_hints
from uuid import UUID

from eventsourcing.domain import BaseAggregate, CanMutateAggregate
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Strict,
    StringConstraints,
    create_model,
    field_validator,
)

from domain.errors import NotFound, StaleVersion


def _readable(name: str) -> str:
    """In the one form of several that look alike. Raises ValueError for a name that nobody can see."""
    if all(unicodedata.category(character)[0] in "CZ" for character in name):
        raise ValueError("a name needs a character that can be seen")
    return unicodedata.normalize("NFC", name)


Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_readable)]
"""A name a person gave: trimmed, 1 to 200 characters, composed (Unicode's NFC)."""
# What a body says as such: neither ``true`` nor ``"5"`` is a number there, nor is 1 a flag.
Int = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
Flag = Annotated[bool, Strict()]

MAX_DEPTH = 16


class Command(BaseModel):
    """An imperative, frozen, serving as a request body. Unknown fields are refused, so no typing error is lost."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _can_be_kept(cls, value: Any) -> Any:
        """What JSON allows and a database, or the next reader of the log, does not. Raises ValueError."""
        level, depth = [value], 0
        while level:
            if depth > MAX_DEPTH:
                raise ValueError(f"is nested more than {MAX_DEPTH} deep")
            for each in level:
                _check_scalar(each)
            level, depth = [inner for each in level for inner in _inside(each)], depth + 1
        return value


def _check_scalar(value: object) -> None:
    match value:
        case str() if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
            raise ValueError("text must not hold NUL or half a surrogate pair")
        case int() if not -(2**63) <= value < 2**63:
            raise ValueError("an integer must fit into 64 bits")
        case float() if not isfinite(value):
            raise ValueError("a number must be finite")


def _inside(value: object) -> Iterable[object]:
    match value:
        case dict():
            return [*value.keys(), *value.values()]
        case BaseModel():
            return value.__dict__.values()
        case list() | tuple():
            return value
        case _:
            return ()


class CreateCommand(Command):
    """A command that makes a new thing. The client may choose its id, which makes the create repeatable."""

    id: UUID | None = None


@dataclass(frozen=True, slots=True)
class Hold:
    """Take ``key`` for the aggregate. An exclusive key has one holder, and takes the place of what the aggregate held
    in ``slot`` before; a shared one has any number of holders and joins what is in the slot. ``label`` names the holder
    to a person who meets the claim."""

    key: str
    slot: str
    shared: bool = False
    label: str = ""


@dataclass(frozen=True, slots=True)
class Release:
    """Let go of what the aggregate holds in ``slot``, or of everything."""

    slot: str | None = None


@dataclass(frozen=True, slots=True)
class NeedHeld:
    """``key`` must be held by somebody: the thing that is referred to exists."""

    key: str


@dataclass(frozen=True, slots=True)
class NeedFree:
    """``key`` must be held by nobody else: nothing refers to the thing, or nobody works with it."""

    key: str


Claim = Hold | Release | NeedHeld | NeedFree


class DomainEvent(BaseModel, CanMutateAggregate[UUID]):
    """A fact. Immutable, past tense, nested in its aggregate, with a stable ``TOPIC``.

    ``by`` is who asked for it; ``correlation_id`` is shared by all that follows from one wish of a person's,
    ``causation_id`` names the request or the event that led to this one, ``traceparent`` is W3C's of the request. The
    log fills them in; decisions do not look at them."""

    # A loss that is not a number is a fact too: as JSON's null it could never be read back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
    TOPIC: ClassVar[str]
    PROVENANCE: ClassVar = ("correlation_id", "causation_id", "traceparent")

    originator_id: UUID
    originator_version: int
    timestamp: AwareDatetime
    by: str = "anonymous"
    correlation_id: str | None = None
    causation_id: str | None = None
    traceparent: str | None = None

    def claims(self) -> Iterable[Claim]:
        """What this event takes, lets go or needs beyond its own aggregate; applied in the append's transaction."""
        return ()


class Aggregate(BaseAggregate[UUID]):
    """Base of all aggregates. Public methods validate and trigger; events mutate in ``apply``; nothing else does.

    A subclass annotates in its body every attribute that its events set: that is what a snapshot of it holds."""

    kind: ClassVar[str] = ""
    deleted = False

    def must_exist(self) -> None:
        if self.deleted:
            raise NotFound.of(self.kind, self.id)

    def must_match(self, version: int | None) -> None:
        """Raises StaleVersion when a caller has seen another version than this one; None is whoever does not care."""
        if version is not None and version != self.version:
            raise StaleVersion(f"This is version {self.version} now, not {version}; read it again.")

    def snapshot(self) -> bytes:
        """All that the events so far have made of it, as JSON."""
        kind = _memory(type(self))
        known = {name: getattr(self, name) for name in kind.model_fields}
        return kind.model_construct(**known).model_dump_json().encode()

    @classmethod
    def restored(cls, id: UUID, version: int, snapshot: bytes) -> Self:
        """The aggregate as it was at ``version``. Raises ValueError for a snapshot of another shape: replay instead."""
        memory: Any = _memory(cls).model_validate_json(snapshot)
        aggregate = object.__new__(cls)
        aggregate.__base_init__(id, version, memory.created_on)
        for name in type(memory).model_fields:
            if name != "deleted" or memory.deleted:  # what never was deleted has no such attribute of its own
                setattr(aggregate, _PRIVATE.get(name, name), getattr(memory, name))
        return aggregate


_PRIVATE = {"created_on": "_created_on", "modified_on": "_modified_on"}


@cache
def _memory(kind: type[Aggregate]) -> type[BaseModel]:
    """The shape of a snapshot. Fields that come or go with a release make older snapshots invalid, not wrong."""
    hints, own = get_type_hints(kind), vars(kind)["__annotations__"]
    fields: dict[str, Any] = {name: (hints[name], ...) for name in own if get_origin(hints[name]) is not ClassVar}
    base: dict[str, Any] = {"deleted": (bool, ...), **dict.fromkeys(_PRIVATE, (AwareDatetime, ...))}
    config = ConfigDict(extra="forbid", ser_json_inf_nan="strings")
    return create_model(f"{kind.__name__}Snapshot", __config__=config, **fields, **base)
