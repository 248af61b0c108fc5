"""A real server for the tests of this folder: the command line tool in a process of its own, a folder to itself."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from playwright.async_api import Page
from sqlalchemy import Connection

from client.api import Api
from client.demo import Cell, make_cell
from projections import database
from settings import PROJECT
from tests.browser import browsing, opened
from tests.postgresql import new_database, postgresql

from .kit import close_sessions, ended, open_session, record, submit

START_S = 240.0
STOP_S = 10.0
PROGRAM = (sys.executable, "-m", "cli")
REST_S = 3
FAILED = pytest.StashKey[bool]()
NOISE = ("Task was destroyed but it is pending", "will not be applied")
ICE_SERVERS = [
    {"urls": ["stun:127.0.0.1:9"]},
    {"urls": "turn:127.0.0.1:9", "username": "lab", "credential": "secret"},
]


class Server:
    """One server: ``start`` it, talk to ``api``, ``stop`` it politely or ``kill`` all of it at once. ``program`` is
    geti-action, this copy's or another's."""

    def __init__(self, folder: Path, program: Sequence[str | Path] = PROGRAM, **environment: str) -> None:
        self.folder = folder
        self.program = program
        self.port = free_port()
        self.storage = folder / "storage"
        self.database = folder / "geti.db"
        self.media = folder / "media"
        self.log = folder / "server.log"
        self.api = Api(f"http://localhost:{self.port}")
        self.url = self.api.url
        self._environment = os.environ | {
            "DATABASE_URL": f"sqlite+aiosqlite:///{self.database}",
            "STORAGE_DIR": str(self.storage),
            "PORT": str(self.port),
            "DASHBOARD_PORT": str(free_port()),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        return dict(self._environment)

    @contextmanager
    def connected(self) -> Iterator[Connection]:
        """A connection of the test's own to the server's database, of whichever kind."""
        engine = database.engine(self._environment["DATABASE_URL"])
        try:
            with engine.connect() as connection:
                yield connection
        finally:
            engine.dispose()

    def run(self, *words: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """A command of geti-action with this server's settings."""
        command = [*self.program, *words]
        return subprocess.run(
            command, cwd=PROJECT, env=self._environment, text=True, capture_output=True, timeout=timeout
        )

    def begin(self) -> None:
        """Start it, and do not wait."""
        with self.log.open("ab") as log:
            command = [*self.program, "serve"]
            self.process = subprocess.Popen(
                command, cwd=PROJECT, env=self._environment, stdout=log, stderr=log, start_new_session=True
            )

    def start(self) -> "Server":
        self.begin()
        self._until(self.api.is_up)
        return self

    def says(self, words: str) -> str:
        """All that it has said, once these words are in it."""
        self._until(lambda: words in self.log.read_text())
        return self.log.read_text()

    def _until(self, condition: Callable[[], bool]) -> None:
        assert self.process is not None
        deadline = time.monotonic() + START_S
        while not condition():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.2)

    def processes(self, title: str = "") -> list[psutil.Process]:
        """All processes of this server, or those whose title begins so ("ray::CameraActor")."""
        assert self.process is not None
        family = psutil.Process(self.process.pid)
        return [each for each in [family, *family.children(recursive=True)] if _title(each).startswith(title)]

    def kill(self, title: str, others: Sequence[psutil.Process] = ()) -> int:
        """kill -9 of every process of this title, but for ``others``; how many there were."""
        doomed = [each for each in self.processes(title) if each not in others]
        _kill(doomed)
        return len(doomed)

    def kill_everything(self) -> None:
        """As if the power had failed."""
        assert self.process is not None
        kill_family(self.process)
        self.process = None

    def stop(
        self, number: signal.Signals = signal.SIGINT, kill: Callable[[int, signal.Signals], None] = os.killpg
    ) -> float:
        """End it as Ctrl-C in a terminal does, which signals the whole group (``os.kill``: the process alone); how many
        seconds it took. Fails when anything of it is left running."""
        assert self.process is not None
        began = time.monotonic()
        kill(self.process.pid, number)
        self.process.wait(60)
        seconds = time.monotonic() - began
        left = [_title(each) for each in psutil.process_iter() if self._started(each)]
        assert not left, left
        self.process = None
        return seconds

    def _started(self, process: psutil.Process) -> bool:
        """Whether it is of this server, whoever its parent is: it inherited the name of a folder that is only ours."""
        try:
            return process.environ().get("STORAGE_DIR") == str(self.storage)
        except psutil.Error:
            return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def kill_family(process: subprocess.Popen[bytes]) -> None:
    """kill -9 of a process and of all that it started."""
    if process.poll() is None:
        family = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        _kill(family)
        psutil.wait_procs(family, timeout=STOP_S)
    process.wait(STOP_S)


