"""The server that a command starts for itself."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from actors.care.files import walk
from settings import PROJECT


def test_one_that_does_not_start_says_why_by_its_last_words(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = str(taken.getsockname()[1])
        storage = tmp_path / "storage"
        places = {"DATABASE_URL": f"sqlite+aiosqlite:///{tmp_path / 'geti.db'}", "STORAGE_DIR": str(storage)}
        command = [sys.executable, "-m", "cli", "demo"]
        environment = os.environ | places | {"PORT": port, "DASHBOARD_PORT": "0"}
        done = subprocess.run(command, cwd=PROJECT, env=environment, text=True, capture_output=True, timeout=120)
    assert done.returncode == 1
    assert done.stderr == ""
    log = storage / ".server.log"
    words = done.stdout.splitlines()
    assert words[0].endswith(f"What it says goes to {log}")
    assert words[2] == f"The last lines of {log}:"
    assert words[3:] == log.read_text().splitlines()
    assert words[3].startswith(f"Port {port} is taken by")
    assert list(walk(storage)) == []  # a backup may still be restored there
