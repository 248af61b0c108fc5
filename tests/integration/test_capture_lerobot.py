"""The real LeRobotDataset opens what we publish and sees, row by row, what the devices were fed."""

import json
import logging
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any
from uuid import UUID
from zipfile import ZipFile

import numpy as np
import pytest

from actors.capture.archive import archive, chunks
from actors.capture.lerobot_meta import DatasetInfo
from actors.capture.lerobot_v3 import publish
from actors.capture.manifest import read_manifest
from actors.capture.video import keyframes
from actors.care.adopting import Wish, adopt
from tests.integration.care_kit import DATASET, opened, quiet
from tests.integration.test_capture_kit import FPS, INFO, JOINTS, QUALITIES, number_of, picture, psnr, record

pytestmark = [
    pytest.mark.train,
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # the libraries below lerobot warn of each other's futures
]

SIZES = {"top": (160, 120), "wrist": (97, 65)}
Open = Callable[[Path], Any]


@pytest.fixture
def lerobot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a version offline, its cache in the test's own folder."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets
    from lerobot.datasets import LeRobotDataset

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return lambda folder: LeRobotDataset("local/episodes", root=folder, video_backend="pyav")


def episodes(dataset: Path, lengths: tuple[int, ...] = (40, 23, 31), dataset_id: UUID | None = None) -> list[UUID]:
    tasks = ("push the T", "pull it back")
    return [
        record(dataset, rows, SIZES, tasks[number % 2], first=100 * number, dataset_id=dataset_id).episode_id
        for number, rows in enumerate(lengths)
    ]


