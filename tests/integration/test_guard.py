"""The guard, over processes that do all they can to outlive it. They all hold the same pipe, so its end is theirs."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psutil
import pytest

from settings import PROJECT

pytestmark = pytest.mark.slow
WITHIN_S = 60.0
PROGRAM = """
import os, signal, subprocess, sys, threading, time
from launch.guard import guard

def stop(number, frame):
    signal.signal(number, signal.SIG_IGN)
    print("told", flush=True)
    sys.exit(0)

guard(stop_s={stop_s}, left_s=0.5)
signal.signal(signal.SIGINT, {handler})
{work}
print("ready", flush=True)
time.sleep(600)
"""
# In a session of its own, without a parent, deaf, and starting another one all the time.
LOST = "trap '' INT TERM HUP; (while :; do setsid sleep 600 & sleep 0.02; done) & exit"
LOSES = f'subprocess.run(["setsid", "sh", "-c", "{LOST}"])'
FAILS = "threading.Timer(0.5, os._exit, [7]).start()"


@contextmanager
def guarded(
    *before: str, stop_s: float = WITHIN_S, handler: str = "stop", work: str = LOSES
) -> Iterator[subprocess.Popen[str]]:
    program = PROGRAM.format(stop_s=stop_s, handler=handler, work=work)
    process = subprocess.Popen(
        [*before, sys.executable, "-c", program],
        cwd=PROJECT,
        text=True,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # whoever runs the tests may have nohup
    )
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def worker(process: subprocess.Popen[str]) -> psutil.Process:
    """The guarded process: the guard's first child."""
    return min(psutil.Process(process.pid).children(), key=psutil.Process.create_time)


def ctrl_c(pid: int) -> None:
    os.killpg(pid, signal.SIGINT)


def interrupt(pid: int) -> None:
    os.kill(pid, signal.SIGINT)


def terminate(pid: int) -> None:
    os.kill(pid, signal.SIGTERM)


def close_terminal(pid: int) -> None:
    os.killpg(pid, signal.SIGHUP)


@pytest.mark.parametrize("how", [ctrl_c, interrupt, terminate, close_terminal])
def test_who_is_told_to_stop_ends_with_all_that_it_started(how: Callable[[int], None]) -> None:
    with guarded() as process:
        how(process.pid)
        assert process.communicate(timeout=WITHIN_S)[0] == "told\n"
    assert process.returncode == 0


def test_who_does_not_listen_is_killed_with_all_that_it_started() -> None:
    with guarded(stop_s=0.5, handler="signal.SIG_IGN") as process:
        ctrl_c(process.pid)
        process.communicate(timeout=WITHIN_S)
    assert process.returncode == 1


def test_who_fails_leaves_nothing_and_its_exit_code() -> None:
    with guarded(work=f"{LOSES}\n{FAILS}") as process:
        process.communicate(timeout=WITHIN_S)
    assert process.returncode == 7


def test_who_is_killed_leaves_nothing() -> None:
    with guarded() as process:
        worker(process).kill()
        process.communicate(timeout=WITHIN_S)
    assert process.returncode == 128 + signal.SIGKILL


def test_without_its_guard_the_work_stops() -> None:
    with guarded(work="") as process:
        process.kill()
        assert process.communicate(timeout=WITHIN_S)[0] == "told\n"


def test_nohup_is_respected() -> None:
    with guarded("nohup", work=FAILS) as process:
        close_terminal(process.pid)
        assert process.communicate(timeout=WITHIN_S)[0] == ""
    assert process.returncode == 7
