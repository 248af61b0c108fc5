"""Decoded frames of a dataset as memory-mapped uint8 arrays: every row's picture is read in microseconds, in any order.

Reading a LeRobot dataset in random order seeks and decodes for each sample; decoding each video once from front to back
and keeping the pixels feeds a CPU training some thirty times faster. A cache is named by what the dataset holds (not by
where it lies), so all jobs on one version share it, and by the size of its pictures.
"""

import fcntl
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.dataset as parquet
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

FREE_SHARE = 0.5  # a cache takes no more than this share of what is free on its disk

Size = tuple[int, int]
OnFrames = Callable[[int, int], None]


class BrokenDataset(ValueError):
    """The dataset's videos do not hold what its rows promise; the message says where."""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What ``meta/info.json`` says: ``cameras`` maps a feature name (observation.images.top) to (height, width)."""

    root: Path
    fps: int
    episodes: int
    rows: int
    cameras: dict[str, Size]
    all_video: bool
    video_path: str

    @classmethod
    def read(cls, root: Path) -> "DatasetInfo":
        """Raises FileNotFoundError if ``root`` is no LeRobot v3 dataset."""
        info = json.loads((root / "meta" / "info.json").read_text())
        pictures = {key: each for key, each in info["features"].items() if each["dtype"] in {"video", "image"}}
        return cls(
            root=root,
            fps=int(info["fps"]),
            episodes=int(info["total_episodes"]),
            rows=int(info["total_frames"]),
            cameras={key: _picture_size(each) for key, each in pictures.items()},
            all_video=all(each["dtype"] == "video" for each in pictures.values()),
            video_path=info["video_path"] or "",
        )


def frame_cache(
    info: DatasetInfo, folder: Path, size: Size | None, on_frames: OnFrames
) -> dict[str, NDArray[np.uint8]]:
    """The frames of all cameras: feature name to a read-only (rows, 3, height, width) array, indexed by the dataset's
    ``index`` column. Pictures larger than ``size`` (height, width) are fitted into it, with black borders.

    Built on the first call for this content and size (``on_frames(done, total)`` tells how far); a second process waits
    for the first. Returns {} where there can be no cache (no videos, too little free disk). Raises BrokenDataset.
    """
    sizes = {camera: _cached_size(native, size) for camera, native in info.cameras.items()}
    place = folder / _name(info, sizes)
    with _sole_builder(place):
        if not place.exists():
            if not info.all_video or not sizes or not _fits(folder, info.rows, sizes):
                return {}
            _build(info, place, sizes, on_frames)
    return {camera: np.load(place / f"{camera}.npy", mmap_mode="r") for camera in sizes}


def letterbox(image: NDArray[np.uint8], size: Size) -> NDArray[np.uint8]:
    """Fit (h, w, 3) into ``size`` keeping its proportions, the rest black: the same geometry as physicalai's
    ``ACTPreprocessor``, so that frames made small here and frames made small by the policy look alike."""
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    ratio = max(height / size[0], width / size[1])
    inner = min(int(height / ratio), size[0]), min(int(width / ratio), size[1])
    top, left = (size[0] - inner[0]) // 2, (size[1] - inner[1]) // 2
    fitted = np.zeros((*size, 3), np.uint8)
    small = cv2.resize(image, (inner[1], inner[0]), interpolation=cv2.INTER_LINEAR)
    fitted[top : top + inner[0], left : left + inner[1]] = small
    return fitted


def _picture_size(feature: Mapping[str, Any]) -> Size:
    names, shape = list(feature.get("names") or ["height", "width", "channels"]), feature["shape"]
    return int(shape[names.index("height")]), int(shape[names.index("width")])


def _cached_size(native: Size, wanted: Size | None) -> Size:
    smaller = wanted is not None and wanted[0] * wanted[1] < native[0] * native[1]
    return wanted if wanted is not None and smaller else native


def _name(info: DatasetInfo, sizes: Mapping[str, Size]) -> str:
    digest = hashlib.sha256(repr(sorted(sizes.items())).encode())
    for path in sorted(info.root.rglob("*")):
        if path.is_file():
            digest.update(f"{path.relative_to(info.root)} {path.stat().st_size}\n".encode())
            if path.is_relative_to(info.root / "meta"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:24]


def _fits(folder: Path, rows: int, sizes: Mapping[str, Size]) -> bool:
    needed = sum(rows * 3 * height * width for height, width in sizes.values())
    return needed <= FREE_SHARE * shutil.disk_usage(folder).free


@contextmanager
def _sole_builder(place: Path) -> Iterator[None]:
    """One process at a time; the kernel lets go of the lock when a builder dies."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(info: DatasetInfo, place: Path, sizes: Mapping[str, Size], on_frames: OnFrames) -> None:
    partial = place.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        _fill(partial, info, sizes, on_frames)
    except Exception:
        shutil.rmtree(partial)  # gigabytes that nobody would look for
        raise
    partial.rename(place)


