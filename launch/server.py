"""The road up, Ray first and Ray Serve on it, a word to say where it answers, and the road down."""

import asyncio
import gc
import logging
import os
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import httpx
import psutil
from rich.console import Console
from sqlalchemy import make_url

from launch import cluster, ending, haproxy
from launch.claims import CannotStart, claim
from launch.core import Core
from launch.guard import guard
from projections import database
from settings import LOOPBACK, PROJECT, Settings, unknown_names

READY_S = 180.0
STOP_S = 7.0  # for everything, of which
END_STREAMS_S = 1.0
SHUTDOWN_S = 3.0  # for the requests that are being answered
RAY_S = 2.0
LEFT_S = 1.0
ORDERLY_S = 0.8  # for what ends in order without Ray
LOST = (
    "Ray's {} has died (killed, or out of memory: `dmesg` tells), so everything ends. What was acknowledged is kept; "
    "start it again, and what was going on is taken up."
)
OBJECT_STORE_BYTES = 200 * 1024 * 1024  # frames never go there

say = Console(stderr=True, highlight=False, soft_wrap=True)


def serve_until_stopped(config: Settings) -> None:
    """Start everything, say where it answers, and stay until Ctrl-C or SIGTERM. Raises CannotStart."""
    began = time.monotonic()
    ending.listen()
    for line in unknown_names():
        say.print(line)
    with Path(os.devnull).open("w") as nowhere, ExitStack() as stack:
        try:
            database.check_reachable(config.database_url)
            claim(config, stack, say.print)
            stack.callback(_make_whole, config)
            guard(STOP_S, LEFT_S)
            if not os.environ.get("RAY_ADDRESS"):
                ending.watch(_leave_if_ray_is_lost)
            gc.disable()  # most of what a start makes stays; to look through it again and again takes half a second
            core = _start_ray(config, stack)
            ending.listen()  # Ray has put handlers of its own there
            _start_serve(config, core, stack)
            gc.enable()
            _report(config, time.monotonic() - began)
            say.print(LOST.format(core.wait()))
            _leave(1)
        except KeyboardInterrupt:
            ending.heard()
            say.print("Stopping …")
            sys.stdout = nowhere  # where Ray says of all that is being stopped that it cannot be reached


def _make_whole(config: Settings) -> None:
    try:
        database.make_whole(config.database_url)
    except sqlite3.Error as error:  # a full disk, or a process of ours that still hangs in there
        say.print(f"The database is safe, but its newest part stays in the file beside it, *-wal ({error}).")


def _leave_if_ray_is_lost() -> None:
    """Nothing ends in order without Ray's own processes, and calls of Ray then wait for ever, deaf to any signal: they
    were told to end as we were (`kill -- -group`, systemd), or had not all started yet."""
    core = Core()
    while core.is_whole():
        time.sleep(0.1)
    time.sleep(ORDERLY_S)
    _leave(0)


def _leave(status: int) -> NoReturn:
    """Without Ray, whose own end would wait for what is gone. The guard sees to what is left."""
    _kill_children()
    os._exit(status)


def _start_ray(config: Settings, stack: ExitStack) -> Core:
    """Ray reads its environment when it is imported, so that comes first."""
    _ray_environment(config, stack)
    import ray
    from ray._private.services import find_gcs_addresses

    if os.environ.get("RAY_ADDRESS"):
        say.print(f"Joining the Ray cluster at {os.environ['RAY_ADDRESS']} …")
        ray.init(address="auto", logging_level=logging.ERROR, runtime_env={"env_vars": cluster.environment(config)})
        stack.callback(ray.shutdown)
        cluster.refuse_another()
        stack.callback(cluster.end_owners)
        return Core()
    others = find_gcs_addresses()
    if others:
        say.print(f"Another Ray runs on this machine ({', '.join(sorted(others))}); this one keeps apart from it.")
    say.print("Starting Ray …")
    with _meanwhile(lambda: _prepare(config)):
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
    core = Core()
    stack.callback(_end_ray, core)
    say.print(f"Dashboard http://{context.dashboard_url}")
    return core


def _end_ray(core: Core) -> None:
    import ray

    if core.lost():  # told to end as we were: `kill -- -group`, systemd
        _leave(0)
    limit = threading.Timer(RAY_S, _leave, (0,))  # it waits for ever for one that is just ending by itself
    limit.start()
    ray.shutdown()
    limit.cancel()


