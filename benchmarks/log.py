"""What an append costs, against the same rows written by hand, and how writers share one SQLite file with and without
the lock file. One run, in turns, since machines are noisy: the ratios count.

    .venv/bin/python -m benchmarks.log [--seconds 10] [--writers 64] [--postgresql URL]
"""

import argparse
import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection

from actors.answers import Once
from actors.codec import encode
from actors.log import Log
from domain.aggregate import DomainEvent
from domain.errors import LogBusy
from domain.project import CreateProject, Project
from projections import database, schema, tables
from projections.tables import rfc3339

ROUNDS = 5
APPENDS = 400
SHARED_RATE = 300


def project(number: int) -> Project:
    return Project.create(uuid4(), CreateProject(name=f"project {number}"), datetime.now(UTC))


def key(number: int, id: UUID) -> Once:
    return Once("POST /api/projects", f"{id}-{number}", "0" * 64, 201, lambda *_: {"id": str(id)})


async def by_log(log: Log, number: int) -> None:
    made = project(number)
    await log.append(made, once=key(number, made.id))


class ByHand:
    """The same rows in one transaction, by SQLAlchemy, as an application without a log would write them: on a thread,
    under the same lock file."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._engine = database.engine(url)

    async def write(self, number: int) -> None:
        made = project(number)
        event: Any = made.pending_events[0]
        await asyncio.get_running_loop().run_in_executor(None, self._write, event, number)

    def _write(self, event: DomainEvent, number: int) -> None:
        with database.exclusive(self._url), self._engine.connect() as connection, database.begin_immediate(connection):
            self._insert(connection, event, number)

    def _insert(self, connection: Connection, event: Any, number: int) -> None:
        id, at = event.originator_id, rfc3339(event.timestamp)
        row = {"originator_id": id, "originator_version": 1, "topic": event.TOPIC, "state": encode(event)}
        position = connection.execute(tables.events.insert().returning(tables.events.c.id), row).scalar_one()
        claim = {"key": f"exists:project:{id}", "owner": f"project:{id}", "slot": "exists", "shared": False}
        connection.execute(tables.claims.insert(), {**claim, "label": event.name, "since": at, "position": position})
        shown = {"id": str(id), "name": event.name, "created_at": at, "updated_at": at, "version": 1}
        connection.execute(tables.projects.insert(), {**shown, "position": position})
        listens = tables.positions.c.view.in_(("projects", "jobs", "recordings"))
        connection.execute(tables.positions.update().where(listens).values(position=position))
        kept = {"scope": "POST /api/projects", "key": f"{id}-{number}", "body_sha256": "0" * 64, "status": 201}
        answer = {"version": 1, "body": {"id": str(id)}}
        connection.execute(
            tables.idempotency.insert(), {**kept, "answer": answer, "created_at": at, "position": position}
        )


async def rate(write: Callable[[int], Any], count: int = APPENDS) -> float:
    began = time.perf_counter()
    for number in range(count):
        await write(number)
    return count / (time.perf_counter() - began)


async def compare(url: str) -> tuple[list[float], list[float]]:
    """Appends a second by the log and by hand, in turns, a database each."""
    schema.upgrade(url)
    log, hand = Log(url), ByHand(url)
    await rate(lambda number: by_log(log, number), 50)
    await rate(hand.write, 50)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        theirs.append(await rate(hand.write))
        ours.append(await rate(lambda number: by_log(log, number)))
    log.close()
    return ours, theirs


def _writer(url: str, seconds: float, per_second: float | None, locked: bool, ready: Any, out: Any) -> None:
    """One process: appends once all are ready, as fast as it can or at a rate, and says how long each took, and how
    many were refused in the end."""
    log = Log(url, lock_timeout_s=60)
    if not locked:
        log._writer._lock_path = None  # the database's own busy handler alone

    async def work() -> tuple[list[float], int]:
        await by_log(log, 0)  # connects and compiles
        await asyncio.to_thread(ready.wait)
        took, refused, began, number = list[float](), 0, time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            if per_second and (wait := began + number / per_second - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            number += 1
            start = time.perf_counter()
            try:
                await by_log(log, number)
            except LogBusy:
                refused += 1
            took.append(time.perf_counter() - start)
        await asyncio.to_thread(ready.wait)  # a process that ends takes the machine from those that still write
        return took, refused

    out.put(asyncio.run(work()))


def together(url: str, writers: int, seconds: float, in_all: float | None, *, locked: bool) -> tuple[list[float], int]:
    """Seconds that each append of all these processes took, sorted, and how many were refused."""
    schema.upgrade(url)
    context = multiprocessing.get_context("spawn")
    out, ready = context.Queue(), context.Barrier(writers)
    each = in_all / writers if in_all else None
    words = (url, seconds, each, locked, ready, out)
    processes = [context.Process(target=_writer, args=words) for _ in range(writers)]
    for process in processes:
        process.start()
    told = [out.get(timeout=seconds + 300) for _ in processes]
    for process in processes:
        process.join()
    return sorted(one for took, _ in told for one in took), sum(refused for _, refused in told)


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("--seconds", type=float, default=10)
    words.add_argument("--writers", type=int, default=64)
    words.add_argument("--postgresql", help="an empty database, as DATABASE_URL names it")
    asked = words.parse_args()
    out = Console()
    with tempfile.TemporaryDirectory() as folder:
        out.print(_appends(folder, asked.postgresql))
        out.print(_writers(folder, asked))


def _appends(folder: str, postgresql: str | None) -> Table:
    table = Table("database", "log", "by hand", "ratio", title="Appends a second: event, claim, row, key (one caller)")
    urls = {"SQLite": f"sqlite:///{folder}/append.db"} | ({"PostgreSQL": postgresql} if postgresql else {})
    for name, url in urls.items():
        ours, theirs = asyncio.run(compare(url))
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        table.add_row(name, f"{statistics.median(ours):.0f}", f"{statistics.median(theirs):.0f}", f"{ratio:.2f}")
    return table


def _writers(folder: str, asked: argparse.Namespace) -> Table:
    columns = ("writers", "rate asked", "done/s", "p50 ms", "p99 ms", "max ms", "refused")
    table = Table(*columns, title="Processes on one database")
    cases = [
        (f"{asked.writers}, lock file", asked.writers, None, True, "a"),
        (f"{asked.writers}, busy handler alone", asked.writers, None, False, "b"),
        ("8, lock file", 8, SHARED_RATE, True, "c"),
        ("8, busy handler alone", 8, SHARED_RATE, False, "d"),
    ]
    for name, writers, in_all, locked, file in cases:
        met = together(f"sqlite:///{folder}/{file}.db", writers, asked.seconds, in_all, locked=locked)
        table.add_row(name, str(in_all or "any"), *_figures(*met, asked.seconds))
    if asked.postgresql:
        met = together(asked.postgresql, 16, asked.seconds, SHARED_RATE, locked=True)
        table.add_row("16, PostgreSQL", str(SHARED_RATE), *_figures(*met, asked.seconds))
    return table


def _figures(took: list[float], refused: int, seconds: float) -> list[str]:
    at = [took[int(len(took) * share)] for share in (0.5, 0.99)] + [took[-1]]
    return [f"{(len(took) - refused) / seconds:.0f}", *(f"{1000 * one:.1f}" for one in at), str(refused)]


if __name__ == "__main__":
    main()
