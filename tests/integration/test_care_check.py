"""``check-log`` finds what is not as it should be, says what to do, and writes nothing. On both databases."""

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import orjson
import pytest
from sqlalchemy import Connection, delete, insert, select, text, update

from actors.care.check import check_log
from actors.care.rows import Stored
from actors.codec import encode
from actors.log import Log
from actors.rebuild import ALL, rebuild
from actors.snapshots import EVERY
from domain.project import UpdateProject
from projections import tables
from projections.changes import View
from projections.fresh import Fresh
from tests.integration.care_kit import opened, rows, tell
from tests.integration.log_kit import AT, new_project
from tests.story import named

CHECKSUM = re.compile(rb',"checksum":"[0-9a-f]+"')
EVENTS, EVERYTHING = tables.events, tables.metadata.sorted_tables


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    """The golden log, and behind it a stream that is long enough for a snapshot."""
    with opened(database_url) as made:
        tell(made)
        project = new_project()
        for number in range(EVERY):
            project.update(UpdateProject(name=f"name {number}"), AT)
        asyncio.run(made.append(project))
        made.close()  # the snapshot is written once the writer has nothing else to do
        with opened(database_url) as again:
            yield again


def found(log: Log) -> list[str]:
    return [str(finding) for finding in check_log(log)]


def put_back(log: Log, saved: dict[str, list[dict[str, Any]]]) -> None:
    with log.engine.begin() as connection:
        for table in EVERYTHING:
            connection.execute(delete(table))
            if saved[table.name]:
                connection.execute(insert(table), saved[table.name])


def stored(connection: Connection, position: int) -> Stored:
    return Stored(*connection.execute(select(EVENTS).where(EVENTS.c.id == position)).one())


def rewrite(position: int, **values: Any) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(update(EVENTS).where(EVENTS.c.id == position).values(**values))


def a_byte(connection: Connection) -> None:
    rewrite(70, state=stored(connection, 70).state.replace(b"2026-11-01", b"2026-11-02"))(connection)


def a_field(connection: Connection) -> None:
    """Of an old event, which has no checksum."""
    row = stored(connection, 1)
    rewrite(1, state=row.state.replace(b'"name"', b'"nome"'))(connection)


def swapped(connection: Connection) -> None:
    """The second version of an aggregate before its first."""
    for position, other in ((1, 200), (2, 1), (200, 2)):
        rewrite(position, id=other)(connection)


def a_wrong_snapshot(connection: Connection) -> None:
    state = orjson.loads(connection.scalar(select(tables.snapshots.c.state)) or b"")
    connection.execute(update(tables.snapshots).values(state=orjson.dumps(state | {"name": "another"})))


def an_old_snapshot(connection: Connection) -> None:
    """Of another release's shape: harmless."""
    connection.execute(update(tables.snapshots).values(state=b'{"title": "lab"}'))


def rows_of(view: str) -> Callable[[Connection], object]:
    """Two of its rows are gone, one is changed."""

    def change(connection: Connection) -> None:
        (table, *_) = ALL[view].tables
        first, second, third, *_ = connection.execute(select(*table.primary_key)).all()
        for key in (first, second):
            connection.execute(delete(table).where(*(c == v for c, v in zip(table.primary_key, key, strict=True))))
        changed = {"position": -1}
        connection.execute(
            update(table).where(*(c == v for c, v in zip(table.primary_key, third, strict=True))).values(**changed)
        )

    return change


def position_of(view: str, **values: Any) -> Callable[[Connection], object]:
    at = tables.positions
    return lambda connection: connection.execute(update(at).where(at.c.view == view).values(**values))


def the_end_lost(connection: Connection) -> None:
    connection.execute(delete(EVENTS).where(EVENTS.c.originator_version == EVERY + 1))


def newest_lost(connection: Connection) -> None:
    """Of the first project, whose last event is not the log's."""
    connection.execute(delete(EVENTS).where(EVENTS.c.id == newest_of(connection, named("lab"))))


