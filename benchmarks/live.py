"""How long after a change each of 1, 50 and 200 clients has it, through the real server and through a bare Serve route
that streams behind the same proxy. In turns, round by round, because machines are noisy.

``python -m benchmarks.live [--rounds 3] [--changes 40] [--every-s 0.25]``
"""

import json
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.bare import RAY, free_port
from benchmarks.http import serving

CLIENTS = (1, 50, 200)
GOALS_MS = {50: 100.0, 200: 400.0}
OURS, BARE = "ours", "bare Serve route"
FIGURES = ("p50_ms", "p99_ms", "max_ms", "post_ms")
out = Console(highlight=False)

Met = dict[str, float]
Measured = dict[tuple[int, str], list[Met]]


def main(
    rounds: Annotated[int, typer.Option(min=1)] = 3,
    changes: Annotated[int, typer.Option(min=10, help="of each turn")] = 40,
    every_s: Annotated[float, typer.Option(min=0.01, help="from one change to the next")] = 0.25,
    database_url: Annotated[str, typer.Option(help="the server's database; SQLite in a new folder without")] = "",
) -> None:
    """Start both, measure, print a table, and fail when a goal is missed."""
    with TemporaryDirectory(prefix="geti-benchmark-") as folder, ExitStack() as stack:
        urls = _contenders(Path(folder), database_url, stack)
        measured: Measured = {}
        for number in range(rounds):
            for clients in CLIENTS:
                out.print(f"{clients} clients: round {number + 1} of {rounds}")
                for name, (watch, post) in urls.items():
                    words = (watch, post, str(clients), str(changes), str(every_s))
                    measured.setdefault((clients, name), []).append(_load(words))
    out.print(_table(measured))
    if not _good(measured):
        raise SystemExit("A goal was missed.")


def _contenders(folder: Path, database_url: str, stack: ExitStack) -> dict[str, tuple[str, str]]:
    """Start them; {name: the URLs to watch and to post to}."""
    url = database_url or f"sqlite:///{folder / 'live.db'}"
    os.environ |= RAY | {"DATABASE_URL": url, "STORAGE_DIR": str(folder / "storage")}
    port = free_port()
    stack.enter_context(serving(port))

    from ray import serve

    from benchmarks.bare_live import application

    serve.run(application(), name="bare", route_prefix="/bare")
    proxy = f"http://127.0.0.1:{port}"
    return {OURS: (f"{proxy}/api/live", f"{proxy}/api/projects"), BARE: (f"{proxy}/bare", f"{proxy}/bare")}


def _load(words: tuple[str, ...]) -> Met:
    done = subprocess.run([sys.executable, "-m", "benchmarks.live_load", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words[0]}: {done.stderr}")
    met: Met = json.loads(done.stdout)
    return met


def _table(measured: Measured) -> Table:
    table = Table(
        "clients", "", "p50 ms", "p99 ms", "max ms", "POST ms", title="From the change; medians of the rounds"
    )
    for (clients, name), met in measured.items():
        table.add_row(str(clients), name, *(f"{median(turn[what] for turn in met):.1f}" for what in FIGURES))
    return table


def _good(measured: Measured) -> bool:
    """Whether the p99 of every goal was met, each said in a line."""
    good = True
    for clients, goal in GOALS_MS.items():
        met = median(turn["p99_ms"] for turn in measured[clients, OURS])
        out.print(f"{clients} clients: p99 {met:.0f} ms (goal: below {goal:.0f} ms)")
        good = good and met < goal
    return good


if __name__ == "__main__":
    typer.run(main)
