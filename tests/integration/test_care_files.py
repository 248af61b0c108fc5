"""``check-log --files`` finds files that nobody knows and facts whose files are gone, and touches nothing."""

import asyncio
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from actors.capture.manifest import EPISODE_FILE
from actors.care.check_files import check_files, check_hashes
from actors.log import Log
from domain.dataset import Dataset
from domain.environment import Environment
from domain.recording import OpenRecording, Recording, StartEpisode
from projections import tables
from tests.integration.care_kit import DATASET, JOB, MODEL, SIZES, make_system, opened, record_lost
from tests.integration.log_kit import AT
from tests.integration.test_capture_kit import record

BACK = "bring it back from a backup"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lost") / str(DATASET)
    record_lost(folder)
    return folder


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / "storage"


@pytest.fixture
def log(database_url: str, storage: Path, recorded: Path) -> Iterator[Log]:
    with opened(database_url) as made:
        make_system(made, storage, recorded)
        yield made


@pytest.fixture
def home(storage: Path) -> Path:
    return storage / "datasets" / str(DATASET)


def first(home: Path) -> Path:
    return min((home / "episodes").iterdir())


def gone(path: str) -> Callable[[Path, Path], object]:
    return lambda storage, _: shutil.rmtree(storage / path)


def new_folder(path: str) -> Callable[[Path, Path], object]:
    return lambda storage, _: (storage / path).mkdir(parents=True)


def a_changed_manifest(_: Path, home: Path) -> None:
    manifest = first(home) / EPISODE_FILE
    manifest.write_text(manifest.read_text().replace('"rows": 5', '"rows": 6') + " ")


def a_changed_export(storage: Path, _: Path) -> None:
    (storage / "models" / str(MODEL) / "exports" / "torch" / "model.pt").write_bytes(b"weighty")


def an_older_current(_: Path, home: Path) -> None:
    (home / "current").unlink()
    (home / "current").symlink_to("versions/2")


def another_episode(_: Path, home: Path) -> None:
    record(home, 4, SIZES, dataset_id=DATASET)


def another_episode_without_its_video(_: Path, home: Path) -> None:
    facts = record(home, 4, SIZES, dataset_id=DATASET)
    (home / "episodes" / str(facts.episode_id) / "videos" / "top.mp4").unlink()


def strange_things(storage: Path, home: Path) -> None:
    (storage / "junk").write_bytes(bytes(700_000))
    (home / "big" / "deep").mkdir(parents=True)
    (home / "big" / "x.bin").write_bytes(bytes(1_000_000))
    (home / "big" / "deep" / "y.bin").write_bytes(bytes(500_000))
    (storage / "models" / "notes.txt").write_text("mine")
    (storage / "cache").mkdir()
    (storage / "cache" / "frames").write_bytes(b"made again when needed")


def another_dataset(storage: Path, home: Path) -> None:
    shutil.copytree(home, storage / "datasets" / "copy", symlinks=True)


HOME = f"datasets/{DATASET}"
FINDINGS: dict[str, tuple[Callable[[Path, Path], object], list[str]]] = {
    "an episode gone": (
        lambda _, home: shutil.rmtree(first(home)),
        [f"Episode {{first}} of dataset {DATASET} has no files -> {BACK}"],
    ),
    "a manifest changed": (
        a_changed_manifest,
        [f"{HOME}/episodes/{{first}}/episode.json is not what was saved -> {BACK}"],
    ),
    "a video gone": (
        lambda _, home: (first(home) / "videos" / "top.mp4").unlink(),
        [f"{HOME}/episodes/{{first}}/videos/top.mp4 is missing -> {BACK}"],
    ),
    "the version gone": (
        gone(f"{HOME}/versions/3"),
        [f"Version 3 of dataset {DATASET} is not there, or not the current one -> geti-action adopt {{home}}"],
    ),
    "an older version is current": (
        an_older_current,
        [f"Version 3 of dataset {DATASET} is not there, or not the current one -> geti-action adopt {{home}}"],
    ),
    "an export gone": (
        gone(f"models/{MODEL}/exports/torch"),
        [f"models/{MODEL}/exports/torch is missing -> {BACK}"],
    ),
    "an export changed": (
        a_changed_export,
        [f"models/{MODEL}/exports/torch is not what was exported -> {BACK}"],
    ),
    "a job gone": (
        gone(f"jobs/{JOB}"),
        [f"jobs/{JOB} is missing, with the job's curve and log -> {BACK}"],
    ),
    "all of a dataset's files gone": (
        lambda _, home: shutil.rmtree(home),
        [f"Episode .* of dataset {DATASET} has no files -> {BACK}"] * 3
        + [f"Version 3 of dataset {DATASET} is not there, or not the current one -> bring its files back first: .*"],
    ),
    "an episode that was never told and is damaged": (
        another_episode_without_its_video,
        [
            f"The log knows nothing of {HOME}/episodes/{{new}}, which cannot be adopted: videos/top.mp4 is missing "
            f"-> {BACK}, or remove {{home}}/episodes/{{new}}, if nobody needs it"
        ],
    ),
    "an episode that was never told": (
        another_episode,
        [f"The log knows nothing of {HOME}/episodes/{{new}} -> geti-action adopt {{home}}"],
    ),
    "a take that was never told": (
        new_folder(f"{HOME}/takes/strange"),
        [f"No session knows {HOME}/takes/strange -> remove {{home}}/takes/strange, if nobody needs it"],
    ),
    "a dataset that was never told": (
        another_dataset,
        ["The log knows nothing of datasets/copy -> geti-action adopt {storage}/datasets/copy"],
    ),
    "a model and a job that were never told": (
        lambda storage, _: [(storage / kind / str(uuid4())).mkdir() for kind in ("models", "jobs")],
        ["The log knows nothing of models/.* -> remove .*", "The log knows nothing of jobs/.* -> remove .*"],
    ),
    "a restore that was killed": (
        lambda storage, _: shutil.copytree(storage / "models", storage / ".restoring" / "models"),
        [
            "A restore was not finished, or still goes on: .restoring holds 1 of its files "
            "-> repeat geti-action restore, or remove {storage}/.restoring"
        ],
    ),
    "what is nobody's": (
        strange_things,
        [
            r"Nothing of ours is junk \(0.7 MB\) -> remove {storage}/junk, if nobody needs it",
            rf"Nothing of ours is {HOME}/big \(2 files, 1.5 MB\) -> remove {{home}}/big, if nobody needs it",
            r"Nothing of ours is models/notes.txt \(0.0 MB\) -> remove .*",
        ],
    ),
    "what is half-made": (
        lambda _, home: [
            (home / "takes" / ".gone.discarded").mkdir(parents=True),
            (home / "versions" / ".4.staging").mkdir(),
            (home.parent / "half.partial").mkdir(),
        ],
        [],
    ),
}


