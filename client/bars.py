"""What a terminal shows while something long goes on: a line for each thing, which moves as long as it is alive.

    recording   ━━━━━━━━━━━━╺━━━━━━━  3/5   0:01:12  row 84 · 0 dropped · 0 stale

A bar without a known share of done sweeps from side to side; the time runs on in any case. What does not fit into the
terminal's width is cut from the words at the end, never from the bar. Where no terminal is (a file, a pipe) it is a new
line of words instead, whenever something else begins and every ten seconds.
"""

import re
from time import monotonic
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

EVERY_S = 10.0
NAME_WIDTH, BAR_WIDTH, FIGURE_WIDTH = 10, 20, 5


class Bars:
    """The lines of one run, one below the other; they stay when it is over."""

    def __init__(self, console: Console) -> None:
        words = Column(no_wrap=True, overflow="ellipsis", ratio=1)
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(width=NAME_WIDTH, no_wrap=True)),
            BarColumn(BAR_WIDTH),
            _Figure(table_column=Column(width=FIGURE_WIDTH, no_wrap=True, justify="right")),
            TimeElapsedColumn(),
            TextColumn("{task.fields[words]}", table_column=words, markup=False),
            console=console,
            expand=True,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A sentence above the lines."""
        self._progress.console.print(text, soft_wrap=False)

    def line(self, name: str, words: str, of: int | None = None) -> "Line":
        """A new line. Its figure counts up to ``of``, or is a percentage where that is None."""
        return Line(self._progress, self._progress.add_task(name, total=None, words=words, of=of), name, of or 100)


class Line:
    """One thing that goes on; as a context it stands still where an error left it."""

    def __init__(self, progress: Progress, task: TaskID, name: str, total: int) -> None:
        self._progress, self._task, self._name, self._total = progress, task, name, total
        self._written_at, self._written = 0.0, ""

    def tell(self, words: str, done: float = 0) -> None:
        """Where it is now. As long as nothing is ``done`` the bar sweeps."""
        self._progress.update(self._task, total=self._total if done else None, completed=done, words=words)
        if not self._progress.console.is_terminal:
            self._write(words)

    def _write(self, words: str) -> None:
        """Numbers alone are no news."""
        is_news = _without_numbers(words) != _without_numbers(self._written)
        if words != self._written and (is_news or monotonic() - self._written_at > EVERY_S):
            self._progress.console.print(f"{self._name}: {words}", soft_wrap=True)
            self._written_at, self._written = monotonic(), words

    def end(self, words: str) -> None:
        """It is through: the bar is full and the time stands still."""
        self.tell(words, self._total)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._progress.update(self._task, total=self._total)
            self._progress.stop_task(self._task)


def _without_numbers(words: str) -> str:
    return re.sub(r"[\d.,]+", "", words)


class _Figure(ProgressColumn):
    """ "3/5" or "47 %", and nothing as long as nothing is known."""

    def render(self, task: Task) -> Text:
        if task.total is None:
            return Text("")
        of = task.fields["of"]
        return Text(
            f"{task.completed:.0f} %" if of is None else f"{task.completed:.0f}/{of}", style="progress.percentage"
        )
