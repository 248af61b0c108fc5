"""What every aggregate is made of: commands, events, and the claims that an event makes on the rest of the system."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Annotated, Any, ClassVar
from uuid import UUID

from eventsourcing.domain import BaseAggregate, CanMutateAggregate
from pydantic import AwareDatetime, BaseModel, ConfigDict, StringConstraints, field_validator

from domain.errors import NotFound

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
"""A name a person gave: trimmed, 1 to 200 characters."""

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
    """A fact. Immutable, past tense, nested in its aggregate, with a stable ``TOPIC``. ``by`` is who asked for it."""

    # A loss that is not a number is a fact too: as JSON's null it could never be read back.
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="strings")
    TOPIC: ClassVar[str]

    originator_id: UUID
    originator_version: int
    timestamp: AwareDatetime
    by: str = "anonymous"

    def claims(self) -> Iterable[Claim]:
        """What this event takes, lets go or needs beyond its own aggregate; applied in the append's transaction."""
        return ()


class Aggregate(BaseAggregate[UUID]):
    """Base of all aggregates. Public methods validate and trigger; events mutate in ``apply``; nothing else does."""

    kind: ClassVar[str] = ""
    deleted = False

    def must_exist(self) -> None:
        if self.deleted:
            raise NotFound.of(self.kind, self.id)
