"""Starting, being in somebody's way, and stopping. The shared server's end shows that Ctrl-C leaves nothing."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import psutil
import pytest

from client.demo import CAMERA
from settings import PROJECT

from .conftest import STOP_S, Server, free_port, kill_family

pytestmark = pytest.mark.slow


def test_it_says_where_it_stands(server: Server) -> None:
    said = server.says("Ready after")
    assert server.url in said
    assert str(server.database) in said
    assert str(server.storage) in said


def test_a_second_start_is_told_who_runs(server: Server) -> None:
    assert server.process is not None
    same_database = server.run("serve")
    assert same_database.returncode == 1
    assert f"process {server.process.pid}" in same_database.stdout
    assert server.url in same_database.stdout


def test_a_start_on_its_port_alone_is_told_who_runs(server: Server, tmp_path: Path) -> None:
    """The server, not Ray's process that listens for it."""
    other = Server(tmp_path, PORT=server.environment["PORT"])
    refused = other.run("serve")
    other.api.close()
    assert refused.returncode == 1
    assert f"Port {server.port} is taken by process" in refused.stdout
    assert "cli serve" in refused.stdout


def test_the_dashboard_shows_actors_by_name(server: Server) -> None:
    """To whoever has the token that README.md tells how to get."""
    cameras = f"/projects/{server.api.post('/projects', {'name': 'dashboard'})['id']}/cameras"
    camera = f"{cameras}/{server.api.post(cameras, CAMERA | {'name': 'seen'})['id']}"
    server.api.post(f"{camera}:connect")
    port = server.environment["DASHBOARD_PORT"]
    page = f"http://localhost:{port}/logical/actors"
    assert httpx.get(page, timeout=30).status_code == 401
    ray = Path(sys.executable).with_name("ray")
    token = subprocess.run([ray, "get-auth-token"], text=True, capture_output=True, check=True, timeout=60).stdout
    deadline = time.monotonic() + 30
    while "CameraActor(seen)" not in (names := _names(page, token)):
        assert time.monotonic() < deadline, names
        time.sleep(0.2)
    server.api.post(f"{camera}:disconnect")


def _names(page: str, token: str) -> set[str]:
    found = httpx.get(page, headers={"Authorization": f"Bearer {token}"}, timeout=30).raise_for_status().json()
    return {actor["reprName"] for actor in found["data"]["actors"].values() if actor["state"] == "ALIVE"}


@pytest.mark.parametrize(
    ("words", "number"),
    [
        ("Starting Ray", signal.SIGINT),
        pytest.param("Starting the server", signal.SIGTERM, marks=pytest.mark.long),
    ],
)
def test_it_stops_while_it_starts(server: Server, own_server: Server, words: str, number: signal.Signals) -> None:
    """Beside another server (and whatever Ray another test has), of which it names one and keeps apart from."""
    assert server.process is not None
    own_server.begin()
    assert re.search(r"Another Ray runs on this machine \([\d.]+:\d+\)", own_server.says(words))
    assert own_server.stop(number, kill=os.kill) < STOP_S


@pytest.mark.long
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_it_says_so_and_ends_when_ray_dies_and_in_order_when_its_whole_group_is_told_to(
    own_server: Server, name: str
) -> None:
    """What it had is free for the next one; which ends as systemd ends it, Ray's own processes at the same moment."""
    own_server.start()
    assert own_server.process is not None
    (core,) = (each for each in own_server.processes() if each.name() == name)
    core.kill()
    assert own_server.process.wait(STOP_S) == 1
    own_server.process = None
    assert f"Ray's {name} has died" in own_server.log.read_text()
    own_server.start()
    assert own_server.stop(signal.SIGTERM) < STOP_S
    assert "It has not stopped" not in own_server.log.read_text()  # nobody had to be killed


@pytest.mark.long
def test_haproxy_serves_where_http_listens_and_nowhere_else(tmp_path: Path) -> None:
    ports = {f"RAY_SERVE_HAPROXY_{name}_PORT": str(free_port()) for name in ("STATS", "METRICS")}
    server = Server(tmp_path, HAPROXY="true", **ports).start()
    try:
        made = server.api.post("/projects", {"name": "through HAProxy"})
        assert made in server.api.get("/projects")
        wanted = {("127.0.0.1", port) for port in (server.port, *map(int, ports.values()))}
        assert _listening(server, "haproxy") == wanted
        assert server.stop() < STOP_S
    finally:
        server.api.close()
        if server.process is not None:
            server.kill_everything()


def _listening(server: Server, program: str) -> set[tuple[str, int]]:
    """Where the server's processes of this name do."""
    connections = [c for each in server.processes() if each.name() == program for c in each.net_connections("tcp")]
    return {tuple(c.laddr) for c in connections if c.status == psutil.CONN_LISTEN}


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
        ("sqlite:////proc", "names the folder /proc"),
    ],
)
@pytest.mark.parametrize("word", ["init-db", "serve"])
def test_a_database_out_of_reach_is_told_in_a_line(own_server: Server, word: str, url: str, told: str) -> None:
    """Before anything else is started."""
    command = [sys.executable, "-m", "cli", word]
    environment = {**own_server.environment, "DATABASE_URL": url}
    refused = subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, timeout=60)
    assert refused.returncode == 1
    assert told in refused.stdout
    assert "DATABASE_URL" in refused.stdout
    assert "Traceback" not in refused.stdout + refused.stderr
    assert "Starting" not in refused.stdout + refused.stderr
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
