"""Serve on this machine: a Ray of our own, Ray Serve in front, one word to say who else runs, and a clean end."""

import fcntl
import json
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TextIO

import httpx
import psutil
from rich.console import Console
from sqlalchemy import make_url

from projections import database, schema
from settings import LOOPBACK, PROJECT, Settings

READY_S = 180.0
SHUTDOWN_S = 4.0
END_STREAMS_S = 1.5
END_S = 3.0
OBJECT_STORE_BYTES = 200 * 1024 * 1024  # frames never go there

say = Console(stderr=True, highlight=False, soft_wrap=True)


class CannotStart(Exception):
    """Why the server does not start, and what to do."""


def serve_until_stopped(config: Settings) -> None:
    """Start everything, say where it answers, and stay until Ctrl-C or SIGTERM. Raises CannotStart."""
    began = time.monotonic()
    _listen_for_the_end()
    family: list[psutil.Process] = []
    with ExitStack() as stack:
        stack.callback(_end_family, family)
        try:
            _claim(config, stack)
            _start_ray(config, stack)
            _listen_for_the_end()  # Ray has put handlers of its own there
            _start_serve(config, stack)
            _report(config, time.monotonic() - began)
            threading.Event().wait()
        except KeyboardInterrupt:
            say.print("Stopping …")
        finally:  # Ray's processes are noted before its shutdown: afterwards nobody knows whose they were
            family.extend(psutil.Process().children(recursive=True))


def _end_family(family: list[psutil.Process]) -> None:
    """Whatever we started ends with us: what is left a moment after Ray's own shutdown is killed."""
    _, left = psutil.wait_procs(family, timeout=END_S)
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=1)


def _listen_for_the_end() -> None:
    """Also where a shell started us with ``&``, which makes SIGINT ignored."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """The first signal stops; a second one while stopping changes nothing (the end is bounded anyway)."""
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


def _claim(config: Settings, stack: ExitStack) -> None:
    """One server a database, a storage folder and a port."""
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
        file.truncate(0)


def _holder(file: TextIO) -> str:
    file.seek(0)
    try:
        known = json.load(file)
    except ValueError:
        return "another server that is just starting"
    return f"the server at {known['url']} (process {known['pid']}, since {known['since']})"


def _check_ports(config: Settings) -> None:
    """Ours, and the dashboard's unless the system chooses it or a cluster has its own. Raises CannotStart."""
    wanted = {"PORT": config.port}
    if config.dashboard_port and not os.environ.get("RAY_ADDRESS"):
        wanted["DASHBOARD_PORT"] = config.dashboard_port
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


def _start_ray(config: Settings, stack: ExitStack) -> None:
    """Ray reads its environment when it is imported, so that comes first."""
    _ray_environment(config)
    import ray
    from ray._private.services import find_gcs_addresses

    if os.environ.get("RAY_ADDRESS"):
        say.print(f"Joining the Ray cluster at {os.environ['RAY_ADDRESS']} …")
        ray.init(address="auto", logging_level=logging.ERROR)
        stack.callback(ray.shutdown)
        return
    others = find_gcs_addresses()
    if others:
        say.print(f"Another Ray runs on this machine ({', '.join(sorted(others))}); this one keeps apart from it.")
    say.print("Starting Ray …")
    with _meanwhile(lambda: schema.upgrade(config.database_url)):
        context = _patiently(
            lambda: ray.init(
                address="local",
                include_dashboard=True,
                dashboard_host=config.host,
                dashboard_port=config.dashboard_port,
                object_store_memory=OBJECT_STORE_BYTES,
                logging_level=logging.ERROR,
                _node_ip_address="127.0.0.1" if config.host in LOOPBACK else None,
            )
        )
    stack.callback(ray.shutdown)
    say.print(f"Dashboard http://{context.dashboard_url}")


@contextmanager
def _meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do ``work`` while this process waits for others to start. What it raises is raised in the end."""
    with ThreadPoolExecutor(1) as beside:
        done = beside.submit(work)
        yield
        done.result()


def _patiently[T](start: Callable[[], T]) -> T:
    """Ray gives its own processes 30 s to start, which a busy machine may miss; so it gets a second chance."""
    try:
        return start()
    except Exception as error:
        if "timed out during startup" not in str(error):
            raise
        say.print("This machine is very busy: Ray did not start in time. Trying once more …")
        _end_family(psutil.Process().children(recursive=True))
    try:
        return start()
    except Exception as error:
        raise CannotStart(f"Ray does not start: {error}. Try again when the machine is less busy.") from error


def _ray_environment(config: Settings) -> None:
    """What Ray's processes read when they start."""
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
        "RAY_DEDUP_LOGS": "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if config.haproxy else "0",
    }
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))


def _start_serve(config: Settings, stack: ExitStack) -> None:
    say.print("Starting the server …")
    from ray import serve

    import serve_app

    serve.start(
        http_options={"host": config.host, "port": config.port},
        logging_config={"log_level": "WARNING", "enable_access_log": False},
    )
    stack.callback(_within, SHUTDOWN_S, serve.shutdown)
    api = serve.run(serve_app.app, name="geti-action", route_prefix="/", blocking=False)
    stack.callback(_within, END_STREAMS_S, lambda: _end_streams(api))
    await_ready(config)


def _end_streams(api: Any) -> None:
    """Live updates go on for ever, and Serve's shutdown would wait for them."""
    try:
        api.broadcast("end_streams").results(timeout_s=END_STREAMS_S)
    except Exception as error:  # a replica that is dead or stuck has no streams to wait for, or is killed in the end
        say.print(f"Live updates end with their server ({type(error).__name__}).")


def await_ready(config: Settings, ended: Callable[[], int | None] = lambda: None) -> None:
    """Wait until commands can be served. ``ended`` tells when the server's process is gone. Raises CannotStart."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{address(config)}/api/ready", timeout=5).status_code == 204:
                return
        except httpx.TransportError:
            pass
        if ended() is not None:
            raise CannotStart("The server ended while it started; what it said above tells why.")
        time.sleep(0.2)
    raise CannotStart(f"The server did not become ready within {READY_S:.0f} s; its log above says why.")


def _within(seconds: float, work: Any) -> None:
    """Give ``work`` so long; what is left of it ends with Ray."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)


def _report(config: Settings, seconds: float) -> None:
    say.print(f"Database  {_database_text(config.database_url)}")
    say.print(f"Storage   {config.storage_dir}  ({_found(config.storage_dir)})")
    say.print(f"Ready after {seconds:.1f} s: [bold]{address(config)}[/bold]  (Ctrl-C stops)")


def _database_text(url: str) -> str:
    path = database.sqlite_path(url)
    if path is None:
        return make_url(url).render_as_string(hide_password=True)
    return f"{path}  ({path.stat().st_size / 1e6:.1f} MB)"


def _found(storage: Path) -> str:
    episodes = sum(1 for _ in storage.glob("datasets/*/episodes/*/episode.json"))
    models = sum(1 for _ in storage.glob("models/*/exports"))
    return f"{episodes} episodes, {models} models"


def address(config: Settings) -> str:
    """Where people find the server."""
    host = "localhost" if config.host in LOOPBACK or config.host in ("0.0.0.0", "::") else config.host  # noqa: S104
    return f"http://{host}:{config.port}"
