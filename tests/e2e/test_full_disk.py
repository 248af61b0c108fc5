"""A disk that is full while the server serves: what frees space is done, what needs some is refused, reads go on, and
an episode that it ends can be kept."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from client.api import Refused
from client.demo import make_cell
from tests.disk import NEEDS_ROOT, fill, mounted

from .conftest import Server
from .kit import ended, open_session, record, result, submit, wait_for, wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    NEEDS_ROOT,
]
DISK_BYTES = 32 * 1024 * 1024
ROOM = 512 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


@contextmanager
def serving(disk: Path, log: Path, **limits: str) -> Iterator[Server]:
    """A server whose database and storage are on that disk."""
    server = Server(disk, **limits)
    server.log = log
    try:
        yield server.start()
    finally:
        server.api.close()
        if server.process is not None:
            server.kill_everything()


@pytest.fixture
def server(disk: Path, tmp_path: Path) -> Iterator[Server]:
    """One that uses its disk to the last byte."""
    with serving(disk, tmp_path / "server.log", MIN_FREE_RECORD="0", MIN_FREE_TRAIN="0") as server:
        yield server


def made_until_refused(http: httpx.Client) -> tuple[list[dict[str, Any]], httpx.Response]:
    """The projects that were acknowledged, and the first refusal."""
    made = list[dict[str, Any]]()
    while (reply := http.post("/api/projects", json={"name": f"{len(made)} " + "x" * 150})).status_code == 201:
        made.append(reply.json())
        assert len(made) < 5000
    return made, reply


def test_writes_are_refused_deletes_are_done_and_space_brings_all_back(server: Server, disk: Path) -> None:
    with httpx.Client(base_url=server.url, timeout=60) as http:
        ballast = fill(disk, but_bytes=ROOM)
        made, refused = made_until_refused(http)
        assert made
        assert (refused.status_code, refused.headers["content-type"]) == (507, "application/problem+json")
        assert "free some space" in refused.json()["detail"]
        assert http.get("/api/projects").json() == made
        doomed, *kept = made
        assert http.delete(f"/api/projects/{doomed['id']}").status_code == 204
        assert http.get("/api/projects").json() == kept
        ballast.unlink()
        after = http.post("/api/projects", json={"name": "after"})
        assert after.status_code == 201
        server.kill_everything()
        server.start()
        assert http.get("/api/projects").json() == [*kept, after.json()]
    checked = server.run("check-log")
    assert (checked.returncode, "Nothing to mend" in checked.stderr) == (0, True), checked
    server.stop()


def test_an_episode_that_the_disk_ends_says_so_and_is_kept_when_there_is_space(server: Server, disk: Path) -> None:
    api = server.api
    cell = make_cell(api, "bench")
    session = open_session(api, cell)
    record(api, session, 1.0)
    episode = api.post(f"{session}:start_episode")["episode_id"]
    time.sleep(2.5)
    ballast = fill(disk)
    found = wait_until(api, session, lambda session: session["state"] != "recording")
    (lost,) = found["interrupted"]
    assert (found["state"], lost["episode_id"], lost["rows"] >= 10) == ("ready", episode, True)
    assert "No space left" in lost["reason"]
    with pytest.raises(Refused, match="rows of it are whole: keep them"):
        api.post(f"{session}:save_episode", {"episode_id": episode})
    with pytest.raises(Refused, match="free some space"):
        api.post(f"{session}:start_episode")
    ballast.unlink()
    kept = api.post(f"{session}:keep", {"episode_id": episode})
    assert (kept["episode_index"], kept["rows"]) == (1, lost["rows"])
    assert record(api, session, 1.0)["episode_index"] == 2
    wait_for(api, session, state="ready", episodes_saved=3, interrupted=[])
    api.post(f"{session}:close")
    assert result(api, cell.dataset, "verify")["ok"]
    server.stop()


@pytest.mark.train
def test_training_stops_before_recording_and_recording_before_the_disk_is_full(tmp_path: Path) -> None:
    """Each says why and goes on when there is room again; what else is asked for is done meanwhile."""
    mb = 1_000_000
    with (
        mounted(tmp_path / "disk", 800 * mb) as disk,
        serving(disk, tmp_path / "server.log", MIN_FREE_RECORD="100MB", MIN_FREE_TRAIN="300MB") as server,
    ):
        api = server.api
        cell = make_cell(api, "bench")
        session = open_session(api, cell)
        for _ in range(2):
            record(api, session, 2.0)
        assert "disk" not in [problem["what"] for problem in api.get("/health")["problems"]]
        job = submit(api, cell, max_steps=100_000)
        wait_for(api, f"/jobs/{job}", status="running")
        ballast = fill(disk, but_bytes=200 * mb)
        failed = ended(api, job)
        assert failed["status"] == "failed"
        assert "training stops at 300 MB (MIN_FREE_TRAIN)" in failed["reason"]
        with pytest.raises(Refused, match="MIN_FREE_TRAIN"):
            submit(api, cell)
        assert "disk" in [problem["what"] for problem in api.get("/health")["problems"]]
        episode = api.post(f"{session}:start_episode")["episode_id"]
        found = wait_until(api, session, lambda session: session["episode"].get("recordable_s"))
        assert 0 < found["episode"]["disk_free_bytes"] < 300 * mb
        ballast.unlink()
        ballast = fill(disk, but_bytes=50 * mb)
        (lost,) = wait_until(api, session, lambda session: session["state"] == "ready")["interrupted"]
        assert (lost["episode_id"], "MIN_FREE_RECORD" in lost["reason"]) == (episode, True)
        with pytest.raises(Refused, match="MIN_FREE_RECORD"):
            api.post(f"{session}:start_episode")
        api.post("/projects", {"name": "there is room for this"})
        kept = api.post(f"{session}:keep", {"episode_id": episode})
        assert (kept["episode_index"], kept["rows"]) == (2, lost["rows"])
        ballast.unlink()
        assert record(api, session, 1.0)["episode_index"] == 3
        api.post(f"{session}:close")
        server.stop()
