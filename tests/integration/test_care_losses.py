"""A log that has lost events is not written out as if it were whole: whoever took it in would refuse it, or not know
that something is missing. On both databases."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete, func, select, update

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


def remembered(connection: Connection, position: int = 81) -> None:
    """An answer tells of an event, of one that came after all that the views have had if nothing else is said."""
    row = {"scope": "x", "key": "k", "body_sha256": "", "status": 201, "answer": {"version": 1, "body": None}}
    at = {"created_at": "2026-11-01T09:00:00.000000Z", "position": position}
    connection.execute(tables.idempotency.insert().values(**row, **at))


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


def deletion_lost(log: Log) -> UUID:
    """Of a project that was deleted before another came, so that the log's end is there."""
    project = new_project("old")
    for deletes in (False, True):
        if deletes:
            project.delete(AT)
        asyncio.run(log.append(project))
    asyncio.run(log.append(new_project("new")))
    lose(log, events.c.id == 82)
    return project.id


def test_a_lost_deletion_is_missed_by_what_it_took_away(log: Log, tmp_path: Path) -> None:
    id = deletion_lost(log)
    what = (
        f"What ended the project {id} is lost: neither a claim nor a row is left of it, "
        "and no event behind position 81 says why"
    )
    with pytest.raises(NotWhole, match=f"^{what}.*; or go on without what is lost: geti-action rebuild"):
        export_to(log, tmp_path / "log.jsonl")
    go_on = "restore a backup; or go on without what is lost: geti-action rebuild"
    assert [str(finding) for finding in check_log(log)] == [
        f"{what} -> {go_on}",
        f"A row of claims is not what the log says -> {go_on} claims",
        f"A row of projects is not what the log says -> {go_on} projects",
    ]
    rebuild(log)
    assert list(check_log(log)) == []
    assert export_to(log, tmp_path / "log.jsonl").events == 82


def test_an_answer_to_a_lost_event_tells_of_it_even_after_a_rebuild(log: Log, tmp_path: Path) -> None:
    deletion_lost(log)
    with log.engine.begin() as connection:
        remembered(connection, 82)
    rebuild(log)
    what = "The event at position 82 is lost, of which a row of idempotency tells"
    with pytest.raises(NotWhole, match=what):
        export_to(log, tmp_path / "log.jsonl")
    assert [finding.what for finding in check_log(log)] == [what]
    losses.forget(log)
    assert list(check_log(log)) == []
    assert export_to(log, tmp_path / "log.jsonl").events == 82


def test_a_position_that_was_passed_over_is_no_loss(log: Log, tmp_path: Path) -> None:
    """Neither of what has ended before it, nor of what goes on."""
    asyncio.run(log.append(new_project("new")))
    with log.engine.begin() as connection:
        connection.execute(update(events).where(events.c.id == 81).values(id=90))
        losses.rows.continue_behind(connection, 90)
    rebuild(log)
    assert list(check_log(log)) == []
    assert export_to(log, tmp_path / "log.jsonl").position == 90


def test_rows_that_a_hand_took_away_are_no_loss(log: Log, tmp_path: Path) -> None:
    """No position is missing where an event could have been."""
    with log.engine.begin() as connection:
        connection.execute(delete(tables.claims).where(tables.claims.c.owner == f"project:{named('lab')}"))
        connection.execute(delete(tables.projects).where(tables.projects.c.id == str(named("lab"))))
    assert [finding.todo for finding in check_log(log)] == [
        "geti-action rebuild claims",
        "geti-action rebuild projects",
    ]
    assert export_to(log, tmp_path / "log.jsonl").events == 80


def test_what_comes_meanwhile_is_no_loss(log: Log, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Events that are newer than the position up to which it is looked."""
    newest: Callable[[Connection], int] = losses.rows.newest

    def meanwhile(connection: Connection) -> int:
        asyncio.run(log.append(new_project("meanwhile")))
        return newest(connection)

    monkeypatch.setattr(losses.rows, "newest", meanwhile)
    assert export_to(log, tmp_path / "log.jsonl").events == 80
