"""A dataset whose log is lost is adopted from its folder, and is then like any other. On both databases."""

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import numpy as np
import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient
from sqlalchemy import select

from actors.capture.lerobot_v3 import current_version, publish
from actors.capture.manifest import EPISODE_FILE, read_facts, read_manifest
from actors.capture.reader import list_episodes, read_episode, versions
from actors.care.adopting import Adopted, Wish, adopt
from actors.care.check import check_log
from actors.care.check_files import check_files
from actors.log import Log
from domain.dataset import Dataset
from domain.errors import Conflict, Invalid, NameTaken, NotFound
from domain.project import Project
from projections import queries, tables
from projections.routes import routers
from tests.integration.care_kit import DATASET, SIZES, opened, quiet, record_lost, rows
from tests.integration.log_kit import AT, new_camera, new_environment, new_project, new_robot
from tests.integration.test_capture_kit import INFO, record

Episodes = list[UUID]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset's folder as a lost system left it."""
    folder = tmp_path_factory.mktemp("lost") / str(DATASET)
    (folder / ".order").write_text("\n".join(map(str, record_lost(folder))))
    return folder


@pytest.fixture
def ids(recorded: Path) -> Episodes:
    """The three episodes, as they were recorded."""
    return list(map(UUID, (recorded / ".order").read_text().split()))


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def folder(recorded: Path, storage: Path) -> Iterator[Path]:
    """The same in a storage root of our own."""
    read_manifest.cache_clear()
    yield Path(shutil.copytree(recorded, storage / "datasets" / str(DATASET), symlinks=True))
    read_manifest.cache_clear()


@pytest.fixture
def log(sqlite_url: str) -> Iterator[Log]:
    with opened(sqlite_url) as made:
        yield made


@pytest.fixture
def each_log(database_url: str) -> Iterator[Log]:
    """For what touches the database in a way of its own."""
    with opened(database_url) as made:
        yield made


def assert_whole(log: Log, storage: Path) -> None:
    assert [*check_log(log), *check_files(log, storage)] == []


def test_its_episodes_are_as_if_they_had_just_been_saved(
    each_log: Log, storage: Path, folder: Path, ids: Episodes
) -> None:
    adopted = adopt(each_log, storage, folder, Wish(project="Lab", environment="cell", name="pushes"), quiet)
    assert adopted == Adopted(DATASET, 3, 3, {})
    dataset = each_log.load(Dataset, DATASET)
    assert dataset.episodes == [read_facts(folder / "episodes" / str(id)) for id in ids]
    assert (dataset.name, dataset.default_task, dataset.content_version, dataset.fps) == ("pushes", "push", 3, 30)
    assert {event.by for _, event in each_log.read()} == {"adopt"}
    assert len({event.correlation_id for _, event in each_log.read()}) == 1
    assert_whole(each_log, storage)
    with each_log.engine.connect() as connection:
        shown = queries.dataset(connection, DATASET)
        environment = queries.environment(connection, shown["project_id"], shown["environment_id"])
        assert [episode["id"] for episode in queries.episodes(connection, DATASET)] == list(map(str, ids))
        assert queries.project(connection, shown["project_id"])["name"] == "Lab"
    assert (shown["episodes"], shown["frames"]) == (3, 5 + 6 + 7)
    assert [camera["name"] for camera in environment["cameras"]] == ["top", "wrist"]
    assert environment["cameras"][0]["payload"]["width"] == 96


