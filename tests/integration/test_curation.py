"""Episodes are described, deleted and restored over HTTP, in process, on both databases; the dataset's newest version
on disk is always what the log says, and no file of an episode changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from actors import publishing
from actors.capture.lerobot_v3 import current_version
from actors.capture.reader import list_episodes
from actors.care.check import check_log
from actors.care.check_files import check_files
from actors.gateway import Gateway
from actors.housekeeping import keep_house
from actors.log import Log, VersionConflict
from actors.publishing import catch_up
from actors.rebuild import rebuild
from actors.routes import datasets, episodes, problems
from actors.training import TrainingActor
from domain.dataset import Dataset
from domain.errors import StorageFull, Unavailable
from projections import routes as reading
from projections import shapes
from settings import Settings
from tests.integration.care_kit import DATASET, MODEL, make_system, quiet, record_lost, rows
from tests.integration.log_kit import AT

PATH = f"/dataset/{DATASET}/episodes"


@pytest.fixture
async def http(log: Log, ids: list[UUID]) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.engine, app.state.gateway = log.engine, Gateway(log)
    problems.install(app)
    for router in (*reading.routers, datasets.router, episodes.router):
        app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/api") as client:
        yield client


async def listed(http: httpx.AsyncClient) -> list[tuple[int, str, int]]:
    """Index, id and rows of each."""
    return [(each["episode_index"], each["id"], each["length"]) for each in (await http.get(PATH)).json()]


def on_disk(storage: Path) -> list[tuple[int, int, tuple[str, ...]]]:
    """Index, rows and tasks of each, as readers of the files see them."""
    folder = storage / "datasets" / str(DATASET)
    return [(each.episode_index, each.length, each.tasks) for each in list_episodes(folder)]


def content(storage: Path) -> dict[str, bytes]:
    """Every file of every episode."""
    folder = storage / "datasets" / str(DATASET) / "episodes"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def delete(http: httpx.AsyncClient, chosen: list[Any], **headers: str) -> httpx.Response:
    return await http.request("DELETE", PATH, json=chosen, headers=headers)


async def test_deleted_episodes_go_from_every_newer_version_and_come_back(
    log: Log, http: httpx.AsyncClient, storage: Path, ids: list[UUID]
) -> None:
    files, first, second, third = content(storage), *map(str, ids)
    reply = await delete(http, [second])
    assert (reply.status_code, reply.json()["episodes"], reply.json()["frames"]) == (200, 2, 12)
    assert await listed(http) == [(0, first, 5), (1, third, 7)]
    assert [row[:2] for row in on_disk(storage)] == [(0, 5), (1, 7)]
    assert (await http.get(f"{PATH}/{second}")).json()["error_code"] == "episode_not_found"
    await delete(http, [first, third])
    assert await listed(http) == on_disk(storage) == []
    assert (await http.get(f"/dataset/{DATASET}")).json()["frames"] == 0
    back = await http.post(f"{PATH}:restore", json={"episode_ids": [third, second]})
    assert (back.status_code, back.json()["episodes"], back.json()["frames"]) == (200, 2, 13)
    assert await listed(http) == [(0, second, 6), (1, third, 7)]  # in the order in which they were recorded
    assert [row[:2] for row in on_disk(storage)] == [(0, 6), (1, 7)]
    assert content(storage) == files
    assert current_version(storage / "datasets" / str(DATASET)) == log.load(Dataset, DATASET).content_version == 6
    assert list(check_log(log, quiet)) == list(check_files(log, storage, quiet)) == []


async def test_the_tables_are_what_a_rebuild_makes(log: Log, http: httpx.AsyncClient, ids: list[UUID]) -> None:
    await http.patch(f"{PATH}/{ids[0]}", json={"rating": 2, "note": "slow"})
    await delete(http, [str(ids[0]), str(ids[1])])
    await http.post(f"{PATH}:restore", json={"episode_ids": [str(ids[1])]})
    before = rows(log)
    rebuild(log)
    assert rows(log) == before


def facts(reply: httpx.Response) -> dict[str, Any]:
    """What is said of an episode, without its rows."""
    return {name: value for name, value in reply.json().items() if name in shapes.EpisodeFacts.model_fields}


async def test_what_is_said_of_an_episode_changes_and_its_files_do_not(
    http: httpx.AsyncClient, storage: Path, ids: list[UUID]
) -> None:
    files, path = content(storage), f"{PATH}/{ids[1]}"
    before = facts(await http.get(path))
    said = {"task": "Pull it.", "tags": ["fast"], "note": "a good one", "rating": 5, "success": True}
    changed = await http.patch(path, json=said)
    expected = before | {name: value for name, value in said.items() if name != "task"} | {"tasks": ["Pull it."]}
    assert (changed.status_code, changed.json()) == (200, expected)
    again = await http.get(path)
    assert (facts(again), again.headers["ETag"]) == (expected, changed.headers["ETag"])
    assert [row[2] for row in on_disk(storage)] == [(before["tasks"][0],), ("Pull it.",), (before["tasks"][0],)]
    assert content(storage) == files
    forgotten = await http.patch(path, json={"rating": None, "success": None, "note": ""})
    assert forgotten.json() == expected | {"rating": None, "success": None, "note": ""}
    version = current_version(storage / "datasets" / str(DATASET))
    assert version == 4  # only the task is in the files


async def test_an_index_means_something_at_one_version_only(http: httpx.AsyncClient, ids: list[UUID]) -> None:
    for reply in (await http.patch(f"{PATH}/1", json={"rating": 1}), await delete(http, [0])):
        assert (reply.status_code, reply.json()["error_code"]) == (428, "precondition_required")
    seen = (await http.get(f"{PATH}/1")).headers["ETag"]
    assert (await delete(http, [0], **{"If-Match": seen})).status_code == 200
    assert (await delete(http, [0], **{"If-Match": seen})).status_code == 412
    assert await listed(http) == [(0, str(ids[1]), 6), (1, str(ids[2]), 7)]


BAD: list[tuple[str, str, Any, int]] = [
    ("PATCH", f"/{uuid4()}", {"rating": 1}, 404),
    ("PATCH", "/nonsense", {"rating": 1}, 404),
    ("PATCH", "/-1", {"rating": 1}, 404),
    ("PATCH", "/99999999999999999999", {"rating": 1}, 404),
    ("PATCH", "/{0}", {"rating": 6}, 422),
    ("PATCH", "/{0}", {"rating": 0}, 422),
    ("PATCH", "/{0}", {"tags": ["x"] * 33}, 422),
    ("PATCH", "/{0}", {"task": " "}, 422),
    ("PATCH", "/{0}", {"rows": 1}, 422),
    ("DELETE", "", [], 422),
    ("DELETE", "", ["nonsense"], 422),
    ("DELETE", "", [-1], 422),
    ("DELETE", "", [True], 422),
    ("DELETE", "", [0.0], 422),
    ("PATCH", "/{0}", {"note": None}, 422),
    ("DELETE", "", ["{0}", str(UUID(int=1))], 404),
    ("POST", ":restore", {"episode_ids": []}, 422),
    ("POST", ":restore", {"episode_ids": [str(UUID(int=1))]}, 404),
]


async def test_what_cannot_be_changes_nothing(
    log: Log, http: httpx.AsyncClient, storage: Path, ids: list[UUID]
) -> None:
    before, position = on_disk(storage), log.position()
    for method, path, body, status in BAD:
        asked = [str(ids[0]) if each == "{0}" else each for each in body] if isinstance(body, list) else body
        reply = await http.request(method, f"{PATH}{path.format(ids[0])}", json=asked)
        assert reply.status_code == status, (method, path, body, reply.text)
        assert reply.headers["content-type"] == "application/problem+json"
    assert (on_disk(storage), log.position()) == (before, position)


async def test_what_repeats_changes_nothing(log: Log, http: httpx.AsyncClient, ids: list[UUID]) -> None:
    await http.patch(f"{PATH}/{ids[0]}", json={"rating": 3})
    position = log.position()
    await http.patch(f"{PATH}/{ids[0]}", json={"rating": 3})
    assert (await http.post(f"{PATH}:restore", json={"episode_ids": [str(ids[0])]})).json()["episodes"] == 3
    assert log.position() == position


async def test_a_deletion_stands_when_no_version_can_be_written_and_is_shown_later(
    log: Log, http: httpx.AsyncClient, storage: Path, ids: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise StorageFull("the disk is full")

    monkeypatch.setattr("actors.capture.lerobot_v3.publish", full)
    assert (await delete(http, [str(ids[0])])).status_code == 200
    assert len(await listed(http)) == 2
    assert len(on_disk(storage)) == 3
    monkeypatch.undo()
    catch_up(log, storage / "datasets")
    assert [row[1] for row in on_disk(storage)] == [6, 7]


async def test_a_start_shows_what_a_crash_has_left_unshown(log: Log, storage: Path, ids: list[UUID]) -> None:
    dataset = log.load(Dataset, DATASET)
    dataset.delete_episodes([ids[0]], AT)
    await log.append(dataset)  # and here everything was killed
    assert len(on_disk(storage)) == 3
    started = asyncio.create_task(keep_house(log, storage / "datasets"))
    while len(on_disk(storage)) != 2:
        assert not started.done(), started
        await asyncio.sleep(0.02)
    started.cancel()
    assert [row[1] for row in on_disk(storage)] == [6, 7]


class Trainer(TrainingActor):
    """Without a process: it has a version of the dataset to train on."""

    def __init__(self, log: Log, version: int) -> None:
        self.id, self.log = uuid4(), log
        self.aggregate: Any = SimpleNamespace(dataset_id=DATASET, dataset_version=version)


@pytest.mark.parametrize(("behind", "is_there"), [(0, True), (1, False)])
async def test_a_training_shows_the_newest_version_itself(
    log: Log, storage: Path, ids: list[UUID], monkeypatch: pytest.MonkeyPatch, behind: int, is_there: bool
) -> None:
    """One that was overtaken before it was shown cannot be made any more."""
    dataset = log.load(Dataset, DATASET)
    for id in ids[: 1 + behind]:
        dataset.delete_episodes([id], AT)
    await log.append(dataset)
    monkeypatch.setattr("actors.training.settings", lambda: Settings(storage_dir=storage))
    trainer = Trainer(log, dataset.content_version - behind)
    (storage / "jobs" / str(trainer.id)).mkdir(parents=True)
    with nullcontext() if is_there else pytest.raises(Unavailable):
        assert (trainer._pinned_dataset() / "meta" / "info.json").exists()


async def test_who_adds_and_who_deletes_at_once_both_prevail(
    log: Log, http: httpx.AsyncClient, storage: Path, ids: list[UUID]
) -> None:
    """A session that saves meanwhile decides on an older version, is refused, and decides again."""
    stale = log.load(Dataset, DATASET)
    await delete(http, [str(ids[1])])
    stale.delete_episodes([ids[0]], AT)
    with pytest.raises(VersionConflict):
        await log.append(stale)
    fresh = log.load(Dataset, DATASET)
    fresh.restore_episodes([ids[1]], AT)
    await log.append(fresh)
    publishing.publish_newest(storage / "datasets", fresh)
    assert [row[1] for row in on_disk(storage)] == [5, 6, 7]


async def test_the_versions_say_what_they_hold_since_when_and_who_learned_from_them(
    log: Log, storage: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "settings", lambda: Settings(storage_dir=storage))
    ids = await asyncio.to_thread(record_lost, tmp_path / "lost")
    await asyncio.to_thread(make_system, log, storage, tmp_path / "lost")  # with a model of version 3
    app = FastAPI()
    app.state.engine, app.state.gateway = log.engine, Gateway(log)
    problems.install(app)
    for router in (datasets.router, episodes.router):
        app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/api") as http:
        await delete(http, [str(ids[0])])
        listed = await http.get(f"/dataset/{DATASET}/versions")
        shown = [(each["version"], each["episodes"], each["used_by"]) for each in listed.json()]
        assert shown == [(3, 3, [{"id": str(MODEL), "name": "act-1"}]), (4, 2, [])]
        moments = [event.timestamp for event in log.stream(DATASET)][-2:]
        assert [datetime.fromisoformat(each["created_at"]) for each in listed.json()] == moments
        assert listed.headers["X-Total-Count"] == "2"
        (storage / "datasets" / str(DATASET) / "versions/3/meta/info.json").unlink()
        assert (await http.get(f"/dataset/{DATASET}/versions")).json()[0]["episodes"] is None
        assert (await http.get(f"/dataset/{uuid4()}/versions")).status_code == 404
