"""Whatever is damaged of an episode is told, and what is whole of it is counted; a damaged file is no exception."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.capture.manifest import EPISODE_FILE, sha256
from actors.capture.verify import Verdict, verify_episode
from actors.capture.video import whole_pictures
from domain.episode import EpisodeFacts
from tests.integration.test_capture_kit import FPS, QUALITIES, record

ROWS = 15
VIDEO, TIMES = "videos/top.mp4", "times/top.parquet"
FILES = (EPISODE_FILE, "rows.parquet", TIMES, VIDEO)


@pytest.fixture(scope="module", params=QUALITIES, ids=lambda quality: f"{quality.codec}")
def saved(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, EpisodeFacts]:
    """An episode's folder, and what the log knows of it."""
    dataset = tmp_path_factory.mktemp("dataset")
    facts = record(dataset, ROWS, {"top": (96, 64)}, quality=request.param)
    return dataset / "episodes" / str(facts.episode_id), facts


@contextmanager
def changed(folder: Path, name: str, content: bytes) -> Iterator[Path]:
    """A copy of the episode in which one file has another content."""
    with TemporaryDirectory() as elsewhere:
        copy = Path(shutil.copytree(folder, Path(elsewhere) / folder.name))
        (copy / name).write_bytes(content)
        yield copy


def verdict_of(saved: tuple[Path, EpisodeFacts], name: str, content: bytes) -> Verdict:
    folder, facts = saved
    with changed(folder, name, content) as copy:
        return verify_episode(copy, facts)


def test_pictures_are_whole_up_to_the_one_that_is_damaged(saved: tuple[Path, EpisodeFacts]) -> None:
    """The decoder conceals what it misses, from there on to the next keyframe, and would show it as a picture."""
    video = saved[0] / VIDEO
    content = video.read_bytes()
    with av.open(str(video)) as container:
        packets = [(packet.pos or 0, packet.size) for packet in container.demux(video=0) if packet.size]
    assert len(packets) == ROWS
    for row, (begin, size) in enumerate(packets):
        half = begin + size // 2
        damaged = content[:half] + bytes(begin + size - half) + content[begin + size :]
        with changed(saved[0], VIDEO, damaged) as copy:
            assert whole_pictures(copy / VIDEO, FPS) == row


@pytest.mark.parametrize(
    ("said", "instead"),
    [
        pytest.param(b"Lavf", b"\xff\xfevf", id="words that are none"),
        pytest.param(None, b"????", id="no codec"),
        pytest.param(b"mdhd\0", b"mdhd\x7f", id="a version that is not known"),
        pytest.param(b"stts\0\0\0\0\0", b"stts\0\0\0\0\x7f", id="more entries than memory"),
    ],
)
def test_what_a_video_says_of_itself_may_be_damaged(
    saved: tuple[Path, EpisodeFacts], said: bytes | None, instead: bytes
) -> None:
    content = (saved[0] / VIDEO).read_bytes()
    said = said or next(name for name in (b"avc1", b"av01\0") if name in content)[:4]
    assert said in content
    verdict = verdict_of(saved, VIDEO, content.replace(said, instead))
    assert f"{VIDEO} is not what was saved" in verdict.problems
    assert verdict.damaged == {VIDEO}


def test_a_needed_file_that_the_manifest_does_not_name_is_damaged(saved: tuple[Path, EpisodeFacts]) -> None:
    """Nobody can tell whether it is what was saved, whole as it looks."""
    folder, facts = saved
    manifest = orjson.loads((folder / EPISODE_FILE).read_bytes())
    del manifest["files"][VIDEO]
    with changed(folder, EPISODE_FILE, orjson.dumps(manifest)) as copy:
        verdict = verify_episode(copy, facts.model_copy(update={"sha256": sha256(copy / EPISODE_FILE)}))
    assert (verdict.problems, verdict.damaged) == ([f"{VIDEO} is not in its manifest"], {VIDEO})


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), name=st.sampled_from(FILES), way=st.sampled_from(["flip", "cut", "zero"]))
def test_whatever_is_damaged_is_told(
    saved: tuple[Path, EpisodeFacts], data: st.DataObject, name: str, way: str
) -> None:
    content = bytearray((saved[0] / name).read_bytes())
    before, at = bytes(content), data.draw(st.integers(0, len(content) - 1), label="at")
    match way:
        case "flip":
            content[at] ^= data.draw(st.integers(1, 255), label="bits")
        case "cut":
            del content[at:]
        case "zero":
            content[at : at + 64] = bytes(len(content[at : at + 64]))
    verdict = verdict_of(saved, name, bytes(content))
    assert bool(verdict.problems) == (bytes(content) != before)
    assert 0 <= verdict.rows <= ROWS
    if name == "rows.parquet" and verdict.problems:
        assert verdict.rows == 0
