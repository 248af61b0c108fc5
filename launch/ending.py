"""The word to end, which nothing on the way to it can lose.

Python drops a KeyboardInterrupt that is raised while a callback of the garbage collector or of the import system runs
(https://docs.python.org/3/library/exceptions.html#KeyboardInterrupt), and a library may catch one. Imports take most
of a start; so it is raised again and again until whoever waits for it has it."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import NoReturn

AGAIN_S = 0.5
ENDING = (signal.SIGINT, signal.SIGTERM)


def listen() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt in the main thread until ``heard``. Also where a shell
    started us with ``&``, which makes SIGINT ignored."""
    for number in ENDING:
        signal.signal(number, _stop)
    sys.unraisablehook = _unless_it_comes_again


def watch(told: Callable[[], object]) -> None:
    """Call ``told`` in a thread of its own when the word to end has come, also while the main thread is deaf to it,
    inside of a library."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_tell, args=(reading, told), daemon=True).start()


def _tell(reading: int, told: Callable[[], object]) -> None:
    while os.read(reading, 1)[0] not in ENDING:
        pass
    told()


def heard() -> None:
    """To be called first where the KeyboardInterrupt is caught. Another signal changes nothing from then on."""
    signal.setitimer(signal.ITIMER_REAL, 0)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    for each in ENDING:
        signal.signal(each, _heard_before)
    signal.signal(signal.SIGALRM, _again)
    signal.setitimer(signal.ITIMER_REAL, AGAIN_S, AGAIN_S)
    raise KeyboardInterrupt


def _heard_before(number: int, frame: FrameType | None) -> None:
    """Not SIG_IGN, at which Python stumbles when two signals come at once (OSError: ignored due to race condition)."""


def _again(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _unless_it_comes_again(lost: "sys.UnraisableHookArgs") -> None:
    if not isinstance(lost.exc_value, KeyboardInterrupt):
        sys.__unraisablehook__(lost)
