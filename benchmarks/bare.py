"""What the bare contenders have in common: a copy of the server's database, queried and written by hand."""

import socket
import sqlite3
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson

START_S = 240.0
DATASET = ("id", "project_id", "environment_id", "name", "default_task", "episodes", "frames", "fps", "size_bytes")
PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000")
# Ray reads these when it is imported: what launch/server.py sets for the server too.
RAY = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "token"}
LIST = "SELECT id, name, created_at, updated_at FROM projects ORDER BY created_at, id"
DATASETS = f"SELECT {', '.join(DATASET)} FROM datasets ORDER BY created_at, id"
INSERT = (
    "INSERT INTO projects (id, name, created_at, updated_at, version, position) "
    "VALUES (:id, :name, :created_at, :updated_at, 1, 0)"
)


def connect(path: Path) -> sqlite3.Connection:
    """A connection with the pragmas of the server's own."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    connection.row_factory = sqlite3.Row
    return connection


def listed(connection: sqlite3.Connection) -> bytes:
    """The body of GET /api/projects: the same two SELECTs, the same JSON."""
    datasets: dict[str, list[dict[str, Any]]] = {}
    for row in connection.execute(DATASETS).fetchall():
        datasets.setdefault(row["project_id"], []).append(dict(row) | {"path": f"datasets/{row['id']}"})
    projects = [dict(row) for row in connection.execute(LIST).fetchall()]
    return orjson.dumps([project | {"datasets": datasets.get(project["id"], [])} for project in projects])


def new_row(name: str) -> dict[str, Any]:
    at = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return {"id": str(uuid4()), "name": name, "created_at": at, "updated_at": at}


def inserted(connection: sqlite3.Connection, body: bytes) -> bytes:
    """The body of POST /api/projects: one INSERT, committed durably."""
    row = new_row(orjson.loads(body)["name"])
    connection.execute(INSERT, row)
    return orjson.dumps(row | {"datasets": []})


def await_answer(url: str, server: subprocess.Popen[bytes]) -> None:
    """Return with the first answer 200. Raises SystemExit when there is none in time, or when its server has ended."""
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(url, timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"{url} has not answered: its server ended, or was not there within {START_S:.0f} s.")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
