"""A dataset version: a projection of episodes into a folder that LeRobot (layout v3.0) opens.

``versions/<n>`` holds hard links of the episodes' videos, one data file an episode and meta files; ``current`` names
the newest version. Data, meta and info.json cannot be renamed together, so a version is written beside, renamed once
and never changed.
"""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from uuid import UUID

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from actors.capture.durable import exclusive, fsync_path, link_or_copy, staged, storage_errors
from actors.capture.episode import HIDDEN, LOCK_FILE, ROWS_FILE, episode_folder
from actors.capture.lerobot_meta import (
    DATA_PATH,
    VIDEO_PATH,
    DatasetInfo,
    Placed,
    file_position,
    read_episodes,
    write_meta,
)
from actors.capture.manifest import IMAGES, EpisodeManifest, read_manifest
from actors.capture.tables import ACTION, STATE
from domain.errors import Conflict, Invalid

NO_TASKS: Mapping[UUID, str] = {}

logger = logging.getLogger(__name__)


def publish(
    dataset_folder: Path,
    version: int,
    episodes: Sequence[UUID],
    info: DatasetInfo,
    tasks: Mapping[UUID, str] = NO_TASKS,
    fresh_from: int = 0,
) -> Path:
    """Make version ``version`` hold exactly ``episodes``, in this order, and make it ``current`` unless a newer one is.
    ``tasks`` are those that were given to episodes since they were recorded; files of versions before ``fresh_from``
    are not used again, because they may be damaged. Repeatable; killed at any point, ``current`` names a whole version
    and the call can be repeated.

    Returns the version's folder. Raises Conflict if that version holds other episodes, Invalid if an episode does not
    fit ``info`` or the others, NotFound for an unknown episode, StorageFull, Unavailable."""
    target = dataset_folder / "versions" / str(version)
    with storage_errors("publish the dataset"), exclusive(dataset_folder / LOCK_FILE):
        if not target.exists():
            manifests = [read_manifest(episode_folder(dataset_folder, episode)) for episode in episodes]
            refuse_mix(manifests, info)
            _build(dataset_folder, target, _place([_renamed(each, tasks) for each in manifests]), info, fresh_from)
        elif [row["episode_id"] for row in read_episodes(target)] != [str(episode) for episode in episodes]:
            raise Conflict(f"Version {version} of this dataset holds other episodes. Publish under the next number.")
        _switch_current(dataset_folder, version)
    return target


def current_version(dataset_folder: Path) -> int | None:
    """The number of the newest version; None before the first."""
    try:
        return int((dataset_folder / "current").readlink().name)
    except FileNotFoundError:
        return None


def refuse_mix(manifests: Sequence[EpisodeManifest], info: DatasetInfo) -> None:
    """A dataset has one shape: mixing rates, joints or picture sizes would corrupt it for every reader. Raises Invalid,
    which names the first episode of another one."""
    for manifest in manifests:
        meta = manifest.meta
        if (meta.fps, meta.joint_names) != (info.fps, info.joint_names):
            raise Invalid(
                f"Episode {meta.episode_id} has {meta.fps} fps and joints {', '.join(meta.joint_names)}; the dataset "
                f"has {info.fps} fps and {', '.join(info.joint_names)}. Record it into a dataset of its own."
            )
        if _sizes(manifest) != _sizes(manifests[0]):
            raise Invalid(
                f"Episode {meta.episode_id} has cameras {_sizes(manifest)}; the dataset has {_sizes(manifests[0])}. "
                "Record it into a dataset of its own."
            )


def _sizes(manifest: EpisodeManifest) -> dict[str, str]:
    return {key: f"{camera.width}x{camera.height}" for key, camera in sorted(manifest.cameras.items())}


def _renamed(manifest: EpisodeManifest, tasks: Mapping[UUID, str]) -> EpisodeManifest:
    task = tasks.get(manifest.meta.episode_id, manifest.meta.task)
    return manifest.model_copy(update={"meta": manifest.meta.model_copy(update={"task": task})})


