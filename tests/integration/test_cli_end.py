"""Ctrl-C before a command has begun to listen for it: it ends without a word, as a shell expects."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

import cli
from settings import PROJECT


@pytest.mark.parametrize("program", [(sys.executable, "-m", "cli"), (Path(sys.executable).with_name("geti-action"),)])
def test_it_ends_while_it_is_still_importing(tmp_path: Path, program: tuple[str | Path, ...]) -> None:
    (tmp_path / "psycopg.py").write_text("import time; print('importing', flush=True); time.sleep(60)")
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        [*program, "serve"], cwd=PROJECT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == -signal.SIGINT  # which a shell calls 130


def test_it_ends_while_it_waits_for_a_database_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("cli.commands.embedded", interrupted)
    with pytest.raises(SystemExit, match="130"):
        cli.main()
