"""The main job over HTTP with a real server: sessions, episodes, and what a kill -9 leaves of them."""

import fcntl
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import av
import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest

from client.api import Refused
from client.demo import TASK, Cell, make_cell
from projections.database import LOCK_TIMEOUT_S
from settings import PROJECT

from .conftest import Server, kill_family
from .kit import FPS, open_session, record, wait_for, wait_until

pytestmark = pytest.mark.slow
KILLS = 40
OWNER = "ray::RecordingActor"


@pytest.fixture(scope="module")
def bench(server: Server) -> Cell:
    """Whose devices are awake from one test to the next."""
    return make_cell(server.api, "bench")


@pytest.fixture
def cell(server: Server, bench: Cell, request: pytest.FixtureRequest) -> Iterator[Cell]:
    """The bench with a dataset of the test's own."""
    body = {"name": request.node.name, "project_id": bench.project, "environment_id": bench.environment}
    made = replace(bench, dataset=server.api.post("/dataset", body | {"default_task": TASK})["id"])
    yield made
    sessions = f"/projects/{made.project}/recordings"  # a test that fails leaves its own open, and the devices with it
    for left_open in (each for each in server.api.get(sessions) if each["state"] not in ("closed", "failed")):
        server.api.post(f"{sessions}/{left_open['id']}:close")


def _sessions(server: Server, cell: Cell) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = server.api.get(f"/projects/{cell.project}/recordings")
    return [each for each in found if each["dataset_id"] == cell.dataset]


@pytest.mark.train
def test_a_recorded_dataset_is_what_the_real_lerobot_reads_and_shows_the_cell(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell)
    saved = [record(server.api, session, 3.0) for _ in range(2)]
    server.api.post(f"{session}:close")
    folder = server.storage / "datasets" / cell.dataset
    dataset = _lerobot(folder / "current")
    assert len(dataset) == sum(episode["rows"] for episode in saved)
    offset = 0
    for episode in saved:
        _check_pictures(folder / "episodes" / episode["episode_id"], dataset, offset, episode["rows"])
        offset += episode["rows"]


def _lerobot(root: Path) -> Any:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    return LeRobotDataset("local/pushes", root=root, video_backend="pyav")


def _check_pictures(episode: Path, dataset: Any, offset: int, rows: int) -> None:
    """Each row's decoded picture is the renderer's picture of the cell at that row's capture, and that capture is the
    row's: not after it, and no older than it may be without being called stale."""
    from actors.devices.cell import render

    samples = pq.read_table(episode / "rows.parquet").to_pylist()
    states = {sample["captured_ns"]: sample for sample in samples}
    captures = pq.read_table(episode / "times" / "top.parquet").to_pylist()
    assert len(samples) == len(captures) == rows
    compared, t0_ns = 0, json.loads((episode / "episode.json").read_text())["meta"]["t0_ns"]
    for row, capture in enumerate(captures):
        age_ns = t0_ns + row * 10**9 // FPS - capture["captured_ns"]
        assert age_ns == capture["age_ns"] >= 0
        assert capture["stale"] == (age_ns > 1.5 * 10**9 / FPS)
        item = dataset[offset + row]
        assert np.allclose(item["observation.state"], samples[row]["observation.state"])
        assert np.allclose(item["action"], samples[row]["action"])
        shown = states.get(capture["device_ns"])
        if shown is None:
            continue
        wanted = render(_cell_state(shown), 96, 96)
        decoded = np.asarray(item["observation.images.top"]).transpose(1, 2, 0) * 255
        assert np.mean((decoded - wanted) ** 2) < 60, f"row {row} shows something else"
        compared += 1
    assert compared > rows / 2


def _cell_state(sample: dict[str, Any]) -> Any:
    from actors.devices.cell_state import CellState

    names = ("agent_x", "agent_y", "block_x", "block_y", "block_angle")
    values = {name: sample[f"ground_truth.{name}"] for name in names}
    return CellState(sequence=0, captured_ns=sample["captured_ns"], **values)