def _place(manifests: Sequence[EpisodeManifest]) -> list[Placed]:
    """Give every episode its index, its first row in the whole and its task's index (tasks in order of appearance)."""
    tasks = list(dict.fromkeys(manifest.meta.task for manifest in manifests))
    starts = accumulate((manifest.rows for manifest in manifests), initial=0)
    return [
        Placed(manifest, index, start, tasks.index(manifest.meta.task))
        for index, (manifest, start) in enumerate(zip(manifests, starts, strict=False))
    ]


def _build(dataset_folder: Path, target: Path, placed: Sequence[Placed], info: DatasetInfo, fresh_from: int) -> None:
    serves_again = (current_version(dataset_folder) or 0) >= fresh_from
    previous = _Previous.of(dataset_folder) if serves_again else _Previous(dataset_folder, {})
    with staged(target) as staging:
        for one in placed:
            _add_videos(dataset_folder, staging, one)
            _add_data(dataset_folder, staging, one, previous.data_file(one))
        write_meta(staging, placed, info)


@dataclass(frozen=True, slots=True)
class _Previous:
    """The version before: its data files serve again for every episode that keeps its place."""

    folder: Path
    places: dict[str, tuple[int, int, int]]

    @classmethod
    def of(cls, dataset_folder: Path) -> "_Previous":
        folder = (dataset_folder / "current").resolve()
        columns = ("episode_index", "dataset_from_index", "task_index")
        try:
            rows = read_episodes(folder)
        except (OSError, pa.ArrowException) as error:  # damaged: nothing of it serves again, all is written anew
            logger.warning("Version %s of dataset %s cannot be read: %s", folder.name, dataset_folder.name, error)
            rows = []
        return cls(folder, {row["episode_id"]: (row[columns[0]], row[columns[1]], row[columns[2]]) for row in rows})

    def data_file(self, one: Placed) -> Path | None:
        if self.places.get(str(one.manifest.meta.episode_id)) != (one.index, one.start, one.task_index):
            return None
        file = self.folder / DATA_PATH.format(**file_position(one.index))
        return file if file.is_file() else None


def _add_videos(dataset_folder: Path, version_folder: Path, one: Placed) -> None:
    videos = episode_folder(dataset_folder, one.manifest.meta.episode_id) / "videos"
    for key in one.manifest.cameras:
        place = VIDEO_PATH.format(video_key=IMAGES + key, **file_position(one.index))
        link_or_copy(videos / f"{key}.mp4", version_folder / place)


def _add_data(dataset_folder: Path, version_folder: Path, one: Placed, same: Path | None) -> None:
    path = version_folder / DATA_PATH.format(**file_position(one.index))
    if same is not None:
        link_or_copy(same, path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pq.read_table(
        episode_folder(dataset_folder, one.manifest.meta.episode_id) / ROWS_FILE,
        columns=[STATE, ACTION],
    )
    pq.write_table(data_rows(rows, one), path)
    fsync_path(path)


def data_rows(rows: pa.Table, one: Placed) -> pa.Table:
    """An episode's rows in LeRobot's columns. LeRobot wants a vector of one as a plain number."""
    frame = np.arange(len(rows), dtype=np.int64)
    columns = {name: rows[name] for name in (STATE, ACTION)}
    if len(one.manifest.meta.joint_names) == 1:
        columns = {name: column.combine_chunks().flatten() for name, column in columns.items()}
    return pa.table(
        {
            **columns,
            "timestamp": (frame / one.manifest.meta.fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full_like(frame, one.index),
            "index": frame + one.start,
            "task_index": np.full_like(frame, one.task_index),
        }
    )


def _switch_current(dataset_folder: Path, version: int) -> None:
    if (current_version(dataset_folder) or 0) >= version:
        return
    fresh = dataset_folder / f"{HIDDEN}current"
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(f"versions/{version}")
    os.replace(fresh, dataset_folder / "current")  # noqa: PTH105 - a symlink is replaced, not what it names
    fsync_path(dataset_folder)
