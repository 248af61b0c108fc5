"""Datasets are curated over HTTP with a real server: what operations make is there whole or not at all."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from client.demo import Cell, make_cell

from .conftest import Server
from .kit import open_session, record, result, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def cell(server: Server, request: pytest.FixtureRequest) -> Cell:
    return make_cell(server.api, request.node.name)


def recorded(server: Server, cell: Cell, *seconds: float) -> list[dict[str, Any]]:
    session = open_session(server.api, cell)
    saved = [record(server.api, session, each) for each in seconds]
    server.api.post(f"{session}:close")
    return saved


def tear(server: Server, cell: Cell, episode: dict[str, Any]) -> None:
    """The episode's video loses its last part, as on a disk that was not told to keep it."""
    video = files(server, cell) / "episodes" / episode["episode_id"] / "videos" / "top.mp4"
    content = video.read_bytes()
    video.unlink()
    video.write_bytes(content[: len(content) * 3 // 4])


def kill_at_work(server: Server, operation: str, start: int = 1) -> None:
    """kill -9 of the operation's process once it has begun the work for the ``start``-th time."""
    deadline = time.monotonic() + 60
    while started(server, operation) < start:
        assert time.monotonic() < deadline, server.api.get(f"/operations/{operation}")
        time.sleep(0.02)
    assert server.kill("ray::OperationActor") >= 1


def started(server: Server, operation: str) -> int:
    history = server.api.get(f"/operations/{operation}/history")
    return [event["type"] for event in history].count("operation.started")


def files(server: Server, cell: Cell) -> Path:
    return server.storage / "datasets" / cell.dataset


def rows_on_disk(server: Server, cell: Cell) -> int:
    """As the newest version has it."""
    rows: int = json.loads((files(server, cell) / "current/meta/info.json").read_text())["total_frames"]
    return rows


@pytest.mark.train
def test_what_is_merged_and_split_is_what_the_real_lerobot_reads(server: Server, cell: Cell) -> None:
    """Every row of every episode shows the same pictures and numbers as in the dataset that it was recorded into."""
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    def opened(dataset: str) -> Any:
        return LeRobotDataset(
            "local/pushes", root=server.storage / "datasets" / dataset / "current", video_backend="pyav"
        )

    saved = recorded(server, cell, 1.5, 1.0, 2.0)
    parts = [
        {"name": "last", "episodes": [saved[2]["episode_id"]]},
        {"name": "first", "episodes": [saved[0]["episode_id"]]},
    ]
    last, first = result(server.api, cell.dataset, "split", {"parts": parts})["datasets"]
    body = {"dataset_ids": [first["dataset_id"]], "name": "swapped"}
    (merged,) = result(server.api, last["dataset_id"], "merge", body)["datasets"]
    whole, swapped = opened(cell.dataset), opened(merged["dataset_id"])
    rows = [each["rows"] for each in saved]
    assert len(swapped) == rows[2] + rows[0]
    there = [*range(rows[0] + rows[1], sum(rows)), *range(rows[0])]
    for row, same in enumerate(there):
        one, other = swapped[row], whole[same]
        assert one["frame_index"] == other["frame_index"]
        for name in ("observation.images.top", "observation.state", "action", "timestamp"):
            assert (one[name] == other[name]).all(), (row, name)
    assert swapped[len(there) - 1]["episode_index"] == 1
    for dataset in (merged, first, last):
        assert result(server.api, dataset["dataset_id"], "verify")["ok"]


@pytest.mark.long
def test_a_killed_merge_is_taken_up_again(server: Server, cell: Cell) -> None:
    recorded(server, cell, 1.0, 1.0)
    (copy,) = result(server.api, cell.dataset, "split", {"fractions": {"one": 0.5}})["datasets"]
    body = {"dataset_ids": [copy["dataset_id"]], "name": "merged"}
    operation = server.api.post(f"/dataset/{cell.dataset}:merge", body)["id"]
    kill_at_work(server, operation)
    ended = wait_until(server.api, f"/operations/{operation}", lambda found: found["status"] != "running")
    (merged,) = ended["result"]["datasets"]
    assert (merged["episodes"], merged["name"]) == (2, "merged")
    assert len(server.api.get(f"/projects/{cell.project}/datasets")) == 3
    assert result(server.api, merged["dataset_id"], "verify")["ok"]
    assert not list((server.storage / "datasets").glob(".*"))


@pytest.mark.long
def test_a_killed_repair_is_taken_up_again_and_ends_the_same(server: Server, cell: Cell) -> None:
    saved = recorded(server, cell, 1.5, 3.0, 3.0)
    for episode in saved[1:]:
        tear(server, cell, episode)
    found = result(server.api, cell.dataset, "verify")
    assert [each["episode_index"] for each in found["damaged"]] == [1, 2]
    operation = server.api.post(f"/dataset/{cell.dataset}:repair")["id"]
    for start in (1, 2):
        kill_at_work(server, operation, start)
    ended = wait_until(server.api, f"/operations/{operation}", lambda found: found["status"] != "running")
    assert ended["status"] == "completed", ended
    repaired = ended["result"]["repaired"]
    assert [each["kept_rows"] for each in repaired] == [each["whole_rows"] for each in found["damaged"]]
    episodes = server.api.get(f"/dataset/{cell.dataset}/episodes")
    assert [each["id"] for each in episodes] == [saved[0]["episode_id"], *(each["new_episode_id"] for each in repaired)]
    assert sum(each["length"] for each in episodes) == rows_on_disk(server, cell)
    assert result(server.api, cell.dataset, "verify")["ok"]
    history = [event["type"] for event in server.api.get(f"/operations/{operation}/history")]
    assert history[0] == "operation.submitted"
    assert history[-2:] == ["operation.applied", "operation.completed"]
    assert history.count("operation.started") == 3
    assert len(list((files(server, cell) / "episodes").iterdir())) == 5
