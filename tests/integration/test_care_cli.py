"""The commands that take care of a system, as a person types them: what they say, where, and with which exit code."""

import io
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

import cli
from actors.care.check import check_log
from projections import tables
from settings import settings
from tests.integration.care_kit import DATASET, OLDEST, WHOLE, make_system, opened, record_lost, rows, tell


class Said(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Said]


@pytest.fixture
def run(sqlite_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """geti-action with these words, on a database and storage folder of our own."""

    def run(*words: object, url: str = sqlite_url, storage: Path = tmp_path / "storage") -> Said:
        monkeypatch.setattr(sys, "argv", ["geti-action", *map(str, words)])
        monkeypatch.setenv("DATABASE_URL", url)
        monkeypatch.setenv("STORAGE_DIR", str(storage))
        settings.cache_clear()
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        settings.cache_clear()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, *capsys.readouterr())

    return run


def test_a_log_goes_out_and_in_through_files_and_pipes(
    run: Run, tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = run("import-log", OLDEST, url=database_url)
    assert (taken.code, taken.out) == (0, "")
    assert "Took in 80 events, up to position 80. Files are no part of a log" in taken.err
    assert "copy the storage folder too" in taken.err
    assert run("export-log", "-", url=database_url).out == WHOLE.decode()
    file = tmp_path / "log.jsonl"
    assert "Wrote 80 events" in run("export-log", file, url=database_url).err
    assert file.read_bytes() == WHOLE
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert run("import-log", "-", url=other).code == 0
    with opened(database_url) as log, opened(other) as moved:
        assert rows(moved) == rows(log)


def test_a_look_at_a_database_that_is_not_there_makes_none(run: Run, tmp_path: Path) -> None:
    said = run("check-log", url=f"sqlite:///{tmp_path}/none/x.db")
    assert (said.code, said.out[:21]) == (1, "There is no database ")
    assert not (tmp_path / "none").exists()


def test_what_goes_wrong_is_told_in_a_line(run: Run, tmp_path: Path) -> None:
    cut = tmp_path / "cut.jsonl"
    cut.write_bytes(OLDEST.read_bytes()[:5000])
    for words, told in (
        (("export-log", "-"), "There is no database at"),
        (("import-log", tmp_path / "none"), "No such file"),
        (("import-log", cut), f"of {cut} is cut off"),
        (("restore", tmp_path), "no backup"),
        (("adopt", tmp_path), "no saved episode"),
        (("export-log", tmp_path / "none" / "log.jsonl"), "No such file"),
    ):
        said = run(*words)
        assert said.code == 1, words
        assert told in said.out, words
        assert len(said.out.splitlines()) == 1, words
        assert "Traceback" not in said.out + said.err


def test_findings_are_lines_on_stdout_and_an_exit_code(run: Run, sqlite_url: str) -> None:
    with opened(sqlite_url) as log:
        tell(log)
        assert run("check-log") == Said(0, "", "Nothing to mend; the log is at position 80.\n")
        with log.engine.begin() as connection:
            connection.execute(tables.jobs.delete())
        (finding,) = check_log(log)
        assert run("check-log") == Said(1, f"{finding}\n", "1 to mend.\n")
        with_files = run("check-log", "--files")
        assert with_files.code == 1
        assert "has no files" in with_files.out
        assert run("rebuild").code == 0
    assert run("check-log").code == 0


def test_a_rebuild_of_all_lets_wrong_snapshots_go(run: Run, sqlite_url: str) -> None:
    with opened(sqlite_url) as log:
        tell(log)
        with log.engine.begin() as connection:
            (event,) = connection.execute(tables.events.select().where(tables.events.c.id == 1))
            wrong = {"originator_id": event.originator_id, "version": 99, "state": b"{}"}
            connection.execute(tables.snapshots.insert(), wrong)
        assert run("check-log").out.startswith("The snapshot of")
        assert run("rebuild", "jobs").code == 0
        assert run("check-log").code == 1
        assert run("rebuild").code == 0
        assert run("check-log").code == 0


def test_a_system_is_backed_up_restored_and_adopted(run: Run, sqlite_url: str, tmp_path: Path) -> None:
    storage, lost = tmp_path / "storage", tmp_path / str(DATASET)
    record_lost(lost)
    with opened(sqlite_url) as log:
        make_system(log, storage, lost)
    copied, listed = run("backup", tmp_path / "copied", "--copy-files"), run("backup", tmp_path / "listed")
    assert (copied.code, listed.code) == (0, 0)
    assert "which are in it too" in copied.err
    assert "not what was saved" not in copied.err
    assert "add --copy-files" in listed.err
    there = {"url": f"sqlite:///{tmp_path / 'other.db'}", "storage": tmp_path / "other"}
    assert "Restored 13 events" in run("restore", tmp_path / "copied", **there).err
    assert run("check-log", "--files", **there) == Said(0, "", "Nothing to mend; the log is at position 13.\n")
    shutil.rmtree(lost / "versions")
    new = {"url": f"sqlite:///{tmp_path / 'new.db'}", "storage": tmp_path / "new"}
    assert run("adopt", lost, "--no-copy", **new).code == 1
    adopted = run("adopt", lost, "--project", "Lab", "--name", "pushes", **new)
    assert f"Adopted 3 episodes of dataset {DATASET}, whose version is 3." in adopted.err
    assert run("check-log", "--files", **new).code == 0


def test_a_log_with_a_gap_is_refused_and_told(run: Run, sqlite_url: str, tmp_path: Path) -> None:
    with opened(sqlite_url) as log:
        tell(log)
        with log.engine.begin() as connection:
            connection.execute(tables.events.delete().where(tables.events.c.id == 4))
    for words in (("backup", tmp_path / "backup", "--copy-files"), ("export-log", tmp_path / "log.jsonl")):
        said = run(*words)
        assert said.code == 1
        assert "has version 3 at position 5, and the one before is 1" in said.out
        assert "restore an older backup" in said.out
    assert [path.name for path in tmp_path.rglob("*.json*")] == []
    rebuilt = run("rebuild")
    assert rebuilt.code == 1
    assert "Rebuilt from 79 events" in rebuilt.out
    assert "But the log is not whole: Aggregate" in rebuilt.out


def test_a_backup_without_what_the_log_speaks_of_says_so(run: Run, sqlite_url: str, tmp_path: Path) -> None:
    with opened(sqlite_url) as log:
        tell(log)
    said = run("backup", tmp_path / "backup")
    assert said.code == 0
    assert "the list of 0 files" in said.err
    assert "the log speaks of are missing or not what was saved" in said.err
    assert "geti-action check-log --files names them" in said.err


def test_what_cannot_be_adopted_is_told_and_no_success(run: Run, sqlite_url: str, tmp_path: Path) -> None:
    storage, lost = tmp_path / "storage", tmp_path / "storage" / "datasets" / str(DATASET)
    record_lost(lost)
    shutil.rmtree(lost / "versions")
    (lost / "current").unlink()
    damaged = min((lost / "episodes").iterdir())
    (damaged / "videos" / "top.mp4").unlink()
    assert run("adopt", lost, storage=storage).code == 0
    again = run("adopt", lost, storage=storage)
    assert again.code == 1
    assert f"Episode {damaged.name} is left out: videos/top.mp4 is missing; bring it back" in again.err
    (finding,) = run("check-log", "--files", storage=storage).out.splitlines()
    assert f"episodes/{damaged.name}, which cannot be adopted: videos/top.mp4 is missing -> bring it back" in finding
