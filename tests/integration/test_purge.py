"""A dataset's trash is emptied over HTTP, in process, on both databases: the space is free, what is needed stays."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI

from actors.capture import lerobot_v3, purge
from actors.capture.lerobot_v3 import current_version
from actors.capture.reader import list_episodes, versions
from actors.care.check import check_log
from actors.care.check_files import check_files
from actors.gateway import Gateway
from actors.log import Log
from actors.routes import datasets, episodes, problems, trash
from domain.dataset import Dataset
from domain.errors import StorageFull
from domain.model import Model
from domain.operation import Operation
from domain.training import Job, Train
from projections import routes as reading
from projections import tables
from settings import Settings
from tests.integration.care_kit import DATASET, MODEL, make_system, quiet, record_lost
from tests.integration.log_kit import AT

PATH = f"/dataset/{DATASET}"


@pytest.fixture
async def ids(log: Log, storage: Path, tmp_path: Path) -> list[UUID]:
    """Three episodes, all in version 3, which a model was trained on."""
    made = await asyncio.to_thread(record_lost, tmp_path / "lost")
    await asyncio.to_thread(make_system, log, storage, tmp_path / "lost")
    return made


@pytest.fixture
async def http(
    log: Log, storage: Path, ids: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[httpx.AsyncClient]:
    for module in (datasets, episodes, trash):
        monkeypatch.setattr(module, "settings", lambda: Settings(storage_dir=storage))
    app = FastAPI()
    app.state.engine, app.state.gateway = log.engine, Gateway(log)
    problems.install(app)
    for router in (*reading.routers, datasets.router, episodes.router, trash.router):
        app.include_router(router)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost/api") as client:
        yield client


@pytest.fixture
def folder(storage: Path) -> Path:
    return storage / "datasets" / str(DATASET)


def used(folder: Path) -> int:
    """Bytes on the disk, each file once."""
    inodes = {(stat := path.stat()).st_ino: stat.st_size for path in folder.rglob("*") if path.is_file()}
    return sum(inodes.values())


def is_there(folder: Path) -> bool:
    return folder.is_dir()


async def delete(http: httpx.AsyncClient, *chosen: UUID) -> None:
    reply = await http.request("DELETE", f"{PATH}/episodes", json=[str(id) for id in chosen])
    assert reply.status_code == 200, reply.text


async def purged(http: httpx.AsyncClient, **said: Any) -> dict[str, Any]:
    reply = await http.post(f"{PATH}:purge", json=said)
    assert reply.status_code == 200, reply.text
    assert reply.headers["ETag"] == (await http.get(PATH)).headers["ETag"]
    found: dict[str, Any] = reply.json()
    return found


async def test_what_a_model_was_trained_on_stays_unless_it_is_said_otherwise(
    log: Log, http: httpx.AsyncClient, storage: Path, folder: Path, ids: list[UUID]
) -> None:
    first, second, third = ids
    await delete(http, first)
    await delete(http, second)
    listed = (await http.get(f"{PATH}/trash")).json()
    assert [(each["id"], each["episode_index"]) for each in listed] == [(str(first), 0), (str(second), 0)]
    kept = {"version": 3, "reason": "'act-1' was trained on it", "episode_ids": sorted(map(str, (first, second)))}
    assert await purged(http) | {"freed_bytes": 0} == {
        "episode_ids": [],
        "versions": [4],
        "freed_bytes": 0,
        "kept": [kept],
    }
    assert [entry.episode_id for entry in list_episodes(folder, 3)] == list(map(str, ids))
    before = used(folder)
    gone = await purged(http, also_used=True)
    assert (gone["episode_ids"], gone["versions"], gone["kept"]) == ([str(first), str(second)], [3], [])
    assert gone["freed_bytes"] == before - used(folder) > 10_000
    assert (await http.get(f"{PATH}/trash")).json() == []
    assert versions(folder) == [current_version(folder)] == [5]
    assert [path.name for path in (folder / "episodes").iterdir() if path.is_dir()] == [str(third)]
    assert [entry.episode_id for entry in list_episodes(folder)] == [str(third)]
    assert list(check_log(log, quiet)) == list(check_files(log, storage, quiet)) == []


async def test_what_was_purged_cannot_be_restored_and_the_dataset_goes_on(
    log: Log, http: httpx.AsyncClient, folder: Path, ids: list[UUID]
) -> None:
    await delete(http, *ids)
    assert len((await purged(http, also_used=True))["episode_ids"]) == 3
    refused = await http.post(f"{PATH}/episodes:restore", json={"episode_ids": [str(ids[0])]})
    assert (refused.status_code, refused.json()["error_code"]) == (404, "episode_not_found")
    assert await purged(http) == {"episode_ids": [], "versions": [], "freed_bytes": 0, "kept": []}
    assert list_episodes(folder) == []
    assert log.load(Dataset, DATASET).with_files == []


async def test_what_a_crash_has_left_goes_the_next_time(
    log: Log, http: httpx.AsyncClient, folder: Path, ids: list[UUID]
) -> None:
    await delete(http, ids[0])
    dataset = log.load(Dataset, DATASET)
    dataset.purge_episodes([ids[0]], AT)
    await log.append(dataset)  # and here everything was killed
    assert (folder / "episodes" / str(ids[0])).is_dir()
    purge.put_out_of_sight(folder / "versions" / "3")  # and here once more
    freed = await purged(http, also_used=True)
    assert (freed["episode_ids"], freed["versions"], freed["freed_bytes"] > 10_000) == ([], [], True)
    assert not (folder / "versions" / f".3{purge.GOING}").exists()
    assert not (folder / "episodes" / str(ids[0])).exists()


async def test_a_version_that_a_full_disk_had_no_room_for_is_made_once_there_is_some(
    http: httpx.AsyncClient, folder: Path, ids: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    publish = lerobot_v3.publish

    def full(dataset_folder: Path, *words: Any) -> Path:
        if (dataset_folder / "episodes" / str(ids[0])).exists():
            raise StorageFull("the disk is full")
        return publish(dataset_folder, *words)

    monkeypatch.setattr(lerobot_v3, "publish", full)
    await delete(http, ids[0])
    assert current_version(folder) == 3
    found = await purged(http, also_used=True)
    assert (found["episode_ids"], found["versions"], found["freed_bytes"] > 10_000) == ([str(ids[0])], [3], True)
    assert versions(folder) == [current_version(folder)] == [4]
    assert [entry.episode_id for entry in list_episodes(folder)] == [str(id) for id in ids[1:]]


async def test_a_version_that_is_being_sent_stays_until_it_is(
    http: httpx.AsyncClient, folder: Path, ids: list[UUID]
) -> None:
    await delete(http, ids[0])
    with purge.being_sent(folder / "versions" / "3"):
        found = await purged(http, also_used=True)
        assert (found["versions"], [kept["version"] for kept in found["kept"]]) == ([], [3])
        assert len(list_episodes(folder, 3)) == 3
    assert (await purged(http, also_used=True))["versions"] == [3]


async def test_a_download_is_sent_to_its_end_whatever_is_purged_meanwhile(
    http: httpx.AsyncClient, folder: Path, ids: list[UUID]
) -> None:
    version = folder / "versions" / "3"
    from actors.capture.archive import archive

    sent = datasets._chunks(version, archive(version))
    with closing(sent):
        received = len(next(sent))
        await delete(http, ids[0])
        assert (await purged(http, also_used=True))["versions"] == []
        received += sum(map(len, sent))
    assert received == len(archive(version))
    assert (await purged(http, also_used=True))["versions"] == [3]


async def test_what_a_job_still_needs_stays_and_an_operation_is_waited_for(
    log: Log, http: httpx.AsyncClient, ids: list[UUID]
) -> None:
    dataset = log.load(Dataset, DATASET)
    train = Train(project_id=dataset.project_id, dataset_id=DATASET, model_name="next")
    job = Job.train(uuid4(), uuid4(), train, dataset, AT)
    await log.append(job)
    await delete(http, ids[0])
    found = await purged(http, also_used=True)
    assert found["episode_ids"] == []
    (kept,) = found["kept"]
    assert (kept["version"], kept["episode_ids"], str(job.id) in kept["reason"]) == (3, [str(ids[0])], True)
    operation = Operation.verify(uuid4(), dataset, AT)
    await log.append(operation)
    refused = await http.post(f"{PATH}:purge", headers={"Idempotency-Key": "a key"})
    assert (refused.status_code, str(operation.id) in refused.json()["detail"]) == (409, True)
    operation.complete({}, AT)
    job.fail("no", AT)
    await log.append(operation, job)
    answers = [
        await http.post(f"{PATH}:purge", json={"also_used": True}, headers={"Idempotency-Key": "2"}) for _ in "12"
    ]
    assert answers[0].json() == answers[1].json()
    assert answers[0].json()["episode_ids"] == [str(ids[0])]


async def test_what_is_kept_and_cannot_be_read_stops_it(http: httpx.AsyncClient, folder: Path, ids: list[UUID]) -> None:
    await delete(http, ids[0])
    (damaged,) = (folder / "versions/3/meta/episodes").rglob("*.parquet")
    damaged.write_bytes(b"nonsense")
    reply = await http.post(f"{PATH}:purge")
    assert (reply.status_code, "Version 3 stays" in reply.json()["detail"]) == (409, True)
    assert (folder / "episodes" / str(ids[0])).is_dir()
    assert (await purged(http, also_used=True))["episode_ids"] == [str(ids[0])]


async def test_what_was_deleted_as_a_whole_is_in_the_trash_until_it_is_purged(
    log: Log, http: httpx.AsyncClient, storage: Path, folder: Path, ids: list[UUID]
) -> None:
    assert (await http.get("/trash")).json() == []
    dataset, model = log.load(Dataset, DATASET), log.load(Model, MODEL)
    dataset.delete(AT)
    model.delete(AT)
    await log.append(dataset, model)
    listed = await http.get("/trash")
    shown = {each["kind"]: (each["id"], each["name"], each["size_bytes"]) for each in listed.json()}
    before = used(storage)
    assert shown["dataset"] == (str(DATASET), dataset.name, used(folder))
    assert shown["model"] == (str(MODEL), "act-1", used(storage / "models"))
    assert listed.headers["X-Total-Count"] == "2"
    unknown = await http.post("/trash:purge", json={"ids": [str(DATASET), str(uuid4())]})
    assert (unknown.status_code, is_there(folder)) == (404, True)
    some = await http.post("/trash:purge", json={"ids": [str(DATASET)]})
    assert some.json() == {"ids": [str(DATASET)], "freed_bytes": shown["dataset"][2]}
    assert not is_there(folder)
    assert (await http.post("/trash:purge")).json()["ids"] == [str(MODEL)]
    assert (await http.get("/trash")).json() == []
    assert used(storage) == before - shown["dataset"][2] - shown["model"][2]
    assert list(check_log(log, quiet)) == list(check_files(log, storage, quiet)) == []


async def test_what_is_there_or_cannot_be_read_is_in_no_trash(
    log: Log, http: httpx.AsyncClient, storage: Path, folder: Path, ids: list[UUID]
) -> None:
    (storage / "datasets" / "notes").mkdir()
    (storage / "models" / str(uuid4())).mkdir()
    assert (await http.post("/trash:purge")).json() == {"ids": [], "freed_bytes": 0}
    dataset = log.load(Dataset, DATASET)
    model = log.load(Model, MODEL)
    model.delete(AT)
    dataset.delete(AT)
    await log.append(model, dataset)
    with log.engine.begin() as connection:
        events = tables.events
        damaged = (events.c.originator_id == DATASET, events.c.originator_version == 2)
        connection.execute(events.update().where(*damaged).values(state=b"{}"))
    assert (await http.post("/trash:purge")).json()["ids"] == [str(MODEL)]
    assert is_there(folder)


async def test_what_a_crash_has_left_of_a_deleted_thing_goes_the_next_time(
    log: Log, http: httpx.AsyncClient, storage: Path, folder: Path, ids: list[UUID]
) -> None:
    dataset = log.load(Dataset, DATASET)
    dataset.delete(AT)
    await log.append(dataset)
    purge.put_out_of_sight(folder)  # and here everything was killed
    freed = (await http.post("/trash:purge")).json()
    assert (freed["ids"], freed["freed_bytes"] > 10_000) == ([], True)
    assert used(storage / "datasets") == 0


async def test_unknown_and_wrong(http: httpx.AsyncClient) -> None:
    assert (await http.post(f"/dataset/{uuid4()}:purge")).status_code == 404
    assert (await http.get(f"/dataset/{uuid4()}/trash")).status_code == 404
    assert (await http.post(f"{PATH}:purge", json={"also_used": "yes"})).status_code == 422