def newest_replaced(connection: Connection) -> None:
    """As if something else had happened there since."""
    position = newest_of(connection, named("lab"))
    newest_lost(connection)
    made = new_project("later").pending_events[0]
    row = (position, made.originator_id, 1, made.TOPIC, CHECKSUM.sub(b"", encode(made)))  # as its neighbours are
    connection.execute(insert(EVENTS).values(row))


def newest_of(connection: Connection, id: UUID) -> int:
    of_it = select(EVENTS.c.id).where(EVENTS.c.originator_id == id).order_by(EVENTS.c.id.desc())
    return connection.execute(of_it.limit(1)).scalar_one()


def without_checksum(position: int) -> Callable[[Connection], None]:
    """As one cuts it out by hand."""

    def cut(connection: Connection) -> None:
        rewrite(position, state=CHECKSUM.sub(b"", stored(connection, position).state))(connection)

    return cut


RESTORE = "-> restore a backup"
LOST = f"what the log no longer leads to: events of it are lost {RESTORE}; or go on without what is lost"
NO_VIEWS = "Claims and views were not compared -> mend the log first, then check again"
DAMAGE: dict[str, tuple[Callable[[Connection], object], list[str]]] = {
    "a changed byte": (
        a_byte,
        [
            f"The event 'recording.closed' at position 70 is not what was written: its checksum differs {RESTORE}",
            NO_VIEWS,
        ],
    ),
    "a changed field": (
        a_field,
        [
            "The event 'project.created' at position 1 is not what was written: "
            f"name Field required; nome Extra inputs are not permitted {RESTORE}",
            NO_VIEWS,
        ],
    ),
    "rubbish": (
        rewrite(5, state=b"\x00\x01"),
        [f"The event 'camera.connecting' at position 5 is not what was written: Invalid JSON.*{RESTORE}", NO_VIEWS],
    ),
    "an unknown event": (
        rewrite(5, topic="camera.exploded"),
        [
            "The event 'camera.exploded' at position 5 is none that this release knows "
            "-> start the release that wrote it",
            NO_VIEWS,
        ],
    ),
    "a topic changed by hand": (
        rewrite(70, topic="recording.exploded"),
        [
            f"The event 'recording.exploded' at position 70 is not what was written: its checksum differs {RESTORE}",
            NO_VIEWS,
        ],
    ),
    "an event gone": (
        lambda connection: connection.execute(delete(EVENTS).where(EVENTS.c.id == 4)),
        [
            f"Aggregate {named('top')} has version 3 at position 5, and the one before is 1 {RESTORE}",
            f"A row of claims holds {LOST}: geti-action rebuild claims",
            "A row of cameras is not what the log says -> geti-action rebuild cameras",
        ],
    ),
    "an event gone from a long stream": (
        lambda connection: connection.execute(delete(EVENTS).where(EVENTS.c.id == 120)),
        [f"Aggregate .* has version 41 at position 121, and the one before is 39 {RESTORE}"],
    ),
    "two events swapped": (
        swapped,
        [
            f"Aggregate {named('lab')} has version 2 at position 1, before its version 1 at 2 {RESTORE}",
            "A row of claims is .*",
            f"A row of projects holds {LOST}.*",
        ],
    ),
    "the end lost": (
        the_end_lost,
        [
            f"The log ends at position 180, but it has been at 181: its end is lost {RESTORE}; or .* rebuild",
            "A row of projects .*",
            f"The snapshot of .* at its version 101 holds {LOST}: geti-action rebuild",
        ],
    ),
    "a whole stream lost": (
        lambda connection: connection.execute(delete(EVENTS).where(EVENTS.c.originator_id == named("lab"))),
        [
            f"A row of claims holds {LOST}: geti-action rebuild claims",
            f"A row of projects holds {LOST}: geti-action rebuild projects",
        ],
    ),
    "the newest event of a stream lost": (
        newest_lost,
        [f"A row of projects holds {LOST}: geti-action rebuild projects"],
    ),
    "its position taken by another": (
        newest_replaced,
        ["A row of claims is .*", f"A row of projects holds {LOST}: geti-action rebuild projects"],
    ),
    "a checksum gone": (
        without_checksum(70),
        [
            f"The event 'recording.closed' at position 70 is not what was written: its checksum is gone {RESTORE}",
            NO_VIEWS,
        ],
    ),
    "rows of a view": (
        rows_of("jobs"),
        ["3 rows of jobs are not what the log says -> geti-action rebuild jobs"],
    ),
    "claims": (
        rows_of("claims"),
        ["3 rows of claims are not what the log says -> geti-action rebuild claims"],
    ),
    "a parked view": (
        position_of("jobs", position=3, parked_reason="no such lens"),
        ["The view jobs is parked at 3: no such lens -> geti-action rebuild jobs"],
    ),
    "a view behind": (
        position_of("jobs", position=3),
        ["The view jobs is at position 3 of 181 -> geti-action rebuild jobs"],
    ),
    "a snapshot": (
        a_wrong_snapshot,
        ["The snapshot of .* at its version 101 is not what its events make -> geti-action rebuild"],
    ),
    "a snapshot of another release": (an_old_snapshot, []),
}


