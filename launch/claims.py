"""One server a database, a storage folder and a port: who comes second is told who was first."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import psutil

from launch import haproxy
from projections import database
from settings import LOOPBACK, Settings


class CannotStart(Exception):
    """Why the server does not start, and what to do."""


def claim(config: Settings, stack: ExitStack) -> None:
    """Hold what only one server may have until ``stack`` closes. Raises CannotStart."""
    config.storage_dir.mkdir(parents=True, exist_ok=True)
    folders = {"storage folder": config.storage_dir / ".server"}
    if path := database.sqlite_path(config.database_url):
        path.parent.mkdir(parents=True, exist_ok=True)
        folders["database"] = path.with_name(f"{path.name}.server")
    for what, path in folders.items():
        stack.enter_context(_only_one(what, path, config))
    _check_ports(config)


@contextmanager
def _only_one(what: str, path: Path, config: Settings) -> Iterator[None]:
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(f"The {what} is in use by {_holder(file)}. Stop it, or set other ones in .env.") from None
        file.truncate(0)
        json.dump({"pid": os.getpid(), "url": address(config), "since": datetime.now(UTC).isoformat()}, file)
        file.flush()
        yield


def _holder(file: TextIO) -> str:
    file.seek(0)
    try:
        known = json.load(file)
    except ValueError:
        return "another server that is just starting"
    return f"the server at {known['url']} (process {known['pid']}, since {known['since']})"


def _check_ports(config: Settings) -> None:
    """Ours, and, unless a cluster has its own, HAProxy's and a chosen one of the dashboard. Raises CannotStart."""
    wanted = {"PORT": config.port}
    if not os.environ.get("RAY_ADDRESS"):
        wanted |= {"DASHBOARD_PORT": config.dashboard_port} if config.dashboard_port else {}
        wanted |= haproxy.ports() if config.haproxy else {}
    for name, port in wanted.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((config.host, port))
            except OSError as error:
                who = _listener(port)
                raise CannotStart(f"Port {port} is taken by {who}. Stop it, or set {name} to another one.") from error


def _listener(port: int) -> str:
    try:
        connections = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return "another program"
    pid = next((c.pid for c in connections if c.laddr and c.laddr.port == port and c.status == "LISTEN"), None)
    if pid is None:
        return "another program"
    return f"process {pid} ({' '.join(' '.join(psutil.Process(pid).cmdline()).split())[:120]})"


def address(config: Settings) -> str:
    """Where people find the server."""
    host = "localhost" if config.host in LOOPBACK or config.host in ("0.0.0.0", "::") else config.host  # noqa: S104
    return f"http://{host}:{config.port}"
