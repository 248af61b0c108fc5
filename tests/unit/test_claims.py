"""The claims table by itself: who may take what, what gives way, what is refused."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest
from sqlalchemy import Connection, create_engine

from actors import claims
from domain.aggregate import Claim, DomainEvent, Hold, NeedFree, NeedHeld, Release
from domain.claims import refusal
from domain.errors import Conflict, DeviceLocked, InUse, NameTaken, UnknownReference
from projections.tables import claims as table

ANN, BOB = UUID(int=1), UUID(int=2)
THING = UUID(int=9)
Take = Callable[..., None]


class Claiming(DomainEvent):
    TOPIC = "camera.claiming"
    wanted: tuple[Claim, ...]

    def claims(self) -> Iterable[Claim]:
        return self.wanted


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = create_engine("sqlite://", paramstyle="named")  # as the database's own has it
    with engine.connect() as made:
        table.create(made)
        yield made
    engine.dispose()


@pytest.fixture
def take(connection: Connection) -> Take:
    versions = Counter[UUID]()

    def taken(who: UUID, *wanted: Claim, position: int = 1) -> None:
        at = datetime(2026, 11, 1, tzinfo=UTC)
        versions[who] += 1
        event = Claiming(originator_id=who, originator_version=versions[who], timestamp=at, wanted=wanted)
        claims.apply(connection, position, event)

    return taken


def keys(connection: Connection, who: UUID) -> set[str]:
    return {row.key for row in connection.execute(table.select()) if row.owner == f"camera:{who}"}


def test_an_exclusive_key_has_one_holder(take: Take, connection: Connection) -> None:
    take(ANN, Hold("name:camera:p:top", "name", label="camera 'top'"))
    with pytest.raises(NameTaken, match="camera 'top'") as refused:
        take(BOB, Hold("name:camera:p:top", "name"))
    assert refused.value.extra["held_by"] == f"camera:{ANN}"
    assert list(claims.holders(connection, "name:camera:p:top")) == [f"camera:{ANN}"]


def test_what_is_held_again_is_no_conflict_with_oneself(take: Take, connection: Connection) -> None:
    for _ in range(2):
        take(ANN, Hold("name:camera:p:top", "name"))
    assert keys(connection, ANN) == {"name:camera:p:top"}


def test_a_new_key_takes_the_place_of_the_old_one_in_its_slot(take: Take, connection: Connection) -> None:
    take(ANN, Hold("name:camera:p:a", "name"), Hold("exists:camera:x", "exists"))
    take(ANN, Hold("name:camera:p:b", "name"))
    assert keys(connection, ANN) == {"name:camera:p:b", "exists:camera:x"}
    take(BOB, Hold("name:camera:p:a", "name"))


def test_shared_keys_gather_in_a_slot_and_have_many_holders(take: Take, connection: Connection) -> None:
    take(ANN, Hold("use:1", "devices", shared=True), Hold("use:2", "devices", shared=True))
    take(BOB, Hold("use:1", "devices", shared=True), position=2)
    assert keys(connection, ANN) == {"use:1", "use:2"}
    assert list(claims.holders(connection, "use:1")) == [f"camera:{ANN}", f"camera:{BOB}"]
    take(ANN, Release("devices"), Hold("use:2", "devices", shared=True))
    assert keys(connection, ANN) == {"use:2"}


def test_release_lets_go_of_a_slot_or_of_everything(take: Take, connection: Connection) -> None:
    take(ANN, Hold("name:camera:p:a", "name"), Hold("use:1", "devices", shared=True), Hold("busy:p", "busy"))
    take(ANN, Release("name"))
    assert keys(connection, ANN) == {"use:1", "busy:p"}
    assert list(claims.owners(connection, "busy")) == [f"camera:{ANN}"]
    take(ANN, Release())
    assert keys(connection, ANN) == set()


def test_an_exclusive_key_takes_the_place_of_no_shared_one(take: Take, connection: Connection) -> None:
    take(ANN, Hold("use:1", "devices", shared=True), Hold("device:1", "devices"))
    take(ANN, Hold("device:2", "devices"))
    assert keys(connection, ANN) == {"use:1", "device:2"}


REFUSALS = {f"device:{THING}": DeviceLocked, f"use:{THING}": InUse, "busy:p": InUse, "member:p": Conflict}


@pytest.mark.parametrize("key", REFUSALS)
def test_what_must_be_free_may_only_be_ones_own(take: Take, key: str) -> None:
    take(ANN, Hold(key, "slot", shared=True, label="Ann's"))
    take(ANN, NeedFree(key))
    with pytest.raises(REFUSALS[key], match="Ann's"):
        take(BOB, NeedFree(key))
    take(ANN, Release())
    take(BOB, NeedFree(key))


def test_what_must_exist_is_held_by_anybody(take: Take) -> None:
    with pytest.raises(UnknownReference) as refused:
        take(BOB, NeedHeld(f"exists:robot:{THING}"))
    assert refused.value.error_code == "unknown_robot"
    take(ANN, Hold(f"exists:robot:{THING}", "exists"))
    take(BOB, NeedHeld(f"exists:robot:{THING}"))


def test_a_locked_device_says_who_has_it_since_when(take: Take) -> None:
    take(ANN, Hold(f"device:{THING}", "device", label="session 1"))
    with pytest.raises(DeviceLocked) as refused:
        take(BOB, Hold(f"device:{THING}", "device"))
    assert refused.value.extra["held_by"] == {"camera_id": str(ANN), "since": "2026-11-01T00:00:00.000000Z"}


HOLDERS = {"job": "interrupt it first", "recording": "close it first", "environment": "remove it there first"}


@pytest.mark.parametrize("kind", HOLDERS)
def test_a_refusal_says_how_to_end_what_is_in_the_way(kind: str) -> None:
    assert HOLDERS[kind] in refusal(f"use:{THING}", f"{kind}:1", "a label", "").detail
    if kind != "environment":
        assert HOLDERS[kind] in refusal("busy:p", f"{kind}:1", "a label", "").detail
