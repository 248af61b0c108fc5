"""Writers that are killed, stopped or too many: nothing acknowledged is missing, nothing is there twice."""

import asyncio
import multiprocessing
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

import pytest
from sqlalchemy import Connection, text

from actors.answers import Once
from actors.log import Log, VersionConflict
from actors.rebuild import rebuild
from domain.errors import LogBusy
from domain.project import CreateProject, Project, UpdateProject
from projections import database, queries, schema, tables
from tests.integration.log_kit import AT, contents, kept_from_writing, new_project

pytestmark = pytest.mark.slow
KILLS = 20
WRITERS = 64
SOAK_S = 60.0
NAMESPACE = UUID(int=7)

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["actors.log"])


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    schema.upgrade(database_url)
    made = Log(database_url)
    yield made
    made.close()


def creation(number: int) -> tuple[Project, Once]:
    """The project and the key that request ``number`` is about; the same in every process."""
    id = uuid5(NAMESPACE, str(number))

    def render(connection: Connection, version: int) -> Any:
        return queries.project(connection, id)

    return Project.create(id, CreateProject(name=f"{number}"), AT), Once(
        "POST /api/projects", f"{number}", "", 201, render
    )


def _append_on_and_on(url: str, first: int, told: Pipe) -> None:
    """Says each answer once it has it, as a server would."""
    log = Log(url)

    async def work() -> None:
        number = first
        while True:
            project, once = creation(number)
            ack = await log.append(project, once=once)
            assert ack.answer is not None
            told.send((number, ack.position, ack.answer.body))
            number += 1

    asyncio.run(work())


async def test_a_killed_writer_loses_nothing_it_acknowledged(log: Log, database_url: str) -> None:
    """Killed twenty times, before, in or after a commit. The request it died on is repeated and answered as if for the
    first time, or as it was."""
    chance = random.Random(4)
    acknowledged: dict[int, tuple[int, Any]] = {}
    for _ in range(KILLS):
        ours, theirs = processes.Pipe(duplex=False)
        writer = processes.Process(target=_append_on_and_on, args=(database_url, len(acknowledged), theirs))
        writer.start()
        theirs.close()
        heard = [ours.recv()]
        await asyncio.sleep(chance.uniform(0, 0.05))
        writer.kill()
        writer.join()
        heard += _rest(ours)
        acknowledged |= {number: (position, body) for number, position, body in heard}
        project, once = creation(len(acknowledged))
        ack = await log.append(project, once=once)
        assert ack.answer is not None
        acknowledged[len(acknowledged)] = (ack.position, ack.answer.body)
    _stands(log, acknowledged)
    before = contents(log)
    rebuild(log)
    assert contents(log) == before


def _rest(pipe: Pipe) -> list[Any]:
    heard = []
    while True:
        try:
            heard.append(pipe.recv())
        except (EOFError, OSError):
            return heard


def _stands(log: Log, acknowledged: dict[int, tuple[int, Any]]) -> None:
    """Each request happened once, at the position that was answered, and repeating it gives its first answer."""
    happened = [(position, event.name) for position, event in log.read() if isinstance(event, Project.Created)]
    assert happened == sorted((position, f"{number}") for number, (position, _) in acknowledged.items())
    for number, (position, body) in acknowledged.items():
        answer = log.answered("POST /api/projects", f"{number}", "")
        assert answer is not None
        assert (answer.position, answer.body) == (position, body)


@pytest.mark.alone
async def test_a_holder_that_is_cut_off_is_put_out(postgresql_url: str) -> None:
    """As a process that was suspended in its transaction, or whose node is gone: the next one waits 5 s at most."""
    schema.upgrade(postgresql_url)
    log, stuck = Log(postgresql_url), database.engine(postgresql_url)
    with stuck.connect() as connection:
        connection.execute(text(f"LOCK TABLE {tables.events.name} IN EXCLUSIVE MODE"))
        began = time.monotonic()
        await log.append(new_project())
        assert time.monotonic() - began < 5
        connection.invalidate()
    stuck.dispose()
    log.close()


@pytest.mark.alone
async def test_behind_a_holder_that_is_stopped_each_is_told_in_time(sqlite_url: str) -> None:
    """The kernel's lock cannot be taken from a stopped process; whoever waits for it is told after 5 s."""
    schema.upgrade(sqlite_url)
    log = Log(sqlite_url)
    with kept_from_writing(sqlite_url):
        began = time.monotonic()
        with pytest.raises(LogBusy, match="nothing was done"):
            await log.append(new_project())
        assert 4 < time.monotonic() - began < 6
    await log.append(new_project("after"))
    assert log.position() == 1
    log.close()


def _write_for(url: str, shared: UUID, me: int, seconds: float, done: Any) -> None:
    """Makes project after project, and after each tries to change one that all change. Tells how many of each."""
    log = Log(url, lock_timeout_s=60)

    async def work() -> tuple[int, int]:
        made, changed, began = 0, 0, time.monotonic()
        while time.monotonic() - began < seconds:
            await log.append(new_project(f"{me} {made}"))
            made += 1
            project = log.load(Project, shared)
            project.update(UpdateProject(name=f"{me} {made}"), AT)
            with suppress(VersionConflict):  # somebody was first, as it mostly is among so many
                await log.append(project)
                changed += 1
        return made, changed

    done.put(asyncio.run(work()))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_many_writers_leave_no_gap(log: Log, database_url: str, tmp_path: Path) -> None:
    shared = new_project("shared")
    asyncio.run(log.append(shared))
    done = processes.Queue()
    writers = [
        processes.Process(target=_write_for, args=(database_url, shared.id, me, SOAK_S, done)) for me in range(WRITERS)
    ]
    for writer in writers:
        writer.start()
    counts = [done.get(timeout=SOAK_S + 240) for _ in writers]
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    made, changed = (sum(count) for count in zip(*counts, strict=True))
    assert min(own for own, _ in counts) > 0
    assert changed > 0
    assert [event.originator_version for event in log.stream(shared.id)] == list(range(1, changed + 2))
    positions = [position for position, _ in log.read()]
    assert positions == sorted(set(positions))
    assert len(positions) == made + changed + 1