def test_a_whole_system_has_nothing_to_find(log: Log) -> None:
    before = rows(log, *EVERYTHING)
    assert len(before["snapshots"]) == 1
    assert found(log) == []
    assert rows(log, *EVERYTHING) == before


def test_each_damage_is_found_and_told_with_what_to_do(log: Log) -> None:
    saved = rows(log, *EVERYTHING)
    for name, (damage, expected) in DAMAGE.items():
        with log.engine.begin() as connection:
            damage(connection)
        damaged = rows(log, *EVERYTHING)
        lines = found(log)
        assert len(lines) == len(expected), (name, lines)
        for line, pattern in zip(lines, expected, strict=True):
            assert re.fullmatch(pattern, line), (name, line)
        assert rows(log, *EVERYTHING) == damaged, name  # nothing was written
        put_back(log, saved)
    assert found(log) == []


def test_what_a_rebuild_mends_is_no_finding_any_more(log: Log) -> None:
    with log.engine.begin() as connection:
        rows_of("jobs")(connection)
        rows_of("claims")(connection)
    assert len(found(log)) == 2
    rebuild(log)
    assert found(log) == []


def test_a_sequence_that_is_behind_is_found(postgresql_url: str) -> None:
    with opened(postgresql_url) as log:
        tell(log)
        with log.engine.begin() as connection:
            connection.execute(text("SELECT setval(pg_get_serial_sequence('geti_events', 'id'), 7)"))
        assert found(log) == [
            "The next event would get position 8, which is not behind 80 "
            "-> export the log, and import it into a new database"
        ]


def test_a_view_that_this_release_cannot_make_is_named(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def poison(*_: object) -> list[object]:
        raise ValueError("no such lens")

    cameras = ALL["cameras"]
    monkeypatch.setitem(ALL, "cameras", View(cameras.tables, cameras.listens_to, poison))  # type: ignore[arg-type]
    (line,) = found(log)
    assert re.fullmatch(r"This release cannot make the view cameras: .*no such lens -> install one that can", line)


def test_others_may_append_meanwhile(log: Log, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two steps, and while rows are compared."""
    compare = Fresh.compare

    def meanwhile(*_: int) -> None:
        with opened(database_url) as other:
            asyncio.run(other.append(new_project("meanwhile")))

    def compared(fresh: Fresh) -> int:
        meanwhile()
        return compare(fresh)

    monkeypatch.setattr(Fresh, "compare", compared)
    monkeypatch.setattr("actors.care.rows.BATCH", 50)
    before = log.position()
    assert list(check_log(log, meanwhile)) == []
    assert log.position() >= before + 4 + len(ALL)