def _fill(folder: Path, info: DatasetInfo, sizes: Mapping[str, Size], on_frames: OnFrames) -> None:
    done, total = 0, info.rows * len(sizes)
    for camera, size in sizes.items():
        shape = (info.rows, 3, *size)
        frames: np.memmap[Any, Any] = open_memmap(folder / f"{camera}.npy", "w+", np.uint8, shape)  # type: ignore[no-untyped-call]
        for row, image in _rows_of(info, camera):
            frames[row] = letterbox(image, size).transpose(2, 0, 1)
            done += 1
            on_frames(done, total)
        frames.flush()


@dataclass(frozen=True, slots=True)
class _Span:
    """Where one episode of one camera lies: rows from ``first_row`` on, in ``file`` from ``start_s`` on."""

    episode: int
    first_row: int
    length: int
    file: Path
    start_s: float


def _rows_of(info: DatasetInfo, camera: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """Every row with its picture (h, w, 3), each file decoded once from front to back."""
    spans: dict[Path, list[_Span]] = {}
    for span in _spans(info, camera):
        spans.setdefault(span.file, []).append(span)
    for file, inside in spans.items():
        yield from _decode(file, inside, info.fps, camera)


def _spans(info: DatasetInfo, camera: str) -> list[_Span]:
    video = f"videos/{camera}"
    episodes = parquet.dataset(info.root / "meta" / "episodes", format="parquet").to_table().to_pylist()
    return [
        _Span(
            episode=row["episode_index"],
            first_row=row["dataset_from_index"],
            length=row["length"],
            file=info.root
            / info.video_path.format(
                video_key=camera, chunk_index=row[f"{video}/chunk_index"], file_index=row[f"{video}/file_index"]
            ),
            start_s=row[f"{video}/from_timestamp"],
        )
        for row in sorted(episodes, key=lambda row: row["dataset_from_index"])
    ]


def _decode(file: Path, spans: list[_Span], fps: int, camera: str) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    pending = {
        round(span.start_s * fps) + frame: span.first_row + frame for span in spans for frame in range(span.length)
    }
    try:
        with av.open(str(file)) as container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            for frame in container.decode(stream):
                row = pending.pop(round((frame.time or 0.0) * fps), None)
                if row is not None:
                    yield row, frame.to_ndarray(format="rgb24").astype(np.uint8, copy=False)
    except av.FFmpegError as error:
        where = f"{camera}, episode {spans[0].episode} and on"
        raise BrokenDataset(f"A video cannot be read ({where}): {error.strerror}; delete that episode.") from error
    if pending:
        raise _missing(spans, min(pending.values()), len(pending), camera)


def _missing(spans: list[_Span], row: int, count: int, camera: str) -> BrokenDataset:
    span = next(span for span in spans if span.first_row <= row < span.first_row + span.length)
    return BrokenDataset(
        f"The video of {camera} lacks {count} frames, the first at row {row - span.first_row} of episode "
        f"{span.episode}; verify the dataset or delete that episode."
    )
