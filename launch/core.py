"""Ray's own processes on this machine. Without two of them nothing answers any more, and nothing ends in order."""

import time
from collections.abc import Callable
from pathlib import Path

import psutil

NEEDED = ("gcs_server", "raylet")
BESIDE = ("monitor.py", "dashboard.py", "log_monitor.py")
LOOK_S = 1.0


class Core:
    """Those that this process has started; none where it joined a cluster."""

    def __init__(self) -> None:
        named = ((_name(each), each) for each in psutil.Process().children())
        self._processes = {name: each for name, each in named if name is not None}

    def lost(self) -> str | None:
        """The name of the first that has ended of those that are needed."""
        return next((name for name, each in self._processes.items() if name in NEEDED and not _lives(each)), None)

    def is_whole(self) -> bool:
        """Whether all of them are there. Told to end, those that are needed soon answer nobody, and yet stay a while;
        the others go at once."""
        return set(self._processes) == {*NEEDED, *BESIDE} and all(map(_lives, self._processes.values()))

    def wait(self) -> str:
        """Until one has ended: its name."""
        while (name := self.lost()) is None:
            time.sleep(LOOK_S)
        return name

    def orderly(self, step: Callable[[], object]) -> None:
        """Take a step of an end in order, which there is no other end of than with Ray."""
        if self.lost() is None:
            step()


def _name(process: psutil.Process) -> str | None:
    """The program's that it runs, if that is one of Ray's own; None of one that has just ended too."""
    try:
        words = process.cmdline()[:3]  # Python, perhaps with an option, and its script
    except psutil.NoSuchProcess:
        return None
    return next((name for word in words if (name := Path(word).name) in (*NEEDED, *BESIDE)), None)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