def test_a_killed_session_owner_costs_only_the_open_take(server: Server, cell: Cell) -> None:
    others = server.processes(OWNER)  # of sessions that have ended: they go by themselves
    session = open_session(server.api, cell)
    saved = record(server.api, session, 1.5)
    broken = server.api.post(f"{session}:start_episode")["episode_id"]
    time.sleep(3)
    assert server.kill(OWNER, others) == 1
    found = wait_for(server.api, session, state="ready")
    (interrupted,) = found["interrupted"]
    assert interrupted["episode_id"] == broken
    assert interrupted["rows"] >= 1.5 * FPS
    again = record(server.api, session, 1.5)
    assert again["episode_index"] == 1
    kept = server.api.post(f"{session}:keep", {"episode_id": broken})
    assert (kept["rows"], kept["episode_index"]) == (interrupted["rows"], 2)
    episodes = server.api.get(f"/dataset/{cell.dataset}/episodes")
    assert [episode["id"] for episode in episodes] == [saved["episode_id"], again["episode_id"], broken]
    server.api.post(f"{session}:close")


@pytest.mark.long
def test_whenever_its_owner_is_killed_a_session_is_taken_up(server: Server, cell: Cell) -> None:
    """Ray may still say that the owner restarts when its next process is there already."""
    session = open_session(server.api, cell)
    for _ in range(KILLS):
        broken = server.api.post(f"{session}:start_episode")["episode_id"]
        assert server.kill(OWNER) >= 1
        wait_until(server.api, session, lambda found: found["state"] == "ready")
        server.api.post(f"{session}:discard_episode", {"episode_id": broken})
    server.api.post(f"{session}:close")


@pytest.mark.long
def test_a_take_with_a_plan_has_no_more_rows_when_its_owner_is_killed(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell, episode_time_s=1)
    episode = server.api.post(f"{session}:start_episode")["episode_id"]
    wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 1)
    assert server.kill(OWNER) >= 1
    found = wait_for(server.api, session, state="ready")
    (interrupted,) = found["interrupted"]
    assert interrupted["rows"] == FPS
    assert server.api.post(f"{session}:keep", {"episode_id": episode})["rows"] == FPS
    server.api.post(f"{session}:close")


def test_a_killed_camera_interrupts_the_take_and_comes_back(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell)
    broken = server.api.post(f"{session}:start_episode")["episode_id"]
    time.sleep(2)
    assert server.kill("ray::CameraActor") >= 1
    found = wait_for(server.api, session, state="ready")
    assert [take["episode_id"] for take in found["interrupted"]] == [broken]
    assert found["interrupted"][0]["reason"]
    server.api.post(f"{session}:discard_episode", {"episode_id": broken})
    assert record(server.api, session, 1.0)["rows"] >= 5
    server.api.post(f"{session}:close")
    assert not list((server.storage / "datasets" / cell.dataset / "takes").glob("*"))


def test_repeating_commands_changes_nothing(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell)
    id = "7f1a2b3c-0000-4000-8000-000000000001"
    for _ in range(2):
        assert server.api.post(f"{session}:start_episode", {"episode_id": id})["episode_id"] == id
    time.sleep(1)
    first = server.api.post(f"{session}:save_episode", {"episode_id": id})
    assert server.api.post(f"{session}:save_episode", {"episode_id": id}) == first
    with pytest.raises(Refused, match="already ended"):
        server.api.post(f"{session}:start_episode", {"episode_id": id})
    for _ in range(2):
        assert server.api.post(f"{session}:close")["state"] == "closed"
    with pytest.raises(Refused, match="closed"):
        server.api.post(f"{session}:start_episode")
    again = [httpx.post(f"{server.url}/api{session}:start_episode", json={}, timeout=60) for _ in range(5)]
    assert [reply.status_code for reply in again] == [409] * 5  # whether its owner sleeps, wakes or is leaving


def test_a_device_belongs_to_one_session(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell)
    sessions = f"{server.url}/api/projects/{cell.project}/recordings"
    body = {"environment_id": cell.environment, "fps": FPS}
    second = httpx.post(sessions, json=body, timeout=30)
    assert second.status_code == 423
    assert second.headers["content-type"] == "application/problem+json"
    held_by = second.json()["held_by"]
    assert UUID(held_by["recording_id"]) == UUID(session.rpartition("/")[2])
    assert held_by.keys() == {"recording_id", "who", "since", "node"}
    assert held_by["who"] == "anonymous"
    camera = server.api.get(f"/projects/{cell.project}/cameras")[0]
    assert held_by["node"] == camera["state"]["node"]
    at = f"{server.url}/api/projects/{cell.project}/cameras/{camera['id']}"
    assert httpx.delete(at).status_code == 423
    assert httpx.post(f"{at}:disconnect", timeout=30).json()["held_by"] == held_by
    assert httpx.delete(f"{server.url}/api/projects/{cell.project}").status_code == 409
    server.api.post(f"{session}:close")
    assert [UUID(each["id"]) for each in _sessions(server, cell)] == [UUID(held_by["recording_id"])]


