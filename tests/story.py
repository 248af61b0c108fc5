"""A small history in which every kind of event happens at least once, as the log would number it. Ids are fixed."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import NAMESPACE_OID, UUID, uuid5

from domain.aggregate import Aggregate, DomainEvent
from domain.camera import Camera, CreateFileCamera, CreateSimulatedCamera, SimulatedCamera
from domain.dataset import CreateDataset, Dataset, UpdateDataset
from domain.environment import CreateEnvironment, Environment, UpdateEnvironment
from domain.episode import EpisodeFacts, UpdateEpisode
from domain.model import ExportFacts, Model, Rollouts
from domain.operation import Operation
from domain.project import CreateProject, Project, UpdateProject
from domain.recording import KeepEpisode, OpenRecording, Recording, SaveEpisode, StartEpisode
from domain.robot import CreateRobot, PushTPayload, Robot, UpdateRobot
from domain.training import Evaluate, Job, Train

BEGINNING = datetime(2026, 11, 1, 9, 0, tzinfo=UTC)


def named(name: str) -> UUID:
    """The id of the thing that the story calls by this name."""
    return uuid5(NAMESPACE_OID, name)


def facts(name: str, **known: object) -> EpisodeFacts:
    """What is known of an episode of 60 rows at 30 fps."""
    episode = {
        "episode_id": named(name),
        "recording_id": named("session"),
        "task": "Push the T.",
        "rows": 60,
        "fps": 30,
    }
    measured = {"measured_fps": 29.97, "duration_s": 2.0, "dropped": 1, "stale": 2, "repeated": 3, "size_bytes": 9}
    return EpisodeFacts.model_validate({**episode, **measured, "sha256": "a" * 64, **known})


@dataclass
class Story:
    """Numbers events as they happen, a second apart."""

    recorded: list[tuple[int, DomainEvent]] = field(default_factory=list)
    seconds: int = 0

    @property
    def at(self) -> datetime:
        self.seconds += 1
        return BEGINNING + timedelta(seconds=self.seconds)

    def record(self, aggregate: Aggregate) -> None:
        for event in aggregate.collect_events():
            assert isinstance(event, DomainEvent)
            self.recorded.append((len(self.recorded) + 1, event))


def everything() -> list[tuple[int, DomainEvent]]:
    """The whole history: a project "lab" that stays and one "gone" that was deleted with all that was in it."""
    story = Story()
    project = Project.create(named("lab"), CreateProject(name="Laboratory"), story.at)
    project.update(UpdateProject(name="Lab"), story.at)
    story.record(project)
    environment = _devices(story)
    dataset = Dataset.create(named("pushes"), _dataset("Pushes", "lab", "cell"), story.at)
    dataset.update(UpdateDataset(name="Pushes", default_task="Push the T."), story.at)
    story.record(dataset)
    _session(story, environment, dataset)
    _practice(story, environment)
    _learning(story, dataset)
    _gone(story)
    _curation(story, dataset)
    _operations(story, dataset)
    return story.recorded


def _dataset(name: str, project: str, environment: str) -> CreateDataset:
    return CreateDataset(name=name, project_id=named(project), environment_id=named(environment))


def _curation(story: Story, dataset: Dataset) -> None:
    """One episode is described, and deleted and restored, so that in the end both are there."""
    dataset.update_episode(named("second"), UpdateEpisode(rating=4), story.at)
    dataset.delete_episodes([0], story.at)
    dataset.restore_episodes([named("first")], story.at)
    story.record(dataset)


def _operations(story: Story, dataset: Dataset) -> None:
    """One that ended well, one that failed."""
    verification = Operation.verify(named("verification"), dataset, story.at)
    verification.start(named("run"), "node-1", story.at)
    verification.complete({"ok": True}, story.at)
    story.record(verification)
    failed = Operation.verify(named("failed operation"), dataset, story.at)
    failed.fail("the disk is gone", story.at)
    story.record(failed)
    repair = Operation.repair(named("repair"), dataset, story.at)
    dataset.repair({named("second"): facts("mended", rows=30, suspect="repaired"), named("first"): None}, story.at)
    repair.apply_change({"repaired": []}, story.at)
    repair.complete({"repaired": []}, story.at)
    dataset.restore_episodes([named("first")], story.at)
    dataset.purge_episodes([named("second")], story.at)
    story.record(repair)
    story.record(dataset)


def _devices(story: Story) -> Environment:
    lab = named("lab")
    camera = Camera.create(named("top"), lab, CreateSimulatedCamera(driver="simulated", name="top"), story.at)
    camera.update(SimulatedCamera(driver="simulated", name="Top"), story.at)
    camera.connect(named("run"), "node-1", story.at)
    camera.stream(640, 480, 30.0, "node-1", story.at)
    camera.lose("unplugged", story.at)
    camera.disconnect("nobody watches", story.at)
    story.record(camera)
    film = Camera.create(
        named("film"), lab, CreateFileCamera(driver="file", name="film", payload={"path": "a.mp4"}), story.at
    )
    film.connect(named("run"), "node-1", story.at)
    film.stream(320, 240, 25.0, "node-1", story.at)
    story.record(film)
    robot = Robot.create(named("arm"), lab, CreateRobot(name="arm", type="PushT"), story.at)
    robot.update(UpdateRobot(name="Arm", type="PushT", payload=PushTPayload(seed=7)), story.at)
    robot.fail("no power", story.at)
    robot.disconnect("given up", story.at)
    robot.connect(named("run"), "node-1", story.at)
    story.record(robot)
    used = [{"robot_id": named("arm"), "tele_operator": {"type": "scripted"}}]
    environment = Environment.create(
        named("cell"), lab, CreateEnvironment(name="cell", robots=used, camera_ids=[named("top")]), story.at
    )
    both = [named("film"), named("top")]
    environment.update(UpdateEnvironment(name="Cell", robots=used, camera_ids=both), story.at)
    story.record(environment)
    return environment


def _session(story: Story, environment: Environment, dataset: Dataset) -> None:
    """Saves two episodes, the second after an interruption, discards one, and is closed with one interrupted."""
    command = OpenRecording(environment_id=environment.id, dataset_id=dataset.id)
    recording = Recording.open(named("session"), named("lab"), command, environment, "Push the T.", story.at)
    recording.ready(named("run"), "node-1", story.at)
    recording.start(named("first"), StartEpisode(), story.at)
    recording.end(SaveEpisode(episode_id=named("first"), success=True, tags=("good",), note="clean"), 60, story.at)
    _save(story, recording, dataset, facts("first", success=True, tags=("good",), note="clean"))
    recording.start(named("second"), StartEpisode(task="Again."), story.at)
    recording.interrupt(named("second"), 45, "the process died", story.at)
    recording.ready(named("run"), "node-1", story.at)
    recording.keep(KeepEpisode(episode_id=named("second")), story.at)
    _save(story, recording, dataset, facts("second", rows=45, task="Again.", suspect="interrupted"))
    recording.start(named("third"), StartEpisode(), story.at)
    recording.discard(named("third"), story.at)
    recording.start(named("fourth"), StartEpisode(), story.at)
    recording.interrupt(named("fourth"), 12, "camera lost", story.at)
    recording.close("on request", story.at)
    story.record(recording)


def _save(story: Story, recording: Recording, dataset: Dataset, episode: EpisodeFacts) -> None:
    index = dataset.add_episode(episode, story.at)
    recording.saved_as(episode, index, story.at)
    story.record(recording)
    story.record(dataset)


def _practice(story: Story, environment: Environment) -> None:
    """Two sessions without a dataset: one that failed, one in which an episode is open."""
    command = OpenRecording(environment_id=environment.id, fps=10)
    failed = Recording.open(named("failed"), named("lab"), command, environment, "Practice.", story.at)
    failed.fail("the camera did not start", story.at)
    story.record(failed)
    busy = Recording.open(named("busy"), named("lab"), command, environment, "Practice.", story.at)
    busy.ready(named("run"), "node-1", story.at)
    busy.start(named("tried"), StartEpisode(), story.at)
    busy.interrupt(named("tried"), 3, "bumped", story.at)
    busy.start(named("open"), StartEpisode(), story.at)
    busy.discard(named("tried"), story.at)
    story.record(busy)


def _learning(story: Story, dataset: Dataset) -> None:
    train = Train(project_id=named("lab"), dataset_id=dataset.id, model_name="act-1")
    job = Job.train(named("training"), named("model"), train, dataset, story.at)
    job.start(named("run"), "node-1", story.at)
    job.progressed(40, "step 40", {"train/loss_step": 0.5}, story.at)
    job.interrupt("the node died", story.at)
    job.start(named("run 2"), "node-2", story.at)
    story.record(job)
    model = _model(story, dataset)
    job.complete({}, story.at)
    story.record(job)
    _ended_otherwise(story, dataset)
    evaluation = Job.evaluate(named("evaluation"), Evaluate(episodes=5), model, story.at)
    evaluation.start(named("run"), "node-1", story.at)
    rollouts = {"policy": Rollouts(episodes=5, success_rate=0.4, mean_coverage=0.7)}
    model.evaluated(evaluation.id, "PushT", rollouts, story.at)
    evaluation.complete({}, story.at)
    story.record(evaluation)
    story.record(model)


def _model(story: Story, dataset: Dataset) -> Model:
    exports = [ExportFacts(backend="torch", size_bytes=45, sha256="b" * 64, latency_ms=4.5)]
    exports.append(ExportFacts(backend="onnx", reason="this policy has no onnx form"))
    ids = {
        "id": named("model"),
        "project_id": named("lab"),
        "dataset_id": dataset.id,
        "train_job_id": named("training"),
    }
    known = {"name": "act-1", "policy": "act", "dataset_version": 2, "steps": 100, "metrics": {"train/loss": 0.1}}
    model = Model.create(**ids, **known, exports=exports, at=story.at)
    story.record(model)
    return model


def _ended_otherwise(story: Story, dataset: Dataset) -> None:
    train = Train(project_id=named("lab"), dataset_id=dataset.id, model_name="act-2")
    failed = Job.train(named("failed job"), named("model 2"), train, dataset, story.at)
    failed.start(named("run"), "node-1", story.at)
    failed.fail("out of memory; lower batch_size", story.at)
    story.record(failed)
    canceled = Job.train(named("canceled job"), named("model 3"), train, dataset, story.at)
    canceled.request_cancel(story.at)
    canceled.cancel({}, story.at)
    story.record(canceled)


def _gone(story: Story) -> None:
    """A project whose things are deleted with it; its session and its job go too."""
    gone = named("gone")
    project = Project.create(gone, CreateProject(name="Gone"), story.at)
    story.record(project)
    camera = Camera.create(named("gone camera"), gone, CreateSimulatedCamera(driver="simulated", name="c"), story.at)
    robot = Robot.create(named("gone robot"), gone, CreateRobot(name="r", type="PushT"), story.at)
    used = [{"robot_id": robot.id}]
    composed = CreateEnvironment(name="e", robots=used, camera_ids=[camera.id])
    environment = Environment.create(named("gone cell"), gone, composed, story.at)
    dataset = Dataset.create(named("gone dataset"), _dataset("d", "gone", "gone cell"), story.at)
    dataset.add_episode(facts("gone episode"), story.at)
    command = OpenRecording(environment_id=environment.id, dataset_id=dataset.id)
    recording = Recording.open(named("gone session"), gone, command, environment, "x", story.at)
    recording.close("on request", story.at)
    train = Train(project_id=gone, dataset_id=dataset.id, model_name="m")
    job = Job.train(named("gone job"), named("gone model"), train, dataset, story.at)
    job.fail("because", story.at)
    ids = {"id": named("gone model"), "project_id": gone, "dataset_id": dataset.id, "train_job_id": job.id}
    known = {"name": "m", "policy": "act", "dataset_version": 1, "steps": 1, "metrics": {}, "exports": []}
    model = Model.create(**ids, **known, at=story.at)
    model.evaluated(named("x"), "PushT", {"policy": Rollouts(episodes=1, success_rate=0, mean_coverage=0)}, story.at)
    for thing in (camera, robot, environment, dataset, recording, job, model):
        story.record(thing)
    for thing in (dataset, environment, camera, robot, model, project):  # what is used goes after who uses it
        thing.delete(story.at)
        story.record(thing)
