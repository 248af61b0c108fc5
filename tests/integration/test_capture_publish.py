"""Dataset versions: what is shared, what is written, and what a kill can do."""

import json
import shutil
import signal
from pathlib import Path
from uuid import UUID, uuid4

import pyarrow.parquet as pq
import pytest

from actors.capture.lerobot_meta import DatasetInfo
from actors.capture.lerobot_v3 import current_version, publish
from actors.capture.reader import list_episodes, read_episode, versions
from domain.errors import Conflict, Invalid, NotFound
from tests.integration.test_capture_kit import FPS, INFO, JOINTS, die_in_each, exit_codes, record

SIZES = {"top": (96, 64), "wrist": (97, 65)}


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return tmp_path


def recorded(dataset: Path, *lengths: int, tasks: tuple[str, ...] = ("push",)) -> list[UUID]:
    return [
        record(dataset, rows, SIZES, tasks[number % len(tasks)], first=100 * number).episode_id
        for number, rows in enumerate(lengths)
    ]


def snapshot(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_ino, path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_a_version_lists_its_episodes_with_their_rows_and_videos(dataset):
    ids = recorded(dataset, 5, 7, tasks=("push", "pull"))
    folder = publish(dataset, 1, ids, INFO)
    first, second = list_episodes(dataset)
    assert [first.episode_id, second.episode_id] == [str(episode) for episode in ids]
    assert (first.length, second.length, first.tasks, second.tasks) == (5, 7, ("push",), ("pull",))
    video = second.videos["observation.images.top"]
    assert (video.start, video.end) == (0, pytest.approx(7 / FPS))
    assert (dataset / video.path).is_file()
    rows = read_episode(dataset, 1)
    assert rows.states.shape == rows.actions.shape == (7, 2)
    assert rows.timestamps[-1] == pytest.approx(6 / FPS)
    info = json.loads((folder / "meta/info.json").read_text())
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (2, 12, 2)
    assert info["features"]["action"]["info"]["control_hz"] == 10.0
    assert "hold the last state" in info["features"]["observation.state"]["info"]["note"]


def test_videos_and_unmoved_data_are_shared_with_the_version_before(dataset):
    ids = recorded(dataset, 4, 4, 4)
    publish(dataset, 1, ids[:2], INFO)
    publish(dataset, 2, ids, INFO)
    video = list_episodes(dataset, 1)[0].videos["observation.images.top"].path
    assert (dataset / video).samefile(dataset / "episodes" / str(ids[0]) / "videos" / "top.mp4")
    for old, new in zip(list_episodes(dataset, 1), list_episodes(dataset, 2), strict=False):
        assert (dataset / old.data_path).samefile(dataset / new.data_path)


@pytest.mark.parametrize("damaged", ["meta/episodes", "data"])
def test_a_version_that_is_damaged_does_not_keep_the_next_from_being_made(dataset, damaged):
    ids = recorded(dataset, 4, 5)
    for path in (publish(dataset, 1, ids, INFO) / damaged).rglob("*.parquet"):
        path.write_bytes(b"rot") if damaged == "meta/episodes" else path.unlink()
    publish(dataset, 2, ids[:1], INFO)
    assert [entry.length for entry in list_episodes(dataset)] == [4]
    assert read_episode(dataset, 0).states.shape == (4, 2)


def test_without_an_episode_the_indices_close_up(dataset):
    ids = recorded(dataset, 4, 5, 6, tasks=("a", "b", "c"))
    publish(dataset, 1, ids, INFO)
    before = snapshot(dataset / "versions" / "1")
    publish(dataset, 2, [ids[0], ids[2]], INFO)
    kept = list_episodes(dataset)
    assert [(entry.episode_index, entry.length, entry.tasks) for entry in kept] == [(0, 4, ("a",)), (1, 6, ("c",))]
    assert not (dataset / kept[1].data_path).samefile(dataset / list_episodes(dataset, 1)[1].data_path)
    assert snapshot(dataset / "versions" / "1") == before
    assert versions(dataset) == [1, 2]


def test_an_episode_has_the_task_that_it_was_given_since(dataset):
    ids = recorded(dataset, 4, 5, tasks=("a", "b"))
    publish(dataset, 1, ids, INFO)
    publish(dataset, 2, ids, INFO, {ids[0]: "b"})
    assert [entry.tasks for entry in list_episodes(dataset, 1)] == [("a",), ("b",)]
    assert [entry.tasks for entry in list_episodes(dataset)] == [("b",), ("b",)]
    assert pq.read_table(dataset / list_episodes(dataset)[1].data_path)["task_index"].to_pylist() == [0] * 5


def test_a_dataset_can_become_empty_and_grow_again(dataset):
    (only,) = recorded(dataset, 4)
    publish(dataset, 1, [only], INFO)
    publish(dataset, 2, [], INFO)
    assert list_episodes(dataset) == []
    publish(dataset, 3, [only], INFO)
    assert len(list_episodes(dataset)) == 1


def test_publishing_again_changes_nothing_and_never_goes_back(dataset):
    ids = recorded(dataset, 4, 4)
    publish(dataset, 1, ids[:1], INFO)
    publish(dataset, 2, ids, INFO)
    before = snapshot(dataset)
    assert publish(dataset, 2, ids, INFO) == dataset / "versions" / "2"
    assert publish(dataset, 1, ids[:1], INFO) == dataset / "versions" / "1"
    assert snapshot(dataset) == before
    assert current_version(dataset) == 2
    with pytest.raises(Conflict, match="other episodes"):
        publish(dataset, 2, ids[:1], INFO)


def test_what_does_not_fit_is_refused_and_nothing_is_published(dataset):
    ids = recorded(dataset, 4)
    other = record(dataset, 4, {"top": (64, 64), "wrist": (97, 65)}).episode_id
    with pytest.raises(Invalid, match="cameras"):
        publish(dataset, 1, [*ids, other], INFO)
    with pytest.raises(Invalid, match="fps"):
        publish(dataset, 1, ids, DatasetInfo(10, "PushT", JOINTS, 10.0))
    with pytest.raises(Invalid, match="joints"):
        publish(dataset, 1, ids, DatasetInfo(FPS, "PushT", ("a", "b"), 10.0))
    with pytest.raises(NotFound):
        publish(dataset, 1, [uuid4()], INFO)
    assert (versions(dataset), current_version(dataset), list_episodes(dataset)) == ([], None, [])


def test_unknown_versions_and_episodes_are_not_found(dataset):
    publish(dataset, 1, recorded(dataset, 4), INFO)
    with pytest.raises(NotFound):
        list_episodes(dataset, 7)
    with pytest.raises(NotFound):
        read_episode(dataset, 1)


def test_where_files_cannot_be_linked_they_are_copied(dataset, monkeypatch):
    def refuse(*_: object) -> None:
        raise OSError(1, "no hard links here")

    ids = recorded(dataset, 4)
    monkeypatch.setattr(Path, "hardlink_to", refuse)
    publish(dataset, 1, ids, INFO)
    video = dataset / list_episodes(dataset)[0].videos["observation.images.top"].path
    assert video.stat().st_nlink == 1
    assert video.read_bytes() == (dataset / "episodes" / str(ids[0]) / "videos" / "top.mp4").read_bytes()


STEPS = 100


def publish_under_kills() -> None:
    die_in_each(range(0, STEPS, 3), lambda: publish(Path.cwd(), 2, sealed(Path.cwd()), INFO))


def sealed(dataset: Path) -> list[UUID]:
    return [UUID(path.name) for path in sorted((dataset / "episodes").iterdir())]


@pytest.mark.slow
def test_a_kill_anywhere_in_publish_leaves_a_whole_current_version(tmp_path):
    whole = tmp_path / "whole"
    recorded(whole, 4, 4)
    publish(whole, 1, sealed(whole)[:1], INFO)
    for step in range(0, STEPS, 3):
        shutil.copytree(whole, tmp_path / str(step), symlinks=True)
    ended = exit_codes("test_capture_publish.publish_under_kills()", tmp_path)
    assert (ended[0], ended[-1]) == (-signal.SIGKILL, 0)
    found = {assert_whole(tmp_path / str(step)) for step in range(0, STEPS, 3)}
    assert found == {1, 2}


def assert_whole(dataset: Path) -> int:
    """The version that a kill left, after making sure that it is whole and that publishing again mends the rest."""
    left = current_version(dataset)
    entries = list_episodes(dataset)
    assert len(entries) == left
    assert all((dataset / entry.data_path).is_file() for entry in entries)
    publish(dataset, 2, sealed(dataset), INFO)
    assert len(list_episodes(dataset)) == 2 == current_version(dataset)
    assert [path.name for path in sorted((dataset / "versions").iterdir())] == ["1", "2"]
    return left