def test_practice_writes_nothing(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell, dataset_id=None)
    episode = server.api.post(f"{session}:start_episode")["episode_id"]
    with pytest.raises(Refused, match="practice"):
        server.api.post(f"{session}:save_episode", {"episode_id": episode})
    server.api.post(f"{session}:discard_episode", {"episode_id": episode})
    server.api.post(f"{session}:close")
    assert not (server.storage / "datasets" / cell.dataset).exists()


@pytest.mark.train
def test_a_delete_amid_a_take_costs_nobody_an_episode(server: Server, cell: Cell) -> None:
    session, episodes = open_session(server.api, cell), f"{server.url}/api/dataset/{cell.dataset}/episodes"
    first = record(server.api, session, 1.5)
    second = server.api.post(f"{session}:start_episode")["episode_id"]
    gone = httpx.request("DELETE", episodes, json=[first["episode_id"]], timeout=30)
    assert (gone.status_code, gone.json()["episodes"], gone.json()["frames"]) == (200, 0, 0)
    time.sleep(1)
    saved = server.api.post(f"{session}:save_episode", {"episode_id": second})
    assert saved["episode_index"] == 0
    server.api.post(f"{session}:close")
    current = server.storage / "datasets" / cell.dataset / "current"
    assert len(_lerobot(current.resolve())) == saved["rows"]
    back = httpx.post(f"{episodes}:restore", json={"episode_ids": [first["episode_id"]]}, timeout=30)
    assert (back.status_code, back.json()["frames"]) == (200, first["rows"] + saved["rows"])
    assert [each["id"] for each in httpx.get(episodes).json()] == [first["episode_id"], second]
    opened = _lerobot(current.resolve())
    assert (opened.num_episodes, len(opened)) == (2, first["rows"] + saved["rows"])
    assert opened[first["rows"]]["episode_index"] == 1


def test_a_planned_session_records_by_itself_until_it_has_enough(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell, episode_time_s=1.2, reset_time_s=1, episodes=2)
    first = server.api.post(f"{session}:start_episode")["episode_id"]
    waiting = wait_until(server.api, session, lambda found: found["next_episode_in_s"] is not None)
    assert waiting["state"] in ("saving", "ready")  # nobody waits for the disk
    assert 0 <= waiting["next_episode_in_s"] <= 1
    second = wait_for(server.api, session, state="recording")["episode"]["episode_id"]
    server.api.post(f"{session}:discard_episode", {"episode_id": second})
    third = wait_for(server.api, session, state="recording")["episode"]["episode_id"]
    assert len({first, second, third}) == 3
    ended = wait_for(server.api, session, episodes_saved=2)
    assert (ended["state"], ended["next_episode_in_s"]) == ("ready", None)
    episodes = server.api.get(f"/dataset/{cell.dataset}/episodes")
    assert [(episode["id"], episode["length"]) for episode in episodes] == [(first, 12), (third, 12)]
    time.sleep(1.5)
    assert server.api.get(session)["state"] == "ready"
    server.api.post(f"{session}:close")


def test_a_paused_session_starts_nothing_until_it_is_told_to(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell, episode_time_s=1, reset_time_s=0)
    server.api.post(f"{session}:start_episode")
    server.api.post(f"{session}:pause")
    wait_for(server.api, session, episodes_saved=1)
    time.sleep(1)
    assert (still := server.api.get(session))["state"] == "ready"
    assert still["next_episode_in_s"] is None
    server.api.post(f"{session}:start_episode")
    wait_for(server.api, session, episodes_saved=3)
    server.api.post(f"{session}:close")


