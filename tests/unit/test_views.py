"""The views are pure: the same event gives the same rows, and every event of an aggregate moves its row."""

from collections import defaultdict

import pytest
from sqlalchemy import Table

from domain.aggregate import DomainEvent
from projections.changes import Change, Drop, Patch, Put
from projections.views import VIEWS
from tests.story import everything

STORY = everything()
OWN_ROW = {"project", "camera", "robot", "environment", "dataset", "recording", "job", "model"}


def _changes(position: int, event: DomainEvent) -> list[Change]:
    listening = (view for view in VIEWS.values() if isinstance(event, view.listens_to))
    return [change for view in listening for change in view.changes(position, event)]


@pytest.mark.parametrize(("position", "event"), STORY, ids=lambda value: getattr(value, "TOPIC", None))
def test_every_event_moves_the_row_of_its_aggregate(position: int, event: DomainEvent) -> None:
    own, id = f"{event.TOPIC.split('.')[0]}s", str(event.originator_id)
    moved = [change for change in _changes(position, event) if change.table.name == own]
    assert moved
    for change in moved:
        match change:
            case Put(_, row):
                assert (row["id"], row["version"], row["position"]) == (id, event.originator_version, position)
            case Patch(_, key, values):
                assert key == (id,)
                assert (values["version"], values["position"]) == (event.originator_version, position)
            case Drop(_, where):
                assert where == {"id": id}
                assert event.TOPIC.endswith(".deleted")


@pytest.mark.parametrize(("position", "event"), STORY, ids=lambda value: getattr(value, "TOPIC", None))
def test_a_view_says_the_same_again(position: int, event: DomainEvent) -> None:
    assert _changes(position, event) == _changes(position, event)


def test_rows_are_whole_and_patches_name_real_columns() -> None:
    for position, event in STORY:
        for change in _changes(position, event):
            columns = {column.name for column in change.table.c}
            match change:
                case Put(_, row):
                    assert set(row) == columns
                case Patch(table, key, values):
                    assert set(values) < columns
                    assert len(key) == len(table.primary_key)
                case Drop(_, where):
                    assert set(where) < columns


def test_each_table_is_written_by_one_view() -> None:
    writers: defaultdict[Table, set[str]] = defaultdict(set)
    for position, event in STORY:
        for name, view in VIEWS.items():
            if isinstance(event, view.listens_to):
                for change in view.changes(position, event):
                    writers[change.table].add(name)
    assert {table: {name} for name, view in VIEWS.items() for table in view.tables} == writers


def test_every_event_of_the_domain_is_in_the_story() -> None:
    """So that the tests above cannot miss one that is added."""
    told = {type(event) for _, event in STORY}
    concrete = {
        event
        for event in _descendants(DomainEvent)
        if event.__module__.startswith("domain.") and not event.__subclasses__() and hasattr(event, "TOPIC")
    }
    assert concrete - told == set()


def _descendants(event: type[DomainEvent]) -> set[type[DomainEvent]]:
    return {event, *(below for child in event.__subclasses__() for below in _descendants(child))}
