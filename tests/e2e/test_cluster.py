"""A Ray cluster that was there before us, started by somebody else in an environment that knows nothing of ours."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from client.demo import make_cell
from settings import PROJECT, Settings

from .conftest import STOP_S, Server, free_port, kill_family
from .kit import open_session, record

pytestmark = [pytest.mark.slow, pytest.mark.long]
RAY = Path(sys.executable).with_name("ray")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """Its address. Its own DATABASE_URL is of a database that nobody must make."""
    port = free_port()
    ours = {name.upper() for name in Settings.model_fields}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {
        "RAY_AUTH_MODE": "token",
        "DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path}/cluster/wrong.db",
        "PYTHONPATH": str(PROJECT),
    }
    with tempfile.TemporaryDirectory(prefix="ray-") as short:  # a socket's path may have 107 characters
        words = [RAY, "start", "--head", "--block", "--node-ip-address=127.0.0.1", f"--port={port}", "--num-cpus=2"]
        words += ["--include-dashboard=false", "--object-store-memory=100000000", f"--temp-dir={short}"]
        head = subprocess.Popen(
            words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            yield f"127.0.0.1:{port}"
        finally:
            kill_family(head)


def test_a_cluster_serves_by_the_settings_of_the_command(cluster: str, tmp_path: Path) -> None:
    server = Server(tmp_path, RAY_ADDRESS=cluster, RAY_AUTH_MODE="token").start()
    cell = make_cell(server.api, "joined")
    session = open_session(server.api, cell)
    saved = record(server.api, session, 2.0)
    assert saved["rows"] >= 10
    assert list(server.storage.glob("datasets/*/episodes/*/episode.json"))
    assert server.database.stat().st_size > 0
    assert not (tmp_path / "cluster").exists()
    (tmp_path / "other").mkdir()
    other = Server(tmp_path / "other", RAY_ADDRESS=cluster, RAY_AUTH_MODE="token").run("serve")
    assert other.returncode == 1
    assert "serves Geti Action already" in other.stdout
    assert server.api.get(session)["state"] == "ready"
    assert server.process is not None
    server.process.send_signal(signal.SIGINT)
    server.process.wait(STOP_S)
    server.api.close()
    left = [process.name() for process in psutil.process_iter() if str(server.database) in _database(process)]
    assert all(name in ("ray::IDLE", "ray::IDLE_Spil") for name in left), left


def _database(process: psutil.Process) -> str:
    try:
        return process.environ().get("DATABASE_URL", "")
    except psutil.Error:
        return ""
