"""What the log keeps of an event: everything, found out when it was touched, and old forms brought up to date."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
import pytest

from actors.codec import Damaged, Following, UnknownTopic, decode, encode, knows, opened, sealed
from domain import upgrades
from domain.aggregate import DomainEvent
from domain.project import Project
from tests.story import everything, named


def again(event: DomainEvent, state: bytes | None = None, **other: Any) -> DomainEvent:
    row = {"id": event.originator_id, "version": event.originator_version, "topic": event.TOPIC, **other}
    return decode(7, state=encode(event) if state is None else state, **row)


@pytest.mark.parametrize(("_position", "event"), everything(), ids=lambda value: getattr(value, "TOPIC", None))
def test_every_event_comes_back_equal(_position: int, event: DomainEvent) -> None:
    asked = event.model_copy(update={"by": "ann", "correlation_id": "c", "causation_id": "r", "traceparent": "t"})
    assert again(event) == event
    assert again(asked) == asked


def created() -> DomainEvent:
    return everything()[0][1]


def again_as(topic: str) -> DomainEvent:
    """As a release writes it that knows this topic."""
    event = created()
    body = opened(7, event.originator_id, event.originator_version, event.TOPIC, encode(event))
    return again(event, sealed(event.originator_id, event.originator_version, topic, body), topic=topic)


def test_a_changed_byte_is_found() -> None:
    state = encode(created())
    for index in range(1, len(state)):
        changed = bytearray(state)
        changed[index] ^= 1
        with pytest.raises(Damaged, match="position 7"):
            again(created(), bytes(changed))


@pytest.mark.parametrize("other", [{"version": 2}, {"id": named("other")}, {"topic": "project.renamed"}])
def test_a_row_that_was_moved_is_found(other: dict[str, Any]) -> None:
    with pytest.raises(Damaged, match="checksum"):
        again(created(), **other)


def test_a_row_of_the_first_release_has_no_checksum_and_is_read() -> None:
    event = created()
    assert again(event, event.model_dump_json(exclude={"originator_id", "originator_version"}).encode()) == event


def plain(event: DomainEvent) -> bytes:
    """As the first release wrote it."""
    return event.model_dump_json(exclude={"originator_id", "originator_version", *event.PROVENANCE}).encode()


def row(event: DomainEvent, state: bytes, position: int = 7) -> tuple[int, UUID, int, str, bytes]:
    return position, event.originator_id, event.originator_version, event.TOPIC, state


@pytest.mark.parametrize("state", ["", "{}", encode(everything()[0][1]).decode(), 7, 1.5, None])
def test_what_a_hand_wrote_as_another_kind_of_value_is_damaged(state: Any) -> None:
    for read in (decode, opened):
        with pytest.raises(Damaged, match=r"'project\.created' at position 7 is not what was written"):
            read(*row(created(), state))


@pytest.mark.parametrize("other", [{"version": "one"}, {"topic": b"project.created"}])
def test_so_is_any_other_column(other: dict[str, Any]) -> None:
    with pytest.raises(Damaged, match="another kind of value"):
        again(created(), **other)


def test_behind_a_checksum_none_may_be_missing() -> None:
    first, second, third = (event for _, event in everything()[:3])
    for read in (Following.decode, Following.opened):
        following = Following()
        read(following, *row(first, plain(first), 1))
        read(following, *row(second, encode(second), 2))
        with pytest.raises(Damaged, match=r"position 3 .*its checksum is gone"):
            read(following, *row(third, plain(third), 3))


def test_what_the_first_release_could_not_say_never_lacks_a_checksum() -> None:
    event = created().model_copy(update={"correlation_id": "c"})
    state = event.model_dump_json(exclude={"originator_id", "originator_version"}).encode()
    with pytest.raises(Damaged, match="its checksum is gone"):
        again(event, state)


def test_an_unknown_topic_is_told_by_its_name() -> None:
    with pytest.raises(UnknownTopic, match=r"'project\.exploded' at position 7"):
        again_as("project.exploded")


def test_a_topic_that_a_hand_has_changed_is_damage_even_if_it_is_unknown() -> None:
    with pytest.raises(Damaged, match="its checksum differs"):
        again(created(), topic="project.exploded")


@pytest.mark.parametrize("topic", ["antigravity", "antigravity:fly", "domain.project:Project.Created", "project"])
def test_a_foreign_topic_imports_nothing(topic: str) -> None:
    with pytest.raises(UnknownTopic, match=topic):
        again_as(topic)
    assert not knows(topic)
    assert "antigravity" not in sys.modules
    assert knows("project.created")


def renamed_field(fields: dict[str, Any]) -> dict[str, Any]:
    """As if the field had been called ``title`` once."""
    return {("name" if name == "title" else name): value for name, value in fields.items()}


def shouted(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"name": fields["name"].upper()}


def test_old_forms_are_brought_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    event = created()
    assert isinstance(event, Project.Created)
    fields = orjson.loads(event.model_dump_json(exclude={"originator_id", "originator_version"}))
    fields["title"] = fields.pop("name")
    oldest = orjson.dumps(fields)
    chain: Mapping[str, Sequence[upgrades.Upcaster]] = {event.TOPIC: (renamed_field, shouted)}
    monkeypatch.setattr(upgrades, "UPCASTERS", chain)
    newest = encode(event)
    assert orjson.loads(newest)["class_version"] == 2
    assert again(event, newest) == event
    assert again(event, oldest) == event.model_copy(update={"name": event.name.upper()})
