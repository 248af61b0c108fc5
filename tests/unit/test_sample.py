"""The sample cell that SEED_DB makes and the one that the page makes are one and the same."""

import json
from typing import Any

from pydantic import TypeAdapter

from actors.log import now
from actors.sample import sample
from domain.aggregate import Aggregate
from domain.camera import Camera, CreateCamera
from domain.dataset import CreateDataset, Dataset
from domain.environment import CreateEnvironment, Environment
from domain.project import CreateProject, Project
from domain.robot import CreateRobot, Robot
from settings import PROJECT

BODIES: dict[str, Any] = json.loads((PROJECT / "console" / "sample.json").read_text())


def of_the_page() -> list[Aggregate]:
    """What the routes make of the bodies that the page sends."""
    project = CreateProject.model_validate(BODIES["project"])
    robot = CreateRobot.model_validate(BODIES["robot"])
    cameras = [TypeAdapter(CreateCamera).validate_python(body) for body in BODIES["cameras"]]
    environment = CreateEnvironment.model_validate(BODIES["environment"])
    dataset = CreateDataset.model_validate(BODIES["dataset"])
    return [
        Project.create(project.id, project, now()),
        Robot.create(robot.id, project.id, robot, now()),
        *(Camera.create(camera.id, project.id, camera, now()) for camera in cameras),
        Environment.create(environment.id, project.id, environment, now()),
        Dataset.create(dataset.id, dataset, now()),
    ]


def facts(aggregates: list[Aggregate]) -> list[dict[str, Any]]:
    """What the server compares when a create is repeated: the first event of each but for its time."""
    return [aggregate.pending_events[0].model_dump(exclude={"timestamp"}) for aggregate in aggregates]


def test_the_page_makes_what_seed_db_makes() -> None:
    assert facts(of_the_page()) == facts(sample())
