"""All that it takes to play one episode. It is read from the episode's own folder, which never changes: versions come
and go while somebody watches."""

from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from actors.capture.episode import ROWS_FILE, episode_folder
from actors.capture.manifest import IMAGES, EpisodeManifest, as_saved, read_manifest, times_of, unreadable, video_of
from actors.capture.rows import PART
from actors.capture.tables import ACTION, STATE

MARKS = ("dropped", "stale")


def playback(dataset_folder: Path, episode_id: UUID) -> dict[str, Any]:
    """As ``shapes.EpisodeInFull`` has it; large parts are JSON already. Raises NotFound if the episode's files are
    gone, Invalid if they are damaged."""
    folder = episode_folder(dataset_folder, episode_id)
    manifest = read_manifest(folder)
    rows = _table(folder, ROWS_FILE, STATE, ACTION)
    times = {key: _table(folder, name) for key, name in times_of(manifest).items()}
    return {
        "action_keys": list(manifest.meta.joint_names),
        "actions": _values(rows[ACTION]),
        "states": _values(rows[STATE]),
        "videos": {IMAGES + key: _video(manifest, key) for key in manifest.cameras},
        "marked": {part: _marked(log) for part, log in {PART: rows, **times}.items()},
    }


def _table(folder: Path, name: str, *columns: str) -> pa.Table:
    with as_saved(folder, name):
        try:
            return pq.read_table(folder / name).select([*columns, *MARKS])
        except (pa.ArrowException, KeyError, OSError) as error:
            if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) is not None:
                raise  # the disk is to blame, or away
            raise unreadable(folder, name) from error


def _values(column: pa.ChunkedArray) -> orjson.Fragment:
    """Rows of values, each as short as tells it from the next float32."""
    flat = column.combine_chunks().flatten().to_numpy()
    return orjson.Fragment(orjson.dumps(flat.reshape(len(column), -1), option=orjson.OPT_SERIALIZE_NUMPY))


def _video(manifest: EpisodeManifest, key: str) -> dict[str, Any]:
    path = f"episodes/{manifest.meta.episode_id}/{video_of(key)}"
    return {"start": 0.0, "end": manifest.duration_s, "path": path}


def _marked(log: pa.Table) -> dict[str, list[int]]:
    return {mark: np.flatnonzero(log[mark].to_numpy()).tolist() for mark in MARKS}
