import fcntl
from collections import namedtuple
from pathlib import Path

import pytest

from actors.learning import install
from domain.errors import StorageFull, Unavailable

SAID = """\
Resolved 142 packages in 1.2s
Downloading torch (500.0MiB)
Downloading triton (100.0 MiB)
   Building wheel for antlr4
 Downloaded triton
 Downloaded small
 Downloaded torch
Prepared 142 packages in 30s
""".replace("500.0MiB", "500.0 MiB")


def test_progress_counts_the_large_downloads() -> None:
    seen = list(install.read_progress(SAID.splitlines()))
    mib = 2**20
    assert [(each.done_bytes // mib, each.total_bytes // mib) for each in seen] == [
        (0, 0),
        (0, 500),
        (0, 600),
        (0, 600),
        (100, 600),
        (100, 600),
        (600, 600),
        (600, 600),
    ]
    assert seen[-1].message == "Prepared 142 packages in 30s"


def test_progress_reads_sizes_written_without_a_space() -> None:
    (seen,) = install.read_progress(["Downloading torch (1.5GiB)"])
    assert seen.total_bytes == 1.5 * 2**30


def test_what_is_missing_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "NEEDED", ("json", "no_such_library.inside"))
    assert not install.installed()
    monkeypatch.setattr(install, "NEEDED", ("json", "email.message"))
    assert install.installed()


def test_without_the_lock_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"run\.sh --train"):
        install.install(lambda progress: None, lock=tmp_path / "none.lock")


def test_without_room_it_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(install.shutil, "disk_usage", lambda path: usage(10, 9, 10**9))
    with pytest.raises(StorageFull, match=r"1\.0 GB are free"):
        install.install(lambda progress: None, lock=tmp_path / "none.lock")


def fake_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> Path:
    """A program in uv's place: the network is the outermost edge."""
    program = tmp_path / "uv"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(install, "NEEDED_BYTES", 0)
    monkeypatch.setattr(install, "MARK", tmp_path / "venv" / install.MARK.name)
    (tmp_path / "venv").mkdir()
    lock = tmp_path / "requirements-train.lock"
    lock.touch()
    return lock


def fake_uv_again(tmp_path: Path, script: str) -> None:
    (tmp_path / "uv").write_text(f"#!/bin/sh\n{script}\n")


def test_a_failure_tells_uvs_last_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fake_uv(tmp_path, monkeypatch, "echo 'Resolved 3 packages' >&2; echo 'error: no route to host' >&2; exit 2")
    said: list[str] = []
    with pytest.raises(Unavailable, match="no route to host"):
        install.install(lambda progress: said.append(progress.message), lock=lock)
    assert said == ["Resolved 3 packages", "error: no route to host"]


def test_uv_gets_the_lock_with_hashes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fake_uv(tmp_path, monkeypatch, 'echo "$@" >&2')
    said: list[str] = []
    install.install(lambda progress: said.append(progress.message), lock=lock, python="/some/python")
    assert said == [f"pip install --python /some/python --require-hashes --no-deps -r {lock}"]


def test_a_stop_ends_the_installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fake_uv(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(install, "POLL_S", 0.01)
    with pytest.raises(Unavailable, match="stopped"):
        install.install(lambda progress: None, lambda: True, lock=lock)


HALF_LINKED = "venv/lib/python3.12/site-packages/Lightning_Utilities-0.15.dist-info"


def test_what_was_cut_off_is_not_installed_and_is_linked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """uv would take a package with a dist-info folder for whole."""
    half, other = tmp_path / HALF_LINKED, tmp_path / HALF_LINKED.replace("Lightning", "Other")
    script = f"if [ -d {half} ]; then echo there >&2; else mkdir -p {half} {other}; exec sleep 60; fi"
    lock = fake_uv(tmp_path, monkeypatch, script)
    lock.write_text("lightning-utilities==0.15 \\\n    --hash=sha256:0\n")
    monkeypatch.setattr(install, "POLL_S", 0.01)
    monkeypatch.setattr(install, "NEEDED", ("json",))
    assert install.installed()
    with pytest.raises(Unavailable, match="stopped"):
        install.install(lambda progress: None, half.exists, lock=lock)
    assert not install.installed()
    fake_uv_again(tmp_path, f"if [ -d {half} ]; then exit 1; fi; mkdir {half}")
    install.install(lambda progress: None, lock=lock)
    assert install.installed()
    assert other.exists()


def test_two_at_once_install_one_after_the_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second may be ./run.sh, which takes the same lock; and the lock is uv's own, should we be killed."""
    lock = fake_uv(tmp_path, monkeypatch, "")
    (tmp_path / ".uv").mkdir()
    with (tmp_path / ".uv" / "lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        monkeypatch.setattr(install, "POLL_S", 0.01)
        waited = iter((False, False, True))
        with pytest.raises(Unavailable, match="stopped"):
            install.install(lambda progress: None, lambda: next(waited), lock=lock)
    assert not install.MARK.exists()
    install.install(lambda progress: None, lock=lock)


def test_an_installation_outlives_its_owner_with_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = fake_uv(
        tmp_path, monkeypatch, f"flock --nonblock {tmp_path}/.uv/lock true && exit 1; ls -l /proc/self/fd >&2"
    )
    said: list[str] = []
    install.install(lambda progress: said.append(progress.message), lock=lock)
    assert [line for line in said if line.endswith(f"{tmp_path}/.uv/lock")]
