"""A word to end is heard, wherever it is lost; once, however often it is said."""

import signal
import subprocess
import sys

import pytest

from settings import PROJECT

PROGRAM = """
import os, signal, time, weakref
from launch import ending

class Thing:
    pass

def told(*whatever):
    os.kill(os.getpid(), {signal})
    for _ in range(1000):  # a signal is seen between two steps
        pass

def swallowed():
    try:
        told()
    except BaseException:
        pass

def lost():
    thing = Thing()
    reference = weakref.ref(thing, told)
    del thing
    print("here still", flush=True)

ending.listen()
try:
    {way}()
    time.sleep(60)
except KeyboardInterrupt:
    ending.heard()
    told()
    time.sleep(3 * ending.AGAIN_S)
    print("ends in order")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("way", "before"),
    [
        ("told", ""),
        pytest.param("lost", "here still\n", id="dropped by Python"),
        pytest.param("swallowed", "", id="caught by a library"),
    ],
)
def test_the_word_to_end_is_heard(way: str, before: str, number: signal.Signals) -> None:
    program = PROGRAM.format(way=way, signal=int(number))
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, text=True, capture_output=True, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == (f"{before}ends in order\n", "", 0)


def test_other_exceptions_that_nobody_catches_are_told() -> None:
    program = """
from launch import ending

class Bad:
    def __del__(self):
        raise ValueError("told")

ending.listen()
Bad()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, text=True, capture_output=True, timeout=30)
    assert "ValueError: told" in done.stderr


def test_it_is_heard_while_the_main_thread_is_deaf() -> None:
    program = """
import hashlib, os, signal, threading
from launch import ending

ending.listen()
ending.watch(lambda: os._exit(7))
threading.Timer(1, os.kill, (os.getpid(), signal.SIGTERM)).start()
hashlib.pbkdf2_hmac("sha256", b"", b"", 2 * 10**9)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=PROJECT, text=True, capture_output=True, timeout=30)
    assert (done.returncode, done.stderr) == (7, "")