def test_a_whole_system_has_nothing_to_find(log: Log, storage: Path) -> None:
    told: list[tuple[int, int]] = []
    assert list(check_files(log, storage, lambda done, total: told.append((done, total)))) == []
    assert told == [(done, 6) for done in range(1, 7)]  # three episodes, a dataset, a model, a job


def test_each_disagreement_is_found_and_told_with_what_to_do(log: Log, storage: Path, home: Path) -> None:

    there = {path.name for path in (home / "episodes").iterdir()}
    whole = storage.with_name("whole")
    shutil.copytree(storage, whole, symlinks=True)
    for name, (damage, expected) in FINDINGS.items():
        known = {"first": min(there), "home": home, "storage": storage}
        damage(storage, home)
        (new,) = {path.name for path in home.glob("episodes/*")} - there or {""}
        lines = [str(finding) for finding in check_files(log, storage)]
        assert len(lines) == len(expected), (name, lines)
        for line, pattern in zip(lines, expected, strict=True):
            assert re.fullmatch(pattern.format(**known, new=new), line), (name, line)
        shutil.rmtree(storage)
        shutil.copytree(whole, storage, symlinks=True)
    assert list(check_files(log, storage)) == []


def test_a_dataset_that_cannot_be_loaded_does_not_end_the_search(log: Log, storage: Path) -> None:
    """An event of it is lost, which the check of the log tells."""
    lost = tables.events.c.originator_id == DATASET, tables.events.c.originator_version == 2
    with log.engine.begin() as connection:
        connection.execute(tables.events.delete().where(*lost))
    shutil.rmtree(storage / "jobs")
    assert len(list(check_files(log, storage))) == 1


def test_what_was_deleted_keeps_its_files(log: Log, storage: Path) -> None:
    dataset = log.load(Dataset, DATASET)
    dataset.delete(AT)
    asyncio.run(log.append(dataset))
    assert list(check_files(log, storage)) == []


def test_what_a_session_is_still_at_is_no_finding(log: Log, storage: Path, home: Path) -> None:
    """It seals the episode first, tells the log then, and publishes last."""
    dataset = log.load(Dataset, DATASET)
    environment = log.load(Environment, dataset.environment_id)
    command = OpenRecording(environment_id=environment.id, dataset_id=DATASET)
    session = Recording.open(uuid4(), dataset.project_id, command, environment, "push", AT)
    session.ready(uuid4(), "node-1", AT)
    facts = record(home, 4, SIZES, dataset_id=DATASET)
    session.start(facts.episode_id, StartEpisode(), AT)
    asyncio.run(log.append(session))
    (home / "takes" / str(facts.episode_id)).mkdir(parents=True)
    assert list(check_files(log, storage)) == []
    dataset.add_episode(facts, AT)
    asyncio.run(log.append(dataset))
    assert list(check_files(log, storage)) == []
    session.interrupt(facts.episode_id, 0, "killed", AT)
    session.close("on request", AT)
    asyncio.run(log.append(session))
    assert [finding.what for finding in check_files(log, storage)] == [
        f"Version 4 of dataset {DATASET} is not there, or not the current one"
    ]


def test_a_byte_that_has_changed_in_a_video_is_found_by_its_sum(log: Log, storage: Path, home: Path) -> None:
    told: list[tuple[int, int]] = []
    assert list(check_hashes(log, storage, lambda done, total: told.append((done, total)))) == []
    assert len(told) == 3
    assert told[-1][0] == told[-1][1] > 0
    video = first(home) / "videos" / "top.mp4"
    content = video.read_bytes()
    video.unlink()  # one of its names is a version's
    video.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert list(check_files(log, storage)) == []
    (finding,) = check_hashes(log, storage)
    assert str(finding) == f"{video.relative_to(storage)} is not what was saved -> {BACK}"