def test_the_command_records_at_the_bench(server: Server, cell: Cell) -> None:
    name = ("record", "--dataset", cell.dataset, "--fps", str(FPS))
    quality = ("--codec", "av1", "--crf", "40")
    done = server.run(*name, "--episodes", "2", "--episode-time", "1", "--reset-time", "0.5", *quality)
    assert done.returncode == 0, done.stdout
    dataset = server.api.get(f"/dataset/{cell.dataset}")["name"]
    assert f"saved 2 episodes in '{dataset}'" in done.stdout
    assert [each["length"] for each in server.api.get(f"/dataset/{cell.dataset}/episodes")] == [FPS, FPS]
    (session,) = _sessions(server, cell)
    assert (session["state"], session["codec"], session["crf"], session["gop_s"]) == ("closed", "av1", 40, 0.5)
    info = json.loads((server.storage / f"datasets/{cell.dataset}/current/meta/info.json").read_text())
    assert info["features"]["observation.images.top"]["info"]["video.codec"] == "av1"
    with av.open(next((server.storage / f"datasets/{cell.dataset}").glob("episodes/*/videos/top.mp4"))) as video:
        assert (video.streams.video[0].codec_context.name, video.streams.video[0].frames) == ("libdav1d", FPS)
    unknown = server.run("record", "--dataset", "no such")
    assert unknown.returncode == 1
    assert f"'{dataset}' ({cell.dataset})" in unknown.stdout.replace("\n", " ")


def test_the_keys_at_the_bench_end_an_episode_take_it_again_and_end(server: Server, cell: Cell) -> None:
    """As a person at a terminal: the first take is not good, the second is saved before its time."""
    with _at_the_bench(server, cell) as (process, terminal, said):
        session = _newest_session(server, cell)
        spoiled = wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 3)
        os.write(terminal, b"\x1b[D")
        wait_until(server.api, session, lambda found: found["next_episode_in_s"] is not None)
        os.write(terminal, b"\x1b[C")
        running = wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 3)
        assert running["episode"]["episode_id"] != spoiled["episode"]["episode_id"]
        os.write(terminal, b"\x1b[C")
        wait_for(server.api, session, episodes_saved=1)
        os.write(terminal, b"\x1b")
        assert process.wait(30) == 0, bytes(said)
    (episode,) = server.api.get(f"/dataset/{cell.dataset}/episodes")
    assert episode["id"] == running["episode"]["episode_id"]
    assert 3 < episode["length"] < 60 * FPS
    assert server.api.get(session)["state"] == "closed"


@pytest.mark.parametrize("number", [signal.SIGHUP, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_terminal_that_is_closed_closes_its_session_and_keeps_the_take(
    server: Server, cell: Cell, number: signal.Signals
) -> None:
    with _at_the_bench(server, cell) as (process, _, said):
        session = _newest_session(server, cell)
        open_one = wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 3)
        process.send_signal(number)
        assert process.wait(30) == 128 + number, bytes(said)
    (kept,) = wait_for(server.api, session, state="closed")["interrupted"]
    assert kept["episode_id"] == open_one["episode"]["episode_id"]
    assert kept["rows"] > 3
    server.api.post(f"{session}:discard_episode", {"episode_id": kept["episode_id"]})


@contextmanager
def _at_the_bench(server: Server, cell: Cell) -> Iterator[tuple[subprocess.Popen[bytes], int, bytearray]]:
    """``record`` in a terminal: its process, the terminal to type into, and what was said there."""
    terminal, inner = os.openpty()
    words = [*server.program, "record", "--dataset", cell.dataset, "--fps", str(FPS), "--episode-time", "60"]
    process = subprocess.Popen(words, cwd=PROJECT, env=server.environment, stdin=inner, stdout=inner, stderr=inner)
    os.close(inner)
    reader = threading.Thread(target=_read_all, args=(terminal, said := bytearray()), daemon=True)
    reader.start()
    try:
        yield process, terminal, said
    finally:
        kill_family(process)
        os.close(terminal)


def _newest_session(server: Server, cell: Cell) -> str:
    sessions = f"/projects/{cell.project}/recordings"
    deadline = time.monotonic() + 60
    while not (found := server.api.get(f"{sessions}?state=recording")):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    return f"{sessions}/{found[-1]['id']}"


def _read_all(terminal: int, said: bytearray) -> None:
    """A terminal that nobody reads stops its program."""
    with suppress(OSError):  # closed
        while more := os.read(terminal, 4096):
            said += more


def test_who_hangs_up_starts_and_saves_an_episode_all_the_same(server: Server, cell: Cell) -> None:
    """Cut off at moments from the first step of a command to its last; the retry with the same key says what came."""
    session, hung_up = open_session(server.api, cell), 0
    for number, cut_s in enumerate((0.01, 0.03, 0.06, 0.1, 0.15, 0.25)):
        started, cut = _cut_off(server, f"{session}:start_episode", {}, cut_s)
        assert started.status_code == 201, started.text
        episode = started.json()["episode_id"]
        hung_up += cut
        wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 3)
        saved, cut = _cut_off(server, f"{session}:save_episode", {"episode_id": episode}, cut_s)
        assert saved.status_code == 200, saved.text
        assert saved.json()["episode_index"] == number
        hung_up += cut
    assert hung_up >= 4  # else nothing was tried
    assert server.api.get(session)["interrupted"] == []
    server.api.post(f"{session}:close")
    assert len(server.api.get(f"/dataset/{cell.dataset}/episodes")) == number + 1


