"""A long, plausible log: one project after the other in which a session is recorded, a policy is trained on it and
evaluated; every third project is deleted in the end. The events are real ones, decided by the aggregates."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import batched, islice
from typing import Any
from uuid import UUID, uuid5

from sqlalchemy import Connection

from actors import claims
from actors.log import Log
from domain.aggregate import Aggregate, DomainEvent
from domain.camera import Camera, CreateSimulatedCamera
from domain.dataset import CreateDataset, Dataset
from domain.environment import CreateEnvironment, Environment
from domain.episode import EpisodeFacts
from domain.model import Model, Rollouts
from domain.project import CreateProject, Project
from domain.recording import OpenRecording, Recording, SaveEpisode, StartEpisode
from domain.robot import CreateRobot, Robot
from domain.training import Evaluate, Job, Train
from projections import bulk, fold, tables

EPISODES, STEPS = 60, 100
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
BATCH = 5_000
_SPACE = UUID(int=0)


def long_log(events: int) -> Iterator[DomainEvent]:
    """The first ``events`` of it; the same every time."""
    return islice((event for number in range(events) for event in _campaign(number)), events)


def append_all(log: Log, happened: Iterable[DomainEvent]) -> int:
    """Put the events into an empty log with all that follows from them, thousands in a transaction. How many."""
    count = 0
    for page in batched(happened, BATCH):
        recorded = list(enumerate(page, start=count + 1))
        with log.engine.connect() as connection, log.turn(connection):
            insert(connection, page)
            bulk.write(connection, fold.changes_of(recorded, {"claims": claims.VIEW}))
            fold.fold(connection, recorded)
        count += len(page)
    return count


def insert(connection: Connection, happened: Iterable[DomainEvent]) -> None:
    """The events alone, as the log keeps them."""
    connection.execute(tables.events.insert(), [_row(event) for event in happened])


def _row(event: DomainEvent) -> dict[str, Any]:
    state = event.model_dump_json(exclude={"originator_id", "originator_version"}).encode()
    version = event.originator_version
    return {"originator_id": event.originator_id, "originator_version": version, "topic": event.TOPIC, "state": state}


@dataclass
class _Campaign:
    """One project, from its beginning to its end. Every event is 100 ms after the one before."""

    number: int
    happened: list[DomainEvent] = field(default_factory=list)

    @property
    def at(self) -> datetime:
        return BEGINNING + timedelta(days=self.number, milliseconds=100 * len(self.happened))

    def id(self, name: str) -> UUID:
        return uuid5(_SPACE, f"{self.number} {name}")

    def record(self, *aggregates: Aggregate) -> None:
        for aggregate in aggregates:
            self.happened += aggregate.collect_events()  # type: ignore[arg-type]


def _campaign(number: int) -> list[DomainEvent]:
    it = _Campaign(number)
    project = Project.create(it.id("project"), CreateProject(name=f"Project {number}"), it.at)
    it.record(project)
    cameras, robot, environment, dataset = _cell(it, project.id)
    _session(it, cameras, environment, dataset)
    model = _training(it, dataset)
    if number % 3 == 2:
        things: tuple[Any, ...] = (dataset, environment, *cameras, robot, model, project)
        for thing in things:
            thing.delete(it.at)
            it.record(thing)
    return it.happened


def _cell(it: _Campaign, project: UUID) -> tuple[list[Camera], Robot, Environment, Dataset]:
    cameras = [
        Camera.create(it.id(name), project, CreateSimulatedCamera(driver="simulated", name=name), it.at)
        for name in ("top", "wrist")
    ]
    robot = Robot.create(it.id("robot"), project, CreateRobot(name="arm", type="PushT"), it.at)
    used: list[Any] = [{"robot_id": robot.id}]
    composed = CreateEnvironment(name="cell", robots=used, camera_ids=[camera.id for camera in cameras])
    environment = Environment.create(it.id("environment"), project, composed, it.at)
    command = CreateDataset(name="pushes", project_id=project, environment_id=environment.id)
    dataset = Dataset.create(it.id("dataset"), command, it.at)
    it.record(*cameras, robot, environment, dataset)
    return cameras, robot, environment, dataset


def _session(it: _Campaign, cameras: list[Camera], environment: Environment, dataset: Dataset) -> None:
    command = OpenRecording(environment_id=environment.id, dataset_id=dataset.id)
    session = Recording.open(it.id("session"), dataset.project_id, command, environment, "Push the T.", it.at)
    for camera in cameras:
        camera.connect(it.id("run"), "node-1", it.at)
        camera.stream(640, 480, 30.0, "node-1", it.at)
    session.ready(it.id("run"), "node-1", it.at)
    it.record(session, *cameras)
    for number in range(EPISODES):
        episode = _facts(it, session, it.id(f"episode {number}"))
        session.start(episode.episode_id, StartEpisode(), it.at)
        session.end(SaveEpisode(episode_id=episode.episode_id, success=True, tags=("good",)), episode.rows, it.at)
        it.record(session)
        index = dataset.add_episode(episode, it.at)
        session.saved_as(episode, index, it.at)
        it.record(dataset, session)
    session.close("on request", it.at)
    for camera in cameras:
        camera.disconnect("nobody watches", it.at)
    it.record(session, *cameras)


def _facts(it: _Campaign, session: Recording, id: UUID) -> EpisodeFacts:
    measured = {"measured_fps": 29.97, "duration_s": 9.9, "dropped": 0, "stale": 1, "repeated": 2}
    said = {"episode_id": id, "recording_id": session.id, "task": "Push the T.", "rows": 297, "fps": 30}
    return EpisodeFacts(**said, **measured, size_bytes=1_000_000 + it.number, sha256=id.hex * 2, success=True)


def _training(it: _Campaign, dataset: Dataset) -> Model:
    train = Train(project_id=dataset.project_id, dataset_id=dataset.id, model_name="act")
    job = Job.train(it.id("job"), it.id("model"), train, dataset, it.at)
    job.start(it.id("run"), "node-1", it.at)
    for step in range(STEPS):
        job.progressed(step, f"step {step}", {"train/loss_step": 1 / (1 + step)}, it.at)
    it.record(job)
    ids: dict[str, Any] = {
        "id": job.model_id,
        "project_id": job.project_id,
        "dataset_id": dataset.id,
        "train_job_id": job.id,
    }
    known: dict[str, Any] = {"name": "act", "policy": "act", "dataset_version": EPISODES, "steps": STEPS}
    model = Model.create(**ids, **known, metrics={"train/loss": 0.01}, exports=[], at=it.at)
    job.complete({}, it.at)
    it.record(model, job)
    evaluation = Job.evaluate(it.id("evaluation"), Evaluate(), model, it.at)
    evaluation.start(it.id("run"), "node-1", it.at)
    model.evaluated(
        evaluation.id, "PushT", {"policy": Rollouts(episodes=10, success_rate=0.4, mean_coverage=0.7)}, it.at
    )
    evaluation.complete({}, it.at)
    it.record(evaluation, model)
    return model
