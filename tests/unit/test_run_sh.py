"""run.sh, with a `uv` that writes down what it was asked for: what is installed when, and nothing twice."""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from actors.learning.install import MARK

PROJECT = Path(__file__).parents[2]
COPIED = ("run.sh", "pyproject.toml", "requirements.lock", "requirements-train.lock", "requirements-dev.lock")

UV = f"""#!/usr/bin/env bash
packages=.venv/lib/python3.12/site-packages
link() {{
  if [ -e $packages/$1.dist-info ]; then return; fi
  mkdir -p $packages/$1.dist-info
  [ -z "${{UV_LINKS_SLOWLY:-}}" ] || sleep 60
  touch $packages/$1.whole
}}
case "$*" in
  --version) exit ;;
  "cache dir" | "python dir") echo "$UV_HOME" ; exit ;;
  venv*) rm -rf .venv
    mkdir -p .venv/bin $packages
    touch .venv/pyvenv.cfg
    ln -s '{sys.executable}' .venv/bin/python ;;
  *--editable*) printf '#!/bin/sh\\necho "ran: $*$PYTHONDONTWRITEBYTECODE"\\n' >.venv/bin/geti-action
    chmod +x .venv/bin/geti-action
    exit ;;
  *requirements-train.lock*) link PyYAML-6.0.3; link physicalai_train-0.3.0 ;;
  *requirements.lock*) link PyYAML-6.0.3 ;;
esac
[ -z "${{UV_SLOW:-}}" ] || sleep "$UV_SLOW"
echo "$* cache=${{UV_CACHE_DIR:-}}" >>"$UV_SAID"
[ ! -e "$UV_HOME/broken" ]
"""

DF = """#!/bin/sh
printf 'Filesystem 1024-blocks Used Available\\ndisk 0 0 %s\\n' "${FREE_KIB:-99999999}"
"""


class Checkout:
    """A copy of the project's setup in a folder with a space in its name, run from elsewhere."""

    def __init__(self, tmp_path: Path) -> None:
        self.folder, self.said, self.home = tmp_path / "a lab's copy", tmp_path / "said", tmp_path / "home"
        for folder in (self.folder, self.home, tmp_path / "bin"):
            folder.mkdir()
        for name in COPIED:
            shutil.copy(PROJECT / name, self.folder)
        for name, text in {"uv": UV, "df": DF}.items():
            (tmp_path / "bin" / name).write_text(text)
            (tmp_path / "bin" / name).chmod(0o755)
        path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
        self.environ = {"PATH": path, "UV_SAID": str(self.said), "UV_HOME": str(self.home)}

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        command = [self.folder / "run.sh", *words]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        environ = self.environ | environ
        return subprocess.Popen(command, env=environ, cwd="/", text=True, start_new_session=True, **pipes)

    def run(self, *words: str, **environ: str) -> tuple[int, str, str]:
        process = self.start(*words, **environ)
        out, err = process.communicate(timeout=60)
        return process.returncode, out.strip(), err

    def cut_off(self, *words: str) -> None:
        """As Ctrl-C does, once a package is half linked."""
        before = set(self.packages.glob("*.dist-info"))
        process = self.start(*words, UV_LINKS_SLOWLY="yes")
        deadline = time.monotonic() + 60
        while not set(self.packages.glob("*.dist-info")) - before:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGTERM)  # not SIGINT: that is ignored where the tests run in the background
        process.communicate(timeout=60)

    @property
    def packages(self) -> Path:
        return self.folder / ".venv/lib/python3.12/site-packages"

    def uv_calls(self) -> list[str]:
        """What uv was asked since the last look."""
        calls = self.said.read_text().splitlines() if self.said.exists() else []
        self.said.unlink(missing_ok=True)
        return calls


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


def test_first_run_sets_up_and_serves_the_second_only_serves(checkout: Checkout) -> None:
    assert checkout.run()[:2] == (0, "ran: serve")
    venv, install = checkout.uv_calls()
    assert venv.startswith("venv ")
    assert "--no-deps --require-hashes -r requirements.lock" in install
    assert checkout.run("demo", "--steps", "2 0") == (0, "ran: demo --steps 2 0", "")
    assert checkout.uv_calls() == []


def test_setup_alone_runs_nothing(checkout: Checkout) -> None:
    assert checkout.run("--setup")[:2] == (0, "")


def test_what_it_starts_may_keep_what_it_compiles(checkout: Checkout) -> None:
    assert checkout.run(PYTHONDONTWRITEBYTECODE="1")[:2] == (0, "ran: serve")


