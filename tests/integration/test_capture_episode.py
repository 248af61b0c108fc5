"""From a take to an episode: sealed, salvaged, killed in mid-take and in mid-seal."""

import hashlib
import json
import os
import shutil
import signal
import time
from pathlib import Path
from uuid import UUID, uuid4

import av
import pyarrow.parquet as pq
import pytest

from actors.capture.clock import SECOND_NS, SessionClock
from actors.capture.episode import discard, episode_folder, open_take, open_takes, read_meta, salvage, seal
from actors.capture.manifest import EpisodeMeta, read_facts, read_manifest
from actors.capture.report import TakeReport
from actors.capture.rows import RobotTake
from actors.capture.take import CameraTake, log_path, video_path
from actors.capture.video import TakeEncoder, cut, last_row, whole_pictures, whole_rows
from actors.devices.base import Sample
from actors.devices.ring import Ring
from actors.takes import Takes
from domain.episode import Codec, Limits, Quality
from domain.errors import Conflict, Invalid, NotFound
from tests.integration.test_capture_kit import (
    FPS,
    JOINTS,
    QUALITIES,
    PacedCamera,
    camera_ring,
    child,
    decoded,
    die_in_each,
    exit_codes,
    frame,
    meta,
    number_of,
    past_clock,
    picture,
    psnr,
    record,
    robot_ring,
    sample,
)

SIZES = {"top": (160, 120), "wrist": (97, 65)}
ROWS = 40


def taken(
    dataset: Path, rows: int = ROWS, quality: Quality = QUALITIES[0]
) -> tuple[Path, EpisodeMeta, list[TakeReport]]:
    """A finished take that is not sealed yet."""
    clock = past_clock(rows)
    about = meta(tuple(SIZES), clock, quality=quality)
    folder = open_take(dataset, about)
    takes: list[CameraTake | RobotTake] = [
        CameraTake(camera_ring(clock, rows, size), clock, folder, key, FPS, quality, grace_s=0, rows_planned=rows)
        for key, size in SIZES.items()
    ]
    takes.append(RobotTake(robot_ring(clock, rows), clock, folder, JOINTS, control_hz=10, grace_s=0, rows_planned=rows))
    for take in takes:
        take.start()
    return folder, about, [take.finish(rows - 1, 30) for take in takes]


def truncate(path: Path, keep: float) -> None:
    os.truncate(path, int(path.stat().st_size * keep))


def shown_rows(episode: Path, key: str) -> list[int]:
    return [number_of(shown, SIZES[key][0]) for shown in decoded(episode / "videos" / f"{key}.mp4")]


def test_a_sealed_episode_holds_what_was_fed_and_says_what_it_is(tmp_path):
    folder, about, reports = taken(tmp_path)
    saved_as = about.model_copy(update={"success": True, "tags": ("clean",)})
    facts = seal(folder, saved_as, reports)
    episode = episode_folder(tmp_path, about.episode_id)
    assert (facts.rows, facts.dropped, facts.stale, facts.repeated, facts.success) == (ROWS, 0, 0, 0, True)
    assert facts.duration_s == pytest.approx(ROWS / FPS)
    assert facts.measured_fps == pytest.approx(FPS)
    for key, (width, height) in SIZES.items():
        assert shown_rows(episode, key) == list(range(ROWS))
        worst = min(
            psnr(shown[:height, :width], picture(row, width, height))
            for row, shown in enumerate(decoded(episode / "videos" / f"{key}.mp4"))
        )
        assert worst > 32
    assert not folder.exists()
    assert open_takes(tmp_path) == []


@pytest.mark.parametrize("quality", QUALITIES, ids=lambda quality: f"{quality.codec}")
def test_the_last_row_is_shown_as_long_as_the_others(tmp_path, quality):
    """A player, and LeRobot, drop what lies behind a video's end."""
    video = tmp_path / "take.mp4"
    encoder = TakeEncoder(video, 96, 64, 10, quality)
    for row in range(10):
        encoder.write(row, frame(row, row))
    encoder.close()
    cut(video, tmp_path / "cut.mp4", 10, 10)
    assert (last_row(tmp_path / "cut.mp4", 10), whole_pictures(tmp_path / "cut.mp4", 10)) == (9, 10)
    with av.open(str(tmp_path / "cut.mp4")) as container:
        assert container.duration == 1_000_000


def test_the_manifest_vouches_for_every_file(tmp_path):
    facts = record(tmp_path, ROWS, SIZES)
    episode = episode_folder(tmp_path, facts.episode_id)
    manifest = json.loads((episode / "episode.json").read_text())
    there = {str(path.relative_to(episode)) for path in episode.rglob("*") if path.is_file()} - {"episode.json"}
    assert set(manifest["files"]) == there
    for name, digest in manifest["files"].items():
        assert hashlib.sha256((episode / name).read_bytes()).hexdigest() == digest
    assert facts.sha256 == hashlib.sha256((episode / "episode.json").read_bytes()).hexdigest()
    assert facts.size_bytes == sum((episode / name).stat().st_size for name in there)
    assert manifest["cameras"]["wrist"] == {"width": 98, "height": 66, "gop": 15, "codec": "h264"}


