"""One server a database, a storage folder and a port: who comes second is told who was first."""

import errno
import fcntl
import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import psutil

from launch import haproxy
from projections import database
from settings import Settings

ENDING_S = 15.0
CLOCK_S = 2.0  # by which the kernel's word for when a process began may be off
FREE_IT = "Stop it, or set STORAGE_DIR and DATABASE_URL to others."
RAY = re.compile(r"ray(::|-)|.*/ray/(core/src|dashboard)/")  # the titles of its processes
END_IN_CLUSTER = " (`.venv/bin/serve shutdown -y` ends what a killed server left in a cluster)"
CLAIM = "GETI_ACTION_CLAIM"
"""In the environment of whatever a server starts: by which its replicas know that the claim is theirs."""


class CannotStart(Exception):
    """Why the server does not start, and what to do."""


def claim(config: Settings, stack: ExitStack, tell: Callable[[str], object]) -> None:
    """Hold what only one server may have until ``stack`` closes. What is left of one that was killed has ENDING_S to
    end, of which ``tell`` is told. Raises CannotStart."""
    patience = _Patience(tell)
    os.environ[CLAIM] = uuid4().hex
    held = (_only_one(what, path, config, patience) for what, path in _files(config).items())
    killed = [stack.enter_context(each) for each in held]
    _check_ports(config, patience if any(killed) else None)


def share(config: Settings, stack: ExitStack) -> None:
    """For a replica: it is one of those of the server that has claimed them, or, started by ``serve run``, one of
    several that hold them together. Raises CannotStart."""
    for what, path in _files(config).items():
        file = stack.enter_context(path.open("a+"))
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            note = _note(file) or {}
            if note.get("claim") != os.environ.get(CLAIM):
                raise CannotStart(f"The {what} is in use by {_server(note)}. {FREE_IT}") from None
        else:
            _write(file, config)


def _files(config: Settings) -> dict[str, Path]:
    """What only one server may have, and the file that whoever has it locks."""
    config.storage_dir.mkdir(parents=True, exist_ok=True)
    files = {"storage folder (STORAGE_DIR)": config.storage_dir / ".server"}
    if path := database.sqlite_path(config.database_url):
        path.parent.mkdir(parents=True, exist_ok=True)
        files["database (DATABASE_URL)"] = path.with_name(f"{path.name}.server")
    return files


class _Patience:
    """With what still ends by itself: ENDING_S in all, and one word to say so."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._until: float | None = None

    def wait(self) -> bool:
        """A moment, or False at once when the time is up."""
        if self._until is None:
            self._until = time.monotonic() + ENDING_S
            self._tell("The server that ran here was killed and is still ending: waiting for it …")
        time.sleep(0.1)
        return time.monotonic() < self._until


@contextmanager
def _only_one(what: str, path: Path, config: Settings, patience: _Patience) -> Iterator[bool]:
    """Whether the one before us was killed: who ends by itself takes its note along."""
    with path.open("a+") as file:
        _lock(what, file, patience)
        killed = _note(file) is not None
        pid = _write(file, config)
        try:
            yield killed
        finally:
            if os.getpid() == pid:  # a fork ends earlier
                file.truncate(0)


def _write(file: TextIO, config: Settings) -> int:
    """Note who we are; our pid."""
    since, pid = datetime.now(UTC).isoformat(), os.getpid()
    file.truncate(0)
    json.dump({"pid": pid, "url": config.address, "since": since, "claim": os.environ.get(CLAIM)}, file)
    file.flush()
    return pid


def _lock(what: str, file: TextIO, patience: _Patience) -> None:
    while True:
        try:
            return fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            note = _note(file)
        if note is None:
            raise CannotStart(f"The {what} is in use by {_server({})}. {FREE_IT}")
        if _lives(note):
            raise CannotStart(f"The {what} is in use by {_server(note)}. {FREE_IT}")
        if not patience.wait():
            raise CannotStart(f"The {what} is in use by what is left of {_server(note)}, which was killed. {FREE_IT}")


def _note(file: TextIO) -> dict[str, Any] | None:
    """What the holder, or the one before, says of itself."""
    file.seek(0)
    try:
        note: dict[str, Any] = json.load(file)
    except ValueError:
        return None
    return note


def _server(note: dict[str, Any]) -> str:
    if not note:
        return "another server that is just starting"
    return f"the server at {note['url']} (process {note['pid']}, since {note['since']})"


def _lives(note: dict[str, Any]) -> bool:
    """Whether it does itself, and not another process that has its number by now."""
    try:
        process = psutil.Process(note["pid"])
        noted = datetime.fromisoformat(note["since"]).timestamp()
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() < noted + CLOCK_S
    except psutil.NoSuchProcess:
        return False


def _check_ports(config: Settings, patience: _Patience | None) -> None:
    """Ours, and, unless a cluster has its own, HAProxy's and a chosen one of the dashboard. Raises CannotStart."""
    wanted = {"PORT": config.port}
    if not os.environ.get("RAY_ADDRESS"):
        wanted |= {"DASHBOARD_PORT": config.dashboard_port} if config.dashboard_port else {}
        wanted |= haproxy.ports() if config.haproxy else {}
    same = [name for name, port in wanted.items() if list(wanted.values()).count(port) > 1]
    if same:
        raise CannotStart(f"{' and '.join(same)} are the same port. Set one of them to another.")
    for name, port in wanted.items():
        while error := _refused(config.host, port):
            if error.errno != errno.EADDRINUSE:
                raise CannotStart(_unusable(config.host, name, port, error)) from error
            if patience is None or not patience.wait():
                raise CannotStart(
                    f"Port {port} is taken by {_listener(port)}, or set {name} to another one."
                ) from error


def _unusable(host: str, name: str, port: int, error: OSError) -> str:
    match error.errno:
        case errno.EACCES:
            return f"Port {port} needs root's rights. Set {name} to one of 1024 or more."
        case errno.EADDRNOTAVAIL:
            return f"This machine has no address {host}. Set HOST to one that it has (`ip address` lists them)."
        case _:
            return f"HOST={host} is no address to listen on: {error.strerror or error}. Set HOST to one."


def _refused(host: str, port: int) -> OSError | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return error
    return None


def _listener(port: int) -> str:
    """Who it is, and how to end it."""
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "another program. Stop it"
    pid = next((c.pid for c in connections if c.laddr and c.laddr.port == port and c.status == "LISTEN"), None)
    if pid is None:
        return "another program. Stop it"
    who = _starter(psutil.Process(pid))
    return f"process {who.pid} ({_title(who)[:120]}). Stop it{END_IN_CLUSTER if _is_rays(who) else ''}"


def _starter(process: psutil.Process) -> psutil.Process:
    """Whom a person would end: for a process of Ray's the server that brought it, unless that is a cluster's."""
    if not _is_rays(process):
        return process
    return next((each for each in process.parents() if each.pid != 1 and not _is_rays(each)), process)


def _is_rays(process: psutil.Process) -> bool:
    return RAY.match(_title(process)) is not None


def _title(process: psutil.Process) -> str:
    return " ".join(" ".join(process.cmdline()).split())