def assert_holds(opened: Any, expected: list[tuple[int, int, str]]) -> None:
    """``expected``: for each episode the number of its first picture, its rows and its task."""
    assert opened.num_episodes == len(expected)
    assert opened.num_frames == len(opened) == sum(rows for _, rows, _ in expected)
    index = 0
    for episode, (first, rows, task) in enumerate(expected):
        for row in range(rows):
            item = opened[index]
            assert (item["episode_index"], item["frame_index"], item["index"], item["task"]) == (
                episode,
                row,
                index,
                task,
            )
            assert item["timestamp"] == pytest.approx(row / FPS, abs=1e-4)
            assert item["observation.state"].tolist() == [row // 3 * 3, -(row // 3 * 3)]
            assert item["action"].tolist() == [10 * value for value in item["observation.state"].tolist()]
            assert_shows(item, first + row)
            index += 1


def assert_shows(item: dict[str, Any], number: int) -> None:
    for key, (width, height) in SIZES.items():
        shown = (item[f"observation.images.{key}"].numpy().transpose(1, 2, 0) * 255).round().astype(np.uint8)
        assert shown.shape == (height + height % 2, width + width % 2, 3)
        assert number_of(shown, width) == number
        assert psnr(shown[:height, :width], picture(number, width, height)) > 32


def test_every_row_of_every_episode_is_what_was_fed(tmp_path, lerobot, caplog):
    ids = episodes(tmp_path)
    with caplog.at_level(logging.WARNING):
        opened = lerobot(publish(tmp_path, 1, ids, INFO))
    assert "Unknown fields" not in caplog.text
    assert_holds(opened, [(0, 40, "push the T"), (100, 23, "pull it back"), (200, 31, "push the T")])
    assert opened.meta.robot_type == "PushT"
    assert opened.meta.camera_keys == ["observation.images.top", "observation.images.wrist"]
    assert opened.meta.features["observation.state"]["names"] == list(JOINTS)


def test_a_dataset_of_another_codec_opens(tmp_path, lerobot, monkeypatch):
    """Episodes of both in one, as when a session's quality was changed."""
    ids = [
        record(tmp_path, 20, SIZES, "push the T", first=100 * number, quality=quality).episode_id
        for number, quality in enumerate(reversed(QUALITIES))
    ]
    opened = lerobot(publish(tmp_path, 1, ids, INFO))
    assert_holds(opened, [(0, 20, "push the T"), (100, 20, "push the T")])
    told = opened.meta.features["observation.images.top"]["info"]
    assert (told["video.codec"], told["video.g"]) == ("av1", FPS)


def test_a_dataset_whose_log_was_lost_is_adopted_and_opens(tmp_path, lerobot, sqlite_url):
    lost = tmp_path / "lost"
    publish(lost, 1, episodes(lost, (12, 9), dataset_id=DATASET), INFO)
    with opened(sqlite_url) as log:
        version = adopt(log, tmp_path / "storage", lost, Wish(), quiet).version
    folder = tmp_path / "storage" / "datasets" / str(DATASET) / "versions" / str(version)  # as training finds it
    assert_holds(lerobot(folder), [(0, 12, "push the T"), (100, 9, "pull it back")])


def test_without_an_episode_it_still_opens_and_the_rest_has_moved_up(tmp_path, lerobot):
    ids = episodes(tmp_path)
    publish(tmp_path, 1, ids, INFO)
    opened = lerobot(publish(tmp_path, 2, [ids[1], ids[2]], INFO))
    assert_holds(opened, [(100, 23, "pull it back"), (200, 31, "push the T")])


def test_what_was_downloaded_opens_where_it_was_unzipped(tmp_path, lerobot):
    folder = publish(tmp_path / "ours", 1, episodes(tmp_path / "ours", (12, 9)), INFO)
    with ZipFile(BytesIO(b"".join(chunks(archive(folder))))) as downloaded:
        downloaded.extractall(tmp_path / "theirs")
    assert_holds(lerobot(tmp_path / "theirs"), [(0, 12, "push the T"), (100, 9, "pull it back")])


def test_windows_over_time_stay_inside_their_episode(tmp_path, lerobot):
    folder = publish(tmp_path, 1, episodes(tmp_path, (12, 9)), INFO)
    from lerobot.datasets import LeRobotDataset

    windows = {"action": [row / FPS for row in range(4)], "observation.images.top": [-1 / FPS, 0.0]}
    opened = LeRobotDataset("local/episodes", root=folder, video_backend="pyav", delta_timestamps=windows)
    last = opened[11]
    assert last["action_is_pad"].tolist() == [False, True, True, True]
    assert last["observation.images.top"].shape == (2, 3, 120, 160)
    before = (last["observation.images.top"][0].numpy().transpose(1, 2, 0) * 255).astype(np.uint8)
    assert number_of(before) == 10


def test_a_robot_of_one_joint_opens(tmp_path, lerobot, monkeypatch):
    monkeypatch.setattr("tests.integration.test_capture_kit.JOINTS", ("grip",))
    only = record(tmp_path, 6, {}).episode_id
    opened = lerobot(publish(tmp_path, 1, [only], DatasetInfo(FPS, "gripper", ("grip",), 10.0)))
    assert [opened[row]["action"].item() for row in (0, 3, 5)] == [0, 30, 30]


def test_statistics_are_those_of_lerobot(tmp_path, lerobot):
    from lerobot.datasets.compute_stats import aggregate_stats, get_feature_stats

    ids = episodes(tmp_path, (40, 23))
    opened = lerobot(publish(tmp_path, 1, ids, INFO))
    parts = [read_manifest(tmp_path / "episodes" / str(episode)).stats for episode in ids]
    for episode, part in zip(ids, parts, strict=True):
        shown = keyframes(tmp_path / "episodes" / str(episode) / "videos" / "top.mp4")
        theirs = get_feature_stats(np.stack(list(shown)).transpose(0, 3, 1, 2), axis=(0, 2, 3), keepdims=True)
        for name, value in theirs.items():
            scaled = value if name == "count" else value[0] / 255
            assert np.allclose(part["observation.images.top"][name], scaled, atol=0.006), name
    arrays = [{key: {n: np.array(v) for n, v in stats.items()} for key, stats in part.items()} for part in parts]
    for feature, stats in aggregate_stats(arrays).items():
        for name, value in stats.items():
            assert opened.meta.stats[feature][name].shape == value.shape, (feature, name)
            assert np.allclose(opened.meta.stats[feature][name], value), (feature, name)
    rows = np.arange(63)
    assert opened.meta.stats["index"]["mean"] == pytest.approx(rows.mean())
    assert opened.meta.stats["index"]["std"] == pytest.approx(rows.std())
    assert json.loads((opened.root / "meta/stats.json").read_text())["action"]["count"] == [63]
