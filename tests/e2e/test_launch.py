"""Starting and being in somebody's way. The shared server's end shows that stopping is quick and leaves nothing."""

import socket
import subprocess
import sys
import time

import httpx
import pytest

from settings import PROJECT

from .conftest import Server, free_port, kill_family

pytestmark = pytest.mark.slow


def test_it_says_where_it_stands(server: Server) -> None:
    deadline = time.monotonic() + 30
    while "Ready after" not in (said := server.log.read_text()):
        assert time.monotonic() < deadline, said
        time.sleep(0.2)
    assert server.url in said
    assert str(server.database) in said
    assert str(server.storage) in said


def test_a_second_start_is_told_who_runs(server: Server) -> None:
    assert server.process is not None
    same_database = server.run("serve")
    assert same_database.returncode == 1
    assert f"process {server.process.pid}" in same_database.stdout
    assert server.url in same_database.stdout


@pytest.mark.parametrize("setting", ["PORT", "DASHBOARD_PORT"])
def test_a_taken_port_is_told(own_server: Server, setting: str) -> None:
    port = int(own_server.environment[setting])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        refused = own_server.run("serve")
    assert refused.returncode == 1
    assert f"Port {port} is taken by process" in refused.stdout
    assert f"set {setting}" in refused.stdout


def test_an_open_door_is_refused(own_server: Server) -> None:
    command = [sys.executable, "-m", "cli", "init-db"]
    environment = {**own_server.environment, "HOST": "0.0.0.0"}
    refused = subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, timeout=60)
    assert refused.returncode == 1
    assert "ALLOW_INSECURE" in refused.stdout


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://lab:secret@127.0.0.1:1/geti", "refused"),
        ("sqlite:////proc/geti/file.db", "/proc/geti"),
        ("sqlite:////proc", "unable to open"),
    ],
)
def test_a_database_out_of_reach_is_told_in_a_line(own_server: Server, url: str, told: str) -> None:
    command = [sys.executable, "-m", "cli", "init-db"]
    environment = {**own_server.environment, "DATABASE_URL": url}
    refused = subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, timeout=60)
    assert refused.returncode == 1
    assert told in refused.stdout
    assert "DATABASE_URL" in refused.stdout
    assert "Traceback" not in refused.stdout + refused.stderr
    assert "secret" not in refused.stdout + refused.stderr


def test_serve_run_works_by_itself(own_server: Server) -> None:
    """``serve run serve_app:app``, as a Ray user would."""
    port = free_port()
    environment = {**own_server.environment, "RAY_AUTH_MODE": "token", "RAY_SERVE_DEFAULT_HTTP_PORT": str(port)}
    command = [sys.executable, "-c", _SERVE_RUN, str(port)]
    process = subprocess.Popen(command, cwd=PROJECT, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 240
        while not _answers(f"http://127.0.0.1:{port}/api/projects"):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.5)
    finally:
        kill_family(process)


_SERVE_RUN = """
import sys, threading
from importlib import import_module
from ray import serve
serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
serve.run(import_module("serve_app").app)
threading.Event().wait()
"""


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).status_code == 200
    except httpx.TransportError:
        return False
