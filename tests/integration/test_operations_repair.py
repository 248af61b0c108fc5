"""Damaged datasets are repaired over HTTP, in process, on both databases: what is whole stays byte for byte."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import UUID

import pytest

from actors import curating
from actors.capture.lerobot_v3 import current_version
from actors.capture.manifest import read_manifest
from actors.capture.playback import playback
from actors.capture.reader import list_episodes, newest, read_episode
from actors.capture.verify import verify_episode
from actors.capture.video import whole_pictures
from actors.care.check import check_log
from actors.log import Log
from actors.rebuild import rebuild
from domain.dataset import Dataset
from domain.errors import StorageFull
from domain.operation import Operation
from tests.integration.care_kit import DATASET, quiet, rows
from tests.integration.log_kit import AT
from tests.integration.operation_kit import Client, Owner, content, cut, episode, flip
from tests.integration.test_capture_kit import FPS, decoded, number_of

PATH = f"/dataset/{DATASET}/episodes"


def tear(video: Path, rows: int) -> None:
    """Cut it so that exactly so many pictures are left."""
    whole = video.read_bytes()
    for size in range(len(whole) - 1, 0, -1):
        video.unlink()
        video.write_bytes(whole[:size])
        if whole_pictures(video, FPS) == rows:
            return
    raise AssertionError(f"no cut leaves {rows}")


async def test_the_longest_whole_prefix_takes_the_place_of_a_damaged_episode(
    client: Client, log: Log, storage: Path, ids: list[UUID]
) -> None:
    await client.http.patch(f"{PATH}/{ids[1]}", json={"rating": 4, "task": "Pull."})
    tear(episode(storage, ids[1]) / "videos/wrist.mp4", 4)
    before = content(storage / "datasets" / str(DATASET) / "episodes")
    result = await client.result("repair")
    (repaired,) = result["repaired"]
    assert (repaired["episode_id"], repaired["episode_index"]) == (str(ids[1]), 1)
    assert (repaired["kept_rows"], repaired["dropped_rows"], result["taken_out"]) == (4, 2, [])
    assert any("wrist.mp4 shows 4 pictures" in problem for problem in repaired["problems"])
    listed = [(each["episode_index"], each["id"], each["length"], each["tasks"]) for each in await client.get(PATH)]
    new = repaired["new_episode_id"]
    assert listed == [(0, str(ids[0]), 5, ["push"]), (1, new, 4, ["Pull."]), (2, str(ids[2]), 7, ["push"])]
    one = await client.get(f"{PATH}/{new}")
    assert one["rating"] == 4
    assert one["suspect"].startswith("repaired, 4 of 6 rows kept: videos/wrist.mp4")
    after = content(storage / "datasets" / str(DATASET) / "episodes")
    assert {name: after[name] for name in before} == before
    folder = storage / "datasets" / str(DATASET)
    assert [(each.length, each.tasks) for each in list_episodes(folder)] == [
        (5, ("push",)),
        (4, ("Pull.",)),
        (7, ("push",)),
    ]
    assert current_version(folder) == result["version"] == log.load(Dataset, DATASET).content_version == 5
    shown = [number_of(picture) for picture in decoded(episode(storage, new) / "videos/top.mp4")]
    assert shown == [100, 101, 102, 103]
    assert len(decoded(episode(storage, new) / "videos/wrist.mp4")) == 4
    assert read_episode(folder, 1).states[:, 0].tolist() == [0, 0, 0, 3]
    assert (await client.result("verify"))["ok"]
    assert list(check_log(log, quiet)) == []


async def test_an_episode_of_which_nothing_is_whole_is_taken_out_and_can_be_restored(
    client: Client, storage: Path, ids: list[UUID]
) -> None:
    flip(episode(storage, ids[0]) / "rows.parquet", 0.2)
    saved = (episode(storage, ids[2]) / "episode.json").read_bytes()
    (episode(storage, ids[2]) / "episode.json").unlink()
    result = await client.result("repair")
    assert [each["episode_id"] for each in result["taken_out"]] == [str(ids[0]), str(ids[2])]
    assert [each["whole_rows"] for each in result["taken_out"]] == [0, 0]
    assert [(each["episode_index"], each["id"]) for each in await client.get(PATH)] == [(0, str(ids[1]))]
    (episode(storage, ids[2]) / "episode.json").write_bytes(saved)  # from a backup, say
    back = await client.http.post(f"{PATH}:restore", json={"episode_ids": [str(ids[2])]})
    assert (back.status_code, back.json()["episodes"]) == (200, 2)


async def test_all_that_is_damaged_is_taken_out_even_if_that_is_all(
    client: Client, storage: Path, ids: list[UUID]
) -> None:
    for id in ids:
        flip(episode(storage, id) / "rows.parquet", 0.2)
    assert len((await client.result("repair"))["taken_out"]) == 3
    assert await client.get(PATH) == list_episodes(storage / "datasets" / str(DATASET)) == []


async def test_a_dataset_that_is_left_without_episodes_is_shown_so(
    client: Client, storage: Path, ids: list[UUID]
) -> None:
    """What all of a dataset have in common, one that was deleted can still tell."""
    await client.http.request("DELETE", f"{PATH}", json=[str(id) for id in ids[1:]])
    (episode(storage, ids[0]) / "episode.json").unlink()
    read_manifest.cache_clear()  # a server that has started since remembers none
    result = await client.result("repair")
    assert [each["episode_id"] for each in result["taken_out"]] == [str(ids[0])]
    assert current_version(storage / "datasets" / str(DATASET)) == result["version"]
    assert list_episodes(storage / "datasets" / str(DATASET)) == []


@pytest.mark.parametrize("damage", [Path.unlink, partial(Path.write_text, data="not it")], ids=["lost", "overwritten"])
async def test_damaged_capture_times_cost_no_row(
    client: Client, storage: Path, ids: list[UUID], damage: Callable[[Path], object]
) -> None:
    damage(episode(storage, ids[0]) / "times/top.parquet")
    (repaired,) = (await client.result("repair"))["repaired"]
    new = episode(storage, repaired["new_episode_id"])
    assert (repaired["kept_rows"], repaired["dropped_rows"]) == (5, 0)
    assert [path.name for path in (new / "times").iterdir()] == ["wrist.parquet"]
    for name in ("videos/top.mp4", "videos/wrist.mp4", "rows.parquet"):
        assert (new / name).samefile(episode(storage, ids[0]) / name)
    assert (await client.result("verify"))["ok"]
    assert (await client.result("repair"))["repaired"] == []
    assert {*playback(storage / "datasets" / str(DATASET), UUID(repaired["new_episode_id"]))["marked"]} == {
        "robot",
        "wrist",
    }
    tear(new / "videos/top.mp4", 2)  # and then something else of it
    (again,) = (await client.result("repair"))["repaired"]
    assert (again["kept_rows"], again["dropped_rows"]) == (2, 3)


async def test_repairing_again_changes_nothing(client: Client, log: Log, storage: Path, ids: list[UUID]) -> None:
    tear(episode(storage, ids[0]) / "videos/top.mp4", 2)
    await client.result("repair")
    before, version = content(storage), log.load(Dataset, DATASET).version
    again = await client.result("repair")
    assert (again["repaired"], again["taken_out"], again["version_problems"]) == ([], [], [])
    assert (content(storage), log.load(Dataset, DATASET).version) == (before, version)


async def test_a_damaged_version_is_made_anew_of_its_whole_episodes(
    client: Client, storage: Path, ids: list[UUID]
) -> None:
    folder = storage / "datasets" / str(DATASET)
    data = newest(folder) / "data/chunk-000/file-001.parquet"
    cut(data, 0.5)
    cut(newest(folder) / "meta/episodes/chunk-000/file-000.parquet", 0.5)
    result = await client.result("repair")
    assert (result["repaired"], result["taken_out"], result["version"]) == ([], [], 4)
    assert data.name in " ".join(result["version_problems"])
    assert [each.length for each in list_episodes(folder)] == [5, 6, 7]
    assert (await client.result("verify"))["ok"]


async def test_a_process_that_is_lost_at_any_step_is_followed_by_one_that_ends_the_same(
    client: Client, log: Log, storage: Path, ids: list[UUID]
) -> None:
    """Lost with the new episode made, and lost again when the log knew it and no version showed it."""
    tear(episode(storage, ids[0]) / "videos/top.mp4", 2)
    id = UUID((await client.post("repair")).json()["id"])
    client.gateway.woken.clear()
    first = Owner(log, id)
    await first.decide(lambda found: found.start(first.run, first.node, AT))
    found = curating.verified(storage / "datasets", log.load(Dataset, DATASET), quiet)
    kept = curating.salvaged(storage / "datasets", found, id, quiet)
    assert (await client.result("verify"))["damaged"][0]["episode_id"] == str(ids[0])  # nobody sees it yet
    second = Owner(log, id)
    await second.decide(lambda operation: operation.start(second.run, second.node, AT))
    await second._apply_repair()
    assert current_version(storage / "datasets" / str(DATASET)) == 3
    await Owner(log, id)._work()
    ended = await client.get(f"/operations/{id}")
    assert (ended["status"], len(ended["result"]["repaired"])) == ("completed", 1)
    (facts,) = kept.values()
    assert facts is not None
    assert ended["result"]["repaired"][0]["new_episode_id"] == str(facts.episode_id)
    assert [each.length for each in list_episodes(storage / "datasets" / str(DATASET))] == [2, 6, 7]
    assert len(list((storage / "datasets" / str(DATASET) / "episodes").iterdir())) == 4


async def test_what_fails_leaves_nothing_behind(
    client: Client, storage: Path, ids: list[UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    tear(episode(storage, ids[0]) / "videos/top.mp4", 2)
    tear(episode(storage, ids[1]) / "videos/top.mp4", 2)
    before, real, calls = content(storage), curating.keep_whole, list[UUID]()

    def full(damaged: Path, id: UUID, verdict: object) -> object:
        calls.append(id)
        if len(calls) == 2:
            raise StorageFull("No space left.")
        return real(damaged, id, verdict)  # type: ignore[arg-type]

    monkeypatch.setattr(curating, "keep_whole", full)
    ended = await client.done("repair")
    assert (ended["status"], ended["message"]) == ("failed", "No space left.")
    assert content(storage) == before


async def test_one_repair_at_a_time(client: Client) -> None:
    assert (await client.post("repair")).status_code == 202
    second = await client.post("repair")
    assert (second.status_code, second.json()["error_code"]) == (409, "in_use")
    assert "is being repaired by the repair operation" in second.json()["detail"]
    await client.gateway.work()
    assert (await client.post("repair")).status_code == 202


async def test_what_is_deleted_meanwhile_stays_deleted(
    client: Client, log: Log, storage: Path, ids: list[UUID]
) -> None:
    for id in ids[:2]:
        tear(episode(storage, id) / "videos/top.mp4", 3)
    operation = Owner(log, UUID((await client.post("repair")).json()["id"]))
    found = curating.verified(storage / "datasets", log.load(Dataset, DATASET), quiet)
    kept = curating.salvaged(storage / "datasets", found, operation.id, quiet)
    assert (await client.http.request("DELETE", PATH, json=[str(ids[0])])).status_code == 200
    await operation._note_repair(kept, {})
    assert [each["length"] for each in await client.get(PATH)] == [3, 7]
    before = rows(log)
    rebuild(log)
    assert rows(log) == before
    assert isinstance(log.load(Operation, operation.id).applied, dict)


async def test_a_repaired_episode_verifies_by_itself(client: Client, log: Log, storage: Path, ids: list[UUID]) -> None:
    tear(episode(storage, ids[2]) / "videos/top.mp4", 6)
    await client.result("repair")
    facts = log.load(Dataset, DATASET).episodes[2]
    assert verify_episode(episode(storage, facts.episode_id), facts).problems == []
