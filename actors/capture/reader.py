"""What queries want to know of a dataset's versions, read from the files."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from actors.capture.lerobot_meta import DATA_PATH, INFO_FILE, VIDEO_PATH, read_episodes
from actors.capture.lerobot_v3 import current_version
from actors.capture.tables import ACTION, STATE
from domain.errors import NotFound

VIDEO = re.compile(r"videos/[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}/chunk-\d{3,9}/file-\d{3,9}\.mp4", re.ASCII)
EPISODES_VIDEO = re.compile(
    r"episodes/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/videos/[A-Za-z0-9_-]{1,64}\.mp4", re.ASCII
)
NO_VIDEO = (
    "The newest version of this dataset has no such video. Its videos are named as in LeRobot's folder: "
    "videos/observation.images.<camera>/chunk-000/file-000.mp4, one file an episode. GET of an episode names its own."
)


@dataclass(frozen=True, slots=True)
class VideoSegment:
    """Where an episode is in a video: seconds in a file, named relative to the dataset's folder."""

    path: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class EpisodeEntry:
    """An episode in a version. ``videos`` by feature (``observation.images.<key>``)."""

    episode_index: int
    episode_id: str
    length: int
    tasks: tuple[str, ...]
    videos: dict[str, VideoSegment]
    data_path: str


@dataclass(frozen=True, slots=True)
class EpisodeRows:
    """An episode's rows: (rows, n) float32 states and actions, (rows,) float32 seconds since row 0."""

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    timestamps: NDArray[np.float32]


def versions(dataset_folder: Path) -> list[int]:
    """All published versions, oldest first."""
    return sorted(int(path.name) for path in dataset_folder.glob("versions/[0-9]*"))


def made(dataset_folder: Path) -> dict[int, tuple[int | None, datetime]]:
    """How many episodes each published version holds, and since when its files are there; None if they are damaged."""
    return {number: _made(dataset_folder / "versions" / str(number)) for number in versions(dataset_folder)}


def _made(version: Path) -> tuple[int | None, datetime]:
    since = datetime.fromtimestamp(version.stat().st_mtime, UTC)
    try:
        return int(json.loads((version / INFO_FILE).read_bytes())["total_episodes"]), since
    except (OSError, ValueError, LookupError, TypeError):
        return None, since


def newest(dataset_folder: Path) -> Path:
    """The folder of the newest version. Who holds on to it sees that version whole, whatever is published meanwhile.

    Raises NotFound before the first."""
    number = current_version(dataset_folder)
    if number is None:
        raise NotFound("This dataset has no files yet: save an episode into it first.", code="version_not_found")
    return dataset_folder / "versions" / str(number)


def video_file(dataset_folder: Path, name: str) -> Path:
    """A video of the newest version by its path in LeRobot's folder, or one of an episode, which stays the same
    whatever becomes of the others: ``episodes/<id>/videos/<key>.mp4``.

    Raises NotFound, also for what is no video and what lies elsewhere: both folders are made without symlinks, so that
    ``..`` and a link are the ways out of them."""
    is_episodes = EPISODES_VIDEO.fullmatch(name) is not None
    path = (dataset_folder if is_episodes else newest(dataset_folder)) / name
    steps = [path, *path.parents][: name.count("/") + 1]
    if not (is_episodes or VIDEO.fullmatch(name)) or any(step.is_symlink() for step in steps) or not path.is_file():
        raise NotFound(NO_VIDEO, code="video_not_found")
    return path


def list_episodes(dataset_folder: Path, version: int | None = None) -> list[EpisodeEntry]:
    """The episodes of a version (default the current one; none before the first). Raises NotFound."""
    number = current_version(dataset_folder) if version is None else version
    if number is None:
        return []
    folder = dataset_folder / "versions" / str(number)
    if not folder.is_dir():
        raise NotFound.of("version", number)
    return [_entry(row, f"versions/{number}/") for row in read_episodes(folder)]


def read_episode(dataset_folder: Path, episode_index: int, version: int | None = None) -> EpisodeRows:
    """States, actions and times of one episode. Raises NotFound."""
    entries = list_episodes(dataset_folder, version)
    if not 0 <= episode_index < len(entries):
        raise NotFound.of("episode", episode_index)
    table = pq.read_table(dataset_folder / entries[episode_index].data_path, columns=[STATE, ACTION, "timestamp"])
    return EpisodeRows(_matrix(table[STATE]), _matrix(table[ACTION]), table["timestamp"].to_numpy().astype(np.float32))


def _entry(row: dict[str, Any], prefix: str) -> EpisodeEntry:
    features = [name.split("/")[1] for name in row if name.startswith("videos/") and name.endswith("/file_index")]
    data = DATA_PATH.format(chunk_index=row["data/chunk_index"], file_index=row["data/file_index"])
    return EpisodeEntry(
        row["episode_index"],
        row["episode_id"],
        row["length"],
        tuple(row["tasks"]),
        {feature: _segment(row, feature, prefix) for feature in features},
        prefix + data,
    )


def _segment(row: dict[str, Any], feature: str, prefix: str) -> VideoSegment:
    part = {name: row[f"videos/{feature}/{name}"] for name in ("chunk_index", "file_index")}
    path = prefix + VIDEO_PATH.format(video_key=feature, **part)
    return VideoSegment(path, row[f"videos/{feature}/from_timestamp"], row[f"videos/{feature}/to_timestamp"])


def _matrix(column: pa.ChunkedArray) -> NDArray[np.float32]:
    values: Sequence[Any] = column.to_pylist()
    return np.array(values, np.float32).reshape(len(values), -1)
