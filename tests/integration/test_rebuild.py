"""Views and claims made anew from the log, while others read and write, on both databases."""

import asyncio
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path
from select import select as select_ready

import pytest
from sqlalchemy import func, select, update

from actors import claims
from actors.log import Log
from actors.rebuild import ALL, Rebuilt, build_missing, rebuild
from benchmarks.long_log import append_all, long_log
from domain.aggregate import DomainEvent
from domain.errors import Invalid
from domain.project import UpdateProject
from projections import bulk, fold, schema, tables
from projections.changes import Change, View
from projections.fold import Standing
from projections.fresh import Fresh
from projections.views import VIEWS
from settings import PROJECT
from tests.integration.log_kit import AT, contents, digests, new_camera, new_project, told
from tests.story import everything

STORY = [event for _, event in everything()]
PATIENCE_S = 4.0
"""Of an append, on a machine that is busy with other tests; benchmarks/log_fold.py tells what it does take."""
GROWTH_MB = 60


@pytest.fixture
def log(database_url: str) -> Iterator[Log]:
    schema.upgrade(database_url)
    made = Log(database_url)
    yield made
    made.close()


async def _tell_the_story(log: Log) -> None:
    for event in STORY:
        await log.append(told(event))


def _spoil(log: Log) -> int:
    """Takes rows away, changes some, adds some; in how many."""
    with log.engine.begin() as connection:
        changed = connection.execute(update(tables.cameras).values(name="spoilt", payload={})).rowcount
        gone = connection.execute(tables.claims.delete().where(tables.claims.c.slot == "exists")).rowcount
        gone += connection.execute(tables.recording_episodes.delete()).rowcount
        connection.execute(tables.robots.insert(), dict.fromkeys(tables.robots.c.keys(), "0") | {"payload": {}})
        jobs = update(tables.jobs).where(tables.jobs.c.reason.is_not(None))
        changed += connection.execute(jobs.values(reason=None)).rowcount
    return changed + gone + 1


async def test_a_rebuild_gives_equal_views_and_claims(log: Log) -> None:
    await _tell_the_story(log)
    before = contents(log)
    spoilt = _spoil(log)
    assert contents(log) != before
    assert rebuild(log) == Rebuilt(len(STORY), spoilt, {})
    assert contents(log) == before
    assert rebuild(log) == Rebuilt(len(STORY), 0, {})
    assert contents(log) == before


async def test_a_rebuild_of_one_view_leaves_the_others(log: Log) -> None:
    await _tell_the_story(log)
    right = contents(log)
    _spoil(log)
    spoilt = contents(log)
    rebuild(log, ["cameras", "claims"])
    assert contents(log) == spoilt | {name: right[name] for name in ("cameras", "claims")}


def test_a_view_that_there_is_not_is_refused_with_those_that_there_are(log: Log) -> None:
    with pytest.raises(Invalid, match=r"no view 'kameras'.*claims, projects, cameras"):
        rebuild(log, ["cameras", "kameras"])


def test_an_empty_log_is_rebuilt(log: Log) -> None:
    _spoil(log)
    assert rebuild(log).events == 0
    assert [name for name, rows in contents(log).items() if rows] == ["positions"]


async def test_claims_folded_in_bulk_are_those_of_the_appends(log: Log) -> None:
    """However the log is cut: what one event takes, a later one of the same batch may release or pass on."""
    await _tell_the_story(log)
    kept = contents(log)["claims"]
    recorded = list(log.read())
    for size in (1, 3, len(recorded)):
        with log.engine.begin() as connection:
            connection.execute(tables.claims.delete())
            for first in range(0, len(recorded), size):
                batch = recorded[first : first + size]
                bulk.write(connection, fold.changes_of(batch, {"claims": claims.VIEW}))
        assert contents(log)["claims"] == kept, size


def _poison(position: int, event: DomainEvent) -> Iterable[Change]:
    raise ValueError("no such lens")


