"""A disk that is really full: writes are refused, deletes and reads go on, and all is well again when space is back."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import mkdtemp
from uuid import uuid4

import pytest

from actors.answers import Held, Once
from actors.log import Log
from actors.rebuild import rebuild
from actors.reserve import BYTES, Reserve
from domain.errors import StorageFull
from domain.project import Project
from domain.recording import OpenRecording, Recording, StartEpisode
from projections import queries, schema
from tests.disk import NEEDS_ROOT, fill, mounted
from tests.integration.log_kit import AT, Cell, contents, new_project
from tests.postgresql import new_database, postgresql

pytestmark = NEEDS_ROOT
DISK_BYTES = 24 * 1024 * 1024
POSTGRESQL_DISK_BYTES = 220 * 1024 * 1024
ROOM = 256 * 1024


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with mounted(tmp_path / "disk", DISK_BYTES) as folder:
        yield folder


@pytest.fixture
def log(disk: Path) -> Iterator[Log]:
    url = f"sqlite+aiosqlite:///{disk / 'geti.db'}"
    schema.upgrade(url)
    made = Log(url)
    assert made.fill_reserve()
    with made.engine.connect():  # SQLite's shared memory needs a file, which whoever came first has made
        yield made
    made.close()


async def write_until_full(log: Log) -> list[Project]:
    """Project after project; those that were acknowledged."""
    kept = []
    while True:
        project = new_project(f"{len(kept)} " + "x" * 150)
        try:
            await log.append(project)
        except StorageFull:
            return kept
        kept.append(project)


async def test_nothing_acknowledged_is_lost_and_space_brings_all_back(disk: Path, log: Log) -> None:
    ballast = fill(disk, but_bytes=ROOM)
    kept = await write_until_full(log)
    assert kept
    with log.engine.connect() as connection:
        assert {row["id"] for row in queries.projects(connection)} == {str(project.id) for project in kept}
    for _ in range(3):
        with pytest.raises(StorageFull, match="free some space"):
            await log.append(new_project())
    ballast.unlink()
    await log.append(new_project("after"))
    assert len(contents(log)["projects"]) == len(kept) + 1
    before = contents(log)
    rebuild(log)
    assert contents(log) == before


async def test_deletes_succeed_on_a_full_disk_however_often_it_is_filled(disk: Path, log: Log) -> None:
    fill(disk, but_bytes=ROOM)
    kept = await write_until_full(log)
    while kept:
        doomed, *kept = kept
        doomed.delete(AT)
        await log.append(doomed)
        assert free(disk) < ROOM  # what the delete did not need is set aside again before anybody else can use it
    assert contents(log)["projects"] == []


async def test_what_the_full_disk_has_ended_is_noted_all_the_same(disk: Path, log: Log) -> None:
    """An episode, whose rows find no room either: it is interrupted in the log, and not open for ever."""
    cell, episode = Cell(), uuid4()
    for thing in cell.things:
        await log.append(thing)
    command = OpenRecording(environment_id=cell.environment.id, dataset_id=cell.dataset.id)
    session = Recording.open(uuid4(), cell.project.id, command, cell.environment, "push", AT)
    session.ready(uuid4(), "node", AT)
    session.start(episode, StartEpisode(), AT)
    await log.append(session)
    fill(disk, but_bytes=ROOM)
    await write_until_full(log)
    session.interrupt(episode, 12, "No space left", AT)
    await log.append(session)
    assert log.load(Recording, session.id).takes.interrupted[episode].rows == 12
    session.start(uuid4(), StartEpisode(), AT)
    with pytest.raises(StorageFull):
        await log.append(session)


async def test_a_delete_may_come_with_a_key_on_a_full_disk(disk: Path, log: Log) -> None:
    """That of an owner's command, whose key is held before anybody knows whether it makes room."""
    fill(disk, but_bytes=ROOM)
    doomed, *_ = await write_until_full(log)
    assert isinstance(await log.hold_key("POST", "key", ""), Held)
    doomed.delete(AT)
    await log.append(doomed)
    answer = await log.remember(Once("POST", "key", "", 200, lambda *_: "gone"), doomed.version)
    assert log.answered("POST", "key", "") == answer
    await log.hold_key("POST", "other", "")
    await log.forget_key("POST", "other")
    assert log.answered("POST", "other", "") is None
    assert free(disk) < ROOM


def test_the_reserve_is_real_space_and_comes_back(disk: Path) -> None:
    reserve = Reserve(disk / "reserve")
    before = free(disk)
    assert reserve.fill()
    assert reserve.fill()
    assert before - free(disk) >= BYTES
    ballast = fill(disk)
    with reserve.lent():
        assert free(disk) >= BYTES
        (disk / "used").write_bytes(bytes(BYTES // 4))
    assert free(disk) < ROOM  # all that is left of it is set aside again
    assert (disk / "reserve").stat().st_size > BYTES // 2
    assert not reserve.fill()
    with reserve.lent():
        (disk / "all").write_bytes(bytes(free(disk)))
    assert [path.name for path in sorted(disk.iterdir())] == ["all", "ballast", "used"]
    ballast.unlink()
    assert reserve.fill()


def free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize


@pytest.fixture
def full_postgresql() -> Iterator[tuple[Path, Log]]:
    """The log in a PostgreSQL server on a disk of its own, where its user may go."""
    home = Path(mkdtemp(prefix="geti-full-disk-"))
    home.chmod(0o755)
    with mounted(home / "disk", POSTGRESQL_DISK_BYTES) as disk:
        disk.chmod(0o777)
        with postgresql(disk / "postgresql") as server, new_database(server) as url:
            schema.upgrade(url)
            with closing(Log(url)) as log:
                yield disk, log
    shutil.rmtree(home)


async def test_postgresql_on_a_full_disk_loses_nothing_either(full_postgresql: tuple[Path, Log]) -> None:
    disk, log = full_postgresql
    ballast = fill(disk, but_bytes=ROOM)
    kept = await write_until_full(log)
    assert kept
    for _ in range(3):
        with pytest.raises(StorageFull, match="free some space"):
            await log.append(new_project("x" * 150))
    with log.engine.connect() as connection:
        assert {row["id"] for row in queries.projects(connection)} == {str(project.id) for project in kept}
    ballast.unlink()
    await log.append(new_project("after"))
    assert len(contents(log)["projects"]) == len(kept) + 1