def test_capture_times_and_ground_truth_are_kept_beside_the_features(tmp_path):
    facts = record(tmp_path, ROWS, SIZES)
    episode = episode_folder(tmp_path, facts.episode_id)
    rows = pq.read_table(episode / "rows.parquet")
    times = pq.read_table(episode / "times" / "top.parquet")
    assert rows["observation.state"].to_pylist()[:4] == [[0, 0], [0, 0], [0, 0], [3, -3]]
    assert rows["ground_truth.coverage"].to_pylist()[3] == 0.03
    assert times["row"].to_pylist() == rows["row"].to_pylist() == list(range(ROWS))
    assert set(times["age_ns"].to_pylist()) == {2_000_000}


def test_sealing_again_answers_the_same(tmp_path):
    folder, about, reports = taken(tmp_path)
    first = seal(folder, about, reports)
    assert seal(folder, about, reports) == first == seal(folder, about)
    assert read_facts(episode_folder(tmp_path, about.episode_id)) == first


def test_parts_that_differ_are_not_sealed_and_the_take_stays(tmp_path):
    folder, about, reports = taken(tmp_path)
    with pytest.raises(Conflict, match="same rows"):
        seal(folder, about, reports[:-1])
    with pytest.raises(Conflict, match="Only"):
        seal(folder, about, rows=ROWS + 1)
    truncate(video_path(folder, "top"), 0.5)
    with pytest.raises(Conflict, match="whole on disk"):
        seal(folder, about, reports)
    assert open_takes(tmp_path) == [folder]


def spoil(log: Path, flag: str, rows: int) -> None:
    """Let the first rows of a part be what they were not."""
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines[:rows]:
        line[flag] = True
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))


@pytest.mark.parametrize("flag", ["stale", "dropped"])
def test_an_episode_that_breaks_its_limits_is_suspect_and_a_strict_one_stays_a_take(tmp_path, flag):
    most = int(ROWS * 0.2)
    limits = Limits(max_dropped=0.2, max_stale=0.2)
    for spoiled, suspect in ((most, None), (most + 1, f"{most + 1} of {ROWS} rows {flag} (limit 20%)")):
        folder, about, reports = taken(tmp_path / str(spoiled))
        about = about.model_copy(update={"limits": limits})
        spoil(log_path(folder, "top"), flag, spoiled)
        assert seal(folder, about, reports).suspect == suspect
    folder, about, reports = taken(tmp_path)
    about = about.model_copy(update={"limits": limits.model_copy(update={"strict": True})})
    spoil(log_path(folder, "top"), flag, spoiled)
    with pytest.raises(Conflict, match=f"not saved: {spoiled} of {ROWS} rows {flag}"):
        seal(folder, about, reports)
    assert open_takes(tmp_path) == [folder]
    assert seal(folder, about).suspect == suspect  # kept as interrupted, because somebody wants it


def test_a_torn_take_is_salvaged_to_its_shortest_part(tmp_path):
    folder, about, _ = taken(tmp_path)
    truncate(video_path(folder, "wrist"), 0.7)
    truncate(folder / "robot.jsonl", 0.9)
    whole = salvage(folder)
    assert 10 <= whole < ROWS
    facts = seal(folder, read_meta(folder))
    assert facts.rows == whole
    episode = episode_folder(tmp_path, about.episode_id)
    assert read_manifest(episode).interrupted
    assert shown_rows(episode, "top") == shown_rows(episode, "wrist") == list(range(whole))
    assert len(pq.read_table(episode / "rows.parquet")) == whole


@pytest.mark.parametrize("quality", QUALITIES, ids=lambda quality: f"{quality.codec}")
def test_a_video_torn_at_any_byte_yields_all_pictures_before_the_tear(tmp_path, quality):
    folder, _, _ = taken(tmp_path, quality=quality)
    video = video_path(folder, "top").read_bytes()
    torn = tmp_path / "torn.mp4"
    found = []
    for size in range(0, len(video), 29):
        torn.write_bytes(video[:size])
        found.append(whole_rows(torn, FPS))
    assert found == sorted(found)
    assert set(found) == set(range(ROWS + 1))


