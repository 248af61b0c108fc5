"""A log is written out and taken in again, from either database into either: all of it or nothing."""

import hashlib
import io
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, update

from actors.answers import Answer, Once
from actors.care import lines
from actors.care.exporting import export_log, export_to
from actors.care.importing import Imported, import_log
from actors.codec import Damaged, UnknownTopic
from actors.log import Log
from actors.rebuild import rebuild
from actors.snapshots import EVERY
from domain.errors import Conflict, GetiActionError, Invalid, KeyReused, Malformed
from domain.project import Project, UpdateProject
from projections import tables
from projections.changes import View
from projections.views import VIEWS
from tests.integration.care_kit import OLDEST, WHOLE, opened, rows, tell
from tests.integration.conftest import NewDatabase
from tests.integration.log_kit import AT, new_project, told
from tests.story import everything


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    with opened(database_url) as made:
        yield made


@pytest.fixture
def other_log(database_url: str, tmp_path: Path, new_postgresql: NewDatabase) -> Iterator[Log]:
    """A second, empty one, on the other kind of database."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'other.db'}"
        if database_url.startswith("sqlite"):
            url = stack.enter_context(new_postgresql())
        yield stack.enter_context(opened(url))


def exported(log: Log) -> bytes:
    file = io.BytesIO()
    export_log(log, file)
    return file.getvalue()


async def test_a_system_moves_with_all_its_rows(log: Log, other_log: Log) -> None:
    """As the appends themselves made them; then both go on alike."""
    for _, event in everything():
        await log.append(told(event))
    moved, last = import_log(other_log, io.BytesIO(exported(log))), len(everything())
    assert moved == Imported(last, last, {})
    assert rows(other_log) == rows(log)
    project = new_project()
    for each in (log, other_log):
        assert (await each.append(told(project.pending_events[0]))).position == last + 1
    assert rows(other_log) == rows(log)


async def test_positions_keep_their_gaps(log: Log, other_log: Log) -> None:
    await log.append(new_project("first"))
    gone = new_project("gone")
    await log.append(gone)
    await log.append(new_project("third"))
    with log.engine.begin() as connection:
        connection.execute(delete(tables.events).where(tables.events.c.originator_id == gone.id))
    rebuild(log)  # nothing is missed, as after a transaction of PostgreSQL's that was rolled back
    assert import_log(other_log, io.BytesIO(exported(log))).position == 3
    assert [position for position, _ in other_log.read()] == [1, 3]
    assert (await other_log.append(new_project("fourth"))).position == 4


def test_what_is_written_out_again_is_the_same_byte_for_byte(log: Log) -> None:
    tell(log)
    assert exported(log) == WHOLE


async def test_what_was_answered_is_answered_again_on_the_other_side(log: Log, other_log: Log) -> None:
    """But for what was not answered yet."""
    scope, sha256 = "anonymous POST /api/projects", "0" * 64
    once = Once(scope, "answered", sha256, 201, lambda *_: {"name": "Laboratory"})
    answer = (await log.append(new_project(), once=once)).answer
    await log.hold_key(scope, "held", sha256)
    file = exported(log)
    import_log(other_log, io.BytesIO(file))
    assert answer == Answer(201, {"name": "Laboratory"}, 1, 1) == other_log.answered(scope, "answered", sha256)
    assert [row["key"] for row in rows(other_log, tables.idempotency)["idempotency"]] == ["answered"]
    assert exported(other_log) == file
    with pytest.raises(KeyReused):
        other_log.answered(scope, "answered", "of another body")


class SlowPipe(io.BytesIO):
    """Who reads it takes longer over the first answer than PostgreSQL lets a transaction idle."""

    def write(self, text: Any, /) -> int:
        if text.startswith(b'{"scope":') and b'"key":"0"' in text:
            time.sleep(5)
        return super().write(text)


@pytest.mark.slow
async def test_who_takes_his_time_over_the_answers_gets_them_all(log: Log) -> None:
    with log.engine.begin() as connection:
        connection.execute(
            insert(tables.idempotency),
            [
                {"scope": "s", "key": str(key), "body_sha256": "", "status": 204, "created_at": AT, "position": 0}
                | {"answer": {"version": 0, "body": None}}
                for key in range(2500)
            ],
        )
    file = SlowPipe()
    export_log(log, file)
    reader = lines.Reader(io.BytesIO(file.getvalue()))
    assert list(reader.events()) == []
    assert sorted(int(answer.key) for answer in reader.answers()) == [*range(2500)]


def test_an_empty_log_moves_too(log: Log, other_log: Log) -> None:
    assert import_log(other_log, io.BytesIO(exported(log))) == Imported(0, 0, {})
    tell(other_log)


async def test_a_long_stream_wakes_from_a_snapshot_on_the_other_side(log: Log, other_log: Log) -> None:
    project = new_project()
    for number in range(EVERY + 4):
        project.update(UpdateProject(name=f"name {number}"), AT)
    await log.append(project)
    import_log(other_log, io.BytesIO(exported(log)))
    (snapshot,) = rows(other_log, tables.snapshots)["snapshots"]
    assert (snapshot["originator_id"], snapshot["version"]) == (project.id, project.version)
    assert other_log.load(Project, project.id).__dict__ == project.__dict__


def test_a_log_that_is_not_empty_takes_nothing_in(log: Log) -> None:
    tell(log)
    before = rows(log)
    with pytest.raises(Conflict, match=r"not empty.*position 80.*DATABASE_URL"):
        tell(log)
    assert rows(log) == before


def resealed(file: bytes) -> bytes:
    """With a last line that fits what is before it now."""
    written = io.BytesIO()
    *body, _ = file.splitlines(keepends=True)
    written.writelines(body)
    digest = hashlib.sha256(written.getvalue()).hexdigest()
    written.write(b'{"lines":%d,"sha256":"%s"}\n' % (len(body) - 1, digest.encode()))
    return written.getvalue()


def without_line(number: int) -> Callable[[bytes], bytes]:
    def change(file: bytes) -> bytes:
        kept = file.splitlines(keepends=True)
        del kept[number]
        return resealed(b"".join(kept))

    return change


def swapped(file: bytes) -> bytes:
    kept = file.splitlines(keepends=True)
    kept[3], kept[4] = kept[4], kept[3]
    return resealed(b"".join(kept))


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda file: resealed(re.sub(old, new, file, count=1))


ANSWER = (
    b'{"scope":"anonymous POST /api/projects","key":"one","body_sha256":"","status":201,'
    b'"answer":{"version":1,"body":{}},"created_at":"2026-11-01T09:00:01Z","position":1}\n'
)
BROKEN: dict[str, tuple[Callable[[bytes], bytes], type[GetiActionError], str]] = {
    "empty": (lambda _: b"", Malformed, "Line 1 is missing"),
    "no log": (lambda _: b'{"some": "json"}\n', Malformed, "newer release's.*geti-action-log/2"),
    "no JSON": (lambda _: b"PK\x03\x04\n", Malformed, "geti-action-log/1"),
    "of a later format": (lambda file: file.replace(b"log/2", b"log/3", 1), Malformed, "geti-action-log/2"),
    "cut between lines": (lambda file: b"".join(file.splitlines(keepends=True)[:60]), Malformed, "Line 61 is cut off"),
    "cut in a line": (lambda file: file[: len(file) // 2], Malformed, "is cut off"),
    "cut in its last line": (lambda file: file[:-2], Malformed, "Line 82 is cut off"),
    "a name changed": (lambda file: file.replace(b"Laboratory", b"laboratory", 1), Malformed, "does not fit"),
    "written twice": (lambda file: file + file, Malformed, "more behind the last line"),
    "spaces put in": (replaced(b'"version":', b'"version": '), Malformed, "Line 2 is not an event"),
    "positions swapped": (swapped, Malformed, "comes after position"),
    "an event left out": (without_line(20), Invalid, "Aggregate .* has version"),
    "a first event left out": (without_line(1), Invalid, "is missing"),
    "an event twice": (
        replaced(rb'"version":2,"topic":"camera', rb'"version":1,"topic":"camera'),
        Invalid,
        "positions",
    ),
    "a checksum that is wrong": (
        replaced(b'"checksum":"[0-9a-f]{16}', b'"checksum":"' + b"0" * 16),
        Damaged,
        "checksum",
    ),
    "an unknown event": (replaced(b"project.created", b"project.founded"), UnknownTopic, "'project.founded'"),
    "an answer in another shape": (
        lambda file: resealed(file.replace(b'{"lines"', b'{"scope":"anonymous"}\n{"lines"')),
        Malformed,
        "Line 82 is not an answer",
    ),
    "an event behind an answer": (
        lambda file: resealed(file.replace(b'{"position":2,', ANSWER + b'{"position":2,')),
        Malformed,
        "Line 4 is not an answer",
    ),
    "a field that is no such": (replaced(b"Laboratory", b"L" * 10 + b'","odd":"'), Damaged, "odd"),
}


def test_a_broken_file_leaves_nothing_behind(log: Log) -> None:
    before = rows(log)
    for name, (change, error, words) in BROKEN.items():
        with pytest.raises(error, match=words):
            import_log(log, io.BytesIO(change(WHOLE)))
        assert rows(log) == before, name
    tell(log)  # a good one is taken in afterwards


def test_a_view_that_cannot_take_an_event_in_is_parked_and_named(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    def poison(*_: object) -> list[object]:
        raise ValueError("no such lens")

    cameras = VIEWS["cameras"]
    monkeypatch.setitem(VIEWS, "cameras", View(cameras.tables, cameras.listens_to, poison))  # type: ignore[arg-type]
    with OLDEST.open("rb") as file:
        imported = import_log(log, file)
    assert imported.events == 80
    assert list(imported.parked) == ["cameras"]
    assert "no such lens" in imported.parked["cameras"]


def test_a_damaged_log_is_not_written_out(log: Log, tmp_path: Path) -> None:
    tell(log)
    file = tmp_path / "log.jsonl"
    file.write_text("the one before")
    with log.engine.begin() as connection:
        last = tables.events.c.id == 80
        connection.execute(update(tables.events).where(last).values(state=b'{"by":"x","checksum":"0123456789abcdef"}'))
    with pytest.raises(Damaged, match="position 80"):
        export_to(log, file)
    assert [path.name for path in tmp_path.glob("*log.jsonl*")] == ["log.jsonl"]
    assert file.read_text() == "the one before"


def test_how_far_it_is_is_told(log: Log, other_log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.care.rows.BATCH", 30)
    tell(log)
    out: list[tuple[int, int]] = []
    file = io.BytesIO()
    export_log(log, file, lambda done, total: out.append((done, total)))
    assert out == [(30, 80), (60, 80), (80, 80)]
    taken: list[int] = []
    file.seek(0)
    import_log(other_log, file, taken.append)
    assert len(taken) == 3
    assert taken == sorted(taken)
    assert taken[-1] == len(file.getvalue())
