"""The meta folder of a dataset version, as lerobot 0.6 reads it: info.json, stats.json, tasks and episodes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from actors.capture.durable import fsync_path, write_json
from actors.capture.manifest import IMAGES, EpisodeManifest, EpisodeMeta
from actors.capture.stats import Stats, aggregate, constant, shifted
from actors.capture.tables import ACTION, STATE

FILES_A_CHUNK = 1000
FILE = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA_PATH = f"data/{FILE}.parquet"
VIDEO_PATH = f"videos/{{video_key}}/{FILE}.mp4"
EPISODES_FILE = f"meta/episodes/{FILE}.parquet".format(chunk_index=0, file_index=0)
INFO_FILE = "meta/info.json"
TASKS_FILE = "meta/tasks.parquet"
HOLD_NOTE = "Rows between two control steps hold the last state observed and the last action sent."


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What all episodes of a dataset share. ``control_hz`` is the rate at which state and action really change."""

    fps: int
    robot_type: str
    joint_names: tuple[str, ...]
    control_hz: float

    @classmethod
    def of(cls, episode: EpisodeMeta) -> "DatasetInfo":
        """That of the dataset of which the episode is the first."""
        return cls(episode.fps, episode.robot_type, episode.joint_names, episode.control_hz)


@dataclass(frozen=True, slots=True)
class Placed:
    """An episode at its place in a version: its index, the index of its first row in the whole, its task's index."""

    manifest: EpisodeManifest
    index: int
    start: int
    task_index: int


def file_position(episode_index: int) -> dict[str, int]:
    """Every episode has files of its own: which chunk, which file in it."""
    return {"chunk_index": episode_index // FILES_A_CHUNK, "file_index": episode_index % FILES_A_CHUNK}


def write_meta(version_folder: Path, placed: Sequence[Placed], info: DatasetInfo) -> None:
    """Write and flush all meta files of a version."""
    stats = [_episode_stats(one) for one in placed]
    tasks = list(dict.fromkeys(one.manifest.meta.task for one in placed))
    write_json(version_folder / INFO_FILE, _info(placed, info, len(tasks)))
    write_json(version_folder / "meta/stats.json", aggregate(stats))
    _write_table(version_folder / TASKS_FILE, _tasks(tasks))
    if placed:
        rows = [_episode_row(one) | _flat(one_stats) for one, one_stats in zip(placed, stats, strict=True)]
        _write_table(version_folder / EPISODES_FILE, pa.Table.from_pylist(rows))


def read_episodes(version_folder: Path) -> list[dict[str, Any]]:
    """One row an episode, in order, without the statistics; empty for a version without episodes, or for none."""
    path = version_folder / EPISODES_FILE
    if not path.exists():
        return []
    columns = [name for name in pq.read_schema(path).names if not name.startswith("stats/")]
    rows: list[dict[str, Any]] = pq.read_table(path, columns=columns).to_pylist()
    return rows


def _write_table(path: Path, table: pa.Table) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)
    fsync_path(path)


def _info(placed: Sequence[Placed], info: DatasetInfo, tasks: int) -> dict[str, Any]:
    return {
        "codebase_version": "v3.0",
        "robot_type": info.robot_type,
        "total_episodes": len(placed),
        "total_frames": sum(one.manifest.rows for one in placed),
        "total_tasks": tasks,
        "chunks_size": FILES_A_CHUNK,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": info.fps,
        "splits": {"train": f"0:{len(placed)}"},
        "data_path": DATA_PATH,
        "video_path": VIDEO_PATH,
        "features": _features(placed, info),
    }


def _features(placed: Sequence[Placed], info: DatasetInfo) -> dict[str, Any]:
    held = {"control_hz": info.control_hz, "between_control_steps": "hold", "note": HOLD_NOTE}
    vector = {"dtype": "float32", "shape": [len(info.joint_names)], "names": list(info.joint_names), "info": held}
    index = {"dtype": "int64", "shape": [1], "names": None}
    return {
        STATE: vector,
        ACTION: vector,
        **(_videos(placed[0].manifest) if placed else {}),
        "timestamp": {**index, "dtype": "float32"},
        **dict.fromkeys(("frame_index", "episode_index", "index", "task_index"), index),
    }


def _videos(manifest: EpisodeManifest) -> dict[str, Any]:
    return {
        IMAGES + key: {
            "dtype": "video",
            "shape": [camera.height, camera.width, 3],
            "names": ["height", "width", "channels"],
            "info": {
                "video.height": camera.height,
                "video.width": camera.width,
                "video.codec": camera.codec.value,
                "video.pix_fmt": "yuv420p",
                "video.fps": manifest.meta.fps,
                "video.channels": 3,
                "video.g": camera.gop,
                "is_depth_map": False,
                "has_audio": False,
            },
        }
        for key, camera in manifest.cameras.items()
    }


def _tasks(tasks: list[str]) -> pa.Table:
    """LeRobot reads tasks as a pandas frame indexed by the task; this is how pandas notes that in a parquet file."""
    table = pa.table({"task_index": pa.array(range(len(tasks)), pa.int64()), "task": pa.array(tasks, pa.string())})
    columns = [_pandas_column("task_index", "int64", "int64"), _pandas_column("task", "unicode", "object")]
    note = {"index_columns": ["task"], "column_indexes": [], "columns": columns, "pandas_version": "2.0.0"}
    return table.replace_schema_metadata({"pandas": json.dumps(note)})


def _pandas_column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }


def _episode_row(one: Placed) -> dict[str, Any]:
    """LeRobot's columns, and two of ours: which episode it is, and its task's index (both to reuse its data file)."""
    rows = one.manifest.rows
    videos: dict[str, Any] = {}
    for key in one.manifest.cameras:
        video = {**file_position(one.index), "from_timestamp": 0.0, "to_timestamp": one.manifest.duration_s}
        videos |= {f"videos/{IMAGES}{key}/{name}": value for name, value in video.items()}
    return {
        "episode_index": one.index,
        "tasks": [one.manifest.meta.task],
        "length": rows,
        **{f"data/{name}": value for name, value in file_position(one.index).items()},
        "dataset_from_index": one.start,
        "dataset_to_index": one.start + rows,
        **videos,
        "meta/episodes/chunk_index": 0,
        "meta/episodes/file_index": 0,
        "episode_id": str(one.manifest.meta.episode_id),
        "task_index": one.task_index,
    }


def _episode_stats(one: Placed) -> dict[str, Stats]:
    """The episode's own statistics, and those of the columns that follow from its place."""
    stats = one.manifest.stats
    return {
        **stats,
        "episode_index": constant(one.index, one.manifest.rows),
        "index": shifted(stats["frame_index"], one.start),
        "task_index": constant(one.task_index, one.manifest.rows),
    }


def _flat(stats: dict[str, Stats]) -> dict[str, Any]:
    return {f"stats/{feature}/{name}": value for feature, part in stats.items() for name, value in part.items()}
