"""Commands to what is decided in the replica itself, on a real log. No Ray runs here, so no owner is ever awake."""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest

from actors import gateway as module
from actors.entity import ATTEMPTS
from actors.gateway import Gateway
from actors.log import Ack, Log
from actors.provenance import Provenance, acting
from domain.aggregate import Aggregate
from domain.camera import Camera, CreateSimulatedCamera
from domain.errors import Conflict, DeviceLocked, InUse, NotFound, StaleVersion, Unavailable, UnknownReference
from domain.project import CreateProject, Project, UpdateProject
from domain.robot import Robot
from projections import schema
from tests.integration.log_kit import (
    AT,
    Cell,
    contents,
    new_camera,
    new_project,
    new_session,
)


@pytest.fixture
def gateway(database_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    monkeypatch.setattr(module, "living", lambda kind, id: None)
    schema.upgrade(database_url)
    log = Log(database_url)
    yield Gateway(log)
    log.close()


def named(id: UUID, name: str) -> Project:
    """The same create, at another moment."""
    return Project.create(id, CreateProject(name=name), AT.replace(hour=AT.hour + 1))


def renaming(name: str) -> Any:
    return lambda project: project.update(UpdateProject(name=name), AT)


async def test_a_repeated_create_changes_nothing(gateway: Gateway) -> None:
    project = new_project("lab")
    assert (await gateway.create(project))[0]
    await gateway.change(Project, project.id, renaming("changed since"))
    before = contents(gateway.log)
    made, ack = await gateway.create(named(project.id, "lab"))
    assert (made, ack.version, ack.position) == (False, 2, gateway.log.position())
    assert contents(gateway.log) == before


async def test_the_same_id_for_something_else_is_a_conflict(gateway: Gateway) -> None:
    project = new_project("lab")
    await gateway.create(project)
    before = contents(gateway.log)
    with pytest.raises(Conflict, match="already taken"):
        await gateway.create(named(project.id, "other"))
    command = CreateSimulatedCamera(driver="simulated", name="top")
    with pytest.raises(Conflict, match="already taken"):
        await gateway.create(Camera.create(project.id, project.id, command, AT))
    assert contents(gateway.log) == before


async def test_what_was_deleted_is_not_created_again(gateway: Gateway) -> None:
    project = new_project("lab")
    await gateway.create(project)
    await gateway.delete_project(project.id)
    with pytest.raises(Conflict, match="choose another"):
        await gateway.create(named(project.id, "lab"))


async def test_a_stale_version_is_refused(gateway: Gateway) -> None:
    project = new_project()
    await gateway.create(project)
    assert (await gateway.change(Project, project.id, renaming("first"), if_match=1)).version == 2
    before = contents(gateway.log)
    with pytest.raises(StaleVersion, match="version 2 now, not 1"):
        await gateway.change(Project, project.id, renaming("second"), if_match=1)
    with pytest.raises(StaleVersion):
        await gateway.delete_project(project.id, if_match=1)
    assert contents(gateway.log) == before


async def test_a_change_to_what_is_already_so_is_no_event(gateway: Gateway) -> None:
    project = new_project("lab")
    _, made = await gateway.create(project)
    assert await gateway.change(Project, project.id, renaming("lab")) == made


async def test_all_that_change_at_once_succeed(gateway: Gateway, database_url: str) -> None:
    other = Gateway(Log(database_url))
    project = new_project()
    await gateway.create(project)
    names = [f"{number:02}" for number in range(12)]
    pairs = zip((gateway, other) * 6, names, strict=True)
    changes = (each.change(Project, project.id, renaming(name)) for each, name in pairs)
    acks = await asyncio.gather(*changes)
    other.log.close()
    assert sorted(ack.version for ack in acks) == list(range(2, 14))
    renamed = [event.name for event in gateway.log.stream(project.id) if isinstance(event, Project.Renamed)]
    assert sorted(renamed) == names


async def test_a_change_that_is_always_too_late_gives_up(gateway: Gateway) -> None:
    project = new_project()
    await gateway.create(project)

    async def overtake() -> None:
        first = gateway.log.load(Project, project.id)
        first.update(UpdateProject(name=str(uuid4())), AT)
        await gateway.log.append(first)

    def overtaken(loaded: Project) -> None:
        with ThreadPoolExecutor(1) as elsewhere:
            elsewhere.submit(asyncio.run, overtake()).result()
        loaded.update(UpdateProject(name="mine"), AT)

    with pytest.raises(Unavailable, match="too often"):
        await gateway.change(Project, project.id, overtaken)
    assert gateway.log.load(Project, project.id).version == ATTEMPTS + 1


async def test_a_project_goes_with_its_children_in_one_append(gateway: Gateway) -> None:
    cell, stays = Cell(), Cell()
    await gateway.log.append(*cell.things, *stays.things)
    before = gateway.log.position()
    for _ in range(3):
        await gateway.change(
            Project, cell.project.id, lambda project: project.update(UpdateProject(name=uuid4().hex), AT)
        )
    ack = await gateway.delete_project(cell.project.id)
    assert ack.version == 5  # the project's, not that of the first thing in it
    deleted = [event for _, event in gateway.log.read(after=before)]
    assert {event.originator_id for event in deleted} == {thing.id for thing in cell.things}
    assert [event.TOPIC for event in deleted][-1] == "project.deleted"
    assert ack.position == gateway.log.position()
    kept = contents(gateway.log)
    for table in ("projects", "cameras", "robots", "environments", "datasets"):
        assert len(kept[table]) == 1, table
    assert not [row for row in kept["claims"] if str(cell.project.id) in repr(row)]
    for thing in cell.things:
        with pytest.raises(NotFound):
            gateway.load(type(thing), thing.id)


async def test_a_project_in_which_a_session_is_open_stays_whole(gateway: Gateway) -> None:
    cell = Cell()
    session = new_session(cell.environment)
    await gateway.log.append(*cell.things, session)
    before = contents(gateway.log)
    with pytest.raises((InUse, DeviceLocked), match="recording session"):
        await gateway.delete_project(cell.project.id)
    assert contents(gateway.log) == before
    session.close("on request", AT)
    await gateway.log.append(session)
    await gateway.delete_project(cell.project.id)
    assert contents(gateway.log)["projects"] == []


async def test_a_locked_device_says_which_session_has_it_whose_and_where(gateway: Gateway) -> None:
    cell = Cell()
    session = new_session(cell.environment)
    with acting(Provenance("ann")):
        await gateway.log.append(*cell.things, session)
    gateway.must_be_free(uuid4())
    with pytest.raises(DeviceLocked) as opening:
        gateway.must_be_free(cell.camera.id)
    assert opening.value.extra["held_by"]["node"] is None
    session.ready(uuid4(), "10.0.0.7", AT)
    await gateway.log.append(session)
    for refused in (
        gateway.create(new_session(cell.environment)),
        gateway.change(Camera, cell.camera.id, lambda camera: camera.delete(AT)),
    ):
        with pytest.raises(DeviceLocked) as told:
            await refused
        who = {"recording_id": str(session.id), "who": "ann", "node": "10.0.0.7"}
        assert told.value.extra["held_by"].items() >= who.items()
        assert told.value.extra["held_by"]["since"].startswith("2026-11-01T09:00:00")


async def test_a_project_that_gains_a_member_meanwhile_takes_it_along(
    gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = Cell()
    await gateway.log.append(*cell.things)
    append, late = gateway.log.append, new_camera(cell.project, "late")

    async def joined_first(*aggregates: Aggregate, **how: Any) -> Ack:
        if late.pending_events:
            await append(late)
        return await append(*aggregates, **how)

    monkeypatch.setattr(gateway.log, "append", joined_first)
    await gateway.delete_project(cell.project.id)
    assert contents(gateway.log)["cameras"] == []


async def test_what_a_body_names_must_live_in_the_project(gateway: Gateway) -> None:
    cell, other = Cell(), new_project("other")
    await gateway.log.append(*cell.things, other)
    gateway.refer(cell.project.id, Camera, [cell.camera.id])
    wrong: list[tuple[UUID, type[Aggregate], UUID, str]] = [
        (cell.project.id, Camera, uuid4(), "unknown_camera"),
        (cell.project.id, Camera, cell.robot.id, "unknown_camera"),
        (other.id, Robot, cell.robot.id, "unknown_robot"),
    ]
    for project, kind, id, code in wrong:
        with pytest.raises(UnknownReference) as refused:
            gateway.refer(project, kind, [id])
        assert refused.value.error_code == code
    await gateway.delete_project(cell.project.id)
    with pytest.raises(UnknownReference):
        gateway.refer(cell.project.id, Camera, [cell.camera.id])


async def test_a_child_is_not_found_under_another_project(gateway: Gateway) -> None:
    cell, other = Cell(), new_project("other")
    await gateway.log.append(*cell.things, other)
    before = contents(gateway.log)
    with pytest.raises(NotFound) as refused:
        await gateway.change(Camera, cell.camera.id, lambda camera: camera.delete(AT), project_id=other.id)
    assert refused.value.error_code == "camera_not_found"
    assert contents(gateway.log) == before
