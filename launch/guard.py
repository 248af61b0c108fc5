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
    """Returns in a new process, which is guarded from here on; in the one that called it raises SystemExit with the
    new one's status, once that has ended and with it all its descendants. So both go through what the caller has put
    around it (``finally``, ``with``), the guard last: what must be tidied although the new one was killed has its
    place there.

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
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a closed terminal tells everybody; so one who hears it is enough
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if os.getppid() != guard:  # it was killed before it could be noticed
        sys.exit(1)


def _watch(guarded: int, ending: set[signal.Signals], stop_s: float, left_s: float) -> NoReturn:
    deadline = float("inf")
    while (status := _exit_code(guarded)) is None and time.monotonic() < deadline:
        if _signal({*ending, signal.SIGCHLD}, deadline) in ending:
            deadline = min(deadline, time.monotonic() + stop_s)
            os.kill(guarded, signal.SIGINT)
    if status is None:
        sys.stderr.write(f"It has not stopped within {stop_s:.0f} s: killed.\n")
        status = 1
    _end_all(min(deadline, time.monotonic() + left_s))
    sys.exit(status if status >= 0 else 128 - status)


def _signal(numbers: Iterable[signal.Signals], until: float) -> int | None:
    """The next one of these (blocked) signals, or None when none comes ``until`` then."""
    if until == float("inf"):
        return signal.sigwait(numbers)
    caught = signal.sigtimedwait(numbers, max(0.0, until - time.monotonic()))
    return caught.si_signo if caught else None


def _exit_code(guarded: int) -> int | None:
    """The guarded process's, once it has ended. Others who have are seen off."""
    found = None
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] == guarded:
                found = os.waitstatus_to_exitcode(ended[1])
    return found


def _end_all(until: float) -> None:
    """Give our descendants until then, kill those who are left, and tell of those who cannot be killed."""
    killed = float("inf")
    while _any_left():
        if time.monotonic() > killed + KILLED_S:
            sys.stderr.write(f"These do not end: {', '.join(map(str, _family()))}\n")
            return
        if time.monotonic() >= until:
            for process in _family():
                with suppress(psutil.NoSuchProcess):
                    process.kill()
            killed = min(killed, time.monotonic())  # looking for them takes a while on a busy machine
        signal.sigtimedwait({signal.SIGCHLD}, 0.05)


def _family() -> list[psutil.Process]:
    return psutil.Process().children(recursive=True)


def _any_left() -> bool:
    """Whether there are children: since whoever loses its parent becomes one, the last descendant is one too."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
        return True
    return False


def _prctl(option: int, value: int) -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0):
        raise OSError(ctypes.get_errno(), f"prctl({option}) failed")
