"""Are the files there that the log speaks of, and does the log speak of all that are there? Looks, and writes nothing.

What the log speaks of is read from the query tables, so ``check_log`` comes first. What was deleted keeps its files for
now and is passed by; so is what sessions that run are still at.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
from sqlalchemy import Row, Table, func, select, tuple_

from actors.capture.compose import DATASET_FILE
from actors.capture.episode import HIDDEN, episode_folder
from actors.capture.lerobot_v3 import current_version
from actors.capture.manifest import EPISODE_FILE, read_manifest, sha256, wrong_files
from actors.care import lost
from actors.care.check import Finding
from actors.care.files import PASSED_BY
from actors.care.restoring import STAGING
from actors.codec import Unreadable
from actors.learning.export import folder_digest
from actors.log import Log
from actors.rebuild import Told
from domain import claims
from domain.dataset import Dataset
from domain.operation import Operation
from domain.recording import Recording
from domain.training import JobStatus
from projections import schema, tables

BATCH = 500
KINDS = ("datasets", "models", "jobs")
OF_A_DATASET = frozenset({"takes", "episodes", "versions", "current", DATASET_FILE})
BRING_BACK = "bring it back from a backup"
BRING_ALL_BACK = (
    "bring its files back first: copy its folder from where the storage folder is kept, or out of a backup that was "
    "made with --copy-files"
)


def check_files(log: Log, storage: Path, told: Told = lambda _done, _total: None) -> Iterator[Finding]:
    """Episodes (their manifests' sha256 too), versions, models (with the sha256 of their exports) and jobs: first what
    the log knows and the storage root lacks, then the reverse. In memory that does not grow with them."""
    yield from unfinished(storage)
    with log.engine.connect() as connection:
        if schema.unusable_tables(connection):
            yield Finding("Files were not compared with the log", "mend its tables first, then check again")
            return
    checker = _Checker(log, storage, told)
    yield from checker.missing()
    yield from checker.unknown()
    yield from strays(storage)


def check_hashes(log: Log, storage: Path, told: Told = lambda _done, _total: None) -> Iterator[Finding]:
    """Whether every file of every saved episode is, byte for byte, what its manifest says; ``told`` is how many bytes
    are read. Manifests that are missing or not what was saved are ``check_files``'s to find."""
    checker = _Checker(log, storage, lambda _done, _total: None)
    with log.engine.connect() as connection:
        total = connection.scalar(select(func.sum(tables.episodes.c.size_bytes))) or 0
    done = 0
    for row in checker.rows(tables.episodes):
        yield from checker.hashes(row)
        done += row.size_bytes
        told(done, total)


def strays(storage: Path) -> Iterator[Finding]:
    """What lies where nothing of ours does: each by its uppermost folder, with what it holds."""
    for place in _visible(storage):
        if place.name not in {*KINDS, *PASSED_BY}:
            yield _stray(storage, place)
    for kind in KINDS:
        for place in _visible(storage / kind):
            if not place.is_dir():
                yield _stray(storage, place)
            elif kind == "datasets":
                yield from (_stray(storage, inner) for inner in _visible(place) if inner.name not in OF_A_DATASET)


def check_missing(log: Log, storage: Path) -> Iterator[Finding]:
    """Only what the log knows and the storage root lacks, or has otherwise."""
    yield from _Checker(log, storage, lambda _done, _total: None).missing()


def unfinished(storage: Path) -> Iterator[Finding]:
    """What a restore that was killed has left."""
    staging = storage / STAGING
    if staging.is_dir():
        count = sum(1 for path in staging.rglob("*") if path.is_symlink() or path.is_file())
        todo = f"repeat geti-action restore, or remove {staging}"
        yield Finding(f"A restore was not finished, or still goes on: {STAGING} holds {count} of its files", todo)


class _Checker:
    def __init__(self, log: Log, storage: Path, told: Told) -> None:
        self._log, self._storage, self._told = log, storage, told
        self._done = self._total = 0
        self.checks: dict[Table, Callable[[Row[Any]], Iterator[Finding]]] = {
            tables.episodes: self._episode,
            tables.datasets: self._version,
            tables.models: self._model,
            tables.jobs: self._job,
        }
        with log.engine.connect() as connection:
            for table in self.checks:
                self._total += connection.scalar(select(func.count()).select_from(table)) or 0

    def rows(self, table: Table) -> Iterator[Row[Any]]:
        """All of a table, a page at a time, each on a connection of its own."""
        key = tuple_(*table.primary_key)
        query = page = select(table).order_by(*table.primary_key).limit(BATCH)
        while True:
            with self._log.engine.connect() as connection:
                found = connection.execute(page).all()
            if not found:
                return
            for row in found:
                yield row
                self._done += 1
                self._told(self._done, max(self._done, self._total))
            page = query.where(key > tuple(found[-1]._mapping[column.name] for column in table.primary_key))

    # what the log knows

    def missing(self) -> Iterator[Finding]:
        for table, check in self.checks.items():
            for row in self.rows(table):
                yield from check(row)

    def _episode(self, row: Row[Any]) -> Iterator[Finding]:
        folder = episode_folder(self._dataset(row.dataset_id), UUID(row.id))
        manifest = folder / EPISODE_FILE
        if not manifest.is_file():
            yield Finding(f"Episode {row.id} of dataset {row.dataset_id} has no files", BRING_BACK)
        elif sha256(manifest) != row.sha256:
            yield Finding(f"{self._name(manifest)} is not what was saved", BRING_BACK)
        else:
            for name in orjson.loads(manifest.read_bytes())["files"]:
                if not (folder / name).is_file():
                    yield Finding(f"{self._name(folder / name)} is missing", BRING_BACK)

    def _version(self, row: Row[Any]) -> Iterator[Finding]:
        if self._is_worked_on(UUID(row.id)):
            return
        try:
            version = self._log.load(Dataset, UUID(row.id)).content_version
        except Unreadable:
            return  # the check of the log says why
        folder = self._dataset(row.id)
        if version and not ((folder / "versions" / str(version)).is_dir() and current_version(folder) == version):
            todo = f"geti-action adopt {folder}" if self._has_its_episodes(row.id) else BRING_ALL_BACK
            yield Finding(f"Version {version} of dataset {row.id} is not there, or not the current one", todo)

    def hashes(self, row: Row[Any]) -> Iterator[Finding]:
        """Of the files of one episode whose manifest is what was saved."""
        folder = episode_folder(self._dataset(row.dataset_id), UUID(row.id))
        manifest = folder / EPISODE_FILE
        if not manifest.is_file() or sha256(manifest) != row.sha256:
            return
        for name, what in wrong_files(read_manifest(folder), folder):
            if (folder / name).is_file():
                yield Finding(f"{self._name(folder / name)} {what}", BRING_BACK)

    def _has_its_episodes(self, dataset: str) -> bool:
        """Whether a version can be made of what is there."""
        ids = [episode.episode_id for episode in self._log.load(Dataset, UUID(dataset)).episodes]
        folders = [episode_folder(self._dataset(dataset), id) for id in ids]
        return bool(ids) and all((folder / EPISODE_FILE).is_file() for folder in folders)

    def _model(self, row: Row[Any]) -> Iterator[Finding]:
        for export in row.exports:
            folder = self._storage / "models" / row.id / "exports" / export["backend"]
            if export["reason"] is not None:
                continue
            if not folder.is_dir():
                yield Finding(f"{self._name(folder)} is missing", BRING_BACK)
            elif folder_digest(folder) != export["sha256"]:
                yield Finding(f"{self._name(folder)} is not what was exported", BRING_BACK)

    def _job(self, row: Row[Any]) -> Iterator[Finding]:
        folder = self._storage / "jobs" / row.id
        if row.type == "training" and row.status == JobStatus.COMPLETED and not folder.is_dir():
            yield Finding(f"{self._name(folder)} is missing, with the job's curve and log", BRING_BACK)

    # what is there

    def unknown(self) -> Iterator[Finding]:
        """The folders that the log knows nothing of."""
        for kind in KINDS:
            for folder in _folders(self._storage / kind):
                if not self._is_known(folder.name):
                    episodes = _folders(folder / "episodes") if kind == "datasets" else ()
                    is_whole = any(lost.wrong_with(episode) is None for episode in episodes)
                    yield Finding(f"The log knows nothing of {self._name(folder)}", _todo(folder, adopt=is_whole))
                elif kind == "datasets" and self._has(tables.datasets, id=folder.name):
                    yield from self._unknown_in(folder)

    def _unknown_in(self, dataset: Path) -> Iterator[Finding]:
        for folder in _folders(dataset / "episodes"):
            is_there = self._has(tables.episodes, dataset_id=dataset.name, id=folder.name)
            if is_there or self._is_worked_on(UUID(dataset.name)):
                continue
            if wrong := lost.wrong_with(folder):
                what = f"The log knows nothing of {self._name(folder)}, which cannot be adopted: {wrong}"
                yield Finding(what, f"{BRING_BACK}, or {_todo(folder, adopt=False)}")
            else:
                yield Finding(f"The log knows nothing of {self._name(folder)}", _todo(dataset, adopt=True))
        for folder in _folders(dataset / "takes"):
            if not self._has(tables.recording_episodes, id=folder.name):
                yield Finding(f"No session knows {self._name(folder)}", _todo(folder, adopt=False))

    # small things

    def _dataset(self, id: str) -> Path:
        return self._storage / "datasets" / id

    def _name(self, path: Path) -> str:
        return path.relative_to(self._storage).as_posix()

    def _is_worked_on(self, dataset: UUID) -> bool:
        return any(kind in (Recording, Operation) for kind, _ in self._log.holders(claims.use(dataset)))

    def _is_known(self, name: str) -> bool:
        """Whether anything ever happened to a thing of this id."""
        try:
            id = UUID(name)
        except ValueError:
            return False
        happened = select(tables.events.c.id).where(tables.events.c.originator_id == id).limit(1)
        with self._log.engine.connect() as connection:
            return connection.scalar(happened) is not None

    def _has(self, table: Table, **by: str) -> bool:
        query = select(table.c.id).where(*(table.c[name] == value for name, value in by.items())).limit(1)
        with self._log.engine.connect() as connection:
            return connection.scalar(query) is not None


def _stray(storage: Path, place: Path) -> Finding:
    found = [place] if not place.is_dir() or place.is_symlink() else [p for p in place.rglob("*") if not p.is_dir()]
    size = sum(each.lstat().st_size for each in found)
    holds = f"{len(found)} files, " if place.is_dir() else ""
    what = f"Nothing of ours is {place.relative_to(storage).as_posix()} ({holds}{size / 1e6:,.1f} MB)"
    return Finding(what, _todo(place, adopt=False))


def _folders(folder: Path) -> Iterator[Path]:
    return (place for place in _visible(folder) if place.is_dir())


def _visible(folder: Path) -> Iterator[Path]:
    """What is not half-made, in the order of the names."""
    if folder.is_dir():
        names = (place for place in folder.iterdir() if not place.name.startswith(HIDDEN))
        yield from sorted(place for place in names if place.suffix != ".partial")


def _todo(folder: Path, *, adopt: bool) -> str:
    return f"geti-action adopt {folder}" if adopt else f"remove {folder}, if nobody needs it"
