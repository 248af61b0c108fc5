"""What holds for every event: its topic, its JSON, who may be named by it."""

from collections import Counter

import pytest
from eventsourcing.utils import get_topic, resolve_topic
from pydantic import ValidationError

from domain import camera, dataset, environment, model, operation, project, recording, robot, training
from domain.aggregate import Aggregate, DomainEvent
from tests.story import everything

AGGREGATES: tuple[type[Aggregate], ...] = (
    project.Project,
    camera.Camera,
    robot.Robot,
    environment.Environment,
    dataset.Dataset,
    recording.Recording,
    training.Job,
    model.Model,
    operation.Operation,
)
EVENTS = [
    (aggregate, event)
    for aggregate in AGGREGATES
    for event in vars(aggregate).values()
    if isinstance(event, type) and issubclass(event, DomainEvent) and event.__name__ != "Event"
]


def test_every_topic_is_unique() -> None:
    topics = Counter(event.TOPIC for _, event in EVENTS)
    assert [topic for topic, times in topics.items() if times > 1] == []
    assert len(topics) > 30


@pytest.mark.parametrize(("aggregate", "event"), EVENTS, ids=lambda kind: kind.__qualname__)
def test_a_topic_starts_with_the_kind_and_leads_back(aggregate: type[Aggregate], event: type[DomainEvent]) -> None:
    assert event.TOPIC.startswith(f"{aggregate.kind}.")
    assert get_topic(event) == event.TOPIC
    assert resolve_topic(event.TOPIC) is event


@pytest.mark.parametrize(("_position", "event"), everything(), ids=lambda value: getattr(value, "TOPIC", None))
def test_json_brings_back_an_equal_event(_position: int, event: DomainEvent) -> None:
    assert type(event).model_validate_json(event.model_dump_json()) == event


def test_an_event_cannot_be_changed_and_knows_no_other_fields() -> None:
    _, event = everything()[0]
    with pytest.raises(ValidationError, match="frozen"):
        event.by = "somebody else"
    with pytest.raises(ValidationError, match="secret"):
        type(event).model_validate({**event.model_dump(), "secret": 1})
