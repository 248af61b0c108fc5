"""Datasets are curated over HTTP with a real server: what operations make is there whole or not at all."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from client.api import Api
from client.demo import Cell, make_cell

from .conftest import Server
from .kit import open_session, record, wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def cell(server: Server, request: pytest.FixtureRequest) -> Cell:
    return make_cell(server.api, request.node.name)


def operated(api: Api, dataset: str, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """The operation, ended."""
    operation = api.post(f"/dataset/{dataset}:{verb}", body)
    return wait_until(api, f"/operations/{operation['id']}", lambda found: found["status"] != "running")


def result(api: Api, dataset: str, verb: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    ended = operated(api, dataset, verb, body)
    assert (ended["status"], ended["progress"]) == ("completed", 100), ended
    found: dict[str, Any] = ended["result"]
    return found


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


def files(server: Server, cell: Cell) -> Path:
    return server.storage / "datasets" / cell.dataset


def rows_on_disk(server: Server, cell: Cell) -> int:
    """As the newest version has it."""
    rows: int = json.loads((files(server, cell) / "current/meta/info.json").read_text())["total_frames"]
    return rows


def test_a_killed_repair_is_taken_up_again_and_ends_the_same(server: Server, cell: Cell) -> None:
    saved = recorded(server, cell, 1.5, 3.0, 3.0)
    for episode in saved[1:]:
        tear(server, cell, episode)
    found = result(server.api, cell.dataset, "verify")
    assert [each["episode_index"] for each in found["damaged"]] == [1, 2]
    operation = server.api.post(f"/dataset/{cell.dataset}:repair")["id"]
    kills, deadline = 0, time.monotonic() + 60
    while kills < 2 and server.api.get(f"/operations/{operation}")["status"] == "running":
        kills += server.kill("ray::OperationActor")
        assert time.monotonic() < deadline
        time.sleep(0.05)
    ended = wait_until(server.api, f"/operations/{operation}", lambda found: found["status"] != "running")
    assert (ended["status"], kills >= 1) == ("completed", True), ended
    repaired = ended["result"]["repaired"]
    assert [each["kept_rows"] for each in repaired] == [each["whole_rows"] for each in found["damaged"]]
    episodes = server.api.get(f"/dataset/{cell.dataset}/episodes")
    assert [each["id"] for each in episodes] == [saved[0]["episode_id"], *(each["new_episode_id"] for each in repaired)]
    assert sum(each["length"] for each in episodes) == rows_on_disk(server, cell)
    assert result(server.api, cell.dataset, "verify")["ok"]
    history = [event["type"] for event in server.api.get(f"/operations/{operation}/history")]
    assert history[0] == "operation.submitted"
    assert history[-2:] == ["operation.applied", "operation.completed"]
    assert history.count("operation.started") >= 2
    assert len(list((files(server, cell) / "episodes").iterdir())) == 5
