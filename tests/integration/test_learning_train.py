"""Training under a local Ray on a dataset written by LeRobot: what a worker is given, how a run is stopped, and how it
fails. That a run ends well is seen over HTTP (tests/e2e/test_training.py)."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import ray
from ray import cloudpickle

from actors.learning import policies, train
from actors.learning.cluster import nodes, place
from actors.learning.install import installed
from actors.learning.job import JobFolder, Progress, TrainFailed, TrainInterrupted, TrainResult, TrainSpec
from actors.learning.train import run_training
from domain.training import Device

pytestmark = [
    pytest.mark.train,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not installed(), reason="needs the train extra"),
]

EPISODES, ROWS, SIZE = 4, 30, 64
CAMERAS = ("observation.images.top", "observation.images.side")


def write_dataset(root: Path) -> None:
    """Episodes of an agent that wanders: runs in a worker, away from this process's warning filters."""
    os.environ["HF_DATASETS_CACHE"] = str(root.parent / "rows")
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    from actors.devices import teleoperator
    from actors.devices.cell import render
    from actors.devices.cell_state import CellState
    from actors.devices.pusht import PushT

    pair = {"dtype": "float32", "shape": (2,), "names": ["x", "y"]}
    picture = {"dtype": "video", "shape": (SIZE, SIZE, 3), "names": ["height", "width", "channels"]}
    features = {"observation.state": pair, "action": pair, **dict.fromkeys(CAMERAS, picture)}
    dataset = LeRobotDataset.create("pusht", 10, features, root=root, use_videos=True)
    robot, walk = PushT(7, f"learning-{os.getpid()}"), teleoperator("random", seed=1)
    robot.connect()
    for episode in range(EPISODES):
        reading = robot.reset(episode)
        walk.start(reading)
        for _ in range(ROWS):
            image = render(CellState.of(reading.ground_truth), SIZE, SIZE)
            row = {"observation.state": reading.values, "action": robot.act(walk.action(reading)), "task": "push"}
            dataset.add_frame(row | {CAMERAS[0]: image, CAMERAS[1]: image[:, ::-1]})
            reading = robot.observe()
        dataset.save_episode()
    dataset.finalize()
    robot.close()


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    ray.init(
        num_cpus=2,
        dashboard_port=0,
        include_dashboard=True,  # Ray Train asks it whom to clean up after
        object_store_memory=100_000_000,
        _node_ip_address="127.0.0.1",
        log_to_driver=False,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def dataset(cluster: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("learning") / "dataset"
    cloudpickle.register_pickle_by_value(sys.modules[__name__])  # this module is not on the worker's path
    ray.get(ray.remote(max_calls=1)(write_dataset).remote(root))
    return root


@pytest.fixture(scope="module")
def spec(dataset: Path) -> TrainSpec:
    args = {"chunk_size": 10, "dim_model": 64, "dim_feedforward": 128}
    return TrainSpec(
        job_id="job",
        dataset_root=dataset,
        job_folder=dataset.parent / "job",
        cache_root=dataset.parent / "cache",
        policy_args=policies.validate("act", args),
        max_steps=20,
        val_split=0.25,
        checkpoint_every=10,
    )


@dataclasses.dataclass
class Watched:
    """One run with all that it told."""

    told: list[Progress] = dataclasses.field(default_factory=list)
    asked_at: float | None = None

    def run(self, spec: TrainSpec, stop_when: Callable[[Progress], bool] = lambda progress: False) -> TrainResult:
        def should_stop() -> bool:
            if self.asked_at is None and self.told and stop_when(self.told[-1]):
                self.asked_at = time.monotonic()
            return self.asked_at is not None

        return run_training(spec, self.told.append, should_stop)

    def seconds_since_asked(self) -> float:
        assert self.asked_at is not None
        return time.monotonic() - self.asked_at


def training_processes() -> list[psutil.Process]:
    return [
        each for each in psutil.Process().children(recursive=True) if "RayTrainWorker" in each.name() + cmdline(each)
    ]


def cmdline(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def gone_within(seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while training_processes() and time.monotonic() < deadline:
        time.sleep(0.2)
    return not training_processes()


def test_samples_from_the_cache_are_lerobots_own(spec: TrainSpec, cluster: None) -> None:
    def compare() -> None:
        import torch

        from actors.learning.cache import DatasetInfo, frame_cache
        from actors.learning.dataset import _dataset

        info = DatasetInfo.read(spec.dataset_root)
        frames = frame_cache(info, spec.cache_root, None, lambda done, total: None)
        ours, theirs = _dataset(info.root, [1, 3], frames), _dataset(info.root, [1, 3], {})
        ours.delta_indices = theirs.delta_indices = {"action": list(range(10))}
        assert len(ours) == len(theirs) == 2 * ROWS
        for row in (0, 7, ROWS - 1, ROWS, 2 * ROWS - 3):
            one, other = ours[row], theirs[row]
            assert (one.episode_index, one.frame_index, one.task) == (other.episode_index, other.frame_index, "push")
            assert torch.equal(one.state, other.state)
            assert torch.equal(one.action, other.action)
            assert torch.equal(one.extra["action_is_pad"], other.extra["action_is_pad"])
            assert sorted(one.images) == ["side", "top"]
            assert all((one.images[name] - other.images[name]).abs().max() < 0.02 for name in one.images)

    ray.get(ray.remote(compare).remote())


def test_letterbox_is_the_policys_own(cluster: None) -> None:
    def compare() -> float:
        import torch
        from physicalai.policies.act.preprocessor import ACTPreprocessor

        from actors.learning.cache import letterbox

        image = np.random.default_rng(0).integers(0, 256, (48, 77, 3), np.uint8)
        picture = torch.tensor(image.transpose(2, 0, 1)[None]).float()
        theirs = ACTPreprocessor((32, 30))({"images": picture})["images"][0]
        return float(np.abs(theirs.numpy() - letterbox(image, (32, 30)).transpose(2, 0, 1)).max())

    assert ray.get(ray.remote(compare).remote()) <= 1.0


def test_data_is_split_by_episodes_and_must_fill_a_batch(spec: TrainSpec, cluster: None) -> None:
    def split(episodes: int | list[int], val_split: float, batch_size: int) -> tuple[int, int]:
        from actors.learning.dataset import datamodule

        options = {"batch_size": batch_size, "num_workers": 0, "val_split": val_split, "seed": 3}
        chosen = range(episodes) if isinstance(episodes, int) else episodes
        module = datamodule(spec.dataset_root, chosen, {}, **options)
        return len(module.train_dataset) // ROWS, len(module.val_eval_dataset or []) // ROWS

    task = ray.remote(split)
    assert ray.get(task.remote(EPISODES, 0.25, 8)) == (3, 1)
    assert ray.get(task.remote(EPISODES, 0.1, 8)) == (3, 1)
    assert ray.get(task.remote(EPISODES, 0.0, 8)) == (4, 0)
    assert ray.get(task.remote(1, 0.5, 8)) == (1, 0)
    assert ray.get(task.remote([1, 3], 0.5, 8)) == (1, 1)
    with pytest.raises(TrainFailed, match="90 rows to train on, fewer than one batch of 91"):
        ray.get(task.remote(EPISODES, 0.1, 91))


@pytest.mark.long
def test_a_killed_worker_interrupts_and_the_next_attempt_goes_on(
    spec: TrainSpec, cluster: None, tmp_path: Path
) -> None:
    spec = dataclasses.replace(spec, job_folder=tmp_path / "job", max_steps=4000, export=())
    job, first = JobFolder(spec.job_folder), Watched()
    killer = threading.Thread(target=kill_after_step, args=(job, 12))
    killer.start()
    with pytest.raises(TrainInterrupted, match="last checkpoint"):
        first.run(spec)
    killer.join()
    kept = job.newest_checkpoint()
    assert kept is not None
    second = Watched()
    result = second.run(spec, stop_when=lambda progress: progress.step >= 20)
    assert second.seconds_since_asked() < 10
    assert result.status == "canceled"
    assert result.checkpoint == job.checkpoint(result.steps)
    assert result.steps >= 20
    assert min(progress.step for progress in second.told if progress.phase == "training") >= 10
    steps = [row["step"] for row in job.rows() if "loss" in row]
    assert steps[: result.steps] == list(range(1, result.steps + 1))
    assert gone_within(5)


def kill_after_step(job: JobFolder, step: int) -> None:
    while (progress := job.progress()) is None or progress.step < step:
        time.sleep(0.2)
    for process in training_processes():
        os.kill(process.pid, signal.SIGKILL)


@pytest.mark.long
def test_a_stop_while_the_workers_start_ends_at_once(spec: TrainSpec, cluster: None, tmp_path: Path) -> None:
    watched = Watched()
    begun = dataclasses.replace(spec, job_folder=tmp_path / "job")
    result = watched.run(begun, stop_when=lambda progress: progress.phase == "starting")
    assert watched.seconds_since_asked() < 10
    assert (result.status, result.steps, result.checkpoint, result.exports) == ("canceled", 0, None, ())
    assert gone_within(5)
    deadline = time.monotonic() + 15
    while ray.available_resources()["CPU"] < 2:
        assert time.monotonic() < deadline, "its claim on the cluster is left behind"
        time.sleep(0.2)
    print("its CPU is free again", round(watched.seconds_since_asked(), 1), "s after the stop was asked for")


@pytest.mark.long
def test_a_broken_dataset_fails_with_a_reason(spec: TrainSpec, cluster: None, tmp_path: Path) -> None:
    broken = tmp_path / "dataset"
    shutil.copytree(spec.dataset_root, broken)
    video = next(broken.rglob("*.mp4"))
    video.write_bytes(video.read_bytes()[:-200])
    failing = dataclasses.replace(spec, dataset_root=broken, job_folder=tmp_path / "job")
    with pytest.raises(TrainFailed, match="video") as caught:
        Watched().run(failing)
    assert not isinstance(caught.value, TrainInterrupted)
    assert str(tmp_path) not in caught.value.reason
    assert "Traceback" in JobFolder(failing.job_folder).log.read_text()


@pytest.fixture
def another_ray() -> Iterator[None]:
    """What Ray takes for a second Ray on this machine: it finds them by their command lines."""
    command = ["raylet", "-c", "import time; time.sleep(600)", "--gcs-address=127.0.0.1:9"]
    process = subprocess.Popen(command, executable=sys.executable)
    yield
    process.kill()
    process.wait()


def test_beside_another_ray_the_state_of_a_training_is_still_found(cluster: None, another_ray: None) -> None:
    """By the call of Ray Train's placement group cleaner, which runs in an actor's actor."""

    @ray.remote(num_cpus=0)
    class Cleaner:
        def finds(self, controller: str) -> bool:
            from ray.train.v2._internal.state.util import is_actor_alive

            return bool(is_actor_alive(controller, timeout=30))

    @ray.remote(num_cpus=0, runtime_env={"env_vars": {"ANY": "as the controller has"}})
    class Controller:
        def is_found(self) -> bool:
            cleaner = Cleaner.options(lifetime="detached", name="cleaner").remote()
            found = bool(ray.get(cleaner.finds.remote(ray.get_runtime_context().get_actor_id())))
            ray.kill(cleaner)
            return found

    def driver() -> bool:
        return bool(ray.get(Controller.remote().is_found.remote()))

    task = ray.remote(driver)
    assert ray.get(task.options(runtime_env={"env_vars": train._own_cluster()}).remote())


def test_what_cannot_be_trained_is_refused_before_it_starts(spec: TrainSpec, cluster: None, tmp_path: Path) -> None:
    nowhere = dataclasses.replace(spec, dataset_root=tmp_path / "none", job_folder=tmp_path / "job")
    with pytest.raises(TrainFailed, match="save an episode first"):
        Watched().run(nowhere)
    greedy = dataclasses.replace(spec, job_folder=tmp_path / "job", resources_per_worker={"GPU": 4.0})
    with pytest.raises(TrainFailed, match="4 GPU each do not fit: there is 2 CPU"):
        Watched().run(greedy)


@pytest.mark.long
def test_two_workers_train_together(spec: TrainSpec, cluster: None, tmp_path: Path) -> None:
    pair = dataclasses.replace(
        spec, job_folder=tmp_path / "job", train_workers=2, batch_size=4, resources_per_worker={"CPU": 1}, export=()
    )
    result = Watched().run(pair)
    assert (result.status, result.steps) == ("completed", 20)


def test_a_device_is_found_among_the_nodes_of_a_real_cluster(cluster: None) -> None:
    (node,) = nodes()
    assert node.name == ray.util.get_node_ip_address()
    assert (node.resources["CPU"], node.devices("cpu"), node.devices("cuda")) == (2.0, 1, 0)
    there = place([node], 1, None, Device(type="cpu"))
    assert there.labels is not None

    def where() -> str:
        return str(ray.get_runtime_context().get_node_id())

    assert ray.get(ray.remote(num_cpus=1, label_selector=there.labels)(where).remote()) == node.id