def test_what_is_published_holds_all_rows(log: Log, storage: Path, folder: Path, ids: Episodes) -> None:
    adopt(log, storage, folder, Wish(), quiet)
    assert current_version(folder) == 3
    assert [entry.episode_id for entry in list_episodes(folder)] == list(map(str, ids))
    read = read_episode(folder, 2)
    assert np.array_equal(read.states[:, 0], np.arange(7) // 3 * 3)


async def test_the_api_shows_it_like_any_other(each_log: Log, storage: Path, folder: Path, ids: Episodes) -> None:
    await asyncio.to_thread(adopt, each_log, storage, folder, Wish(name="pushes"), quiet)
    app = FastAPI()
    for router in routers:
        app.include_router(router)
    app.state.engine = each_log.engine
    async with AsyncClient(transport=ASGITransport(app), base_url="http://test/api/dataset") as http:
        dataset, episodes = (await http.get(f"/{DATASET}")).json(), (await http.get(f"/{DATASET}/episodes")).json()
    assert (dataset["name"], dataset["episodes"], dataset["fps"]) == ("pushes", 3, 30)
    assert [episode["id"] for episode in episodes] == list(map(str, ids))
    assert [episode["length"] for episode in episodes] == [5, 6, 7]


def test_repeating_it_changes_nothing(each_log: Log, storage: Path, folder: Path) -> None:
    adopt(each_log, storage, folder, Wish(), quiet)
    before = rows(each_log)
    shutil.rmtree(folder / "versions" / "3")  # as if it had been killed before it published
    (folder / "current").unlink()
    assert adopt(each_log, storage, folder, Wish(project="another"), quiet) == Adopted(DATASET, 0, 3, {})
    assert rows(each_log) == before
    assert current_version(folder) == 3


def test_only_what_is_not_known_is_added(log: Log, storage: Path, folder: Path, ids: Episodes) -> None:
    late = folder.parent / "late"
    (folder / "episodes" / str(ids[2])).rename(late)
    assert adopt(log, storage, folder, Wish(), quiet).version == 2
    late.rename(folder / "episodes" / str(ids[2]))
    (line,) = check_files(log, storage)
    assert line.todo == f"geti-action adopt {folder}"
    assert adopt(log, storage, folder, Wish(), quiet) == Adopted(DATASET, 1, 3, {})
    assert_whole(log, storage)


def test_versions_on_disk_that_hold_other_episodes_are_left_behind(
    log: Log, storage: Path, folder: Path, ids: Episodes
) -> None:
    """Version 5 is the newest there and has fewer episodes than there are now."""
    publish(folder, 5, [ids[1], ids[0]], INFO)
    before = list_episodes(folder, 5)
    assert adopt(log, storage, folder, Wish(), quiet).version == 8
    assert versions(folder) == [1, 2, 5, 8]
    assert list_episodes(folder, 5) == before
    assert [entry.episode_id for entry in list_episodes(folder)] == [str(ids[1]), str(ids[0]), str(ids[2])]
    assert_whole(log, storage)


def test_a_folder_from_elsewhere_is_copied_in(log: Log, storage: Path, recorded: Path, ids: Episodes) -> None:
    with pytest.raises(Invalid, match="copied"):
        adopt(log, storage, recorded, Wish(copies=False), quiet)
    assert (log.position(), storage.exists()) == (0, False)
    assert adopt(log, storage, recorded, Wish(), quiet).episodes == 3
    home = storage / "datasets" / str(DATASET)
    episode = Path("episodes", str(ids[0]), EPISODE_FILE)
    assert not (home / episode).samefile(recorded / episode)
    assert_whole(log, storage)
    with pytest.raises(Conflict, match="already"):
        adopt(log, storage, recorded, Wish(), quiet)


def test_lost_files_of_a_dataset_that_the_log_knows_are_brought_back(
    log: Log, storage: Path, folder: Path, recorded: Path, ids: Episodes
) -> None:
    adopt(log, storage, folder, Wish(), quiet)
    before = rows(log)
    shutil.rmtree(folder)
    other = Path(shutil.copytree(recorded, storage.with_name("other"), symlinks=True))
    manifest = other / "episodes" / str(ids[0]) / EPISODE_FILE
    content = manifest.read_text()
    manifest.write_text(content + " ")
    with pytest.raises(Conflict, match="not the one that the log knows"):
        adopt(log, storage, other, Wish(), quiet)
    manifest.write_text(content)
    assert adopt(log, storage, other, Wish(), quiet) == Adopted(DATASET, 0, 3, {})
    assert rows(log) == before
    assert_whole(log, storage)


def test_a_refusal_of_the_log_leaves_no_copy_behind(log: Log, storage: Path, recorded: Path) -> None:
    first = storage.with_name("first")
    adopt(log, first, recorded, Wish(project="Lab", name="pushes"), quiet)
    other = storage.with_name("other") / str(DATASET)
    record(other, 5, SIZES, dataset_id=UUID(int=7))
    before = rows(log)
    with pytest.raises(NameTaken, match="pushes"):
        adopt(log, storage, other, Wish(project="Lab", name="pushes"), quiet)
    assert rows(log) == before
    assert not list(storage.glob("datasets/*"))


async def _a_cell(log: Log, name: str) -> tuple[Project, UUID]:
    project = new_project("Lab")
    camera, robot = new_camera(project), new_robot(project)
    environment = new_environment(project, robot, camera, name)
    await log.append(project, camera, robot, environment)
    return project, environment.id


@pytest.mark.parametrize("by_id", [False, True], ids=["by name", "by id"])
async def test_it_comes_to_the_cell_that_is_named(each_log: Log, storage: Path, folder: Path, by_id: bool) -> None:
    project, environment = await _a_cell(each_log, "cell")
    wish = Wish(project=str(project.id), environment=str(environment)) if by_id else Wish("Lab", "cell")
    await asyncio.to_thread(adopt, each_log, storage, folder, wish, quiet)
    dataset = each_log.load(Dataset, DATASET)
    assert (dataset.project_id, dataset.environment_id) == (project.id, environment)
    assert each_log.position() == 4 + 4


async def test_a_name_that_two_have_and_an_id_that_none_has_are_refused(
    each_log: Log, storage: Path, folder: Path
) -> None:
    await each_log.append(new_project("Lab"), new_project("Lab"))
    for project, error, words in (("Lab", Conflict, "2 projects named 'Lab'"), (str(DATASET), NotFound, "project")):
        with pytest.raises(error, match=words):
            await asyncio.to_thread(adopt, each_log, storage, folder, Wish(project=project), quiet)
    assert each_log.position() == 2


def test_damaged_episodes_are_left_out_and_named(log: Log, storage: Path, folder: Path, ids: Episodes) -> None:
    shutil.rmtree(folder / "versions")
    (folder / "current").unlink()
    video = folder / "episodes" / str(ids[0]) / "videos" / "top.mp4"
    video.write_bytes(video.read_bytes()[:-1])
    (folder / "episodes" / str(ids[1]) / "rows.parquet").unlink()
    strange = Path(shutil.copytree(folder / "episodes" / str(ids[2]), folder / "episodes" / "strange"))
    adopted = adopt(log, storage, folder, Wish(), quiet)
    assert (adopted.episodes, adopted.version) == (1, 1)
    assert adopted.damaged == {
        str(ids[0]): "videos/top.mp4 is not what was saved",
        str(ids[1]): "rows.parquet is missing",
        strange.name: f"its episode.json is that of {ids[2]}",
    }
    assert [episode.episode_id for episode in log.load(Dataset, DATASET).episodes] == [ids[2]]


def test_nothing_whole_nothing_at_all_and_two_datasets_in_one_are_refused(
    log: Log, storage: Path, folder: Path, ids: Episodes
) -> None:
    with pytest.raises(NotFound, match="no saved episode"):
        adopt(log, storage, folder / "versions", Wish(), quiet)
    record(folder, 4, SIZES, dataset_id=UUID(int=7))
    with pytest.raises(Invalid, match="several datasets"):
        adopt(log, storage, folder, Wish(), quiet)
    for id in ids:
        shutil.rmtree(folder / "episodes" / str(id))
    assert log.position() == 0


def test_episodes_of_another_shape_are_refused_before_anything_is_said(log: Log, storage: Path, folder: Path) -> None:
    record(folder, 4, {"top": (128, 64), "wrist": (64, 64)}, dataset_id=DATASET)
    with pytest.raises(Invalid, match="cameras"):
        adopt(log, storage, folder, Wish(), quiet)
    assert log.position() == 0


def test_a_manifest_that_points_elsewhere_is_damaged(log: Log, storage: Path, folder: Path, ids: Episodes) -> None:
    manifest = folder / "episodes" / str(ids[0]) / EPISODE_FILE
    manifest.write_text(manifest.read_text().replace('"rows.parquet"', '"../../.order"', 1))
    assert adopt(log, storage, folder, Wish(), quiet).damaged == {str(ids[0]): "../../.order is not inside its folder"}


async def test_a_deleted_dataset_stays_deleted(each_log: Log, storage: Path, folder: Path) -> None:
    await asyncio.to_thread(adopt, each_log, storage, folder, Wish(), quiet)
    dataset = each_log.load(Dataset, DATASET)
    dataset.delete(AT)
    await each_log.append(dataset)
    with pytest.raises(Conflict, match="was deleted"):
        await asyncio.to_thread(adopt, each_log, storage, folder, Wish(), quiet)
    with each_log.engine.connect() as connection:
        assert connection.execute(select(tables.datasets)).all() == []