def _kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@pytest.fixture(scope="session")
def kept_in() -> Iterator[dict[str, str]]:
    """Where the shared server keeps its log: SQLite, unless TEST_DATABASE says postgresql."""
    if os.environ.get("TEST_DATABASE", "sqlite") == "sqlite":
        yield {}
        return
    with postgresql() as running, new_database(running) as url:
        yield {"DATABASE_URL": url}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, kept_in: dict[str, str]) -> Iterator[Server]:
    """The server that most tests share; it must be left as it was found, but for projects of the test's own. Its
    relays do not answer (pictures come all the same), and its cameras soon rest. Somebody watches it stop."""
    folder = tmp_path_factory.mktemp("server")
    (folder / "media").mkdir()
    settings = {"ICE_SERVERS": json.dumps(ICE_SERVERS), "MEDIA_ROOTS": str(folder / "media"), **kept_in}
    shared = Server(folder, CAMERA_REST_S=str(REST_S), **settings).start()
    yield shared
    shared.api.close()
    with httpx.stream("GET", f"{shared.url}/api/live", timeout=30) as watched:
        lines = watched.iter_lines()
        assert any(line == "event: hello" for line in lines)
        assert shared.stop() < STOP_S
        assert any('"reason":"stopping"' in line for line in lines)
    assert not shared.database.with_name(f"{shared.database.name}-wal").exists()  # the file alone is whole
    said = shared.log.read_text()
    assert not [noise for noise in NOISE if noise in said]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    return report


@pytest.fixture(autouse=True)
def left_as_it_was(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that failed leaves its sessions open: closed here, so that it is the only one that fails."""
    yield
    if "server" in request.fixturenames and FAILED in request.node.stash:
        close_sessions(request.getfixturevalue("server").api)


@pytest.fixture
async def page(server: Server) -> AsyncIterator[Page]:
    """The operator's page of the shared server, every project folded: only what a test opens is watched."""
    async with browsing() as browser:
        page = await opened(browser, server.url)
        await page.evaluate("document.querySelectorAll('details').forEach((card) => (card.open = false))")
        yield page


@pytest.fixture(scope="session")
def recorded(server: Server) -> Cell:
    """A cell with two episodes to train on."""
    cell = make_cell(server.api, "recorded")
    session = open_session(server.api, cell)
    for _ in range(2):
        record(server.api, session, 3.0)
    server.api.post(f"{session}:close")
    return cell


@pytest.fixture(scope="session")
def jobs(server: Server, recorded: Cell) -> tuple[dict[str, Any], dict[str, Any]]:
    """Two that ran at once: one trained a policy on it, the other was accepted, because there are rows for a batch, and
    failed in its worker, because half of them are held out."""
    rows = server.api.get(f"/dataset/{recorded.dataset}")["frames"]
    trained = submit(server.api, recorded, device={"type": "cpu", "index": 0})
    failed = submit(server.api, recorded, batch_size=rows - 5)
    return ended(server.api, trained), ended(server.api, failed)


@pytest.fixture(scope="session")
def trained(jobs: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return jobs[0]


@pytest.fixture(scope="session")
def failed(jobs: tuple[dict[str, Any], dict[str, Any]]) -> dict[str, Any]:
    return jobs[1]


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may kill. It is not started yet."""
    own = Server(tmp_path)
    yield own
    own.api.close()
    if own.process is not None:
        own.kill_everything()
