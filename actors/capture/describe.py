"""Checks an episode's files and says what they hold."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from actors.capture.manifest import IMAGES, CameraFacts, EpisodeManifest, EpisodeMeta, sha256
from actors.capture.report import summary
from actors.capture.rowlog import Row
from actors.capture.rows import PART
from actors.capture.stats import Stats, image_stats, vector_stats
from actors.capture.tables import ACTION, STATE, vectors
from actors.capture.video import keyframes, last_row, picture_size
from domain.errors import Invalid


def describe(
    folder: Path, meta: EpisodeMeta, logs: Mapping[str, Sequence[Row]], *, interrupted: bool
) -> EpisodeManifest:
    """The manifest of the files in ``folder`` (``videos/<key>.mp4`` among them) with the row logs of each part (but
    for cameras whose log is lost).

    Raises Invalid if a video does not decode to its last row."""
    rows = len(logs[PART])
    videos = {key: folder / "videos" / f"{key}.mp4" for key in meta.cameras}
    for video in videos.values():
        if last_row(video, meta.fps) != rows - 1:
            raise Invalid("A camera's video cannot be decoded to its end. Keep the episode as interrupted.")
    parts = [summary(part, log) for part, log in logs.items()]
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return EpisodeManifest(
        meta=meta,
        rows=rows,
        duration_s=rows / meta.fps,
        measured_fps=min([float(meta.fps), *(part.measured_fps for part in parts if part.part in videos)]),
        dropped=_rows_with("dropped", logs.values()),
        stale=_rows_with("stale", logs.values()),
        repeated=_rows_with("repeated", [logs[key] for key in videos if key in logs]),
        interrupted=interrupted,
        cameras={key: _camera_facts(video, meta) for key, video in videos.items()},
        parts=parts,
        stats=_stats(logs[PART], videos, meta.fps),
        files={str(path.relative_to(folder)): sha256(path) for path in files},
        size_bytes=sum(path.stat().st_size for path in files),
    )


def _camera_facts(video: Path, meta: EpisodeMeta) -> CameraFacts:
    width, height = picture_size(video)
    quality = meta.quality
    return CameraFacts(width=width, height=height, gop=quality.gop_rows(meta.fps), codec=quality.codec)


def _rows_with(flag: str, logs: Iterable[Sequence[Row]]) -> int:
    """In how many rows the flag is set for any part."""
    return sum(any(row[flag] for row in rows) for rows in zip(*logs, strict=True))


def _stats(log: Sequence[Row], videos: Mapping[str, Path], fps: int) -> dict[str, Stats]:
    rows = np.arange(len(log))
    return {
        STATE: vector_stats(vectors(log, "state")),
        ACTION: vector_stats(vectors(log, "action")),
        **{IMAGES + key: image_stats(keyframes(video)) for key, video in videos.items()},
        "timestamp": vector_stats((rows / fps).astype(np.float32)),
        "frame_index": vector_stats(rows),
    }
