"""The log on both databases: what is appended is there with all that follows from it; a refusal leaves nothing."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Connection, event, text

from actors.answers import Once
from actors.log import Ack, Log, VersionConflict
from actors.rebuild import rebuild
from domain import claims
from domain.aggregate import Aggregate
from domain.camera import Camera, SimulatedCamera
from domain.errors import (
    DeviceLocked,
    GetiActionError,
    InUse,
    KeyReused,
    LogBusy,
    NameTaken,
    NotFound,
    StorageFull,
    Unavailable,
    UnknownReference,
)
from domain.project import Project, UpdateProject
from domain.recording import Recording
from projections import queries, schema, tables
from projections.fold import Standing
from projections.views import VIEWS
from tests.integration.log_kit import (
    AT,
    contents,
    kept_from_writing,
    new_camera,
    new_dataset,
    new_environment,
    new_project,
    new_robot,
    new_session,
    told,
)
from tests.story import everything


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    schema.upgrade(database_url)
    made = Log(database_url)
    yield made
    made.close()


def rename(project: Project, name: str) -> Project:
    project.update(UpdateProject(name=name), AT)
    return project


async def test_what_is_appended_is_loaded_equal(log: Log) -> None:
    project = rename(new_project(), "Lab")
    camera = new_camera(project)
    ack = await log.append(project, camera)
    assert ack == Ack(log.position(), 2)
    assert not project.pending_events
    for thing in (project, camera):
        loaded = log.load(type(thing), thing.id)
        assert loaded.__dict__ == thing.__dict__
    assert [type(event) for _, event in log.read()] == [Project.Created, Project.Renamed, Camera.Created]


async def test_every_event_there_is_survives_the_log(log: Log) -> None:
    story = [event for _, event in everything()]
    for happened in story:
        await log.append(told(happened))
    assert [happened for _, happened in log.read()] == story
    positions = [position for position, _ in log.read()]
    assert positions == sorted(set(positions))
    assert [happened for _, happened in log.read(after=positions[4])] == story[5:]
    assert log.views() == dict.fromkeys(VIEWS, Standing(positions[-1], None, is_behind=False))


async def test_a_long_log_is_read_by_pages(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.log.PAGE", 3)
    await log.append(*(new_project(str(number)) for number in range(7)))
    assert [happened.name for _, happened in log.read()] == [str(number) for number in range(7)]  # type: ignore[attr-defined]


async def test_of_two_copies_one_wins(log: Log) -> None:
    project = new_project()
    await log.append(project)
    first, second = log.load(Project, project.id), log.load(Project, project.id)
    await log.append(rename(first, "first"))
    before = contents(log)
    with pytest.raises(VersionConflict):
        await log.append(rename(second, "second"), new_camera(project))
    assert contents(log) == before
    assert log.load(Project, project.id).name == "first"


def test_what_is_not_there_is_not_found(log: Log) -> None:
    with pytest.raises(NotFound):
        log.load(Project, uuid4())
    assert log.position() == 0


async def test_another_kind_of_thing_is_not_found(log: Log) -> None:
    project = new_project()
    await log.append(project)
    with pytest.raises(NotFound):
        log.load(Camera, project.id)


class Cell:
    """A project with a robot, a camera, an environment, a dataset, and a session that has the devices."""

    def __init__(self) -> None:
        self.project = new_project()
        self.camera, self.robot = new_camera(self.project), new_robot(self.project)
        self.environment = new_environment(self.project, self.robot, self.camera)
        self.dataset = new_dataset(self.project, self.environment)
        self.session = new_session(self.environment)
        devices = (self.project, self.camera, self.robot, self.environment)
        self.things: tuple[Aggregate, ...] = (*devices, self.dataset, self.session)


def _deleted(thing: Any) -> Aggregate:
    thing.delete(AT)
    return thing  # type: ignore[no-any-return]


def _reconfigured(cell: Cell) -> Aggregate:
    cell.camera.update(SimulatedCamera(driver="simulated", name="other"), AT)
    return cell.camera


REFUSALS: dict[str, tuple[type[GetiActionError], str, Callable[[Cell], Aggregate]]] = {
    "a name": (NameTaken, "camera 'top'", lambda cell: new_camera(cell.project, "TOP")),
    "a cell": (NameTaken, "robot 'arm'", lambda cell: new_robot(cell.project, "other", seed=0)),
    "a device": (DeviceLocked, "recording session", lambda cell: new_session(cell.environment)),
    "a device in use": (DeviceLocked, "recording session", _reconfigured),
    "a used thing": (InUse, "dataset 'pushes'", lambda cell: _deleted(_closed(cell).environment)),
    "a busy project": (InUse, "recording session", lambda cell: _deleted(cell.project)),
    "no such camera": (
        UnknownReference,
        "There is no camera",
        lambda cell: new_environment(cell.project, cell.robot, uuid4(), "other"),
    ),
    "no such project": (UnknownReference, "There is no project", lambda cell: new_camera(uuid4())),
}


def _closed(cell: Cell) -> Cell:
    cell.session.close("on request", AT)
    return cell


@pytest.mark.parametrize("what", REFUSALS)
async def test_a_refused_claim_says_whose_it_is_and_leaves_nothing(log: Log, what: str) -> None:
    kind, whose, attempt = REFUSALS[what]
    cell = Cell()
    await log.append(*cell.things)
    aggregate = attempt(cell)
    if cell.session.pending_events:
        await log.append(cell.session)
    before = contents(log)
    with pytest.raises(kind, match=whose):
        await log.append(aggregate, new_project("goes with it"))
    assert contents(log) == before


async def test_a_locked_device_names_the_session_that_has_it(log: Log) -> None:
    cell = Cell()
    await log.append(*cell.things)
    with pytest.raises(DeviceLocked) as refused:
        await log.append(new_session(cell.environment))
    held_by = refused.value.extra["held_by"]
    assert held_by["recording_id"] == str(cell.session.id)
    assert held_by["since"].startswith("2026-11-01T09:00:00")
    assert log.holders(claims.device(cell.camera.id)) == log.running() == [(Recording, cell.session.id)]


async def test_what_is_let_go_can_be_had(log: Log) -> None:
    cell = Cell()
    await log.append(*cell.things)
    cell.session.close("on request", AT)
    await log.append(cell.session, new_session(cell.environment))
    await log.append(_deleted(cell.dataset))
    await log.append(new_dataset(cell.project, cell.environment))
    assert len(log.running()) == 1


def once(key: str, project: Project, body: str = "body") -> Once:
    def render(connection: Connection, version: int) -> Any:
        return queries.project(connection, project.id)

    return Once("POST /api/projects", key, body, 201, render)


async def test_the_same_key_repeats_the_first_answer(log: Log) -> None:
    first, second = new_project("first"), new_project("second")
    answer = (await log.append(first, once=once("key", first))).answer
    assert answer is not None
    assert (answer.status, answer.body["name"], answer.version, answer.position) == (201, "first", 1, log.position())
    await log.append(rename(first, "changed since"))
    before = contents(log)
    assert (await log.append(second, once=once("key", second))).answer == answer
    assert log.answered("POST /api/projects", "key", "body") == answer
    assert contents(log) == before


async def test_a_key_with_another_body_is_refused(log: Log) -> None:
    project = new_project()
    await log.append(project, once=once("key", project))
    before = contents(log)
    other = new_project("other")
    with pytest.raises(KeyReused):
        await log.append(other, once=once("key", other, "another body"))
    with pytest.raises(KeyReused):
        log.answered("POST /api/projects", "key", "another body")
    assert log.answered("PUT /api/projects", "key", "another body") is None
    assert contents(log) == before


async def test_many_with_one_key_at_once_do_it_once(log: Log, database_url: str) -> None:
    other = Log(database_url)
    projects = [new_project(str(number)) for number in range(12)]
    writers = (log, other) * 6
    requests = zip(writers, projects, strict=True)
    acks = await asyncio.gather(*(writer.append(project, once=once("key", project)) for writer, project in requests))
    other.close()
    assert len({ack.answer.body["id"] for ack in acks if ack.answer}) == 1
    assert log.position() == acks[0].position
    assert len(contents(log)["projects"]) == 1


async def test_the_answer_of_a_command_without_events_knows_where_the_log_is(log: Log) -> None:
    project = new_project()
    ack = await log.append(project)
    answer = await log.remember(once("key", project), 7)
    assert (answer.position, answer.version) == (ack.position, 7)
    assert await log.append(project) == ack


async def test_an_answer_that_cannot_be_made_undoes_the_append(log: Log) -> None:
    before = contents(log)
    project = new_project()
    with pytest.raises(NotFound):
        await log.append(project, once=once("key", new_project("elsewhere")))
    assert contents(log) == before


async def test_a_cancelled_caller_leaves_it_done_or_not(log: Log) -> None:
    for patience_ms in (0, 0.2, 0.5, 1, 2, 4, 8, 16):
        before = {table: len(rows) for table, rows in contents(log).items()}
        project = rename(new_project(), "Lab")
        key = once(str(patience_ms), project)
        appending = asyncio.create_task(log.append(project, new_camera(project), once=key))
        await asyncio.sleep(patience_ms / 1000)
        appending.cancel()
        await asyncio.gather(appending, return_exceptions=True)
        await log.append(new_project("next"))  # the writer has come to whatever was left to it
        more = {table: len(rows) - before[table] for table, rows in contents(log).items() if len(rows) > before[table]}
        next_one = {"geti_events": 1, "projects": 1, "claims": 1}
        both = {"geti_events": 4, "projects": 2, "claims": 5, "cameras": 1, "idempotency": 1}
        assert more in (next_one, both), patience_ms


async def test_a_caller_cancelled_while_it_waits_for_its_turn(log: Log, database_url: str) -> None:
    project = new_project()
    with kept_from_writing(database_url), pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await log.append(project, new_camera(project))
    await log.append(new_project("next"))
    kept = contents(log)
    assert (len(kept["projects"]), len(kept["cameras"])) in ((2, 1), (1, 0))


async def test_who_waits_too_long_is_told_and_then_it_does_not_happen(database_url: str) -> None:
    schema.upgrade(database_url)
    log = Log(database_url, lock_timeout_s=0.2)
    before = contents(log)
    with kept_from_writing(database_url):
        done = await asyncio.gather(*(log.append(new_project()) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in done] == [LogBusy] * 3
        assert log.position() == 0
    assert contents(log) == before
    await log.append(new_project("after"))
    assert [row[1] for row in contents(log)["projects"]] == ["after"]
    log.close()


async def test_an_event_of_a_newer_release_is_named(log: Log) -> None:
    project = new_project()
    await log.append(project)
    row = {"originator_id": project.id, "originator_version": 2, "topic": "project.painted", "state": b"{}"}
    with log.engine.begin() as connection:
        connection.execute(tables.events.insert(), row)
    with pytest.raises(GetiActionError, match=r"project\.painted.*newer release"):
        log.load(Project, project.id)
    with pytest.raises(GetiActionError, match=r"project\.painted"):
        rebuild(log)


async def test_a_full_disk_is_told_and_nothing_is_left(sqlite_url: str) -> None:
    schema.upgrade(sqlite_url)
    log = Log(sqlite_url)
    with log.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    log.engine.dispose()

    @event.listens_for(log.engine, "connect")
    def _full(connection: Any, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count={pages}")

    before = contents(log)
    with pytest.raises(StorageFull):
        await log.append(*(new_project(str(number)) for number in range(100)))
    assert contents(log) == before
    log.close()


FAILURES = {"disk_full": StorageFull, "lock_not_available": LogBusy, "deadlock_detected": LogBusy}


@pytest.mark.parametrize("condition", [*FAILURES, "admin_shutdown"])
async def test_what_postgresql_says_is_translated(postgresql_url: str, condition: str) -> None:
    schema.upgrade(postgresql_url)
    log = Log(postgresql_url)
    says = {"disk_full": "could not extend file", "admin_shutdown": "terminating"}.get(condition, "lock")
    with log.engine.begin() as connection:
        fail = f"RAISE EXCEPTION '{says}' USING ERRCODE = '{condition}'"
        connection.execute(text(f"CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN {fail}; END$$"))
        connection.execute(text("CREATE TRIGGER fail AFTER INSERT ON projects EXECUTE FUNCTION fail()"))
    before = contents(log)
    with pytest.raises(FAILURES.get(condition, Unavailable)):
        await log.append(new_project())
    assert contents(log) == before
    log.close()


async def test_a_database_that_cannot_be_written_is_no_conflict(
    sqlite_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schema.upgrade(sqlite_url)
    log = Log(sqlite_url)
    with log.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only=ON")
    with pytest.raises(Unavailable):
        await log.append(new_project())
    assert "readonly" in caplog.text
    log.close()


async def test_an_append_after_the_database_was_started_again_is_like_any_other(postgresql_url: str) -> None:
    schema.upgrade(postgresql_url)
    log = Log(postgresql_url)
    await log.append(new_project("before"))
    with log.engine.connect() as connection:
        others = "pid <> pg_backend_pid() AND datname = current_database()"
        connection.execute(text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}"))
    await log.append(new_project("after"))
    with log.engine.connect() as connection:
        assert {row.name for row in connection.execute(tables.projects.select())} == {"before", "after"}
    log.close()
