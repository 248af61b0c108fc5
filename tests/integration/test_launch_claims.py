"""Who comes second: at once refused by a server that lives, patient with what is left of one that was killed."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from launch import claims
from launch.claims import CLAIM, CannotStart, claim, share
from settings import PROJECT, Settings

pytestmark = pytest.mark.slow
PROGRAM = """
import os, socket, sys, time
from contextlib import ExitStack
from launch.claims import claim
from settings import settings

with ExitStack() as stack:
    claim(settings(), stack, print)
    listening = socket.create_server(("127.0.0.1", settings().port))
    if os.fork():
        print("ready", flush=True)
        time.sleep(600)
    {fork}
    time.sleep(float(sys.argv[1]))
"""
HOLDS_ALL = "pass"
HOLDS_THE_PORT = "os.closerange(3, listening.fileno())"


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    with socket.create_server(("127.0.0.1", 0)) as free:
        monkeypatch.setenv("PORT", str(free.getsockname()[1]))
    monkeypatch.setenv("DASHBOARD_PORT", "0")
    monkeypatch.setenv(CLAIM, "")
    monkeypatch.setenv("STORAGE_DIR", str(tmp_path / "storage"))
    monkeypatch.setenv("DATABASE_URL", f"sqlite+aiosqlite:///{tmp_path / 'geti.db'}")
    return Settings()


@contextmanager
def server(ends_s: float, fork: str = HOLDS_ALL) -> Iterator[subprocess.Popen[str]]:
    """One that has claimed, and has forked another that lasts ``ends_s``."""
    command = [sys.executable, "-c", PROGRAM.format(fork=fork), str(ends_s)]
    with subprocess.Popen(command, cwd=PROJECT, text=True, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()


def kill(server: subprocess.Popen[str]) -> None:
    """Until it is dead, and a zombie: not even its parent need have noticed."""
    server.kill()
    os.waitid(os.P_PID, server.pid, os.WEXITED | os.WNOWAIT)


@pytest.mark.alone
def test_a_server_that_lives_is_told_at_once(config: Settings) -> None:
    said: list[str] = []
    with server(0) as living, ExitStack() as stack:
        began = time.monotonic()
        with pytest.raises(CannotStart, match=f"process {living.pid},"):
            claim(config, stack, said.append)
    assert time.monotonic() - began < 1
    assert not said


@pytest.mark.parametrize("fork", [HOLDS_ALL, HOLDS_THE_PORT])
def test_what_is_left_of_a_killed_one_has_time_to_end(config: Settings, fork: str) -> None:
    said: list[str] = []
    with server(2, fork) as killed, ExitStack() as stack:
        kill(killed)
        claim(config, stack, said.append)
    assert len(said) == 1
    assert "still ending" in said[0]


def test_what_is_left_of_a_killed_one_has_not_for_ever(config: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "ENDING_S", 0.5)
    with server(4) as killed, ExitStack() as stack:
        kill(killed)
        with pytest.raises(CannotStart, match=r"what is left of .* was killed"):
            claim(config, stack, lambda words: None)


def test_another_process_with_the_number_of_the_killed_one_is_no_server(config: Settings) -> None:
    said: list[str] = []
    with server(2) as killed, ExitStack() as stack:
        kill(killed)
        long_ago = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        note = json.dumps({"pid": os.getpid(), "url": "http://localhost:1", "since": long_ago})
        for path in (config.storage_dir / ".server", config.storage_dir.with_name("geti.db.server")):
            path.write_text(note)
        claim(config, stack, said.append)
    assert len(said) == 1


def test_who_ends_by_itself_leaves_nobody_waiting_for_a_port(config: Settings) -> None:
    with ExitStack() as stack:
        claim(config, stack, print)
    said: list[str] = []
    taken = socket.create_server(("127.0.0.1", config.port))
    refused = pytest.raises(CannotStart, match=f"Port {config.port} is taken by process {os.getpid()} ")
    with closing(taken), ExitStack() as stack, refused:
        claim(config, stack, said.append)
    assert not said


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"host": "192.0.2.1"}, "no address 192.0.2.1. Set HOST"),
        ({"host": "nowhere.invalid"}, "HOST=nowhere.invalid is no address to listen on"),
        ({"port": 8265, "dashboard_port": 8265}, "PORT and DASHBOARD_PORT are the same port"),
    ],
)
def test_where_it_cannot_listen_is_told_as_what_it_is(config: Settings, changes: dict[str, Any], told: str) -> None:
    with ExitStack() as stack, pytest.raises(CannotStart, match=re.escape(told)):
        claim(config.model_copy(update=changes), stack, print)


def test_replicas_of_the_server_that_claimed_share_what_it_has(
    config: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as server, ExitStack() as replicas:
        claim(config, server, print)
        for _ in range(2):
            share(config, replicas)
        monkeypatch.setenv(CLAIM, "another server's")
        with pytest.raises(CannotStart, match=f"process {os.getpid()},"):
            share(config, replicas)


def test_replicas_without_a_claim_share_among_themselves_alone(config: Settings) -> None:
    """``serve run`` starts them."""
    with ExitStack() as replicas:
        for _ in range(2):
            share(config, replicas)
        with ExitStack() as server, pytest.raises(CannotStart, match=f"in use by .* .process {os.getpid()},"):
            claim(config, server, print)
    with ExitStack() as server:
        claim(config, server, print)
