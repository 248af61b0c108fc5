"""Logs as earlier releases wrote them, one a release: today's code reads every event and makes the same tables of it.

``tests/golden/<release>.jsonl`` is an exported log and is never changed; ``<release>.tables.json`` holds the rows that
follow from it, and changes only with a view that is meant to say something else.
"""

import json
from pathlib import Path
from typing import Any

import pytest

from actors import codec
from actors.care.lines import Reader
from actors.care.rows import Stored
from domain.errors import GetiActionError
from projections import tables
from tests.integration.care_kit import GOLDEN, LASTING, OLDEST, opened, rows, tell

LOGS = sorted(GOLDEN.glob("*.jsonl"))
DERIVED = [table for table in LASTING if table is not tables.events]


def stored(log: Path) -> list[Stored]:
    with log.open("rb") as file:
        return list(Reader(file).events())


def unreadable(events: list[Stored]) -> list[str]:
    """What today's code has no word for, by name."""
    found = []
    for event in events:
        try:
            codec.decode(*event)
        except GetiActionError as error:
            found.append(error.detail)
    return found


def tables_of(log: Path) -> Path:
    return log.with_suffix(".tables.json")


def test_there_is_a_log_of_the_first_release() -> None:
    assert OLDEST in LOGS
    assert len({event.topic for event in stored(OLDEST)}) > 30
    with_checksum = [b'"checksum"' in event.state for event in stored(OLDEST)]
    assert with_checksum == sorted(with_checksum)
    assert set(with_checksum) == {False, True}


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_every_event_of_an_earlier_release_is_read(log: Path) -> None:
    assert unreadable(stored(log)) == []


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.stem)
def test_an_earlier_log_makes_the_tables_that_it_always_made(log: Path, database_url: str, tmp_path: Path) -> None:
    with opened(database_url) as system:
        tell(system, log)
        made: dict[str, Any] = json.loads(json.dumps(rows(system, *DERIVED)))
    actual = tmp_path / "tables.json"
    actual.write_text(json.dumps(made, indent=1, ensure_ascii=False) + "\n")
    assert made == json.loads(tables_of(log).read_text()), f"if that was meant: cp {actual} {tables_of(log)}"


@pytest.mark.parametrize(
    ("old", "new"), [("camera.lost", "camera.vanished"), ("measured_fps", "true_fps"), ("default_task", "usual_task")]
)
def test_what_can_no_longer_be_read_is_named(old: str, new: str) -> None:
    """As if the old log had a topic or a field that today's code does not know."""
    without_checksum = [event for event in stored(OLDEST) if b'"checksum"' not in event.state]
    changed = [
        event._replace(topic=event.topic.replace(old, new), state=event.state.replace(old.encode(), new.encode()))
        for event in without_checksum
    ]
    lost = unreadable(changed)
    assert lost
    assert all(new in line and "position" in line for line in lost)
