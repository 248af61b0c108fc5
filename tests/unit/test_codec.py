"""What the log keeps of an event: everything, found out when it was touched, and old forms brought up to date."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
import pytest

from actors.codec import Damaged, UnknownTopic, decode, encode
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


def test_an_unknown_topic_is_told_by_its_name() -> None:
    with pytest.raises(UnknownTopic, match=r"'project\.exploded' at position 7"):
        again(created(), topic="project.exploded")


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