async def test_a_view_that_cannot_be_built_is_left_and_the_others_are_built(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    await _tell_the_story(log)
    right = contents(log)
    spoilt = _spoil(log)
    bad = View(VIEWS["cameras"].tables, VIEWS["cameras"].listens_to, _poison)
    monkeypatch.setitem(ALL, "cameras", bad)
    cameras = contents(log)["cameras"]
    rebuilt = rebuild(log)
    first = next(position for position, event in log.read() if event.TOPIC == "camera.created")
    reason = f"event 'camera.created' at position {first}: ValueError: no such lens"
    assert rebuilt == Rebuilt(len(STORY), spoilt - len(cameras), {"cameras": (first, reason)})
    assert contents(log) == right | {"cameras": cameras}
    assert log.views()["cameras"] == Standing(log.position(), None, is_behind=False)


async def test_a_start_builds_what_is_new_and_leaves_what_is_parked(
    log: Log, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await _tell_the_story(log)
    right = contents(log)
    at = tables.positions
    with log.engine.begin() as connection:
        for name in ("jobs", "robots", "projects"):
            connection.execute(tables.metadata.tables[name].delete())
        connection.execute(at.delete().where(at.c.view.in_(["jobs", "robots"])))
        connection.execute(update(at).where(at.c.view == "projects").values(position=2))
        connection.execute(update(at).where(at.c.view == "models").values(position=3, parked_reason="poison"))
    parked = log.views()["models"]
    monkeypatch.setitem(ALL, "robots", View(VIEWS["robots"].tables, VIEWS["robots"].listens_to, _poison))
    with caplog.at_level("INFO"):
        build_missing(log)
    assert "building projects, robots, jobs" in caplog.text
    assert "the view robots could not be built and is parked" in caplog.text
    views = log.views()
    assert views.pop("models") == parked
    robots = views.pop("robots")
    assert (robots.position, robots.is_behind) == (0, True)
    assert "no such lens" in (robots.parked_reason or "")
    assert set(views.values()) == {Standing(log.position(), None, is_behind=False)}
    rows = contents(log)
    assert {name: rows[name] for name in ("jobs", "projects")} == {name: right[name] for name in ("jobs", "projects")}
    before = contents(log)
    build_missing(log)  # nothing is missing any more, and what is parked is a person's
    assert contents(log) == before


def test_a_rebuild_says_how_far_it_is(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actors.rebuild.BATCH", 40)
    append_all(log, long_log(100))
    said: list[tuple[int, int]] = []
    rebuild(log, told=lambda done, total: said.append((done, total)))
    assert said == [(40, 100), (80, 100), (100, 100)]


def test_events_that_come_meanwhile_are_in_the_tables(
    log: Log, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between every two steps of the rebuild something happens, to a view that is parked too."""
    append_all(log, long_log(500))
    with log.engine.begin() as connection:
        parked = update(tables.positions).where(tables.positions.c.view.in_(["projects", "claims"]))
        connection.execute(parked.values(position=1, parked_reason="poison"))
    _spoil(log)
    numbers, compare = count(), Fresh.compare

    def meanwhile(*_: int) -> None:
        project = new_project(f"meanwhile {next(numbers)}")
        with closing(Log(database_url)) as other:
            asyncio.run(other.append(project))
            project.delete(AT) if next(numbers) % 3 == 0 else project.update(UpdateProject(name="renamed"), AT)
            asyncio.run(other.append(project))

    def compared(fresh: Fresh) -> int:
        meanwhile()
        found = compare(fresh)
        meanwhile()
        meanwhile()
        return found

    monkeypatch.setattr(Fresh, "compare", compared)
    monkeypatch.setattr("actors.rebuild.BATCH", 100)
    rebuild(log, told=meanwhile)
    swapped = contents(log)
    assert {row[1] for row in swapped["positions"]} == {log.position()}
    monkeypatch.undo()
    assert rebuild(log).replaced == 0
    assert contents(log) == swapped
    assert sum(row[1] == "renamed" for row in swapped["projects"]) > 3


WRITERS = """
import asyncio, os, sys, time
from datetime import UTC, datetime
from uuid import uuid4
from actors.log import Log
from domain.project import CreateProject, Project, UpdateProject

async def write(url, stop):
    log, slowest, made = Log(url), 0.0, 0
    while not os.path.exists(stop):
        project = Project.create(uuid4(), CreateProject(name="new"), datetime.now(UTC))
        for change in (lambda: None, lambda: project.update(UpdateProject(name="x"), datetime.now(UTC)),
                       lambda: project.delete(datetime.now(UTC)) if made % 3 == 0 else None):
            change()
            began = time.monotonic()
            await log.append(project)
            slowest = max(slowest, time.monotonic() - began)
        made += 1
    os.write(1, f"{made} {slowest}\\n".encode())
    log.close()

url, stop, processes = sys.argv[1], sys.argv[2], int(sys.argv[3])
for _ in range(processes - 1):
    if os.fork() == 0:
        break
asyncio.run(write(url, stop))
"""


@contextmanager
def _writing(url: str, folder: Path, processes: int) -> Iterator[list[tuple[int, float]]]:
    """Writers in processes of their own, all at it while this lasts; then how many projects each has made, and the
    seconds that its slowest append took."""
    stop, said = folder / "stop", list[tuple[int, float]]()
    command = [sys.executable, "-c", WRITERS, url, str(stop), str(processes)]
    with subprocess.Popen(command, cwd=PROJECT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as writers:
        try:
            yield said
        finally:
            stop.touch()
            answer, error = writers.communicate(timeout=60)
    assert error == ""
    said += [(int(made), float(slowest)) for made, slowest in map(str.split, answer.splitlines())]
    assert len(said) == processes


@contextmanager
def _reading(log: Log) -> Iterator[list[int]]:
    """A reader that never stops; how many cameras it saw each time."""
    seen: list[int] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            with log.engine.connect() as connection:
                seen.append(connection.scalar(select(func.count()).select_from(tables.cameras)) or 0)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        yield seen
    finally:
        stop.set()
        reader.join()


@pytest.mark.slow
def test_four_writers_and_a_reader_go_on_through_rebuilds(log: Log, database_url: str, tmp_path: Path) -> None:
    append_all(log, long_log(6_000))
    start, cameras = log.position(), len(contents(log)["cameras"])
    with _writing(database_url, tmp_path, 4) as writers, _reading(log) as seen:
        while log.position() < start + 20:
            time.sleep(0.01)
        for _ in range(2):
            _spoil(log)  # every row of the cameras
            rebuild(log)
    assert min(made for made, _ in writers) > 0
    assert set(seen) == {cameras}
    served = digests(log)
    assert rebuild(log).replaced == 0
    assert digests(log) == served
    assert {view.is_behind for view in log.views().values()} == {False}
    assert max(slowest for _, slowest in writers) < PATIENCE_S


REBUILDERS = """
import os, sys
from actors import log, rebuild
rebuild.BATCH = 100
for line in sys.stdin:
    if (child := os.fork()) == 0:
        opened = log.Log(sys.argv[1])
        os.write(1, f"{os.getpid()}\\n".encode())
        rebuild.rebuild(opened)
        os._exit(0)
    os.waitpid(child, 0)
    os.write(1, b"ended\\n")
"""


class _Rebuilders:
    """Processes that rebuild, one after the other, each to be killed."""

    def __init__(self, url: str) -> None:
        command = [sys.executable, "-c", REBUILDERS, url]
        self.process = subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self._in, self._out = self.process.stdin, self.process.stdout

    def run(self, kill_after_s: float = 60) -> float:
        """kill -9 so many seconds after the rebuild began, if it still goes on; how long it went on."""
        self._in.write(b"next\n")
        self._in.flush()
        child, began = int(self._out.readline()), time.monotonic()
        if not select_ready([self._out], [], [], kill_after_s)[0]:
            os.kill(child, signal.SIGKILL)
        took_s = time.monotonic() - began
        assert self._out.readline() == b"ended\n"
        return took_s


@contextmanager
def _rebuilders(url: str) -> Iterator[_Rebuilders]:
    made = _Rebuilders(url)
    with made.process:
        yield made
        made.process.communicate()


def _kill_many(log: Log, url: str, times: int) -> None:
    append_all(log, long_log(2_000))
    right = digests(log)
    moments, swapped = random.Random(times), 0
    with _rebuilders(url) as rebuilders:
        takes_s = rebuilders.run()
        for _ in range(times):
            _spoil(log)
            spoilt = digests(log)
            rebuilders.run(kill_after_s=moments.uniform(0, takes_s))
            left = digests(log)
            assert left in (spoilt, right)
            swapped += left == right
            asyncio.run(log.append(new_project("goes on")))  # no lock is left behind
            rebuild(log)
            right = digests(log)
    assert swapped < times


@pytest.mark.slow
def test_a_rebuild_that_is_killed_leaves_everything_as_it_was(log: Log, database_url: str) -> None:
    _kill_many(log, database_url, 3)


@pytest.mark.long
def test_a_rebuild_that_is_killed_at_20_moments_leaves_everything_as_it_was(log: Log, database_url: str) -> None:
    _kill_many(log, database_url, 20)


MEASURED = """
import resource, sys
from actors.log import Log
from actors.rebuild import rebuild
sizes = []
def told(done, total):
    if done * 10 // total > len(sizes):
        sizes.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
rebuilt = rebuild(Log(sys.argv[1]), told=told)
print(rebuilt.events, rebuilt.replaced, sizes[0], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def _rebuild_is_equal(log: Log, url: str, events: int) -> None:
    append_all(log, long_log(events))
    before = digests(log)
    with log.engine.begin() as connection:
        for view in VIEWS.values():
            for table in view.tables:
                connection.execute(table.delete())
        connection.execute(tables.claims.delete())
    done = subprocess.run([sys.executable, "-c", MEASURED, url], cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    folded, replaced, early_mb, peak_mb = map(int, done.stdout.split())
    assert folded == events
    assert replaced > events / 10
    assert digests(log) == before
    assert peak_mb < early_mb + GROWTH_MB


@pytest.mark.slow
def test_a_rebuild_of_100_000_events_gives_equal_tables(log: Log, database_url: str) -> None:
    _rebuild_is_equal(log, database_url, 100_000)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_rebuild_of_a_million_events_gives_equal_tables_in_flat_memory(log: Log, database_url: str) -> None:
    _rebuild_is_equal(log, database_url, 1_000_000)


REFUSE = {
    "sqlite": (
        "CREATE TRIGGER no_cameras BEFORE INSERT ON cameras BEGIN SELECT RAISE(ABORT, 'no camera here'); END",
        "DROP TRIGGER no_cameras",
    ),
    "postgresql": (
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'no camera here'; END $$; "
        "CREATE TRIGGER no_cameras BEFORE INSERT ON cameras FOR EACH ROW EXECUTE FUNCTION refuse()",
        "DROP TRIGGER no_cameras ON cameras",
    ),
}


async def test_a_view_whose_table_refuses_its_rows_stays_parked_and_the_others_are_built(log: Log) -> None:
    await _tell_the_story(log)
    right = contents(log)
    refuse, allow = REFUSE[log.engine.dialect.name]
    with log.engine.begin() as connection:
        connection.exec_driver_sql(refuse)
    project = new_project()
    await log.append(project, new_camera(project))
    parked = log.views()["cameras"]
    assert "no camera here" in str(parked.parked_reason)
    _spoil(log)
    cameras = contents(log)["cameras"]
    rebuilt = rebuild(log)
    assert list(rebuilt.poisoned) == ["cameras"]
    assert "its table refuses the rows: " in rebuilt.poisoned["cameras"].reason
    assert "no camera here" in rebuilt.poisoned["cameras"].reason
    assert (contents(log)["cameras"], log.views()["cameras"]) == (cameras, parked)
    assert contents(log)["robots"] == right["robots"]
    assert rebuilt.replaced > 0
    assert rebuild(log, ["cameras"]).replaced == 0
    with log.engine.begin() as connection:
        connection.exec_driver_sql(allow)
    assert rebuild(log, ["cameras"]).poisoned == {}
    assert log.views()["cameras"] == Standing(log.position(), None, is_behind=False)
    assert len(contents(log)["cameras"]) == len(right["cameras"]) + 1