def _cut_off(server: Server, path: str, body: dict[str, Any], cut_s: float) -> tuple[httpx.Response, bool]:
    """The answer to a retry of a request whose client was gone after ``cut_s``, if it was."""
    key, address = {"Idempotency-Key": str(uuid4())}, f"{server.url}/api{path}"
    with httpx.Client(timeout=60) as client:
        client.get(f"{server.url}/api/ready")
        cut = False
        try:
            client.post(address, json=body, headers=key, timeout=cut_s)
        except httpx.TimeoutException:
            cut = True
    return httpx.post(address, json=body, headers=key, timeout=60), cut


def test_what_was_open_when_a_session_was_closed_is_kept_or_discarded_afterwards(server: Server, cell: Cell) -> None:
    session, open_ones = open_session(server.api, cell), list[str]()
    for _ in range(2):
        open_ones.append(server.api.post(f"{session}:start_episode")["episode_id"])
        wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 5)
        server.api.post(f"{session}:close")
        if len(open_ones) == 1:
            first, session = session, open_session(server.api, cell)
    kept = server.api.post(f"{first}:keep", {"episode_id": open_ones[0]})
    assert kept["episode_index"] == 0
    server.api.post(f"{session}:discard_episode", {"episode_id": open_ones[1]})
    for ended in (first, session):
        assert (found := server.api.get(ended))["state"] == "closed"
        assert found["interrupted"] == []
    assert [episode["id"] for episode in server.api.get(f"/dataset/{cell.dataset}/episodes")] == open_ones[:1]
    takes = server.storage / "datasets" / cell.dataset / "takes"
    assert not list(takes.glob("[!.]*"))
    free = open_session(server.api, cell)  # neither took a device
    server.api.post(f"{free}:close")


def test_a_dataset_whose_files_are_elsewhere_opens_no_session_and_holds_nothing(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell)
    record(server.api, session, 1.0)
    server.api.post(f"{session}:close")
    folder = server.storage / "datasets" / cell.dataset
    away = folder.rename(folder.with_name("elsewhere"))
    try:
        with pytest.raises(Refused, match="are not in the storage folder"):
            open_session(server.api, cell)
        _, failed = _sessions(server, cell)  # it is not tried again and again
        assert failed["state"] == "failed"
        assert "Bring them back" in failed["reason"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        away.rename(folder)
    server.api.post(f"{open_session(server.api, cell)}:close")


def test_the_next_episode_starts_before_the_last_is_saved(server: Server, cell: Cell) -> None:
    """Somebody keeps the dataset's files for himself meanwhile: a slow disk, a backup."""
    session, taken = open_session(server.api, cell), list[str]()

    def start() -> None:
        taken.append(server.api.post(f"{session}:start_episode")["episode_id"])
        wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 3)

    start()
    with ThreadPoolExecutor() as pool, (server.storage / "datasets" / cell.dataset / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        saves = [pool.submit(server.api.post, f"{session}:save_episode", {"episode_id": taken[0]})]
        wait_for(server.api, session, state="saving")
        start()
        found = server.api.get(session)
        assert (found["state"], found["episode"]["episode_id"]) == ("recording", taken[1])
        assert found["episodes_saved"] == 0
        saves.append(pool.submit(server.api.post, f"{session}:save_episode", {"episode_id": taken[1]}))
        wait_for(server.api, session, state="saving")
        assert not any(save.done() for save in saves)
        fcntl.flock(lock, fcntl.LOCK_UN)
        answers = [save.result() for save in saves]
    assert [answer["episode_index"] for answer in answers] == [0, 1]
    assert [answer["dropped"] for answer in answers] == [0, 0]
    assert [each["id"] for each in server.api.get(f"/dataset/{cell.dataset}/episodes")] == taken
    server.api.post(f"{session}:close")


@pytest.mark.long
def test_what_was_being_saved_is_saved_when_its_owner_is_killed(server: Server, cell: Cell) -> None:
    session = open_session(server.api, cell)
    first = server.api.post(f"{session}:start_episode")["episode_id"]
    wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 5)
    with ThreadPoolExecutor() as pool, (server.storage / "datasets" / cell.dataset / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        body = {"episode_id": first}
        asked = pool.submit(httpx.post, f"{server.url}/api{session}:save_episode", json=body, timeout=60)
        wait_for(server.api, session, state="saving")
        second = server.api.post(f"{session}:start_episode")["episode_id"]
        wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 5)
        assert server.kill("ray::ServeReplica") == 1  # else it would ask the next owner to save
        assert server.kill(OWNER) >= 1
        assert asked.result().status_code == 503
        fcntl.flock(lock, fcntl.LOCK_UN)
        found = wait_for(server.api, session, state="ready", episodes_saved=1)
    assert [take["episode_id"] for take in found["interrupted"]] == [second]
    assert [each["id"] for each in server.api.get(f"/dataset/{cell.dataset}/episodes")] == [first]
    server.api.post(f"{session}:close")


