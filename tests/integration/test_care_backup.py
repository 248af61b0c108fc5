"""A backup is made while things go on, and becomes the same system again, on either database; or it is refused."""

import asyncio
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from actors.care.backup import back_up
from actors.care.check import check_log
from actors.care.check_files import check_files
from actors.care.restoring import restore
from actors.log import Log
from domain.errors import Conflict, GetiActionError, Invalid, Malformed, NotFound, StorageFull, Unavailable
from tests.integration.care_kit import DATASET, JOB, make_system, opened, quiet, record_lost, rows
from tests.integration.conftest import NewDatabase
from tests.integration.log_kit import new_project

METRICS = Path("jobs", str(JOB), "metrics.jsonl")
Tree = dict[str, tuple[int | str, bytes]]


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lost") / str(DATASET)
    record_lost(folder)
    return folder


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def log(sqlite_url: str, storage: Path, recorded: Path) -> Iterator[Log]:
    with system(sqlite_url, storage, recorded) as made:
        yield made


@pytest.fixture
def each_log(database_url: str, storage: Path, recorded: Path) -> Iterator[Log]:
    """On each database in turn, for what depends on it."""
    with system(database_url, storage, recorded) as made:
        yield made


@contextmanager
def system(url: str, storage: Path, recorded: Path) -> Iterator[Log]:
    """A whole one, in which an episode is being recorded."""
    with opened(url) as log:
        make_system(log, storage, recorded)
        (storage / "cache").mkdir()
        (storage / "cache" / "frames").write_bytes(b"made again when needed")
        (storage / ".server").write_text("in use")
        take = storage / "datasets" / str(DATASET) / "takes" / "open"
        take.mkdir(parents=True)
        (take / "robot.jsonl").write_text('{"row": 0}\n')
        yield log


@pytest.fixture
def other_log(tmp_path: Path) -> Iterator[Log]:
    """A second, empty one."""
    with opened(f"sqlite:///{tmp_path / 'other.db'}") as made:
        yield made


@pytest.fixture
def opposite_log(database_url: str, tmp_path: Path, new_postgresql: NewDatabase) -> Iterator[Log]:
    """A second, empty one, on the other kind of database."""
    with ExitStack() as stack:
        url = f"sqlite:///{tmp_path / 'other.db'}"
        if database_url.startswith("sqlite"):
            url = stack.enter_context(new_postgresql())
        yield stack.enter_context(opened(url))


@pytest.fixture
def other_storage(tmp_path: Path) -> Path:
    (tmp_path / "other" / "backups").mkdir(parents=True)
    return tmp_path / "other"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def tree(root: Path) -> Tree:
    """Every file with its bytes and how many names it has, every link with where it leads; but for what is hidden."""
    found: Tree = {}
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_symlink():
            found[name] = (str(path.readlink()), b"")
        elif path.is_file() and not name.startswith((".", "cache", "backups")):
            found[name] = (path.stat().st_nlink, path.read_bytes())
    return {name: found[name] for name in found if "/." not in name}


def grow(file: Path) -> None:
    with file.open("a") as opened_file:
        opened_file.write('{"step": 2}\n')


def plain(files: Tree) -> dict[str, bytes | str]:
    """Without how many names each has."""
    return {name: content or count for name, (count, content) in files.items()}  # type: ignore[misc]


def test_a_system_comes_back_with_all_its_files(
    each_log: Log, storage: Path, folder: Path, opposite_log: Log, other_storage: Path
) -> None:
    before = tree(storage)
    label = back_up(each_log, storage, folder, quiet, with_files=True)
    assert (label.position, label.files, label.has_files) == (each_log.position(), len(before), True)
    assert plain(tree(folder / "storage")) == plain(before)
    imported = restore(opposite_log, other_storage, folder, quiet)
    assert (imported.position, imported.parked) == (each_log.position(), {})
    assert rows(opposite_log) == rows(each_log)
    assert plain(tree(other_storage)) == plain(before)
    assert list(check_log(opposite_log)) == []
    (take,) = check_files(opposite_log, other_storage)  # which no session knew before either
    assert take.what.endswith("takes/open")


def test_what_is_settled_is_shared_and_what_may_grow_is_copied(log: Log, storage: Path, folder: Path) -> None:
    back_up(log, storage, folder, quiet, with_files=True)
    kept = folder / "storage"
    shared = [path for path in tree(storage) if (storage / path).samefile(kept / path)]
    settled = [p for p in tree(storage) if p.split("/")[0] == "models" or p.split("/")[2] in ("episodes", "versions")]
    assert shared == settled
    grow(storage / METRICS)
    assert (kept / METRICS).read_text() == '{"step": 1}\n'


