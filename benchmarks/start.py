"""Cold start to the first 200, and memory at rest, of the server and of a bare Ray Serve application that is started in
the same way: a Ray of its own on loopback with its dashboard, one replica. In turns, because machines are noisy.

``python -m benchmarks.start [--rounds 3] [--rest-s 15]``
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import psutil
import typer
from rich.console import Console
from rich.table import Table

from benchmarks.bare import RAY, await_answer, free_port
from projections import schema
from settings import PROJECT

GOAL_START, GOAL_MEMORY = 1.15, 1.25
STOP_S = 30.0
out = Console(highlight=False)


@dataclass(frozen=True, slots=True)
class Started:
    """Seconds to the first answer, and of processor time till then (which a busy machine changes less); megabytes (PSS)
    of the whole tree of processes at rest, and how many they are."""

    seconds: float
    cpu_seconds: float
    megabytes: float
    processes: int


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    rest_s: Annotated[float, typer.Option(min=0, help="seconds of rest before memory is read")] = 15.0,
) -> None:
    """Start both in turns, print a table, and fail when a goal is missed."""
    ours, bare = [], []
    with TemporaryDirectory(prefix="geti-benchmark-") as folder:
        for number in range(rounds):
            out.print(f"Round {number + 1} of {rounds}")
            ours.append(_ours(Path(folder) / f"ours-{number}", rest_s))
            bare.append(_bare(Path(folder) / f"bare-{number}", rest_s))
    start = median(our.seconds / its.seconds for our, its in zip(ours, bare, strict=True))
    memory = median(our.megabytes / its.megabytes for our, its in zip(ours, bare, strict=True))
    out.print(_table({"ours": ours, "bare Ray Serve": bare}))
    out.print(f"Cold start {start:.2f} of bare Serve's (goal: at most {GOAL_START})")
    out.print(f"Memory at rest {memory:.2f} of bare Serve's (goal: at most {GOAL_MEMORY})")
    if start > GOAL_START or memory > GOAL_MEMORY:
        raise SystemExit("A goal was missed.")


def _ours(folder: Path, rest_s: float) -> Started:
    """On a new database: the tables are made as part of the start."""
    port = free_port()
    folder.mkdir()
    settings = {
        "DATABASE_URL": f"sqlite:///{folder / 'geti.db'}",
        "STORAGE_DIR": str(folder / "storage"),
        "PORT": str(port),
        "DASHBOARD_PORT": str(free_port()),
    }
    with _process(folder, ["-m", "cli", "serve"], settings) as process:
        return _measured(process, f"http://127.0.0.1:{port}/api/projects", rest_s)


def _bare(folder: Path, rest_s: float) -> Started:
    port = free_port()
    folder.mkdir()
    database = folder / "bare.db"
    schema.upgrade(f"sqlite:///{database}")
    with _process(folder, ["-m", "benchmarks.bare_serve", str(port), str(database)], {}) as process:
        return _measured(process, f"http://127.0.0.1:{port}/", rest_s)


@contextmanager
def _process(folder: Path, words: list[str], settings: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("wb") as log:
        command, environment = [sys.executable, *words], os.environ | RAY | settings
        process = subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=log, stderr=log, start_new_session=True
        )
        try:
            yield process
        except SystemExit:
            out.print((folder / "log").read_text())
            raise
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    others = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    process.wait(STOP_S)
    for left in psutil.wait_procs(others, timeout=5)[1]:
        left.kill()


def _measured(server: subprocess.Popen[bytes], url: str, rest_s: float) -> Started:
    process = psutil.Process(server.pid)
    await_answer(url, server)
    seconds = time.time() - process.create_time()
    cpu_seconds = sum(_cpu(each) for each in [process, *process.children(recursive=True)])
    time.sleep(rest_s)
    sizes = [_pss(each) for each in [process, *process.children(recursive=True)]]
    return Started(seconds, cpu_seconds, sum(sizes) / 1e6, sum(1 for size in sizes if size))


def _cpu(process: psutil.Process) -> float:
    """Seconds of processor time so far, with those of its children that have ended."""
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system + times.children_user + times.children_system)


def _pss(process: psutil.Process) -> int:
    """Its share of the memory that it has in common with others, in bytes; 0 when it has just ended."""
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0


def _table(met: dict[str, list[Started]]) -> Table:
    columns = ("first 200 after s", "processor s till then", "PSS at rest MB", "processes")
    table = Table("", *columns, title="Medians of the rounds")
    for name, rounds in met.items():
        facts = ([each.seconds, each.cpu_seconds, each.megabytes, each.processes] for each in rounds)
        seconds, cpu_seconds, megabytes, processes = map(median, zip(*facts, strict=True))
        table.add_row(name, f"{seconds:.1f}", f"{cpu_seconds:.1f}", f"{megabytes:.0f}", f"{processes:.0f}")
    return table


if __name__ == "__main__":
    typer.run(main)