def test_train_tells_its_size_and_outlives_later_plain_runs(checkout: Checkout) -> None:
    checkout.run("--setup")
    checkout.uv_calls()
    code, _, told = checkout.run("--train", "--setup")
    assert code == 0
    assert "GB to download" in told
    assert "-r requirements.lock -r requirements-train.lock" in checkout.uv_calls()[-1]
    with (checkout.folder / "requirements.lock").open("a") as lock:
        lock.write("# a later pin\n")
    assert checkout.run()[:2] == (0, "ran: serve")
    assert "-r requirements-train.lock" in checkout.uv_calls()[-1]


def test_train_is_not_begun_where_it_cannot_fit(checkout: Checkout) -> None:
    code, _, told = checkout.run("--train", "--setup", FREE_KIB="3000000")
    assert (code, "2 GB are free" in told) == (1, True)
    assert [call for call in checkout.uv_calls() if call.startswith("pip")] == []


def test_packages_changed_behind_its_back_are_looked_at_again(checkout: Checkout) -> None:
    checkout.run("--setup")
    checkout.uv_calls()
    packages = checkout.packages
    (packages / "six.py").touch()
    later = packages.stat().st_mtime + 1
    os.utime(packages, (later, later))
    checkout.run("--setup")
    assert len(checkout.uv_calls()) == 1


def test_a_moved_folder_gets_a_new_venv(checkout: Checkout) -> None:
    checkout.run("--setup")
    checkout.uv_calls()
    checkout.folder = checkout.folder.rename(checkout.folder.with_name("moved"))
    assert checkout.run()[:2] == (0, "ran: serve")
    assert checkout.uv_calls()[0].startswith("venv ")


def test_an_install_that_failed_is_tried_again(checkout: Checkout) -> None:
    (checkout.home / "broken").touch()
    assert checkout.run()[0] != 0
    (checkout.home / "broken").unlink()
    assert checkout.run()[:2] == (0, "ran: serve")


def test_what_was_cut_off_is_linked_again(checkout: Checkout) -> None:
    checkout.cut_off()
    assert not (checkout.packages / "PyYAML-6.0.3.whole").exists()
    code, out, told = checkout.run()
    assert (code, out) == (0, "ran: serve")
    assert "requirements.lock was cut off" in told
    assert (checkout.packages / "PyYAML-6.0.3.whole").exists()
    assert checkout.run() == (0, "ran: serve", "")


def test_only_the_set_that_was_cut_off_is_linked_again(checkout: Checkout) -> None:
    checkout.run("--setup")
    (checkout.packages / "PyYAML-6.0.3.dist-info" / "REQUESTED").touch()
    checkout.cut_off("--train", "--setup")
    code, _, told = checkout.run("--train", "--setup")
    assert code == 0
    assert "requirements-train.lock was cut off" in told
    assert "requirements.lock was" not in told
    assert (checkout.packages / "physicalai_train-0.3.0.whole").exists()
    assert (checkout.packages / "PyYAML-6.0.3.dist-info" / "REQUESTED").exists()


def test_it_waits_for_a_job_that_installs_and_mends_what_that_has_left(checkout: Checkout) -> None:
    """The server's half is tested in test_learning_install.py."""
    checkout.run("--train", "--setup")
    (checkout.folder / ".venv" / MARK.name).touch()
    with (checkout.folder / ".uv" / "lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = checkout.start("--setup")
        assert waiting.stderr is not None
        assert "Somebody else" in waiting.stderr.readline()
        (checkout.packages / "physicalai_train-0.3.0.whole").unlink()
    _, told = waiting.communicate(timeout=60)
    assert "requirements-train.lock was cut off" in told
    assert (checkout.packages / "physicalai_train-0.3.0.whole").exists()


def test_a_venv_that_was_cut_off_is_made_anew(checkout: Checkout) -> None:
    checkout.run("--setup")
    (checkout.folder / ".venv" / "pyvenv.cfg").unlink()
    (checkout.folder / ".venv" / ".setup-base").unlink()
    checkout.uv_calls()
    assert checkout.run()[:2] == (0, "ran: serve")
    assert checkout.uv_calls()[0].startswith("venv ")


def test_a_cache_that_cannot_be_written_is_replaced(checkout: Checkout) -> None:
    checkout.run("--setup", UV_HOME="/proc/none")
    assert checkout.uv_calls()[-1].endswith(f"cache={checkout.folder}/.uv/cache")


def test_two_at_once_install_once(checkout: Checkout) -> None:
    both = [checkout.start(UV_SLOW="0.3") for _ in range(2)]
    outputs = [process.communicate(timeout=60) for process in both]
    assert [out.strip() for out, _ in outputs] == ["ran: serve"] * 2
    assert len(checkout.uv_calls()) == 2
    assert "another run.sh" in "".join(err for _, err in outputs)
