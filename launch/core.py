"""Ray's own two processes on this machine: without them nothing answers any more, and nothing ends in order."""

import time
from collections.abc import Callable

import psutil

NAMES = ("gcs_server", "raylet")
LOOK_S = 1.0


class Core:
    """Those that this process has started; none where it joined a cluster."""

    def __init__(self) -> None:
        family = psutil.Process().children(recursive=True)
        self._processes = {each.name(): each for each in family if each.name() in NAMES}

    def lost(self) -> str | None:
        """The name of the first that has ended."""
        return next((name for name, each in self._processes.items() if not _lives(each)), None)

    def is_whole(self) -> bool:
        """Whether both are there."""
        return len(self._processes) == len(NAMES) and self.lost() is None

    def wait(self) -> str:
        """Until one has ended: its name."""
        while (name := self.lost()) is None:
            time.sleep(LOOK_S)
        return name

    def orderly(self, step: Callable[[], object]) -> None:
        """Take a step of an end in order, which there is no other end of than with Ray."""
        if self.lost() is None:
            step()


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