@pytest.mark.long
def test_a_session_is_taken_up_when_the_log_can_be_written_again(server: Server, cell: Cell) -> None:
    """Its process is lost while somebody keeps the log for himself, for longer than anybody waits for it."""
    if not server.database.exists():
        pytest.skip("PostgreSQL has no lock file; test_log_faults stops and cuts off who holds it there")
    session = open_session(server.api, cell)
    episode = server.api.post(f"{session}:start_episode")["episode_id"]
    wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 5)
    with server.database.with_name(f"{server.database.name}.lockfile").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert server.kill(OWNER) >= 1
        time.sleep(LOCK_TIMEOUT_S + 5)
        assert server.api.get(session)["interrupted"] == []
    found = wait_for(server.api, session, state="ready")
    assert [take["episode_id"] for take in found["interrupted"]] == [episode]
    server.api.post(f"{session}:close")


@pytest.mark.long
def test_an_id_that_another_session_has_used_is_refused_and_nothing_of_it_is_lost(server: Server, cell: Cell) -> None:
    first, used = open_session(server.api, cell), list[str]()
    for end in ("save_episode", None):  # one is saved, one interrupted by the end
        used.append(server.api.post(f"{first}:start_episode")["episode_id"])
        wait_until(server.api, first, lambda found: ((found["episode"] or {}).get("row") or 0) > 5)
        if end:
            server.api.post(f"{first}:{end}", {"episode_id": used[-1]})
    (lost,) = server.api.post(f"{first}:close")["interrupted"]
    second = open_session(server.api, cell)
    for episode in used:
        with pytest.raises(Refused, match="choose another id"):
            server.api.post(f"{second}:start_episode", {"episode_id": episode})
    assert server.api.get(second)["state"] == "ready"
    kept = server.api.post(f"{first}:keep", {"episode_id": used[1]})
    assert (kept["episode_index"], kept["rows"]) == (1, lost["rows"])
    assert lost["rows"] > 0
    server.api.post(f"{second}:close")


@pytest.mark.long
def test_discarding_what_was_interrupted_leaves_the_open_episode_alone(server: Server, cell: Cell) -> None:
    others = server.processes(OWNER)
    session = open_session(server.api, cell)
    lost = server.api.post(f"{session}:start_episode")["episode_id"]
    wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 3)
    assert server.kill(OWNER, others) == 1
    wait_until(server.api, session, lambda found: bool(found["interrupted"]) and found["state"] == "ready")
    episode = server.api.post(f"{session}:start_episode")["episode_id"]
    wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > 3)
    server.api.post(f"{session}:discard_episode", {"episode_id": lost})
    before = server.api.get(session)["episode"]["row"]
    wait_until(server.api, session, lambda found: ((found["episode"] or {}).get("row") or 0) > before + 15)
    assert server.api.post(f"{session}:save_episode", {"episode_id": episode})["rows"] > before + 15
    server.api.post(f"{session}:close")
