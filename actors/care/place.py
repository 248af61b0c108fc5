"""Where an adopted dataset belongs: a project and an environment, found by name or id, or made."""

from typing import NamedTuple
from uuid import UUID, uuid4

from pydantic import ValidationError
from sqlalchemy import Table, select

from actors.capture.manifest import EpisodeManifest
from actors.log import Log, now
from domain.aggregate import Aggregate
from domain.camera import Camera, CreateSimulatedCamera, SimulatedPayload
from domain.environment import CreateEnvironment, Environment, EnvironmentRobot, TeleOperator
from domain.errors import Conflict, Invalid, NotFound
from domain.project import CreateProject, Project
from domain.robot import CreateRobot, PushTPayload, Robot
from projections import tables


class Place(NamedTuple):
    """The ids, and what must be made first, in the order in which one refers to another."""

    project_id: UUID
    environment_id: UUID
    new: list[Aggregate]


def place(log: Log, project: str, environment: str, episode: EpisodeManifest) -> Place:
    """The project and environment of that name or id. Raises NotFound for an id that is nothing's, Conflict for a name
    that several have, Invalid when an environment must be made and cannot be."""
    project_id = _found(log, Project, tables.projects, project)
    if project_id is None:
        made = Project.create(uuid4(), CreateProject(name=project), now())
        return _with_cell(made.id, environment, episode, [made])
    environment_id = _found(log, Environment, tables.environments, environment, project_id)
    if environment_id is None:
        return _with_cell(project_id, environment, episode, [])
    return Place(project_id, environment_id, [])


def _found(log: Log, kind: type[Aggregate], table: Table, wanted: str, project_id: UUID | None = None) -> UUID | None:
    try:
        id = UUID(wanted)
    except ValueError:
        return _named(log, kind, table, wanted, project_id)
    thing = log.load(kind, id)
    thing.must_exist()
    if project_id is not None and getattr(thing, "project_id", None) != project_id:
        raise NotFound.of(kind.kind, id)
    return id


def _named(log: Log, kind: type[Aggregate], table: Table, name: str, project_id: UUID | None) -> UUID | None:
    query = select(table.c.id).where(table.c.name == name)
    if project_id is not None:
        query = query.where(table.c.project_id == str(project_id))
    with log.engine.connect() as connection:
        ids = connection.scalars(query).all()
    if len(ids) > 1:
        raise Conflict(f"There are {len(ids)} {kind.kind}s named '{name}': say which by its id ({', '.join(ids)}).")
    return UUID(ids[0]) if ids else None


def _with_cell(project_id: UUID, name: str, episode: EpisodeManifest, new: list[Aggregate]) -> Place:
    """With an environment in which more such episodes could be recorded: a simulated robot and cameras, named as in the
    episode, of the same size."""
    if episode.meta.robot_type != "PushT":
        raise Invalid(
            f"The episodes are of a robot {episode.meta.robot_type}, which cannot be made up. Make a project and an "
            "environment with your devices first, then name them: --project, --environment."
        )
    try:
        devices = _devices(project_id, episode)
        robot, *cameras = devices
        used = [EnvironmentRobot(robot_id=robot.id, tele_operator=TeleOperator(type="scripted"))]
        composed = CreateEnvironment(name=name, robots=used, camera_ids=[camera.id for camera in cameras])
    except ValidationError as error:
        raise Invalid(
            f"No simulated cell fits the episodes: {error.errors()[0]['msg']}. Name an environment."
        ) from error
    environment = Environment.create(uuid4(), project_id, composed, now())
    return Place(project_id, environment.id, [*new, *devices, environment])


def _devices(project_id: UUID, episode: EpisodeManifest) -> list[Aggregate]:
    """The robot and its cameras see the same cell, which is no other robot's in the project."""
    seed = episode.meta.dataset_id.int % 2**31
    robot = CreateRobot(name="adopted robot", type="PushT", payload=PushTPayload(seed=seed))
    devices: list[Aggregate] = [Robot.create(uuid4(), project_id, robot, now())]
    for key, facts in episode.cameras.items():
        size = SimulatedPayload(scene="pusht", width=facts.width, height=facts.height, fps=episode.meta.fps, seed=seed)
        camera = CreateSimulatedCamera(driver="simulated", name=key, payload=size)
        devices.append(Camera.create(uuid4(), project_id, camera, now()))
    return devices
