"""Are a dataset's files what they were when they were saved? Reads all of them, and writes nothing."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from actors.capture.episode import ROWS_FILE, episode_folder
from actors.capture.lerobot_meta import DATA_PATH, VIDEO_PATH, Placed, file_position, read_episodes
from actors.capture.lerobot_v3 import current_version, data_rows
from actors.capture.manifest import (
    EPISODE_FILE,
    IMAGES,
    EpisodeManifest,
    sha256,
    times_of,
    videos_of,
    wrong_files,
)
from actors.capture.tables import ACTION, STATE
from actors.capture.video import whole_pictures
from domain.episode import EpisodeFacts

MOST_TOLD = 20
"""So many problems of one thing are told: the first ones say what happened."""

Told = Callable[[int, int], None]
"""Is told how many rows were looked at, and how many there are."""


@dataclass(slots=True)
class Verdict:
    """Of one episode. ``problems`` are words for a person, none if it is what was saved; ``rows`` of it are whole from
    row 0 on in every part that an episode cannot be without; ``damaged`` are the files that are not what was saved;
    ``manifest`` what it says of itself, if that can be read."""

    problems: list[str] = field(default_factory=list)
    rows: int = 0
    damaged: set[str] = field(default_factory=set)
    manifest: EpisodeManifest | None = None


def verify_episode(folder: Path, facts: EpisodeFacts) -> Verdict:
    """Its files against its manifest, its manifest against what the log knows of it, and what they hold: each video
    decodes to as many pictures as there are rows, and each table has as many rows."""
    verdict = Verdict()
    manifest = verdict.manifest = _manifest(folder, facts, verdict)
    if manifest is None:
        return verdict
    needed = {ROWS_FILE, *videos_of(manifest).values()}
    unknown = dict.fromkeys(needed - manifest.files.keys(), "is not in its manifest")
    for name, what in sorted((dict(wrong_files(manifest, folder)) | unknown).items()):
        verdict.damaged.add(name)
        verdict.problems.append(f"{name} {what}")
    verdict.rows = min([_whole_rows(folder, verdict), *(_pictures(folder, verdict))])
    return verdict


def _manifest(folder: Path, facts: EpisodeFacts, verdict: Verdict) -> EpisodeManifest | None:
    try:
        content = (folder / EPISODE_FILE).read_bytes()
        manifest = EpisodeManifest.model_validate_json(content)
    except OSError:
        verdict.problems.append(f"{EPISODE_FILE} is missing or cannot be read")
        return None
    except ValidationError:
        verdict.problems.append(f"{EPISODE_FILE} cannot be understood")
        return None
    if sha256(folder / EPISODE_FILE) != facts.sha256:
        verdict.damaged.add(EPISODE_FILE)
        verdict.problems.append(f"{EPISODE_FILE} is not what was saved")
    known = (manifest.meta.episode_id, manifest.rows, manifest.meta.fps)
    if known != (facts.episode_id, facts.rows, facts.fps):
        verdict.problems.append(f"{EPISODE_FILE} is that of another episode")
        return None
    return manifest


def _whole_rows(folder: Path, verdict: Verdict) -> int:
    """Of the robot's table, all or none: nobody can tell which values of a changed one are right."""
    manifest = verdict.manifest
    assert manifest is not None
    for name in (ROWS_FILE, *times_of(manifest).values()):
        if name not in verdict.damaged and (found := _table_rows(folder / name)) != manifest.rows:
            verdict.damaged.add(name)
            verdict.problems.append(f"{name} has {found} rows, not {manifest.rows}")
    return 0 if ROWS_FILE in verdict.damaged else manifest.rows


def _table_rows(path: Path) -> int:
    try:
        return int(pq.read_table(path).num_rows)
    except (OSError, pa.ArrowException):
        return 0


def _pictures(folder: Path, verdict: Verdict) -> Iterator[int]:
    manifest = verdict.manifest
    assert manifest is not None
    for name in videos_of(manifest).values():
        found = _video_rows(folder / name, manifest.meta.fps)
        if found != manifest.rows:
            verdict.damaged.add(name)
            verdict.problems.append(f"{name} shows {found} pictures without an error, not {manifest.rows}")
        yield min(found, manifest.rows)


def _video_rows(path: Path, fps: int) -> int:
    try:
        return whole_pictures(path, fps)
    except OSError:
        return 0


# versions


def verify_version(dataset_folder: Path, version: int, episodes: Sequence[EpisodeFacts]) -> list[str]:
    """The newest version against the log, which says that it is ``version`` and holds ``episodes``: what is wrong with
    it, in words."""
    folder, problems = dataset_folder / "versions" / str(version), list[str]()
    with _told(problems, "current"):
        if (current := current_version(dataset_folder)) != version:
            problems.append(f"the current version is {current}, not {version}")
    if not folder.is_dir():
        return [*problems, f"version {version} is not there"]
    with _told(problems, "meta/episodes"):
        problems += _listed_otherwise(read_episodes(folder), episodes)
    with _told(problems, "meta/info.json"):
        info = orjson.loads((folder / "meta/info.json").read_bytes())
        held = (info["total_episodes"], info["total_frames"])
        if held != (len(episodes), sum(each.rows for each in episodes)):
            problems.append("meta/info.json counts {} episodes and {} rows".format(*held))
    for name in ("meta/stats.json", "meta/tasks.parquet"):
        if not (folder / name).is_file():
            problems.append(f"{name} is missing")
    start, tasks = 0, list(dict.fromkeys(each.task for each in episodes))
    for index, each in enumerate(episodes):
        episode = episode_folder(dataset_folder, each.episode_id)
        problems += [
            *_other_data(folder, episode, index, start, tasks.index(each.task)),
            *_other_videos(folder, episode, index),
        ]
        start += each.rows
    return problems[:MOST_TOLD]


@contextmanager
def _told(problems: list[str], name: str) -> Iterator[None]:
    """What cannot be read inside is a problem of the file ``name``."""
    try:
        yield
    except (OSError, pa.ArrowException, ValueError, LookupError, TypeError):
        problems.append(f"{name} is missing or cannot be read")


def _listed_otherwise(rows: list[dict[str, Any]], episodes: Sequence[EpisodeFacts]) -> Iterator[str]:
    held = [(row["episode_id"], row["length"], row["tasks"]) for row in rows]
    if held != [(str(each.episode_id), each.rows, [each.task]) for each in episodes]:
        yield "meta/episodes lists other episodes, lengths or tasks than the log"


def _other_data(version: Path, episode: Path, index: int, start: int, task_index: int) -> list[str]:
    """An episode's rows in the version against those in its own folder, where these can be read."""
    problems, data = list[str](), DATA_PATH.format(**file_position(index))
    try:
        rows = pq.read_table(episode / ROWS_FILE, columns=[STATE, ACTION])
        manifest = EpisodeManifest.model_validate_json((episode / EPISODE_FILE).read_bytes())
    except (OSError, pa.ArrowException, ValidationError):
        return problems
    with _told(problems, data):
        if not pq.read_table(version / data).equals(data_rows(rows, Placed(manifest, index, start, task_index))):
            problems.append(f"{data} holds other rows than the episode")
    return problems


def _other_videos(version: Path, episode: Path, index: int) -> list[str]:
    problems = list[str]()
    for video in sorted((episode / "videos").glob("*.mp4")):
        name = VIDEO_PATH.format(video_key=IMAGES + video.stem, **file_position(index))
        with _told(problems, name):
            if not (video.samefile(version / name) or sha256(video) == sha256(version / name)):
                problems.append(f"{name} is not the video of the episode")
    return problems
