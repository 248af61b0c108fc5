"""Bars that say how far a long command is, on stderr, which a person looks at while stdout goes into a file. Where no
terminal is they say nothing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

say = Console(stderr=True, highlight=False, soft_wrap=True)
out = Console(highlight=False, soft_wrap=True)

Told = Callable[[str, int, int], None]


@contextmanager
def bars() -> Iterator[Told]:
    """Is told what is counted, how much is done and how much there is (0: nobody knows): one bar for each."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
    tasks = {}
    began = monotonic()
    with Progress(*columns, console=say, transient=True, disable=not say.is_terminal) as progress:

        def told(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = progress.add_task(what, said="")
            rate = done / max(monotonic() - began, 0.001)
            said = f"{done:,} of {total:,}, {rate:,.0f}/s" if total else f"{done:,}, {rate:,.0f}/s"
            progress.update(tasks[what], completed=done, total=total or None, said=said)

        yield told


@contextmanager
def bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """One bar."""
    with bars() as told:
        yield lambda done, total: told(what, done, total)
