"""A copy that somebody has just cloned: the usual words work in it, and a first training brings its own libraries.

What is cloned is the last commit, not the working tree. Packages come from the machine's uv cache, or the registry."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from client.demo import make_cell
from settings import PROJECT, Settings

from .conftest import Server
from .kit import open_session, record, submit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not (PROJECT / ".git").exists(), reason="this copy of the project has no history to clone"),
]
OURS = {*(name.upper() for name in Settings.model_fields), "VIRTUAL_ENV", "PYTHONPATH", "UV_PROJECT_ENVIRONMENT"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in OURS} | {
    "PATH": f"{os.environ['PATH']}:{PROJECT / '.uv' / 'bin'}"  # where run.sh has put uv, if there was none
}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True, timeout=60)
    return folder


def say(clone: Path, *words: str) -> str:
    """What a command says that is given in the clone. It must succeed."""
    done = subprocess.run(words, cwd=clone, env=ENVIRONMENT, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_usual_words_work(clone: Path) -> None:
    assert shutil.which("uv", path=ENVIRONMENT["PATH"]), "neither the machine nor ./run.sh has uv"
    say(clone, "uv", "sync")
    say(clone, "uv", "run", "alembic", "upgrade", "head")
    assert (clone / "geti_action.db").stat().st_size > 0
    assert "(head)" in say(clone, "uv", "run", "alembic", "current")
    say(clone, "uv", "run", "ruff", "check", ".")
    say(clone, "uv", "run", "mypy")
    # Neither the lock of uv, which names the registry, nor anything else offers itself to be committed.
    assert (clone / "uv.lock").exists()
    assert say(clone, "git", "status", "--porcelain") == ""


@pytest.fixture
def base_only(clone: Path, tmp_path: Path) -> Iterator[Server]:
    """A server of the clone, set up without what training needs."""
    say(clone, "./run.sh", "--setup")
    server = Server(tmp_path, program=(clone / "run.sh",), PATH=ENVIRONMENT["PATH"])
    yield server
    server.api.close()
    if server.process is not None:
        server.kill_everything()


def test_the_first_training_installs_its_libraries(base_only: Server, clone: Path) -> None:
    torch = clone / ".venv" / "lib" / "python3.12" / "site-packages" / "torch"
    assert not torch.exists()
    api = base_only.start().api
    cell = make_cell(api, "first")
    session = open_session(api, cell)
    for _ in range(2):
        record(api, session, 3.0)
    api.post(f"{session}:close")
    job, told = submit(api, cell, max_steps=2, checkpoint_every=1, export=["torch"]), list[str]()
    deadline = time.monotonic() + 600
    while (found := api.get(f"/jobs/{job}"))["end_time"] is None:
        assert time.monotonic() < deadline, told
        if found["message"] not in told:
            told.append(found["message"])
        time.sleep(0.1)
    assert found["status"] == "completed", found["reason"]
    assert any(words.startswith("installs libraries: ") for words in told), told
    assert torch.exists()
    assert [export["backend"] for export in api.get(f"/models/{found['model_id']}")["exports"]] == ["torch"]
