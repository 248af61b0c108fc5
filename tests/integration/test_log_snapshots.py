"""Long streams are loaded from a snapshot and what came after it; without one they are replayed, to the same end."""

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import delete, select, update

from actors.answers import Once
from actors.log import Ack, Log
from actors.snapshots import EVERY
from domain.project import Project, UpdateProject
from projections import schema, tables
from tests.integration.log_kit import AT, new_camera, new_project

EVENTS = 10_000


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    schema.upgrade(database_url)
    made = Log(database_url)
    yield made
    made.close()


async def grow(log: Log, project: Project, to: int) -> None:
    """In appends of up to a thousand events, as a long life would in many more."""
    while project.version < to:
        for _ in range(min(1000, to - project.version)):
            project.update(UpdateProject(name=f"name {project.version}"), AT)
        await log.append(project)


def kept(log: Log) -> dict[object, int]:
    """The version of each aggregate's snapshot."""
    with log.engine.connect() as connection:
        rows = connection.execute(select(tables.snapshots.c.originator_id, tables.snapshots.c.version))
        return {row.originator_id: row.version for row in rows}


def wait_for_snapshot(log: Log, project: Project, version: int) -> None:
    deadline = time.monotonic() + 30
    while kept(log).get(project.id) != version:
        assert time.monotonic() < deadline, kept(log)
        time.sleep(0.01)


async def test_a_short_stream_has_none(log: Log) -> None:
    project = new_project()
    await grow(log, project, EVERY - 1)
    await log.append(new_camera(project))
    assert kept(log) == {}


async def test_a_snapshot_and_what_came_after_make_the_same_aggregate(log: Log) -> None:
    project = new_project()
    await grow(log, project, EVERY)
    wait_for_snapshot(log, project, EVERY)
    await grow(log, project, EVERY + 7)
    loaded = log.load(Project, project.id)
    assert loaded.__dict__ == project.__dict__
    loaded.update(UpdateProject(name="goes on"), AT)
    await log.append(loaded)
    assert log.load(Project, project.id).name == "goes on"


async def test_what_a_repeated_key_did_not_write_is_not_kept(log: Log) -> None:
    """Both decided on the same version: the second gets the first's answer, and nothing of its own becomes of it."""
    project = new_project()
    await grow(log, project, EVERY - 2)
    once = Once("PUT /api/projects/1", "key", "", 200, lambda *_: "renamed")
    first, second = log.load(Project, project.id), log.load(Project, project.id)
    first.update(UpdateProject(name="first"), AT)
    assert (await log.append(first, once=once)).answer == (await _renamed_twice(log, second, once)).answer
    assert log.load(Project, project.id).version == EVERY - 1
    await log.append(new_project("after"))  # the writer's queue is done with what came before
    assert kept(log) == {}


async def _renamed_twice(log: Log, project: Project, once: Once) -> Ack:
    for name in ("second", "third"):
        project.update(UpdateProject(name=name), AT)
    return await log.append(project, once=once)


async def test_it_is_what_is_read(log: Log) -> None:
    """The events before it are not looked at: here they are gone."""
    project = new_project()
    await grow(log, project, EVERY)
    wait_for_snapshot(log, project, EVERY)
    with log.engine.begin() as connection:
        connection.execute(delete(tables.events).where(tables.events.c.originator_version < EVERY))
    assert log.load(Project, project.id).__dict__ == project.__dict__


async def test_one_of_another_shape_is_replayed_past(log: Log) -> None:
    project = new_project()
    await grow(log, project, EVERY)
    wait_for_snapshot(log, project, EVERY)
    with log.engine.begin() as connection:
        connection.execute(update(tables.snapshots).values(state=b'{"name": "of an older release"}'))
    assert log.load(Project, project.id).__dict__ == project.__dict__


@pytest.mark.alone
async def test_ten_thousand_events_are_loaded_in_a_blink(log: Log) -> None:
    project = new_project()
    await grow(log, project, EVENTS)
    wait_for_snapshot(log, project, EVENTS)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        loaded = log.load(Project, project.id)
        times.append(time.perf_counter() - began)
    assert loaded.__dict__ == project.__dict__
    assert min(times) < 0.050