def _prepare(config: Settings) -> None:
    """What takes a moment that others use to start."""
    from actors.care.opening import open_database

    open_database(config.database_url, config.storage_dir, say.print)
    import serve_app  # noqa: F401


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
        _kill_children()
    try:
        return start()
    except Exception as error:
        raise CannotStart(f"Ray does not start: {error}. Try again when the machine is less busy.") from error


def _kill_children() -> None:
    """What the first try has left; who is overlooked here becomes the guard's."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _ray_environment(config: Settings, stack: ExitStack) -> None:
    """What Ray's processes read when they start."""
    defaults = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_AUTH_MODE": "token",
        "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "600",
        "RAY_DEDUP_LOGS": "0",
        "RAY_local_fs_capacity_threshold": "0.995",  # a word every ten seconds above it, of objects that we do not have
        "RAY_COLOR_PREFIX": "1" if sys.stdout.isatty() and sys.stderr.isatty() else "0",
        "RAY_SERVE_ENABLE_HA_PROXY": "1" if config.haproxy else "0",
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "actors.ingress:in_the_proxy",
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # the third time that this runs out, Serve gives up
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",  # after three it is replaced: without one nobody is answered
    }
    if config.haproxy:
        defaults |= haproxy.environment(config.host, stack)
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(PROJECT), os.environ.get("PYTHONPATH", "")]))


def _start_serve(config: Settings, core: Core, stack: ExitStack) -> None:
    say.print("Starting the server …")
    from ray import serve
    from ray.exceptions import RayError

    import serve_app

    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # a library's, as everywhere
    try:
        serve.start(
            http_options={"host": config.host, "port": config.port},
            logging_config={"log_level": "WARNING", "enable_access_log": False},
        )
    except (TimeoutError, RayError) as error:
        raise CannotStart(f"Ray Serve does not start: {error} Try again when the machine is less busy.") from error
    stack.callback(core.orderly, _end_serve)
    api = serve.run(serve_app.app, name=cluster.APPLICATION, route_prefix="/", blocking=False)
    stack.callback(core.orderly, partial(_end_streams, api))
    await_ready(config)


def _end_streams(api: Any) -> None:
    """Live updates go on for ever, and Serve's shutdown would wait for them."""
    try:
        api.broadcast("end_streams").results(timeout_s=END_STREAMS_S)
    except Exception as error:  # a replica that is dead or stuck has no streams to wait for, or is killed in the end
        say.print(f"Live updates end with their server ({type(error).__name__}).")


def _end_serve() -> None:
    """Let requests end that are being answered; what is left of it ends with Ray. The time is up inside of Serve's own
    call: one that went on in a thread would meet Ray's end, and Ray then ends the whole process on the spot."""
    from ray import serve

    with suppress(TimeoutError):
        asyncio.run(asyncio.wait_for(serve.shutdown_async(), SHUTDOWN_S))


def await_ready(config: Settings, ended: Callable[[], int | None] = lambda: None) -> None:
    """Wait until commands can be served. ``ended`` tells when the server's process is gone. Raises CannotStart."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"{config.address}/api/ready", timeout=5).status_code == 204:
                return
        except httpx.TransportError:
            pass
        if ended() is not None:
            raise CannotStart("The server ended while it started; what it said tells why.")
        time.sleep(0.2)
    raise CannotStart(f"The server did not become ready within {READY_S:.0f} s; its log says why.")


def _report(config: Settings, seconds: float) -> None:
    if config.replicas > 1 and database.sqlite_path(config.database_url):
        say.print(
            f"REPLICAS={config.replicas} share one SQLite file, where one writes at a time: use PostgreSQL to scale."
        )
    say.print(f"Database  {_database_text(config.database_url)}")
    say.print(f"Storage   {config.storage_dir}  ({_found(config.storage_dir)})")
    say.print(f"Ready after {seconds:.1f} s: [bold]{config.address}[/bold]  (Ctrl-C stops)")


def _database_text(url: str) -> str:
    path = database.sqlite_path(url)
    if path is None:
        return make_url(url).render_as_string(hide_password=True)
    return f"{path}  ({path.stat().st_size / 1e6:.1f} MB)"


def _found(storage: Path) -> str:
    episodes = sum(1 for _ in storage.glob("datasets/*/episodes/*/episode.json"))
    models = sum(1 for _ in storage.glob("models/*/exports"))
    return f"{episodes} episodes, {models} models"
