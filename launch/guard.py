"""Nothing that we started outlives us, whatever it does: hang, lose its parent, or start others while we stop.

The process that a person started forks, and stays behind as the guard of the one that does the work. The guard does
nothing but wait, so it cannot hang; it is the subreaper of all that come after it, so whoever loses its parent becomes
the guard's child and is never out of sight. When the work ends, or does not end in time once it was told to, the guard
kills what is left and goes last. Linux only.
"""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import NoReturn

import psutil

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
KILLED_S = 1.0


def guard(stop_s: float, left_s: float) -> None:
    """Returns in a new process, which is guarded from here on; the one that called never returns, and exits with the
    new one's status once that has ended and with it all its descendants.

    SIGINT, SIGTERM and SIGHUP (unless ignored) reach the guarded process as SIGINT. From then it has ``stop_s``
    seconds for everything; what it leaves behind when it ends by itself has ``left_s``. To be called while there is
    one thread."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    ending = {signal.SIGINT, signal.SIGTERM}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup wants it
        ending.add(signal.SIGHUP)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*ending, signal.SIGCHLD})
    guard = os.getpid()
    guarded = os.fork()
    if guarded:
        _watch(guarded, ending, stop_s, left_s)
    _prctl(PR_SET_PDEATHSIG, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if os.getppid() != guard:  # it was killed before it could be noticed
        sys.exit(1)


def _watch(guarded: int, ending: set[signal.Signals], stop_s: float, left_s: float) -> NoReturn:
    deadline: float | None = None
    while (status := _reap(guarded)) is None:
        number = _signal({*ending, signal.SIGCHLD}, deadline)
        if number in ending:
            deadline = deadline or time.monotonic() + stop_s
            os.kill(guarded, signal.SIGINT)
        elif number is None:
            sys.stderr.write(f"It has not stopped within {stop_s:.0f} s: killed.\n")
            status = 1
            break
    _end_all(min(deadline or float("inf"), time.monotonic() + left_s))
    sys.exit(status if status >= 0 else 128 - status)


def _reap(guarded: int) -> int | None:
    """Take note of everyone who has ended; the exit code of the guarded process if it was among them."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == guarded:
                found = os.waitstatus_to_exitcode(ended[1])
    return found


def _signal(numbers: Iterable[signal.Signals], until: float | None) -> int | None:
    """The next one of these (blocked) signals, or None when none comes ``until`` then."""
    if until is None:
        return signal.sigwait(numbers)
    caught = signal.sigtimedwait(numbers, max(0.0, until - time.monotonic()))
    return caught.si_signo if caught else None


def _end_all(until: float) -> None:
    """Wait for our descendants until then, kill those that are left, and tell of those that cannot be killed."""
    while family := _family():
        if time.monotonic() > until + KILLED_S:
            sys.stderr.write(f"Could not be ended: {', '.join(map(str, family))}\n")
            return
        if time.monotonic() >= until:
            for process in family:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def _family() -> list[psutil.Process]:
    """All who are alive: whoever has lost its parent is our child by now."""
    _reap(0)
    return psutil.Process().children(recursive=True)


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
