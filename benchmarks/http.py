"""Requests a second of GET and POST /api/projects, ours beside a bare Serve route behind the same proxy and a bare
FastAPI application on uvicorn. All run at once and are loaded in turns, round by round, because machines are noisy.

``python -m benchmarks.http [--rounds 5] [--seconds 3] [--connections 16]``
"""

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import httpx
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.bare import RAY, await_answer, free_port

ROWS = 20
GOAL_GET = 0.9
GOAL_POST_MS = 15.0
OURS, BARE_SERVE, BARE_FASTAPI = "ours", "bare Serve route", "bare FastAPI + uvicorn"
out = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Load:
    """One kind of load. ``connections`` send requests one after the other for ``seconds``."""

    method: str
    connections: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.method}, {self.connections} connection{'s' if self.connections > 1 else ''}"

    def on(self, url: str) -> dict[str, float]:
        """{rps, p50_ms, p99_ms} of one turn."""
        words = (url, self.method, str(self.connections), str(self.seconds))
        done = subprocess.run([sys.executable, "-m", "benchmarks.load", *words], capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{url}: {done.stderr}")
        met: dict[str, float] = json.loads(done.stdout)
        return met


Measured = dict[str, list[dict[str, float]]]


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 5,
    seconds: Annotated[float, typer.Option(min=0.5, help="of each turn")] = 3.0,
    connections: Annotated[int, typer.Option(min=1)] = 16,
) -> None:
    """Start everything, measure, print tables, and fail when a goal is missed."""
    loads = [Load("GET", connections, seconds), Load("POST", connections, seconds), Load("POST", 1, seconds)]
    with TemporaryDirectory(prefix="geti-benchmark-") as folder, ExitStack() as stack:
        urls = _contenders(Path(folder), stack)
        measured = {load: _in_turns(load, urls, rounds) for load in loads}
    for load, met in measured.items():
        out.print(_table(load, met))
    get, alone = _ratios(measured[loads[0]], BARE_SERVE), _median(measured[loads[2]][OURS], "p50_ms")
    out.print(f"GET against the bare Serve route: {get:.2f} (goal: at least {GOAL_GET})")
    out.print(f"POST on one connection: p50 {alone:.1f} ms (goal: below {GOAL_POST_MS:.0f} ms)")
    if get < GOAL_GET or alone >= GOAL_POST_MS:
        raise SystemExit("A goal was missed.")


def _in_turns(load: Load, urls: dict[str, str], rounds: int) -> Measured:
    met: Measured = {name: [] for name in urls}
    for number in range(rounds):
        out.print(f"{load}: round {number + 1} of {rounds}")
        for name, url in urls.items():
            met[name].append(load.on(url))
    return met


def _contenders(folder: Path, stack: ExitStack) -> dict[str, str]:
    """Start them; {name: URL}. Each has its own copy of a database with ``ROWS`` projects."""
    ours = folder / "ours.db"
    os.environ |= RAY | {"DATABASE_URL": f"sqlite:///{ours}", "STORAGE_DIR": str(folder / "storage")}
    port, other = free_port(), free_port()
    proxy = f"http://127.0.0.1:{port}"
    stack.enter_context(serving(port))
    for number in range(ROWS):
        httpx.post(f"{proxy}/api/projects", json={"name": f"project {number}"}, timeout=30).raise_for_status()
    _serve_bare(_copy(ours, folder / "serve.db"))
    stack.enter_context(_fastapi(other, _copy(ours, folder / "fastapi.db")))
    urls = {OURS: f"{proxy}/api/projects", BARE_SERVE: f"{proxy}/bare", BARE_FASTAPI: f"http://127.0.0.1:{other}/"}
    for name, url in urls.items():
        assert len(httpx.get(url, timeout=30).json()) == ROWS, name
    return urls


@contextmanager
def serving(port: int) -> Iterator[None]:
    """Our own application behind a Serve proxy."""
    import ray
    from ray import serve

    import serve_app
    from benchmarks.bare_serve import start_proxy, start_ray

    start_ray()
    try:
        start_proxy(port)
        serve.run(serve_app.app, name="ours", route_prefix="/")
        yield
        serve.shutdown()
    finally:
        ray.shutdown()


def _serve_bare(database: Path) -> None:
    from ray import serve

    from benchmarks.bare_serve import application

    serve.run(application(database), name="bare", route_prefix="/bare")


@contextmanager
def _fastapi(port: int, database: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.bare_fastapi", str(port), str(database)])
    try:
        await_answer(f"http://127.0.0.1:{port}/", process)
        yield
    finally:
        process.terminate()
        process.wait(10)


def _copy(source: Path, target: Path) -> Path:
    with closing(sqlite3.connect(source)) as connection:
        connection.execute("VACUUM INTO ?", (str(target),))
    return target


def _median(turns: list[dict[str, float]], what: str) -> float:
    return median(turn[what] for turn in turns)


def _ratios(met: Measured, other: str) -> float:
    """The median over the rounds of ours / other: what slows one round slows both."""
    return median(our["rps"] / their["rps"] for our, their in zip(met[OURS], met[other], strict=True))


def _table(load: Load, met: Measured) -> Table:
    table = Table("", "requests/s", "p50 ms", "p99 ms", "ours / this", title=f"{load}; medians of the rounds")
    for name, turns in met.items():
        rps, p50, p99 = (_median(turns, what) for what in ("rps", "p50_ms", "p99_ms"))
        table.add_row(name, f"{rps:.0f}", f"{p50:.1f}", f"{p99:.1f}", f"{_ratios(met, name):.2f}")
    return table


if __name__ == "__main__":
    typer.run(main)