@pytest.mark.parametrize("quality", QUALITIES, ids=lambda quality: f"{quality.codec}")
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.3, 0.5, 0.83, 1.0])
def test_what_is_left_of_a_torn_video_can_be_sealed(tmp_path, keep, quality):
    folder, _, _ = taken(tmp_path, quality=quality)
    truncate(video_path(folder, "top"), keep)
    whole = salvage(folder)
    share = 2 if quality.codec is Codec.H264 else 5  # of AV1's bytes more are in the first picture
    assert whole >= int(keep * ROWS / share)
    if whole:
        facts = seal(folder, read_meta(folder))
        assert shown_rows(episode_folder(tmp_path, facts.episode_id), "top") == list(range(whole))
    else:
        with pytest.raises(Invalid, match="Discard"):
            seal(folder, read_meta(folder))


def test_a_part_that_never_began_leaves_no_rows(tmp_path):
    folder, _, _ = taken(tmp_path)
    log_path(folder, "wrist").unlink()
    assert salvage(folder) == 0


def test_a_discarded_take_is_gone_and_discarding_repeats(tmp_path):
    folder, about, _ = taken(tmp_path)
    discard(folder)
    discard(folder)
    assert open_takes(tmp_path) == []
    assert list((tmp_path / "takes").iterdir()) == []
    with pytest.raises(NotFound):
        seal(folder, about)


async def test_a_take_that_became_an_episode_before_the_log_knew_is_whole_all_the_same(tmp_path):
    folder, about, reports = taken(tmp_path)
    takes = Takes(tmp_path)
    assert await takes.whole_rows(about.episode_id) == ROWS
    seal(folder, about, reports)
    assert not folder.exists()
    assert await takes.whole_rows(about.episode_id) == ROWS
    assert await takes.whole_rows(uuid4()) == 0


def test_open_take_repeats_and_notes_what_it_is(tmp_path):
    about = meta(("top",), past_clock(1))
    assert open_take(tmp_path, about) == open_take(tmp_path, about)
    assert read_meta(open_takes(tmp_path)[0]) == about


def record_for_ever(delay_s: float = 0.5) -> None:
    """In a process of its own: a take by two live devices that only a kill ends. Prints t0 first."""
    with PacedCamera(FPS, SIZES["top"]) as camera, PacedCamera(FPS, SIZES["wrist"]) as other:
        clock = SessionClock(time.monotonic_ns() + int(delay_s * SECOND_NS), FPS)
        folder = open_take(Path.cwd(), meta(tuple(SIZES), clock))
        ring = Ring[Sample]()
        ring.put(sample(0, time.monotonic_ns()))
        takes = [
            CameraTake(camera.ring, clock, folder, "top", FPS),
            CameraTake(other.ring, clock, folder, "wrist", FPS),
        ]
        for take in (*takes, RobotTake(ring, clock, folder, JOINTS, control_hz=10)):
            take.start()
        print(clock.t0_ns, flush=True)
        for number in range(1, 1000):
            time.sleep(0.1)
            ring.put(sample(number, time.monotonic_ns()))


@pytest.mark.slow
def test_a_kill_in_mid_take_costs_a_second_at_most(tmp_path):
    with child("test_capture_episode.record_for_ever()", tmp_path) as process:
        assert process.stdout is not None
        clock = SessionClock(int(process.stdout.readline()), FPS)
        time.sleep(4.3)
        due = clock.last_row(time.monotonic_ns()) + 1
        process.kill()
    (folder,) = open_takes(tmp_path)
    whole = salvage(folder)
    assert due - FPS <= whole <= due + 1
    facts = seal(folder, read_meta(folder))
    assert facts.rows == whole == len(shown_rows(episode_folder(tmp_path, facts.episode_id), "wrist"))


STEPS = 42


def seal_under_kills() -> None:
    die_in_each(range(0, STEPS, 2), seal_here)


def seal_here() -> None:
    (folder,) = open_takes(Path.cwd())
    seal(folder, read_meta(folder))


@pytest.mark.slow
def test_a_kill_anywhere_in_seal_leaves_the_take_or_the_episode(tmp_path):
    folder, about, _ = taken(tmp_path / "whole", 20)
    for step in range(0, STEPS, 2):
        shutil.copytree(tmp_path / "whole", tmp_path / str(step))
    ended = exit_codes("test_capture_episode.seal_under_kills()", tmp_path)
    assert (ended[0], ended[-1]) == (-signal.SIGKILL, 0)
    for step in range(0, STEPS, 2):
        assert_seals(tmp_path / str(step) / "takes" / folder.name, about, tmp_path / str(step))


def assert_seals(take: Path, about: EpisodeMeta, dataset: Path) -> None:
    sealed = episode_folder(dataset, about.episode_id)
    assert take.exists() or sealed.exists()
    assert seal(take, about).rows == 20
    assert [UUID(path.name) for path in (dataset / "episodes").iterdir()] == [about.episode_id]
    assert list((dataset / "takes").iterdir()) == []
    assert shown_rows(sealed, "top") == list(range(20))
