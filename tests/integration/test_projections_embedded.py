"""DATABASE_URL=embedded-postgres: a real server for as long as a command runs, and the same data the next time."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

import psutil
import psycopg
import pytest
from alembic import command
from alembic.config import Config

from actors.log import Log
from projections import database, schema
from projections.embedded import embedded
from settings import PROJECT, settings
from tests.integration.log_kit import new_project

pytestmark = pytest.mark.slow
WITHIN_S = 30.0
USER = """
import os, signal, sys, time
from pathlib import Path
from launch.guard import guard
from projections.embedded import embedded

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests in the background ignores it
with embedded(Path(sys.argv[1])):
    if sys.argv[2] == "guarded":
        guard(stop_s=5, left_s=1)
    print(os.getpid(), flush=True)
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        pass
"""


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Outside pytest's own: the server may run as another user, who must be able to enter. One, for making the files
    of a server takes seconds."""
    made = Path(mkdtemp(prefix="geti-embedded-"))
    yield made
    shutil.rmtree(made)


@pytest.fixture(autouse=True)
def fresh_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("DATABASE_URL", "embedded-postgres")
    settings.cache_clear()
    yield
    settings.cache_clear()


async def test_what_was_written_is_there_the_next_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2):
        monkeypatch.setenv("DATABASE_URL", "embedded-postgres")
        settings.cache_clear()
        with embedded(folder):
            url = settings().database_url
            schema.upgrade(url)
            log = Log(url)
            await log.append(new_project())
            assert log.position() == count
            log.close()
        with pytest.raises(psycopg.OperationalError):
            psycopg.connect(database.engine(url).url.set(drivername="postgresql").render_as_string(False))


def test_another_database_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "sqlite:///./other.db")
    settings.cache_clear()
    with embedded(tmp_path):
        assert settings().database_url == "sqlite:///./other.db"
    assert not list(tmp_path.iterdir())


def test_alembic_s_own_words_work_with_it(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("projections.embedded.FOLDER", folder)
    config = Config()
    config.set_main_option("script_location", str(schema.MIGRATIONS))
    for word in (partial(command.upgrade, revision="head"), command.check, partial(command.downgrade, revision="0001")):
        monkeypatch.setenv("DATABASE_URL", "embedded-postgres")
        settings.cache_clear()
        word(config)


@contextmanager
def user(folder: Path, kind: str = "alone") -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that uses the server of this folder, and which one does the work."""
    command = [sys.executable, "-c", USER, str(folder), kind]
    with subprocess.Popen(command, cwd=PROJECT, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline())
        finally:
            process.send_signal(signal.SIGINT)


def postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))


def lives(server: psutil.Process) -> bool:
    """Whoever inherits an orphan may never see it off."""
    return server.is_running() and server.status() != psutil.STATUS_ZOMBIE


def stop(guard: int, worker: int) -> None:
    os.kill(guard, signal.SIGINT)


def kill_guard(guard: int, worker: int) -> None:
    os.kill(guard, signal.SIGKILL)


def kill_worker(guard: int, worker: int) -> None:
    os.kill(worker, signal.SIGKILL)


@pytest.mark.parametrize("end", [stop, kill_guard, kill_worker])
def test_it_ends_cleanly_with_a_guarded_process_however_that_ends(
    folder: Path, end: Callable[[int, int], None]
) -> None:
    with user(folder, "guarded") as (guard, worker):
        server = postmaster(folder)
        end(guard.pid, worker)
        server.wait(WITHIN_S)
    assert "database system is shut down" in (folder / "log").read_text()


def test_it_ends_with_its_last_user(folder: Path) -> None:
    with user(folder) as (first, _):
        server = postmaster(folder)
        with user(folder) as (second, _):
            first.send_signal(signal.SIGINT)
            first.wait(WITHIN_S)
            assert lives(server)
            second.send_signal(signal.SIGINT)
            second.wait(WITHIN_S)
    assert not lives(server)


def test_the_dead_do_not_count(folder: Path) -> None:
    with user(folder) as (killed, _):
        server = postmaster(folder)
        killed.kill()
        killed.wait(WITHIN_S)
    assert lives(server)
    with embedded(folder):
        assert postmaster(folder) == server
    assert not lives(server)


def test_what_was_written_is_there_after_killing_everything(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with user(folder) as (killed, _):
        with psycopg.connect(f"postgresql://postgres:@/postgres?host={folder}", autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS number")
        for each in (killed.pid, postmaster(folder).pid):
            os.kill(each, signal.SIGKILL)
    with embedded(folder), psycopg.connect(settings().database_url.replace("+asyncpg", "")) as connection:
        assert connection.execute("SELECT number FROM kept").fetchall() == [(7,)]


def test_another_program_with_the_number_of_a_server_before_a_power_failure_is_none(folder: Path) -> None:
    with user(folder) as (killed, _):
        note = (folder / "postmaster.pid").read_text()
        for each in (killed.pid, postmaster(folder).pid):
            os.kill(each, signal.SIGKILL)
    (folder / "postmaster.pid").write_text(f"{os.getpid()}\n" + note.split("\n", 1)[1])
    with embedded(folder):
        psycopg.connect(settings().database_url.replace("+asyncpg", "")).close()
