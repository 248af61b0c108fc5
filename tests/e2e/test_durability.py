"""The log is the truth: kill everything, start again, and the same system stands there."""

import json
import sqlite3
import time
from typing import Any

import pytest

from client.demo import make_cell

from .conftest import Server
from .test_recording import open_session, record, wait_for

pytestmark = pytest.mark.slow
VIEWS = (
    "projects",
    "cameras",
    "robots",
    "environments",
    "datasets",
    "episodes",
    "recordings",
    "recording_episodes",
    "jobs",
    "models",
    "evaluations",
)


def everything(server: Server) -> dict[str, Any]:
    """What GET shows of all projects, but for the live state of devices and sessions, which a start changes."""
    found: dict[str, Any] = {"projects": server.api.get("/projects"), "jobs": server.api.get("/jobs")}
    for project in found["projects"]:
        for kind in ("cameras", "robots", "environments", "datasets", "models", "tasks"):
            found[f"{project['id']}/{kind}"] = server.api.get(f"/projects/{project['id']}/{kind}")
        for dataset in project["datasets"]:
            found[f"{dataset['id']}/episodes"] = server.api.get(f"/dataset/{dataset['id']}/episodes")
    text = json.dumps(found)
    live = json.loads(text)
    for name, things in live.items():
        if name.endswith(("/cameras", "/robots")):
            for thing in things:
                for moving in ("state", "connection_status", "updated_at"):
                    thing.pop(moving, None)
    return dict(live)


def tables(server: Server) -> dict[str, list[Any]]:
    with sqlite3.connect(server.database) as connection:
        found = {view: sorted(connection.execute(f"SELECT * FROM {view}").fetchall(), key=repr) for view in VIEWS}
        found["claims"] = sorted(connection.execute("SELECT * FROM claims").fetchall(), key=repr)
    connection.close()
    return found


def test_the_same_system_stands_after_killing_everything(own_server: Server) -> None:
    api = own_server.start().api
    cell = make_cell(api, "survivor")
    session = open_session(api, cell)
    saved = record(api, session, 1.5)
    open_take = api.post(f"{session}:start_episode")["episode_id"]
    time.sleep(2.5)
    before = everything(own_server)
    own_server.kill_everything()

    own_server.start()
    found = wait_for(api, session, state="ready")
    assert [take["episode_id"] for take in found["interrupted"]] == [open_take]
    assert found["interrupted"][0]["rows"] >= 10
    assert everything(own_server) == before
    kept = api.post(f"{session}:keep", {"episode_id": open_take})
    assert kept["episode_index"] == 1
    assert record(api, session, 1.0)["episode_index"] == 2
    api.post(f"{session}:close")
    own_server.stop()

    stood = tables(own_server)
    assert len(stood["episodes"]) == 3
    assert own_server.run("rebuild").returncode == 0
    assert tables(own_server) == stood
    folder = own_server.storage / "datasets" / cell.dataset
    assert (folder / "current").resolve().name == "3"
    assert (folder / "episodes" / saved["episode_id"] / "episode.json").exists()


def test_the_seed_changes_nothing_the_second_time(own_server: Server) -> None:
    for _ in range(2):
        done = own_server.run("seed")
        assert done.returncode == 0, done.stderr
    with sqlite3.connect(own_server.database) as connection:
        topics = [topic for (topic,) in connection.execute("SELECT topic FROM geti_events ORDER BY id")]
    connection.close()
    assert topics.count("project.created") == 1
    assert topics.count("camera.created") == 2
    assert len(topics) == 6
