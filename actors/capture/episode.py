"""An episode's folder: ``takes/<id>`` while it is recorded, ``episodes/<id>`` and immutable once it is sealed.

takes/<id>/     take.json  robot.jsonl  cameras/<key>.mp4 (fragments)  cameras/<key>.jsonl
episodes/<id>/  episode.json  rows.parquet  videos/<key>.mp4  times/<key>.parquet
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from actors.capture import rows as robot
from actors.capture import take as camera
from actors.capture.describe import describe
from actors.capture.durable import exclusive, fsync_path, staged, storage_errors, write_bytes
from actors.capture.manifest import (
    EPISODE_FILE,
    TAKE_FILE,
    EpisodeMeta,
    read_facts,
)
from actors.capture.report import TakeReport
from actors.capture.rowlog import Row, read_rows
from actors.capture.tables import write_log
from actors.capture.video import cut, whole_rows
from domain.episode import EpisodeFacts
from domain.errors import Conflict, Invalid, NotFound

ROWS_FILE = "rows.parquet"
LOCK_FILE = ".lock"
HIDDEN = "."  # names that begin so are half-made or half-deleted, never anything to keep


def open_take(dataset_folder: Path, meta: EpisodeMeta) -> Path:
    """Make the folder into which an episode's takes write, and note in it what it is. Repeatable.

    Raises StorageFull or Unavailable."""
    folder = dataset_folder / "takes" / str(meta.episode_id)
    with storage_errors("start an episode"):
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(folder / TAKE_FILE, meta.model_dump_json(indent=1).encode())
        fsync_path(folder.parent)
    return folder


def open_takes(dataset_folder: Path) -> list[Path]:
    """The takes of a dataset that were neither sealed nor discarded: after a restart, the interrupted ones."""
    return sorted(path.parent for path in dataset_folder.glob(f"takes/[!{HIDDEN}]*/{TAKE_FILE}"))


def read_meta(take_folder: Path) -> EpisodeMeta:
    """What was noted when the take began. Raises NotFound."""
    try:
        return EpisodeMeta.model_validate_json((take_folder / TAKE_FILE).read_bytes())
    except FileNotFoundError:
        raise NotFound.of("take", take_folder.name) from None


def episode_folder(dataset_folder: Path, episode_id: UUID) -> Path:
    return dataset_folder / "episodes" / str(episode_id)


def salvage(take_folder: Path) -> int:
    """How many whole rows a take holds, however it ended: as many as its shortest part. Raises NotFound."""
    meta = read_meta(take_folder)
    logs = [robot.log_path(take_folder), *(camera.log_path(take_folder, key) for key in meta.cameras)]
    videos = [camera.video_path(take_folder, key) for key in meta.cameras]
    return min([*(len(read_rows(log)) for log in logs), *(whole_rows(video, meta.fps) for video in videos)])


def seal(
    take_folder: Path, meta: EpisodeMeta, reports: Sequence[TakeReport] = (), rows: int | None = None
) -> EpisodeFacts:
    """Make the immutable episode of a take whose parts have all finished: with the ``reports`` of all of them, or with
    the first ``rows`` rows of an interrupted one (default all that are whole). Repeatable, at any later time too; a
    kill in between leaves the take as it was.

    ``meta`` is what ``open_take`` noted, with success, tags and note filled in. Raises Conflict if the parts do not
    hold the same rows or they break strict limits, Invalid if there are none or a video does not decode, NotFound,
    StorageFull, Unavailable."""
    dataset_folder = take_folder.parent.parent
    target = episode_folder(dataset_folder, meta.episode_id)
    with storage_errors("save the episode"), exclusive(dataset_folder / LOCK_FILE):
        if not target.exists():
            length = _agreed_rows(take_folder, meta, reports, rows)
            _build(take_folder, target, meta, length, interrupted=not reports)
    discard(take_folder)
    return read_facts(target)


def discard(take_folder: Path) -> None:
    """Delete a take; repeatable. It is out of sight at once: half a take must not pass for an interrupted one."""
    gone = take_folder.with_name(f"{HIDDEN}{take_folder.name}.discarded")
    with storage_errors("discard the episode"):
        if take_folder.exists():
            shutil.rmtree(gone, ignore_errors=True)
            take_folder.rename(gone)
        if gone.exists():
            shutil.rmtree(gone)


def _agreed_rows(take_folder: Path, meta: EpisodeMeta, reports: Sequence[TakeReport], rows: int | None) -> int:
    whole = salvage(take_folder)
    if reports:
        rows = reports[0].rows
        parts = sorted(report.part for report in reports)
        if parts != sorted([*meta.cameras, robot.PART]) or any(report.rows != rows for report in reports):
            held = ", ".join(f"{report.part}: {report.rows}" for report in reports)
            raise Conflict(f"The parts of the episode do not hold the same rows ({held}). Keep it as interrupted.")
    rows = whole if rows is None else rows
    if rows < 1:
        raise Invalid("No row of this episode is whole. Discard it.")
    if whole < rows:
        raise Conflict(
            f"Only {whole} of {rows} rows are whole on disk. Keep the episode as interrupted, or discard it."
        )
    return rows


def _build(take_folder: Path, target: Path, meta: EpisodeMeta, rows: int, *, interrupted: bool) -> None:
    logs = _logs(take_folder, meta, rows)
    with staged(target) as staging:
        (staging / "videos").mkdir()
        (staging / "times").mkdir()
        for key in meta.cameras:
            cut(camera.video_path(take_folder, key), staging / "videos" / f"{key}.mp4", rows, meta.fps)
        for part, log in logs.items():
            write_log(log, staging / ROWS_FILE if part == robot.PART else staging / "times" / f"{part}.parquet")
        manifest = describe(staging, meta, logs, interrupted=interrupted)
        if manifest.suspect and meta.limits and meta.limits.strict and not interrupted:
            raise Conflict(f"The episode is not saved: {manifest.suspect}. Keep it as interrupted, or discard it.")
        for name in manifest.files:
            fsync_path(staging / name)
        write_bytes(staging / EPISODE_FILE, manifest.model_dump_json(indent=1).encode())


def _logs(take_folder: Path, meta: EpisodeMeta, rows: int) -> dict[str, list[Row]]:
    """The row logs of all parts, cut to ``rows``."""
    paths = {key: camera.log_path(take_folder, key) for key in meta.cameras} | {robot.PART: robot.log_path(take_folder)}
    return {part: read_rows(path)[:rows] for part, path in paths.items()}
