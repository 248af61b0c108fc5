"""The sample project: the simulated cell that the page's button starts too (console/sample.json says the same). Making
it again changes nothing."""

import logging
from uuid import NAMESPACE_URL, UUID, uuid5

from actors.gateway import Gateway
from actors.log import Log, now
from domain.aggregate import Aggregate
from domain.camera import Camera, CreateSimulatedCamera, SimulatedPayload
from domain.dataset import CreateDataset, Dataset
from domain.environment import CreateEnvironment, Environment, EnvironmentRobot, TeleOperator
from domain.errors import NameTaken, UnknownReference
from domain.project import CreateProject, Project
from domain.robot import CreateRobot, PushTPayload, Robot

logger = logging.getLogger(__name__)

TASK = "Push the T-shaped block onto the T-shaped target."


def sample_id(thing: str) -> UUID:
    """The same in every installation. ``thing``: project, robot, top, testcard, environment, dataset."""
    return uuid5(NAMESPACE_URL, f"geti-action/sample/{thing}")


async def make_sample(gateway: Gateway) -> None:
    """Robot, two cameras, environment and an empty dataset in a project "Sample cell". What was changed or deleted
    since stays so: only what never was is made, as far as that leaves room for it."""
    for aggregate in sample():
        if gateway.log.stream(aggregate.id):
            continue
        try:
            await gateway.create(aggregate)
        except (NameTaken, UnknownReference) as error:
            logger.warning("The sample project stays as it is: %s", error.detail)
            return


def gone(log: Log) -> list[str]:
    """What of the sample project was deleted, in words: "project Sample cell"."""
    stand = (log.load(type(each), each.id) for each in sample() if log.stream(each.id))
    return [f"{each.kind} {getattr(each, 'name', each.id)}" for each in stand if each.deleted]


def sample() -> list[Aggregate]:
    """Everything in the sample project, in the order in which one refers to another, not made yet."""
    return [_project(), _robot(), *_cameras(), _environment(), _dataset()]


def _project() -> Project:
    return Project.create(sample_id("project"), CreateProject(name="Sample cell"), now())


def _robot() -> Robot:
    command = CreateRobot(name="pusher", type="PushT", payload=PushTPayload(seed=0))
    return Robot.create(sample_id("robot"), sample_id("project"), command, now())


def _cameras() -> list[Camera]:
    scenes = {
        "top": SimulatedPayload(scene="pusht", width=480, height=480, fps=30),
        "testcard": SimulatedPayload(scene="testcard", width=640, height=480, fps=30),
    }
    return [
        Camera.create(
            sample_id(name),
            sample_id("project"),
            CreateSimulatedCamera(driver="simulated", name=name, payload=payload),
            now(),
        )
        for name, payload in scenes.items()
    ]


def _environment() -> Environment:
    robot = EnvironmentRobot(robot_id=sample_id("robot"), tele_operator=TeleOperator(type="scripted"))
    cameras = [sample_id("top"), sample_id("testcard")]
    command = CreateEnvironment(name="cell", robots=[robot], camera_ids=cameras)
    return Environment.create(sample_id("environment"), sample_id("project"), command, now())


def _dataset() -> Dataset:
    project, environment = sample_id("project"), sample_id("environment")
    command = CreateDataset(name="pushes", project_id=project, environment_id=environment, default_task=TASK)
    return Dataset.create(sample_id("dataset"), command, now())
