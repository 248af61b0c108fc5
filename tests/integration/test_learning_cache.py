"""The frame cache against videos and metadata in LeRobot v3 layout, two episodes to a file."""

import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from actors.learning import cache
from actors.learning.cache import BrokenDataset, DatasetInfo, frame_cache, letterbox

CAMERA = "observation.images.top"
LENGTHS = (5, 4, 6)
FILES = (0, 0, 1)
FPS = 10


def shade(row: int) -> int:
    return 20 + row * 12


def write_video(path: Path, shades: list[int], size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"crf": "1", "g": "5", "bf": "2"})
        stream.height, stream.width = size
        stream.pix_fmt = "yuv420p"
        for value in shades:
            frame = av.VideoFrame.from_ndarray(np.full((*size, 3), value, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def write_dataset(root: Path, size: tuple[int, int] = (48, 64), *, lacking: int = 0) -> DatasetInfo:
    video_path = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
    picture = {"dtype": "video", "shape": [*size, 3], "names": ["height", "width", "channels"]}
    features = {"action": {"dtype": "float32", "shape": [2], "names": ["x", "y"]}, CAMERA: picture}
    info = {
        "fps": FPS,
        "total_episodes": len(LENGTHS),
        "total_frames": sum(LENGTHS),
        "features": features,
        "video_path": video_path,
    }
    starts = np.cumsum([0, *LENGTHS])
    rows = [
        {
            "episode_index": episode,
            "length": length,
            "dataset_from_index": int(starts[episode]),
            f"videos/{CAMERA}/chunk_index": 0,
            f"videos/{CAMERA}/file_index": FILES[episode],
            f"videos/{CAMERA}/from_timestamp": 0.5 if episode == 1 else 0.0,
        }
        for episode, length in enumerate(LENGTHS)
    ]
    (root / "meta" / "episodes" / "chunk-000").mkdir(parents=True)
    (root / "meta" / "info.json").write_text(json.dumps(info))
    pq.write_table(pa.Table.from_pylist(rows), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    for file, span in ((0, range(9)), (1, range(9, 15 - lacking))):
        path = root / video_path.format(video_key=CAMERA, chunk_index=0, file_index=file)
        write_video(path, [shade(row) for row in span], size)
    return DatasetInfo.read(root)


def test_every_row_has_its_own_picture(tmp_path: Path) -> None:
    info = write_dataset(tmp_path / "ds")
    told: list[tuple[int, int]] = []
    frames = frame_cache(info, tmp_path / "cache", None, lambda done, total: told.append((done, total)))[CAMERA]
    assert frames.shape == (15, 3, 48, 64)
    assert not frames.flags.writeable
    means = frames.reshape(15, -1).mean(axis=1)
    assert np.abs(means - [shade(row) for row in range(15)]).max() < 4
    assert told[-1] == (15, 15)


def test_a_second_call_decodes_nothing(tmp_path: Path) -> None:
    info = write_dataset(tmp_path / "ds")
    first = frame_cache(info, tmp_path / "cache", (24, 32), lambda done, total: None)[CAMERA]
    told: list[int] = []
    second = frame_cache(info, tmp_path / "cache", (24, 32), lambda done, total: told.append(done))[CAMERA]
    assert told == []
    assert first.shape == (15, 3, 24, 32)
    assert (first == second).all()


def test_the_cache_knows_content_and_size_not_place(tmp_path: Path) -> None:
    nothing = lambda done, total: None  # noqa: E731
    info = write_dataset(tmp_path / "ds")
    frame_cache(info, tmp_path / "cache", None, nothing)
    (tmp_path / "ds").rename(tmp_path / "moved")
    told: list[int] = []
    frame_cache(DatasetInfo.read(tmp_path / "moved"), tmp_path / "cache", None, lambda done, total: told.append(done))
    assert told == []
    assert (
        frame_cache(DatasetInfo.read(tmp_path / "moved"), tmp_path / "cache", (24, 24), nothing)[CAMERA].shape[2] == 24
    )
    other = write_dataset(tmp_path / "other", (32, 32))
    assert frame_cache(other, tmp_path / "cache", None, nothing)[CAMERA].shape[2] == 32


def test_a_killed_build_is_begun_anew(tmp_path: Path) -> None:
    info = write_dataset(tmp_path / "ds")

    def die(done: int, total: int) -> None:
        if done == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        frame_cache(info, tmp_path / "cache", None, die)
    frames = frame_cache(info, tmp_path / "cache", None, lambda done, total: None)[CAMERA]
    assert frames[14].mean() > 150
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_too_little_disk_means_no_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = write_dataset(tmp_path / "ds")
    monkeypatch.setattr(cache, "FREE_SHARE", 1e-12)
    assert frame_cache(info, tmp_path / "cache", None, lambda done, total: None) == {}


def test_a_video_with_too_few_frames_is_told(tmp_path: Path) -> None:
    info = write_dataset(tmp_path / "ds", lacking=2)
    with pytest.raises(BrokenDataset, match="lacks 2 frames, the first at row 4 of episode 2"):
        frame_cache(info, tmp_path / "cache", None, lambda done, total: None)
    assert not [path for path in (tmp_path / "cache").iterdir() if path.is_dir()]


@pytest.mark.parametrize("damage", ["missing", "garbage"])
def test_an_unreadable_video_is_told(tmp_path: Path, damage: str) -> None:
    info = write_dataset(tmp_path / "ds")
    video = next((tmp_path / "ds").rglob("file-001.mp4"))
    video.unlink()
    if damage == "garbage":
        video.write_bytes(b"no video at all" * 99)
    with pytest.raises(BrokenDataset, match="episode 2"):
        frame_cache(info, tmp_path / "cache", None, lambda done, total: None)


def test_letterbox_keeps_proportions() -> None:
    wide = np.full((50, 100, 3), 200, np.uint8)
    fitted = letterbox(wide, (40, 40))
    assert fitted.shape == (40, 40, 3)
    assert (fitted[10:30] == 200).all()
    assert (fitted[:10] == 0).all()
    assert (fitted[30:] == 0).all()
    assert letterbox(wide, (50, 100)) is wide
