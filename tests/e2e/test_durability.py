"""The log is the truth: kill everything, start again, and the same system stands there."""

import asyncio
from contextlib import closing
from typing import Any

import pytest
from playwright.async_api import Page
from sqlalchemy import text

from actors.log import Log, now
from actors.sample import sample_id
from client.api import Api
from client.demo import Cell, make_cell
from domain.dataset import Dataset
from projections.views import VIEWS

from .conftest import Server
from .kit import command, open_session, record, wait_for
from .page import FULL_RATE, START_MS, best_rate, both_play, start_cell, stop_cell, until_told

pytestmark = [pytest.mark.slow, pytest.mark.train]
KINDS = ("cameras", "robots", "environments", "datasets", "models", "tasks", "jobs", "recordings?state=closed")
TABLES = [*(table.name for view in VIEWS.values() for table in view.tables), "claims"]


def everything(server: Server) -> dict[str, Any]:
    """What GET shows of all projects, but for the live state of devices and sessions, which a start changes."""
    found: dict[str, Any] = {"projects": server.api.get("/projects"), "jobs": server.api.get("/jobs")}
    for project in found["projects"]:
        for path in (f"/projects/{project['id']}/{kind}" for kind in KINDS):
            found[path] = server.api.get(path)
        for dataset in project["datasets"]:
            found[f"{dataset['id']}/episodes"] = server.api.get(f"/dataset/{dataset['id']}/episodes")
    for job in found["jobs"]:
        found[f"{job['id']}/metrics"] = server.api.get(f"/jobs/{job['id']}/metrics")
    for name, things in found.items():
        if name.endswith(("/cameras", "/robots")):
            for thing in things:
                for moving in ("state", "connection_status", "updated_at"):
                    thing.pop(moving, None)
    return found


def tables(server: Server) -> dict[str, list[Any]]:
    with server.connected() as connection:
        return {
            table: sorted(map(tuple, connection.execute(text(f"SELECT * FROM {table}"))), key=repr) for table in TABLES
        }


def forget(server: Server, *views: str) -> None:
    """As if they were new in the release that starts next."""
    with server.connected() as connection:
        for view in views:
            connection.execute(text(f"DELETE FROM {view}"))
            connection.execute(text("DELETE FROM positions WHERE view = :view"), {"view": view})
        connection.commit()


@pytest.mark.timeout(600)
async def test_the_same_system_stands_after_killing_everything(
    server: Server, trained: dict[str, Any], page: Page
) -> None:
    cell, session, open_take = await asyncio.to_thread(_an_open_take, server.api)
    watched = await start_cell(page, server.api)
    await asyncio.sleep(1)  # its rows are on the disk every second
    before = everything(server)
    assert trained in before["jobs"]
    assert [model["id"] for model in before[f"/projects/{trained['project_id']}/models"]] == [trained["model_id"]]
    await asyncio.to_thread(server.kill_everything)
    forget(server, "datasets", "episodes")
    await page.wait_for_selector("#connection >> text=The server does not answer", timeout=START_MS)

    await asyncio.to_thread(server.start)
    assert server.api.get(session)["state"] not in ("recording", "saving")  # what serves says it as it is
    found = await asyncio.to_thread(wait_for, server.api, session, state="ready")
    assert [take["episode_id"] for take in found["interrupted"]] == [open_take]
    assert found["interrupted"][0]["rows"] >= 10
    assert everything(server) == before
    kept = await command(server.api, f"{session}:keep", {"episode_id": open_take})
    assert kept["episode_index"] == 1
    another = await asyncio.to_thread(record, server.api, session, 1.0)
    assert another["episode_index"] == 2
    await command(server.api, f"{session}:close")
    folder = server.storage / "datasets" / cell.dataset
    assert (folder / "current").resolve().name == "3"
    assert len(list((folder / "episodes").glob("*/episode.json"))) == 3

    await page.wait_for_selector("#connection >> text=Connected", timeout=START_MS)
    await both_play(page, watched)
    await until_told(page, watched, Session="practice")
    assert await best_rate(page, watched) >= FULL_RATE
    await stop_cell(page, watched)


def _an_open_take(api: Api) -> tuple[Cell, str, str]:
    """A cell, its session with one episode saved, and the episode that is being recorded."""
    cell = make_cell(api, "survivor")
    session = open_session(api, cell)
    record(api, session, 1.5)
    return cell, session, api.post(f"{session}:start_episode")["episode_id"]


def test_a_rebuild_while_the_server_serves_gives_equal_tables(server: Server, trained: dict[str, Any]) -> None:
    for _ in range(5):  # a camera that goes to rest in between is an event too
        stood, at = tables(server), server.api.get("/health")["log"]["position"]
        assert server.run("rebuild").returncode == 0
        rebuilt = tables(server)
        if server.api.get("/health")["log"]["position"] == at:
            break
    assert rebuilt == stood
    assert len(stood["episodes"]) >= 2
    for table, id in {"jobs": trained["id"], "models": trained["model_id"]}.items():
        assert any(id in row for row in stood[table])


def test_the_seed_changes_nothing_the_second_time(own_server: Server) -> None:
    for _ in range(2):
        done = own_server.run("seed")
        assert done.returncode == 0, done.stderr
    with own_server.connected() as connection:
        topics = connection.scalars(text("SELECT topic FROM geti_events ORDER BY id")).all()
    assert topics.count("project.created") == 1
    assert topics.count("camera.created") == 2
    assert len(topics) == 6


def test_the_seed_says_what_was_deleted_and_leaves_it_so(own_server: Server) -> None:
    url = own_server.environment["DATABASE_URL"]
    assert "'Sample cell' is there" in own_server.run("seed").stdout
    with closing(Log(url)) as log:
        dataset = log.load(Dataset, sample_id("dataset"))
        dataset.delete(now())
        at = asyncio.run(log.append(dataset)).position
        again = own_server.run("seed")
        assert (again.returncode, "were deleted, and stay so: dataset pushes." in again.stdout) == (0, True)
        refused = own_server.run("seed", "--with-model=True")
        assert (refused.returncode, "needs the whole sample project" in refused.stdout) == (1, True)
        assert "No server runs here" not in refused.stdout
        assert log.position() == at