def test_what_is_restored_is_independent_of_its_backup(
    log: Log, storage: Path, folder: Path, other_log: Log, other_storage: Path
) -> None:
    back_up(log, storage, folder, quiet, with_files=True)
    restore(other_log, other_storage, folder, quiet)
    kept = folder / "storage"
    assert [path for path in tree(kept) if (other_storage / path).samefile(kept / path)] == []
    video = a_video(folder)
    before = video.read_bytes()
    with (other_storage / video.relative_to(kept)).open("r+b") as file:
        file.write(b"spoiled")
    assert video.read_bytes() == before


def _no_links(self: Path, target: Path) -> None:
    raise OSError(errno.EXDEV, "another disk")


def test_on_another_disk_everything_is_copied_once(
    log: Log, storage: Path, folder: Path, other_log: Log, other_storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had several names still has, for within the backup links are possible: here only towards the storage."""
    real = Path.hardlink_to

    def hardlink_to(self: Path, target: Path) -> None:
        (real if Path(target).is_relative_to(folder) == self.is_relative_to(folder) else _no_links)(self, target)

    monkeypatch.setattr(Path, "hardlink_to", hardlink_to)
    before = tree(storage)
    back_up(log, storage, folder, quiet, with_files=True)
    assert tree(folder / "storage") == before
    restore(other_log, other_storage, folder, quiet)
    assert tree(other_storage) == before


def test_without_files_the_list_is_what_a_storage_is_measured_by(
    log: Log, storage: Path, folder: Path, other_log: Log, other_storage: Path
) -> None:
    label = back_up(log, storage, folder, quiet, with_files=False)
    assert sorted(path.name for path in folder.iterdir()) == ["backup.json", "files.jsonl", "log.jsonl"]
    assert (label.files, label.has_files) == (len(tree(storage)), False)
    with pytest.raises(Conflict, match=r"is missing. The backup was made without files: bring them back"):
        restore(other_log, other_storage, folder, quiet)
    shutil.copytree(storage, other_storage, symlinks=True, dirs_exist_ok=True)
    video = next(other_storage.glob("datasets/*/episodes/*/videos/top.mp4"))
    content = video.read_bytes()
    video.write_bytes(content + b"!")
    with pytest.raises(Conflict, match=r"top.mp4 is not the backup's"):
        restore(other_log, other_storage, folder, quiet)
    assert other_log.position() == 0
    video.write_bytes(content)
    grow(other_storage / METRICS)  # this grew after the backup
    restore(other_log, other_storage, folder, quiet)
    assert rows(other_log) == rows(log)


def test_others_go_on_meanwhile(
    each_log: Log, database_url: str, storage: Path, folder: Path, opposite_log: Log
) -> None:
    """Events that come after it began are not in it; a take that is sealed meanwhile, and files that come, go and
    grow do no harm."""
    position, before = each_log.position(), rows(each_log)
    take = storage / "datasets" / str(DATASET) / "takes" / "open"

    def meanwhile(what: str, *_: int) -> None:
        if what == "events":
            with opened(database_url) as other:
                asyncio.run(other.append(new_project("meanwhile")))
            return
        shutil.rmtree(take, ignore_errors=True)
        grow(storage / METRICS)

    back_up(each_log, storage, folder, meanwhile, with_files=True)
    assert each_log.position() > position
    restored = storage.with_name("restored")
    restore(opposite_log, restored, folder, quiet)
    assert rows(opposite_log) == before
    assert plain(tree(restored)) == plain(tree(folder / "storage"))


def test_a_backup_needs_a_folder_of_its_own(log: Log, storage: Path, folder: Path) -> None:
    with pytest.raises(Invalid, match="in the storage root"):
        back_up(log, storage, storage / "datasets" / "backup", quiet, with_files=True)
    inside = storage / "backups" / "today"  # but for this, which is passed by
    back_up(log, storage, inside, quiet, with_files=True)
    assert not (inside / "storage" / "backups").exists()
    folder.mkdir()
    (folder / "mine").touch()
    with pytest.raises(Conflict, match="not empty"):
        back_up(log, storage, folder, quiet, with_files=True)
    assert [path.name for path in folder.iterdir()] == ["mine"]


@pytest.mark.parametrize("is_new", [True, False])
@pytest.mark.parametrize(("number", "error"), [(errno.ENOSPC, StorageFull), (errno.EIO, Unavailable)])
def test_a_backup_that_fails_is_none(
    log: Log,
    storage: Path,
    folder: Path,
    other_log: Log,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
    error: type[GetiActionError],
    is_new: bool,
) -> None:
    """What was written of it is gone: there may be no room for it."""

    def full(_source: Path, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"half of it")
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr("actors.care.copying.copy", full)
    if not is_new:
        folder.mkdir()
    with pytest.raises(error, match="write the backup"):
        back_up(log, storage, folder, quiet, with_files=True)
    assert not any(folder.iterdir()) if folder.exists() else is_new
    with pytest.raises(NotFound, match="not finished"):
        restore(other_log, storage, folder, quiet)


def edit(name: str, old: str, new: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text((folder / name).read_text().replace(old, new, 1))


def a_video(folder: Path) -> Path:
    return min(folder.glob("storage/datasets/*/episodes/*/videos/top.mp4"))


def a_changed_video(folder: Path) -> None:
    content = a_video(folder).read_bytes()
    a_video(folder).unlink()  # the storage root has this file too
    a_video_at = min(folder.glob("storage/datasets/*/episodes/*/videos")) / "top.mp4"
    a_video_at.write_bytes(content[:-1] + b"!")


BROKEN: dict[str, tuple[Callable[[Path], object], type[GetiActionError], str]] = {
    "without a label": (lambda folder: (folder / "backup.json").unlink(), NotFound, "not finished"),
    "with half a label": (edit("backup.json", "position", "location"), Malformed, r"backup\.json"),
    "of a later format": (edit("backup.json", "backup/1", "backup/2"), Malformed, "geti-action-backup/2"),
    "with a changed log": (edit("log.jsonl", "adopted", "adapted"), Malformed, "does not fit"),
    "with a cut log": (lambda folder: os.truncate(folder / "log.jsonl", 2000), Malformed, "cut off"),
    "without its log": (lambda folder: (folder / "log.jsonl").unlink(), Unavailable, r"log\.jsonl"),
    "with another's log": (edit("backup.json", '"log_sha256": "', '"log_sha256": "0'), Invalid, "another backup"),
    "with a changed list": (edit("files.jsonl", "top.mp4", "pot.mp4"), Malformed, "does not fit"),
    "with a changed video": (a_changed_video, Invalid, "is not what was written"),
    "with a video gone": (lambda folder: a_video(folder).unlink(), Invalid, "is missing"),
}


def test_a_broken_backup_leaves_everything_empty(
    log: Log, storage: Path, folder: Path, other_log: Log, other_storage: Path
) -> None:
    back_up(log, storage, folder, quiet, with_files=True)
    for name, (change, error, words) in BROKEN.items():
        broken = folder.with_name("broken")
        shutil.copytree(folder, broken, symlinks=True)
        change(broken)
        with pytest.raises(error, match=words):
            restore(other_log, other_storage, broken, quiet)
        assert other_log.position() == 0, name
        assert [path.name for path in other_storage.iterdir()] == ["backups"], name
        shutil.rmtree(broken)
    restore(other_log, other_storage, folder, quiet)


def test_a_list_that_leads_out_of_the_root_is_refused(
    log: Log, storage: Path, folder: Path, other_log: Log, other_storage: Path
) -> None:
    """As somebody would write it who wants a file of ours, or to overwrite one: with all sums right."""

    back_up(log, storage, folder, quiet, with_files=True)
    header, *_ = (folder / "files.jsonl").read_bytes().splitlines(keepends=True)
    for entry in ('{"path":"../../x","size":0,"sha256":""}\n', '{"path":"datasets/x","link":"/etc"}\n'):
        body = header + entry.encode()
        sha256 = hashlib.sha256(body).hexdigest()
        (folder / "files.jsonl").write_bytes(body + b'{"files":1,"sha256":"%s"}\n' % sha256.encode())
        label = json.loads((folder / "backup.json").read_text()) | {"files_sha256": sha256}
        (folder / "backup.json").write_text(json.dumps(label))
        with pytest.raises(Malformed, match="not inside a storage root"):
            restore(other_log, other_storage, folder, quiet)


def test_what_is_not_empty_is_left_alone(
    log: Log, storage: Path, folder: Path, other_log: Log, other_storage: Path
) -> None:
    back_up(log, storage, folder, quiet, with_files=True)
    with pytest.raises(Conflict, match="not empty"):
        restore(log, other_storage, folder, quiet)
    (other_storage / "datasets").mkdir()
    (other_storage / "datasets" / "mine").write_text("mine")
    with pytest.raises(Conflict, match=r"/other is not empty \(it holds datasets/mine\), .*Set STORAGE_DIR to an"):
        restore(other_log, other_storage, folder, quiet)
    assert list(tree(other_storage)) == ["datasets/mine"]
    assert other_log.position() == 0


def test_a_restore_that_was_killed_before_the_log_is_repeated(
    log: Log, storage: Path, folder: Path, other_log: Log, other_storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    back_up(log, storage, folder, quiet, with_files=True)
    with monkeypatch.context() as patched:
        patched.setattr("actors.care.restoring.import_log", killed)
        with pytest.raises(KeyboardInterrupt):
            restore(other_log, other_storage, folder, quiet)
    assert other_log.position() == 0
    restore(other_log, other_storage, folder, quiet)
    assert rows(other_log) == rows(log)
    assert plain(tree(other_storage)) == plain(tree(storage))
