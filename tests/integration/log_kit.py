"""What the tests of the log and of the gateway share: things to append, and all that a database holds."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from fcntl import LOCK_EX, flock
from hashlib import sha256
from typing import Any, cast
from uuid import UUID, uuid4

from sqlalchemy import Connection, Table, text

from actors.log import Log
from domain.aggregate import Aggregate, DomainEvent
from domain.camera import Camera, CreateSimulatedCamera, SimulatedPayload
from domain.dataset import CreateDataset, Dataset
from domain.environment import CreateEnvironment, Environment, EnvironmentRobot
from domain.project import CreateProject, Project
from domain.recording import OpenRecording, Recording
from domain.robot import CreateRobot, PushTPayload, Robot
from projections import database, tables

AT = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)
Rows = dict[str, list[tuple[Any, ...]]]


def new_project(name: str = "lab") -> Project:
    return Project.create(uuid4(), CreateProject(name=name), AT)


def new_camera(project: Aggregate | UUID, name: str = "top", **payload: Any) -> Camera:
    command = CreateSimulatedCamera(driver="simulated", name=name, payload=SimulatedPayload(**payload))
    return Camera.create(uuid4(), _id(project), command, AT)


def new_robot(project: Aggregate | UUID, name: str = "arm", seed: int = 0) -> Robot:
    return Robot.create(
        uuid4(), _id(project), CreateRobot(name=name, type="PushT", payload=PushTPayload(seed=seed)), AT
    )


def new_environment(
    project: Aggregate, robot: Aggregate | UUID, camera: Aggregate | UUID, name: str = "cell"
) -> Environment:
    used = [EnvironmentRobot(robot_id=_id(robot))]
    command = CreateEnvironment(name=name, robots=used, camera_ids=[_id(camera)])
    return Environment.create(uuid4(), project.id, command, AT)


def new_dataset(project: Aggregate, environment: Aggregate, name: str = "pushes") -> Dataset:
    command = CreateDataset(name=name, project_id=project.id, environment_id=environment.id)
    return Dataset.create(uuid4(), command, AT)


def new_session(environment: Environment) -> Recording:
    command = OpenRecording(environment_id=environment.id)
    return Recording.open(uuid4(), environment.project_id, command, environment, "practice", AT)


def _id(thing: Aggregate | UUID) -> UUID:
    return thing if isinstance(thing, UUID) else thing.id


class Cell:
    """A project with one of each thing that lives in it."""

    def __init__(self) -> None:
        self.project = new_project()
        self.camera, self.robot = new_camera(self.project), new_robot(self.project)
        self.environment = new_environment(self.project, self.robot, self.camera)
        self.dataset = new_dataset(self.project, self.environment)
        self.things = (self.project, self.camera, self.robot, self.environment, self.dataset)


class Told:
    """One event that happened elsewhere, as an aggregate that is about to be appended."""

    def __init__(self, event: DomainEvent) -> None:
        self.pending_events, self.version = [event], event.originator_version

    def collect_events(self) -> None:
        self.pending_events = []


def told(event: DomainEvent) -> Aggregate:
    return cast("Aggregate", Told(event))


def contents(log: Log) -> Rows:
    """Every row of every table, the log's own too."""
    with log.engine.connect() as connection:
        return {
            table.name: sorted((tuple(row) for row in connection.execute(table.select())), key=repr)
            for table in tables.metadata.sorted_tables
        }


def digests(log: Log) -> dict[str, str]:
    """A hash of every table's rows, for tables that are too large to be held."""
    with log.engine.connect() as connection:
        return {table.name: _digest(connection, table) for table in tables.metadata.sorted_tables}


def _digest(connection: Connection, table: Table) -> str:
    digest = sha256()
    chosen = table.select().order_by(*table.primary_key).execution_options(yield_per=1000)
    for row in connection.execute(chosen):
        digest.update(repr(tuple(row)).encode())
    return digest.hexdigest()


@contextmanager
def kept_from_writing(url: str) -> Iterator[None]:
    """While this lasts some other process has the lock under which everybody writes."""
    path = database.sqlite_path(url)
    if path is not None:
        with path.with_name(f"{path.name}.lockfile").open("ab") as lock:
            flock(lock, LOCK_EX)
            yield
        return
    engine = database.engine(url)
    with engine.connect() as connection:
        connection.execute(text(f"LOCK TABLE {tables.events.name} IN EXCLUSIVE MODE"))
        yield
    engine.dispose()
