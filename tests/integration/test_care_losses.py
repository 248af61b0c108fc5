"""A log that has lost events is not written out as if it were whole: whoever took it in would refuse it, or not know
that something is missing. On both databases."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, delete, func, select

from actors.care import losses
from actors.care.backup import back_up
from actors.care.check import check_log
from actors.care.exporting import export_to
from actors.care.losses import NotWhole
from actors.log import Log
from actors.rebuild import rebuild
from actors.snapshots import EVERY
from domain.project import UpdateProject
from projections import tables
from projections.tables import events
from tests.integration.care_kit import opened, quiet, tell
from tests.integration.log_kit import AT, new_project
from tests.story import named


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    with opened(database_url) as made:
        tell(made)
        yield made


def lose(log: Log, condition: Any) -> None:
    with log.engine.begin() as connection:
        connection.execute(delete(events).where(condition))


def remembered(connection: Connection) -> None:
    """An answer tells of an event that came after all that the views have had."""
    row = {"scope": "x", "key": "k", "body_sha256": "", "status": 201, "answer": {"version": 1, "body": None}}
    connection.execute(tables.idempotency.insert().values(**row, created_at="2026-11-01T09:00:00.000000Z", position=81))


def newest_of(name: str) -> Any:
    return events.c.id == select(func.max(events.c.id)).where(events.c.originator_id == named(name)).scalar_subquery()


LOST: dict[str, tuple[Any, str]] = {
    "from the middle": (
        events.c.id == 4,
        rf"Aggregate {named('top')} has version 3 at position 5, and the one before is 1\. .* check-log .* "
        r"restore an older backup into a new database\.$",
    ),
    "at its end": (
        events.c.id == 80,
        r"ends at position 79, but it has been at 80.* or go on .*geti-action rebuild\.$",
    ),
    "the newest of a stream": (newest_of("lab"), r"lost, of which a row of projects tells.*geti-action rebuild\.$"),
    "a whole stream": (events.c.originator_id == named("lab"), r"lost, of which a row of claims tells"),
}


@pytest.mark.parametrize("name", LOST)
def test_it_is_neither_exported_nor_backed_up(log: Log, tmp_path: Path, name: str) -> None:
    condition, words = LOST[name]
    lose(log, condition)
    with pytest.raises(NotWhole, match=words):
        export_to(log, tmp_path / "log.jsonl")
    with pytest.raises(NotWhole, match=words):
        back_up(log, tmp_path / "storage", tmp_path / "backup", quiet, with_files=True)
    assert [path.name for path in tmp_path.rglob("*.json*")] == []


def test_what_is_remembered_elsewhere_is_missed_too(log: Log, tmp_path: Path) -> None:
    project = new_project()
    for number in range(EVERY):
        project.update(UpdateProject(name=f"name {number}"), AT)
    asyncio.run(log.append(project))
    log.close()  # the snapshot is written once the writer has nothing else to do
    lose(log, events.c.originator_version == EVERY + 1)
    rebuild(log)
    with pytest.raises(NotWhole, match=f"{project.id} are lost, .* a snapshot at its version {EVERY + 1}"):
        export_to(log, tmp_path / "log.jsonl")


def test_who_goes_on_without_what_is_lost_has_a_whole_log(log: Log, tmp_path: Path) -> None:
    """The way that is advised leads there: nothing remembers it any more, answers neither."""
    with log.engine.begin() as connection:
        remembered(connection)
    assert "it has been at 81" in str(next(check_log(log)))
    rebuild(log)
    with pytest.raises(NotWhole, match="it has been at 81"):
        export_to(log, tmp_path / "log.jsonl")
    losses.forget(log)
    assert export_to(log, tmp_path / "log.jsonl").events == 80
    assert list(check_log(log)) == []


def test_what_comes_meanwhile_is_no_loss(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that are newer than the position up to which it is looked."""
    newest: Callable[[Connection], int] = losses.rows.newest

    def meanwhile(connection: Connection) -> int:
        asyncio.run(log.append(new_project("meanwhile")))
        return newest(connection)

    monkeypatch.setattr(losses.rows, "newest", meanwhile)
    assert export_to(log, tmp_path / "log.jsonl").events == 80
